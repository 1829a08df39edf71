"""Three-valued reading of observations (Kleene's strong logic): a row, a selector, a rule.

`Reading` answers selectors for one candidate port; `evaluate` folds a rule's sources into a `Finding`. Pure, and independent of the order
of the observations.

Invariant: unknown is neither true nor false. A row that was not measured adds nothing where another row of its direction was, and nothing
but a row that is shown to fail makes anything false.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome
from vpnprobe.rules.model import (
    CANDIDATE,
    PLAIN,
    PROFILE,
    Combine,
    Condition,
    DirectionScope,
    ObservationSelector,
    RowQuantifier,
    Rule,
    Setting,
    Source,
    Truth,
)

NOT_TRIED: Final = frozenset({Outcome.SKIPPED, Outcome.ERROR})


def truth_of(row: Observation, selector: ObservationSelector | None = None) -> Truth:
    """What a row says: whether what it is about works."""
    if selector is not None and selector.reads is not None and row.outcome in selector.reads:
        return selector.reads[row.outcome]
    match row.outcome:
        case Outcome.PASS | Outcome.DEGRADED:
            return Truth.TRUE
        case Outcome.BLOCKED:
            return Truth.FALSE
        case Outcome.REFUSED:
            # The path carried the packet and the refusal: the question is what happens once something listens, or may be reached.
            at_the_end = row.cause in (Cause.NO_LISTENER, Cause.HOST_FIREWALL) or by_the_peer(row)
            return Truth.UNKNOWN if at_the_end else Truth.FALSE
        case Outcome.NO_ANSWER if row.detail.get("by") == "settings":
            return Truth.FALSE  # No silence that could have another reason: both ends say what they disagree on.
        case Outcome.NO_ANSWER | Outcome.SKIPPED | Outcome.ERROR:
            return Truth.UNKNOWN
        case _:
            assert_never(row.outcome)


def by_the_peer(row: Observation) -> bool:
    """Whether the server itself refused, in its protocol's own words, and nothing on the path did."""
    return row.outcome is Outcome.REFUSED and row.detail.get("by") == "peer" and row.cause in (None, Cause.UNKNOWN)


def is_local(row: Observation) -> bool:
    """Whether it is an end's own doing, or may be."""
    return row.cause is Cause.HOST_FIREWALL or "unwatched" in row.detail


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one selector that a value rests on."""

    selector: ObservationSelector
    rows: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A truth and what it rests on; of an unknown, all that was looked at."""

    truth: Truth
    parts: tuple[Part, ...] = ()
    degraded: tuple[Observation, ...] = ()
    """Rows that are true with loss or limits."""

    @property
    def rows(self) -> tuple[Observation, ...]:
        return distinct(row for part in self.parts for row in part.rows)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says on one port."""

    rule: Rule
    port: int
    value: Value
    source: Source | None
    """The source that decided, or that is told about; None: none applied."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """What must be set for it to be true; empty: the defaults do."""
    grounds: tuple[Observation, ...] = ()
    """Rows that the source's condition rests on."""
    unmet: str | None = None
    """Why a true selector did not count."""
    form: str = PLAIN
    """The form that was judged."""

    @property
    def truth(self) -> Truth:
        return self.value.truth

    @property
    def rows(self) -> tuple[Observation, ...]:
        """All that it rests on."""
        return distinct((*self.value.rows, *self.grounds))


def distinct(rows: Iterable[Observation]) -> tuple[Observation, ...]:
    """The rows without repetition, in their order (a row may hold a mapping and have no hash)."""
    return tuple({row.id: row for row in rows}.values())


def joined(truth: Truth, values: Iterable[Value]) -> Value:
    """One value of that truth that rests on all of these."""
    parts: dict[str, Part] = {}
    degraded: list[Observation] = []
    for value in values:
        degraded.extend(value.degraded)
        for part in value.parts:
            before = parts[part.selector.name].rows if part.selector.name in parts else ()
            parts[part.selector.name] = Part(part.selector, distinct((*before, *part.rows)))
    return Value(truth, tuple(parts.values()), distinct(degraded))


def conjunction(values: Sequence[Value]) -> Value:
    """False where one is false, true where all are (and there is one), else unknown."""
    if false := [value for value in values if value.truth is Truth.FALSE]:
        return joined(Truth.FALSE, false)
    every = bool(values) and all(value.truth is Truth.TRUE for value in values)
    return joined(Truth.TRUE if every else Truth.UNKNOWN, values)


def disjunction(values: Sequence[Value]) -> Value:
    """True where one is true, false where all are (and there is one), else unknown. Those without loss or limits are preferred."""
    if true := [value for value in values if value.truth is Truth.TRUE]:
        return joined(Truth.TRUE, [value for value in true if not value.degraded] or true)
    every = bool(values) and all(value.truth is Truth.FALSE for value in values)
    return joined(Truth.FALSE if every else Truth.UNKNOWN, values)


@dataclass(frozen=True, slots=True)
class Reading:
    """The observations as the selectors see them, for one candidate port and form."""

    selectors: Mapping[str, ObservationSelector]
    observations: Sequence[Observation]
    port: int
    form: str = PLAIN
    _known: dict[str, Value] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """What the selector says."""
        if name not in self._known:
            self._known[name] = self._read(self.selectors[name])
        return self._known[name]

    def rows(self, name: str) -> tuple[Observation, ...]:
        selector = self.selectors[name]
        return tuple(row for row in self.observations if fits(row, selector, self.port, self.form))

    def holds(self, condition: Condition | None) -> bool:
        return condition is None or all(self.value(name).truth in truths for name, truths in condition.items())

    def tried(self, name: str) -> bool:
        return any(row.outcome not in NOT_TRIED for row in self.rows(name))

    def _read(self, selector: ObservationSelector) -> Value:
        rows = self.rows(selector.name)
        match selector.scope:
            case DirectionScope.BOTH:
                return conjunction([_quantified(selector, _of_direction(rows, direction)) for direction in (Direction.C2S, Direction.S2C)])
            case DirectionScope.EITHER:
                return _quantified(selector, rows)
            case DirectionScope.C2S:
                return _quantified(selector, _of_direction(rows, Direction.C2S))
            case DirectionScope.S2C:
                return _quantified(selector, _of_direction(rows, Direction.S2C))
            case _:
                assert_never(selector.scope)


def form_of(row: Observation) -> str:
    """What the row is wrapped in, whose profile it is about, or its other form; PLAIN: none of these."""
    if row.detail.get("profile"):
        remote = row.detail.get("remote")
        return f"{PROFILE}-{remote}" if remote else PROFILE
    return str(row.detail.get("wrap") or row.detail.get("form") or PLAIN)


def fits(row: Observation, selector: ObservationSelector, port: int, form: str = PLAIN) -> bool:
    """Whether a selector sees a row. A row that was not tried may leave out its port and its form: it then speaks for all of them."""
    untried = row.outcome in NOT_TRIED
    wanted = port if selector.port == CANDIDATE else selector.port
    wanted_form, own_form = (form if selector.form == CANDIDATE else selector.form), form_of(row)
    return (
        row.probe == selector.probe
        and row.check == selector.check
        and selector.transport in (None, row.transport)
        and (wanted in (None, row.port) or (untried and row.port is None))
        and (wanted_form in (None, own_form) or (untried and own_form == PLAIN))
    )


def _of_direction(rows: Sequence[Observation], direction: Direction) -> tuple[Observation, ...]:
    return tuple(row for row in rows if row.direction in (direction, Direction.BOTH))


def _quantified(selector: ObservationSelector, rows: Sequence[Observation]) -> Value:
    """One value of several rows of the same question."""
    told = [row for row in rows if row.outcome not in NOT_TRIED] or rows
    values = [_row_value(selector, row) for row in told]
    match selector.quantifier:
        case RowQuantifier.ANY:
            return disjunction(values)
        case RowQuantifier.ALL:
            return conjunction(values)
        case _:
            assert_never(selector.quantifier)


def _row_value(selector: ObservationSelector, row: Observation) -> Value:
    truth = truth_of(row, selector)
    degraded = (row,) if truth is Truth.TRUE and row.outcome is Outcome.DEGRADED else ()
    return Value(truth, (Part(selector, (row,)),), degraded)


def evaluate(rule: Rule, reading: Reading) -> Finding | None:
    """What a rule says on the reading's port; None: it does not apply."""
    if not reading.holds(rule.when):
        return None
    weighed = [(source, _weigh(source, reading)) for source in rule.sources if _applies(source, reading)]
    source, value = _combined(rule.combine, weighed)
    settings = _settings(rule.combine, source, weighed) if value.truth is Truth.TRUE else {}
    settings |= _derived(rule, value)
    finding = Finding(rule, reading.port, value, source, settings, _grounds(source, reading), form=reading.form)
    return _with_unmet(finding, reading) if value.truth is Truth.UNKNOWN else finding


def _derived(rule: Rule, value: Value) -> dict[str, Setting]:
    """Settings that follow from the numbers of what works within limits."""
    found: dict[str, Setting] = {}
    for name, derived in rule.derived.items():
        numbers = [number for row in value.degraded if isinstance(number := row.detail.get(derived.source), int)]
        if numbers:
            found[name] = min(numbers) - derived.less
    return found


def _grounds(source: Source | None, reading: Reading) -> tuple[Observation, ...]:
    names = source.when or () if source is not None else ()
    return distinct(row for name in names if reading.value(name).truth is not Truth.UNKNOWN for row in reading.value(name).rows)


def _applies(source: Source, reading: Reading) -> bool:
    return reading.holds(source.when) and (source.instead_of is None or not reading.tried(source.instead_of))


def _weigh(source: Source, reading: Reading) -> Value:
    value = reading.value(source.selector)
    if value.truth is Truth.UNKNOWN:
        others = [reading.value(name) for name in source.falsified_by]
        own = reading.selectors[source.selector]
        passing = {row.direction for row in reading.rows(source.selector) if truth_of(row, own) is Truth.TRUE}
        # Where this itself passes, it is not for what stops the other: its own packets have opened no way, for example.
        against = [other for other in others if other.truth is Truth.FALSE and any(row.direction not in passing for row in other.rows)]
        # What an end itself does to a step before tells why this one was not tried.
        local = [other for other in others if other.truth is Truth.UNKNOWN and any(map(is_local, other.rows))]
        return joined(Truth.FALSE, against) if against else joined(Truth.UNKNOWN, (value, *local)) if local else value
    if value.truth is Truth.FALSE and source.proof_only:
        return Value(Truth.UNKNOWN, value.parts)
    return value


Weighed = tuple[Source, Value]


def _settings(combine: Combine, told: Source | None, weighed: Sequence[Weighed]) -> dict[str, Setting]:
    sources = [source for source, _ in weighed if combine is Combine.ALL or source is told]
    return {name: value for source in sources for name, value in (source.settings or {}).items()}


def _combined(combine: Combine, weighed: Sequence[Weighed]) -> tuple[Source | None, Value]:
    """The truth of the sources together, and the source that it is told by."""
    values = [value for _, value in weighed]
    match combine:
        case Combine.FIRST:
            return next(((source, value) for source, value in weighed if value.truth is not Truth.UNKNOWN), _told(weighed))
        case Combine.ANY:
            if true := [one for one in weighed if one[1].truth is Truth.TRUE]:
                return min(true, key=lambda one: bool(one[0].settings or one[1].degraded))
            return _told(weighed)[0], disjunction(values)
        case Combine.ALL:
            value = conjunction(values)
            return _told([one for one in weighed if one[1].truth is value.truth])[0], value
        case _:
            assert_never(combine)


def _told(weighed: Sequence[Weighed]) -> tuple[Source | None, Value]:
    """Of several that decide nothing by themselves: the first that saw anything."""
    seen = [one for one in weighed if one[1].parts] or weighed
    return seen[0] if seen else (None, Value(Truth.UNKNOWN))


def _with_unmet(finding: Finding, reading: Reading) -> Finding:
    """Adds why a source that would have proved it did not count."""
    for source in finding.rule.sources:
        value = reading.value(source.selector)
        untried = source.instead_of is None or not reading.tried(source.instead_of)
        if source.unmet is not None and untried and value.truth is Truth.TRUE and not reading.holds(source.when):
            grounds = tuple(row for name in source.when or () for row in reading.value(name).rows)
            return replace(finding, value=joined(Truth.UNKNOWN, (finding.value, value)), grounds=grounds, unmet=source.unmet)
    return finding
