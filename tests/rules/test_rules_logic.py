"""Kleene's tables, the reading of rows, and the folds of a rule."""

import itertools
from collections.abc import Mapping

import pytest
from rules_rows import row

from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.rules.logic import Finding, Reading, Value, conjunction, disjunction, evaluate, truth_of
from vpnprobe.rules.model import (
    CANDIDATE,
    Combine,
    DirectionScope,
    Need,
    ObservationSelector,
    RowQuantifier,
    Rule,
    Sentences,
    Setting,
    Source,
    Truth,
    Weight,
)

T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN
UDP = Transport.UDP


@pytest.mark.parametrize(
    ("outcome", "cause", "expected"),
    [
        (Outcome.PASS, None, T),
        (Outcome.DEGRADED, Cause.LOSS, T),
        (Outcome.BLOCKED, Cause.PORT, F),
        (Outcome.REFUSED, Cause.PORT, F),
        (Outcome.REFUSED, Cause.NO_LISTENER, U),
        (Outcome.REFUSED, Cause.HOST_FIREWALL, U),
        (Outcome.NO_ANSWER, None, U),
        (Outcome.SKIPPED, None, U),
        (Outcome.ERROR, None, U),
    ],
)
def test_what_an_outcome_says(outcome: Outcome, cause: Cause | None, expected: Truth) -> None:
    assert truth_of(row("udp/reach", UDP, outcome, cause=cause)) is expected


@pytest.mark.parametrize("values", list(itertools.product(Truth, repeat=3)))
def test_the_three_valued_tables(values: tuple[Truth, ...]) -> None:
    made = [Value(truth) for truth in values]
    assert conjunction(made).truth is (F if F in values else U if U in values else T)
    assert disjunction(made).truth is (T if T in values else U if U in values else F)


def test_nothing_at_all_is_unknown() -> None:
    assert conjunction([]).truth is U
    assert disjunction([]).truth is U


def selector(
    name: str = "a",
    scope: DirectionScope = DirectionScope.EITHER,
    quantifier: RowQuantifier = RowQuantifier.ANY,
    *,
    reads: Mapping[Outcome, Truth] | None = None,
) -> ObservationSelector:
    return ObservationSelector(name, name, "udp", "reach", UDP, None, name, scope, quantifier, reads)


def rows_of(*told: tuple[str, Direction, Outcome]) -> list[Observation]:
    return [row("udp/reach", UDP, outcome, form=form, direction=way, name=f"{number}") for number, (form, way, outcome) in enumerate(told)]


C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH


@pytest.mark.parametrize(
    ("way", "told", "expected"),
    [
        (DirectionScope.BOTH, [("a", C2S, Outcome.PASS)], U),
        (DirectionScope.BOTH, [("a", C2S, Outcome.PASS), ("a", S2C, Outcome.PASS)], T),
        (DirectionScope.BOTH, [("a", BOTH, Outcome.PASS)], T),
        (DirectionScope.BOTH, [("a", BOTH, Outcome.BLOCKED)], F),
        (DirectionScope.BOTH, [("a", S2C, Outcome.BLOCKED)], F),
        (DirectionScope.C2S, [("a", C2S, Outcome.PASS), ("a", S2C, Outcome.BLOCKED)], T),
        (DirectionScope.S2C, [("a", C2S, Outcome.PASS), ("a", S2C, Outcome.BLOCKED)], F),
        (DirectionScope.EITHER, [("a", C2S, Outcome.PASS), ("a", S2C, Outcome.BLOCKED)], T),
        (DirectionScope.EITHER, [("b", C2S, Outcome.PASS)], U),
    ],
)
def test_directions(way: DirectionScope, told: list[tuple[str, Direction, Outcome]], expected: Truth) -> None:
    assert Reading({"a": selector(scope=way)}, rows_of(*told), 1).value("a").truth is expected


@pytest.mark.parametrize(
    ("quantifier", "outcomes", "expected"),
    [
        (RowQuantifier.ANY, [Outcome.PASS, Outcome.BLOCKED], T),
        (RowQuantifier.ALL, [Outcome.PASS, Outcome.BLOCKED], F),
        (RowQuantifier.ANY, [Outcome.BLOCKED, Outcome.NO_ANSWER], U),
        (RowQuantifier.ANY, [Outcome.BLOCKED, Outcome.SKIPPED], F),
        (RowQuantifier.ALL, [Outcome.PASS, Outcome.ERROR], T),
        (RowQuantifier.ANY, [Outcome.SKIPPED], U),
    ],
)
def test_several_rows_of_one_question(quantifier: RowQuantifier, outcomes: list[Outcome], expected: Truth) -> None:
    rows = rows_of(*(("a", C2S, outcome) for outcome in outcomes))
    assert Reading({"a": selector(quantifier=quantifier)}, rows, 1).value("a").truth is expected


def test_of_repeated_rows_the_one_without_loss_counts() -> None:
    rows = rows_of(("a", C2S, Outcome.DEGRADED), ("a", C2S, Outcome.PASS))
    assert Reading({"a": selector()}, rows, 1).value("a").degraded == ()
    assert Reading({"a": selector()}, rows[:1], 1).value("a").degraded == (rows[0],)


def test_outcomes_can_be_read_otherwise() -> None:
    reading = Reading({"a": selector(reads={Outcome.DEGRADED: F})}, rows_of(("a", C2S, Outcome.DEGRADED)), 1)
    assert reading.value("a").truth is F


def test_a_candidate_look_sees_its_own_port_and_what_was_tried_on_none() -> None:
    candidate = ObservationSelector("a", "a", "udp", "reach", UDP, CANDIDATE, scope=DirectionScope.EITHER)
    rows = [row("udp/reach", UDP, Outcome.PASS, port=443), row("udp/reach", UDP, Outcome.SKIPPED)]
    assert Reading({"a": candidate}, rows, 443).rows("a") == tuple(rows)
    assert Reading({"a": candidate}, rows, 1194).rows("a") == (rows[1],)


def rule(combine: Combine, *sources: Source) -> Rule:
    return Rule("r", "p", "?", Need.REQUIRED, Weight.DECISIVE, combine, sources, Sentences("", "", ""), {})


def finding(combine: Combine, outcomes: str, *sources: Source) -> Finding:
    """`outcomes`: for selectors a, b, c: T, F, U or - (no row)."""
    words = {"T": Outcome.PASS, "F": Outcome.BLOCKED, "U": Outcome.NO_ANSWER, "L": Outcome.DEGRADED}
    told = [(name, C2S, words[letter]) for name, letter in zip("abc", outcomes, strict=False) if letter != "-"]
    found = evaluate(rule(combine, *sources), Reading({name: selector(name) for name in "abc"}, rows_of(*told), 1))
    assert found is not None
    return found


A, B, C = Source("a"), Source("b"), Source("c")


@pytest.mark.parametrize(
    ("combine", "outcomes", "expected", "told_by"),
    [
        (Combine.FIRST, "TF", T, A),
        (Combine.FIRST, "UF", F, B),
        (Combine.FIRST, "-F", F, B),
        (Combine.FIRST, "-U", U, B),
        (Combine.FIRST, "--", U, A),
        (Combine.ANY, "FT", T, B),
        (Combine.ANY, "FU", U, A),
        (Combine.ANY, "FF", F, A),
        (Combine.ANY, "F-", U, A),
        (Combine.ANY, "LT", T, B),
        (Combine.ALL, "TT", T, A),
        (Combine.ALL, "TF", F, B),
        (Combine.ALL, "TU", U, B),
    ],
)
def test_folds(combine: Combine, outcomes: str, expected: Truth, told_by: Source) -> None:
    found = finding(combine, outcomes, A, B)
    assert (found.truth, found.source) == (expected, told_by)


def test_a_stand_in_counts_only_where_the_first_choice_was_not_tried() -> None:
    stand_in = Source("b", instead_of="a")
    assert finding(Combine.FIRST, "UT", A, stand_in).truth is U
    assert finding(Combine.FIRST, "-T", A, stand_in).truth is T


def test_falsifiers_falsify_only_the_unknown_and_prove_nothing() -> None:
    source = Source("a", falsified_by=("b", "c"))
    assert [finding(Combine.FIRST, outcomes, source).truth for outcomes in ("UTF", "TFF", "-TT", "-F-")] == [F, T, U, F]


@pytest.mark.parametrize(
    ("own", "falsifier", "expected"),
    [
        ((Outcome.NO_ANSWER, Outcome.PASS), (Outcome.NO_ANSWER, Outcome.BLOCKED), U),
        ((Outcome.NO_ANSWER, Outcome.PASS), (Outcome.BLOCKED, Outcome.BLOCKED), F),
        ((Outcome.NO_ANSWER, Outcome.NO_ANSWER), (Outcome.NO_ANSWER, Outcome.BLOCKED), F),
    ],
)
def test_what_passes_itself_in_a_direction_is_not_falsified_by_what_fails_in_it(
    own: tuple[Outcome, Outcome], falsifier: tuple[Outcome, Outcome], expected: Truth
) -> None:
    """The outcomes of client to server and back."""
    told = [(name, way, outcome) for name, both in (("a", own), ("b", falsifier)) for way, outcome in zip((C2S, S2C), both, strict=True)]
    reading = Reading({name: selector(name, DirectionScope.BOTH) for name in "ab"}, rows_of(*told), 1)
    found = evaluate(rule(Combine.FIRST, Source("a", falsified_by=("b",))), reading)
    assert found is not None
    assert found.truth is expected


def test_proof_only_never_falsifies() -> None:
    assert [finding(Combine.FIRST, outcomes, Source("a", proof_only=True)).truth for outcomes in "TFU"] == [T, U, U]


def test_a_source_whose_condition_does_not_hold_is_left_out_and_says_why() -> None:
    source = Source("a", when={"b": frozenset({T})}, unmet="because of b")
    met, unmet, unseen = (finding(Combine.ANY, outcomes, source) for outcomes in ("TT", "TF", "FF"))
    assert (met.truth, met.unmet, [one.id for one in met.rows]) == (T, None, ["0", "1"])
    assert (unmet.truth, unmet.unmet, [one.id for one in unmet.rows]) == (U, "because of b", ["0", "1"])
    assert (unseen.truth, unseen.unmet, unseen.source, unseen.rows) == (U, None, None, ())


@pytest.mark.parametrize(
    ("combine", "outcomes", "settings"),
    [
        (Combine.ANY, "TT", {}),
        (Combine.ANY, "FT", {"x": 1}),
        (Combine.FIRST, "FT", {}),
        (Combine.FIRST, "-T", {"x": 1}),
        (Combine.ALL, "TT", {"x": 1}),
        (Combine.ALL, "TF", {}),
    ],
)
def test_settings_are_those_of_what_proved_it(combine: Combine, outcomes: str, settings: dict[str, Setting]) -> None:
    assert finding(combine, outcomes, A, Source("b", settings={"x": 1})).settings == settings


def test_a_rule_that_does_not_apply_finds_nothing() -> None:
    conditional = Rule("r", "p", "?", Need.INFORMATIVE, Weight.STRONG, Combine.ANY, (A,), Sentences("", "", ""), {}, {"b": frozenset({T})})
    reading = Reading({name: selector(name) for name in "ab"}, rows_of(("a", C2S, Outcome.PASS)), 1)
    assert evaluate(conditional, reading) is None


def test_settings_that_differ_fail_what_they_are_about() -> None:
    assert truth_of(row("udp/reach", UDP, Outcome.NO_ANSWER, detail={"by": "settings"})) is Truth.FALSE
    assert truth_of(row("udp/reach", UDP, Outcome.REFUSED, detail={"by": "client"})) is Truth.FALSE
    assert truth_of(row("udp/reach", UDP, Outcome.REFUSED, detail={"by": "peer"})) is Truth.UNKNOWN
