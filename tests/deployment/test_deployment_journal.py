"""What is written before a step, in which order it is on the disk, and by one program at a time."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from deployment_support import NO_HOOKS, Server, file, folder, plan_of

from vpnprobe.deployment import effects, journal
from vpnprobe.deployment.apply import apply_plan
from vpnprobe.deployment.journal import opened
from vpnprobe.deployment.rollback import COPIED, read_journal
from vpnprobe.errors import CannotRun, ExitStatus, UsageError


def test_it_is_for_its_owner_alone(server: Server) -> None:
    apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
    assert stat.S_IMODE(server.journal.stat().st_mode) == 0o700
    assert {name: (server.journal / name).read_bytes() for name in COPIED} == {
        name: Path(effects.__file__).with_name(name).read_bytes() for name in COPIED
    }
    (server.journal).chmod(0o755)
    with (
        pytest.raises(CannotRun, match=r"must belong to user 0 alone \(mode 0700\)" if os.geteuid() == 0 else "alone"),
        opened(server.root),
    ):
        pass


def test_all_is_on_the_disk_before_a_step_is_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each file that a step's entry needs: written, synced, its folder synced; then the entry, synced; then the step."""
    events: list[str] = []
    real_fsync, real_take = os.fsync, effects.take

    def fsync(handle: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{handle}").removeprefix(f"{server.journal}"))
        real_fsync(handle)

    def take(step: Any, *rest: Any, **named: Any) -> None:
        events.append(f"take {step.id}")
        real_take(step, *rest, **named)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("vpnprobe.deployment.apply.take", take)
    apply_plan(plan_of(folder("/etc/new"), file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
    place = events.index("take etc-host.conf")
    assert events[place - 4 : place] == ["/journal.jsonl", "/saved/1-1-new", "/saved", "/journal.jsonl"]
    begin = events.index("/plans/1.json-new")
    assert events[begin : begin + 3] == ["/plans/1.json-new", "/plans", "/journal.jsonl"]
    assert events[:begin].count("") >= 2, "the folder itself"


def test_two_at_once_are_one_after_the_other(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_WITHIN_S", 0.1)
    with opened(server.root):
        with pytest.raises(UsageError, match="another vpnprobe is working on this server") as raised:
            apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
        assert raised.value.status is ExitStatus.REFUSED
        assert "\n" not in str(raised.value)


def test_it_goes_again_where_nothing_was_written(server: Server) -> None:
    with opened(server.root):
        assert server.journal.is_dir()
    assert not (server.root / "var").exists()


def test_where_it_cannot_be_written_nothing_is_changed(server: Server) -> None:
    (server.root / "var").write_text("a file")
    with pytest.raises(CannotRun) as raised:
        apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
    assert raised.value.status is ExitStatus.UNWRITABLE
    assert (server.root / "etc/host.conf").read_text() == "old\n"


def test_transactions_are_numbered(server: Server) -> None:
    for content in (b"1", b"2"):
        apply_plan(plan_of(file("/etc/host.conf", content)), root=server.root, hooks=NO_HOOKS)
    assert [(one.number, one.confirmed) for one in read_journal(server.journal)] == [(1, True), (2, True)]


def test_who_is_not_root_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    problem = journal.unwritable(server.root, PermissionError(13, "Permission denied", "/var/lib/vpnprobe"))
    assert str(problem) == "/var/lib/vpnprobe belongs to root: run it as root (sudo)"
    assert problem.status is ExitStatus.MISSING
