"""What this host's own firewall takes of the packets that come, though it lets others of their kind in.

A datagram that stands in this end's own capture, whole and unbroken, and that never came out of the socket that was open for it was taken
in between: by this host. That is sure where something that came behind it is out. Otherwise nothing is said of what came while the program
was late or soon before the socket was closed; and never of what came before it was open, where its buffer overflowed, of fragments of
which one is missing, nor of anything once more came than is remembered. What comes twice counts once, and is taken only where none of it
came out.

UDP, GRE and ESP over IPv4. TCP's sockets do not tell segments apart: see `endpoint.taken_segments`.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.socket_log import Slot, SocketLog, digest_of
from vpnprobe.endpoint.taken_segments import TakenSegments
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.evidence.taken import Taken, TakenPackets, Unnamed
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.fragments import Reassembly, is_fragment
from vpnprobe.transports.stack import Address, Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram, checksum_fits_or_is_left

TRANSPORTS: Final = {int(IpProtocol.UDP): Transport.UDP, int(IpProtocol.GRE): Transport.GRE, int(IpProtocol.ESP): Transport.ESP}
IPV4_PROTOCOL_AT: Final = 9
IPV4_HEADER: Final = 20
READ_WITHIN_S: Final = 0.5
"""A program that is not late has read by then what came to a socket of its own."""
ANOTHER_ORDER_S: Final = 0.05
MOST_REMEMBERED: Final = 50_000
"""Datagrams that came to the wire, and out of sockets: a record holds no more rows."""
MOST_WAITING_BYTES: Final = 16 << 20
"""Of datagrams that have not come out of a socket."""


class _Place(NamedTuple):
    """Where a datagram stands among those that the wire showed."""

    number: int
    at_unix: float
    """When the kernel saw it."""

    def is_before(self, other: "_Place") -> bool:
        """Whether it surely came to the host first: several processors may take packets of several flows in another order."""
        return self.number < other.number and self.at_unix + ANOTHER_ORDER_S <= other.at_unix


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One datagram on the wire."""

    at: float
    """On the network stack's clock."""
    place: _Place
    size: int
    """Bytes of the IP packet."""
    server_port: int | None
    content: bytes


Key = tuple[Slot, str]
Place = tuple[Transport, int | None]
"""Protocol, and the server's port."""


class TakenPacketsObserver:
    """Listens to a run capture and to a log of sockets."""

    def __init__(self, recorder: Recorder, sockets: SocketLog, peer: Address, session_tag: int) -> None:
        self.recorder = recorder
        self._sockets = sockets
        self._peer = peer
        self._session_tag = session_tag
        self._segments = TakenSegments(recorder.vantage)
        self._reassembly = Reassembly(recorder.stack.now)
        self._seen: dict[Key, tuple[Place, int, _Place]] = {}
        """What came to the wire, with the bytes of its IP packet."""
        self._last_out: dict[Slot, _Place] = {}
        """The newest that came out of each socket."""
        self._waiting: dict[Key, _Arrival] = {}
        """Of that what has not come out of a socket."""
        self._waiting_bytes = 0
        self._delivered: set[Key] = set()
        self._too_many = False
        sockets.listeners.append(self.delivered)

    def close(self) -> None:
        if self.delivered in self._sockets.listeners:
            self._sockets.listeners.remove(self.delivered)

    def delivered(self, slot: Slot, source: Address, content: bytes) -> None:
        """A socket of this program got a datagram."""
        if source != self._peer or self._too_many:
            return
        key = (slot, digest_of(content))
        self._delivered.add(key)
        if (seen := self._seen.get(key)) is not None:
            self._came_out(slot, seen[2])
        if (arrival := self._waiting.pop(key, None)) is not None:
            self._waiting_bytes -= len(arrival.content)
        self._forget(too_many=len(self._delivered) > MOST_REMEMBERED)

    def _forget(self, *, too_many: bool) -> None:
        """Nothing is told once it is too many, so nothing need be kept."""
        if too_many:
            self._too_many = True
            for kept in (self._delivered, self._seen, self._waiting, self._last_out):
                kept.clear()

    def _came_out(self, slot: Slot, place: _Place) -> None:
        self._last_out[slot] = max(place, self._last_out.get(slot, place))

    def __call__(self, packet: Packet) -> None:
        """Notes a datagram that came to the wire."""
        data = packet.data
        self._segments(packet)
        if packet.outgoing or packet.cut or self._too_many or len(data) < IPV4_HEADER or data[0] >> 4 != 4:
            return
        if data[IPV4_PROTOCOL_AT] not in TRANSPORTS:
            return
        try:
            whole = self._whole(IPv4Packet.decode(data))
            if whole is not None and whole.source == self._peer:
                self._came(whole, packet.at)
        except DecodeError:
            return

    def _whole(self, ip: IPv4Packet) -> IPv4Packet | None:
        if ip.truncated:
            return None
        if not is_fragment(ip):
            return ip
        put_together = self._reassembly.take(ip)
        return put_together.packet if put_together is not None else None

    def _came(self, ip: IPv4Packet, at_unix: float) -> None:
        slot, server_port, content = Slot(ip.protocol), None, ip.payload
        if ip.protocol == IpProtocol.UDP:
            datagram = UdpDatagram.decode(ip.payload)
            if datagram.truncated or not checksum_fits_or_is_left(ip.source, ip.destination, IpProtocol.UDP, ip.payload):
                return
            slot, content = Slot(ip.protocol, datagram.destination_port), datagram.payload
            at_server = self.recorder.vantage is Vantage.SERVER
            server_port = datagram.destination_port if at_server else datagram.source_port
        when, key = self._sockets.when_open(slot), (slot, digest_of(content))
        if when is None or when.to_s is not None or at_unix < when.from_unix or not _is_bound(when.address, ip.destination):
            return
        if key in self._seen:
            return
        place = _Place(len(self._seen), at_unix)
        self._seen[key] = ((TRANSPORTS[ip.protocol], server_port), ip.total_length, place)
        if key in self._delivered:
            self._came_out(slot, place)
        else:
            self._waiting[key] = _Arrival(self.recorder.stack.now(), place, ip.total_length, server_port, content)
            self._waiting_bytes += len(content)
        self._forget(too_many=len(self._seen) > MOST_REMEMBERED or self._waiting_bytes > MOST_WAITING_BYTES)

    def found(self, tcp_ports: Container[int]) -> TakenPackets:
        """What has been taken so far. `tcp_ports`: of the server, those that are probed.

        Whatever has not come out of its socket arrived; which of that was taken is told in `parts`."""
        if self._too_many or self.recorder.dropped:
            return TakenPackets()
        named: list[PacketRecord] = []
        unnamed: list[Unnamed] = []
        for (slot, digest), arrival in self._waiting.items():
            at = arrival.at - self.recorder.began
            identities = self._identified(slot, arrival)
            named += [self._record(identity, at, arrival) for identity in identities]
            if not identities:
                unnamed.append(Unnamed(digest, at))
        taken = {key: arrival for key, arrival in self._waiting.items() if self._is_taken(key[0], arrival)}
        parts = (*self._parts(taken), *self._segments.parts(tcp_ports))
        return TakenPackets(parts, tuple(named), tuple(unnamed))

    def _is_taken(self, slot: Slot, arrival: _Arrival) -> bool:
        """A socket gives out what came in its order: what came behind it and is out shows that it was not there, however late it is."""
        when, read_by = self._sockets.when_open(slot), arrival.at + READ_WITHIN_S
        if when is None or when.overflowed or when.from_s > arrival.at:
            return False
        if (out := self._last_out.get(slot)) is not None and arrival.place.is_before(out):
            return True
        if not when.covers(arrival.at, read_by) or self.recorder.stack.now() < read_by:
            return False
        from_s, to_s = arrival.at - self.recorder.began, read_by - self.recorder.began
        return not any(late.from_s <= to_s and from_s <= late.to_s + READ_WITHIN_S for late in self.recorder.late)

    def _parts(self, taken: dict[Key, _Arrival]) -> Iterator[Taken]:
        """By protocol and port, where enough was taken to be told."""
        for place in dict.fromkeys(self._seen[key][0] for key in taken):
            sizes = {
                key: size for key, (where, size, _) in self._seen.items() if where == place and (key in taken or key in self._delivered)
            }
            kept = [size for key, size in sizes.items() if key in taken]
            let_in = [size for key, size in sizes.items() if key not in taken]
            if len(kept) >= LEAST_TRIALS and let_in:
                yield Taken(*place, len(kept), len(sizes), min(kept), max(let_in))

    def _identified(self, slot: Slot, arrival: _Arrival) -> Sequence[PacketIdentity]:
        """What a datagram says of itself; empty: only its sender knows."""
        if slot.protocol == IpProtocol.GRE:
            found: Sequence[PacketIdentity | None] = identify.gre(arrival.content)
        elif slot.protocol == IpProtocol.ESP:
            found = [identify.esp(checks.ESP, arrival.content)]
        else:
            found = [identify.datagram(arrival.server_port or 0, arrival.content)]
        ours = (i for i in found if i is not None)
        return [i for i in ours if i.session_tag == self._session_tag or (i.session_tag is None and "call_id" in i.detail)]

    def _record(self, identity: PacketIdentity, at: float, arrival: _Arrival) -> PacketRecord:
        return PacketRecord(
            self.recorder.vantage,
            Movement.RECEIVED,
            at,
            identity.check,
            identity.key,
            identity.message,
            len(arrival.content),
            detail=identity.detail,
            purpose=identity.purpose,
        )


def named(unnamed: Sequence[Unnamed], name: Callable[[str], PacketRecord | None], vantage: Vantage) -> tuple[PacketRecord, ...]:
    """What was taken at one end, as the other end's record names it. `vantage`: of the end that took it."""
    told = ((one, name(one.digest)) for one in unnamed)
    return tuple(
        replace(sent, vantage=vantage, movement=Movement.RECEIVED, at=one.at, ttl=None, peer=None, local=None)
        for one, sent in told
        if sent is not None
    )


def _is_bound(bound: Address, destination: IPv4Address) -> bool:
    return bound.is_unspecified or bound == destination
