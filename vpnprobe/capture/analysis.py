"""What one capture says, and what the captures of both ends say together: observations, conversations, and what they rest on.

Pure but for reading files. One end alone cannot show that what it sent did not arrive: its silence is `no-answer`. Two ends are joined
packet by packet where they are of the same attempt, which their nonces show; of two attempts only what each end sent and what it got can
be compared, and `Examined.joined` says so. A capture that shows nothing of the two hosts proves nothing. Verdicts are for `vpnprobe.rules`.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from vpnprobe.capture.background import background_of
from vpnprobe.capture.data_records import while_watched, with_answers
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.host_firewall import as_heard
from vpnprobe.capture.placing import traces_of
from vpnprobe.capture.reading import CaptureInput, PacketTrace
from vpnprobe.evidence.circumstances import Circumstances
from vpnprobe.evidence.clocks import clock_offset
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import ConversationSummary, Direction, Evidence, Observation, Transport

EVIDENCE_KEPT: Final = 4
"""Frames of each capture that are named beside an observation."""
SILENT: Final = EndRecord(recorded=False)
"""The record of an end that nobody captured at."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end's traces."""

    file: str
    traces: tuple[PacketTrace, ...]
    ends: Ends | None
    """None: there is no VPN traffic in them."""
    started: str | None
    """When its first packet was seen: date and time in UTC, or the time of day of a trace without dates."""
    clock_offset_s: float | None = None
    """Of a server's side: how far its clock is ahead of the client's, seconds; None: not known."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What captures say."""

    observations: tuple[Observation, ...]
    conversations: tuple[ConversationSummary, ...]
    client: Side | None
    """None: nobody captured there."""
    server: Side | None
    joined: bool = True
    """False: the two ends' captures have no packet in common, as those of two attempts."""

    @property
    def ends(self) -> Ends | None:
        """The addresses as the client's end has them."""
        sides = [side.ends for side in (self.client, self.server) if side is not None and side.ends is not None]
        return sides[0] if sides else None


def examine(capture: CaptureInput) -> tuple[Examined, Vantage | None]:
    """One input by itself, and the end that it was taken at (None: not known, or both).

    A printed text with a trace of each end is a pair.
    """
    groups = _by_vantage(capture.traces)
    conversations = _conversations([capture])
    clients, servers = groups[Vantage.CLIENT], groups[Vantage.SERVER]
    if clients and servers:
        pair = _compare(_side(capture, clients), _side(capture, servers))
        return replace(pair, conversations=conversations), None
    if not clients and not servers:
        return Examined((), conversations, None, None), None
    vantage = Vantage.CLIENT if clients else Vantage.SERVER
    return replace(_alone(capture, vantage), conversations=conversations), vantage


def examine_at(capture: CaptureInput, vantage: Vantage) -> Examined:
    """One capture that the caller knows to be of one end."""
    return replace(_alone(capture, vantage), conversations=_conversations([capture]))


def examine_pair(client: CaptureInput, server: CaptureInput) -> Examined:
    """The captures of both ends."""
    pair = _compare(_side(client, client.traces), _side(server, server.traces))
    return replace(pair, conversations=_conversations([client, server]))


def _by_vantage(traces: Sequence[PacketTrace]) -> dict[Vantage | None, list[PacketTrace]]:
    groups: dict[Vantage | None, list[PacketTrace]] = {Vantage.CLIENT: [], Vantage.SERVER: [], None: []}
    for trace in traces:
        ends = trace.ends
        groups[trace.vantage(ends) if ends is not None else None].append(trace)
    return groups


def _side(capture: CaptureInput, traces: Sequence[PacketTrace]) -> Side:
    ends = next((trace.ends for trace in traces if trace.ends is not None), None)
    seen = [trace for trace in traces if trace.first_at is not None]
    return Side(capture.file, tuple(traces), ends, _started(seen[0]) if seen else None)


def _started(trace: PacketTrace) -> str:
    moment = datetime.fromtimestamp(trace.first_at or 0.0, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if trace.dated else f"{moment:%H:%M:%S}"


def _alone(capture: CaptureInput, vantage: Vantage) -> Examined:
    side = _side(capture, capture.traces)
    if side.ends is None:
        return Examined((), (), None, None)
    side = replace(side, ends=_known(side, vantage))
    seen = _record(side, vantage)
    own = as_heard(seen)
    is_client = vantage is Vantage.CLIENT
    # Of a run of ours the server sends requests of its own: what seems an answer need not be one.
    other = SILENT if any(decoder.own for decoder in _decoders(side)) else with_answers(own)
    records = (own, other) if is_client else (SILENT, own)
    assert side.ends is not None
    facts = PathFacts(client_address=side.ends.client) if is_client else PathFacts(client_seen_as=side.ends.client)
    facts = _noted(replace(facts, traces=tuple(traces_of(_decoders(side), side.ends, vantage, SILENT))), side, vantage)
    observations = judge(*records, facts)
    return Examined(
        observations=_with_evidence(observations, [(side, seen)]),
        conversations=(),
        client=side if is_client else None,
        server=None if is_client else side,
    )


def _known(side: Side, vantage: Vantage) -> Ends | None:
    """The ends, where who the client is follows from where the capture was taken."""
    if side.ends is None or side.ends.client_known:
        return side.ends
    local = next((found for d in _decoders(side) if (found := d.finder.local(side.ends)) is not None), None)
    is_client = (local == side.ends.client) == (vantage is Vantage.CLIENT)
    if local is None or is_client:
        return side.ends
    return Ends(client=side.ends.server, server=side.ends.client)


def _compare(client: Side, server: Side) -> Examined:
    client, server = _oriented(client, server, Vantage.CLIENT), _oriented(server, client, Vantage.SERVER)
    records = _record(client, Vantage.CLIENT), _record(server, Vantage.SERVER)
    joined = _have_common_packets(*records, _recurring_keys(client, server))
    if not joined:
        meanwhile = _recorded_meanwhile(client, server, records[0]), _recorded_meanwhile(server, client, records[1])
        records = meanwhile if _have_a_host_in_common(client, server) else (records[0], SILENT)
    clocks = clock_offset(*records) if joined else None
    ahead_s = clocks.offset_s if clocks is not None else None
    records = (
        while_watched(records[0], records[1], _watched(server), ahead_s),
        while_watched(records[1], records[0], _watched(client), -ahead_s if ahead_s is not None else None),
    )
    seen_as = _seen_as(client, server, joined=joined)
    if client.ends is not None and server.ends is not None and seen_as == client.ends.client != server.ends.client:
        records = _anywhere(records[0]), records[1]
    facts = PathFacts(
        client_address=client.ends.client if client.ends is not None else None,
        server_address=client.ends.server if client.ends is not None else None,
        client_seen_as=seen_as,
        server_own_addresses={Transport.IP: server.ends.server} if joined and server.ends is not None else {},
        clock_offset_s=ahead_s,
        clock_uncertainty_s=clocks.uncertainty_s if clocks is not None else None,
        background=background_of(_decoders(client), _decoders(server), client.ends, server.ends) if joined else {},
        traces=(
            *(traces_of(_decoders(client), client.ends, Vantage.CLIENT, records[1]) if client.ends is not None else ()),
            *(traces_of(_decoders(server), server.ends, Vantage.SERVER, records[0]) if server.ends is not None else ()),
        ),
        joined=joined,
    )
    facts = _noted(_noted(facts, client, Vantage.CLIENT), server, Vantage.SERVER)
    observations: Sequence[Observation] = judge(as_heard(records[0]), as_heard(records[1]), facts)
    if not joined:
        observations = [_of_two_attempts(observation) for observation in observations]
    return Examined(
        observations=_with_evidence(observations, [(client, records[0]), (server, records[1])]),
        conversations=(),
        client=client,
        server=replace(server, clock_offset_s=ahead_s),
        joined=joined,
    )


def _seen_as(client: Side, server: Side, *, joined: bool) -> str | None:
    """The address that the server's capture has for the client: another than the client's own only where packets of both are joined.

    Where the client has moved, the two captures may begin at different addresses of it.
    Two captures without a packet in common may be of other hosts, and show no NAT between them.
    """
    if client.ends is None or server.ends is None:
        return None
    if _addresses(client, client.ends)[0] & _addresses(server, server.ends)[0]:
        return client.ends.client
    return server.ends.client if joined else None


def _anywhere(record: EndRecord) -> EndRecord:
    """The record without the end's own addresses: it has moved, and another of them at the other end is no NAT's doing."""
    return replace(record, packet_records=tuple(replace(one, local=None) for one in record.packet_records))


def _addresses(side: Side, ends: Ends) -> tuple[frozenset[str], frozenset[str]]:
    """All addresses that a side's captures show the client and the server to have had: an end may move."""
    found = [decoder.moves.addresses(ends) for decoder in _decoders(side)]
    return frozenset().union(*(clients for clients, _ in found)), frozenset().union(*(servers for _, servers in found))


def _of_two_attempts(observation: Observation) -> Observation:
    """What the packets of one attempt are at the other end cannot be said of two."""
    detail = {name: value for name, value in observation.detail.items() if name != "arrived_at_server"}
    return replace(observation, detail={**detail, "joined": False})


def _oriented(side: Side, other: Side, vantage: Vantage) -> Side:
    """Takes over from the other end who the client is, where this one does not show it."""
    if side.ends is None or side.ends.client_known:
        return side
    if other.ends is not None and other.ends.client_known:
        ours = (side.ends.client, side.ends.server)
        if other.ends.client == ours[1] or other.ends.server == ours[0]:
            return replace(side, ends=Ends(ours[1], ours[0]))
        if other.ends.client == ours[0] or other.ends.server == ours[1]:
            return replace(side, ends=Ends(*ours))
    return replace(side, ends=_known(side, vantage))


def _decoders(side: Side) -> list[Decoder]:
    return [trace.decoder for trace in side.traces]


def _record(side: Side, vantage: Vantage) -> EndRecord:
    """All traces of one end as its record; one without VPN packets says that nothing was sent and nothing came."""
    if side.ends is None:
        return EndRecord(recorded=True, sees_closed_ports=True)
    records = [decoder.record(side.ends, vantage) for decoder in _decoders(side)]
    record = EndRecord(
        packet_records=tuple(packet_record for record in records for packet_record in record.packet_records),
        refusals=tuple(refusal for record in records for refusal in record.refusals),
        recorded=True,
        sees_closed_ports=True,
    )
    noted = _circumstances(side)
    return record if noted is None else noted.added_to(record)


def _circumstances(side: Side) -> Circumstances | None:
    """What the end of a run of ours noted; None: nothing."""
    return next((trace.circumstances for trace in side.traces if trace.circumstances is not None), None)


def _noted(facts: PathFacts, side: Side, vantage: Vantage) -> PathFacts:
    noted = _circumstances(side)
    return facts if noted is None else noted.told(facts, vantage.value)


def _watched(side: Side) -> tuple[float, float] | None:
    """From its first to its last frame; None: there is none, and the end saw nothing all the time."""
    seen = [decoder for decoder in _decoders(side) if decoder.frames]
    return (min(one.first_at for one in seen), max(one.last_at for one in seen)) if seen else None


def _recorded_meanwhile(side: Side, other: Side, record: EndRecord) -> EndRecord:
    """A capture of another attempt says what did not come only if it was taken where that would have come, while the other end was sending.

    It was, where anything went both ways between the two hosts. An empty capture alone may be of the wrong interface, or of another time. A
    run of ours has both ends send, and keeps its probes' packets alone: its empty capture is one end's word that it saw nothing of them,
    unless the other one holds packets that came from there.
    """
    if any(decoder.own for decoder in _decoders(side)):
        return record
    ends, seen, seen_there = side.ends or other.ends, _ways(side), _ways(other)
    both_ways = ends is not None and {(ends.client, ends.server), (ends.server, ends.client)} <= seen
    of_a_run = side.ends is None and any(decoder.own for decoder in _decoders(other))
    from_here = ends is not None and {(ends.client, ends.server), (ends.server, ends.client)} <= seen_there
    return replace(record, recorded=both_ways or (of_a_run and not from_here))


def _ways(side: Side) -> set[tuple[str, str]]:
    """Source and destination of everything that a capture holds."""
    return {way for decoder in _decoders(side) for way in decoder.finder.ways}


def _have_a_host_in_common(client: Side, server: Side) -> bool:
    """Whether two captures can be of the same path: they have one address in common where one NAT at most is between them.

    Where the client is behind a NAT and the server's address is translated too (1:1, port forwarding), both differ, and captures of one
    path are taken for captures of two. One without VPN traffic may be of any. Where nothing is in common, what the server's capture holds
    is not what the client sent, and says nothing of it.
    """
    if client.ends is None or server.ends is None:
        return True
    here, there = (frozenset().union(*_addresses(side, side.ends)) for side in (client, server) if side.ends is not None)
    return bool(here & there)


def _recurring_keys(*sides: Side) -> set[str]:
    return {key for side in sides for decoder in _decoders(side) for key in decoder.recurring_keys()}


def _have_common_packets(client: EndRecord, server: EndRecord, recurring: Container[str]) -> bool:
    """Whether a packet that one end sent is known to have come to the other: then both are of one attempt."""
    return any(
        _keys(sender, Movement.SENT, recurring) & _keys(receiver, Movement.RECEIVED, recurring)
        for sender, receiver in ((client, server), (server, client))
    )


def _keys(record: EndRecord, movement: Movement, recurring: Container[str]) -> set[tuple[Check, str, str]]:
    """What tells packets apart. Keys that come again in every attempt do not."""
    return {(s.check, s.message, s.key) for s in record.packet_records if s.movement is movement and s.key not in recurring}


def _conversations(captures: Iterable[CaptureInput]) -> tuple[ConversationSummary, ...]:
    return tuple(
        replace(summary, capture=capture.file)
        for capture in captures
        for trace in capture.traces
        for summary in trace.decoder.conversations()
    )


def _with_evidence(observations: Sequence[Observation], sides: Sequence[tuple[Side, EndRecord]]) -> tuple[Observation, ...]:
    """The first frames of each observation's packets, by capture."""
    frames: dict[tuple[Check, Direction], dict[Evidence, None]] = {}
    for side, record in sides:
        numbers = _frame_numbers(side)
        name = side.file
        for packet_record in record.packet_records:
            number = numbers.get((packet_record.at, packet_record.key.partition("-")[0]))
            if number is None or packet_record.ttl_limited:
                continue
            for way in (packet_record.direction, Direction.BOTH):
                kept = frames.setdefault((packet_record.check, way), {})
                if sum(evidence.capture == name for evidence in kept) < EVIDENCE_KEPT:
                    kept[Evidence(name, number)] = None
    by_id = {identifier(check, way): tuple(kept) for (check, way), kept in frames.items()}
    return tuple(replace(o, evidence=by_id.get(o.id, ())) for o in observations)


def _frame_numbers(side: Side) -> dict[tuple[float, str], int]:
    return {
        (captured.at, key.partition("-")[0]): captured.number
        for decoder in reversed(_decoders(side))
        for captured in reversed(decoder.captured_messages)
        for key in {captured.key, captured.own_key}
    }
