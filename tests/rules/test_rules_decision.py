"""Laws that hold for any observations."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rules_rows import PORTS, questions, row

from vpnprobe.observations.schema import Cause, Feasibility, Observation, Outcome
from vpnprobe.rules import Decision, decide, load_default
from vpnprobe.rules.logic import truth_of
from vpnprobe.rules.model import Truth

SOME_PORTS = PORTS[:2]
ORDER = [Feasibility.INFEASIBLE, Feasibility.UNKNOWN, Feasibility.DEGRADED, Feasibility.FEASIBLE]
QUESTIONS = questions(SOME_PORTS)
UNMEASURED = (Outcome.SKIPPED, Outcome.ERROR, Outcome.NO_ANSWER)


@st.composite
def observation(draw: st.DrawFn, outcomes: tuple[Outcome, ...] = tuple(Outcome)) -> Observation:
    probe, check, transport, port, form, direction = draw(st.sampled_from(QUESTIONS))
    outcome = draw(st.sampled_from(outcomes))
    failed = outcome in (Outcome.BLOCKED, Outcome.REFUSED, Outcome.DEGRADED)
    cause = draw(st.sampled_from([None, Cause.LOSS, Cause.RATE, Cause.NO_LISTENER, Cause.PAYLOAD])) if failed else None
    made = row(f"{probe}/{check}", transport, outcome, port=port, form=form, direction=direction, cause=cause)
    return replace(made, sent=draw(st.sampled_from([None, 0, 5])), received=draw(st.sampled_from([None, 0, 5])))


def numbered(rows: list[Observation]) -> list[Observation]:
    return [replace(one, id=f"o{number}") for number, one in enumerate(rows)]


ONE_EACH = st.lists(observation(), max_size=25, unique_by=lambda made: made.id)
"""At most one row for each question and direction, as a run gives them."""
OBSERVATIONS = st.lists(observation(), max_size=25).map(numbered)
RULES = load_default()


def settle(rows: list[Observation], ports: tuple[int, ...] = SOME_PORTS) -> Decision:
    return decide(rows, rules=RULES, ports=ports)


def feasibilities(rows: list[Observation], ports: tuple[int, ...] = SOME_PORTS) -> list[Feasibility]:
    return [verdict.feasibility for verdict in settle(rows, ports).verdicts]


def newly_infeasible(before: list[Feasibility], after: list[Feasibility]) -> bool:
    return any(now is Feasibility.INFEASIBLE and was is not now for was, now in zip(before, after, strict=True))


@given(OBSERVATIONS, observation(UNMEASURED), st.sampled_from([(), SOME_PORTS]))
def test_what_was_not_measured_never_fails_a_verdict(rows: list[Observation], added: Observation, ports: tuple[int, ...]) -> None:
    more = [*rows, replace(added, id="added")]
    assert not newly_infeasible(feasibilities(rows, ports), feasibilities(more, ports))


@given(ONE_EACH, st.data())
def test_taking_away_what_is_not_a_pass_never_fails_a_verdict(rows: list[Observation], data: st.DataObject) -> None:
    kept = [one for one in rows if truth_of(one) is Truth.TRUE or data.draw(st.booleans())]
    assert not newly_infeasible(feasibilities(rows), feasibilities(kept))


@given(OBSERVATIONS, st.data())
def test_blocking_what_passed_never_makes_anything_more_feasible(rows: list[Observation], data: st.DataObject) -> None:
    flipped = [
        replace(one, outcome=Outcome.BLOCKED, cause=Cause.PORT) if one.outcome is Outcome.PASS and data.draw(st.booleans()) else one
        for one in rows
    ]
    pairs = zip(feasibilities(rows), feasibilities(flipped), strict=True)
    assert all(ORDER.index(after) <= ORDER.index(before) for before, after in pairs)


@given(OBSERVATIONS, st.randoms(use_true_random=False), st.sampled_from([(), SOME_PORTS]))
def test_the_order_of_the_observations_does_not_matter(rows: list[Observation], shuffler: object, ports: tuple[int, ...]) -> None:
    mixed = list(rows)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    assert settle(mixed, ports) == settle(rows, ports)


@given(OBSERVATIONS, st.sampled_from([(), SOME_PORTS]))
def test_every_verdict_names_its_rules_and_observations_that_exist(rows: list[Observation], ports: tuple[int, ...]) -> None:
    decision = settle(rows, ports)
    known = {one.id for one in rows}
    remarks = {"loss", "limit", "other-port", "security", "control-port"} | {f"failure.{name}" for name in RULES.failures}
    for verdict in decision.verdicts:
        assert verdict.because
        for reason in verdict.because:
            assert reason.rule in RULES.rules or reason.rule in remarks
            assert reason.text
            assert set(reason.observations) <= known
        if verdict.feasibility is Feasibility.INFEASIBLE:
            cited = {name for reason in verdict.because for name in reason.observations}
            assert any(one.outcome in (Outcome.BLOCKED, Outcome.REFUSED) for one in rows if one.id in cited)


@given(OBSERVATIONS)
def test_only_what_works_is_recommended(rows: list[Observation]) -> None:
    decision = settle(rows)
    working = {one.protocol for one in decision.verdicts if one.feasibility in (Feasibility.FEASIBLE, Feasibility.DEGRADED)}
    if decision.recommendation is not None:
        assert decision.recommendation.protocol in working
        assert set(decision.recommendation.ranking) == working
        assert decision.recommendation.port == decision.recommendation.settings["port"]
