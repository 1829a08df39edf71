"""Clients of OpenVPN with a profile's own identity, in a /proc of the tests' own: whose profile is found, and how."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running_support import FakeProc

from vpnprobe.endpoint import openvpn_running
from vpnprobe.endpoint.openvpn_running import (
    HIDDEN,
    MOST_SHOWN,
    MOST_UNTOLD,
    NOT_HERE,
    TOO_SLOW,
    search_openvpn,
)
from vpnprobe.lab.openvpn_pki import Algorithm, Authority
from vpnprobe.profiles.model import Management, Profile
from vpnprobe.profiles.ovpn import read_profile

Found = tuple[list[str], list[str]]


class Machine:
    """A user's profile in a folder, and processes."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder / "vpn"
        self.folder.mkdir()
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.proc = FakeProc(folder / "proc")
        self.authority = authority
        client = authority.client()
        (self.folder / "client.crt").write_bytes(client.certificate_pem)
        (self.folder / "client.key").write_bytes(client.key_pem)
        (self.folder / "ca.crt").write_bytes(authority.pem)
        (self.folder / "user").write_text("anna\nsecret\n")
        self.by_certificate = "client\nremote vpn.example.net\nca ca.crt\ncert client.crt\nkey client.key\n"
        self.by_user = "client\nremote vpn.example.net\nca ca.crt\nauth-user-pass user\n"

    def profile(self, text: str, name: str = "office.ovpn") -> Profile:
        (self.folder / name).write_text(text)
        return read_profile(self.folder / name)

    def found(self, profile: Profile) -> Found:
        search = search_openvpn(profile, proc=self.proc.path)
        return [tunnel.what for tunnel in search.tunnels], list(search.untold)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"), Algorithm.EC)


@pytest.fixture
def machine(tmp_path: Path, authority: Authority) -> Machine:
    return Machine(tmp_path, authority)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (lambda machine: ("office.ovpn",), "office.ovpn"),
        (lambda machine: ("--config", "office.ovpn", "--verb", "3"), "office.ovpn"),
        (lambda machine: ("--daemon", "--cd", str(machine.folder), "--config", "./office.ovpn"), "./office.ovpn"),
        (lambda machine: ("--verb", "3", "--config", f"{machine.folder}/office.ovpn"), "{}/office.ovpn"),
        (lambda machine: ("--config", f"{machine.elsewhere}/link"), "{}/../elsewhere/link"),
        (lambda machine: ("--config", f"{machine.elsewhere}/outer"), "{}/../elsewhere/outer"),
    ],
    ids=["one word", "an option", "as Debian's unit", "whole", "by a link", "by another profile"],
)
def test_the_same_file(machine: Machine, arguments: Callable[[Machine], tuple[str, ...]], named: str) -> None:
    profile = machine.profile(machine.by_certificate)
    (machine.elsewhere / "link").symlink_to(machine.folder / "office.ovpn")
    (machine.elsewhere / "outer").write_text(f"config {machine.folder}/office.ovpn\n")
    machine.proc.process(41, "/usr/sbin/openvpn", *arguments(machine), cwd=machine.folder)
    ((what,), untold) = machine.found(profile)
    assert os.path.normpath(what) == os.path.normpath(f"the openvpn process 41 with this profile ({named.format(machine.folder)})")
    assert untold == []


def test_a_copy_by_its_certificate(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    (machine.elsewhere / "copy.conf").write_text(machine.by_certificate.replace("vpn.example.net", "192.0.2.7"))
    (machine.elsewhere / "client.crt").write_bytes((machine.folder / "client.crt").read_bytes())
    machine.proc.process(41, "openvpn", "--config", "copy.conf", cwd=machine.elsewhere)
    (machine.elsewhere / "other.crt").write_bytes(machine.authority.server().certificate_pem)
    machine.proc.process(42, "openvpn", "--config", "copy.conf", "--cert", "other.crt", cwd=machine.elsewhere)
    assert machine.found(profile) == (["the openvpn process 41 with this profile's certificate (copy.conf)"], [])


def test_in_a_container_the_files_are_its_own(machine: Machine, tmp_path: Path) -> None:
    profile = machine.profile(machine.by_certificate)
    root = tmp_path / "root"
    (root / "etc/openvpn").mkdir(parents=True)
    (root / "etc/openvpn/client.crt").write_bytes((machine.folder / "client.crt").read_bytes())
    (root / "etc/openvpn/c.conf").write_text("client\nremote 192.0.2.7\ncert /etc/openvpn/client.crt\n")
    machine.proc.process(41, "openvpn", "/etc/openvpn/c.conf", root=root, cwd=root)
    machine.proc.process(42, "openvpn", str(machine.folder / "office.ovpn"), root=root, cwd=root)
    assert machine.found(profile) == (
        ["the openvpn process 41 with this profile's certificate (/etc/openvpn/c.conf)"],
        [f"the openvpn process 42, whose profile cannot be read ({machine.folder}/office.ovpn)"],
    )


def of_network_manager(*arguments: str) -> tuple[str, ...]:
    """As its plugin starts it, shortened."""
    manager = ("--management", "/var/run/NetworkManager/nm-openvpn-0c21", "unix", "--management-query-passwords", "--management-hold")
    return ("/usr/sbin/openvpn", "--remote", "vpn.example.net", "1194", "udp", "--nobind", "--dev", "tun", *arguments, *manager, "--client")


def test_of_network_manager(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    machine.proc.process(41, *of_network_manager("--cert", str(machine.folder / "client.crt"), "--key", str(machine.folder / "client.key")))
    machine.proc.process(42, *of_network_manager("--cert", "/nonexistent.crt"))
    machine.proc.process(43, *of_network_manager("--auth-user-pass"))
    assert machine.found(profile) == (
        ["the openvpn process 41 with this profile's certificate (NetworkManager)"],
        ["the openvpn process 42 to the same server, whose certificate cannot be compared (NetworkManager)"],
    )
    assert machine.found(machine.profile(machine.by_user)) == (
        [],
        ["the openvpn process 43 to the same server, whose user name cannot be compared (NetworkManager)"],
    )


def test_without_a_certificate_by_server_and_user_name(machine: Machine) -> None:
    profile = machine.profile(machine.by_user)
    for pid, (name, text) in enumerate([("same", machine.by_user), ("to", machine.by_user.replace("vpn", "vpn2"))], start=41):
        (machine.folder / name).write_text(text)
        machine.proc.process(pid, "openvpn", name, cwd=machine.folder)
    assert machine.found(profile) == (["the openvpn process 41 with this profile's server and user name (same)"], [])


def test_what_cannot_be_read_counts_where_its_name_may_be_this_files(machine: Machine) -> None:
    """As without root, and as of one that became a daemon, which leaves its folder."""
    profile = machine.profile(machine.by_certificate)
    machine.proc.process(41, "openvpn", "office.ovpn")
    machine.proc.process(42, "openvpn", "--daemon", "--config", "vpn/office.ovpn", cwd=Path("/"))
    machine.proc.process(43, "openvpn", "other/office.ovpn")
    machine.proc.process(44, "openvpn", "/root/office.ovpn")
    machine.proc.process(45, "openvpn", "--config", "stdin")
    machine.proc.process(46, "openvpn", "/dev/stdin")
    tunnels, untold = machine.found(profile)
    assert tunnels == [
        "the openvpn process 41, whose profile has this one's name and cannot be read (office.ovpn)",
        "the openvpn process 42, whose profile has this one's name and cannot be read (vpn/office.ovpn)",
    ]
    names = {43: "other/office.ovpn", 44: "/root/office.ovpn", 45: "stdin", 46: "/dev/stdin"}
    assert untold == [f"the openvpn process {pid}, whose profile cannot be read ({name})" for pid, name in names.items()]


def test_without_root_units_and_whole_names_are_found(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvpn_running, "FOLDERS", (str(machine.folder),))
    profile = machine.profile(machine.by_certificate, "office.conf")
    machine.proc.process(41, "/usr/sbin/openvpn", "--suppress-timestamps", "--nobind", "--config", "office.conf")
    (machine.folder / "copy").write_text(machine.by_certificate)
    machine.proc.process(42, "openvpn", str(machine.folder / "copy"))
    assert machine.found(profile) == (
        [
            "the openvpn process 41 with this profile (office.conf)",
            f"the openvpn process 42 with this profile's certificate ({machine.folder}/copy)",
        ],
        [],
    )


def test_what_is_no_client_is_none(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    (machine.folder / "server.conf").write_text("server 10.8.0.0 255.255.255.0\ncert client.crt\n")
    for pid, arguments in enumerate(
        [
            ("openvpn",),
            ("openvpn", "--version"),
            ("openvpn", "--genkey", "secret", "office.ovpn"),
            ("openvpn", "--config", "server.conf"),
            ("openvpn", "--config", "unreadable.conf", "--mode", "server"),
            ("/usr/bin/python3", "-m", "vpnprobe", "run", "--profile", "office.ovpn"),
            ("sudo", "openvpn", "office.ovpn"),
        ],
        start=41,
    ):
        machine.proc.process(pid, *arguments, cwd=machine.folder)
    assert machine.found(profile) == ([], [])


def test_what_a_client_forks_is_not_told_again(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    for pid, parent in ((41, 1), (42, 41), (43, 42), (44, 1)):
        machine.proc.process(pid, "openvpn", "office.ovpn", cwd=machine.folder, parent=parent)
    assert machine.found(profile)[0] == [f"the openvpn process {pid} with this profile (office.ovpn)" for pid in (41, 44)]


def test_profiles_that_name_each_other_come_to_an_end(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    (machine.folder / "a").write_text("config b\nconfig b\n")
    (machine.folder / "b").write_text("config a\nconfig a\nremote vpn.example.net\n")
    machine.proc.process(41, "openvpn", "a", cwd=machine.folder)
    assert machine.found(profile) == ([], [])


def test_sessions_of_openvpn_3_do_not_show_whose_they_are(machine: Machine) -> None:
    machine.proc.process(41, "/usr/libexec/openvpn3-linux/openvpn3-service-client", "abc")
    assert machine.found(machine.profile(machine.by_certificate)) == (
        [],
        ["an OpenVPN 3 session (process 41), whose profile does not show"],
    )


def test_what_listens_at_the_management_address(machine: Machine) -> None:
    managed = machine.by_certificate + "management 127.0.0.1 7505\n"
    profile = machine.profile(managed)
    assert machine.found(profile) == ([], [])
    address = int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder)
    machine.proc.table("tcp", f"0: {address:08X}:{7505:04X} 00000000:0000 0A")
    assert machine.found(profile) == (["a program that listens at the profile's management address 127.0.0.1:7505"], [])
    machine.proc.table("unix", "0: 00000002 00000000 00010000 0001 01 41 /run/office.sock")
    by_path = replace(profile, management=Management("/run/office.sock", None))
    assert machine.found(by_path) == (["a program that listens at the profile's management address /run/office.sock"], [])
    # The client itself says more.
    machine.proc.process(41, "openvpn", "office.ovpn", cwd=machine.folder)
    assert machine.found(profile) == (["the openvpn process 41 with this profile (office.ovpn)"], [])


def test_what_cannot_be_told_here(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = machine.profile(machine.by_certificate)
    assert search_openvpn(profile, proc=tmp_path / "none").untold == (NOT_HERE,)
    (machine.proc.path / "1/cmdline").unlink()
    assert machine.found(profile) == ([], [HIDDEN])
    monkeypatch.setattr(openvpn_running, "SEARCH_S", -1.0)
    assert machine.found(profile) == ([], [TOO_SLOW, HIDDEN])


def test_names_cannot_rewrite_a_terminal(machine: Machine) -> None:
    machine.proc.process(41, "openvpn", "\x1b[2J\udcff.ovpn")
    assert machine.found(machine.profile(machine.by_certificate))[1] == [
        "the openvpn process 41, whose profile cannot be read (?[2J?.ovpn)"
    ]


def test_among_many_clients_of_others_ones_own_is_found(machine: Machine) -> None:
    """Anybody may start processes of that name, and a machine of many users runs hundreds."""
    profile = machine.profile(machine.by_certificate)
    for pid in range(41, 341):
        machine.proc.process(pid, "openvpn", "--show-ciphers", str(pid))
    assert machine.found(profile) == ([], [])
    machine.proc.process(900, "openvpn", "office.ovpn", cwd=machine.folder)
    assert machine.found(profile) == (["the openvpn process 900 with this profile (office.ovpn)"], [])


def test_many_that_cannot_be_told_are_counted(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    for pid in range(41, 41 + MOST_UNTOLD + 5):
        machine.proc.process(pid, "openvpn", f"other-{pid}.ovpn")
    found, untold = machine.found(profile)
    assert (found, len(untold), untold[-1]) == ([], MOST_UNTOLD + 1, "5 openvpn processes more")


def test_of_a_long_command_line_the_beginning_is_told(machine: Machine) -> None:
    profile = machine.profile(machine.by_certificate)
    machine.proc.process(41, "openvpn", "--config", "x" * 9000)
    assert machine.found(profile) == ([], [f"the openvpn process 41, whose profile cannot be read ({'x' * MOST_SHOWN})"])
