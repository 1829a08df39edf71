"""Rows on the control channel: they come back as they were, and anything else is a DecodeError."""

import base64
import json
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.records import (
    FEW_ROWS,
    MOST_UNPACKED_BYTES,
    Row,
    check_row,
    inflated,
    packed,
    packet_record_row,
    read_all,
    read_check,
    read_packet_record,
    read_refusal,
    read_trace,
    refusal_row,
    trace_row,
    unpacked,
)
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.nonce import Purpose

ports = st.none() | st.integers(1, 65535)
checks = st.builds(Check, st.text(), st.text(), st.sampled_from(Transport), ports, st.text())
ways = st.sampled_from([Direction.C2S, Direction.S2C])
ttls = st.none() | st.integers(1, 255)
packet_records = st.builds(
    PacketRecord,
    st.sampled_from(Vantage),
    st.sampled_from(Movement),
    st.floats(0, 1e6).map(lambda at: round(at, 6)),
    checks,
    st.text(),
    st.text(),
    st.integers(0, 65535),
    ttls,
    st.booleans(),
    st.none() | st.tuples(st.text(), ports),
    st.dictionaries(st.text(), st.integers() | st.text()),
    st.sampled_from(Purpose),
)
refusals = st.builds(Refusal, checks, ways, st.sampled_from(RefusalKind), st.none() | st.text(), st.text())
traces = st.builds(TtlTrace, checks, ways, st.dictionaries(st.integers(1, 30), st.none() | st.text()), ttls)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def over_the_wire(row: object) -> Any:
    return json.loads(json.dumps(row))


@given(checks)
def test_checks(check: Check) -> None:
    assert read_check(over_the_wire(check_row(check))) == check


@given(packet_records)
def test_packet_records(packet_record: PacketRecord) -> None:
    assert read_all([over_the_wire(packet_record_row(packet_record))], read_packet_record) == [packet_record]


@given(refusals)
def test_refusals(refusal: Refusal) -> None:
    assert read_all([over_the_wire(refusal_row(refusal))], read_refusal) == [refusal]


@given(traces)
def test_traces(trace: TtlTrace) -> None:
    assert read_all([over_the_wire(trace_row(trace))], read_trace) == [trace]


@given(json_values)
def test_any_json_is_rows_or_a_decode_error(value: object) -> None:
    for read in (read_packet_record, read_refusal, read_trace, read_check):
        try:
            read_all(value, read)
        except DecodeError as error:
            assert error.field in ("row", "rows")


@given(packet_records, st.data())
def test_a_field_that_is_something_else(packet_record: PacketRecord, data: st.DataObject) -> None:
    row = over_the_wire(packet_record_row(packet_record))
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(json_values)
    try:
        read_all([row], read_packet_record)
    except DecodeError as error:
        assert (error.field, error.offset) == ("row", 0)


@pytest.mark.parametrize("rows", [None, "text", 5, {"a": 1}])
def test_what_is_no_list(rows: object) -> None:
    with pytest.raises(DecodeError, match="is not a list"):
        read_all(rows, read_refusal)


def test_the_row_is_named() -> None:
    good = refusal_row(Refusal(Check("tcp", "reach", Transport.TCP, 80), Direction.C2S, RefusalKind.RST, None))
    with pytest.raises(DecodeError, match="row at offset 1"):
        read_all([good, ["bad"]], read_refusal)


@pytest.mark.parametrize("ttl", [-1, 256, 1 << 40, "64", []])
def test_a_ttl_is_one_byte(ttl: object) -> None:
    row = packet_record_row(PacketRecord(Vantage.SERVER, Movement.SENT, 0.0, Check("tcp", "reach", Transport.TCP, 80), "k"))
    row[7] = ttl
    with pytest.raises(DecodeError, match="row at offset 0"):
        read_all([row], read_packet_record)


def test_a_number_beyond_all_bounds() -> None:
    """JSON's 1e999 is infinity here."""
    row = packet_record_row(PacketRecord(Vantage.SERVER, Movement.SENT, 0.0, Check("tcp", "reach", Transport.TCP, 80), "k"))
    row[6] = json.loads("1e999")
    with pytest.raises(DecodeError, match="row at offset 0"):
        read_all([row], read_packet_record)


def many(count: int) -> list[Row]:
    return [["openvpn", number, None, "ü"] for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, FEW_ROWS, FEW_ROWS + 1, 3000])
def test_rows_come_back_whether_they_were_packed_or_not(count: int) -> None:
    rows = packed(many(count))
    assert isinstance(rows, str) is (count > FEW_ROWS)
    assert unpacked(over_the_wire(rows)) == many(count)


def test_packing_is_worth_it() -> None:
    assert len(json.dumps(packed(many(3000)))) * 4 < len(json.dumps(many(3000)))


def as_text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "no base64",
        "aGVsbG8=",
        as_text(b""),
        as_text(b"no JSON"),
        as_text(b"\xff\xfe"),
        as_text(b"[1"),
        as_text(b"[" * 200_000),
        as_text(b"[[]]")[:-8],
        "\N{GREEK SMALL LETTER ALPHA}" * 4,
    ],
)
def test_what_cannot_be_unpacked(text: str) -> None:
    with pytest.raises(DecodeError, match="rows at offset 0: cannot be unpacked"):
        unpacked(text)


@pytest.mark.parametrize("value", [None, 5, [], {"a": 1}, [["row"]]])
def test_what_was_never_packed_is_left_to_who_reads_rows(value: object) -> None:
    assert unpacked(value) is value


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_unpacked_or_a_decode_error(text: str) -> None:
    try:
        unpacked(text)
    except DecodeError as error:
        assert error.field == "rows"


@pytest.mark.parametrize("size", [1, 10, 1000, 100_000])
@pytest.mark.parametrize("level", [0, 9])
def test_what_was_compressed_comes_back_up_to_the_limit(size: int, level: int) -> None:
    data = bytes(size)
    assert inflated(zlib.compress(data, level), most_bytes=size) == data
    if size > 1:
        with pytest.raises(DecodeError, match="is too much"):
            inflated(zlib.compress(data, level), most_bytes=size - 1)


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    """A thousandth of what it claims to be."""
    bomb = zlib.compress(bytes(40 << 20), 9)
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="compressed data at offset 65536: is too much"):
            inflated(bomb, most_bytes=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_among_rows() -> None:
    with pytest.raises(DecodeError, match="is too much"):
        unpacked(as_text(b"[" + b"0," * (MOST_UNPACKED_BYTES // 2) + b"0]"))


@pytest.mark.parametrize("cut", [1, 4, 10])
def test_what_is_cut_short_is_not_taken_for_whole(cut: int) -> None:
    with pytest.raises(DecodeError, match="is cut short"):
        inflated(zlib.compress(random.Random(1).randbytes(500))[:-cut], most_bytes=1000)


@given(st.binary(max_size=100))
def test_any_bytes_are_inflated_or_a_decode_error(data: bytes) -> None:
    try:
        assert len(inflated(data, most_bytes=50)) <= 50
    except DecodeError as error:
        assert error.field == "compressed data"
