"""Programs of the administrator's own: in order, with the plan, in bounded time, and none that others can change."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment_support import NO_HOOKS, Server, file, files_of, nobody_watches, plan_of, wait_for

from vpnprobe.deployment import apply
from vpnprobe.deployment.apply import apply_plan, confirm, roll_back
from vpnprobe.deployment.hooks import HookFailed, Hooks, Stage, hooks_of
from vpnprobe.deployment.rollback import read_journal
from vpnprobe.deployment.supervise import start_time
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

Make = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "hooks.d"


@pytest.fixture
def make(place: Path) -> Make:
    def hook(stage: str, name: str, script: str, *, mode: int = 0o755) -> Path:
        (place / stage).mkdir(parents=True, exist_ok=True)
        path = place / stage / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return path

    return hook


def test_they_run_in_the_order_of_their_names(place: Path, make: Make) -> None:
    make("pre-plan", "20-second", "echo second $VPNPROBE_STAGE")
    make("pre-plan", "10-first", "read plan; echo first $plan")
    make("pre-plan", "README", "echo never", mode=0o644)
    make("pre-plan", ".hidden", "echo never")
    make("pre-plan", "30-old~", "echo never")
    make("post-plan", "other", "echo never")
    told: list[str] = []
    Hooks((place.with_name("none"), place)).run(Stage.PRE_PLAN, '{"a": 1}\n', told.append)
    assert told == ['10-first: first {"a": 1}', "20-second: second pre-plan"]


def test_a_status_that_is_not_0_stops(place: Path, make: Make) -> None:
    make("pre-plan", "1", "echo it rains >&2; exit 4")
    make("pre-plan", "2", f"touch {place}/never")
    with pytest.raises(HookFailed, match="/1 ended with status 4: it rains"):
        Hooks((place,)).run(Stage.PRE_PLAN, "", print)
    assert not (place / "never").exists()


def test_time_is_bounded_for_its_children_too(place: Path, make: Make) -> None:
    make("pre-plan", "1", f"setsid sleep 300 & echo $! >{place}/pids; sleep 300 & echo $! >>{place}/pids; wait")
    began = time.monotonic()
    with pytest.raises(HookFailed, match=r"did not end within 0.5 s, and was stopped"):
        Hooks((place,), within_s=0.5).run(Stage.PRE_PLAN, "", print)
    assert time.monotonic() - began < 10
    children = [int(line) for line in (place / "pids").read_text().split()]
    assert len(children) == 2
    wait_for(lambda: not any(map(start_time, children)))


def test_what_others_can_change_is_not_run(place: Path, make: Make) -> None:
    hooks = Hooks((place,))
    program = make("pre-plan", "1", f"touch {place}/never", mode=0o775)
    with pytest.raises(HookFailed, match="others than root and you can change it"):
        hooks.run(Stage.PRE_PLAN, "", print)
    program.chmod(0o755)
    for folder in (place, place / "pre-plan"):
        folder.chmod(0o777)
        with pytest.raises(HookFailed, match="others than root and you can change it"):
            hooks.run(Stage.PRE_PLAN, "", print)
        folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(program, 1234, 1234)
        with pytest.raises(HookFailed, match="others than root and you can change it"):
            hooks.run(Stage.PRE_PLAN, "", print)
    assert not (place / "never").exists()


def test_a_link_is_as_safe_as_what_it_names(place: Path, make: Make, tmp_path: Path) -> None:
    make("pre-plan", "1", "exit 0")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/program").write_text("#!/bin/sh\n")
    (tmp_path / "open/program").chmod(0o755)
    (place / "pre-plan/2").symlink_to(tmp_path / "open/program")
    with pytest.raises(HookFailed, match="others than root and you can change it"):
        Hooks((place,)).run(Stage.PRE_PLAN, "", print)


def test_one_that_cannot_be_started_stops_too(place: Path, make: Make) -> None:
    make("pre-plan", "1", "").write_text("#!/nowhere/shell\n")
    with pytest.raises(HookFailed, match="cannot be started: No such file"):
        Hooks((place,)).run(Stage.PRE_PLAN, "", print)


def test_what_they_print_cannot_act_on_the_terminal(place: Path, make: Make) -> None:
    make("pre-plan", "1", r"printf '\033[2Jhello\n'")
    told: list[str] = []
    Hooks((place,)).run(Stage.PRE_PLAN, "", told.append)
    assert told == ["1: ?[2Jhello"]


def test_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert list(hooks_of(tmp_path).folders) == [tmp_path / "etc/vpnprobe/hooks.d", tmp_path / "config/vpnprobe/hooks.d"]
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/one")
    assert hooks_of(Path("/")).folders[1] == Path("/home/one/.config/vpnprobe/hooks.d")


def test_before_an_apply_one_refuses(server: Server, place: Path, make: Make) -> None:
    before = files_of(server.root)
    make("pre-apply", "1", "echo not on a Friday; exit 1")
    with pytest.raises(UsageError, match="not on a Friday; nothing was changed") as raised:
        apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=Hooks((place,)))
    assert raised.value.status is ExitStatus.REFUSED
    assert files_of(server.root) == before
    assert not (server.root / "var").exists()


def test_after_an_apply_one_takes_it_back(server: Server, place: Path, make: Make) -> None:
    before = files_of(server.root)
    make("post-apply", "1", f"grep new {server.root}/etc/host.conf && exit 1")
    with pytest.raises(CannotRun, match="ended with status 1: new; everything has been put back") as raised:
        apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=Hooks((place,)))
    assert raised.value.status is ExitStatus.PUT_BACK
    assert files_of(server.root) == before


def test_before_a_rollback_one_refuses_what_a_person_asks_for_and_nothing_else(server: Server, place: Path, make: Make) -> None:
    before, hooks = files_of(server.root), Hooks((place,))
    make("pre-rollback", "1", f"cat >>{place}/plans; exit 1")
    apply_plan(plan_of(file("/etc/host.conf"), settings={"a": "b"}), root=server.root, hooks=hooks)
    with pytest.raises(UsageError, match="nothing was changed"):
        roll_back(server.root, print, hooks=hooks)
    assert files_of(server.root) != before
    assert json.loads((place / "plans").read_text())["settings"] == {"a": "b"}
    (place / "pre-rollback/1").unlink()
    make("post-rollback", "1", "exit 1")
    told: list[str] = []
    roll_back(server.root, told.append, hooks=hooks)
    assert files_of(server.root) == before
    assert any("it is taken back all the same" in line for line in told)


def test_the_watchdog_runs_them(server: Server, make: Make, tmp_path: Path) -> None:
    place = server.root / "etc/vpnprobe/hooks.d/post-rollback"
    place.mkdir(parents=True)
    (place / "1").write_text(f"#!/bin/sh\ngrep -c plan.json </dev/null; cat >{tmp_path}/told\n")
    (place / "1").chmod(0o755)
    apply_plan(plan_of(file("/etc/host.conf")), root=server.root, confirm_within_s=0.3)
    wait_for(lambda: bool(read_journal(server.journal)) and read_journal(server.journal)[-1].taken_back)
    wait_for(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text().endswith("}\n"))
    assert json.loads((tmp_path / "told").read_text())["schema"] == "vpnprobe.plan/1"
    with pytest.raises(UsageError):
        confirm(server.root, print)


def test_a_change_of_keys_takes_an_overdue_plan_back_with_the_administrators(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it runs none for itself."""
    monkeypatch.setattr(apply, "start_watchdog", nobody_watches)
    apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS, confirm_within_s=0.01)
    place = server.root / "etc/vpnprobe/hooks.d/post-rollback"
    place.mkdir(parents=True)
    (place / "1").write_text(f"#!/bin/sh\ntouch {tmp_path}/told\n")
    (place / "1").chmod(0o755)
    time.sleep(0.05)  # Longer than the time to confirm.
    apply_plan(plan_of(file("/etc/key")), root=server.root, hooks=NO_HOOKS, joins=True)
    assert read_journal(server.journal)[0].taken_back
    assert (tmp_path / "told").exists()
