"""TTL-limited copies of packets, matched to what routers answer by the quotes: one end's raw ICMP socket.

Each copy has an IP identification of its own, which every quote carries (RFC 792: the IP header and 8 bytes). The same tap ties ICMP
errors to our packets. Which copies are sent is for `endpoint.hop_search`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vpnprobe.endpoint.probe_packets import ProbePacketMaker
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord, RefusalKind, TtlTrace
from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, Quote, TimeExceeded, Unreachable, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

UNKNOWN_DISTANCE: Final = 16
HIGHEST_TTL: Final = 30
INITIAL_TTLS: Final = (64, 128, 255)

KINDS: Final = {
    Unreachable.PROTOCOL: RefusalKind.PROTOCOL_UNREACHABLE,
    Unreachable.PORT: RefusalKind.PORT_UNREACHABLE,
    Unreachable.NET_PROHIBITED: RefusalKind.PROHIBITED,
    Unreachable.HOST_PROHIBITED: RefusalKind.PROHIBITED,
    Unreachable.ADMINISTRATIVELY_PROHIBITED: RefusalKind.PROHIBITED,
}

OnUnreachable = Callable[[Quote, Address, RefusalKind], None]


@dataclass(eq=False, slots=True)
class Copied:
    """One kind of packet that copies are sent of, and what came of them."""

    check: Check
    make: ProbePacketMaker
    answered: dict[int, str] = field(default_factory=dict)
    """By TTL: the router that said that it ended there."""
    refused: dict[int, str] = field(default_factory=dict)
    """By TTL: who answered that it does not let them through."""
    sent: Counter[int] = field(default_factory=Counter)
    """By TTL: how many copies."""
    reached: int | None = None
    """The lowest TTL that an echo reply came for; of other kinds the other end's record tells."""


@dataclass(eq=False, slots=True)
class Copy:
    """One TTL-limited packet that was sent."""

    of: Copied
    ttl: int
    destination: Address
    protocol: int
    at: float
    """When it was sent, seconds on the stack's clock."""
    size: int
    """Bytes behind the IP header."""
    answered: bool = False
    """A router said that its TTL ended there."""


class IcmpTap:
    """One end's raw ICMP socket: answers to TTL-limited copies, and refusals of what was sent."""

    def __init__(self, stack: NetworkStack, on_unreachable: OnUnreachable) -> None:
        """Raises CannotRun without Capability.RAW_IP."""
        self.stack = stack
        self._on_unreachable = on_unreachable
        self._copies: dict[int, Copy] = {}
        """Those of traces under way, by IP identification."""
        self._identification = int.from_bytes(stack.entropy(2), "big")
        self._raw = stack.raw(1, self._came)

    def close(self) -> None:
        self._raw.close()

    def _came(self, datagram: Datagram) -> None:
        try:
            message = decode_icmp(datagram.data)
        except DecodeError:
            return
        match message:
            case TimeExceeded(quote=quote):
                self._ended(quote, str(datagram.source.address))
            case DestinationUnreachable(code=code, quote=quote):
                self._refused(quote, str(datagram.source.address))
                self._on_unreachable(quote, datagram.source.address, unreachable_kind(code))
            case EchoReply(sequence=sequence):
                self._echoed(sequence, datagram.source.address)
            case _:
                return

    def _copy(self, quote: Quote) -> Copy | None:
        """The copy that is quoted; None: it is none of those under way."""
        copy = self._copies.get(quote.identification or 0)
        # Others on this host trace too: the identification alone is 16 bits that anybody may use.
        fits = copy is not None and (quote.destination, quote.protocol) == (copy.destination, copy.protocol)
        return copy if fits else None

    def _ended(self, quote: Quote, router: str) -> None:
        if (copy := self._copy(quote)) is not None:
            copy.answered = True
            copy.of.answered.setdefault(copy.ttl, router)

    def _refused(self, quote: Quote, source: str) -> None:
        if (copy := self._copy(quote)) is not None:
            copy.of.refused.setdefault(copy.ttl, source)

    def _echoed(self, sequence: int, source: Address) -> None:
        copy = self._copies.get(sequence)
        if copy is not None and source == copy.destination:
            copy.of.reached = min(copy.ttl, copy.of.reached or copy.ttl)

    def next_identification(self) -> int:
        """1 to 65535, each once in a long while."""
        self._identification = self._identification % 65535 + 1
        return self._identification

    def forget(self, copies: Iterable[Copy]) -> None:
        """What still comes for these is nobody's."""
        gone = set(copies)
        self._copies = {number: copy for number, copy in self._copies.items() if copy not in gone}

    def send(self, recorder: Recorder, of: Copied, *, source: Address, destination: Address, ttl: int) -> Copy:
        """Sends one copy, and records it unless it is a packet sent again."""
        identification = self.next_identification()
        probe_packet = of.make(identification)
        of.sent[ttl] += 1
        copy = Copy(of, ttl, destination, probe_packet.protocol, self.stack.now(), len(probe_packet.payload))
        self._copies[identification] = copy

        def send() -> bool:
            if source.version != 4 or destination.version != 4:
                return False
            kind, data, whole = probe_packet.protocol, probe_packet.payload, probe_packet.dont_fragment
            return self.stack.send_packet(IPv4Packet(source, destination, kind, ttl, identification, data, dont_fragment=whole).encode())

        if probe_packet.key:
            size, to = len(probe_packet.payload), Endpoint(destination, 0)
            recorder.leaving(
                send, of.check, probe_packet.key, message=probe_packet.message, size=size, ttl=ttl, to=to, detail=probe_packet.detail
            )
        else:
            send()
        return copy


def check_of(quote: Quote, *, server_port: Callable[[int, int], int]) -> Check | None:
    """What a quoted packet of ours asked; `server_port(source, destination)` picks the server's. None: none of ours."""
    if quote.protocol == IpProtocol.GRE:
        enhanced = len(quote.first_bytes) > 1 and quote.first_bytes[1] & 7 == 1
        return checks.GRE_IN_CALL if enhanced else checks.GRE_BARE
    if quote.protocol == IpProtocol.ESP:
        return checks.ESP
    if quote.ports is None:
        return None
    port = server_port(*quote.ports)
    return checks.udp_reach(port) if quote.protocol == IpProtocol.UDP else checks.tcp_reach(port)


def unreachable_kind(code: int) -> RefusalKind:
    """What a destination-unreachable code says (RFC 792, RFC 1812 section 5.2.7.1)."""
    return next((kind for known, kind in KINDS.items() if known == code), RefusalKind.UNREACHABLE)


def distance(record: EndRecord) -> int:
    """Hops to the sender of what this end received, from the TTL that was left; UNKNOWN_DISTANCE where no TTL is known."""
    left = [s.ttl for s in record.packet_records if s.movement is Movement.RECEIVED and s.ttl]
    if not left:
        return UNKNOWN_DISTANCE
    initial = next(ttl for ttl in INITIAL_TTLS if ttl >= max(left))
    return min(HIGHEST_TTL, initial - max(left) + 1)


def with_reach(
    trace: TtlTrace, sender: Mapping[Check, Sequence[PacketRecord]], receiver: Mapping[Check, Sequence[PacketRecord]]
) -> TtlTrace:
    """The trace with the lowest TTL that the receiving end's records show to have arrived; both ends' by their check."""
    ttls = {s.key: s.ttl for s in sender.get(trace.check, ()) if s.ttl_limited and s.ttl is not None}
    # Attempts of several checks may have one key, the client's port.
    came = [ttls[s.key] for s in receiver.get(trace.check, ()) if s.movement is Movement.RECEIVED and s.key in ttls]
    reached = [ttl for ttl in [*came, trace.reached] if ttl is not None]
    return replace(trace, reached=min(reached, default=None))
