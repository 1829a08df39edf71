"""The process that takes back: without a confirmation, after a kill, whatever becomes of the terminal."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deployment_support import NO_HOOKS, Server, command, file, files_of, plan_of, wait_for

from vpnprobe.deployment import watchdog
from vpnprobe.deployment.apply import apply_plan, confirm, roll_back
from vpnprobe.deployment.rollback import PLACE, read_journal
from vpnprobe.deployment.steps import Command
from vpnprobe.deployment.supervise import start_time
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

PLAN = plan_of(file("/etc/host.conf"))
APPLY = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whoever started the tests may ignore it (nohup).
import os, sys, time
sys.path.insert(0, sys.argv[2])
from deployment_support import *
plan = plan_of(file("/etc/host.conf"), *([command("slow", f"sleep {sys.argv[4]}")] if sys.argv[4] != "0" else []))
said = lambda line: print(line, flush=True)
apply.apply_plan(plan, root=Path(sys.argv[1]), hooks=NO_HOOKS, confirm_within_s=float(sys.argv[3]), tell=said)
print("applied", flush=True)
time.sleep(60)
"""


def applying(server: Server, *, confirm_within_s: float, slow_s: int = 0) -> "subprocess.Popen[str]":
    """In a session of its own, as a login has one."""
    words = [sys.executable, "-c", APPLY, str(server.root), str(Path(__file__).parent), str(confirm_within_s), str(slow_s)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)


def watches(server: Server) -> tuple[int, int]:
    """The watchdog of what is applied: process id and start time."""
    process, started = read_journal(server.journal)[-1].marks["complete"]["watchdog"]
    return process, started


def test_without_a_confirmation_everything_goes_back(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, confirm_within_s=0.5)
    assert files_of(server.root) != before
    process, started = watches(server)
    wait_for(lambda: files_of(server.root) == before)
    wait_for(lambda: start_time(process) != started)
    with pytest.raises(UsageError, match="too late: it was taken back at") as raised:
        confirm(server.root, print, hooks=NO_HOOKS)
    assert raised.value.status is ExitStatus.PUT_BACK


def test_what_is_confirmed_in_time_stays(server: Server) -> None:
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    process, started = watches(server)
    assert start_time(process) == started
    assert confirm(server.root, print, hooks=NO_HOOKS) == "OpenVPN on udp/1194"
    wait_for(lambda: start_time(process) != started)
    assert (server.root / "etc/host.conf").read_text() == "new\n"
    with pytest.raises(UsageError, match="nothing waits to be confirmed"):
        confirm(server.root, print, hooks=NO_HOOKS)


def test_without_a_wish_for_confirmation_it_ends_with_the_apply(server: Server) -> None:
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS)
    process, started = watches(server)
    wait_for(lambda: start_time(process) != started)
    assert (server.root / "etc/host.conf").read_text() == "new\n"


def test_a_lost_terminal_takes_nothing_with_it_but_time(server: Server) -> None:
    """SIGHUP to the whole session, as the kernel sends it when the ssh connection ends."""
    before = files_of(server.root)
    session = applying(server, confirm_within_s=1.0)
    assert session.stdout is not None
    while session.stdout.readline() != "applied\n":
        pass
    process, started = watches(server)
    assert os.getsid(process) != os.getsid(session.pid)
    os.killpg(session.pid, signal.SIGHUP)
    session.wait(10)
    os.kill(process, signal.SIGHUP)
    assert start_time(process) == started
    assert files_of(server.root) != before
    wait_for(lambda: files_of(server.root) == before)
    session.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_an_apply_that_dies_is_taken_back_at_once(server: Server, number: signal.Signals) -> None:
    """What it has started is ended too: it would go on after everything is taken back."""
    before = files_of(server.root)
    session = applying(server, confirm_within_s=600, slow_s=55)
    assert session.stdout is not None
    while session.stdout.readline() != "slow is needed\n":
        pass
    time.sleep(0.2)
    began = time.monotonic()
    os.kill(session.pid, number)
    wait_for(lambda: files_of(server.root) == before)
    assert time.monotonic() - began < 15
    wait_for(lambda: read_journal(server.journal)[-1].taken_back)
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if str(server.journal).encode() in _bytes(path)]
    session.wait(10)
    session.stdout.close()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_an_apply_that_is_stuck_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STUCK_AFTER_S", 0.2)
    stuck = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE)
    assert stuck.stdout is not None
    watchdog._until_end(stuck.stdout, stuck.pid)
    assert stuck.wait(10) == -signal.SIGKILL
    stuck.stdout.close()


def test_a_rollback_ends_it(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    process, started = watches(server)
    assert roll_back(server.root, print, hooks=NO_HOOKS) == ("OpenVPN on udp/1194",)
    wait_for(lambda: start_time(process) != started)
    assert files_of(server.root) == before


def test_the_next_command_does_it_where_the_watchdog_was_killed(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, confirm_within_s=0.4)
    os.kill(watches(server)[0], signal.SIGKILL)
    time.sleep(0.5)
    assert files_of(server.root) != before
    with pytest.raises(UsageError, match="too late"):
        confirm(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_another_process_with_its_number_is_left_alone() -> None:
    other = subprocess.Popen(["sleep", "60"])
    started = start_time(other.pid)
    assert started is not None
    watchdog.end_watchdog([other.pid, started + 1])
    watchdog.end_watchdog([])
    assert other.poll() is None
    watchdog.end_watchdog([other.pid, started])
    assert other.wait(10) == -signal.SIGTERM


def test_without_a_watchdog_nothing_is_begun(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CannotRun, match="did not begin to watch"):
        apply_plan(PLAN, root=server.root, hooks=NO_HOOKS)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CannotRun, match="cannot be started"):
        apply_plan(PLAN, root=server.root, hooks=NO_HOOKS)
    assert (server.root / "etc/host.conf").read_text() == "old\n"
    assert not (server.root / "var").exists()


def test_a_confirmation_and_the_deadline_are_never_both(server: Server) -> None:
    """They race: either it is confirmed and stays, or it is too late and everything is as before."""
    before = files_of(server.root)
    for delay_s in (0.0, 0.15, 0.19, 0.2, 0.21, 0.25, 0.3):
        apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, confirm_within_s=0.2)
        time.sleep(delay_s)
        try:
            confirm(server.root, print, hooks=NO_HOOKS)
        except UsageError as problem:
            assert problem.status is ExitStatus.PUT_BACK
            assert files_of(server.root) == before
        else:
            time.sleep(0.3)
            assert files_of(server.root) != before
            roll_back(server.root, print, hooks=NO_HOOKS)
            assert files_of(server.root) == before


def test_the_unit_at_boot_is_one_that_systemd_takes(tmp_path: Path) -> None:
    assert f"/{PLACE}/rollback.py --unconfirmed" in watchdog.BOOT_UNIT
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: sudo apt install systemd")
    unit = tmp_path / watchdog.BOOT_UNIT_NAME
    unit.write_text(watchdog.BOOT_UNIT)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert unit.name not in done.stderr, done.stderr


def test_a_step_that_hangs_is_a_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.deployment.undoing.COMMAND_WITHIN_S", 0.3)
    with pytest.raises(CannotRun, match=r"timed out after 0\.3 seconds; everything has been put back"):
        apply_plan(plan_of(command("hangs", "sleep 60")), root=server.root, hooks=NO_HOOKS)


CUT_OFF = "table inet cut { chain input { type filter hook input priority -300; policy drop; }; }\n"


@pytest.mark.root
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("confirm_within_s", [0.3, 1.0])
def test_a_rule_that_cuts_the_operators_own_connection_reverts(namespaced: Server, confirm_within_s: float) -> None:
    before = namespaced.state()
    table = Command(argv=("nft", "list", "table", "inet", "cut"))
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from deployment_support import *
table = Command(argv=("nft", "list", "table", "inet", "cut"))
undo = UndoCommand(command=Command(argv=("nft", "delete", "table", "inet", "cut")), when=table)
cut = RunCommand(id="cut", why="by mistake", command=Command(argv=("nft", "-f", "-"), stdin={CUT_OFF!r}), undo=(undo,), done_when=table)
apply.apply_plan(plan_of(cut), root=Path({str(namespaced.root)!r}), hooks=NO_HOOKS, confirm_within_s={confirm_within_s})
"""
    ping = ("ping", "-c", "1", "-W", "1", "127.0.0.1")
    assert namespaced.command(*ping).returncode == 0
    assert namespaced.command(sys.executable, "-c", code).returncode == 0
    began = time.monotonic()
    wait_for(lambda: namespaced.command(*table.argv).returncode != 0)
    assert time.monotonic() - began < confirm_within_s + 5
    assert namespaced.command(*ping).returncode == 0
    wait_for(lambda: read_journal(namespaced.journal)[-1].taken_back)
    assert namespaced.state() == before
