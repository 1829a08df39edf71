"""What a result says, in a reader's order: the headline, where packets vanish, what each end sent and got, what nmap says.

Pure: a `Result` in, sentences and small records out. Nothing here decides: verdicts, causes and places come from the document.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from vpnprobe.observations.schema import (
    Cause,
    Direction,
    Feasibility,
    Mode,
    Observation,
    Outcome,
    Protocol,
    Reason,
    Result,
    Transport,
    Verdict,
)
from vpnprobe.report.real_client import leading_words
from vpnprobe.report.words import (
    cause_words,
    count_words,
    direction_words,
    outcome_mark,
    protocol_name,
    question_words,
    session_words,
    set_up_words,
    visible,
)

WORKS: Final = (Feasibility.FEASIBLE, Feasibility.DEGRADED)
CONTROL_PORT_RULE: Final = "control-port"
"""The rule by which a verdict advises to use the port of vpnprobe's own control connection."""
FAILURE_RULES: Final = "failure."
NOT_SUPPORTED: Final = f"{FAILURE_RULES}not-supported"
"""What vpnprobe itself cannot do stops nothing."""
"""How the rules begin that name a failure and say what to change."""
AT_THE_SERVER: Final = "at the server: "
"""How the reason begins where it is the server agent that lacks something."""
MOST_COMMANDS: Final = 6
"""That are told of one end."""
FORWARDING: Final = " (and see what it forwards, or what forwards to it)"
"""Of the server alone: a client is not forwarded to."""
ORDER: Final = {protocol.value: place for place, protocol in enumerate(Protocol)}


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict in one sentence, and why."""

    tone: str
    """`good`, `fair`, `bad` or `mute`."""
    sentence: str
    reason: str
    """Empty: there is none to give."""


@dataclass(frozen=True, slots=True)
class Vanishing:
    """Kinds of packets that vanish at one place in one direction."""

    kinds: tuple[str, ...]
    direction: Direction
    place: str
    """Where, as a clause: "reaches 10.78.1.2 (hop 2), not the next one, 10.78.2.2"."""
    cause: str
    """Empty: not known."""
    observations: tuple[str, ...]
    """Ids."""

    @property
    def sentence(self) -> str:
        cause = f" Cause: {self.cause}." if self.cause else ""
        return f"{', '.join(self.kinds)}, {direction_words(self.direction)}: {self.place}.{cause}"


@dataclass(frozen=True, slots=True)
class Count:
    """What left one end, and what of it came at the other; None: nobody could count."""

    sent: int | None
    received: int | None

    @property
    def percent(self) -> int | None:
        """Share that arrived, 0 to 100, and 0 where nothing was sent; None: not known."""
        if self.sent is None or self.received is None:
            return None
        return min(100, round(100 * self.received / self.sent)) if self.sent else 0

    @property
    def lossy(self) -> bool:
        """Whether something that was sent is known not to have arrived."""
        return self.sent is not None and self.received is not None and self.received < self.sent

    def words(self, verb: str) -> str:
        return count_words(self.sent, self.received, verb)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question, or several that came out the same, with the counts of each direction."""

    question: str
    counts: Mapping[Direction, Count]

    @property
    def lossy(self) -> bool:
        """Whether anything that was sent is known not to have arrived."""
        return any(count.lossy for count in self.counts.values())


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """nmap's word on a port beside our own evidence for it."""

    subject: str
    nmap: str
    evidence: str
    note: str
    differs: bool
    row: Observation


def headline(result: Result) -> Headline:
    """The recommendation in one sentence, or what stands in its way; what a protocol's own program came to goes before it."""
    if (leading := leading_words(result)) is not None:
        return Headline(*leading)
    advice = result.recommendation
    if advice is not None:
        verdict = next((verdict for verdict in result.verdicts if verdict.protocol == advice.protocol), None)
        limited = verdict is not None and verdict.feasibility is Feasibility.DEGRADED
        port = f", port {advice.port}" if advice.port is not None else ""
        limits = "; it works with limits" if limited else ""
        return Headline("fair" if limited else "good", f"Use {protocol_name(advice.protocol)}{port}{limits}", _first(advice.because))
    if not result.verdicts:
        return _without_verdicts(result)
    return _without_advice(result)


def _without_verdicts(result: Result) -> Headline:
    if not result.complete:
        return Headline("mute", "Interrupted before a verdict", "What had been measured by then is kept.")
    if len(result.run.captures) > 1:
        return Headline("mute", "No common verdict: the captures are not of one path", "Each capture's own verdicts are below.")
    return Headline("mute", "No verdict", "No protocol was judged.")


def _without_advice(result: Result) -> Headline:
    names = {
        feasibility: [protocol_name(verdict.protocol) for verdict in result.verdicts if verdict.feasibility is feasibility]
        for feasibility in Feasibility
    }
    working = [name for feasibility in WORKS for name in names[feasibility]]
    failing, unknown = names[Feasibility.INFEASIBLE], names[Feasibility.UNKNOWN]
    if working:
        return Headline("fair", f"{listed(working)} {_verb(working, 'works', 'work')}, and nothing is recommended", _why(result, *WORKS))
    if not unknown:
        return Headline("bad", "No VPN protocol gets through", _why(result, Feasibility.INFEASIBLE))
    if failing:
        rest = f"{listed(unknown)} {_verb(unknown, 'is', 'are')} not known" if len(unknown) <= 2 else "the others are not known"
        return Headline("bad", f"{listed(failing)} {_verb(failing, 'does', 'do')} not work; {rest}", _why(result, Feasibility.INFEASIBLE))
    if stopped := [protocol_name(verdict.protocol) for verdict in result.verdicts if _named_failures(verdict)]:
        return Headline("bad", f"{listed(stopped)} {_verb(stopped, 'does', 'do')} not come up", _why(result, Feasibility.UNKNOWN))
    if kept := list(kept_by_hosts(result)):
        whose = listed([f"the {one.host}'s own firewall" for one in kept])
        return Headline("mute", f"{whose[0].upper()}{whose[1:]} {_verb(kept, 'is', 'are')} in the way", _opening(kept[0]))
    return Headline("mute", "Nothing could be shown, neither to work nor to fail", _why(result, Feasibility.UNKNOWN))


def _named_failures(verdict: Verdict) -> list[Reason]:
    """What stops it, by name."""
    return [reason for reason in verdict.because if reason.rule.startswith(FAILURE_RULES) and reason.rule != NOT_SUPPORTED]


def _first(sentences: Sequence[str]) -> str:
    return visible(sentences[0]) if sentences else ""


def _why(result: Result, *wanted: Feasibility) -> str:
    """The reason, where one protocol has it; several have each their own, further down."""
    found = [verdict for verdict in result.verdicts if verdict.feasibility in wanted]
    return _first([reason.text for reason in found[0].because]) if len(found) == 1 else "Each protocol's own reason stands below."


def _verb(names: Sequence[object], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def vanishings(result: Result) -> tuple[Vanishing, ...]:
    """Where packets vanish: one a place, direction and cause, for every failing question whose place was looked for and found."""
    groups: dict[tuple[Direction, str, str], list[Observation]] = {}
    for row in result.observations:
        if row.location is not None and is_stopped(row) and row.cause is not Cause.NO_LISTENER:
            groups.setdefault((failing_direction(row), place_words(row), cause_words(row.cause) if row.cause else ""), []).append(row)
    return tuple(
        Vanishing(summed(rows), direction, place, cause, tuple(row.id for row in rows))
        for (direction, place, cause), rows in groups.items()
    )


def is_stopped(row: Observation) -> bool:
    """Whether the row is about probe packets that did not get through (a trace only says how far copies came)."""
    return row.outcome in (Outcome.BLOCKED, Outcome.REFUSED) and row.probe != "path" and row.check != "nmap"


def failing_direction(row: Observation) -> Direction:
    """The direction in which the row's packets are lost: for a row of both ways, the one that the measurement names."""
    named = row.detail.get("lost_direction")
    return Direction(named) if row.direction is Direction.BOTH and named in (Direction.C2S, Direction.S2C) else row.direction


def place_words(row: Observation) -> str:
    """Where the packets of a row vanish, as a clause; empty where it is not known."""
    place = row.location
    if place is None:
        return ""
    following = f", not the next one, {visible(place.next_address)}" if place.next_address else ", nothing beyond it"
    if place.last_hop == 0:
        return "leaves its sender" + (f" and does not reach the first hop, {visible(place.next_address)}" if place.next_address else "")
    named = f"{visible(place.last_address)} (hop {place.last_hop})" if place.last_address else f"hop {place.last_hop}"
    return f"reaches {named}{following}"


def summed(rows: Iterable[Observation]) -> tuple[str, ...]:
    """The rows' kinds of packets, briefly: `GRE`, `UDP ports 53, 443, 1194`."""
    ports: dict[str, set[int]] = {}
    for row in rows:
        ports.setdefault(row.transport.value.upper(), set()).update([row.port] if row.port is not None else [])
    return tuple(
        f"{kind} port{'s' if len(found) > 1 else ''} {', '.join(map(str, sorted(found)))}" if found else kind
        for kind, found in ports.items()
    )


def exchanges(result: Result) -> tuple[Exchange, ...]:
    """What each end sent and got, a question a line, losses first; ports on which one question came out the same share a line."""
    counts: dict[tuple[object, ...], dict[Direction, Count]] = {}
    first: dict[tuple[object, ...], Observation] = {}
    for row in result.observations:
        if (row.sent is None and row.received is None) or row.probe == "path" or row.check == "nmap":
            continue
        form = str(row.detail.get("form", "")) + session_words(row.detail)
        key: tuple[object, ...] = (row.probe, row.check, row.transport, form, row.port)
        first.setdefault(key, row)
        counts.setdefault(key, {})[row.direction] = Count(row.sent, row.received)
    merged: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
    for key, found in counts.items():
        alike = tuple(sorted(((way.value, count) for way, count in found.items()), key=itemgetter(0)))
        merged.setdefault((*key[:-1], alike), []).append(key)
    lines = [Exchange(question_words(first[keys[0]], ports=_ports(keys)), counts[keys[0]]) for keys in merged.values()]
    return tuple(sorted(lines, key=lambda line: not line.lossy))


def _ports(keys: Sequence[tuple[object, ...]]) -> tuple[int, ...]:
    return tuple(sorted(key[-1] for key in keys if isinstance(key[-1], int)))


def second_opinions(result: Result) -> tuple[SecondOpinion, ...]:
    """nmap's word beside our evidence for the same transport and port, and what follows where they differ."""
    return tuple(_opinion(row, result) for row in result.observations if row.check == "nmap")


def _opinion(row: Observation, result: Result) -> SecondOpinion:
    state = visible(row.detail.get("state", "no word"))
    carrier = row.transport.value.upper()
    subject = f"{carrier} port {row.port}" if row.port is not None else f"{carrier}, by IP protocol scan"
    ours = [
        other
        for other in result.observations
        if other.check in ("reach", "passthrough")
        and (other.transport, other.port) == (row.transport, row.port)
        and other.outcome not in (Outcome.SKIPPED, Outcome.ERROR)
    ]
    words = "; ".join(dict.fromkeys(f"{outcome_mark(other.outcome).word} {direction_words(other.direction)}" for other in ours))
    note, differs = _difference(state, ours, row.transport)
    return SecondOpinion(subject, state, words or "not measured", note, differs, row)


def _difference(state: str, ours: Sequence[Observation], transport: Transport) -> tuple[str, bool]:
    """What to think of nmap's state beside ours: a note, and whether the two differ."""
    passed = [row for row in ours if row.outcome in (Outcome.PASS, Outcome.DEGRADED)]
    stopped = [row for row in ours if row.outcome in (Outcome.BLOCKED, Outcome.REFUSED)]
    if transport is Transport.GRE:
        return "No evidence either way for GRE.", state == "open" and bool(stopped)
    if "|" in state and ours:
        return "nmap cannot tell: it has only silence. The evidence of the ends does.", False
    if state == "open" and stopped:
        return "They differ: nmap saw an answer, and our packets are shown not to get through.", True
    if state == "filtered" and passed:
        return "They differ: nmap got no answer, and our packets arrived.", True
    if state == "closed" and passed:
        return "They differ in time, not in fact: the server agent listened while we probed, and nothing listens there otherwise.", True
    return ("They agree." if ours else "There is nothing of ours to compare it with."), False


def skipped(result: Result) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What was not tried or failed by itself, by reason."""
    groups: dict[str, list[str]] = {}
    for row in result.observations:
        if row.outcome in (Outcome.SKIPPED, Outcome.ERROR):
            reason = visible(row.detail.get("reason", "no reason is recorded"))
            groups.setdefault(reason, []).append(question_words(row))
    return tuple((reason, tuple(dict.fromkeys(questions))) for reason, questions in groups.items())


def next_steps(result: Result) -> tuple[str, ...]:
    """What to do now, cheapest first; empty where the verdict leaves nothing open."""
    open_ones = [verdict for verdict in result.verdicts if verdict.feasibility is Feasibility.UNKNOWN and not _named_failures(verdict)]
    unknown = [protocol_name(verdict.protocol) for verdict in open_ones]
    steps = [_opening(one) for one in kept_by_hosts(result)]
    if not result.complete:
        steps.append("Run it again: this run was interrupted.")
    if result.run.mode is Mode.OFFLINE and (unknown or not result.verdicts):
        steps.append("A capture shows only what was tried: `vpnprobe serve` at the server and `vpnprobe run --peer HOST` measure the rest.")
    if result.run.mode is Mode.SOLO and unknown:
        steps.append(
            "Silence proves nothing by itself: try `vpnprobe run --peer ssh://HOST`, or start `vpnprobe serve` at the server, and "
            f"{listed(unknown)} can be told."
        )
    lacking = [reason for reason, _ in skipped(result) if "cap_net_raw" in reason.lower() or "raw-ip" in reason]
    if any(not reason.startswith(AT_THE_SERVER) for reason in lacking):
        steps.append("Run it with CAP_NET_RAW (as root) to measure what was skipped; `vpnprobe doctor` names the command.")
    if any(reason.startswith(AT_THE_SERVER) for reason in lacking):
        steps.append("Run the server agent with CAP_NET_RAW (as root): without it GRE and ESP cannot be measured.")
    reasons = [reason for verdict in result.verdicts for reason in verdict.because]
    steps += [reason.text for reason in reasons if reason.rule == CONTROL_PORT_RULE or reason.rule.startswith(FAILURE_RULES)]
    if result.run.mode is Mode.PAIRED and result.recommendation is not None and (words := set_up_words(result.recommendation.protocol)):
        steps.append(words)
    return tuple(dict.fromkeys(steps))


@dataclass(frozen=True, slots=True)
class KeptByHost:
    """What the own firewall of one end keeps."""

    host: str
    """`client` or `server`."""
    firewall: str
    """Who manages it; empty: not known."""
    kinds: tuple[str, ...]
    """Of packets."""
    commands: tuple[str, ...]
    """What lets them through, run there, of the ports that protocols are judged on; empty: not known."""
    further: bool = False
    """Whether there are commands for other ports too."""


def kept_by_hosts(result: Result) -> Iterator[KeptByHost]:
    """Each end whose own firewall keeps something."""
    kept = [row for row in result.observations if row.cause is Cause.HOST_FIREWALL]
    for host in ("client", "server"):
        if rows := [row for row in kept if row.detail.get("host", "server") == host]:
            managers = (str(row.detail["firewall"]) for row in rows if row.detail.get("firewall"))
            every = _commands(rows)
            judged = {None, *(verdict.port for verdict in result.verdicts)}
            first = _commands(row for row in rows if row.port in judged)[:MOST_COMMANDS] or every[:MOST_COMMANDS]
            yield KeptByHost(host, next(managers, ""), summed(rows), first, further=len(first) < len(every))


def _commands(rows: Iterable[Observation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(command for row in rows for command in _texts(row.detail.get("mend"))))


def _texts(told: object) -> list[str]:
    return [str(one) for one in told] if isinstance(told, list | tuple) else []


def _opening(kept: KeptByHost) -> str:
    """What to run where, and why."""
    manager = f" ({kept.firewall})" if kept.firewall else ""
    if not kept.commands:
        forwarding = FORWARDING if kept.host == "server" else ""
        return f"Open the {kept.host}'s own firewall{manager} for {listed(kept.kinds)}{forwarding}: the path is not what stops it."
    commands = "; ".join(f"`{command}`" for command in kept.commands)
    whose = f"The {kept.host}'s own firewall{manager} keeps {listed(kept.kinds)}, and the path does not."
    return f"{whose} On the {kept.host}, as root: {commands}{' (and likewise for the others)' if kept.further else ''}."


def place_in_order(protocol: str) -> tuple[int, str]:
    """Sorts protocols as the published list does, further ones after them by name."""
    return (ORDER.get(protocol, len(ORDER)), protocol)


def address_of(end: Mapping[str, object] | None) -> str:
    """An end's address; empty where it is not recorded."""
    address = end.get("address") if end else None
    return visible(address) if address else ""
