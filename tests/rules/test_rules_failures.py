"""Failures that have a name: which rows bear one, and how it is told."""

from pathlib import Path

import pytest
from rules_rows import openvpn, row, verdict

from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Cause, Feasibility, Observation, Outcome, Reason, Transport
from vpnprobe.rules import Decision, decide, load, load_default

TCP, UDP = Transport.TCP, Transport.UDP
PASS, BLOCKED, REFUSED, NO_ANSWER = Outcome.PASS, Outcome.BLOCKED, Outcome.REFUSED, Outcome.NO_ANSWER
SKIPPED, ERROR = Outcome.SKIPPED, Outcome.ERROR
BAD = Feasibility.INFEASIBLE
CRYPT, PROFILE = {"wrap": "tls-crypt"}, {"profile": True}


def settle(*rows: Observation, ports: tuple[int, ...] = ()) -> Decision:
    return decide(rows, rules=load_default(), ports=ports)


def failures_in(decision: Decision, protocol: str = "openvpn-udp") -> list[Reason]:
    return [reason for reason in verdict(decision, protocol).because if reason.rule.startswith("failure.")]


def test_a_cut_is_named_with_its_number() -> None:
    decision = settle(*openvpn(UDP, 1194, data=BLOCKED, cause=Cause.PACKETS, detail={"cut_after": 12}))
    assert verdict(decision, "openvpn-udp").feasibility is BAD
    assert [reason.rule for reason in failures_in(decision)] == ["failure.data-cut"]
    assert "the connection is cut (12 passed)." in failures_in(decision)[0].text


def test_one_failure_in_all_wraps_and_on_all_ports_is_told_once() -> None:
    rows = [one for port in (1194, 443) for form in (None, CRYPT) for one in openvpn(UDP, port, data=BLOCKED, form=form)]
    (reason,) = failures_in(settle(*rows))
    assert reason.rule == "failure.data-dead"
    assert reason.text.startswith("OpenVPN over UDP, port 1194 and 443: The handshake is fine and the data is dead")
    assert len(reason.observations) == 8


@pytest.mark.parametrize(
    ("form", "outcome", "told"),
    [(PROFILE, REFUSED, True), (PROFILE, PASS, True), (None, NO_ANSWER, True), (None, BLOCKED, False), (None, PASS, False)],
)
def test_a_borne_name_counts_unless_the_path_is_shown_to_fail(form: dict[str, object] | None, outcome: Outcome, told: bool) -> None:
    bearing = row(
        "openvpn/handshake",
        UDP,
        outcome,
        port=1194,
        detail={**(form or {}), "by": "peer", "failure": "renegotiation-asked", "said": "SOFT RESET"},
    )
    rows = openvpn(UDP, 1194, form=form, handshake=None, data=PASS if outcome is PASS else None)
    reasons = failures_in(settle(bearing, *rows))
    assert [reason.rule for reason in reasons] == (["failure.renegotiation-asked"] if told else [])
    assert all('The words were "SOFT RESET".' in reason.text for reason in reasons)


def test_a_name_without_port_is_told_for_the_default_port_and_an_unknown_name_is_not() -> None:
    nowhere = row("openvpn/reset", UDP, ERROR, sent=None, detail={"profile": True, "failure": "name-not-resolved"})
    (reason,) = failures_in(settle(nowhere))
    assert "port 1194" in reason.text
    assert "no address" in reason.text
    assert failures_in(settle(row("openvpn/reset", UDP, ERROR, sent=None, detail={"failure": "no-such-name"}))) == []


def test_every_failure_has_both_sentences() -> None:
    known = load_default().failures
    of_data = {"data-dead", "data-large-dead", "data-cut", "data-unanswered", "data-interrupted", "key-shared"}
    of_data |= {"call-large-dead", "esp-in-udp-large-dead"}
    of_keys = {"arrives-unanswered", "not-arrived", "answer-lost", "wrong-preshared-key", "cookie-unanswered"}
    before = {"name-not-resolved", "port-refused", "unreachable", "not-running"}
    assert set(known) == {*FailureCode, *of_data, *of_keys, *before, "answered-from-elsewhere", "renegotiation-asked", "profile-refused"}
    for name, failure in known.items():
        for words in (failure.words, *failure.own_words.values()):
            assert all(sentence.endswith(".") for sentence in (words.what, words.advice)), name
            assert all(len(sentence) > 20 for sentence in (words.what, words.advice)), name


SETTLED_BY = {
    "what the server said of the profile for good": {
        "client-certificate-expired",
        "client-certificate-refused",
        "credentials-refused",
        "keys-unreadable",
        "no-common-data-cipher",
        "session-refused",
        "settings-differ",
        "tls-no-common-cipher",
        "tls-version",
        "wrong-preshared-key",
        "wrong-wrap",
    },
    "what is refused now, whoever refuses it": {"port-refused"},
    "what the client refuses": {"profile-refused", "push-refused", *(code for code in FailureCode if code.startswith("certificate-"))},
}


def test_nothing_else_settles() -> None:
    """A full server, a portal, a firewall and a hanging check of the password are none of it: they pass by themselves."""
    assert {name for name, failure in load_default().failures.items() if failure.settles} == set().union(*SETTLED_BY.values())


def test_a_connection_closed_at_once_has_a_key_and_a_full_server_among_its_reasons() -> None:
    advice = load_default().failures["closed-at-once"].words.advice
    places = [advice.index(word) for word in ("tls-auth", "missing", "is another", "max-clients", "another service")]
    assert places == sorted(places)
    assert "missing or not the server's" in load_default().failures["silent"].words.advice


def test_a_borne_name_without_numbers_leaves_them_out() -> None:
    detail = {"failure": "data-large-dead", "said": "1400 bytes pass"}
    (reason,) = failures_in(settle(*openvpn(UDP, 443, data=NO_ANSWER, form=PROFILE, detail=detail)))
    assert 'large ones do not. The words were "1400 bytes pass".' in reason.text


def test_silence_ranks_its_reasons() -> None:
    advice = load_default().failures["silent"].words.advice
    places = [advice.index(word) for word in ("filter on the path", "key direction", "server is down")]
    assert places == sorted(places)


def test_a_protocol_may_have_words_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[failure.silent.of.openvpn-tcp]\nadvice = "Ask somebody else about {protocol}."\n')
    failure = load(file).failures["silent"]
    assert failure.words_for("openvpn-tcp").advice == "Ask somebody else about {protocol}."
    assert failure.words_for("openvpn-tcp").what == failure.words.what
    assert failure.words_for("openvpn-udp") == failure.words


@pytest.mark.parametrize(("text", "wrong"), [("[failure.silent.of.nothing]", "nothing"), ("[failure.silent.of.pptp]\nhow = 1", "how")])
def test_own_words_are_of_a_known_protocol_and_nothing_else(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(f"{text}\n")
    with pytest.raises(UsageError, match=wrong):
        load(file)


@pytest.mark.parametrize(("said", "told"), [("x" * 200, "x" * 200), ("x" * 201, "x" * 199 + "…")])
def test_words_that_are_cut_say_so(said: str, told: str) -> None:
    bearing = row(
        "openvpn/handshake", UDP, REFUSED, port=1194, detail={**PROFILE, "by": "peer", "failure": "renegotiation-asked", "said": said}
    )
    (reason,) = failures_in(settle(bearing, *openvpn(UDP, 1194, form=PROFILE, handshake=None, data=None)))
    assert f'The words were "{told}".' in reason.text
