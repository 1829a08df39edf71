"""A user's rules file: what it can change, and what it is told where it is wrong."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules_rows import clean, feasibility, row, verdict

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Feasibility, Outcome, Transport
from vpnprobe.rules import decide, load, load_default
from vpnprobe.rules.loader import MAX_BYTES
from vpnprobe.rules.model import Criterion, Need

SSTP = """
[selector.sstp]
what = "TCP connection to port 443"
probe = "tcp"
check = "reach"
transport = "tcp"
port = 443

[protocol.sstp]
title = "SSTP"
default_port = 443
score = { ease = 0.8, speed = 1, security = 1, stability = 0.9, adaptability = 0.6 }

[rule.sstp-handshake]
protocol = "sstp"
question = "Is the handshake answered?"
sources = [{ selector = "sstp" }]
true = "SSTP's handshake is answered on tcp/{port}: {evidence}."
false = "SSTP's handshake does not get through: {evidence}."
unknown = "Whether SSTP's handshake gets through is not known: {why}."
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def complaint(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(file)
    assert caught.value.status is ExitStatus.UNREADABLE
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def test_the_default_rules_are_whole() -> None:
    rules = load_default()
    assert list(rules.profiles) == ["pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "openvpn-tcp", "wireguard"]
    assert set(rules.presets) == {"modern", "classic"}
    assert (rules.added, rules.overridden) == ((), ())


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("")
    assert load(file) == load_default()


def test_a_protocol_is_added_without_code(file: Path) -> None:
    file.write_text(SSTP)
    rules = load(file)
    assert rules.added == ("sstp-handshake",)
    decision = decide(clean(), rules=rules, consider=["sstp"])
    assert verdict(decision, "sstp").feasibility is Feasibility.FEASIBLE
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "sstp"


def test_a_rule_is_changed_key_by_key(file: Path) -> None:
    file.write_text('[rule.pptp-gre]\nneed = "informative"\n')
    rules = load(file)
    assert (rules.added, rules.overridden) == ((), ("pptp-gre",))
    assert rules.rules["pptp-gre"].need is Need.INFORMATIVE
    assert rules.rules["pptp-gre"].question == load_default().rules["pptp-gre"].question
    decision = decide([row("pptp/control", Transport.TCP, Outcome.PASS, port=1723)], rules=rules)
    assert feasibility(decision)["pptp"] is Feasibility.FEASIBLE


def test_a_rule_is_taken_away(file: Path) -> None:
    file.write_text("[rule.pptp-lcp]\nenabled = false\n")
    assert "pptp-lcp" not in load(file).rules


def test_weights_and_scores_are_changed(file: Path) -> None:
    file.write_text("[preset.modern.weight]\nspeed = 20\n[protocol.pptp.score]\nspeed = 0.1\n")
    rules = load(file)
    assert rules.presets["modern"].weights[Criterion.SPEED] == 20
    assert rules.profiles["pptp"].scores[Criterion.SPEED] == 0.1
    assert rules.profiles["pptp"].scores[Criterion.EASE] == load_default().profiles["pptp"].scores[Criterion.EASE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rule.pptp-gre]\nconbine = 'any'", "rule.pptp-gre: unknown key 'conbine': did you mean 'combine'? Correct or remove it"),
        ("[rule.pptp-gre]\ncombine = 'anny'", "rule.pptp-gre: combine = 'anny' is not known: did you mean 'any'? Correct it"),
        ("[rules.pptp-gre]\nfold = 'any'", "unknown key 'rules': did you mean 'rule'? Correct or remove it"),
        ("[rule.new]\nprotocl = 'pptp'", "rule.new: unknown key 'protocl': did you mean 'protocol'?"),
        ("[rule.new]\nneed = 'required'", "rule.new: key 'protocol' is missing: add it"),
        ("[rule.pptp-gre]\nprotocol = 'ppt'", "rule.pptp-gre: protocol = 'ppt' is not known: did you mean 'pptp'?"),
        ("[rule.pptp-gre]\nprotocol = 7", "rule.pptp-gre: protocol = 7 should be a string: correct it"),
        ("[rule.pptp-gre]\nneed = 7", "rule.pptp-gre: need = 7 should be one of required, if-measured, informative"),
        ("[rule.pptp-gre]\nsources = []", "rule.pptp-gre: sources is empty: name at least one selector"),
        ("[rule.pptp-gre]\nsources = 1", "rule.pptp-gre: sources = 1 should be a list"),
        ("[rule.pptp-gre]\nsources = [1]", "rule.pptp-gre: sources[1] = 1 should be a table"),
        (
            "[rule.pptp-gre]\nsources = [{selector = 'gre'}]",
            "rule.pptp-gre.sources[1]: selector = 'gre' is not known: did you mean 'gre-bare'?",
        ),
        ("[rule.pptp-gre]\nsources = [{selector = 'esp', instead_of = 'e'}]", "instead_of = 'e' is not known"),
        ("[rule.pptp-gre]\nsources = [{selector = 'esp', falsified_by = ['e']}]", "falsified_by = 'e' is not known"),
        ("[rule.pptp-gre]\nsources = [{selector = 'esp', proof_only = 1}]", "proof_only = 1 should be true or false"),
        ("[rule.pptp-gre]\nsources = [{selector = 'esp', when = {ep = 'true'}}]", "when: unknown key 'ep': did you mean 'esp'?"),
        ("[rule.pptp-gre]\nsources = [{selector = 'esp', when = {esp = ['tru']}}]", "when: esp = 'tru' is not known: did you mean 'true'?"),
        (
            "[rule.pptp-gre]\nsources = [{selector = 'esp', settings = {x = 1.5}}]",
            "settings.x = 1.5 should be a number, a string or a flag",
        ),
        ("[rule.pptp-gre]\nwhen = {esp = 'true'}", "rule.pptp-gre: a required rule always applies"),
        ("[rule.pptp-gre]\ntrue = 'a {evidenc}'", "rule.pptp-gre: true: unknown placeholder {evidenc}: did you mean 'evidence'?"),
        ("[rule.pptp-gre]\ntrue = 'a {port:x}'", "rule.pptp-gre: true: unknown placeholder {port}"),
        ("[rule.pptp-gre]\ntrue = 'a {port'", "rule.pptp-gre: true: expected '}' before end of string: write {{ and }} for braces"),
        ("[rule.pptp-gre.advice]\npayloud = 'x'", "rule.pptp-gre.advice: unknown key 'payloud': did you mean 'payload'?"),
        ("rule = 3", "rule = 3 should be a table"),
        ("[selector]\nesp = 3", "selector: esp = 3 should be a table"),
        ("[selector.esp]\nprobe = 'epp'", "selector.esp: probe = 'epp' is not known: did you mean 'esp'?"),
        ("[selector.esp]\ncheck = 'reach'", "selector.esp: check = 'reach' is not known: known are passthrough"),
        ("[selector.esp]\nport = 0", "selector.esp: port = 0 should be a port from 1 to 65535 or 'candidate'"),
        ("[selector.esp]\nreads = {passed = 'true'}", "selector.esp.reads: unknown key 'passed': did you mean 'pass'?"),
        ("[protocol.pptp]\nports = [true]", "protocol.pptp: ports = True should be a port from 1 to 65535"),
        ("[protocol.pptp.score]\nspeed = 2", "protocol.pptp.score: speed = 2 should be a number from 0 to 1"),
        ("[protocol.pptp.score]\nspeed = nan", "protocol.pptp.score: speed = nan should be a number from 0 to 1"),
        ("[protocol.pptp.client]\nwindoze = {support = 'app'}", "protocol.pptp.client: unknown key 'windoze': did you mean 'windows'?"),
        ("[preset.modern.score.ppt]\nspeed = 1", "preset.modern.score: unknown key 'ppt': did you mean 'pptp'?"),
        (
            "[preset.modern.treatment]\nbroken = 'ban'",
            "preset.modern.treatment: broken = 'ban' is not known: known are allow, last, exclude",
        ),
        ("[protocol.openvpn-udp]\nwraps = [1]", "protocol.openvpn-udp: wraps = 1 should be a string"),
        ("[rule.pptp-lcp]\nafter = 'pptp-gree'", "rule.pptp-lcp: after = 'pptp-gree' is not known: did you mean 'pptp-gre'?"),
        ("[rule.pptp-lcp.derived]\nx = {from = 'y', less = 1.5}", "derived.x: less = 1.5 should be a whole number from 0 to 1000"),
        ("[failure.silent]\nwhat = 1", "failure.silent: what = 1 should be a string"),
        ("[failure.data-cut]\noutcomes = ['bloked']", "failure.data-cut: outcomes = 'bloked' is not known: did you mean 'blocked'?"),
        (
            "[rule.l2tp-control]\nenabled = false\n[rule.l2tp-data]\nenabled = false",
            "protocol.l2tp has no required rule, so it could get no verdict",
        ),
        ("schema = 'vpnprobe.rules/9'", "schema = 'vpnprobe.rules/9' is not understood: this version reads 'vpnprobe.rules/1'"),
        ("a = = 1", "not TOML: Invalid value (at line 1, column 5): correct the file there"),
    ],
)
def test_mistakes_are_told_in_one_line(file: Path, text: str, expected: str) -> None:
    assert expected in complaint(file, text)


def test_a_file_that_is_no_rules_file(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8 text at byte 0"):
        load(file)
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="longer than"):
        load(file)
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(UsageError, match=r"nested too deep|not TOML"):
        load(file)
    for path, message in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "no file name")):
        with pytest.raises(UsageError, match=message) as caught:
            load(path)
        assert caught.value.status is ExitStatus.UNREADABLE


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 70000), st.sampled_from(["'true'", "'esp'", "'{port}'", "'pptp'", "nan", "1.5", "''"])),
    lambda inner: st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(_toml(item) for item in items)}]"),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["selector", "rule", "protocol", "preset", "esp", "pptp-gre", "pptp", "modern", "score", "speed", "sources", "when", "x"]
)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=4), VALUES), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_toml_gives_rules_or_one_line(tmp_path: Path, lines: list[tuple[list[str], object]]) -> None:
    file = tmp_path / "any.toml"
    file.write_text("\n".join(f"{'.'.join(keys)} = {_toml(value)}" for keys, value in lines))
    told: UsageError | None = None
    try:
        load(file)
    except UsageError as problem:
        told = problem
    assert told is None or (told.status is ExitStatus.UNREADABLE and "\n" not in str(told))
