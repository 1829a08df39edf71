"""Frames of one capture to packet records, refusals and conversation summaries.

One pass over the frames offers each to the followers of the written list (`followers.registry`). The messages that they find become packet
records at the end, when it is known who the client is and at which end the capture was taken. ICMP errors are tied to the packets that they
quote. Live recorders and this decoder read packets through the same functions of `vpnprobe.evidence`, so both give the same checks, keys
and names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from vpnprobe.capture.checksums import Checksums
from vpnprobe.capture.copies import Copies
from vpnprobe.capture.departures import Departures, HostError
from vpnprobe.capture.directions import with_directions
from vpnprobe.capture.ends import Ends, EndsFinder
from vpnprobe.capture.followers.base import SMALL_TTL, CapturedMessage, PacketFollower
from vpnprobe.capture.followers.flows import HostPort
from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.capture.followers.tcp import RESET, TcpFollower
from vpnprobe.capture.followers.udp import UdpFollower
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.host_pairs import HostPairs, IcmpError
from vpnprobe.capture.linked_facts import with_linked_facts, without_missing
from vpnprobe.capture.logged_blocks import LoggedBlocks
from vpnprobe.capture.moves import Moves
from vpnprobe.capture.streams import connection_key
from vpnprobe.capture.tunnels import within
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import tcp_reach, udp_reach
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, Refusal, RefusalKind
from vpnprobe.observations.schema import ConversationSummary, Direction
from vpnprobe.wire.fingerprint import TcpFingerprint
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded, Unreachable, decode_icmp, decode_icmpv6
from vpnprobe.wire.ip import IpProtocol

CAPTURED_LIMIT: Final = 300_000
"""Most packets of one capture that are judged."""
LAYERS_LIMIT: Final = 4
"""Most packets, one within the other, that one frame is read as."""
ICMP_LIMIT: Final = 10_000
SEGMENTS_LIMIT: Final = 50_000
"""Most TCP segments that background loss is measured on."""
USUAL_TTL_LEAST: Final = 33
"""A sender whose highest TTL is below this is far away, and its low TTLs say nothing."""
OF_A_HOST: Final = frozenset((RefusalKind.PORT_UNREACHABLE, RefusalKind.PROTOCOL_UNREACHABLE))
_PROHIBITED: Final = frozenset((Unreachable.NET_PROHIBITED, Unreachable.HOST_PROHIBITED, Unreachable.ADMINISTRATIVELY_PROHIBITED))
_KINDS: Final[Mapping[int, RefusalKind]] = {
    Unreachable.PROTOCOL: RefusalKind.PROTOCOL_UNREACHABLE,
    Unreachable.PORT: RefusalKind.PORT_UNREACHABLE,
    **dict.fromkeys(_PROHIBITED, RefusalKind.PROHIBITED),
}


class Decoder:
    """One capture, frame by frame."""

    def __init__(self, *, excerpt: bool = False) -> None:
        """`excerpt`: whether packets may be left out, as of a text that somebody pastes: then nothing follows from what is missing."""
        self._excerpt = excerpt
        self.finder = EndsFinder()
        self.checksums = Checksums()
        self.logged_blocks = LoggedBlocks()
        self.copies = Copies()
        """Packets that are in it more than once: only the first of each is looked at."""
        self.icmp_errors: list[IcmpError] = []
        self.frames = 0
        self.first_at = float("inf")
        self.last_at = float("-inf")
        """When its first and last frame were seen, as `Frame.at`."""
        self.segments: dict[tuple[str, object], set[TcpFingerprint]] = {}
        """TCP segments by sender and connection, known by what no NAT changes."""
        self.cut = False
        """More was captured than is kept."""
        self._cut_frames = 0
        self._icmp_ways: set[tuple[str, str]] = set()
        """Source and destination of ICMP messages."""
        self.own = False
        """Whether the capture holds payloads of a vpnprobe run."""
        self._segments_kept = 0
        self._messages: list[CapturedMessage] = []
        self._by_hosts: HostPairs | None = None
        self._receipts: tuple[int, frozenset[int]] = (0, frozenset())
        self._quoted: tuple[int, frozenset[int]] = (0, frozenset())
        """As of so many frames."""
        self._summarised: tuple[int, list[ConversationSummary]] = (0, [])
        followed = [(spec, spec.packets()) for spec in FOLLOWERS if spec.packets is not None]
        self._followers = [follower for _, follower in followed]
        self._by_protocol = {number: follower for spec, follower in followed for number in spec.ip_protocols}
        by_port: dict[int, list[PacketFollower]] = {}
        for spec, follower in followed:
            for port in spec.udp_ports:
                by_port.setdefault(port, []).append(follower)
        self._udp = UdpFollower(
            by_port,
            of_any_port=[follower for spec, follower in followed if spec.any_udp_port],
            first=[follower for spec, follower in followed if spec.unmistakable],
        )
        self._tcp = TcpFollower(FOLLOWERS)

    def take(self, frame: Frame) -> None:
        self.frames += 1
        self._cut_frames += frame.cut
        self.first_at, self.last_at = min(self.first_at, frame.at), max(self.last_at, frame.at)
        if self.copies.is_copy(frame):
            return
        layer: Frame | None = frame
        for _ in range(LAYERS_LIMIT):
            if layer is not None:
                self._take_layer(layer)
                layer = layer.authenticated or within(layer)

    def _take_layer(self, frame: Frame) -> None:
        self.finder.take(frame)
        self.checksums.take(frame)
        self.logged_blocks.take(frame)
        for captured in self._seen_in(frame):
            self.own |= captured.own
            if len(self._messages) < CAPTURED_LIMIT:
                self._messages.append(captured)
            else:
                self.cut = True

    def _seen_in(self, frame: Frame) -> Iterable[CapturedMessage]:
        match frame.protocol:
            case IpProtocol.TCP:
                self._segment(frame)
                return self._tcp.take(frame)
            case IpProtocol.UDP:
                return self._udp.take(frame)
            case IpProtocol.ICMP | IpProtocol.ICMPV6:
                self._icmp(frame)
                return ()
        follower = self._by_protocol.get(frame.protocol)
        return follower.take(frame) if follower is not None else ()

    def _icmp(self, frame: Frame) -> None:
        if len(self._icmp_ways) < ICMP_LIMIT:
            self._icmp_ways.add((frame.source, frame.destination))
        decode = decode_icmp if frame.protocol == IpProtocol.ICMP else decode_icmpv6
        try:
            message = decode(frame.data)
        except DecodeError:
            return
        if len(self.icmp_errors) >= ICMP_LIMIT:
            return
        match message:
            case TimeExceeded(quote=quote):
                kind = None
            case DestinationUnreachable(code=code, quote=quote) if code != Unreachable.FRAGMENTATION_NEEDED:
                kind = _KINDS.get(code, RefusalKind.UNREACHABLE)
            case _:
                return
        self.icmp_errors.append(IcmpError(frame.number, frame.at, frame.source, frame.destination, kind, quote))

    def _segment(self, frame: Frame) -> None:
        segment = frame.tcp
        if segment is None or self._segments_kept >= SEGMENTS_LIMIT or (frame.ttl or USUAL_TTL_LEAST) < USUAL_TTL_LEAST:
            return
        self._segments_kept += 1
        identity = TcpFingerprint.of(segment, length=frame.tcp_payload_length, identification=frame.identification)
        self.segments.setdefault((frame.source, (connection_key(frame))), set()).add(identity)

    def told(self) -> list[str]:
        """What of the capture as a whole has to be known beside what is concluded from it."""
        said = (
            "only part of its packets was judged: it holds very many" if self.cut else None,
            f"{self._cut_frames} of its {self.frames} packets are cut short (snap length): messages are read as far as they go"
            if self._cut_frames
            else None,
            self.copies.told(self.frames),
        )
        return [one for one in said if one is not None]

    @property
    def captured_messages(self) -> list[CapturedMessage]:
        """In the order of their frames."""
        return self._messages

    def ends(self) -> Ends | None:
        """The one pair that the VPN traffic is between, of conversations that have moved at their beginning; None: there is none."""
        return self.finder.ends(map(self.moves.begun, self._messages))

    @property
    def moves(self) -> Moves:
        """What is known so far of conversations that have moved."""
        return self.hosts.moves

    @property
    def hosts(self) -> HostPairs:
        """What was seen so far by the pairs of hosts that it is between."""
        if self._by_hosts is None or self._by_hosts.frames != self.frames:
            moves = Moves(moved for follower in self._followers for moved in follower.moved())
            self._by_hosts = HostPairs(self.frames, self._messages, self.icmp_errors, moves)
        return self._by_hosts

    def conversations(self) -> list[ConversationSummary]:
        """All VPN conversations, in the order of their first frames."""
        if self._summarised[0] != self.frames:
            self._summarised = (self.frames, self._summaries())
        return self._summarised[1]

    def _summaries(self) -> list[ConversationSummary]:
        clients = {
            captured.source[0] if captured.from_client else captured.destination[0]: None
            for captured in self._messages
            if captured.from_client is not None
        }
        pairs = {(captured.source[0], captured.destination[0]) for captured in self._messages if captured.from_client is not None}
        for flow in (flow for follower in self._followers for flow in follower.clientless()):
            addresses = (flow.ends[0][0], flow.ends[1][0])
            openers = [end for end in flow.ends if end[0] in clients]
            if flow.client is None and len(openers) == 1 and (addresses in pairs or addresses[::-1] in pairs):
                flow.client = openers[0]
        found = [*self._tcp.summaries(), *(summary for follower in self._followers for summary in follower.summaries())]
        for link in (spec.linked for spec in FOLLOWERS if spec.linked is not None):
            found = list(link(found))
        if self._excerpt:
            found = without_missing(found)
        found = with_directions(found, self.finder.ways | self._icmp_ways)
        found = with_linked_facts(found, self.icmp_errors, self.checksums, self.logged_blocks, last_at=self.last_at)
        return sorted(found, key=lambda summary: (summary.first_frame or 0, summary.protocol))

    def recurring_keys(self, ends: Ends) -> set[str]:
        """Keys of this pair that may come again in another attempt, so that they do not show two captures to be of the same one."""
        return {captured.key for captured in self.hosts.messages(ends) if captured.recurs}

    def receipts(self, ends: Ends, sent_by: Vantage) -> tuple[PacketRecord, ...]:
        """What an end sent and the other is proved to have got, as records of the other, though nobody captured there."""
        proved = self._proved()
        at, own = Vantage.SERVER if sent_by is Vantage.CLIENT else Vantage.CLIENT, self.own
        moves = self.hosts.moves
        placed = ((one, moves.between(one, ends)) for one in self.hosts.messages(ends) if one.proved or one.number in proved)
        return tuple(
            replace(self._packet_record(between, ends, at, own=own, ttl_limited=False, moved=True), peer=None, ttl=None)
            for one, between in placed
            if between is not None and between.message != RESET and (between.source[0] == ends.client) == (sent_by is Vantage.CLIENT)
        )

    def record(self, ends: Ends, vantage: Vantage) -> EndRecord:
        """What the capture says as the record of one end."""
        own, moves = self.own, self.hosts.moves
        placed = [(captured, moves.between(captured, ends)) for captured in self.hosts.messages(ends)]
        ours = [between for _, between in placed if between is not None]
        quoted, icmp_errors = QuotedMessages(ours), self.hosts.icmp_errors(ends)
        errors = [HostError(e.at, e.kind, e.source, e.quote, quoted.captured_messages(e.quote)) for e in icmp_errors]
        departures = Departures(ours, errors)
        came = self._quoted_by_their_addressees()
        packet_records = tuple(
            self._packet_record(between, ends, vantage, own=own, ttl_limited=self.ttl_limited(captured), moved=between is not captured)
            for captured, between in placed
            if between is not None and between.message != RESET and (captured.number in came or not departures.had_left(between))
        )
        standing = [one for one, error in zip(icmp_errors, errors, strict=True) if not departures.explain(error)]
        refusals = [*self._resets(ours, ends, vantage), *self._refusals(standing, quoted, ends, vantage)]
        return EndRecord(packet_records, tuple(dict.fromkeys(refusals)), recorded=True, sees_closed_ports=True)

    def _proved(self) -> frozenset[int]:
        """Frames of packets that came to the other end, as of now."""
        frames, known = self._receipts
        if frames != self.frames:
            found = set(self._tcp.receipts()).union(*(follower.receipts() for follower in self._followers))
            known = frozenset(found | self._quoted_by_their_addressees())
            self._receipts = (self.frames, known)
        return known

    def _quoted_by_their_addressees(self) -> frozenset[int]:
        """Frames of packets that their addressee's own host refuses: they came there."""
        frames, known = self._quoted
        if frames != self.frames:
            known = self._find_quoted()
            self._quoted = (self.frames, known)
        return known

    def _find_quoted(self) -> frozenset[int]:
        errors = [error for error in self.icmp_errors if error.kind in OF_A_HOST and error.source == str(error.quote.destination)]
        quoted = QuotedMessages(self._messages) if errors else None
        if quoted is None:
            return frozenset()
        held = ((error.quote.identification, one) for error in errors for one in quoted.captured_messages(error.quote))
        return frozenset(one.number for identification, one in held if identification and one.identification == identification)

    @staticmethod
    def _packet_record(
        captured: CapturedMessage, ends: Ends, vantage: Vantage, *, own: bool, ttl_limited: bool, moved: bool
    ) -> PacketRecord:
        from_client = captured.source[0] == ends.client
        sent = from_client == (vantage is Vantage.CLIENT)
        return PacketRecord(
            vantage=vantage,
            movement=Movement.SENT if sent else Movement.RECEIVED,
            at=captured.at,
            check=_check(captured, ends),
            key=_key(captured, own=own),
            message=captured.message,
            size=captured.size,
            ttl=captured.ttl,
            ttl_limited=ttl_limited,
            peer=captured.destination if sent else captured.source,
            detail=captured.detail,
            purpose=captured.purpose,
            local=None if moved else captured.source if sent else captured.destination,
        )

    def ttl_limited(self, captured: CapturedMessage) -> bool:
        """Whether a packet is a copy with a small TTL: far below that of its sender's other packets."""
        usual = self.finder.highest_ttl.get(captured.source[0], 0)
        return captured.ttl is not None and captured.ttl <= SMALL_TTL and usual >= USUAL_TTL_LEAST

    def check(self, captured: CapturedMessage, ends: Ends) -> Check:
        """What a packet asks, now that it is known which end is the client."""
        return _check(captured, ends)

    def _resets(self, captured_messages: Iterable[CapturedMessage], ends: Ends, vantage: Vantage) -> Iterable[Refusal]:
        """RSTs that answered SYNs of the client's."""
        if vantage is Vantage.CLIENT:
            for captured in captured_messages:
                if captured.message == RESET and captured.source[0] == ends.server:
                    yield Refusal(_check(captured, ends), Direction.C2S, RefusalKind.RST, captured.source[0], captured.key)

    def _refusals(self, errors: Iterable[IcmpError], quoted: "QuotedMessages", ends: Ends, vantage: Vantage) -> Iterable[Refusal]:
        """ICMP errors about what this end sent."""
        here, there = (ends.client, ends.server) if vantage is Vantage.CLIENT else (ends.server, ends.client)
        direction = Direction.C2S if vantage is Vantage.CLIENT else Direction.S2C
        for error in errors:
            if error.kind is None or (str(error.quote.source), str(error.quote.destination)) != (here, there):
                continue
            for check, key in quoted.of(error.quote, ends, own=self.own):
                yield Refusal(check, direction, error.kind, error.source, key)


class QuotedMessages:
    """Finds the packets that ICMP errors quote: by IP identification where it tells, else by their flow."""

    def __init__(self, captured_messages: Iterable[CapturedMessage]) -> None:
        self._by_identification: dict[tuple[object, ...], list[CapturedMessage]] = {}
        self._by_flow: dict[tuple[object, ...], list[CapturedMessage]] = {}
        for captured in captured_messages:
            flow = (captured.source, captured.destination, captured.protocol)
            self._by_identification.setdefault((*flow, captured.identification), []).append(captured)
            last = self._by_flow.setdefault(flow, [])
            last[:] = [*last[-3:], captured]

    def captured_messages(self, quote: Quote) -> list[CapturedMessage]:
        """The packets that may have been quoted, likeliest first; empty: none is known."""
        ports = quote.ports or (None, None)
        source: HostPort = (str(quote.source), ports[0])
        destination: HostPort = (str(quote.destination), ports[1])
        flow = (source, destination, quote.protocol)
        if quote.identification:
            exact = self._by_identification.get((*flow, quote.identification))
            if exact:
                return exact
        return self._by_flow.get(flow, [])[-1:]

    def of(self, quote: Quote, ends: Ends, *, own: bool) -> list[tuple[Check, str]]:
        """Checks and keys of what was quoted; of packets that the capture does not hold, by protocol and port alone."""
        found = [(_check(captured, ends), _key(captured, own=own)) for captured in self.captured_messages(quote)]
        if found:
            return found
        port = (quote.ports or (0, 0))[1 if str(quote.source) == ends.client else 0]
        match quote.protocol:
            case IpProtocol.TCP:
                return [(tcp_reach(port), "")]
            case IpProtocol.UDP:
                return [(udp_reach(port), "")]
        quoted = next((spec.quoted for spec in FOLLOWERS if spec.quoted is not None and quote.protocol in spec.ip_protocols), None)
        return [(quoted(quote), "")] if quoted is not None else []


def _key(captured: CapturedMessage, *, own: bool) -> str:
    return captured.own_key if own and captured.own_key else captured.key


def _check(captured: CapturedMessage, ends: Ends) -> Check:
    port = captured.destination[1] if captured.source[0] == ends.client else captured.source[1]
    return captured.check_of(port or 0)
