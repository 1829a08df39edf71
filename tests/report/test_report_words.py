"""How things are said, and that no text of a stranger says it."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_samples import C2S, GRE, TCP, UDP

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Mode, Observation, Outcome, Transport, Unit
from vpnprobe.report import words


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (None, ""),
        (0.0, "0"),
        (1e-6, "1e-6"),
        (6.1e-7, "7e-7"),
        (9.5e-7, "1e-6"),
        (1.0, "1"),
        (0.5, "0.5"),
        (0.011, "0.02"),
        (0.0011, "2e-3"),
        (1e-320, "1e-300"),
        (float("nan"), ""),
        (-1.0, ""),
    ],
)
def test_bounds_are_rounded_up_to_one_digit(bound: float | None, said: str) -> None:
    assert words.bound_words(bound) == said


@given(st.floats(1e-299, 1))
def test_a_bound_is_never_said_smaller_than_it_is(bound: float) -> None:
    assert float(words.bound_words(bound)) >= bound * (1 - 1e-5)


@given(st.text(alphabet=st.characters()))
def test_what_is_visible_has_no_control_or_format_character(text: str) -> None:
    shown = words.visible(text)
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
    assert len(shown) <= words.LONGEST_TEXT
    assert words.visible(shown) == shown


@given(st.text(alphabet="abc \xe4\u4e2d-.:", max_size=50))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert words.visible(text) == text


def test_long_text_is_cut_and_says_so() -> None:
    assert words.visible("x" * 5000).endswith("… (5000 characters)")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1420, "1420"),
        (["raw-ip", "capture"], "raw-ip, capture"),
        ([], "none"),
        ({"a": [1]}, "a (1)"),
        ({"SCCRP at client": {"tunnel_id": 7, "deep": {"x": {"y": 1}}}}, 'SCCRP at client (tunnel_id 7, deep ({"x": {"y": 1}}))'),
        ([{"a": 1}], '[{"a": 1}]'),
        ({}, "none"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_values_are_one_line(value: object, said: str) -> None:
    assert words.value_words(value) == said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Observation("1", "tcp", "reach", C2S, TCP, Outcome.PASS, port=1723), "TCP port 1723"),
        (Observation("1", "udp", "nmap", C2S, UDP, Outcome.PASS, port=53), "nmap on UDP port 53"),
        (Observation("1", "gre", "passthrough", C2S, GRE, Outcome.PASS, detail={"form": "bare"}), "GRE passthrough, by itself"),
        (Observation("1", "gre", "passthrough", C2S, GRE, Outcome.PASS, detail={"form": "in-call"}), "GRE passthrough, inside a real call"),
        (Observation("1", "pptp", "control", C2S, TCP, Outcome.PASS, port=1723), "PPTP control connection, TCP port 1723"),
        (Observation("1", "path", "trace", C2S, GRE, Outcome.PASS), "TTL-stepped trace, GRE"),
        (Observation("1", "ike", "esp-in-udp", C2S, UDP, Outcome.PASS, port=4500), "ESP in UDP, port 4500"),
        (Observation("1", "new", "\x07thing", C2S, UDP, Outcome.PASS, detail={"form": "odd"}), "\\x07thing, UDP, odd"),
    ],
)
def test_questions_name_transport_port_and_form(row: Observation, said: str) -> None:
    assert words.question_words(row) == said


@pytest.mark.parametrize(
    ("sent", "received", "said"),
    [
        (8, 3, "8 sent, 3 arrived"),
        (8, 0, "8 sent, 0 arrived"),
        (8, None, "8 sent, not known how many arrived"),
        (None, 3, "3 arrived, not known of how many"),
        (None, None, ""),
    ],
)
def test_a_count_that_nobody_could_make_is_not_said_as_0(sent: int | None, received: int | None, said: str) -> None:
    assert words.count_words(sent, received, "arrived") == said


def test_conversations_are_answered() -> None:
    assert words.count_words(2, None, "answered") == "2 sent, not known how many were answered"


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "said"),
    [
        (None, None, None, None, ""),
        (1400.0, None, None, Unit.BYTES, "measured 1400 bytes"),
        (0.125, None, None, Unit.SHARE, "measured 0.125"),
        (None, 30.0, 60.0, Unit.SECONDS, "between 30 and 60 s"),
        (None, 120.0, None, Unit.SECONDS, "at least 120 s"),
        (None, None, 5.0, Unit.SECONDS, "at most 5 s"),
        (1400, 1300.0, 1500.0, Unit.BYTES, "measured 1400 bytes"),
    ],
)
def test_a_number_or_the_bracket_that_it_is_in(
    value: float | None, low: float | None, high: float | None, unit: Unit | None, said: str
) -> None:
    row = Observation("1", "mtu", "path-mtu", C2S, UDP, Outcome.PASS, value=value, low=low, high=high, unit=unit)
    assert words.number_words(row) == said


def test_every_member_of_every_closed_set_has_words() -> None:
    marks = [*map(words.feasibility_mark, Feasibility), *map(words.outcome_mark, Outcome)]
    assert all(mark.symbol and mark.word and mark.tone in ("good", "fair", "bad", "mute") for mark in marks)
    assert len({mark.word for mark in map(words.outcome_mark, Outcome)}) == len(Outcome)
    assert all(map(words.cause_words, Cause))
    refused = Observation("x", "esp", "passthrough", Direction.C2S, Transport.ESP, Outcome.REFUSED, cause=Cause.NO_LISTENER)
    assert words.cause_of(refused) == "nothing listens there"
    assert words.cause_of(replace(refused, detail={"answered_beside": ["ike"]})) == "none is taken outside a session"
    assert words.cause_of(replace(refused, cause=None)) == ""
    assert all(map(words.direction_words, Direction))
    assert all(map(words.mode_words, Mode))
    assert Transport.GRE.value.upper() == "GRE"


@pytest.mark.parametrize(
    ("protocol", "port", "said"),
    [("openvpn-udp", 1194, "UDP 1194"), ("pptp", 1723, "TCP 1723"), ("pptp", None, ""), ("other", 7, "7")],
)
def test_ports_have_their_transport(protocol: str, port: int | None, said: str) -> None:
    assert words.port_words(port, protocol) == said


def test_unknown_names_are_made_visible() -> None:
    assert words.protocol_name("\u202ex") == "\\u202ex"
    assert words.probe_name("\x00") == "\\x00"
    assert words.protocol_name("l2tp-ipsec") == "L2TP over IPsec"
