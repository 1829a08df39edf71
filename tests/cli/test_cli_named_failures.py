"""Each failure by name, from the rows of a profile's test to the words and the exit status: all of them say the same."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from vpnprobe.cli.finishing import decided, result_of, status_of
from vpnprobe.cli.options import Judging
from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.errors import ExitStatus
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.judging.named import with_named_failures
from vpnprobe.evidence.named_failures import NamedFailure
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction, Feasibility, Mode, Observation, Outcome, Result, Transport
from vpnprobe.probes.existing_server import form_of
from vpnprobe.report.headlines import headline
from vpnprobe.report.rows import Anchors, verdict_lines
from vpnprobe.report.story import next_steps
from vpnprobe.report.text import render_text
from vpnprobe.rules import load_default

UDP, PORT, FORM = Transport.UDP, 1194, form_of(0)
RESET, HANDSHAKE, DATA = openvpn_reset(UDP, PORT, FORM), openvpn_handshake(UDP, PORT, FORM), openvpn_data(UDP, PORT, FORM)
STEPS = (RESET, HANDSHAKE, DATA)
PASS, REFUSED, NO_ANSWER, SKIPPED = Outcome.PASS, Outcome.REFUSED, Outcome.NO_ANSWER, Outcome.SKIPPED
BAD, OPEN, LIMITED, GOOD = Feasibility.INFEASIBLE, Feasibility.UNKNOWN, Feasibility.DEGRADED, Feasibility.FEASIBLE

CASES: dict[str, tuple[Check, Outcome, Feasibility]] = {
    "name-not-resolved": (RESET, SKIPPED, OPEN),
    "port-refused": (RESET, REFUSED, BAD),
    "unreachable": (RESET, NO_ANSWER, OPEN),
    "silent": (RESET, NO_ANSWER, OPEN),
    "closed-at-once": (RESET, REFUSED, OPEN),
    "not-openvpn": (RESET, NO_ANSWER, OPEN),
    "answer-unreadable": (RESET, NO_ANSWER, OPEN),
    "wrong-wrap": (RESET, NO_ANSWER, BAD),
    "profile-refused": (RESET, PASS, BAD),
    "not-supported": (RESET, SKIPPED, OPEN),
    "tls-silent": (HANDSHAKE, NO_ANSWER, OPEN),
    "tls-stalled": (HANDSHAKE, NO_ANSWER, OPEN),
    "tls-version": (HANDSHAKE, NO_ANSWER, BAD),
    "tls-no-common-cipher": (HANDSHAKE, NO_ANSWER, BAD),
    "tls-broken": (HANDSHAKE, NO_ANSWER, OPEN),
    "handshake-large-lost": (HANDSHAKE, NO_ANSWER, OPEN),
    "certificate-expired": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-not-yet-valid": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-wrong-ca": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-wrong-name": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-wrong-purpose": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-wrong-fingerprint": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-revoked": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-weak": (HANDSHAKE, NO_ANSWER, BAD),
    "certificate-rejected": (HANDSHAKE, NO_ANSWER, BAD),
    "client-certificate-expired": (HANDSHAKE, NO_ANSWER, BAD),
    "client-certificate-refused": (HANDSHAKE, NO_ANSWER, BAD),
    "keys-unreadable": (HANDSHAKE, NO_ANSWER, BAD),
    "keys-unanswered": (HANDSHAKE, NO_ANSWER, OPEN),
    "credentials-wanted": (HANDSHAKE, PASS, OPEN),
    "credentials-refused": (HANDSHAKE, REFUSED, BAD),
    "login-put-off": (HANDSHAKE, PASS, OPEN),
    "challenge-wanted": (HANDSHAKE, PASS, OPEN),
    "session-refused": (HANDSHAKE, PASS, BAD),
    "no-common-data-cipher": (HANDSHAKE, PASS, BAD),
    "push-refused": (HANDSHAKE, PASS, BAD),
    "no-push-reply": (HANDSHAKE, PASS, OPEN),
    "restart-asked": (HANDSHAKE, PASS, OPEN),
    "halted": (HANDSHAKE, PASS, OPEN),
    "closed-by-peer": (DATA, NO_ANSWER, OPEN),
    "settings-differ": (DATA, NO_ANSWER, BAD),
    "data-unanswered": (DATA, NO_ANSWER, OPEN),
    "data-dead": (DATA, NO_ANSWER, OPEN),
    "data-cut": (DATA, PASS, OPEN),
    "data-large-dead": (DATA, PASS, LIMITED),
    "renegotiation-asked": (HANDSHAKE, PASS, GOOD),
}
"""By name: the step that it is told of, what came of that step by its packets, and what becomes of the profile."""
DOING = ("vpnprobe run", "vpnprobe serve", "--profile", "--peer", "--solo")
"""What whoever reads the advice may just have done."""


def row(check: Check, way: Direction, outcome: Outcome, form: str) -> Observation:
    sent = None if outcome is SKIPPED else 10
    came = 10 if outcome is PASS else None if outcome is SKIPPED else 0
    detail: dict[str, object] = {"profile": True} if form else {}
    if outcome is REFUSED:
        detail["by"] = "peer"
    if outcome is SKIPPED:
        detail["reason"] = "not tried"
    name = identifier(check, way)
    return Observation(name, check.probe, check.name, way, check.transport, outcome, port=PORT, sent=sent, received=came, detail=detail)


def rows_of(steps: Sequence[Check], failing: Check | None, outcome: Outcome, form: str) -> list[Observation]:
    """Steps before the failing one pass, and those after it are skipped, unless it is only named."""
    found, over = [], False
    for step in steps:
        what = SKIPPED if over else outcome if step == failing else PASS
        ways = (Direction.C2S, Direction.S2C) if step.name == "data" else (Direction.BOTH,)
        found += [row(step, way, what, form) for way in ways]
        over = over or (step == failing and step.name != "data")
    return found


def real_client_row(comparison: str, stopped_by: str) -> Observation:
    """What openvpn itself came to; empty: it came up."""
    detail = {"profile": True, "protocol": "openvpn-udp", "program": "openvpn 2.6.14", "comparison": comparison}
    detail |= {"stopped_by": stopped_by} if stopped_by else {}
    outcome = NO_ANSWER if stopped_by else PASS
    check, way = "real-client", Direction.BOTH
    return Observation(f"openvpn-{check}-profile-udp-{PORT}-both", "openvpn", check, way, UDP, outcome, port=PORT, detail=detail)


def real_client_told(comparison: str, stopped_by: str) -> dict[str, object]:
    remote = {"remote": f"vpn.example:{PORT}/udp", "came_up": not stopped_by, "stopped_at": "up" if stopped_by else None, "steps": []}
    remote |= {"cause": stopped_by, "comparison": comparison, "finding": "What openvpn did."}
    told = {"program": "openvpn", "version": "2.6.14", "comparison": comparison, "protocols": ["openvpn-udp"], "remotes": [remote]}
    return {**told, "options": [], "left_out": [], "not_tried": []}


def result(name: str, *, paired: bool, beside: tuple[str, str] | None = None) -> Result:
    """`beside`: how openvpn's own try compares, and what stopped it, empty: nothing; None: it was not tried."""
    check, outcome, feasibility = CASES[name]
    harmless = feasibility is GOOD
    rows = with_named_failures(rows_of(STEPS, None if harmless else check, outcome, FORM), [NamedFailure(check, name, "the words")])
    rows = [*rows, *([real_client_row(*beside)] if beside is not None else [])]
    if paired:
        plain = (openvpn_reset(UDP, PORT), openvpn_handshake(UDP, PORT), openvpn_data(UDP, PORT))
        rows = [*rows_of(plain, None, PASS, ""), *rows]
    judging = Judging(None, "modern", (), (), () if paired else ("openvpn-udp",))
    decision = decided(rows, judging, load_default(), ports=(PORT,), protocols=("openvpn-udp",))
    return result_of(
        decision,
        rows,
        mode=Mode.PAIRED if paired else Mode.SOLO,
        started=datetime(2000, 1, 1, tzinfo=UTC),
        duration_s=1.0,
        name="server",
        client={
            "profile": {"file": "client.ovpn", "not_applied": [], "notes": []},
            **({"real_client": real_client_told(*beside)} if beside is not None else {}),
        },
        server={} if paired else None,
        complete=True,
    )


def test_every_name_is_among_them() -> None:
    elsewhere = {"data-interrupted", "key-shared", "answered-from-elsewhere", "not-running", "wrong-preshared-key", "cookie-unanswered"}
    elsewhere |= {"arrives-unanswered", "not-arrived", "answer-lost", "call-large-dead", "esp-in-udp-large-dead"}
    assert set(CASES) == set(load_default().failures) - elsewhere
    assert set(FailureCode) <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_alone_the_name_leads_and_all_else_follows(name: str) -> None:
    found, expected = result(name, paired=False), CASES[name][2]
    (verdict,) = found.verdicts
    assert verdict.feasibility is expected
    assert status_of(found.verdicts) is (ExitStatus.NOTHING_WORKS if expected is BAD else ExitStatus.FINISHED)
    said, (line,) = headline(found), verdict_lines(found.verdicts, found.recommendation, Anchors(found.observations))
    assert f"failure.{name}" in [reason.rule for reason in verdict.because]
    if expected in (GOOD, LIMITED):
        assert said.sentence.startswith("Use OpenVPN over UDP, port 1194")
        assert said.tone == line.mark.tone
        return
    assert verdict.because[0].rule == f"failure.{name}"
    assert said.reason == verdict.because[0].text
    assert line.reasons[0].text == verdict.because[0].text
    assert said.tone == line.mark.tone
    words = {"not-supported": "Nothing could be shown, neither to work nor to fail"}
    of_verdict = {BAD: "OpenVPN over UDP does not work with this profile", OPEN: "OpenVPN over UDP is not shown to work"}
    assert said.sentence == words.get(name, of_verdict[expected])


@pytest.mark.parametrize("name", CASES)
def test_beside_a_server_agent_the_path_decides_and_the_profile_is_told(name: str) -> None:
    found, expected = result(name, paired=True), CASES[name][2]
    (verdict,) = found.verdicts
    assert verdict.feasibility is GOOD
    assert status_of(found.verdicts) is ExitStatus.FINISHED
    assert f"failure.{name}" in [reason.rule for reason in verdict.because]
    told = next(step for step in next_steps(found) if "with the profile" in step)
    assert told in [reason.text for reason in verdict.because]
    fails = expected in (BAD, OPEN) and name != "not-supported"
    assert headline(found).sentence.endswith("the profile itself was tried and did not work") is fails


@pytest.mark.parametrize("paired", [False, True], ids=["alone", "paired"])
@pytest.mark.parametrize("name", CASES)
def test_no_line_advises_what_was_just_done(name: str, paired: bool) -> None:
    page = render_text(result(name, paired=paired), colour=False, width=2000)
    assert not [words for words in DOING if words in page]


@pytest.mark.parametrize("comparison", ["differs", "open"])
def test_openvpn_stops_and_the_own_try_works(comparison: str) -> None:
    """Headline, table, first reason and status are of one mind: it works by vpnprobe's own try, and openvpn stopped, with why."""
    found = result("renegotiation-asked", paired=False, beside=(comparison, "push-refused"))
    (verdict,) = found.verdicts
    (line,) = verdict_lines(found.verdicts, found.recommendation, Anchors(found.observations))
    said = headline(found)
    assert (verdict.feasibility, status_of(found.verdicts)) == (GOOD, ExitStatus.FINISHED)
    assert (said.tone, said.sentence) == ("fair", "OpenVPN over UDP works by vpnprobe's own try; openvpn 2.6.14 stopped: push-refused")
    assert verdict.because[0].rule == "real-client-stops"
    assert line.reasons[0].text == verdict.because[0].text
    assert "(push-refused)" in line.reasons[0].text


@pytest.mark.parametrize("name", [name for name, (_, _, expected) in CASES.items() if expected in (BAD, OPEN)])
@pytest.mark.parametrize("comparison", ["differs", "open", "agrees"])
def test_openvpn_comes_up_or_stops_too_and_the_own_try_fails(comparison: str, name: str) -> None:
    up = result(name, paired=False, beside=(comparison, ""))
    (verdict,) = up.verdicts
    if comparison == "differs":
        assert (verdict.feasibility, verdict.because[0].rule, headline(up).tone) == (OPEN, "real-client", "fair")
        assert status_of(up.verdicts) is ExitStatus.FINISHED
    else:
        assert verdict.feasibility is CASES[name][2]
    too = result(name, paired=False, beside=(comparison, "silent"))
    assert too.verdicts[0].feasibility is CASES[name][2]
    assert headline(too).tone == ("mute" if CASES[name][2] is OPEN else "bad") or comparison == "open"
    assert "works" not in headline(too).sentence
