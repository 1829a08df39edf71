"""What a server is like: by reading alone."""

import socket
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from vpnprobe.deployment import host
from vpnprobe.deployment.host import SSH_PORT, control_ports, inspect_host, is_own, is_server_of, is_taken, openvpn_version
from vpnprobe.deployment.undoing import find_program
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Mode, Result, Run, Transport

RESULT = Result(Run("a", Mode.PAIRED, "2026-11-29T00:00:00Z", 1.0, "0", server={"address": "198.51.100.3"}), (), (), None)


@pytest.mark.parametrize(
    ("kind", "transport"), [(socket.SOCK_DGRAM, Transport.UDP), (socket.SOCK_STREAM, Transport.TCP)], ids=["udp", "tcp"]
)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_is_taken_whichever_address_it_is_taken_at(kind: socket.SocketKind, transport: Transport, address: str) -> None:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            one.listen(1)
        port = one.getsockname()[1]
        assert is_taken(transport, port)
    assert not is_taken(transport, port)


def script(folder: Path, text: str) -> str:
    file = folder / "openvpn"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_versions_are_those_that_the_program_tells(tmp_path: Path) -> None:
    assert openvpn_version(script(tmp_path, "echo 'OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL]'; exit 1")) == (2, 6)
    with pytest.raises(CannotRun, match="does not tell its version"):
        openvpn_version(script(tmp_path, "echo nothing"))
    with pytest.raises(CannotRun, match="cannot be run") as caught:
        openvpn_version(str(tmp_path / "none"))
    assert caught.value.status is ExitStatus.MISSING


def test_ports_by_which_the_server_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 198.51.100.3 2222")
    assert control_ports() == (2222, SSH_PORT)
    monkeypatch.setenv("SSH_CONNECTION", "nonsense")
    assert control_ports() == (SSH_PORT,)
    monkeypatch.delenv("SSH_CONNECTION")
    assert control_ports() == (SSH_PORT,)


def test_whose_result_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_addresses", lambda: iter([ip_interface("198.51.100.3/24"), ip_interface("2001:db8::1/64")]))
    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    assert is_own("198.51.100.3")
    assert is_own("2001:db8::1")
    assert not is_own("198.51.100.4")
    assert not is_own("vpn.example.net")
    assert is_server_of(RESULT)
    assert not is_server_of(replace(RESULT, run=replace(RESULT.run, server={"address": "198.51.100.4"})))
    assert not is_server_of(replace(RESULT, run=replace(RESULT.run, server=None)))
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    assert not is_server_of(RESULT)


def test_a_user_without_privilege_is_told_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    with pytest.raises(CannotRun, match="as root") as caught:
        inspect_host(Path("/"))
    assert caught.value.status is ExitStatus.MISSING


def test_a_program_and_a_device_that_are_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "find_program", lambda name: None)
    with pytest.raises(CannotRun, match="openvpn is not installed: apt install openvpn"):
        inspect_host(Path("/"))
    monkeypatch.setattr(host, "find_program", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(host, "TUN", "/nonexistent/tun")
    with pytest.raises(CannotRun, match="makes no tunnel devices"):
        inspect_host(Path("/"))


def test_programs_of_servers_are_found_though_path_lacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_program("sh") in ("/bin/sh", "/usr/bin/sh")
    assert find_program("no-such-program") is None
