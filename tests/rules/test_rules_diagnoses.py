"""Which diagnosis a fact of a conversation bears out, how it is told, and which verdicts it explains."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary, Feasibility, Reason, Verdict
from vpnprobe.rules import load, load_default
from vpnprobe.rules.diagnoses import (
    WORDS,
    Place,
    diagnosed,
    diagnosis_name,
    diagnosis_of,
    is_answered,
    is_stopped,
    place_of,
    with_diagnoses,
)

RULES = load_default()


def conversation(
    fact: dict[str, Any], *, protocol: str = "openvpn-udp", stage: str = "client-reset-unanswered", **detail: Any
) -> ConversationSummary:
    return ConversationSummary(
        protocol=protocol,
        client=ConversationEndpoint("192.0.2.10", 49152),
        server=ConversationEndpoint("198.51.100.20", 1194),
        stage=stage,
        detail={"facts": [fact], **detail},
    )


UNANSWERED = {
    "fact": "unanswered",
    "by": "client",
    "to": "server",
    "message": "P_RESET",
    "times": 3,
    "seconds": 4.0,
    "bytes": 54,
    "frames": [1, 2],
}


def test_no_fact_no_diagnosis() -> None:
    assert diagnosis_of(conversation({}), RULES) is None
    assert diagnosis_of(conversation({"fact": "from a newer version"}), RULES) is None
    assert diagnosis_of(replace(conversation({}), detail={"facts": ["broken"]}), RULES) is None


@pytest.mark.parametrize(
    ("captured_at", "place", "name"),
    [
        (None, Place.UNKNOWN, "reset-unanswered"),
        ("client", Place.SENDER, "reset-unanswered"),
        ("server", Place.RECEIVER, "tls-crypt-unanswered"),
    ],
)
def test_the_place_of_the_capture_decides(captured_at: str | None, place: Place, name: str) -> None:
    one = conversation(UNANSWERED, captured_at=captured_at)
    assert place_of(UNANSWERED, one) is place
    found = diagnosis_of(one, RULES)
    assert found is not None
    assert (found.name, found.frames) == (name, (1, 2))
    assert "3 times" in found.what


def test_stage_protocol_message_and_count_decide() -> None:
    assert diagnosis_of(conversation(UNANSWERED, stage="data-both-ways"), RULES) is None
    assert diagnosis_of(conversation(UNANSWERED, protocol="esp"), RULES) is None
    pptp = conversation({**UNANSWERED, "message": "OCRQ"}, protocol="pptp", stage="ocrq-unanswered")
    assert diagnosis_of(pptp, RULES) is not None
    assert diagnosis_of(conversation({**UNANSWERED, "message": "SCCCN"}, protocol="l2tp", stage="tunnel-up"), RULES) is None
    one_way = {"fact": "one-way", "by": "client", "to": "server", "message": "ESP", "times": 2}
    assert diagnosis_of(conversation(one_way, protocol="esp", stage="one-way"), RULES) is None
    assert diagnosis_of(conversation({**one_way, "times": 3}, protocol="esp", stage="one-way"), RULES) is not None


def test_it_is_the_first_finding_and_in_the_detail() -> None:
    [one] = diagnosed([replace(conversation(UNANSWERED), findings=("before",))], RULES)
    assert one.detail["diagnosis"] == {"name": "reset-unanswered", "side": "unknown", "frames": [1, 2], "stops": True}
    assert one.findings[0].startswith("No answer to the client's P_RESET is in the capture (3 times).")
    assert one.findings[1:] == ("before",)


def verdict(feasibility: Feasibility, protocol: str = "openvpn-udp") -> Verdict:
    return Verdict(protocol, feasibility, because=(Reason("openvpn-udp-reset", "It is not known.", ()),))


def test_a_verdict_that_is_open_is_explained_first() -> None:
    conversations = diagnosed([conversation(UNANSWERED), conversation(UNANSWERED)], RULES)
    [explained] = with_diagnoses([verdict(Feasibility.UNKNOWN)], conversations, RULES)
    assert [reason.rule for reason in explained.because] == ["diagnosis.reset-unanswered", "openvpn-udp-reset"]


@pytest.mark.parametrize("feasibility", [Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE])
def test_a_verdict_that_is_settled_stays_as_it_is(feasibility: Feasibility) -> None:
    settled = verdict(feasibility)
    assert with_diagnoses([settled], diagnosed([conversation(UNANSWERED)], RULES), RULES) == (settled,)


def test_another_protocols_conversation_explains_nothing() -> None:
    other = verdict(Feasibility.UNKNOWN, "wireguard")
    assert with_diagnoses([other], diagnosed([conversation(UNANSWERED)], RULES), RULES) == (other,)


def test_an_attempt_on_another_port_that_is_answered_says_more_than_those_that_are_not() -> None:
    unanswered = conversation(UNANSWERED)
    answered = replace(conversation({}, stage="server-reset"), frames_s2c=1)
    [explained] = with_diagnoses([verdict(Feasibility.UNKNOWN)], diagnosed([unanswered, answered], RULES), RULES)
    assert [reason.rule for reason in explained.because] == ["openvpn-udp-reset"]
    # What stopped the one that was answered is told all the same.
    stops = {**UNANSWERED, "message": "P_CONTROL_V1"}
    stopped = replace(conversation(stops, stage="control-one-way"), frames_s2c=1)
    [explained] = with_diagnoses([verdict(Feasibility.UNKNOWN)], diagnosed([unanswered, stopped], RULES), RULES)
    assert [reason.rule for reason in explained.because] == ["diagnosis.handshake-stops", "openvpn-udp-reset"]


def test_a_port_of_a_protocol_that_needs_it_is_not_excused_by_another() -> None:
    """IKE goes on at UDP 4500 where there is a NAT: an answer at 500 does not make up for silence there."""
    silent = conversation({**UNANSWERED, "message": "main"}, protocol="ikev1", stage="main-unanswered")
    answered = replace(conversation({}, protocol="ikev1", stage="main-answered"), frames_s2c=1)
    [explained] = with_diagnoses([verdict(Feasibility.UNKNOWN, "l2tp-ipsec")], diagnosed([silent, answered], RULES), RULES)
    assert explained.because[0].rule == "diagnosis.ike-unanswered"


def test_a_refusal_is_no_answer() -> None:
    one = replace(conversation({}, protocol="tcp", stage="syn-refused", of="openvpn-tcp"), frames_s2c=1)
    assert not is_answered(one)
    assert is_answered(replace(one, stage="connected"))
    assert not is_answered(replace(one, stage="connected", frames_s2c=0))


def test_what_is_told_of_a_conversation_without_a_diagnosis() -> None:
    one = conversation({})
    assert (diagnosis_name(one), is_stopped(one)) == ("", False)
    [found] = diagnosed([conversation(UNANSWERED)], RULES)
    assert (diagnosis_name(found), is_stopped(found)) == ("reset-unanswered", True)
    word = replace(found, detail={**found.detail, "diagnosis": {**found.detail["diagnosis"], "stops": False}})
    assert not is_stopped(word)


def test_a_connection_that_never_came_up_is_its_protocols() -> None:
    syn = {"fact": "syn-unanswered", "by": "client", "to": "server", "message": "SYN", "times": 3}
    conversations = diagnosed([conversation(syn, protocol="tcp", stage="syn-unanswered", of="pptp")], RULES)
    pptp, wireguard = with_diagnoses(
        [verdict(Feasibility.UNKNOWN, "pptp"), verdict(Feasibility.UNKNOWN, "wireguard")], conversations, RULES
    )
    assert pptp.because[0].rule == "diagnosis.syn-unanswered"
    assert len(wireguard.because) == 1


def test_every_sentence_can_be_filled() -> None:
    """With a fact that has every word, no placeholder stays empty."""
    fact = {word: 7 if word in ("acknowledged", "bytes", "times", "announced", "carried") else word for word in WORDS}
    for name, text in RULES.diagnoses.items():
        told = {**fact, "fact": text.fact, "by": text.by or "client", "to": "server" if text.by != "server" else "client"}
        stage = next(iter(text.stages), "one-way")
        at = {"receiver": told["to"], "sender": told["by"]}.get(text.place)
        message = next(iter(text.messages), "M")
        one = conversation({**told, "message": message}, protocol=next(iter(text.protocols), "gre"), stage=stage, captured_at=at)
        only = replace(RULES, diagnoses={name: text})
        found = diagnosis_of(one, only)
        assert found is not None, name
        assert "{" not in found.sentence
        assert "  " not in found.sentence


def test_a_users_file_changes_words_and_takes_away(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[diagnosis.reset-unanswered]\nadvice = "Ask Ada."\n[diagnosis.tls-crypt-unanswered]\nenabled = false\n')
    rules = load(file)
    found = diagnosis_of(conversation(UNANSWERED, captured_at="server"), rules)
    assert found is not None
    assert (found.name, found.advice) == ("reset-unanswered", "Ask Ada.")


def test_a_mistake_in_it_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[diagnosis.reset-unanswered]\nside = "left"\n')
    with pytest.raises(UsageError, match=r"diagnosis\.reset-unanswered.*side") as caught:
        load(file)
    assert caught.value.status is ExitStatus.UNREADABLE


def test_what_stops_nothing_is_told_and_explains_no_verdict() -> None:
    idle = {"fact": "keepalives-only", "times": 6, "frames": []}
    [one] = diagnosed([conversation(idle, stage="data-both-ways")], RULES)
    assert one.detail["diagnosis"]["stops"] is False
    assert len(one.findings) == 1
    unknown = verdict(Feasibility.UNKNOWN)
    assert with_diagnoses([unknown], [one], RULES) == (unknown,)


def test_a_conversation_of_which_nothing_is_known_stays_as_it_is() -> None:
    one = conversation({})
    assert diagnosed([one], RULES) == (one,)


def test_a_direction_that_was_not_captured_says_nothing_of_a_place() -> None:
    one = conversation(UNANSWERED, captured_at="server", not_captured="s2c")
    found = diagnosis_of(one, RULES)
    assert found is not None
    assert found.name == "reset-unanswered"
