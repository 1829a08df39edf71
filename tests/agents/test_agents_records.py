"""Rows on the control channel: they come back as they were, and anything else is a DecodeError."""

import base64
import contextlib
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.records import (
    FEW_ROWS,
    LARGEST,
    MOST_UNKNOWN,
    MOST_UNPACKED_BYTES,
    inflated,
    lateness_row,
    packed,
    packet_record_row,
    queue_row,
    read_all,
    read_known,
    read_lateness,
    read_packet_record,
    read_queue,
    read_refusal,
    read_trace,
    refusal_row,
    trace_row,
    unpacked,
)
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.check_rows import LONGEST_TEXT, Row, UnknownCheck, check_row, read_check
from vpnprobe.evidence.checks import CHECKS
from vpnprobe.evidence.lateness import Lateness
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_records import NUMBERS, Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.nonce import Purpose

ports = st.none() | st.integers(1, 65535)
texts = st.text(max_size=40)
numbers = st.integers(-LARGEST, LARGEST)


@st.composite
def checks_of_the_table(draw: st.DrawFn) -> Check:
    spec = draw(st.sampled_from(CHECKS))
    transport = draw(st.sampled_from(spec.transports or tuple(Transport)))
    port = draw(st.integers(1, 65535)) if transport in (Transport.TCP, Transport.UDP) else None
    return Check(spec.probe, spec.name, transport, port, draw(texts), draw(st.sampled_from([4, 6])))


checks = checks_of_the_table()
ways = st.sampled_from([Direction.C2S, Direction.S2C])
ttls = st.none() | st.integers(1, 255)
packet_records = st.builds(
    PacketRecord,
    st.sampled_from(Vantage),
    st.sampled_from(Movement),
    st.floats(0, 1e6).map(lambda at: round(at, 6)),
    checks,
    texts,
    texts,
    st.integers(0, 65535),
    ttls,
    st.booleans(),
    st.none() | st.tuples(texts, ports),
    st.dictionaries(texts.filter(lambda name: name not in NUMBERS), numbers | texts, max_size=8)
    | st.dictionaries(st.sampled_from(sorted(NUMBERS)), numbers),
    st.sampled_from(Purpose),
)
refusals = st.builds(Refusal, checks, ways, st.sampled_from(RefusalKind), st.none() | texts, texts)
hops = st.integers(1, 30)
traces = st.builds(
    TtlTrace, checks, ways, st.dictionaries(hops, st.none() | texts), ttls, st.booleans(), st.frozensets(hops), st.dictionaries(hops, texts)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
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
    unknown: set[str] = set()
    try:
        (found,) = read_known([row], read_packet_record, unknown)
    except DecodeError as error:
        assert (error.field, error.offset) == ("row", 0)
    else:
        assert bool(unknown) is (found is None)


@given(st.lists(json_values, min_size=11, max_size=11) | json_values)
def test_a_row_is_a_packet_record_or_set_aside_or_a_decode_error(row: object) -> None:
    for read in (read_packet_record, read_refusal, read_trace, read_check):
        with contextlib.suppress(DecodeError):
            assert isinstance(read(row), PacketRecord | Refusal | TtlTrace | Check)


def good_row() -> Row:
    """A packet record as the server's agent hands it over."""
    record = PacketRecord(Vantage.SERVER, Movement.SENT, 0.5, Check("openvpn", "data", Transport.UDP, 1194), "k.0.1", "P_DATA_V2", 99)
    row: Row = over_the_wire(packet_record_row(record))
    return row


@pytest.mark.parametrize("name", [["quic", "handshake"], ["tcp", "reach-too"], ["", ""]])
def test_a_check_of_a_newer_peer_is_set_aside_in_its_place_and_told(name: list[str]) -> None:
    newer = good_row()
    newer[3] = [*name, "sctp", 5, ""]
    unknown: set[str] = set()
    found = read_known([good_row(), newer, good_row()], read_packet_record, unknown)
    assert [record is None for record in found] == [False, True, False]
    assert unknown == {"/".join(name)}
    with pytest.raises(UnknownCheck):
        read_packet_record(newer)
    with pytest.raises(DecodeError, match="row at offset 0: does not fit"):
        read_all([newer], read_packet_record)


def test_no_more_names_are_kept_than_anybody_would_read() -> None:
    unknown: set[str] = set()
    rows = [["probe", f"check-{number}", "udp", 1, ""] for number in range(500)]
    assert read_known(rows, read_check, unknown) == [None] * 500
    assert len(unknown) == MOST_UNKNOWN


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "middle"),
        (0, []),
        (1, "lost"),
        (2, True),
        (2, "1.0"),
        (2, 10**400),
        (2, json.loads("NaN")),
        (2, json.loads("-Infinity")),
        (2, 1e300),
        (3, None),
        (3, ["openvpn", "data", "udp", None, ""]),
        (3, ["openvpn", "data", "gre", None, ""]),
        (3, ["gre", "passthrough", "gre", 47, ""]),
        (3, ["openvpn", "data", "udp", True, ""]),
        (3, ["openvpn", "data", "udp", 65536, ""]),
        (3, ["openvpn", "data", "udp", 1194, 5]),
        (3, ["openvpn", "data", "udp", 1194, "", 5]),
        (3, ["openvpn", "data", "udp", 1194, "", True]),
        (3, ["openvpn", "data", "udp", 1194, "", 4, 4]),
        (3, {"openvpn": 1, "data": 1, "udp": 1, "a": 1, "b": 1}),
        (4, 7),
        (4, "k" * 1000),
        (5, None),
        (6, -1),
        (6, True),
        (6, 1 << 40),
        (7, False),
        (8, 0),
        (8, None),
        (9, "10.0.0.1"),
        (9, ["10.0.0.1"]),
        (9, ["10.0.0.1", -1]),
        (9, [1, 1]),
        (10, None),
        (10, []),
        (10, {"exchange_type": "five"}),
        (10, {"answers": 5.0}),
        (10, {"answers": True}),
        (10, {"answers": None}),
        (10, {"call_id": "1"}),
        (10, {"other": []}),
        (10, {"other": 1 << 80}),
        (10, {"problem": "x" * 1000}),
        (10, {str(number): number for number in range(100)}),
        (11, None),
        (11, True),
        (11, -1),
        (11, 16),
        (11, "trace"),
    ],
)
def test_every_field_is_held_against_what_it_may_be(place: int, value: object) -> None:
    row = good_row()
    row[place] = value
    with pytest.raises(DecodeError, match="row at offset 0: does not fit"):
        read_known([row], read_packet_record, set())


def test_a_purpose_that_this_version_does_not_know_counts_for_nothing_and_is_no_error() -> None:
    row = good_row()
    row[11] = 14
    assert read_packet_record(row).purpose is Purpose.OTHER


def test_a_peer_that_tells_no_ip_version_means_4() -> None:
    over_4 = Check("udp", "reach", Transport.UDP, 53)
    assert check_row(over_4) == ["udp", "reach", "udp", 53, ""]
    assert read_check(check_row(over_4)) == over_4
    over_6 = over_4._replace(family=6)
    assert read_check(check_row(over_6)) == over_6


def test_long_words_in_a_detail_are_cut_before_they_go() -> None:
    told = replace(read_packet_record(good_row()), detail={"problem": "x" * 5000, "answers": 7})
    assert read_packet_record(over_the_wire(packet_record_row(told))).detail == {"problem": "x" * LONGEST_TEXT, "answers": 7}


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


def test_times_come_back_as_they_were() -> None:
    assert read_lateness(lateness_row(Lateness(1.25, 2.5))) == Lateness(1.25, 2.5)
    assert read_queue(queue_row(OwnQueue(1.25, 2.5))) == OwnQueue(1.25, 2.5)


@pytest.mark.parametrize("row", [[2.0, 1.0], [1.0], ["1", 2], [1, float("nan")], [1, float("inf")], [True, 2], None, {}])
@pytest.mark.parametrize("read", [read_lateness, read_queue])
def test_times_that_are_none_are_refused(read: Callable[[object], object], row: object) -> None:
    with pytest.raises(DecodeError):
        read(row)
