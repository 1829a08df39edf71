"""`vpnprobe rules`: list, explain, check."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from rules_rows import clean

from vpnprobe.cli.rules import rules
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.document import encode
from vpnprobe.observations.schema import Mode, Result, Run
from vpnprobe.rules import decide, load_default


def run(*arguments: str) -> str:
    done = CliRunner().invoke(rules, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    decision = decide(clean(), rules=load_default())
    document = Result(
        Run("r", Mode.SIMULATED, "2026-01-01T00:00:00Z", 1.0, "0"), tuple(clean()), decision.verdicts, decision.recommendation
    )
    path = tmp_path / "result.json"
    path.write_bytes(encode(document))
    return path


def test_list_shows_every_rule() -> None:
    text = run("list")
    assert all(name in text for name in load_default().rules)


def test_explain_takes_a_file_or_its_folder(saved: Path) -> None:
    assert "Recommended: openvpn-udp, port 1194" in run("explain", str(saved))
    assert run("explain", str(saved.parent)) == run("explain", str(saved))


def test_explain_takes_wishes_and_rules(saved: Path, tmp_path: Path) -> None:
    assert "Recommended: l2tp-ipsec" in run("explain", str(saved), "--preset", "classic", "--client-os", "ios, macos", "--prefer", "ease")
    own = tmp_path / "own.toml"
    own.write_text("[protocol.openvpn-udp]\ncandidate = false\n")
    assert "Recommended: openvpn-tcp" in run("explain", str(saved), "--rules", str(own))
    assert "Recommended: openvpn-udp" in run("explain", str(saved), "--rules", str(own), "--consider", "openvpn-udp")


def test_check_says_what_a_file_changes(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[rule.pptp-lcp]\nenabled = false\n")
    assert run("check", str(own)) == f"{own}: valid; rules added: none; rules changed: pptp-lcp\n"


def test_check_refuses_a_typo(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[rule.pptp-lcp]\nenabeld = false\n")
    with pytest.raises(UsageError, match="did you mean 'enabled'") as caught:
        run("check", str(own))
    assert caught.value.status is ExitStatus.UNREADABLE
