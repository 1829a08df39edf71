"""A stateful firewall on a router: from the server's side only what belongs to a flow that the client's side opened passes."""

from collections.abc import Callable

from vpnprobe.transports.simulated.conntrack import FlowTable, GreKeys, flow_key, icmp_error, no_helper
from vpnprobe.wire.ip import IPv4Packet


class Firewall:
    """TCP and UDP by both addresses and ports, ESP and plain GRE by addresses alone, ICMP errors by what they quote."""

    def __init__(self, now: Callable[[], float], *, by_call_id: bool = False) -> None:
        """`by_call_id`: enhanced GRE goes by its Call ID, as in nf_conntrack without a PPTP helper, which never lets the server's through;
        else by addresses alone."""
        self._flows = FlowTable(now)
        self._gre_keys: GreKeys | None = no_helper if by_call_id else None

    def passes(self, packet: IPv4Packet, *, from_client_side: bool) -> bool:
        related = icmp_error(packet)
        if related is not None:
            return from_client_side or self._flows.find(flow_key(related[1], self._gre_keys)) is not None
        key = flow_key(packet, self._gre_keys)
        known = self._flows.follow(key) is not None
        if from_client_side and not known:
            self._flows.open(key, key.inverse)
        return from_client_side or known
