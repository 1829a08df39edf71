"""Flows as a Linux NAT or stateful firewall tracks them.

TCP and UDP by both ports, ICMP echo by its identifier, everything else by addresses alone. Enhanced GRE (version 1, RFC 2637 section 4.1)
is keyed by its Call ID as nf_conntrack does: the packet carries the receiver's Call ID only, the sender's is known from a PPTP helper or
else 0. So without a helper the two directions of a call are two flows. Version 0 has both keys 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnprobe.errors import DecodeError
from vpnprobe.transports.topology import Service, Timeouts
from vpnprobe.wire.icmp import DestinationUnreachable, TimeExceeded, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

GRE_VERSION_ENHANCED: Final = 1
CALL_ID_AT: Final = 6
"""Bytes into an enhanced GRE packet."""

_TIMEOUTS_S: Final[dict[int, tuple[float, float]]] = {
    IpProtocol.TCP: (120.0, 432000.0),
    IpProtocol.UDP: (30.0, 120.0),
    IpProtocol.GRE: (30.0, 180.0),
    IpProtocol.ICMP: (30.0, 30.0),
}
_OTHER_TIMEOUTS_S: Final = (600.0, 600.0)
"""Seconds that a flow is remembered after its last packet: before and after something came back (Linux defaults)."""
_OTHER: Final = 0


class FlowKey(NamedTuple):
    """One direction of a flow."""

    protocol: int
    source: IPv4Address
    source_key: int
    """Port, echo identifier, Call ID, or 0."""
    destination: IPv4Address
    destination_key: int

    @property
    def inverse(self) -> "FlowKey":
        return FlowKey(self.protocol, self.destination, self.destination_key, self.source, self.source_key)


GreKeys = Callable[[IPv4Address, IPv4Address, int], int]
"""(source, destination, Call ID in the packet) to the sender's own Call ID, 0 where it is not known."""


def no_helper(source: IPv4Address, destination: IPv4Address, call_id: int) -> int:
    """Without a helper nobody knows the sender's own Call ID."""
    return 0


def enhanced_call_id(packet: IPv4Packet) -> int | None:
    """The Call ID of an enhanced GRE packet; None: it is not one."""
    data = packet.payload
    if packet.protocol != IpProtocol.GRE or len(data) < CALL_ID_AT + 2 or data[1] & 0x07 != GRE_VERSION_ENHANCED:
        return None
    return int.from_bytes(data[CALL_ID_AT : CALL_ID_AT + 2], "big")


def flow_key(packet: IPv4Packet, gre_keys: GreKeys | None) -> FlowKey:
    """The flow that a packet, or the packet in a quote, belongs to. `gre_keys` None: enhanced GRE goes by addresses alone too."""
    data = packet.payload
    source_key = destination_key = 0
    if packet.protocol in (IpProtocol.TCP, IpProtocol.UDP):
        source_key, destination_key = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    elif packet.protocol == IpProtocol.ICMP:
        source_key = destination_key = int.from_bytes(data[4:6], "big")
    elif gre_keys is not None and (call_id := enhanced_call_id(packet)) is not None:
        source_key, destination_key = gre_keys(packet.source, packet.destination, call_id), call_id
    return FlowKey(packet.protocol, packet.source, source_key, packet.destination, destination_key)


IcmpError = DestinationUnreachable | TimeExceeded


def icmp_error(packet: IPv4Packet) -> tuple[IcmpError, IPv4Packet] | None:
    """The ICMP error in the packet with the packet that it quotes; None: it is none."""
    if packet.protocol != IpProtocol.ICMP:
        return None
    try:
        message = decode_icmp(packet.payload)
    except DecodeError:
        return None
    if isinstance(message, DestinationUnreachable | TimeExceeded) and isinstance(message.quote.packet, IPv4Packet):
        return message, message.quote.packet
    return None


@dataclass(slots=True)
class Flow:
    """A flow, both directions, each as seen where it arrives at the tracker."""

    original: FlowKey
    """The direction of the first packet."""
    reply: FlowKey
    seen: float
    """When the last packet passed, seconds."""
    replied: bool = False


def timeouts_s(planted: Timeouts) -> dict[int, tuple[float, float]]:
    """By IP protocol, before and after something came back; 0: every other protocol."""
    own = {IpProtocol.TCP: planted.tcp_s, IpProtocol.UDP: planted.udp_s, IpProtocol.GRE: planted.gre_s, _OTHER: planted.other_s}
    return {**_TIMEOUTS_S, _OTHER: _OTHER_TIMEOUTS_S} | {protocol: (value, value) for protocol, value in own.items() if value is not None}


def serves(services: tuple[Service, ...], packet: IPv4Packet) -> bool:
    """Whether a port forward, or what a firewall allows, names what the packet goes to."""
    port = int.from_bytes(packet.payload[2:4], "big") if packet.protocol in (IpProtocol.TCP, IpProtocol.UDP) else None
    return any(
        (packet.protocol != IpProtocol.ICMP if service.protocol is None else packet.protocol == service.protocol)
        and (not service.ports or port in service.ports)
        for service in services
    )


class FlowTable:
    """All flows of one tracker."""

    def __init__(self, now: Callable[[], float], timeouts: Timeouts) -> None:
        self._now = now
        self._timeouts_s = timeouts_s(timeouts)
        self._flows: dict[FlowKey, tuple[Flow, bool]] = {}

    def lives(self, flow: Flow) -> bool:
        """Whether it is still remembered."""
        times_s = self._timeouts_s.get(flow.original.protocol) or self._timeouts_s[_OTHER]
        return flow.seen + times_s[flow.replied] >= self._now()

    def find(self, key: FlowKey) -> tuple[Flow, bool] | None:
        """The flow of a packet with this key, and whether the packet is of the reply direction; None: no such flow, or forgotten."""
        found = self._flows.get(key)
        if found is not None and not self.lives(found[0]):
            self._flows.pop(found[0].original, None)
            self._flows.pop(found[0].reply, None)
            return None
        return found

    def follow(self, key: FlowKey) -> tuple[Flow, bool] | None:
        """As `find`, and the flow lives on."""
        found = self.find(key)
        if found is not None:
            flow, is_reply = found
            flow.seen = self._now()
            flow.replied = flow.replied or is_reply
        return found

    def open(self, original: FlowKey, reply: FlowKey) -> Flow:
        flow = Flow(original, reply, self._now())
        self._flows[original] = (flow, False)
        self._flows[reply] = (flow, True)
        return flow
