"""A stateful firewall: to the side that it protects passes only what belongs to a flow that this side opened, and what it allows."""

from collections.abc import Callable

from vpnprobe.transports.simulated.conntrack import FlowTable, flow_key, icmp_error, no_helper, serves
from vpnprobe.transports.topology import StatefulFirewall
from vpnprobe.wire.ip import IPv4Packet


class Firewall:
    """TCP and UDP by both addresses and ports, ESP and plain GRE by addresses alone, ICMP errors by what they quote.

    Enhanced GRE goes by its Call ID, as in nf_conntrack without a PPTP helper: that of the other side, which carries another one than this
    side's, never passes.
    """

    def __init__(self, planted: StatefulFirewall, now: Callable[[], float]) -> None:
        """`now`: seconds of virtual time."""
        self._allows = planted.allows
        self._flows = FlowTable(now, planted.timeouts)

    def passes(self, packet: IPv4Packet, *, from_inside: bool) -> bool:
        """`from_inside`: from the side that it protects."""
        related = icmp_error(packet)
        if related is not None:
            return from_inside or self._flows.find(flow_key(related[1], no_helper)) is not None
        key = flow_key(packet, no_helper)
        if self._flows.follow(key) is not None:
            return True
        opens = from_inside or serves(self._allows, packet)
        if opens:
            self._flows.open(key, key.inverse)
        return opens
