"""openvpn/reset: does a plain OpenVPN hard reset get its answer, over UDP and over TCP, on each candidate port?

Few per port: a 2.6 server answers at most 100 first packets in 10 s. A server that wants its control channel wrapped (tls-auth,
tls-crypt) stays silent over UDP and closes a TCP connection at once; the server agent answers plain resets.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import Initiator
from vpnprobe.evidence.questions import openvpn_reset
from vpnprobe.evidence.sightings import Question
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import Path, Settings, WantedPort, gather_all
from vpnprobe.probes.conversing import over_stream, over_udp, until_sure
from vpnprobe.transports.door import ConnectError, Endpoint, TcpStream

CONNECT_DEADLINE_S: Final = 8.0


class OpenvpnProbe:
    """The probe `openvpn`."""

    name: Final = "openvpn"

    def ports(self, settings: Settings) -> list[WantedPort]:
        return [WantedPort(transport, port) for port in settings.openvpn_ports for transport in (Transport.UDP, Transport.TCP)]

    async def run(self, path: Path) -> None:
        await gather_all([self._port(path, wanted) for wanted in self.ports(path.settings)])

    async def _port(self, path: Path, wanted: WantedPort) -> None:
        question = openvpn_reset(wanted.transport, wanted.port)
        attempt = self._over_udp if wanted.transport is Transport.UDP else self._over_tcp
        await until_sure(path, question, attempt(path, question))
        if question not in path.judge().tallies:
            path.skip(question, path.unconnected(wanted.port))

    def _over_udp(self, path: Path, question: Question) -> Callable[[], Awaitable[None]]:
        async def attempt() -> None:
            conversation = Initiator(session_id=path.nonces.conversation(), stream=False)
            await over_udp(path, conversation, question, finished=lambda: conversation.answered)

        return attempt

    def _over_tcp(self, path: Path, question: Question) -> Callable[[], Awaitable[None]]:
        async def attempt() -> None:
            def bound(local: Endpoint) -> None:
                path.flows.add((Transport.TCP, local.port))

            assert question.port is not None
            deadline_s = path.connect_s(CONNECT_DEADLINE_S)
            stream = await path.door.connect(path.endpoint(question.port), deadline_s=deadline_s, on_bound=bound)
            conversation = Initiator(session_id=path.nonces.conversation(), stream=True)
            try:
                async with asyncio.timeout(max(1.0, 6 * path.settle_s)):
                    await self._until_answered(path, stream, conversation, question)
            except (TimeoutError, ConnectError):
                pass
            finally:
                await stream.close()

        return attempt

    async def _until_answered(self, path: Path, stream: TcpStream, conversation: Initiator, question: Question) -> None:
        running = asyncio.get_running_loop().create_task(over_stream(path.recorder, stream, conversation, question, Sender.INITIATOR))
        try:
            while not conversation.answered and not running.done():
                await asyncio.sleep(0.005)
            if running.done() and not conversation.answered:
                running.result()
                conversation.closed_by_peer(path.door.now())
                path.recorder.steps(conversation, question, Sender.INITIATOR, remote=stream.remote)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
