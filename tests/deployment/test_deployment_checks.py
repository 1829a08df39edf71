"""What stands in the way before anything is done: one line, the right status, nothing changed."""

import os
from pathlib import Path

import pytest
from deployment_support import NO_HOOKS, Server, command, daemon, file, files_of, folder, plan_of

from vpnprobe.deployment.apply import apply_plan
from vpnprobe.deployment.checks import Precondition
from vpnprobe.deployment.effects import digest_of
from vpnprobe.deployment.steps import ABSENT, AnyStep, Command, Plan, RunCommand, SetSysctl
from vpnprobe.errors import CannotRun, ExitStatus, UsageError


def refused(server: Server, plan: Plan, match: str, *, status: ExitStatus = ExitStatus.REFUSED) -> list[str]:
    """What is told besides."""
    before, told = files_of(server.root), list[str]()
    with pytest.raises((UsageError, CannotRun), match=match) as raised:
        apply_plan(plan, root=server.root, hooks=NO_HOOKS, tell=told.append)
    assert raised.value.status is status
    assert "\n" not in str(raised.value)
    assert "nothing was changed" in str(raised.value)
    assert files_of(server.root) == before
    assert not (server.root / "var").exists()
    return told


def test_a_file_that_somebody_has_changed_since(server: Server) -> None:
    plan = plan_of(file("/etc/host.conf", before=digest_of(server.root, "/etc/host.conf")), file("/etc/new", before=ABSENT))
    (server.root / "etc/host.conf").write_text("by hand\n")
    told = refused(server, plan, "/etc/host.conf was changed since the plan was made: make the plan again")
    assert told == ["--- /etc/host.conf", "+++ /etc/host.conf", "@@ -1 +1 @@", "-by hand", "+new"]


def test_a_file_that_is_there_now(server: Server) -> None:
    (server.root / "etc/key").write_text("theirs")
    told = refused(server, plan_of(file("/etc/key", b"ours", mode=0o600, secret=True, before=ABSENT)), "/etc/key was changed")
    assert "theirs" not in "".join(told)
    assert "ours" not in "".join(told)


def test_a_file_that_has_gone_since(server: Server) -> None:
    plan = plan_of(file("/etc/host.conf", before=digest_of(server.root, "/etc/host.conf")))
    (server.root / "etc/host.conf").unlink()
    refused(server, plan, "/etc/host.conf was changed since")


def test_what_is_as_it_shall_be_was_not_changed(server: Server) -> None:
    (server.root / "etc/key").write_text("new\n")
    assert apply_plan(plan_of(file("/etc/key", before=ABSENT)), root=server.root, hooks=NO_HOOKS).transaction is None


def test_another_host(server: Server) -> None:
    (server.root / "etc/hostname").write_text("this\n")
    refused(server, plan_of(file("/etc/x"), host={"hostname": "that"}), "it was made for that, and this is this")


def test_no_such_root(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        apply_plan(plan_of(file("/etc/x")), root=tmp_path / "none", hooks=NO_HOOKS)


@pytest.mark.parametrize(
    "step",
    [
        RunCommand(id="x", why="w", command=Command(argv=("no-such-program",)), undo=()),
        RunCommand(id="x", why="w", command=Command(argv=("true",)), undo=(), done_when=Command(argv=("no-such-program",))),
        daemon("/etc", argv=("no-such-program",)),
    ],
)
def test_a_program_that_is_missing(server: Server, step: AnyStep) -> None:
    refused(server, plan_of(file("/etc/x"), step), "no-such-program, which is not installed", status=ExitStatus.MISSING)


def test_a_dry_run_that_fails(server: Server) -> None:
    step = command("rules", "true", check="echo syntax error in line 3 >&2; false")
    refused(server, plan_of(file("/etc/x"), step), "rules would fail: sh -c .*: syntax error in line 3")


def test_what_the_caller_asks_for(server: Server) -> None:
    told: list[str] = []
    for answer in ("udp/1194 is taken by process 7 (other)", None):
        asked: list[Precondition] = [lambda: None, lambda answer=answer: answer]  # type: ignore[misc]
        try:
            apply_plan(plan_of(file("/etc/x")), root=server.root, hooks=NO_HOOKS, preconditions=asked)
        except UsageError as problem:
            told.append(str(problem))
    assert told == ["udp/1194 is taken by process 7 (other); nothing was changed"]
    assert (server.root / "etc/x").exists()


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (SetSysctl(id="s", why="w", key="net.no.such", value="1"), "this kernel has no sysctl net.no.such"),
        (SetSysctl(id="s", why="w", key="kernel.ostype", value="x", before="Plan 9"), "sysctl kernel.ostype was Plan 9"),
        (file("/etc"), "cannot be looked at"),
        (folder("/etc/host.conf/x"), "is no folder"),
        (folder("/etc/host.conf"), "/etc/host.conf is there, and is no folder"),
        (file("/etc/host.conf/x"), "is no folder"),
    ],
)
def test_what_is_not_what_it_should_be(server: Server, step: AnyStep, match: str) -> None:
    refused(server, plan_of(step), match)


def test_no_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        found = list(real(path))
        found[4] = 3
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", full)
    refused(server, plan_of(file("/etc/x")), "is full: .* KiB are needed, and 12 are free", status=ExitStatus.UNWRITABLE)


def test_two_names_of_one_file(server: Server) -> None:
    (server.root / "etc/link").symlink_to("/etc/a")
    refused(server, plan_of(file("/etc/a"), file("/etc/link")), "/etc/a and /etc/link are the same file, by a symbolic link")
    (server.root / "etc/circle").symlink_to("circle")
    refused(server, plan_of(file("/etc/circle/x")), "/etc/circle/x cannot be looked at: Too many levels of symbolic links")
