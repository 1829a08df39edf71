"""nat/mapping: what a NAT before the client makes of one port that sends to several of the server's.

The other probes show what becomes of addresses and ports, each from a port of its own. Whether one port is the same outside whomever it
sends to (endpoint-independent mapping, RFC 4787 section 4.1) takes one that sends to two. Without a NAT there is nothing to ask.
"""

from typing import Final

from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Datagram
from vpnprobe.wire.nonce import SHORTEST, Purpose

SERVER_PORTS: Final = 2
TRIALS: Final = 3
"""To each port: the path may lose some."""


class NatMapping:
    """The probe `nat`, check `mapping`."""

    name: Final = "nat"

    def ports(self, _: Settings) -> list[WantedPort]:
        return []

    async def run(self, context: ProbeContext) -> None:
        if context.peer is None or not context.facts.nat:
            return
        open_ports = [port for (over, port), state in context.facts.ports.items() if over is Transport.UDP and state is PortState.OURS]
        asked = open_ports[-SERVER_PORTS:]
        if len(asked) < SERVER_PORTS:
            return

        def came(datagram: Datagram) -> None:
            if datagram.source.port in asked:
                context.recorder.arrived([identify.nonce(udp_reach(datagram.source.port), datagram.data)], datagram)

        socket = await context.udp(came)

        def one() -> None:
            for number in asked:
                context.sender.nonce(socket, context.endpoint(number), udp_reach(number), size=SHORTEST, purpose=Purpose.MAPPING)

        await context.burst(one, TRIALS)
