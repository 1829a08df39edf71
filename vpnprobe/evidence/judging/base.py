"""What the judges of all kinds share: both records, counted, and what silence, refusals and missing counts mean.

'Blocked' needs the receiving end's word and an error bound from the background loss of the path; without the word it is 'no-answer'.

Invariant: absence is never written as 0. A count is a number only where somebody could have counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from vpnprobe.evidence.attempts import under_clients_keys
from vpnprobe.evidence.checks import Kind, earlier_steps, is_existing, is_raw, kind_of, plain_on_port, same_packets, spec_of
from vpnprobe.evidence.clocks import on_one_clock
from vpnprobe.evidence.comparison import SPARE_BLOCKS, Compared, blocks_needed, error_bound
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.existing_sessions import under_clients_checks
from vpnprobe.evidence.judging import passed_over
from vpnprobe.evidence.judging.order import after_server
from vpnprobe.evidence.judging.remembered import Remembered
from vpnprobe.evidence.judging.taken import arrived
from vpnprobe.evidence.judging.times import clock_margin_s, flights_s, late_ends
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.outages import Fate, Outage, outages, shared
from vpnprobe.evidence.packet_counts import Count, PacketCounts, background, count_packets, session_part
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import LEAST_TRIALS, Background
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

DROPPED_ON_INPUT: Final = "it reaches the {}, whose own firewall{} keeps it from the program there"
DROPPED_ON_OUTPUT: Final = "the {}'s own firewall{} drops it before it leaves"
OR_FORWARDING: Final = " (or port forwarding)"
"""Of the server alone, as long as none of its rules is shown to do it: a client is not forwarded to."""
TRIALS_WITHOUT_BACKGROUND: Final = 8
"""Where nothing at all passes in a capture there is no background to compare with: so many fresh packets must be missing."""
BY_FLOW: Final = "some flows get through here and others never do: which of them this kind's only one is cannot be told from a filter"
MOST_OUTAGES: Final = 4
"""Of one direction, in a run. A path that is silent more often than that loses packets, and its users feel it."""
LEAST_UNEVEN: Final = 2
UNEVEN: Final = 0.3
"""Lost packets of one kind, and their share, from which on losses without controls beside them are not taken for independent."""
WAYS: Final = (Direction.C2S, Direction.S2C)
SENDER: Final = {Direction.C2S: "client", Direction.S2C: "server"}
RECEIVER: Final = {Direction.C2S: "server", Direction.S2C: "client"}


@dataclass(frozen=True, slots=True)
class Counted:
    """What an observation says of how many."""

    sent: int | None
    """Left the sending end; None: nobody could count."""
    received: int | None
    """Known to have arrived; None: nobody could count."""
    proof: str = ""
    """What `received` rests on: `peer`, the receiving end's own record, or `answered`; empty where it is None."""


class Judge:
    """One judgement: both records, counted, and what is known of the path.

    `times`: whether times of the two ends are to be compared. While a run lasts only counts are asked for, and often.
    """

    def __init__(
        self,
        client: EndRecord,
        server: EndRecord,
        facts: PathFacts,
        *,
        times: bool = True,
        remembered: Remembered | None = None,
    ) -> None:
        """`remembered`: what earlier judgements of the run worked out, brought up to date; None: everything is worked out afresh."""
        before = remembered.counts if remembered is not None else None
        client, server = (without_trains(arrived(end), facts.trains) for end in (client, server))
        server = under_clients_checks(client, under_clients_keys(client, server))
        if times:
            server, facts = on_one_clock(client, server, facts)
        if facts.clock_offset_s is None and facts.control_clock is not None:
            server = replace(server, ahead_s=facts.control_clock[0])
        self.ends = {Direction.C2S: (client, server), Direction.S2C: (server, client)}
        """Sender and receiver of each direction."""
        self.facts = facts
        known = _checks(client, server) if PortState.DAEMON in facts.ports.values() else ()
        daemons = frozenset(check for check in known if facts.answering(check) is PortState.DAEMON)
        changed = times or bool(client.late or server.late or client.given_up or client.queued or server.queued)
        self.packet_counts = count_packets(client, server, joined=facts.joined, trusted=daemons, before=before, own=changed)
        self.after_server = after_server(self.packet_counts, one_clock=times)
        """What of the client's came only after the server had spoken: its losses before that are none of the path's."""
        self.elsewhere = _came_from_elsewhere(client, server, facts)
        """Whether probes reach the server from another address than the control channel (a jump host, a carrier's pool of addresses)."""
        self.late = late_ends(client, server, facts, self.packet_counts)
        """Ends that were late, with what is set aside for it."""
        refusals = (*client.refusals, *server.refusals)
        passed_over.for_lateness(self.packet_counts, self.late, client.given_up, refusals, margin_s=clock_margin_s(facts))
        self.queued = {
            way: passed_over.for_times(self.packet_counts, way, [one.moved(-end.ahead_s) for one in end.queued])
            for way, end in ((Direction.C2S, client), (Direction.S2C, server))
        }
        """How many packets were lost behind what their own end had sent, and count for nothing."""
        compared = self._compared(client, server, remembered or Remembered())
        self.controls, self.blocks, self.by_flow = compared.controls, compared.blocks, compared.by_flow
        self.numbered = any(count.blocks for counts in self.packet_counts.values() for count in counts.counts.values())
        """Whether records tell what left in which block, as live ones do; those of captures do not."""
        self.outages = self._outages() if times else dict.fromkeys(WAYS, ())
        """When the whole path was silent: what was lost then counts for nothing, unless that is how the path is."""
        for way, taken in self.outages.items():
            passed_over.for_times(self.packet_counts, way, () if self.silent_often else taken)
        self.loss = {way: self._background(way) for way in WAYS}

    @property
    def silent_often(self) -> bool:
        """Whether outages are how the path is."""
        return any(len(taken) > MOST_OUTAGES for taken in self.outages.values())

    @property
    def began(self) -> float:
        """When the first packet left, seconds on the client's clock; 0: none did."""
        counts = (count for of_check in self.packet_counts.values() for count in of_check.counts.values() if count.sent)
        return min((min(count.sent.values()) for count in counts), default=0.0)

    def counts(self, check: Check) -> PacketCounts:
        """Everything that was counted of it; empty where nothing was."""
        return self.packet_counts.get(check, PacketCounts())

    def trials(self, check: Check, way: Direction) -> Count:
        """Of what left in one direction, what tells whether it came."""
        counts = self.counts(check)
        return counts.total(way) if self.would_have_recorded(check, way) else counts.provable(way)

    def _background(self, way: Direction) -> Background:
        return background(self._telling_loss(way), way) + self.facts.background.get(way, Background())

    def _telling_loss(self, way: Direction) -> Iterator[PacketCounts]:
        """Counts of the kinds whose packets say what the path loses by itself."""
        for check, counts in self.packet_counts.items():
            if _tells_loss(check) and not (way is Direction.C2S and check in self.after_server):
                yield counts

    def _compared(self, client: EndRecord, server: EndRecord, remembered: Remembered) -> Compared:
        if not (self.facts.joined and client.recorded and server.recorded):
            client = server = EndRecord()
        return remembered.compared(client, server)

    def _outages(self) -> dict[Direction, tuple[Outage, ...]]:
        fates = {way: self._fates(way) for way in WAYS}
        came_at = {way: self._came_over_tcp(way) if fates[way] else [] for way in WAYS}
        found = {way: outages(fates[way], came_at[way]) for way in WAYS}
        others = {Direction.C2S: Direction.S2C, Direction.S2C: Direction.C2S}
        return {
            way: tuple(sorted((*found[way], *shared(fates[way], came_at[way], _apart(found[other], found[way])))))
            for way, other in others.items()
        }

    def _fates(self, way: Direction) -> list[Fate]:
        """Of packets of kinds that pass."""
        if not (self.facts.joined and self.ends[way][1].recorded):
            return []
        known = self.controls[way] if any(control.came for control in self.controls[way]) else ()
        fates = [Fate(one.at, one.came, one.transport, one.block) for one in known if one.transport is not Transport.TCP]
        for check, counts in self.packet_counts.items():
            count = counts.total(way)
            if count.received and check.transport is not Transport.TCP and self.would_have_recorded(check, way):
                data, kind = kind_of(check) is Kind.DATA, identifier(check, way)
                fates += [
                    Fate(at, key in count.received, check.transport, flow=session_part(key) if data else "", kind=kind)
                    for key, at in count.fitting().sent.items()
                ]
        return fates

    def _came_over_tcp(self, way: Direction) -> list[float]:
        """When what came over TCP would have left, had it not been repeated; empty: how long the way takes is not known."""
        took, receiver = flights_s(self.packet_counts, way), self.ends[way][1]
        if not took:
            return []
        usual_s = median(took)
        came = (r for r in receiver.packet_records if r.check.transport is Transport.TCP and r.movement is Movement.RECEIVED)
        return [record.at - receiver.ahead_s - usual_s for record in came]

    def timely(self, departures: Iterable[Departure]) -> list[Departure]:
        """Of trials those whose window touches no time at which an end was late."""
        return [trial for trial in departures if not any(end.touches(trial.at) for end in self.late)]

    def bound(
        self, way: Direction, lost_at: Sequence[Departure], loss: Background, *, one_flow: bool = False, thresholds: int = 1
    ) -> float | None:
        """The error bound of 'blocked' where nothing came of what left then; None: there is nothing to compare with.

        It rests on what left beside them in random order; where there were no controls at all, on the loss of all that passes, as if each
        were lost by itself. `one_flow`: they are all of one. `thresholds`: as in `comparison.error_bound`.
        """
        if one_flow and self.by_flow[way]:
            return 1.0
        if (found := error_bound(lost_at, self.blocks[way], thresholds=thresholds)) is not None:
            return found
        if self.blocks[way] or self._loses_unevenly(way):
            return 1.0  # More of them can leave beside controls, or losses are not each by itself: so nothing is shown.
        return min(1.0, thresholds * loss.chance_of_losing_all(len(lost_at))) if loss.measured else None

    def _loses_unevenly(self, way: Direction) -> bool:
        """Whether a kind that passes loses so much in this direction that whole flows may be lost: no chance of losing one is known."""
        totals = (counts.total(way).fitting() for counts in self._telling_loss(way)) if way in WAYS else ()
        lossy = (one.received and one.lost >= LEAST_UNEVEN and one.lost > UNEVEN * len(one.sent) for one in totals)
        return any(lossy) or (way in WAYS and any(self._loses_whole_flows(check, way) for check in self.packet_counts))

    def _loses_whole_flows(self, check: Check, way: Direction) -> bool:
        """Whether some conversations over UDP, each a flow of its own, lost all of one direction's, and others of the kind did not."""
        if check.transport is not Transport.UDP or kind_of(check) is not Kind.CONVERSATION:
            return False
        count = self.packet_counts[check].total(way)
        heard = {*map(session_part, count.received)}
        begun = heard.union(map(session_part, count.sent))
        return bool(heard) and len(begun) - len(heard) >= max(LEAST_UNEVEN, UNEVEN * len(begun))

    def would_have_recorded(self, check: Check, way: Direction) -> bool:
        """Whether the receiving end would have seen it, had it come: then its silence is a word about the path."""
        receiver = self.ends[way][1]
        if is_existing(check) or not receiver.recorded or (is_raw(check) and not receiver.sees_raw):
            return False
        spec = spec_of(check)
        if self.elsewhere and (way is Direction.S2C or spec is None or not spec.known_by_tag):
            # Only what carries our tag finds its session from there, and what the server sends goes to the address that it knows.
            return False
        if way is Direction.S2C:
            return True
        return receiver.sees_closed_ports or self.facts.answering(check) in (PortState.OURS, PortState.UNKNOWN)

    def arrivals_are_counted(self, check: Check, way: Direction) -> bool:
        """Whether the receiving end knows how many came, be it none. The client knows what came to it, whatever the server sent."""
        if way is Direction.C2S:
            return self.would_have_recorded(check, way)
        client = self.ends[way][1]
        return client.recorded and (client.sees_raw or not is_raw(check))

    def departures_are_counted(self, check: Check, way: Direction) -> bool:
        """Whether the sending end knows how many left: another program's packets are seen on the wire alone."""
        sender = self.ends[way][0]
        if way is Direction.C2S or not sender.recorded:
            return sender.recorded
        ours = self.facts.answering(check) is not PortState.DAEMON
        return not is_existing(check) and (ours or sender.sees_closed_ports)

    def counted(self, check: Check, way: Direction, count: Count) -> Counted:
        """How many fresh packets left and arrived in one direction, as far as anybody could count."""
        left, came = len(count.sent), len(count.received)
        known = left > 0 or (came == 0 and self.departures_are_counted(check, way))
        sent = max(left, came) if known else None
        if not came and not self.arrivals_are_counted(check, way):
            return Counted(sent, None)
        recorded = self.ends[way][1].recorded and (not came or count.answered < came)
        return Counted(sent, came, "peer" if recorded else "answered")

    def silence(
        self, check: Check, way: Direction, lost_at: Sequence[Departure], loss: Background, *, beside: Direction | None = None
    ) -> tuple[Outcome, float | None]:
        """What it means that nothing came of fresh trials that left then.

        `beside`: the direction of the controls that they are compared with; None: `way`.
        """
        if not self.would_have_recorded(check, way) or self.kept_by_host(check, way):
            return Outcome.NO_ANSWER, None
        trials = len(lost_at)
        bound = self.bound(beside or way, lost_at, loss, one_flow=is_raw(check))
        if bound is None:
            enough = trials >= (TRIALS_WITHOUT_BACKGROUND if self.ends[way][1].packet_records else LEAST_TRIALS)
            return (Outcome.BLOCKED if enough and not self.facts.joined else Outcome.NO_ANSWER), None
        proven = trials >= LEAST_TRIALS and bound <= self.facts.error_bound
        return (Outcome.BLOCKED if proven else Outcome.NO_ANSWER), bound

    def trials_needed(
        self, way: Direction, lost_at: Sequence[Departure], *, comparable: bool, one_flow: bool = False, thresholds: int = 1
    ) -> int | None:
        """How many more trials beside controls it takes to call it blocked; 0: enough, or no use; None: there are no controls.

        `comparable`: whether there are any more. `one_flow`, `thresholds`: as in `bound`.
        """
        if not comparable:
            return None
        if one_flow and self.by_flow[way]:
            return 0
        bound = error_bound(lost_at, self.blocks[way], thresholds=thresholds)
        needed = blocks_needed(float(thresholds) if bound is None else bound, self.facts.error_bound)
        return needed + SPARE_BLOCKS if needed else 0

    def kept_by_host(self, check: Check, way: Direction) -> dict[str, Any]:
        """Which end's own firewall is shown to keep packets of this kind, as a row's detail says it; empty: neither."""
        sender, receiver = self.ends[way]
        if is_existing(check) or (is_raw(check) and not receiver.sees_raw):
            return {}
        kinds = {kind for kind in (check, plain_on_port(check), same_packets(check)) if kind is not None}
        if coming := kinds & receiver.dropped_on_input:
            host = RECEIVER[way]
            return self._kept(DROPPED_ON_INPUT, host, self.facts.mend(host, coming, leaving=False))
        if leaving := kinds & sender.dropped_on_output:
            host = SENDER[way]
            return self._kept(DROPPED_ON_OUTPUT, host, self.facts.mend(host, leaving, leaving=True))
        return {}

    @staticmethod
    def _kept(words: str, host: str, mend: Mapping[str, Any]) -> dict[str, Any]:
        manager = f" ({mend['firewall']})" if "mend" in mend and "firewall" in mend else ""
        doubt = OR_FORWARDING if host == "server" and words is DROPPED_ON_INPUT and "mend" not in mend else ""
        return {"host": host, "reason": words.format(host, manager or doubt), **mend}

    def refusal(self, check: Check, way: Direction) -> Refusal | None:
        """The refusal of this kind of packet, if there was one: one whose sender is known, else the first.

        ICMP errors about UDP quote a port and not the conversation that it was sent in; an RST is of a connection, whatever was said in it.
        """
        kinds = {check, plain_on_port(check), *earlier_steps(check)}
        of_it = [r for r in self.ends[way][0].refusals if r.check in kinds and r.direction is way and not self._is_closed_socket(r)]
        return min(of_it, key=lambda refusal: refusal.by is None, default=None)

    def _is_closed_socket(self, refusal: Refusal) -> bool:
        """Whether the client's kernel refused what came too late for a socket of ours: its firewall would show on its own wire."""
        back = refusal.direction is Direction.S2C and refusal.check.transport is Transport.UDP
        own = refusal.kind is RefusalKind.PORT_UNREACHABLE and refusal.by in (self.facts.client_address, self.facts.client_seen_as)
        return back and own and self.ends[Direction.S2C][1].sees_closed_ports

    def not_received(self, found: Observation, check: Check, way: Direction, lost_at: Sequence[Departure]) -> Observation:
        """What it means that nothing came in that direction of trials that left then: silence, or a refusal."""
        outcome, bound = self.silence(check, way, lost_at, self.loss[way])
        told = {"reason": BY_FLOW} if is_raw(check) and self.by_flow[way] and outcome is Outcome.NO_ANSWER else {}
        return self.refused_or(replace(found, outcome=outcome, error_bound=bound, detail={**found.detail, **told}), check, way)

    def refused_or(self, silent: Observation, check: Check, way: Direction) -> Observation:
        """The same as a refusal where there was one. A router's single 'unreachable' stands only where the silence is proven too."""
        if kept := self.kept_by_host(check, way):
            return replace(silent, cause=Cause.HOST_FIREWALL, detail={**silent.detail, **kept})
        refusal = self.refusal(check, way)
        if refusal is None:
            return silent
        told = replace(silent, detail={**silent.detail, **by_whom(refusal)})
        passing = refusal.kind is RefusalKind.UNREACHABLE and self.ends[way][1].recorded and silent.outcome is not Outcome.BLOCKED
        return told if passing else replace(told, outcome=Outcome.REFUSED)

    def blank(self, check: Check, way: Direction, counted: Counted, detail: Mapping[str, Any]) -> Observation:
        """The observation of which nothing more is known yet: no answer."""
        state = self.facts.answering(check)
        told = {"port_state": state.value} if check.port is not None and state in (PortState.DAEMON, PortState.CLOSED) else {}
        if state is PortState.DAEMON and (program := self.facts.program(check)):
            told["program"] = program
        proof = {"proof": counted.proof} if counted.proof else {}
        return Observation(
            id=identifier(check, way),
            probe=check.probe,
            check=check.name,
            direction=way,
            transport=check.transport,
            port=check.port,
            outcome=Outcome.NO_ANSWER,
            sent=counted.sent,
            received=counted.received,
            detail={**told, **detail, **proof},
            family=check.family,
        )


def _apart(some: Iterable[Outage], known: Sequence[Outage]) -> list[Outage]:
    """Those of some outages that none of the known ones touches."""
    return [one for one in some if not any(one.from_s <= other.to_s and other.from_s <= one.to_s for other in known)]


def without_trains(end: EndRecord, trains: frozenset[str]) -> EndRecord:
    """The record without the packets of some sessions."""
    if not trains:
        return end
    return replace(end, packet_records=tuple(one for one in end.packet_records if session_part(one.key) not in trains))


def by_whom(refusal: Refusal) -> dict[str, Any]:
    """What a refusal says in a row's detail."""
    return {"refusal": refusal.kind.value, "by": refusal.by}


def _tells_loss(check: Check) -> bool:
    """Whether its packets say what the path loses by itself.

    TCP repeats what is lost, so its counts do not. Of data packets it may be the size or the number that is limited. What another check
    counts too counts once.
    """
    return kind_of(check) is Kind.PACKETS and check.transport is not Transport.TCP and same_packets(check) is None


def _came_from_elsewhere(client: EndRecord, server: EndRecord, facts: PathFacts) -> bool:
    seen = facts.client_seen_as
    if seen is None or not facts.joined:
        return False
    elsewhere = {s.key for s in server.packet_records if s.peer is not None and s.peer[0] != seen and s.movement is Movement.RECEIVED}
    if not elsewhere:
        return False
    ours = (s for s in client.packet_records if s.movement is Movement.SENT and s.check.transport is Transport.UDP and not s.message)
    return any(s.key in elsewhere for s in ours)


def _checks(client: EndRecord, server: EndRecord) -> set[Check]:
    return {packet_record.check for end in (client, server) for packet_record in end.packet_records}
