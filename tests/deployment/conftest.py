"""Servers below a temporary root; in a network namespace of their own where the kernel is touched; and the hosts around one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment_support import Server, namespace
from firewall_support import Hosts

from vpnprobe.deployment import supervise


@pytest.fixture(autouse=True)
def no_hooks_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Files alone: plans for it may have no sysctl."""
    one = Server(tmp_path / "root")
    one.fill()
    yield one
    supervise.stop(one.root / "run/vpnprobe", "server")


@pytest.fixture
def namespaced(tmp_path: Path) -> Iterator[Server]:
    """With a ruleset and sysctls of its own."""
    with namespace(f"vpdep{os.getpid()}") as name:
        one = Server(tmp_path / "root", name)
        one.fill()
        one.boot()
        yield one
        supervise.stop(one.root / "run/vpnprobe", "server")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Four hosts; the server's files are below `tmp_path/root`."""
    root = tmp_path / "root"
    root.mkdir()
    with Hosts(f"vpfw{os.getpid()}", root) as built:
        yield built
