"""Masquerade of what leaves a router towards the server, as Linux does it.

Source ports are kept where they are free, unless the NAT gives every flow a new one. What comes back is put through only where it matches
a flow; ICMP errors are translated with their quotes. Enhanced GRE follows its Call ID (see `conntrack`), so without the PPTP helper the
server's packets match nothing and are for the NAT itself, which refuses them. With the helper (nf_nat_pptp) the client's Call ID is
replaced, in the control connection and in GRE, by the port that the control connection has outside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import chain
from typing import Final

from vpnprobe.transports.simulated.conntrack import (
    CALL_ID_AT,
    Flow,
    FlowKey,
    FlowTable,
    IcmpError,
    enhanced_call_id,
    flow_key,
    icmp_error,
    no_helper,
)
from vpnprobe.wire.icmp import DestinationUnreachable, Quote
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

_CHECKSUM_AT: Final[dict[int, int]] = {IpProtocol.TCP: 16, IpProtocol.UDP: 6}
_FIRST_SPARE_PORT: Final = 1024

PPTP_PORT: Final = 1723
_MAGIC_COOKIE: Final = b"\x1a\x2b\x3c\x4d"
_MESSAGE_AT: Final = 8
"""Bytes into a PPTP control message: its type (RFC 2637 section 2)."""
_BODY_AT: Final = 12
_PEER_CALL_ID_AT: Final = 14
_RESULT_AT: Final = 16
_CALL_CONNECTED: Final = 1
_OUTGOING_CALL_REQUEST: Final = 7
_OUTGOING_CALL_REPLY: Final = 8
_CALL_CLEAR_REQUEST: Final = 12
_WAN_ERROR_NOTIFY: Final = 14
_SET_LINK_INFO: Final = 15


def _adjusted(data: bytes, offset: int | None, old: bytes, new: bytes) -> bytes:
    """The checksum at `offset` after `old` became `new` (RFC 1624); unchanged where it is not there, or none was made."""
    if offset is None or len(data) < offset + 2:
        return data
    checksum = int.from_bytes(data[offset : offset + 2], "big")
    if checksum == 0:
        return data
    total = (0xFFFF - checksum) - int.from_bytes(old, "big") + int.from_bytes(new, "big")
    adjusted = 0xFFFF - (total % 0xFFFF or 0xFFFF)
    return data[:offset] + (adjusted or 0xFFFF).to_bytes(2, "big") + data[offset + 2 :]


def _patched(data: bytes, at: int, value: int, *, checksum_at: int | None) -> bytes:
    """Two bytes replaced, at an even offset."""
    new = value.to_bytes(2, "big")
    old = data[at : at + 2]
    return _adjusted(data[:at] + new + data[at + 2 :], checksum_at, old, new)


@dataclass(frozen=True, slots=True)
class _End:
    """What one end of a packet is to become; key None: stays as it is."""

    address: IPv4Address
    key: int | None


def _rewritten(packet: IPv4Packet, *, source: _End | None = None, destination: _End | None = None) -> IPv4Packet:
    """The packet with other addresses, ports, echo identifier or Call ID, checksums adjusted; a quoted packet may be cut anywhere."""
    data = packet.payload
    checksum_at = _CHECKSUM_AT.get(packet.protocol)
    for end, address, at in ((source, packet.source, 0), (destination, packet.destination, 2)):
        if end is None:
            continue
        data = _adjusted(data, checksum_at, address.packed, end.address.packed)
        if end.key is None:
            continue
        if checksum_at is not None:
            data = _patched(data, at, end.key, checksum_at=checksum_at)
        elif at == 2 and enhanced_call_id(packet) is not None:
            data = _patched(data, CALL_ID_AT, end.key, checksum_at=None)
    return replace(
        packet,
        payload=data,
        source=source.address if source else packet.source,
        destination=destination.address if destination else packet.destination,
    )


def _with_quote(packet: IPv4Packet, error: IcmpError, quoted: IPv4Packet) -> IPv4Packet:
    if isinstance(error, DestinationUnreachable):
        return replace(packet, payload=DestinationUnreachable(error.code, Quote(quoted), error.next_hop_mtu).encode())
    return replace(packet, payload=replace(error, quote=Quote(quoted)).encode())


class Masquerade:
    """The NAT of one router."""

    def __init__(self, outside: IPv4Address, now: Callable[[], float], *, pptp_helper: bool, new_ports: bool = False) -> None:
        self.outside = outside
        self._new_ports = new_ports
        self._flows = FlowTable(now)
        self._helper = PptpHelper() if pptp_helper else None

    def _key(self, packet: IPv4Packet) -> FlowKey:
        return flow_key(packet, self._helper.sender_call_id if self._helper else no_helper)

    def outbound(self, packet: IPv4Packet) -> IPv4Packet:
        """A packet on its way to the server, after routing."""
        related = icmp_error(packet)
        if related is not None:
            return self._outbound_error(packet, *related)
        key = self._key(packet)
        found = self._flows.follow(key)
        if found is None:
            outer = FlowKey(key.protocol, self.outside, self._spare_key(key), key.destination, key.destination_key)
            flow = self._flows.open(key, outer.inverse)
        elif found[1]:
            return packet  # the answer to what came in from the server's side by its real address
        else:
            flow = found[0]
        packet = _rewritten(packet, source=_End(self.outside, flow.reply.destination_key if _has_ports(key) else None))
        return self._helper.outbound(packet, flow) if self._helper and _is_pptp(key.protocol, key.destination_key) else packet

    def inbound(self, packet: IPv4Packet) -> IPv4Packet:
        """A packet that came from the server's side, before routing. Unchanged where nothing matches."""
        related = icmp_error(packet)
        if related is not None:
            return self._inbound_error(packet, *related)
        key = self._key(packet)
        found = self._flows.follow(key)
        if found is None:
            if packet.destination != self.outside:
                self._flows.open(key, key.inverse)
            return packet
        flow, is_reply = found
        if not is_reply or flow.reply.inverse == flow.original:
            return packet
        inner = _End(flow.original.source, flow.original.source_key if _has_key(flow.original) else None)
        packet = _rewritten(packet, destination=inner)
        if self._helper and _is_pptp(key.protocol, key.source_key):
            packet, call = self._helper.inbound(packet, flow)
            if call is not None:
                self._flows.open(*call)
        return packet

    def _inbound_error(self, packet: IPv4Packet, error: IcmpError, quoted: IPv4Packet) -> IPv4Packet:
        """An error about what we sent out: its quote shows us, and is to show the inside."""
        found = self._flows.find(self._key(quoted).inverse)
        if found is None or not found[1] or packet.destination != self.outside:
            return packet
        original = found[0].original
        inner = _End(original.source, original.source_key if _has_ports(original) else None)
        return _with_quote(replace(packet, destination=original.source), error, _rewritten(quoted, source=inner))

    def _outbound_error(self, packet: IPv4Packet, error: IcmpError, quoted: IPv4Packet) -> IPv4Packet:
        """An error from the inside about what we let in: it must not show the inside."""
        found = self._flows.find(self._key(quoted).inverse)
        if found is None or found[1]:
            return packet
        reply = found[0].reply
        outer = _End(self.outside, reply.destination_key if _has_key(reply) else None)
        return _with_quote(replace(packet, source=self.outside), error, _rewritten(quoted, destination=outer))

    def _spare_key(self, key: FlowKey) -> int:
        """The port, identifier or Call ID that the flow gets outside: its own, or the next that is free towards this server."""
        if not _has_ports(key):
            return key.source_key
        for port in chain(() if self._new_ports else (key.source_key,), range(_FIRST_SPARE_PORT, 65536)):
            if self._flows.find(FlowKey(key.protocol, key.destination, key.destination_key, self.outside, port)) is None:
                return port
        return key.source_key


def _has_ports(key: FlowKey) -> bool:
    return key.protocol in _CHECKSUM_AT


def _has_key(key: FlowKey) -> bool:
    return _has_ports(key) or key.protocol == IpProtocol.GRE


def _is_pptp(protocol: int, server_port: int) -> bool:
    return protocol == IpProtocol.TCP and server_port == PPTP_PORT


class PptpHelper:
    """The application-level gateway: takes the client for the PNS, one call per control connection."""

    def __init__(self) -> None:
        self._own: dict[FlowKey, int] = {}
        """The client's own Call ID, by the flow of its control connection."""
        self._senders: dict[tuple[IPv4Address, IPv4Address, int], int] = {}

    def sender_call_id(self, source: IPv4Address, destination: IPv4Address, call_id: int) -> int:
        return self._senders.get((source, destination, call_id), 0)

    def outbound(self, packet: IPv4Packet, flow: Flow) -> IPv4Packet:
        """A segment of the client on the control connection, addresses already translated."""
        start, kind = _control_message(packet.payload)
        if start is None:
            return packet
        data = packet.payload
        outer = flow.reply.destination_key
        if kind == _OUTGOING_CALL_REQUEST:
            self._own[flow.original] = int.from_bytes(data[start + _BODY_AT : start + _BODY_AT + 2], "big")
        elif kind != _CALL_CLEAR_REQUEST:
            return packet
        return replace(packet, payload=_patched_field(data, start + _BODY_AT, outer))

    def inbound(self, packet: IPv4Packet, flow: Flow) -> tuple[IPv4Packet, tuple[FlowKey, FlowKey] | None]:
        """A segment of the server, addresses already translated; with it the GRE flow (inside, outside) that a connected call opens."""
        start, kind = _control_message(packet.payload)
        own = self._own.get(flow.original)
        if start is None or own is None:
            return packet, None
        data = packet.payload
        if kind == _OUTGOING_CALL_REPLY and len(data) > start + _RESULT_AT:
            connected = data[start + _RESULT_AT] == _CALL_CONNECTED
            theirs = int.from_bytes(data[start + _BODY_AT : start + _BODY_AT + 2], "big")
            call = self._expect(flow, own=own, theirs=theirs) if connected else None
            return replace(packet, payload=_patched_field(data, start + _PEER_CALL_ID_AT, own)), call
        if kind in (_WAN_ERROR_NOTIFY, _SET_LINK_INFO):
            return replace(packet, payload=_patched_field(data, start + _BODY_AT, own)), None
        return packet, None

    def _expect(self, flow: Flow, *, own: int, theirs: int) -> tuple[FlowKey, FlowKey]:
        client, server, outside = flow.original.source, flow.original.destination, flow.reply.destination
        outer = flow.reply.destination_key
        self._senders[client, server, theirs] = own
        self._senders[outside, server, theirs] = outer
        self._senders[server, outside, outer] = theirs
        self._senders[server, client, own] = theirs
        return (
            FlowKey(IpProtocol.GRE, client, own, server, theirs),
            FlowKey(IpProtocol.GRE, server, theirs, outside, outer),
        )


def _control_message(data: bytes) -> tuple[int | None, int]:
    """Where a PPTP control message starts in a TCP segment, and its type; only one that begins with the segment is seen, as in Linux."""
    if len(data) < 20:
        return None, 0
    start = (data[12] >> 4) * 4
    if len(data) < start + _PEER_CALL_ID_AT or data[start + 4 : start + 8] != _MAGIC_COOKIE:
        return None, 0
    return start, int.from_bytes(data[start + _MESSAGE_AT : start + _MESSAGE_AT + 2], "big")


def _patched_field(data: bytes, at: int, value: int) -> bytes:
    return _patched(data, at, value, checksum_at=_CHECKSUM_AT[IpProtocol.TCP]) if len(data) >= at + 2 else data
