"""`vpnprobe run --with-openvpn`: when it is refused, with one line and the right status, before anything is sent."""

import base64
from pathlib import Path

import pytest

from vpnprobe.cli import run_command
from vpnprobe.errors import ExitStatus


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Status and the error's line."""
    status = run_command(["run", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    return status, line


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.deployment.verification.process.find_program", lambda _: "/bin/true")


@pytest.mark.usefixtures("installed")
def test_it_needs_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    status, line = error_of(capsys, "--peer", "localhost", "--with-openvpn")
    assert (status, "give --profile FILE too" in line) == (ExitStatus.USAGE, True)


@pytest.mark.usefixtures("installed")
def test_a_profile_of_another_protocol(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    profile = tmp_path / "wg.conf"
    profile.write_text(
        f"[Interface]\nPrivateKey = {key}\nAddress = 10.0.0.2/32\n"
        f"[Peer]\nPublicKey = {key}\nEndpoint = 127.0.0.1:9\nAllowedIPs = 10.0.0.1/32\n"
    )
    status, line = error_of(capsys, "--solo", "--profile", profile, "--with-openvpn", "-o", tmp_path / "out")
    assert (status, "is no profile of OpenVPN" in line) == (ExitStatus.USAGE, True)
    assert not (tmp_path / "out").exists()


def test_no_openvpn_is_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vpnprobe.deployment.verification.process.find_program", lambda _: None)
    status, line = error_of(capsys, "--solo", "--profile", tmp_path / "client.ovpn", "--with-openvpn")
    assert (status, line) == (ExitStatus.MISSING, "error: openvpn is not installed: sudo apt install openvpn")
