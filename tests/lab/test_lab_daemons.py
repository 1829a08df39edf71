"""Daemons that cannot be had: one line, and nothing left. What they do when they can is in tests/real."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab import daemons
from vpnprobe.lab.daemons import Daemon, openvpn, pptpd, strongswan, xl2tpd
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.transports.topology import SERVER, Topology


@pytest.mark.parametrize(("start", "package"), [(openvpn, "openvpn"), (pptpd, "pptpd"), (xl2tpd, "xl2tpd"), (strongswan, "strongswan-")])
def test_a_missing_program_is_one_line_with_its_package(
    start: Callable[[Lab], AbstractContextManager[Daemon]], package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(daemons, "_SEARCH", str(tmp_path))
    with pytest.raises(CannotRun, match=f"is missing: sudo apt install {package}") as caught, start(Lab(Topology())):
        pass
    assert caught.value.status is ExitStatus.MISSING


@pytest.fixture
def lab() -> Iterator[Lab]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with Lab(Topology(routers=1), f"vplab-daemons-{os.getpid()}") as built:
        yield built


@pytest.mark.root
def test_a_daemon_that_ends_at_once_is_one_line_with_its_last_words(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "pptpd"
    program.write_text("#!/bin/sh\necho starting\necho no such option\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(daemons, "_SEARCH", f"{tmp_path}:{daemons._SEARCH}")
    with pytest.raises(CannotRun, match="pptpd ended at once: no such option") as caught, pptpd(lab):
        pass
    assert caught.value.status is ExitStatus.NO_PEER
    assert lab.processes(SERVER) == []


@pytest.mark.root
def test_a_daemon_that_never_listens_is_given_up_and_ended_with_all_that_it_forked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "pptpd"
    program.write_text("#!/bin/sh\ntrap '' TERM\nsetsid sleep 100 &\necho waiting\nsleep 100\n")
    program.chmod(0o755)
    monkeypatch.setattr(daemons, "_SEARCH", f"{tmp_path}:{daemons._SEARCH}")
    monkeypatch.setattr(daemons, "START_DEADLINE_S", 0.3)
    monkeypatch.setattr(daemons, "STOP_DEADLINE_S", 0.3)
    with pytest.raises(CannotRun, match="pptpd does not listen: waiting"), pptpd(lab):
        pass
    assert lab.processes(SERVER) == []
