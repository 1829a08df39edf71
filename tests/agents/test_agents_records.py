"""Rows on the control channel: they come back as they were, and anything else is a DecodeError."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.records import (
    question_row,
    read_all,
    read_question,
    read_refusal,
    read_sighting,
    read_trace,
    refusal_row,
    sighting_row,
    trace_row,
)
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.records import Refusal, RefusalKind, Trace
from vpnprobe.evidence.sightings import Movement, Question, Sighting, Vantage
from vpnprobe.observations.schema import Direction, Transport

ports = st.none() | st.integers(1, 65535)
questions = st.builds(Question, st.text(), st.text(), st.sampled_from(Transport), ports, st.text())
ways = st.sampled_from([Direction.C2S, Direction.S2C])
ttls = st.none() | st.integers(1, 255)
sightings = st.builds(
    Sighting,
    st.sampled_from(Vantage),
    st.sampled_from(Movement),
    st.floats(0, 1e6).map(lambda at: round(at, 6)),
    questions,
    st.text(),
    st.text(),
    st.integers(0, 65535),
    ttls,
    st.booleans(),
    st.none() | st.tuples(st.text(), ports),
    st.dictionaries(st.text(), st.integers() | st.text()),
)
refusals = st.builds(Refusal, questions, ways, st.sampled_from(RefusalKind), st.none() | st.text(), st.text())
traces = st.builds(Trace, questions, ways, st.dictionaries(st.integers(1, 30), st.none() | st.text()), ttls)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def over_the_wire(row: object) -> Any:
    return json.loads(json.dumps(row))


@given(questions)
def test_questions(question: Question) -> None:
    assert read_question(over_the_wire(question_row(question))) == question


@given(sightings)
def test_sightings(sighting: Sighting) -> None:
    assert read_all([over_the_wire(sighting_row(sighting))], read_sighting) == [sighting]


@given(refusals)
def test_refusals(refusal: Refusal) -> None:
    assert read_all([over_the_wire(refusal_row(refusal))], read_refusal) == [refusal]


@given(traces)
def test_traces(trace: Trace) -> None:
    assert read_all([over_the_wire(trace_row(trace))], read_trace) == [trace]


@given(json_values)
def test_any_json_is_rows_or_a_decode_error(value: object) -> None:
    for read in (read_sighting, read_refusal, read_trace, read_question):
        try:
            read_all(value, read)
        except DecodeError as error:
            assert error.field in ("row", "rows")


@given(sightings, st.data())
def test_a_field_that_is_something_else(sighting: Sighting, data: st.DataObject) -> None:
    row = over_the_wire(sighting_row(sighting))
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(json_values)
    try:
        read_all([row], read_sighting)
    except DecodeError as error:
        assert (error.field, error.offset) == ("row", 0)


@pytest.mark.parametrize("rows", [None, "text", 5, {"a": 1}])
def test_what_is_no_list(rows: object) -> None:
    with pytest.raises(DecodeError, match="is not a list"):
        read_all(rows, read_refusal)


def test_the_row_is_named() -> None:
    good = refusal_row(Refusal(Question("tcp", "reach", Transport.TCP, 80), Direction.C2S, RefusalKind.RST, None))
    with pytest.raises(DecodeError, match="row at offset 1"):
        read_all([good, ["bad"]], read_refusal)


@pytest.mark.parametrize("ttl", [-1, 256, 1 << 40, "64", []])
def test_a_ttl_is_one_byte(ttl: object) -> None:
    row = sighting_row(Sighting(Vantage.SERVER, Movement.SENT, 0.0, Question("tcp", "reach", Transport.TCP, 80), "k"))
    row[7] = ttl
    with pytest.raises(DecodeError, match="row at offset 0"):
        read_all([row], read_sighting)


def test_a_number_beyond_all_bounds() -> None:
    """JSON's 1e999 is infinity here."""
    row = sighting_row(Sighting(Vantage.SERVER, Movement.SENT, 0.0, Question("tcp", "reach", Transport.TCP, 80), "k"))
    row[6] = json.loads("1e999")
    with pytest.raises(DecodeError, match="row at offset 0"):
        read_all([row], read_sighting)
