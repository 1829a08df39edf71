"""Interfaces of the real wireguard-go that are up with a profile's own key."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from conftest import started
from real_support import WITHOUT_ROOT

from vpnprobe.lab.daemons import Daemon
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.wireguard_peers import PeerConfig, wireguard_peer
from vpnprobe.transports.topology import CLIENT
from vpnprobe.wire.wireguard_noise import public_key

pytestmark = [pytest.mark.root, pytest.mark.real]

PRIVATE = os.urandom(32)
KEY = public_key(PRIVATE)
OWN, THEIRS = IPv4Address("10.95.7.2"), IPv4Address("10.95.7.1")
WITHOUT_WG = ("env", "PATH=/nonexistent", sys.executable)
UNREAD = "cannot be read (that takes root and the program wg)"
SEARCH = """
import json, sys
from pathlib import Path
from vpnprobe.endpoint.wireguard_running import search_wireguard
found = search_wireguard(bytes.fromhex(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps([[tunnel.what for tunnel in found.tunnels], found.untold]))
"""
Found = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def interface(clean_lab: Lab) -> Iterator[Daemon]:
    """`tunnel`, on the client's host, up."""
    config = PeerConfig(PRIVATE, public_key(os.urandom(32)), OWN, THEIRS, 51820)
    with started(wireguard_peer(clean_lab, config, host=CLIENT)) as daemon:
        yield daemon


def at_its_host(daemon: Daemon, *command: str) -> str:
    """What a command prints where the daemon is: its network, its files, its processes."""
    (first,) = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    whole = ["nsenter", f"--target={first}", "--net", "--mount", "--pid", "--root", *command]
    return subprocess.run(whole, capture_output=True, text=True, check=True, timeout=60).stdout


def searched(daemon: Daemon, *, key: bytes = KEY, file: str = "office.conf", program: Sequence[str] = (sys.executable,)) -> Found:
    tunnels, untold = json.loads(at_its_host(daemon, *program, "-P", "-W", "error", "-c", SEARCH, key.hex(), file))
    return tunnels, untold


@pytest.mark.parametrize("program", [(sys.executable,), WITHOUT_WG], ids=["by wg", "by its socket"])
def test_an_interface_with_the_key_is_found_while_it_is_up(interface: Daemon, program: Sequence[str]) -> None:
    assert searched(interface, program=program) == (["interface tunnel with this profile's key"], [])
    assert searched(interface, key=public_key(os.urandom(32)), program=program) == ([], [])
    at_its_host(interface, "ip", "link", "set", "tunnel", "down")
    try:
        assert searched(interface, program=program) == ([], [])
    finally:
        at_its_host(interface, "ip", "link", "set", "tunnel", "up")


def test_without_root_the_name_of_the_file_counts(interface: Daemon) -> None:
    as_nobody = (*WITHOUT_ROOT, sys.executable)
    named = searched(interface, file="tunnel.conf", program=as_nobody)
    assert named == ([f"interface tunnel, which has this profile's name and a key that {UNREAD}"], [])
    assert searched(interface, program=as_nobody) == ([], [f"interface tunnel, whose key {UNREAD}"])
