"""`verify` on the command line: wrong arguments have one line and their status, and nothing has been started."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vpnprobe.cli.provision_verify import verify
from vpnprobe.cli.verification_text import render_verification
from vpnprobe.deployment.verification.model import Leak, Outcome, Proof, Question, Verification
from vpnprobe.errors import ExitStatus, UsageError

FINGERPRINT = ":".join(["00"] * 32)
PROFILE = f"client\nremote 192.0.2.1 1194\npeer-fingerprint {FINGERPRINT}\nauth-user-pass\n"


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(verify, list(arguments))


def test_the_profile_must_be_named() -> None:
    found = ran()
    assert found.exit_code == ExitStatus.USAGE
    assert "--profile" in found.output


@pytest.mark.parametrize("duration", ["", "x", "-1s", "0", "0s", "2d", "9e9", "100000h", "1.2345s"])
def test_a_duration_that_is_none(duration: str) -> None:
    found = ran("--profile", "x.ovpn", "--for", duration)
    assert found.exit_code == ExitStatus.USAGE
    assert "is no time: write 120s" in found.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--beyond", "a b"), "names no host"), (("--beyond", "web:0"), "no port"), (("--seen-by", "echo.example"), "no URL")],
)
def test_hosts_and_urls_are_checked_first(arguments: tuple[str, ...], words: str) -> None:
    error = ran("--profile", "/nonexistent.ovpn", *arguments).exception
    assert isinstance(error, UsageError)
    assert words in str(error)


def test_a_profile_that_is_not_there() -> None:
    error = ran("--profile", "/nonexistent.ovpn").exception
    assert isinstance(error, UsageError)
    assert error.status is ExitStatus.UNREADABLE


def test_a_profile_without_a_tunnel(tmp_path: Path) -> None:
    (tmp_path / "null.ovpn").write_text(f"{PROFILE}dev null\n")
    error = ran("--profile", str(tmp_path / "null.ovpn")).exception
    assert isinstance(error, UsageError)
    assert "dev tun" in str(error)


def test_every_option_has_help() -> None:
    assert all(option.help for option in verify.params if isinstance(option, click.Option))


def test_text_has_signs_without_colours() -> None:
    proofs = [
        Proof(question=Question.UP, outcome=Outcome.SHOWN, sentence="It is up."),
        Proof(question=Question.DNS, outcome=Outcome.FAILED, sentence="It \x1b[2J leaks.", todo="mend it"),
    ]
    leak = Leak(
        destination="192.0.2.1",
        protocol="udp",
        port=53,
        device="eth0",
        why="an address outside",
        count=2,
        first_at=1.0,
        first_after_s=0.4,
        process="dig (7)",
    )
    found = Verification(
        profile="c.ovpn", started="", duration_s=3.3, complete=False, version="1", tunnel=None, watch=None, proofs=proofs, leaks=[leak]
    )
    text = render_verification(found, colour=False)
    assert "\x1b" not in text
    assert "  ✓ Up: It is up." in text
    assert "  ✕ DNS: It " in text
    assert "To do: mend it." in text
    assert "interrupted" in text
    assert "2 x udp to 192.0.2.1 port 53 on eth0 after 0.4 s, by dig (7)" in text
    assert "\x1b[31m" in render_verification(found, colour=True)
