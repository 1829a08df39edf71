"""`vpnprobe run --profile`: what is asked and what never is, one line for what cannot be used, and runs with nothing but a profile."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from vpnprobe.cli import run_command
from vpnprobe.cli.openvpn_profile import profile_test_of
from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.errors import ExitStatus
from vpnprobe.probes.existing_server import MOST_REMOTES
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.transports.resolving import addresses_of

PROGRAM = (sys.executable, "-P", "-m", "vpnprobe")
MATERIAL = make_session_keys(os.urandom)


def block(tag: str, content: bytes) -> str:
    return f"<{tag}>\n{content.decode().rstrip()}\n</{tag}>\n"


def locked(passphrase: bytes) -> bytes:
    key = serialization.load_pem_private_key(MATERIAL.identity.key_pem, None)
    encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def written(
    folder: Path, extra: str = "", *, remotes: str = "remote 127.0.0.1 1194 udp", key: bytes = b"", name: str = "some.ovpn"
) -> Path:
    """A profile that can be used, with these lines in it."""
    keys = [("ca", MATERIAL.server.identity.certificate_pem), ("cert", MATERIAL.identity.certificate_pem)]
    keys += [("key", key or MATERIAL.identity.key_pem)]
    path = folder / name
    path.write_text("\n".join(["client", "nobind", remotes, extra, *(block(tag, pem) for tag, pem in keys)]))
    return path


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Status and the only line on standard error."""
    status = run_command(["run", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return status, line


class TestUsage:
    @pytest.mark.parametrize("options", [[], ["--solo"], ["--only", "openvpn"], ["--solo", "--json"]])
    def test_a_peer_or_solo_with_a_profile(self, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
        status, line = error_of(capsys, *options)
        assert status == ExitStatus.USAGE
        assert "name the peer: --peer HOST" in line
        assert "--solo --profile FILE" in line

    def test_a_profile_without_solo_wants_a_peer(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        status, line = error_of(capsys, "--profile", written(tmp_path))
        assert (status, "name the peer" in line) == (ExitStatus.USAGE, True)

    def test_solo_with_ssh(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        status, line = error_of(capsys, "--solo", "--peer", "ssh://host", "--profile", written(tmp_path))
        assert (status, "--solo needs no agent" in line) == (ExitStatus.USAGE, True)


class TestErrors:
    """One line, status 6, and nothing is sent: a folder would be written otherwise."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "some.ovpn"),
            ("client\n", "some.ovpn"),
            ("<ca>\nnever ends\n", "line 1"),
            ("client\nremote a 99999\n", "line 2"),
            ("\0\0\0", "some.ovpn"),
            ("client\nremote 127.0.0.1\n<ca>\nno certificate\n</ca>\n", "some.ovpn"),
        ],
    )
    def test_what_is_no_profile(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "some.ovpn"
        path.write_text(text)
        status, line = error_of(capsys, "--solo", "--profile", path, "-o", tmp_path / "out")
        assert status == ExitStatus.UNREADABLE
        assert said in line
        assert not (tmp_path / "out").exists()

    def test_no_file_and_a_folder(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        for path in (tmp_path / "nowhere.ovpn", tmp_path):
            status, line = error_of(capsys, "--solo", "--profile", path)
            assert (status, str(path) in line) == (ExitStatus.UNREADABLE, True)

    def test_a_key_that_does_not_fit_its_certificate(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = written(tmp_path, key=MATERIAL.server.identity.key_pem)
        status, line = error_of(capsys, "--solo", "--profile", path)
        assert status == ExitStatus.UNREADABLE
        assert "certificate or key cannot be used" in line

    def test_an_encrypted_key_where_nobody_can_be_asked(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        status, line = error_of(capsys, "--solo", "--profile", written(tmp_path, key=locked(b"sesame")))
        assert status == ExitStatus.UNREADABLE
        assert "the passphrase does not fit the private key" in line

    def test_names_with_control_characters_are_made_visible(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        _, line = error_of(capsys, "--solo", "--profile", tmp_path / "a\x1b[2Jb.ovpn")
        assert "\x1b" not in line


class TestTold:
    def told(self, path: Path) -> list[str]:
        lines: list[str] = []
        profile_test_of(path, lines.append)
        return [line.removeprefix(str(path)) for line in lines]

    def test_a_plain_profile_is_no_news(self, tmp_path: Path) -> None:
        (warning,) = self.told(written(tmp_path))
        assert warning.startswith(": where its tunnel is up on another machine, a test may end it")

    def test_options_that_nobody_knows(self, tmp_path: Path) -> None:
        assert ":4: a word of 10 characters is no option of OpenVPN 2: passed over" in self.told(written(tmp_path, "frobnicate 5"))

    def test_what_is_understood_and_not_carried_out(self, tmp_path: Path) -> None:
        told = self.told(written(tmp_path, "crl-verify crl.pem"))
        assert any(line.startswith(":4: ") for line in told), told

    def test_ciphers_that_cannot_be_spoken(self, tmp_path: Path) -> None:
        told = self.told(written(tmp_path, "data-ciphers AES-256-GCM:BF-CBC"))
        assert ": data ciphers that vpnprobe cannot do, so that it ends where the server takes one: BF-CBC" in told

    def test_remotes_beyond_those_that_are_tried(self, tmp_path: Path) -> None:
        remotes = "\n".join(f"remote 127.0.0.1 {1194 + number}" for number in range(MOST_REMOTES + 2))
        first, *_ = self.told(written(tmp_path, remotes=remotes))
        assert first == f": the first {MOST_REMOTES} of {MOST_REMOTES + 2} remotes are tried"


def asked(monkeypatch: pytest.MonkeyPatch, path: Path, typed: str, *, terminal: bool) -> tuple[ProfileTest, str]:
    """The trial, and what was asked for on standard error."""
    trials: list[ProfileTest] = []

    @click.command()
    def command() -> None:
        trials.append(profile_test_of(path, lambda _: None))

    monkeypatch.setattr("vpnprobe.cli.openvpn_profile.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: terminal)))
    done = CliRunner().invoke(command, input=typed, catch_exceptions=False)
    assert "sesame" not in done.output
    return trials[0], done.output


class TestPrompts:
    def test_a_name_and_a_password_are_asked_for(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        profile_test, said = asked(monkeypatch, written(tmp_path, "auth-user-pass"), "alice\nsesame\n", terminal=True)
        assert (profile_test.username, profile_test.password) == ("alice", "sesame")
        assert "User name" in said
        assert "Password of alice" in said

    def test_only_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "user").write_text("alice\n")
        profile_test, said = asked(monkeypatch, written(tmp_path, "auth-user-pass user"), "sesame\n", terminal=True)
        assert (profile_test.username, profile_test.password) == ("alice", "sesame")
        assert "User name" not in said

    def test_nothing_that_is_in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "user").write_text("alice\nsesame\n")
        profile_test, said = asked(monkeypatch, written(tmp_path, "auth-user-pass user"), "", terminal=True)
        assert (profile_test.username, profile_test.password, said) == ("alice", "sesame", "")

    def test_nothing_that_the_profile_does_not_want(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        profile_test, said = asked(monkeypatch, written(tmp_path), "", terminal=True)
        assert (profile_test.username, profile_test.password, profile_test.passphrase, said) == ("", "", None, "")

    def test_the_passphrase_of_a_key(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        profile_test, said = asked(monkeypatch, written(tmp_path, key=locked(b"sesame")), "sesame\n", terminal=True)
        assert profile_test.passphrase == "sesame"
        assert "Passphrase of the private key" in said

    def test_a_passphrase_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "pass").write_text("sesame\n")
        profile_test, said = asked(monkeypatch, written(tmp_path, "askpass pass", key=locked(b"sesame")), "", terminal=True)
        assert (profile_test.passphrase, said) == (None, "")

    def test_without_a_terminal_nobody_is_asked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What is piped in is not taken for an answer."""
        profile_test, said = asked(monkeypatch, written(tmp_path, "auth-user-pass"), "alice\nsesame\n", terminal=False)
        assert (profile_test.username, profile_test.password, said) == ("", "", "")

    def test_what_is_known_is_kept_all_the_same(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "user").write_text("alice\n")
        profile_test, said = asked(monkeypatch, written(tmp_path, "auth-user-pass user"), "", terminal=False)
        assert (profile_test.username, profile_test.password, said) == ("alice", "", "")


@pytest.mark.parametrize(
    ("host", "family", "found"),
    [
        ("127.0.0.1", "", ["127.0.0.1"]),
        ("127.0.0.1", "4", ["127.0.0.1"]),
        ("127.0.0.1", "6", []),
        ("::1", "", ["::1"]),
        ("::1", "6", ["::1"]),
        ("no-such-host.invalid", "", []),
        ("a" * 80 + ".invalid", "", []),
        ("ü" * 70 + ".invalid", "", []),
        ("..", "", []),
    ],
)
def test_addresses(host: str, family: str, found: list[str]) -> None:
    assert asyncio.run(_addresses(host, family)) == [ip_address(text) for text in found]


async def _addresses(host: str, family: str) -> list[object]:
    return list(await addresses_of(host, family))


class TestAlone:
    """`--solo --profile`: the profile is all there is."""

    def ran(self, capsys: pytest.CaptureFixture[str], *options: str | Path) -> tuple[int, str, str]:
        status = run_command(["run", "--solo", *map(str, options)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    @pytest.mark.parametrize("transports", [["tcp"], ["udp", "tcp"]])
    def test_only_the_profiles_transports_are_judged(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, transports: list[str]
    ) -> None:
        remotes = "\n".join(f"remote 127.0.0.1 {free_port()} {transport}" for transport in transports)
        _, out, err = self.ran(capsys, "--profile", written(tmp_path, remotes=remotes), "--json", "-o", tmp_path / "out")
        document = json.loads(out)
        assert [verdict["protocol"] for verdict in document["verdicts"]] == [f"openvpn-{transport}" for transport in transports]
        assert {row["probe"] for row in document["observations"]} - {"path", "nat"} <= {"openvpn", "udp", "tcp"}
        rows = [row for row in document["observations"] if row["check"] == "reset"]
        assert {row["detail"]["failure"] for row in rows} == {"port-refused"}
        assert err.splitlines()[1] == f"probing {tmp_path / 'some.ovpn'} with openvpn"

    def test_a_name_that_is_not_known_ends_no_run(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = written(tmp_path, remotes="remote no-such-host.invalid 1194 tcp")
        _, out, _ = self.ran(capsys, "--profile", path, "--json", "-o", tmp_path / "out")
        document = json.loads(out)
        assert document["complete"]
        assert {row["detail"].get("failure") for row in document["observations"] if row["check"] == "reset"} == {"name-not-resolved"}

    def test_unknown_options_go_to_standard_error(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = written(tmp_path, "frobnicate 5", remotes=f"remote 127.0.0.1 {free_port()} tcp")
        _, out, err = self.ran(capsys, "--profile", path, "--json", "-o", tmp_path / "out")
        assert json.loads(out)["complete"]
        assert err.splitlines()[0] == f"{path}:4: a word of 10 characters is no option of OpenVPN 2: passed over"

    def test_quiet_passes_over_them_in_silence(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = written(tmp_path, "frobnicate 5", remotes=f"remote 127.0.0.1 {free_port()} tcp")
        _, _, err = self.ran(capsys, "--profile", path, "--quiet", "-o", tmp_path / "out")
        assert err == ""

    def test_no_secret_is_written(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "user").write_text("alice-in-chains\ngeheimes-wort\n")
        path = written(tmp_path, "auth-user-pass user", remotes=f"remote 127.0.0.1 {free_port()} tcp")
        _, out, err = self.ran(capsys, "--profile", path, "--json", "-o", tmp_path / "out")
        files = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
        for text in (out.encode(), err.encode(), *files):
            assert b"geheimes-wort" not in text
            assert MATERIAL.identity.key_pem.splitlines()[1] not in text


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    """Nothing is waited for on a pipe."""
    path = written(tmp_path, "auth-user-pass", remotes=f"remote 127.0.0.1 {free_port()} tcp")
    command = [*PROGRAM, "run", "--solo", "--profile", str(path), "-o", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, input="", check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert "User name" not in done.stderr
    assert "OpenVPN over TCP" in done.stdout
    assert (tmp_path / "out" / "result.json").exists()
