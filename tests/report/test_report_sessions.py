"""What the report says of OpenVPN sessions: wraps, profiles, sizes, cuts, and parts of the handshake."""

from dataclasses import replace

import pytest
from result_samples import clean_result

from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Reason, Result, Transport
from vpnprobe.report.html import render
from vpnprobe.report.path import figure
from vpnprobe.report.rows import Anchors, evidence_line
from vpnprobe.report.sessions import message_facts, session_facts
from vpnprobe.report.story import exchanges, next_steps
from vpnprobe.report.text import render_text
from vpnprobe.report.words import question_words

SIZES = {"128": [4, 4], "1400": [4, 4], "1450": [4, 0]}


def data(
    detail: dict[str, object], outcome: Outcome = Outcome.DEGRADED, cause: Cause | None = Cause.SIZE, *, port: int = 1194
) -> Observation:
    return Observation(
        id=f"openvpn-data-{len(str(detail))}-{port}-c2s",
        probe="openvpn",
        check="data",
        direction=Direction.C2S,
        transport=Transport.UDP,
        outcome=outcome,
        port=port,
        cause=cause,
        sent=12,
        received=8,
        detail=detail,
    )


def with_rows(*rows: Observation, reasons: tuple[Reason, ...] = ()) -> Result:
    result = clean_result()
    first = replace(result.verdicts[0], because=(*result.verdicts[0].because, *reasons))
    return replace(result, observations=(*result.observations, *rows), verdicts=(first, *result.verdicts[1:]))


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({}, "OpenVPN data channel, UDP port 1194"),
        ({"wrap": "tls-crypt-v2"}, "OpenVPN data channel, UDP port 1194, in tls-crypt-v2"),
        ({"profile": True}, "OpenVPN data channel, UDP port 1194, with the profile"),
        ({"profile": True, "remote": "2"}, "OpenVPN data channel, UDP port 1194, with the profile, remote 2"),
    ],
)
def test_the_wrap_and_the_profile_are_in_the_question(detail: dict[str, object], words: str) -> None:
    assert question_words(data(detail)) == words


@pytest.mark.parametrize(
    ("detail", "facts"),
    [
        ({"sessions": 1}, ["in 1 session"]),
        (
            {"sessions": 4, "by_size": SIZES, "largest_passing": 1400, "smallest_lost": 1450},
            [
                "in 4 sessions",
                "by bytes of the IP packet 128: 4 of 4, 1400: 4 of 4, 1450: 0 of 4",
                "up to 1400 bytes pass, 1450 bytes and more do not",
            ],
        ),
        ({"largest_passing": 1400}, ["up to 1400 bytes pass"]),
        ({"by_size": {"128": [4, 4]}}, []),
        ({"cut_after": 1}, ["cut after 1 packet"]),
        ({"cut_after": 12, "round_trip": True}, ["cut after 12 packets", "counted by their answers: a missing one may be the answer"]),
        ({"failure": "data-cut"}, ["named data-cut"]),
        ({"failure": "halted", "said": "HALT\x1b"}, ['named halted ("HALT\\x1b")']),
        ({"sessions": "4", "by_size": [1], "largest_passing": "a", "cut_after": None, "round_trip": 1, "failure": ["x"]}, []),
        ({"by_size": {"128": [4, 3], "1": [2], "2": "no", "3": [1, "a"]}}, ["by bytes of the IP packet 128: 3 of 4"]),
    ],
)
def test_what_is_said_of_sessions(detail: dict[str, object], facts: list[str]) -> None:
    assert list(session_facts(data(detail))) == facts


def test_parts_of_a_handshake_that_all_came_are_told_together() -> None:
    def message(name: str, way: str, sent: int | None, received: int | None) -> dict[str, object]:
        return {"message": name, "direction": way, "sent": sent, "received": received}

    told = message_facts(
        [
            message("P_CONTROL_V1[1]", "c2s", 2, 2),
            message("P_CONTROL_V1[1]", "s2c", 2, 2),
            message("P_CONTROL_V1[2]", "s2c", 2, 2),
            message("P_CONTROL_V1[3]", "s2c", 2, 0),
            message("key-method-2", "s2c", 0, 2),
            message("SCCRQ", "c2s", 3, None),
            message("SCCRP", "s2c", None, 1),
            "no message",
        ]
    )
    assert list(told) == [
        "P_CONTROL_V1[3] ← 0 of 2",
        "key-method-2 ← came",
        "SCCRQ → 3 sent",
        "SCCRP ← came",
        "P_CONTROL_V1[1] → all came",
        "P_CONTROL_V1[1-2] ← all came",
    ]
    assert list(message_facts("nothing")) == []


def test_sizes_that_nobody_could_count_are_not_told() -> None:
    assert list(session_facts(data({"by_size": {"128": [4, None], "1400": [None, 4]}}))) == []


def test_a_count_says_what_it_rests_on_and_what_is_not_known() -> None:
    def told(row: Observation) -> str:
        return evidence_line(row, Anchors([row])).facts[0]

    row = data({"proof": "answered"})
    assert told(row) == "12 sent, 8 arrived (by their answers)"
    assert told(replace(row, detail={"proof": "acknowledged"})) == "12 sent, 8 arrived (by their acknowledgments)"
    assert told(replace(row, detail={"proof": "peer"})) == "12 sent, 8 arrived"
    assert told(replace(row, received=None)) == "12 sent, not known how many arrived"
    assert told(replace(row, sent=None, direction=Direction.BOTH)) == "8 answered, not known of how many"


def test_a_line_of_evidence_says_it_once() -> None:
    row = data({"wrap": "tls-crypt", "sessions": 2, "by_size": SIZES, "largest_passing": 1400, "smallest_lost": 1450, "port_state": "ours"})
    line = evidence_line(row, Anchors([row]))
    assert line.detail == (("port_state", "ours"),)
    assert "up to 1400 bytes pass, 1450 bytes and more do not" in line.facts


def test_wraps_have_counts_of_their_own() -> None:
    plain, wrapped = data({}), replace(data({"wrap": "tls-crypt"}), received=12)
    lines = {line.question: line.counts for line in exchanges(with_rows(plain, wrapped))}
    assert lines["OpenVPN data channel, UDP port 1194"][Direction.C2S].received == 8
    assert lines["OpenVPN data channel, UDP port 1194, in tls-crypt"][Direction.C2S].received == 12


def test_named_failures_are_among_the_next_steps_once() -> None:
    reason = Reason("failure.data-cut", "The connection is cut. Use another port.")
    result = with_rows(reasons=(reason, reason))
    assert next_steps(result)[:-1] == (reason.text,)
    assert "What to do next" in render_text(result, colour=False, width=100)
    assert reason.text in render(result).decode()


def test_the_drawing_holds_sessions_that_pass_and_that_do_not() -> None:
    blocked = data({"wrap": "tls-crypt"}, Outcome.BLOCKED, Cause.PACKETS)
    drawn = figure(with_rows(data({}), blocked), Direction.C2S)
    assert drawn is not None
    assert "UDP" in {lane.name for lane in drawn.lanes if lane.lost}
