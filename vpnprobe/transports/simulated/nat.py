"""Masquerade of what leaves a router by its outside, as Linux does it, with port forwards, and the mappings of other NATs (RFC 4787).

Source ports are kept where they are free, unless the NAT gives new ones. What comes back is put through only where it matches
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
    serves,
)
from vpnprobe.transports.topology import Filtering, Mapping, Nat
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


@dataclass(slots=True)
class _Mapping:
    """An outside port of an inside one."""

    inside: IPv4Address
    inside_port: int
    outside_port: int
    flow: Flow
    """The newest that it serves: it lasts as long as that."""
    remotes: set[IPv4Address]
    """Whom the inside has sent to."""


class Masquerade:
    """The NAT of one router. A packet is rewritten as its flow says: where it goes before routing, where it comes from behind it."""

    def __init__(self, planted: Nat, outside: IPv4Address, forwards_to: IPv4Address, now: Callable[[], float]) -> None:
        """`outside`: its address there; `forwards_to`: the host behind it that its port forwards name."""
        self.outside = outside
        self._planted = planted
        self._forwards_to = forwards_to
        self._flows = FlowTable(now, planted.timeouts)
        self._helper = PptpHelper() if planted.pptp_helper else None
        self._of_inside: dict[tuple[int, IPv4Address, int], _Mapping] = {}
        """By protocol, inside address and port; kept where they are asked for."""
        self._of_outside: dict[tuple[int, int], _Mapping] = {}
        self._maps = planted.mapping is not Mapping.FLOW or planted.filtering is not Filtering.FLOW

    def _key(self, packet: IPv4Packet) -> FlowKey:
        return flow_key(packet, self._helper.sender_call_id if self._helper else no_helper)

    def outbound(self, packet: IPv4Packet) -> IPv4Packet:
        """A packet that leaves by the outside, after routing."""
        related = icmp_error(packet)
        if related is not None:
            return self._outbound_error(packet, *related)
        key = self._key(packet)
        flow, is_reply = self._flows.follow(key) or (self._opened_from_inside(key), False)
        source, source_key = _source_outside(flow, is_reply=is_reply)
        if (source, source_key) != (key.source, key.source_key):
            packet = _rewritten(packet, source=_End(source, source_key if _has_ports(key) else None))
        return self._helper.outbound(packet, flow) if self._helper and _is_pptp(key.protocol, key.destination_key) else packet

    def _opened_from_inside(self, key: FlowKey) -> Flow:
        outer = FlowKey(key.protocol, self.outside, self._outside_key(key), key.destination, key.destination_key)
        flow = self._flows.open(key, outer.inverse)
        if self._maps and _has_ports(key):
            mapping = self._of_inside.get((key.protocol, key.source, key.source_key))
            if mapping is None or mapping.outside_port != outer.source_key:
                mapping = _Mapping(key.source, key.source_key, outer.source_key, flow, set())
                self._of_inside[key.protocol, key.source, key.source_key] = mapping
                self._of_outside[key.protocol, outer.source_key] = mapping
            mapping.flow = flow
            mapping.remotes.add(key.destination)
        return flow

    def inbound(self, packet: IPv4Packet) -> IPv4Packet:
        """A packet that came in by the outside, before routing. Unchanged where nothing matches."""
        related = icmp_error(packet)
        if related is not None:
            return self._inbound_error(packet, *related)
        key = self._key(packet)
        found = self._flows.follow(key)
        if found is None:
            self._open_from_outside(key, packet)
            found = self._flows.follow(key)
        if found is None:
            return packet
        flow, is_reply = found
        destination, destination_key = _destination_inside(flow, is_reply=is_reply)
        if (destination, destination_key) == (key.destination, key.destination_key):
            return packet
        packet = _rewritten(packet, destination=_End(destination, destination_key if _has_key(key) else None))
        if self._helper and _is_pptp(key.protocol, key.source_key):
            packet, call = self._helper.inbound(packet, flow)
            if call is not None:
                self._flows.open(*call)
        return packet

    def _open_from_outside(self, key: FlowKey, packet: IPv4Packet) -> None:
        """Opens a flow for what may come in; what may not is for the router itself."""
        mapping = self._of_outside.get((key.protocol, key.destination_key)) if self._maps else None
        if packet.destination != self.outside:
            self._flows.open(key, key.inverse)
        elif mapping is not None and self._lets_in(mapping, key.source):
            self._flows.open(FlowKey(key.protocol, mapping.inside, mapping.inside_port, key.source, key.source_key), key)
        elif serves(self._planted.forwards, packet):
            self._flows.open(key, FlowKey(key.protocol, self._forwards_to, key.destination_key, key.source, key.source_key))

    def _lets_in(self, mapping: _Mapping, source: IPv4Address) -> bool:
        filtering = self._planted.filtering
        known = filtering is Filtering.ENDPOINT or (filtering is Filtering.ADDRESS and source in mapping.remotes)
        return known and self._flows.lives(mapping.flow)

    def _inbound_error(self, packet: IPv4Packet, error: IcmpError, quoted: IPv4Packet) -> IPv4Packet:
        """An error about what we sent out: its quote shows us, and is to show the inside."""
        key = self._key(quoted).inverse
        found = self._flows.find(key)
        if found is None or packet.destination != self.outside:
            return packet
        inside, inside_key = _destination_inside(found[0], is_reply=found[1])
        if inside == self.outside:
            return packet
        quote = _rewritten(quoted, source=_End(inside, inside_key if _has_ports(key) else None))
        return _with_quote(replace(packet, destination=inside), error, quote)

    def _outbound_error(self, packet: IPv4Packet, error: IcmpError, quoted: IPv4Packet) -> IPv4Packet:
        """An error from the inside about what we let in: it must not show the inside."""
        key = self._key(quoted).inverse
        found = self._flows.find(key)
        if found is None:
            return packet
        outside, outside_key = _source_outside(found[0], is_reply=found[1])
        if outside != self.outside:
            return packet
        quote = _rewritten(quoted, destination=_End(outside, outside_key if _has_key(key) else None))
        return _with_quote(replace(packet, source=outside), error, quote)

    def _outside_key(self, key: FlowKey) -> int:
        """The port, identifier or Call ID that the flow gets outside: its own, or the next that is free towards this server."""
        if not _has_ports(key):
            return key.source_key
        mapping = self._of_inside.get((key.protocol, key.source, key.source_key))
        if self._planted.mapping is Mapping.ENDPOINT and mapping is not None and self._flows.lives(mapping.flow):
            return mapping.outside_port
        for port in chain(() if self._planted.new_ports else (key.source_key,), range(_FIRST_SPARE_PORT, 65536)):
            if self._is_free(key, port):
                return port
        return key.source_key

    def _is_free(self, key: FlowKey, port: int) -> bool:
        if self._flows.find(FlowKey(key.protocol, key.destination, key.destination_key, self.outside, port)) is not None:
            return False
        mapping = self._of_outside.get((key.protocol, port)) if self._maps else None
        return mapping is None or not self._flows.lives(mapping.flow)


def _source_outside(flow: Flow, *, is_reply: bool) -> tuple[IPv4Address, int]:
    """Where a packet of the flow that leaves by the outside comes from, for those there."""
    seen = flow.original.inverse if is_reply else flow.reply.inverse
    return seen.source, seen.source_key


def _destination_inside(flow: Flow, *, is_reply: bool) -> tuple[IPv4Address, int]:
    """Where a packet of the flow that came in by the outside goes to."""
    seen = flow.original.inverse if is_reply else flow.reply.inverse
    return seen.destination, seen.destination_key


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
