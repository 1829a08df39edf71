"""Which program has a port, by /proc as it is: this very process, and nobody where nobody has it."""

import asyncio
import socket
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from vpnprobe.firewall.mending import Kept, Mends
from vpnprobe.transports.stack import LocalPort
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.system import stack as module
from vpnprobe.transports.system.holders import holders

OWN: Final = Path("/proc/self/comm").read_text().strip()


def test_the_program_behind_a_port_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.create_server(("127.0.0.1", 0)) as listener:
        datagrams.bind(("127.0.0.1", 0))
        udp, tcp = LocalPort(datagrams.getsockname()[1], tcp=False), LocalPort(listener.getsockname()[1], tcp=True)
        assert asyncio.run(SystemStack().holders([udp, tcp])) == {udp: OWN, tcp: OWN}


def test_over_ipv6_too() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("::1", 0))
        port = LocalPort(datagrams.getsockname()[1], tcp=False)
        assert holders([port]) == {port: OWN}


def test_what_is_connected_and_does_not_listen_has_no_port_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        assert holders([LocalPort(client.getsockname()[1], tcp=True)]) == {}


def test_what_does_not_show_is_nobodys(tmp_path: Path) -> None:
    """No /proc, a process that has ended, one that may not be looked into, and lines that are none."""
    port = LocalPort(1194, tcp=False)
    assert holders([port], proc=tmp_path / "none") == {}
    net = tmp_path / "thread-self/net"
    net.mkdir(parents=True)
    (net / "udp").write_text("head\n  1: 00000000:04AA 00000000:0000 07 0:0 0:0 0 0 0 77 2 0 0\nshort\n")
    (tmp_path / "12").mkdir()
    (tmp_path / "13/fd").mkdir(parents=True)
    (tmp_path / "13/fd/4").symlink_to("socket:[77]")
    assert holders([port], proc=tmp_path) == {}
    (tmp_path / "13/comm").write_text("openvpn\n")
    assert holders([port], proc=tmp_path) == {port: "openvpn"}


def test_a_host_that_keeps_nothing_has_no_command_for_it() -> None:
    kept = Kept(False, "udp", 1194)
    assert kept not in asyncio.run(SystemStack().own_firewall([kept], ip_address("127.0.0.1"))).commands


def test_a_look_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = threading.Event()

    def slow(*_: object) -> Mends:
        looking.wait(30)
        return Mends("ufw")

    monkeypatch.setattr(module, "own_firewall", slow)
    monkeypatch.setattr(module, "_LOOKING_S", 0.01)

    async def story() -> Mends:
        try:
            return await SystemStack().own_firewall([], ip_address("127.0.0.1"))
        finally:
            looking.set()

    assert asyncio.run(story()) == Mends()
