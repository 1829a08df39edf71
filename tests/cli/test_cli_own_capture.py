"""What the client's own capture tells where no agent does: conversations with what stopped them, and verdicts that say so first."""

from pathlib import Path
from typing import Any

import pytest

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.cli import own_capture
from vpnprobe.cli.own_capture import FILE, explained, own_conversations
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary, Feasibility, Reason, Verdict
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosis_name

RULES = load_default()


@pytest.fixture(scope="module")
def capture() -> bytes:
    """Of the client on the path of the seed's case, where a router drops GRE."""
    settings = Settings((1194,), frozenset({"tcp", "pptp", "gre"}), control_port=CONTROL_PORT)
    measured, _ = measure_simulated(load("seed").topology, seed=1, settings=settings, tell=lambda _: None)
    return measured.captures[FILE]


def test_conversations_are_found_and_diagnosed(capture: bytes) -> None:
    found = own_conversations({FILE: capture, "server.pcap": b""}, RULES)
    assert {one.capture for one in found} == {FILE}
    pptp = next(one for one in found if one.protocol == "pptp")
    assert pptp.stage == "call-up"
    assert diagnosis_name(pptp) == "gre-one-way"
    [verdict] = explained([Verdict("pptp", Feasibility.UNKNOWN, ())], found, RULES)
    assert "GRE goes one way" in verdict.because[0].text


def test_without_a_capture_there_are_none() -> None:
    assert own_conversations({}, RULES) == ()


def test_where_there_is_no_room_to_read_it_from_there_are_none(capture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert own_conversations({FILE: capture}, RULES) == ()


def test_what_rows_tell_better_is_left_to_them() -> None:
    refused = ConversationSummary(
        "openvpn-udp",
        ConversationEndpoint("192.0.2.1", 50000),
        ConversationEndpoint("192.0.2.2", 443),
        "client-reset-unanswered",
        detail={"diagnosis": {"name": "refused", "side": "server", "frames": [], "stops": True}},
        findings=("UDP 443 is refused by the host itself.",),
    )
    verdict = Verdict("openvpn-udp", Feasibility.UNKNOWN, ())
    assert "refused" in own_capture.TOLD_BY_ROWS
    assert explained([verdict], [refused], RULES) == (verdict,)


def test_what_the_trial_of_a_profile_names_leads() -> None:
    silent = ConversationSummary(
        "openvpn-udp",
        ConversationEndpoint("192.0.2.1", 50000),
        ConversationEndpoint("192.0.2.2", 1194),
        "client-reset-unanswered",
        detail={"diagnosis": {"name": "reset-unanswered", "side": "unknown", "frames": [], "stops": True}},
        findings=("No answer is in the capture.",),
    )
    named = Verdict("openvpn-udp", Feasibility.UNKNOWN, (Reason("failure.silent", "Nothing answers."),))
    assert explained([named], [silent], RULES) == (named,)
    unnamed = Verdict("openvpn-udp", Feasibility.UNKNOWN, (Reason("openvpn-udp-reset", "It is not known."),))
    assert [reason.rule for reason in explained([unnamed], [silent], RULES)[0].because] == [
        "diagnosis.reset-unanswered",
        "openvpn-udp-reset",
    ]
