"""Quantities out of samples: values, brackets, and what nobody could count."""

import pytest
from evidence_support import BOTH, C2S, CLEAR, S2C
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks
from vpnprobe.evidence.checks import SPECS, Kind
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.number import bracketed, measured
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, NumberSample, PathFacts
from vpnprobe.evidence.statistics import ERROR_BOUND, Background
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport, Unit

UDP = Transport.UDP
MTU = Check("mtu", "path-mtu", UDP, 500)
IDLE = Check("nat", "idle-timeout", UDP, 500)
LOSS = Check("quality", "loss", UDP, 500)
DELAY = Check("quality", "delay", UDP, 500)
THROUGHPUT = Check("quality", "throughput", Transport.TCP, 443)
CLEAN = Background(0, 2000)


def tried(check: Check, amounts: dict[float, bool], *, sent: int = 8, way: Direction = C2S) -> list[NumberSample]:
    return [NumberSample(check, way, amount, held, sent, sent if held else 0) for amount, held in amounts.items()]


def took(check: Check, *amounts: float, sent: int | None = None, way: Direction = C2S) -> list[NumberSample]:
    return [NumberSample(check, way, amount, sent=sent, received=sent) for amount in amounts]


def told(*samples: NumberSample, background: dict[Direction, Background] | None = None) -> list[Observation]:
    return judge(EndRecord(), EndRecord(), PathFacts(samples=samples, background=CLEAR if background is None else background))


def test_a_path_mtu_is_exact_where_the_next_byte_fails() -> None:
    (row,) = told(*tried(MTU, {1400: True, 1401: False, 1500: False}))
    assert (row.id, row.outcome) == ("mtu-path-mtu-udp-500-c2s", Outcome.PASS)
    assert (row.value, row.low, row.high, row.unit) == (1400, 1400, 1401, Unit.BYTES)
    assert (row.sent, row.received, row.family, row.detail) == (24, 8, 4, {"samples": 3})
    assert row.error_bound is not None
    assert row.error_bound <= ERROR_BOUND


def test_otherwise_it_is_a_bracket() -> None:
    (row,) = told(*tried(MTU, {576: True, 1400: True, 1500: False}))
    assert (row.value, row.low, row.high) == (None, 1400, 1500)


def test_an_idle_time_is_a_bracket_in_seconds_however_narrow() -> None:
    (row,) = told(*tried(IDLE, {30: True, 31: False}))
    assert (row.value, row.low, row.high, row.unit) == (None, 30, 31, Unit.SECONDS)


def test_what_never_failed_has_no_upper_end() -> None:
    (row,) = told(*tried(IDLE, {30: True, 120: True}))
    assert (row.outcome, row.value, row.low, row.high, row.error_bound) == (Outcome.PASS, None, 120, None, None)


def test_what_never_held_is_no_answer() -> None:
    (row,) = told(*tried(MTU, {1400: False}))
    assert (row.outcome, row.low, row.high) == (Outcome.NO_ANSWER, None, 1400)


@pytest.mark.parametrize("background", [{C2S: Background(40, 60)}, {}])
def test_an_upper_end_is_not_told_where_the_paths_own_loss_explains_it(background: dict[Direction, Background]) -> None:
    (row,) = told(*tried(MTU, {1400: True, 1500: False}), background=background)
    assert (row.low, row.high, row.detail["failed_at"]) == (1400, None, 1500)


def test_a_few_packets_prove_no_upper_end() -> None:
    (row,) = told(*tried(MTU, {1400: True, 1500: False}, sent=3))
    assert row.high is None


def test_what_passed_once_is_not_too_large_for_having_been_lost_before() -> None:
    (row,) = told(*tried(MTU, {1300: False, 1400: True, 1500: False}))
    assert (row.low, row.high) == (1400, 1500)


def test_a_share_is_that_of_all_packets_together() -> None:
    samples = [NumberSample(LOSS, S2C, 0.5, sent=10, received=5), NumberSample(LOSS, S2C, 0.0, sent=90, received=90)]
    (row,) = told(*samples)
    assert (row.value, row.low, row.high, row.unit) == (0.05, None, None, Unit.SHARE)
    assert (row.sent, row.received, row.direction) == (100, 95, S2C)


def test_a_share_without_counts_is_the_median() -> None:
    (row,) = told(*took(LOSS, 0.1, 0.3, 0.2))
    assert (row.value, row.sent, row.received) == (0.2, None, None)


def test_a_delay_and_a_throughput_are_medians() -> None:
    delay, throughput = told(*took(DELAY, 10.0, 30.0, 11.0, way=BOTH), *took(THROUGHPUT, 4e6))
    assert (delay.value, delay.unit, delay.direction, delay.outcome) == (11.0, Unit.MILLISECONDS, BOTH, Outcome.PASS)
    assert (throughput.value, throughput.unit, throughput.transport) == (4e6, Unit.BITS_PER_SECOND, Transport.TCP)


def test_one_trial_that_nobody_counted_leaves_the_sum_unknown() -> None:
    (row,) = told(*tried(MTU, {1400: True}), NumberSample(MTU, C2S, 1300, True))
    assert (row.sent, row.received) == (None, None)


def test_both_ways_are_held_against_the_worse_one() -> None:
    lossy = {C2S: CLEAN, S2C: Background(60, 40)}
    (row,) = told(*tried(MTU, {1400: True, 1500: False}, way=BOTH), background=lossy)
    assert row.high is None


def test_directions_and_forms_are_rows_of_their_own_in_a_fixed_order() -> None:
    samples = [*took(DELAY, 3.0, way=S2C), *took(DELAY, 2.0), *took(DELAY._replace(family=6), 9.0)]
    assert [row.id for row in told(*samples)] == [row.id for row in told(*samples[::-1])]
    assert {row.id: row.value for row in told(*samples)} == {
        "quality-delay-udp-500-c2s": 2.0,
        "quality-delay-udp-500-s2c": 3.0,
        "quality-delay-udp6-500-c2s": 9.0,
    }


def test_a_sample_of_what_is_no_number_is_none() -> None:
    assert told(*took(checks.udp_reach(53), 1.0)) == []


@pytest.mark.parametrize("name", [key for key, spec in SPECS.items() if spec.kind is Kind.NUMBER])
def test_every_check_of_the_kind_is_carried(name: tuple[str, str]) -> None:
    check = Check(*name, UDP, 500)
    (row,) = told(*took(check, 7.0))
    assert (row.value, row.unit) == (7.0, SPECS[name].unit)


amounts = st.floats(0, 1e6)
trials = st.lists(st.builds(NumberSample, st.just(MTU), st.just(C2S), amounts, st.booleans(), st.none() | st.integers(1, 50)), min_size=1)


@given(trials, st.builds(Background, st.integers(0, 100), st.integers(0, 1000)))
def test_a_bracket_holds_what_held_and_lies_below_what_did_not(samples: list[NumberSample], loss: Background) -> None:
    found = bracketed(samples, Unit.BYTES, loss)
    held = [sample.amount for sample in samples if sample.held]
    assert found.low == (max(held) if held else None)
    if found.high is not None:
        assert found.error_bound is not None
        assert found.error_bound <= ERROR_BOUND
        assert found.low is None or found.low < found.high
    if found.value is not None:
        assert found.value == found.low


@given(st.lists(amounts, min_size=1, max_size=20), st.sampled_from(Unit))
def test_a_measured_number_lies_among_its_samples(values: list[float], unit: Unit) -> None:
    found = measured(took(DELAY, *values), unit)
    assert found.value is not None
    assert min(values) <= found.value <= max(values)
