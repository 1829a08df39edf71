"""udp/reach: does a UDP datagram get through to a port, and an answer back?

Fresh numbered payloads of two sizes go to every port that matters: the shortest, and a decoy of the size of the first message of the VPN
protocol that lives there, so that a filter on size or content shows as a difference. The server agent answers each. Where nothing
arrives, the server sends to the client unasked, so that the way back is measured too.
"""

from typing import Final

from vpnprobe.conversations.registry import decoy_bytes, registered_ports
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import Job, ProbeContext, gather_all
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

        port = await context.udp(came, refused)
        context.udp_locals[number] = port.local
        count = 0

        async def send(trials: int, beside: bool) -> None:
            async def one() -> None:
                nonlocal count
                size, purpose = kinds[count % 2]
                count += 1
                # Beside controls each trial is a flow of its own, as each of them is.
                local = await context.udp(came, refused) if beside else port
                payload = context.nonces.fresh(size, purpose=purpose)
                left_at[payload.answer().key] = context.stack.now()
                context.sender.payload(local, remote, check, payload)

            await context.trials(one, trials, beside)

        await context.until_sure(check, Direction.C2S, send)
        await self._way_back(context, check, port.local)

    async def _way_back(self, context: ProbeContext, check: Check, local: Endpoint) -> None:
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
        to = None if arrived else (str(local.address), local.port)

        async def send(trials: int, beside: bool) -> None:
            await context.trials_back(Job.UDP, trials, beside, port=check.port or 0, to=to)

        await context.until_sure(check, Direction.S2C, send)
