"""Joins the two ends' records into observations: outcome, cause, place and error bound of every check.

The same function serves live runs and captures. It states facts and never decides about a protocol: that is for the rules.
'Blocked' needs the receiving end's word and an error bound from the background loss of the path; without the word it is 'no-answer'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vpnprobe.conversations.openvpn import KeysAgreed
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import unattributed as unattributed_syns
from vpnprobe.evidence.attempts import under_clients_keys
from vpnprobe.evidence.causes import explain
from vpnprobe.evidence.data import LOSS_WORTH_A_WORD, DataRun, Limit
from vpnprobe.evidence.naming import earlier_steps, form_detail, identifier, is_existing, skipped
from vpnprobe.evidence.packet_counts import PacketCounts, background, count_packets, round_trip_ms
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, Background, round_trip
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.wire.nonce import ANSWER

DROPPED_ON_INPUT: Final = "it reached the host and not the agent there: the host's own firewall keeps it"
DROPPED_ON_OUTPUT: Final = "it was sent and never left the host: the host's own firewall keeps it"
ANOTHER: Final = "connections come up, but the agent behind the port sees none: something in between answers in its name"
UNANSWERED: Final = "the connection reached the host, which answered nothing: its own firewall, or nothing listens"
TRIALS_WITHOUT_BACKGROUND: Final = 8
"""Where nothing at all passes in a capture there is no background to compare with: so many fresh packets must be missing."""


class Judge:
    """One judgement: both records, counted, and what is known of the path."""

    def __init__(self, client: EndRecord, server: EndRecord, facts: PathFacts) -> None:
        server = under_clients_keys(client, server)
        self.ends = {Direction.C2S: (client, server), Direction.S2C: (server, client)}
        """Sender and receiver of each direction."""
        self.facts = facts
        daemons = frozenset(q for q in _checks(client, server) if self._port_state(q) is PortState.DAEMON)
        self.packet_counts = count_packets(client, server, joined=facts.joined, trusted=daemons)
        self.loss = {way: self._background(way) for way in (Direction.C2S, Direction.S2C)}
        self.elsewhere = _came_from_elsewhere(client, server, facts)
        """Whether probes reach the server from another address than the control channel (a jump host, a carrier's pool of addresses)."""

    def _port_state(self, check: Check) -> PortState:
        if is_existing(check):
            return PortState.UNKNOWN
        if check in (checks.GRE_IN_CALL, checks.PPTP_LCP):
            return self.facts.port_state(Transport.TCP, checks.PPTP_CONTROL.port)
        return self.facts.port_state(check.transport, check.port)

    def _background(self, way: Direction) -> Background:
        # TCP repeats what is lost, so its counts say nothing of the path's loss.
        # LCP is the same packets as GRE in the call. Of data packets it may be the size or the number that is limited: no loss of the path.
        counted = PACKET_CHECKS - {checks.PPTP_LCP.name}
        packets = (t for q, t in self.packet_counts.items() if q.name in counted and q.transport is not Transport.TCP)
        return background(packets, way) + self.facts.background.get(way, Background())

    def would_have_recorded(self, check: Check, way: Direction) -> bool:
        """Whether the receiving end would have seen it, had it come."""
        receiver = self.ends[way][1]
        if is_existing(check):
            return False
        if not receiver.recorded or (_is_raw(check) and not receiver.sees_raw):
            return False
        if self.elsewhere and (way is Direction.S2C or check.name not in KNOWN_BY_TAG or check.transport is Transport.TCP):
            # Only what carries our tag finds its session from there, and what the server sends goes to the address that it knows.
            return False
        if way is Direction.S2C:
            return True
        return receiver.sees_closed_ports or self._port_state(check) in (PortState.OURS, PortState.UNKNOWN)

    def silence(self, check: Check, way: Direction, trials: int, loss: Background) -> tuple[Outcome, float | None]:
        """What it means that none of `trials` fresh packets came."""
        if not self.would_have_recorded(check, way) or self._kept_by_host(check, way):
            return Outcome.NO_ANSWER, None
        if not loss.measured:
            enough = trials >= (TRIALS_WITHOUT_BACKGROUND if self.ends[way][1].packet_records else LEAST_TRIALS)
            return (Outcome.BLOCKED if enough and not self.facts.joined else Outcome.NO_ANSWER), None
        bound = loss.chance_of_losing_all(trials)
        proven = trials >= LEAST_TRIALS and bound <= ERROR_BOUND
        return (Outcome.BLOCKED if proven else Outcome.NO_ANSWER), bound

    def _kept_by_host(self, check: Check, way: Direction) -> str:
        """Which end's own firewall is shown to keep packets of this kind, in words; empty: neither."""
        sender, receiver = self.ends[way]
        if is_existing(check):
            return ""
        kinds = {check}
        if check.transport is Transport.UDP and check.port is not None:
            kinds.add(checks.udp_reach(check.port))
        if check == checks.PPTP_LCP:
            kinds.add(checks.GRE_IN_CALL)
        return DROPPED_ON_INPUT if kinds & receiver.dropped_on_input else DROPPED_ON_OUTPUT if kinds & sender.dropped_on_output else ""

    def refusal(self, check: Check, way: Direction) -> Refusal | None:
        """The refusal of this kind of packet, if there was one: one whose sender is known, else the first.

        ICMP errors about UDP quote a port and not the conversation that it was sent in; an RST is of a connection, whatever was said in it.
        """
        kinds = {check, *earlier_steps(check)}
        kinds |= {checks.udp_reach(check.port)} if check.port and check.transport is Transport.UDP else set()
        of_it = [r for r in self.ends[way][0].refusals if r.check in kinds and r.direction is way]
        return min(of_it, key=lambda refusal: refusal.by is None, default=None)

    def packets_check(self, check: Check, way: Direction) -> Observation | None:
        """A check that is answered by counting: reach and passthrough, one direction."""
        counts = self.packet_counts.get(check, PacketCounts())
        count = counts.total(way)
        if not count.sent and not count.received:
            return None
        if way is Direction.S2C and _is_raw(check) and not self.ends[way][1].sees_raw and not count.received:
            return None  # The client refuses what it may not receive: that says nothing of the path.
        sent = max(len(count.sent), len(count.received))
        detail: dict[str, Any] = form_detail(check)
        early = counts.count(way, "unsolicited")
        if early.sent:
            detail["unsolicited"] = {"sent": len(early.sent), "received": len(early.received)}
        found = self._blank(check, way, sent=sent, received=len(count.received), detail=detail)
        if count.received:
            lossy = count.lost >= 2 and count.lost / sent > LOSS_WORTH_A_WORD
            found = replace(found, outcome=Outcome.DEGRADED, cause=Cause.LOSS) if lossy else replace(found, outcome=Outcome.PASS)
            if way is Direction.S2C:
                there = counts.total(Direction.C2S)
                answers = {key: _answered_key(key) for key in count.received}
                found = replace(found, rtt_ms=round_trip_ms(there, count, answers=answers))
            return found
        return self._not_received(found, check, way, sent)

    def _not_received(self, found: Observation, check: Check, way: Direction, trials: int) -> Observation:
        outcome, bound = self.silence(check, way, trials, self.loss[way])
        return self._refused_or(replace(found, outcome=outcome, error_bound=bound), check, way)

    def _refused_or(self, silent: Observation, check: Check, way: Direction) -> Observation:
        """The same as a refusal where there was one. A router's single 'unreachable' stands only where the silence is proven too."""
        if kept := self._kept_by_host(check, way):
            return replace(silent, cause=Cause.HOST_FIREWALL, detail={**silent.detail, "reason": kept})
        refusal = self.refusal(check, way)
        if refusal is None:
            return silent
        told = replace(silent, detail={**silent.detail, **_by(refusal)})
        passing = refusal.kind is RefusalKind.UNREACHABLE and self.ends[way][1].recorded and silent.outcome is not Outcome.BLOCKED
        return told if passing else replace(told, outcome=Outcome.REFUSED)

    def connection(self, check: Check) -> Observation | None:
        """tcp/reach: connections that came up, were refused or stayed silent."""
        counts = self.packet_counts.get(check, PacketCounts())
        there, back = counts.count(Direction.C2S, "SYN"), counts.count(Direction.S2C, "SYN-ACK")
        if not there.sent and not back.received:
            return None
        server = self.ends[Direction.C2S][1]
        arrived = len(there.received)
        # A SYN whose answer is lost comes to no socket, and behind a NAT a port says nothing of whose it is.
        unattributed = unattributed_syns(check, *self.ends[Direction.C2S], self.facts)
        unknown = not arrived and (unattributed or not server.sees_closed_ports)
        detail = {"arrived_at_server": arrived} if server.recorded and there.sent and not unknown else {}
        found = self._blank(check, Direction.BOTH, sent=len(there.sent), received=len(back.received), detail=detail)
        if back.received and not unattributed and self._answered_by_another(check, counts):
            return replace(found, outcome=Outcome.NO_ANSWER, detail={**detail, "reason": ANOTHER})
        if back.received:
            return replace(found, outcome=Outcome.PASS, rtt_ms=round_trip_ms(there, back))
        if not arrived and server.recorded and not unknown and self.refusal(check, Direction.C2S) is not None:
            # The server's own wire never showed the SYN: somebody before it answered in its name.
            found = replace(found, detail={**detail, "by_router": True})
        if arrived and not back.sent:
            unanswered = replace(found, outcome=Outcome.NO_ANSWER, detail={**detail, "reason": UNANSWERED})
            return self._refused_or(unanswered, check, Direction.C2S)
        both = round_trip(self.loss[Direction.C2S], self.loss[Direction.S2C])
        outcome, bound = self.silence(check, Direction.C2S, len(there.sent), both)
        lost = {} if unknown else {"lost_direction": (Direction.S2C if arrived else Direction.C2S).value}
        silent = replace(found, outcome=outcome, error_bound=bound, detail={**found.detail, **lost})
        return self._refused_or(silent, check, Direction.C2S)

    def _answered_by_another(self, check: Check, counts: PacketCounts) -> bool:
        """Whether connections to a port of our own came up, and the server agent never saw one: a proxy or portal in between took them."""
        if not self.facts.joined or self._port_state(check) is not PortState.OURS or not self.ends[Direction.C2S][1].recorded:
            return False
        return not counts.total(Direction.C2S).received

    def conversation(self, check: Check) -> Observation | None:
        """A check that is answered by the messages that the client gets back."""
        counts = self.packet_counts.get(check, PacketCounts())
        goals = GOALS[check.name]
        there = counts.total(Direction.C2S)
        back = counts.total(Direction.S2C)
        if not there.sent and not back.received:
            return None
        answered = {key for message in goals for key in counts.count(Direction.S2C, message).received}
        detail = {**form_detail(check), **self._messages(counts)}
        found = self._blank(check, Direction.BOTH, sent=len(there.sent), received=len(answered), detail=detail)
        if answered:
            return replace(found, outcome=Outcome.PASS, rtt_ms=self._first_round_trip(counts))
        refusal = self.refusal(check, Direction.C2S)
        if refusal is not None and refusal.kind is not RefusalKind.UNREACHABLE:
            return replace(found, outcome=Outcome.REFUSED, detail={**found.detail, **_by(refusal)})
        if there.sent and self.would_have_recorded(check, Direction.C2S):
            found = replace(found, detail={**found.detail, "arrived_at_server": len(there.received)})
        refused = next((m for m in counts.messages(Direction.S2C) if m in REFUSALS and counts.count(Direction.S2C, m).received), None)
        # Where the server's end saw nothing come, somebody before it closed the connection in its name.
        if refused is not None and found.detail.get("arrived_at_server") != 0:
            wrapped = {"consistent_with": WRAPPED_OPENVPN} if refused == CLOSED else {}
            return replace(found, outcome=Outcome.REFUSED, detail={**found.detail, "by": "peer", "message": refused, **wrapped})
        return self._refused_or(self._where_it_stopped(found, check, counts), check, Direction.C2S)

    def data(self, check: Check, way: Direction) -> Observation | None:
        """openvpn/data, one direction: passes, with loss, up to a size (degraded), cut after some packets, or nothing of it came (blocked).

        Where nobody kept a record at the receiving end, a packet came if it was answered: what is missing may then be the answer
        (`detail.round_trip`).
        """
        count = self.packet_counts.get(check, PacketCounts()).total(way)
        if not count.sent and not count.received:
            return None
        run = DataRun.of(count, stream=check.transport is Transport.TCP)
        detail = {**form_detail(check), **run.detail()}
        detail |= {"round_trip": True} if count.sent and not self.would_have_recorded(check, way) else {}
        found = self._blank(check, way, sent=len(run.packets), received=len(count.received), detail=detail)
        if not count.received:
            return self._not_received(found, check, way, run.trials)
        limit = None if self._kept_by_host(check, way) else run.limit(self.loss[way])
        unproven = limit is not None and limit.outcome is Outcome.BLOCKED and not self.would_have_recorded(check, way)
        if unproven or (limit is None and run.all_stalled):
            return found
        if limit is None:
            return replace(found, outcome=Outcome.DEGRADED, cause=Cause.LOSS) if run.lossy else replace(found, outcome=Outcome.PASS)
        return _limited(found, limit)

    def _where_it_stopped(self, found: Observation, check: Check, counts: PacketCounts) -> Observation:
        """The first message that was sent and never came decides; none such means that the other end did not answer."""
        steps = [(count, way, message) for (way, message), count in counts.counts.items() if count.sent and not count.received]
        for count, way, message in sorted(steps, key=lambda step: min(step[0].sent.values())):
            outcome, bound = self.silence(check, way, len(count.sent), self.loss[way])
            detail = {**found.detail, "lost_direction": way.value, "lost_message": message}
            if outcome is Outcome.BLOCKED:
                return replace(found, outcome=outcome, error_bound=bound, sent=len(count.sent), detail=detail)
            if not found.error_bound:
                found = replace(found, error_bound=bound)
        return replace(found, outcome=Outcome.NO_ANSWER)

    def _first_round_trip(self, counts: PacketCounts) -> float | None:
        sent = [count for (way, _), count in counts.counts.items() if way is Direction.C2S and count.sent]
        came = [count for (way, _), count in counts.counts.items() if way is Direction.S2C and count.received]
        if not sent or not came:
            return None
        return round_trip_ms(min(sent, key=lambda c: min(c.sent.values())), min(came, key=lambda c: min(c.received.values())))

    def _messages(self, counts: PacketCounts) -> dict[str, Any]:
        """What each end sent and got, message by message, with the numbers of the last one."""
        messages = [
            {"message": message, "direction": way.value, "sent": len(count.sent), "received": len(count.received)}
            for (way, message), count in counts.counts.items()
        ]
        numbers = {f"{s.message} at {s.vantage}": dict(s.detail) for s in counts.details.values() if s.detail}
        return {"messages": messages} | ({"numbers": numbers} if numbers else {})

    def _blank(self, check: Check, way: Direction, *, sent: int, received: int, detail: Mapping[str, Any]) -> Observation:
        state = self._port_state(check)
        told = {"port_state": state.value} if check.port is not None and state in (PortState.DAEMON, PortState.CLOSED) else {}
        return Observation(
            id=identifier(check, way),
            probe=check.probe,
            check=check.name,
            direction=way,
            transport=check.transport,
            port=check.port,
            outcome=Outcome.NO_ANSWER,
            sent=sent,
            received=received,
            detail={**told, **detail},
        )

    def all(self) -> list[Observation]:
        """Every check that was asked, without causes and places."""
        found: list[Observation | None] = []
        for check in sorted(self.packet_counts, key=_order):
            if check.name == "reach" and check.transport is Transport.TCP:
                found.append(self.connection(check))
            elif check.name in PACKET_CHECKS:
                found.extend(self.packets_check(check, way) for way in (Direction.C2S, Direction.S2C))
            elif check.name == "data":
                found.extend(self.data(check, way) for way in (Direction.C2S, Direction.S2C))
            elif check.name in GOALS:
                found.append(self.conversation(check))
        return [observation for observation in found if observation is not None]


PACKET_CHECKS: Final = frozenset({"reach", "passthrough", "lcp", "esp-in-udp"})
GOALS: Final[Mapping[str, frozenset[str]]] = {
    "control": frozenset({"OCRP", "ICRP"}),
    "ikev1-main": frozenset({"main-answer", "notify"}),
    "ikev2-init": frozenset({"sa_init-answer", "notify"}),
    "reset": frozenset({"P_CONTROL_HARD_RESET_SERVER_V2", "P_CONTROL_HARD_RESET_SERVER_V1"}),
    "handshake": frozenset({KeysAgreed.NAME}),
}
"""Conversation checks, and the messages of which one must come back."""
CLOSED: Final = "FIN"
"""The end of a TCP connection whose server has not sent a byte."""
REFUSALS: Final = frozenset({"SCCRP-refused", "OCRP-refused", "StopCCN", "CDN", CLOSED})
"""Messages by which the other end itself refuses."""
WRAPPED_OPENVPN: Final = "an OpenVPN server that wants its control channel wrapped (tls-auth, tls-crypt); other services close at once too"


KNOWN_BY_TAG: Final = frozenset({"reach", "passthrough", "esp-in-udp"})
"""Checks whose packets carry the session's tag, so that the server knows them from any address."""


def _came_from_elsewhere(client: EndRecord, server: EndRecord, facts: PathFacts) -> bool:
    seen = facts.client_seen_as
    if seen is None or not facts.joined:
        return False
    ours = {s.key for s in client.packet_records if s.movement is Movement.SENT and s.check.transport is Transport.UDP and not s.message}
    arrived = (s for s in server.packet_records if s.movement is Movement.RECEIVED and s.key in ours)
    return any(packet_record.peer is not None and packet_record.peer[0] != seen for packet_record in arrived)


def _checks(client: EndRecord, server: EndRecord) -> set[Check]:
    return {packet_record.check for end in (client, server) for packet_record in end.packet_records}


def _is_raw(check: Check) -> bool:
    """Whether it takes raw sockets to send and to see."""
    return check.transport in (Transport.GRE, Transport.ESP)


def _order(check: Check) -> tuple[str, str, str, int, str]:
    return (check.probe, check.name, check.transport.value, check.port or 0, check.variant)


def _answered_key(key: str) -> str:
    """The key of the payload that an answer of ours belongs to; other keys stay as they are."""
    if len(key) != 24:
        return key
    return f"{key[:8]}{int(key[8:], 16) & ~ANSWER:016x}"


def _limited(found: Observation, limit: Limit) -> Observation:
    detail = {**found.detail, **limit.detail}
    return replace(found, outcome=limit.outcome, cause=limit.cause, error_bound=limit.error_bound, detail=detail)


def _by(refusal: Refusal) -> dict[str, Any]:
    return {"refusal": refusal.kind.value, "by": refusal.by}


def judge(client: EndRecord, server: EndRecord, facts: PathFacts) -> list[Observation]:
    """All observations that follow from two records of one path, ordered by probe, check and port; ids are unique."""
    judgement = Judge(client, server, facts)
    found = judgement.all()
    measured = {observation.id for observation in found}
    unmeasured: Sequence[Observation] = [skipped(skip) for skip in facts.skips]
    found += [observation for observation in unmeasured if observation.id not in measured]
    return explain(found, facts)
