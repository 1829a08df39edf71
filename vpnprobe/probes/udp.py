"""udp/reach: does a UDP datagram get through to a port, and an answer back?

Fresh numbered payloads of two sizes go to every port that matters: the shortest, and a decoy of the size of the first message of the VPN
protocol that lives there, so that a filter on size or content shows as a difference. The server agent answers each. Where nothing
arrives, the server sends to the client unasked, so that the way back is measured too, and then the client to it once more: a stateful
firewall at the server's side lets in what the server has asked for.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from vpnprobe.conversations.registry import decoy_bytes, registered_ports
from vpnprobe.endpoint import probe_packets
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import Opener, ProbeContext, SendOne, SendTrials, gather_all
from vpnprobe.probes.order import again, came_through
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Datagram, Endpoint
from vpnprobe.wire.nonce import SHORTEST, Purpose


class UdpReach:
    """The probe `udp`, check `reach`."""

    name: Final = "udp"

    def ports(self, settings: Settings) -> list[WantedPort]:
        ports = (*registered_ports(Transport.UDP), *settings.candidates_over(Transport.UDP))
        return [WantedPort(Transport.UDP, port) for port in dict.fromkeys(ports)]

    async def run(self, context: ProbeContext) -> None:
        await gather_all([self._port(context, wanted.port) for wanted in self.ports(context.settings)])

    async def _port(self, context: ProbeContext, number: int) -> None:
        check = udp_reach(number)
        if context.peer is None:
            return  # Without an agent only the VPN protocols' own messages can be answered: their probes ask.
        if context.port_state(Transport.UDP, number) is PortState.CLOSED and not context.server_record.sees_closed_ports:
            context.skip(check, "the server agent may not open this port", Direction.C2S, Direction.S2C)
            return
        remote = context.endpoint(number)
        kinds = ((SHORTEST, Purpose.REACH), (decoy_bytes(number, context.settings.named_ports) or SHORTEST, Purpose.DECOY))

        left_at: dict[str, float] = {}

        def came(datagram: Datagram) -> None:
            identity = identify.nonce(check, datagram.data)
            if datagram.source == remote and identity is not None:
                context.recorder.arrived([identity], datagram)
                if (left := left_at.pop(identity.key, None)) is not None:
                    context.line.answered(left)

        def refused(_: Endpoint) -> None:
            context.recorder.refused(Refusal(check, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None))

        port = await context.udp(came, refused, lasting=True)
        context.udp_locals[number] = port.local
        count = 0

        async def send(trials: int, beside: bool) -> None:
            async def ready() -> tuple[int, SendOne]:
                nonlocal count
                size, purpose = kinds[count % 2]
                count += 1
                # Beside controls each trial is a flow of its own, as each of them is.
                local = await context.udp(came, refused) if beside else port
                payload = context.nonces.fresh(size, purpose=purpose)

                def send_one() -> None:
                    left_at[payload.answer().key] = context.stack.now()
                    context.sender.payload(local, remote, check, payload)

                return size, send_one

            await context.trials(ready, trials, beside)

        async def opener(beside: bool) -> Opener:
            from_port = await context.udp(came, refused) if beside else port
            return Opener(from_port.local, partial(context.sender.nonce, from_port, remote, check, size=SHORTEST))

        await context.until_sure(check, Direction.C2S, send)
        await self._way_back(context, check, send, opener)
        if not came_through(context, check, Direction.C2S):
            if came_through(context, check, Direction.S2C):
                # From the port that the server has sent to: do they pass now?
                context.opened_by_server.add(number)
                await again(context, check, send)
            # What is traced is to find the way as a client does: in a flow that the server has sent nothing in.
            fresh = (await context.udp(came, refused)).local
            context.udp_locals[number] = fresh
            context.copies[check] = lambda _: probe_packets.udp(context.nonces, fresh, remote, check)

    async def _way_back(self, context: ProbeContext, check: Check, send: SendTrials, opener: Callable[[bool], Awaitable[Opener]]) -> None:
        """Measures server to client where no answer came: more answers, or packets of the server's own."""
        assert context.peer is not None
        if not context.sends_from(check.port or 0):
            return
        counted = context.judge().packet_counts.get(check)
        if counted is None or counted.total(Direction.S2C).received:
            return
        arrived = bool(counted.total(Direction.C2S).received)
        if not arrived and context.facts.nat:
            reason = "nothing arrived from the client, and behind its NAT the server has no address to send to"
            context.skip(check, reason, Direction.S2C)
            return
        if arrived and context.port_state(Transport.UDP, check.port or 0) is PortState.OURS:
            await context.until_sure(check, Direction.S2C, send)
            return

        async def send_back(trials: int, beside: bool) -> None:
            openers = [await opener(beside) for _ in range(trials if beside else 1)]
            await context.trials_back(Job.UDP, trials, beside, port=check.port or 0, openers=openers)

        await context.until_sure(check, Direction.S2C, send_back)
