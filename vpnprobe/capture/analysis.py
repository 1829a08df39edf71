"""What one capture says, and what the captures of both ends say together: observations, conversations, and what they rest on.

Pure but for reading files. One end alone cannot show that what it sent did not arrive: its silence is `no-answer`. Two ends are joined
packet by packet where they are of the same attempt, which their nonces show; of two attempts only what each end sent and what it got can
be compared, and `Examined.joined` says so. A capture that shows nothing of the two hosts proves nothing. Verdicts are for `vpnprobe.rules`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from vpnprobe.capture.background import background_of
from vpnprobe.capture.data_records import said_by_the_other, while_watched, with_answers
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.gaps import compared
from vpnprobe.capture.host_firewall import as_heard
from vpnprobe.capture.joining import Joint, Relation, join
from vpnprobe.capture.paths import PATHS_LIMIT, paths_of, vantages
from vpnprobe.capture.placing import traces_of
from vpnprobe.capture.proofs import about_lost_by_captures, with_proofs
from vpnprobe.capture.reading import CaptureInput, PacketTrace
from vpnprobe.capture.sides import Side, known, oriented, side_of
from vpnprobe.capture.two_captures import about_two_attempts, are_of_other_times, not_of_one_path
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
class Examined:
    """What captures say of one pair of hosts, and of each pair where they hold several."""

    observations: tuple[Observation, ...]
    conversations: tuple[ConversationSummary, ...]
    client: Side | None
    """None: nobody captured there."""
    server: Side | None
    joined: bool = True
    """False: the two ends' captures have no packet in common, as those of two attempts."""
    between: Ends | None = None
    """The pair, where nobody knows at which end it was captured."""
    unjudged: str = ""
    """Why nothing follows from two ends' captures, and what to do; empty: something may."""
    note: str = ""
    """What must be known of the two captures to understand what follows from them; empty: nothing."""
    paths: tuple["Examined", ...] = ()
    """Each pair of hosts by itself, where the input holds several. The first is what this is about itself, where `is_first` is set."""
    is_first: bool = False
    left_out: int = 0
    """Pairs of hosts that are not among `paths`: there are too many."""

    @property
    def ends(self) -> Ends | None:
        """The addresses as the client's end has them."""
        sides = [side.ends for side in (self.client, self.server) if side is not None and side.ends is not None]
        return sides[0] if sides else self.between

    @property
    def vantage(self) -> Vantage | None:
        """The one end at which all was captured; None: not known, or both."""
        found = {(one.client is not None, one.server is not None) for one in self.paths or (self,)} - {(False, False)}
        return {(True, False): Vantage.CLIENT, (False, True): Vantage.SERVER}.get(found.pop()) if len(found) == 1 else None


NOTHING: Final = Examined((), (), None, None)


def examine(capture: CaptureInput) -> tuple[Examined, Vantage | None]:
    """One input by itself, and the end that it was taken at (None: not known, or both).

    A printed text with a trace of each end is a pair.
    """
    found = _examined(capture)
    return replace(found, conversations=_conversations([capture])), found.vantage


def _examined(capture: CaptureInput) -> Examined:
    groups = _by_vantage(capture.traces)
    clients, servers = groups[Vantage.CLIENT], groups[Vantage.SERVER]
    if clients and servers:
        return _pair(side_of(capture, clients, None), side_of(capture, servers, None))
    paths = paths_of(capture.traces)
    places = vantages(capture.traces, paths)
    return _together([partial(_by_itself, capture, ends, places.get(ends)) for ends in paths])


def examine_at(capture: CaptureInput, vantage: Vantage) -> Examined:
    """One capture that the caller knows to be of one end."""
    found = _together([partial(_by_itself, capture, ends, vantage) for ends in paths_of(capture.traces)])
    return replace(found, conversations=_conversations([capture], [vantage]))


def examine_pair(client: CaptureInput, server: CaptureInput) -> Examined:
    """The captures of both ends."""
    pair = _pair(side_of(client, client.traces, None), side_of(server, server.traces, None))
    found = _conversations([client], [Vantage.CLIENT]), _conversations([server], [Vantage.SERVER])
    at_client, at_server = compared(*found) if pair.joined else found
    return replace(pair, conversations=(*at_client, *at_server))


def _together(paths: Sequence[Callable[[], Examined]], *, about_first: bool = False) -> Examined:
    """All paths of an input; of more than one, none speaks for all. `about_first`: the first one is what was asked about."""
    if not paths:
        return NOTHING
    first = paths[0]()
    if len(paths) == 1:
        return first
    found = (first, *(path() for path in paths[1:PATHS_LIMIT]))
    whole = first if about_first else NOTHING
    return replace(whole, paths=found, is_first=about_first, left_out=len(paths) - len(found))


def _by_vantage(traces: Sequence[PacketTrace]) -> dict[Vantage | None, list[PacketTrace]]:
    groups: dict[Vantage | None, list[PacketTrace]] = {Vantage.CLIENT: [], Vantage.SERVER: [], None: []}
    for trace in traces:
        found = set(vantages([trace], paths_of([trace])).values()) if len(traces) > 1 else set()
        groups[found.pop() if len(found) == 1 else None].append(trace)
    return groups


def _by_itself(capture: CaptureInput, ends: Ends, vantage: Vantage | None) -> Examined:
    return _between(capture, ends) if vantage is None else _alone(capture, vantage, ends)


def _alone(capture: CaptureInput, vantage: Vantage, ends: Ends) -> Examined:
    side = side_of(capture, capture.traces, ends)
    side = replace(side, ends=known(side, vantage))
    return _one_sided(side, vantage)


def _one_sided(side: Side, vantage: Vantage) -> Examined:
    seen = _record(side, vantage)
    own = as_heard(seen)
    is_client = vantage is Vantage.CLIENT
    # Of a run of ours the server sends requests of its own: what seems an answer need not be one.
    other = with_answers(own) if is_client and not side.own else SILENT
    assert side.ends is not None
    if not side.own:
        proved = (one for decoder in side.decoders for one in decoder.receipts(side.ends, vantage))
        other = replace(other, packet_records=(*other.packet_records, *proved, *said_by_the_other(own)))
    records = (own, other) if is_client else (other, own)
    facts = PathFacts(client_address=side.ends.client) if is_client else PathFacts(client_seen_as=side.ends.client)
    facts = replace(facts, silence_tells=side.own)
    facts = side.noted(replace(facts, traces=tuple(traces_of(side.decoders, side.ends, vantage, SILENT))), vantage)
    observations = judge(*records, facts)
    return Examined(
        observations=_with_evidence(observations, [(side, seen)]),
        conversations=(),
        client=side if is_client else None,
        server=None if is_client else side,
    )


def _between(capture: CaptureInput, ends: Ends) -> Examined:
    """A capture of which nobody knows where it was taken: what its packets prove to have come, they prove anywhere."""
    side = side_of(capture, capture.traces, ends)
    if not ends.client_known or side.own:
        return replace(NOTHING, between=ends)
    records: list[EndRecord] = []
    for vantage, other in ((Vantage.CLIENT, Vantage.SERVER), (Vantage.SERVER, Vantage.CLIENT)):
        sent = (one for one in _record(side, vantage).packet_records if one.movement is Movement.SENT)
        came = (one for decoder in side.decoders for one in decoder.receipts(ends, other))
        records.append(EndRecord(packet_records=(*sent, *came), recorded=False))
    client, server = records
    observations = judge(client, server, PathFacts(client_address=ends.client, silence_tells=False))
    return replace(NOTHING, observations=_with_evidence(observations, [(side, client), (side, server)]), between=ends)


def _pair(client: Side, server: Side) -> Examined:
    """The captures of both ends, path by path: what both have, and then what only one of them has."""
    joining = join(client, server)
    if not joining.joints:
        apart = replace(client, ends=next(iter(joining.at_client), None)), replace(server, ends=next(iter(joining.at_server), None))
        whole = Examined((), (), *apart, joined=False, unjudged=not_of_one_path(client, server, joining))
    alone = [
        *(partial(_one_sided, replace(client, ends=ends), Vantage.CLIENT) for ends in joining.at_client),
        *(partial(_one_sided, replace(server, ends=ends), Vantage.SERVER) for ends in joining.at_server),
    ]
    if not joining.joints:
        return replace(whole, paths=(each := _together(alone)).paths, left_out=each.left_out)
    compared = [partial(_compare, joint) for joint in joining.joints]
    return _together([*compared, *alone], about_first=len(compared) == 1)


def _compare(joint: Joint) -> Examined:
    client, server = oriented(joint.client, joint.server, Vantage.CLIENT), oriented(joint.server, joint.client, Vantage.SERVER)
    records = _record(client, Vantage.CLIENT), _record(server, Vantage.SERVER)
    joined = joint.relation is Relation.JOINED
    if not joined:
        meanwhile = _recorded_meanwhile(client, server, records[0]), _recorded_meanwhile(server, client, records[1])
        records = meanwhile if joint.relation is not Relation.OTHER_HOSTS else (records[0], SILENT)
    clocks = clock_offset(*records) if joined else None
    ahead_s = clocks.offset_s if clocks is not None else None
    records = (
        while_watched(records[0], records[1], server.watched, ahead_s),
        while_watched(records[1], records[0], client.watched, -ahead_s if ahead_s is not None else None),
    )
    heard = records
    if ahead_s is not None and not client.own and not server.own:
        records = (
            with_proofs(records[0], server, Vantage.SERVER, -ahead_s),
            with_proofs(records[1], client, Vantage.CLIENT, ahead_s),
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
        background=background_of(client.decoders, server.decoders, client.ends, server.ends) if joined else {},
        traces=(
            *(traces_of(client.decoders, client.ends, Vantage.CLIENT, records[1]) if client.ends is not None else ()),
            *(traces_of(server.decoders, server.ends, Vantage.SERVER, records[0]) if server.ends is not None else ()),
        ),
        joined=joined,
    )
    facts = server.noted(client.noted(facts, Vantage.CLIENT), Vantage.SERVER)
    observations: Sequence[Observation] = judge(as_heard(records[0]), as_heard(records[1]), facts)
    if not joined:
        observations = [_of_two_attempts(observation) for observation in observations]
    apart = not joined and (joint.relation is Relation.BEHIND_NAT or are_of_other_times(client, server))
    if apart:
        observations = _what_both_show(observations, records, facts, same_hosts=joint.relation is Relation.SAME_HOSTS)
    return Examined(
        observations=_with_evidence(observations, [(client, records[0]), (server, records[1])]),
        conversations=(),
        client=client,
        server=replace(server, clock_offset_s=ahead_s),
        joined=joined,
        note=about_lost_by_captures((client, server), heard, records) if joined else about_two_attempts(client, server, joint.relation),
    )


def _what_both_show(
    observations: Sequence[Observation], records: tuple[EndRecord, EndRecord], facts: PathFacts, *, same_hosts: bool
) -> list[Observation]:
    """Of two attempts at different times, or perhaps of two clients: what one end's capture lacks altogether it may simply not have been
    there for. What both show is compared; of the rest each end's own capture is judged by itself.

    `same_hosts`: the server's capture is of this client in any case.
    """
    shown = [{_question(s.check.probe, s.check.port) for s in record.packet_records} for record in records]
    alone = [(shown[0] - shown[1], judge(as_heard(records[0]), SILENT, facts))]
    if same_hosts:
        alone.append((shown[1] - shown[0], judge(SILENT, as_heard(records[1]), facts)))
    chosen = [o for o in observations if _question(o.probe, o.port) not in shown[0] ^ shown[1]]
    chosen += [_of_two_attempts(o) for questions, found in alone for o in found if _question(o.probe, o.port) in questions]
    return list({o.id: o for o in reversed(chosen)}.values())[::-1]


def _question(probe: str, port: int | None) -> tuple[str, int | None]:
    return probe, port or None


def _seen_as(client: Side, server: Side, *, joined: bool) -> str | None:
    """The address that the server's capture has for the client: another than the client's own only where packets of both are joined.

    Where the client has moved, the two captures may begin at different addresses of it.
    Two captures without a packet in common may be of other hosts, and show no NAT between them.
    """
    if client.ends is None or server.ends is None:
        return None
    if client.addresses[0] & server.addresses[0]:
        return client.ends.client
    return server.ends.client if joined else None


def _anywhere(record: EndRecord) -> EndRecord:
    """The record without the end's own addresses: it has moved, and another of them at the other end is no NAT's doing."""
    return replace(record, packet_records=tuple(replace(one, local=None) for one in record.packet_records))


def _of_two_attempts(observation: Observation) -> Observation:
    """What the packets of one attempt are at the other end cannot be said of two."""
    detail = {name: value for name, value in observation.detail.items() if name != "arrived_at_server"}
    return replace(observation, detail={**detail, "joined": False})


def _record(side: Side, vantage: Vantage) -> EndRecord:
    """All traces of one end as its record; one without VPN packets says that nothing was sent and nothing came."""
    if side.ends is None:
        return EndRecord(recorded=True, sees_closed_ports=True)
    records = [decoder.record(side.ends, vantage) for decoder in side.decoders]
    record = EndRecord(
        packet_records=tuple(packet_record for record in records for packet_record in record.packet_records),
        refusals=tuple(refusal for record in records for refusal in record.refusals),
        recorded=True,
        sees_closed_ports=True,
    )
    noted = side.circumstances
    return record if noted is None else noted.added_to(record)


def _recorded_meanwhile(side: Side, other: Side, record: EndRecord) -> EndRecord:
    """A capture of another attempt says what did not come only if it was taken where that would have come, while the other end was sending.

    It was, where anything went both ways between the two hosts. An empty capture alone may be of the wrong interface, or of another time. A
    run of ours has both ends send, and keeps its probes' packets alone: its empty capture is one end's word that it saw nothing of them,
    unless the other one holds packets that came from there.
    """
    if side.own:
        return record
    ends, seen, seen_there = side.ends or other.ends, side.ways, other.ways
    both_ways = ends is not None and {(ends.client, ends.server), (ends.server, ends.client)} <= seen
    of_a_run = side.ends is None and other.own
    from_here = ends is not None and {(ends.client, ends.server), (ends.server, ends.client)} <= seen_there
    return replace(record, recorded=both_ways or (of_a_run and not from_here))


def _conversations(captures: Sequence[CaptureInput], taken_at: Sequence[Vantage] = ()) -> tuple[ConversationSummary, ...]:
    """Of all captures, each with the end that it was captured at, where that is known. `taken_at`: what the caller knows of that."""
    found: list[ConversationSummary] = []
    for number, capture in enumerate(captures):
        paths = paths_of(capture.traces)
        places = dict.fromkeys(paths, taken_at[number]) if taken_at else vantages(capture.traces, paths)
        at = {frozenset((ends.client, ends.server)): vantage.value for ends, vantage in places.items() if vantage is not None}
        for summary in (summary for trace in capture.traces for summary in trace.decoder.conversations()):
            end = at.get(frozenset((summary.client.address, summary.server.address)))
            # Of a guessed client it is not known which of its ends that is.
            known = end is not None and summary.detail.get("client_known", True)
            detail = {**summary.detail, "captured_at": end} if known else summary.detail
            found.append(replace(summary, capture=capture.file, detail=detail))
    return tuple(found)


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
        for decoder in reversed(side.decoders)
        for captured in reversed(decoder.hosts.messages(side.ends) if side.ends is not None else ())
        for key in {captured.key, captured.own_key}
    }
