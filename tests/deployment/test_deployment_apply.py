"""Applying: all or nothing, twice, again with a newer plan, and what stands in the way while it goes on."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from deployment_support import (
    NO_HOOKS,
    Server,
    command,
    daemon,
    file,
    files_of,
    folder,
    namespace,
    nobody_watches,
    plan_of,
    wait_for,
    whole_plan,
)
from hypothesis import example, given
from hypothesis import strategies as st

from vpnprobe.deployment import apply, effects
from vpnprobe.deployment.apply import apply_plan, confirm, roll_back, status
from vpnprobe.deployment.rollback import read_journal
from vpnprobe.deployment.steps import AnyStep, Plan
from vpnprobe.deployment.supervise import running
from vpnprobe.errors import CannotRun, ExitStatus, UsageError


def silent(line: str) -> None:
    """What is told is of no interest."""


def program(server: Server, code: str) -> "subprocess.CompletedProcess[str]":
    """Of a process of its own, in the server's network namespace."""
    head = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        "from deployment_support import *",
        "from vpnprobe.deployment.apply import *",
        f"root = Path({str(server.root)!r})",
    )
    return server.command(sys.executable, "-c", "\n".join((*head, code)))


def test_a_plan_twice_changes_nothing_the_second_time(server: Server) -> None:
    plan = plan_of(
        file("/etc/host.conf"),
        folder("/etc/new"),
        command("go", f"touch {server.root}/etc/done", done_when=f"test -e {server.root}/etc/done"),
        daemon("/etc"),
    )
    first = apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert first.taken == ("etc-host.conf", "folder-etc-new", "go", "run-server")
    before, processes = files_of(server.root), server.processes()
    second = apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert (second.transaction, second.taken) == (None, ())
    assert (files_of(server.root), server.processes()) == (before, processes)
    assert len(read_journal(server.journal)) == 1


def test_only_what_is_not_as_it_shall_be_is_done(server: Server) -> None:
    plan = plan_of(file("/etc/host.conf"), file("/etc/other"))
    apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    (server.root / "etc/other").unlink()
    assert apply_plan(plan, root=server.root, hooks=NO_HOOKS).taken == ("etc-other",)


FAILING: list[AnyStep] = [command("fails", "exit 3"), daemon("/etc", argv=("false",)), file("/etc/host.conf/x")]


@pytest.mark.parametrize("failing", FAILING, ids=lambda step: step.id)
def test_a_step_that_fails_takes_everything_back_at_once(server: Server, failing: AnyStep) -> None:
    before = files_of(server.root)
    plan = plan_of(
        file("/etc/a/b/c"),
        file("/etc/host.conf", name="host"),
        command("go", f"touch {server.root}/etc/x", f"rm -f {server.root}/etc/x"),
        failing,
    )
    with pytest.raises((CannotRun, UsageError)) as raised:
        apply_plan(plan, root=server.root, hooks=NO_HOOKS, tell=silent)
    assert "\n" not in str(raised.value)
    if raised.value.status is not ExitStatus.REFUSED:
        assert raised.value.status is ExitStatus.PUT_BACK
        assert "everything has been put back" in str(raised.value)
    assert (files_of(server.root), server.processes()) == (before, [])


def test_the_reason_is_the_programs_own(server: Server) -> None:
    with pytest.raises(CannotRun, match="fails: sh -c echo it is so >&2; exit 3: status 3: it is so; everything has been put back"):
        apply_plan(plan_of(command("fails", "echo it is so >&2; exit 3")), root=server.root, hooks=NO_HOOKS)


def test_a_step_that_undoes_an_earlier_one_is_a_failure(server: Server) -> None:
    before = files_of(server.root)
    plan = plan_of(file("/etc/x"), command("spoils", f"echo else > {server.root}/etc/x"))
    with pytest.raises(CannotRun, match="etc-x: it was done, and is not as it shall be; everything has been put back"):
        apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_an_interrupt_takes_back_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files_of(server.root)
    real = effects.take

    def take(step: object, *rest: object, **named: object) -> None:
        if getattr(step, "id", "") == "last":
            raise KeyboardInterrupt
        real(step, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(apply, "take", take)
    with pytest.raises(CannotRun, match="it was interrupted; everything has been put back"):
        apply_plan(plan_of(file("/etc/host.conf"), file("/etc/x", name="last")), root=server.root, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_a_terminal_that_has_gone_does_not_stop_it(server: Server) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS, tell=gone).transaction == 1


@pytest.mark.root
@pytest.mark.requires("namespaces")
def test_an_update_goes_back_to_what_was_confirmed(namespaced: Server) -> None:
    before = namespaced.state()
    assert program(namespaced, "apply_plan(whole_plan(), root=root, hooks=NO_HOOKS)").returncode == 0
    first, argv = _lasting(namespaced), _argv(namespaced)
    done = program(namespaced, "apply_plan(whole_plan(version='2'), root=root, hooks=NO_HOOKS, confirm_within_s=600)")
    assert done.returncode == 0, done.stderr
    assert _lasting(namespaced) != first
    done = program(namespaced, "print(roll_back(root, print, hooks=NO_HOOKS))")
    assert done.stdout == "('OpenVPN 2',)\n", done.stderr
    assert (_lasting(namespaced), _argv(namespaced)) == (first, argv), "it runs as it did"
    assert program(namespaced, "print(roll_back(root, print, hooks=NO_HOOKS))").stdout == "('OpenVPN 1',)\n"
    assert namespaced.state() == before


def _lasting(server: Server) -> object:
    """But what changes when the process is started again."""
    files = {name: facts for name, facts in files_of(server.root).items() if not name.startswith("run/vpnprobe/server.")}
    return files, server.kernel()


def _argv(server: Server) -> object:
    found = running(server.root / "run/vpnprobe", "server")
    return None if found is None else found["argv"]


def test_later_transactions_go_with_the_first(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(whole_plan_without_kernel(), root=server.root, hooks=NO_HOOKS)
    apply_plan(plan_of(file("/etc/openvpn/server/clients/one", b"one")), root=server.root, hooks=NO_HOOKS)
    apply_plan(plan_of(file("/etc/openvpn/server/clients/one", b"revoked"), file("/etc/crl", b"one")), root=server.root, hooks=NO_HOOKS)
    assert len(roll_back(server.root, silent, hooks=NO_HOOKS)) == 3
    assert (files_of(server.root), server.processes()) == (before, [])
    assert roll_back(server.root, silent, hooks=NO_HOOKS) == ()
    assert status(server.root).plan is None


def whole_plan_without_kernel() -> Plan:
    plan = whole_plan()
    kept = [step for step in plan.steps if step.id not in ("forward", "nat", "accept")]
    return plan_of(*kept, settings={"version": "1"})


def test_a_change_of_keys_over_what_was_confirmed_stays_when_the_plan_goes(server: Server) -> None:
    apply_plan(plan_of(file("/etc/a", b"1")), root=server.root, hooks=NO_HOOKS)
    apply_plan(plan_of(file("/etc/a", b"2")), root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    change = plan_of(folder("/etc/keys"), file("/etc/keys/client"), summary="client one")
    assert apply_plan(change, root=server.root, hooks=NO_HOOKS, joins=True).waits_s is None
    for step in (file("/etc/a", b"3"), daemon("/etc")):
        with pytest.raises(UsageError, match="waits to be confirmed"):
            apply_plan(plan_of(step), root=server.root, hooks=NO_HOOKS, joins=True)
    assert roll_back(server.root, print, hooks=NO_HOOKS) == ("OpenVPN on udp/1194",)
    assert (server.root / "etc/a").read_text() == "1"
    assert (server.root / "etc/keys/client").exists()
    with pytest.raises(UsageError, match="too late"):
        confirm(server.root, print, hooks=NO_HOOKS)


def test_a_change_of_keys_shares_the_fate_of_the_first_plan(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(plan_of(file("/etc/a")), root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    assert apply_plan(plan_of(file("/etc/client")), root=server.root, hooks=NO_HOOKS, joins=True).waits_s is not None
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_a_change_that_took_long_goes_with_the_plan_that_it_joined(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late its own time runs out: what it wrote stands on what the plan wrote."""
    before = files_of(server.root)
    apply_plan(plan_of(folder("/etc/keys"), file("/etc/keys/index", b"1")), root=server.root, hooks=NO_HOOKS, confirm_within_s=2)
    monkeypatch.setattr(apply, "JOINS_BEFORE_S", -60.0)
    change = plan_of(file("/etc/keys/index", b"2"), file("/etc/keys/client"))
    assert apply_plan(change, root=server.root, hooks=NO_HOOKS, joins=True).waits_s is not None
    wait_for(lambda: files_of(server.root) == before)
    assert status(server.root).plan is None


def test_one_waits_for_confirmation_at_a_time(server: Server) -> None:
    plan = plan_of(file("/etc/host.conf"))
    apply_plan(plan, root=server.root, hooks=NO_HOOKS, confirm_within_s=600)
    again = apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert again.transaction is None
    assert again.waits_s == pytest.approx(595, abs=5)
    with pytest.raises(UsageError, match="waits to be confirmed: vpnprobe provision confirm, or rollback") as raised:
        apply_plan(plan_of(file("/etc/other")), root=server.root, hooks=NO_HOOKS)
    assert raised.value.status is ExitStatus.REFUSED
    roll_back(server.root, silent, hooks=NO_HOOKS)


FULL = """
import os, sys
sys.path.insert(0, sys.argv[3])
from deployment_support import *
from vpnprobe.deployment import checks, effects, apply
from vpnprobe.errors import CannotRun, UsageError
root, free = Path(sys.argv[1]), int(sys.argv[2])
more = [file(f"/etc/new/{n}", bytes(40000), name=f"f{n}") for n in range(8)]
plan = plan_of(file("/etc/host.conf", b"x" * 60000), folder("/etc/new"), *more)
held = os.statvfs(root).f_bavail * 4096 - free
if sys.argv[4] == "at once":
    (root / "hold").write_bytes(bytes(max(held, 0)))
else:
    # What was free when it was looked at is not any more: another program writes.
    checks._check_room = lambda *_: (root / "hold").exists() or (root / "hold").write_bytes(bytes(max(held, 0)))
before = files_of(root)
before.pop("hold", None)
try:
    apply.apply_plan(plan, root=root, hooks=NO_HOOKS)
    print("applied")
except (CannotRun, UsageError) as problem:
    after = files_of(root)
    after.pop("hold", None)
    print(int(problem.status), before == after, problem)
"""


@pytest.mark.root
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("when", ["at once", "meanwhile"])
def test_a_disk_that_is_full_at_any_step(tmp_path: Path, when: str) -> None:
    """So many bytes are free, from none to enough: nothing is changed, or everything is put back."""
    (tmp_path / "full.py").write_text(FULL)
    seen: set[str] = set()
    for free in range(0, 800_000, 40_960):
        disk = tmp_path / "disk"
        disk.mkdir(exist_ok=True)
        mount = f"mount -t tmpfs -o size=4m none {disk} && mkdir -p {disk}/root/etc && echo old > {disk}/root/etc/host.conf"
        script = f"{mount} && exec {sys.executable} {tmp_path}/full.py {disk}/root {free} {Path(__file__).parent} '{when}'"
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout.strip()
        assert said == "applied" or said.split()[:2] in (["7", "True"], ["9", "True"]), (free, said, done.stderr)
        seen.add(said.split()[0])
    assert seen == ({"7", "applied"} if when == "at once" else {"7", "9", "applied"})


@pytest.mark.root
@pytest.mark.requires("namespaces")
def test_a_file_system_that_is_read_only(server: Server) -> None:
    place = server.root / "etc"
    code = """
import sys
sys.path.insert(0, sys.argv[2])
from deployment_support import *
apply.apply_plan(plan_of(file("/etc/host.conf")), root=Path(sys.argv[1]), hooks=NO_HOOKS)
"""
    for read_only in (server.root, place):
        script = f'mount --bind {read_only} {read_only} && mount -o remount,ro,bind {read_only} && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", code, str(server.root), str(Path(__file__).parent)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert "CannotRun" in done.stderr.splitlines()[-1]
        assert "ead-only" in done.stderr.splitlines()[-1]
    assert (place / "host.conf").read_text() == "old\n"


@pytest.mark.root
@pytest.mark.requires("namespaces")
def test_it_is_not_taken_back_from_another_network_namespace(namespaced: Server) -> None:
    assert program(namespaced, "apply_plan(whole_plan(), root=root, hooks=NO_HOOKS)").returncode == 0
    with namespace(f"vpdepo{os.getpid()}") as other:
        elsewhere = Server(namespaced.root, other)
        done = elsewhere.command(sys.executable, "-I", namespaced.journal / "rollback.py")
        assert done.returncode == 1
        assert "it was applied in another network namespace: run this behind nsenter --net=" in done.stderr
    assert namespaced.command(sys.executable, "-I", namespaced.journal / "rollback.py").returncode == 0


NAMES = st.sampled_from(["host.conf", "a", "b", "link", "a/b", "b/c/d"])
STEPS = st.one_of(
    st.builds(file, NAMES.map("/etc/{}".format), st.binary(max_size=4), mode=st.sampled_from([0o600, 0o644]), secret=st.booleans()),
    st.builds(folder, NAMES.map("/etc/{}".format)),
)


@example(plans=[[file("/etc/host.conf", b"")], [file("/etc/a", b""), file("/etc/a/b", b"")]])
@given(plans=st.lists(st.lists(STEPS, min_size=1, max_size=4, unique_by=lambda step: step.id), min_size=1, max_size=3))
def test_whatever_is_applied_is_taken_back(plans: list[list[AnyStep]]) -> None:
    """Plans one after the other, some of which fail or are refused: then nothing has changed; and at last everything is as before."""
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "start_watchdog", nobody_watches)
        server = Server(Path(scratch) / "root")
        server.fill()
        (server.root / "etc/link").symlink_to("/etc/a")
        before = files_of(server.root)
        for steps in plans:
            unchanged = files_of(server.root)
            try:
                apply_plan(plan_of(*steps), root=server.root, hooks=NO_HOOKS)
            except (UsageError, CannotRun):
                assert files_of(server.root) == unchanged
            else:
                assert apply_plan(plan_of(*steps), root=server.root, hooks=NO_HOOKS).transaction is None
        roll_back(server.root, silent, hooks=NO_HOOKS)
        assert files_of(server.root) == before
