"""`--profile` with a WireGuard profile: what it is, what is passed over, and what cannot be used."""

from pathlib import Path

import pytest

from vpnprobe.cli import run_command
from vpnprobe.cli.profiles import existing_server
from vpnprobe.errors import ExitStatus
from vpnprobe.probes.existing_server import MOST_REMOTES
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest
from vpnprobe.wire.wireguard_noise import key_text, public_key

OWN, THEIRS = (key_text(key) for key in (bytes(range(32)), public_key(bytes(range(1, 33)))))
PEER = f"[Peer]\nPublicKey = {THEIRS}\nAllowedIPs = 0.0.0.0/0\nEndpoint = 127.0.0.1:9\n"
PROFILE = f"[Interface]\nPrivateKey = {OWN}\nAddress = 10.8.0.2/24\n{PEER}"


def written(folder: Path, text: str = PROFILE) -> Path:
    file = folder / "wg0.conf"
    file.write_text(text)
    return file


def test_a_profile_with_sections_is_wireguards(tmp_path: Path) -> None:
    told: list[str] = []
    found = existing_server(written(tmp_path), told.append)
    assert isinstance(found, WireguardProfileTest)
    assert (found.probe, found.protocols, [remote.port for remote in found.remotes]) == ("wireguard", ("wireguard",), [9])
    assert found.file == str(tmp_path / "wg0.conf")


def test_one_without_is_openvpns(tmp_path: Path) -> None:
    text = "client\nremote 127.0.0.1 1194\npeer-fingerprint " + ":".join(["ab"] * 32) + "\nauth-user-pass\n"
    assert isinstance(existing_server(written(tmp_path, text), lambda _: None), ProfileTest)


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    text = PROFILE.replace("Address", "PostUp = rm -rf /\nJc = 3\nColour = blue\nAddress") + PEER * MOST_REMOTES
    existing_server(written(tmp_path, text), told.append)
    file = str(tmp_path / "wg0.conf")
    assert told == [
        f"{file}:3: PostUp is a command of the profile, and none is run",
        f"{file}:4: Jc is AmneziaWG's, whose junk packets are not supported: none are sent",
        f"{file}:5: Colour is no key of WireGuard: passed over, and wg refuses a file that has it",
        f"{file}: the first {MOST_REMOTES} of {MOST_REMOTES + 1} peers are tried",
        told[-1],
    ]
    assert told[-1].startswith(f"{file}: where its tunnel is up on another machine, a test takes its place at the server")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PROFILE.replace(THEIRS, THEIRS[:-3]), "line 5: PublicKey is no base64 of 32 bytes"),
        (PROFILE.replace(THEIRS, key_text(bytes(32))), "line 4: PublicKey is no key that a secret can be agreed with"),
        (PROFILE.split("[Peer]", maxsplit=1)[0], "has no [Peer] section"),
        (PROFILE.replace("0.0.0.0/0", "0.0.0.0/zero"), "line 6: AllowedIPs '0.0.0.0/zero' is no network"),
        (PROFILE.replace("10.8.0.2/24", "here"), "line 3: Address 'here' is no address"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str) -> None:
    status = run_command(["run", "--solo", "--profile", str(written(tmp_path, text))])
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert (status, out) == (ExitStatus.UNREADABLE, "")
    assert line.startswith("error: ")
    assert problem in line
    assert OWN not in line
