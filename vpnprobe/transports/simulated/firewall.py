"""A stateful firewall on a router: from the server's side only what belongs to a flow that the client's side opened passes."""

from collections.abc import Callable

from vpnprobe.transports.simulated.conntrack import FlowTable, flow_key, icmp_error, no_helper
from vpnprobe.wire.ip import IPv4Packet


class Firewall:
    """TCP and UDP by both addresses and ports, ESP and plain GRE by addresses alone, ICMP errors by what they quote.

    Enhanced GRE goes by its Call ID, as in nf_conntrack without a PPTP helper: the server's, which carries another one than the client's,
    never passes.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds of virtual time."""
        self._flows = FlowTable(now)

    def passes(self, packet: IPv4Packet, *, from_client_side: bool) -> bool:
        related = icmp_error(packet)
        if related is not None:
            return from_client_side or self._flows.find(flow_key(related[1], no_helper)) is not None
        key = flow_key(packet, no_helper)
        known = self._flows.follow(key) is not None
        if from_client_side and not known:
            self._flows.open(key, key.inverse)
        return from_client_side or known
