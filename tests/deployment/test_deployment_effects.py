"""What is there is kept where it may be: owners, modes, attributes, links; and what is noted to take each step back."""

import os
import stat
from pathlib import Path

import pytest
from deployment_support import NO_HOOKS, Server, daemon, file, files_of, folder, plan_of

from vpnprobe.deployment.apply import apply_plan, roll_back, status
from vpnprobe.deployment.effects import ACL, is_done, moved_along, undos
from vpnprobe.deployment.steps import ManageUnit, RemoveFile, StopDaemon, StopUnit
from vpnprobe.deployment.supervise import running
from vpnprobe.errors import CannotRun, UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("found", "wanted", "secret", "then"),
    [
        (0o640, 0o644, False, 0o640),
        (0o600, 0o644, False, 0o600),
        (0o644, 0o600, True, 0o600),
        (0o664, 0o644, False, 0o664),
        (0o666, 0o640, False, 0o640),
    ],
)
def test_a_mode_stays_unless_more_people_could_read(server: Server, found: int, wanted: int, secret: bool, then: int) -> None:
    path = server.root / "etc/x"
    path.write_text("old")
    path.chmod(found)
    plan = plan_of(file("/etc/x", mode=wanted, secret=secret))
    apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert mode(path) == then
    assert apply_plan(plan, root=server.root, hooks=NO_HOOKS).transaction is None
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert mode(path) == found


def test_owner_and_attributes_stay(server: Server) -> None:
    before = files_of(server.root)["etc/host.conf"]
    apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
    after = files_of(server.root)["etc/host.conf"]
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert (after[:3], after[4]) == (before[:3], before[4])


def test_a_secret_is_not_left_open_by_an_access_list(server: Server) -> None:
    path = server.root / "etc/key"
    path.write_text("old")
    path.chmod(0o600)
    entries = [(0x01, 6, -1), (0x02, 4, 1234), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
    packed = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little") for tag, rights, who in entries
    )
    try:
        os.setxattr(path, ACL, packed)
    except OSError as problem:
        pytest.skip(f"needs a file system with access lists: {problem}")
    before = files_of(server.root)
    apply_plan(plan_of(file("/etc/key", mode=0o600, secret=True)), root=server.root, hooks=NO_HOOKS)
    assert (ACL in os.listxattr(path), mode(path)) == (False, 0o600)
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_links_are_followed_below_the_root_and_stay(server: Server, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (server.root / "etc/real").write_text("old")
    (server.root / "etc/link").symlink_to("/etc/real")
    (server.root / "etc/away").symlink_to(tmp_path / "outside")
    before = files_of(server.root)
    apply_plan(plan_of(file("/etc/link"), file("/etc/away/x")), root=server.root, hooks=NO_HOOKS)
    assert (server.root / "etc/link").is_symlink()
    assert (server.root / "etc/real").read_text() == "new\n"
    assert list((tmp_path / "outside").iterdir()) == []
    assert (server.root / str(tmp_path / "outside/x").lstrip("/")).read_text() == "new\n"
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_folders_that_are_missing_are_made_and_taken_back(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(plan_of(folder("/etc/a/b"), file("/etc/c/d/e")), root=server.root, hooks=NO_HOOKS)
    assert [mode(server.root / path) for path in ("etc/a", "etc/a/b", "etc/c", "etc/c/d")] == [0o755, 0o750, 0o755, 0o755]
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_a_folder_of_our_own_goes_with_all_that_is_in_it(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(plan_of(folder("/etc/a/state", contents=True)), root=server.root, hooks=NO_HOOKS)
    (server.root / "etc/a/state/sub").mkdir()
    (server.root / "etc/a/state/sub/status").write_text("x")
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root) == before


def test_a_folder_that_was_there_stays(server: Server) -> None:
    (server.root / "etc/a").mkdir()
    (server.root / "etc/a/mine").write_text("x")
    apply_plan(plan_of(folder("/etc/a", contents=True), file("/etc/a/b")), root=server.root, hooks=NO_HOOKS)
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert (server.root / "etc/a/mine").read_text() == "x"


def test_a_process_whose_configuration_changes_is_started_anew(server: Server) -> None:
    run = server.root / "run/vpnprobe"
    first = plan_of(file("/etc/conf", b"1"), daemon("/etc", files=("/etc/conf",)))
    second = plan_of(file("/etc/conf", b"2"), daemon("/etc", files=("/etc/conf",)))
    apply_plan(first, root=server.root, hooks=NO_HOOKS)
    before = running(run, "server")
    assert apply_plan(plan_of(file("/etc/else"), *first.steps), root=server.root, hooks=NO_HOOKS).taken == ("etc-else",)
    assert running(run, "server") == before
    assert apply_plan(second, root=server.root, hooks=NO_HOOKS).taken == ("etc-conf", "run-server")
    assert running(run, "server") != before


def test_what_an_earlier_plan_has_and_a_later_one_has_not_goes_and_comes_back(server: Server) -> None:
    run = server.root / "run/vpnprobe"
    apply_plan(plan_of(file("/etc/conf", b"1"), daemon("/etc", files=("/etc/conf",))), root=server.root, hooks=NO_HOOKS)
    before = files_of(server.root / "etc")
    gone = plan_of(StopDaemon(id="no-server", why="w", name="server"), RemoveFile(id="no-conf", why="w", path="/etc/conf"))
    applied = apply_plan(gone, root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    assert applied.taken == ("no-server", "no-conf")
    assert (server.processes(), (server.root / "etc/conf").exists(), status(server.root).daemons) == ([], False, {})
    assert apply_plan(gone, root=server.root, hooks=NO_HOOKS).transaction is None
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert files_of(server.root / "etc") == before
    assert running(run, "server") is not None
    assert status(server.root).daemons == {"server": True}


def test_a_file_that_goes_and_was_changed_since_is_refused(server: Server) -> None:
    plan = plan_of(RemoveFile(id="no-conf", why="w", path="/etc/host.conf", before="0" * 64))
    with pytest.raises(UsageError, match=r"/etc/host\.conf was changed since the plan was made"):
        apply_plan(plan, root=server.root, hooks=NO_HOOKS)
    assert (server.root / "etc/host.conf").read_text() == "old\n"


def test_what_the_kernel_changes_along() -> None:
    for key in ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "net.ipv4.conf.all.forwarding"):
        assert {"net/ipv4/conf/all/accept_redirects", "net/ipv4/conf/lo/forwarding"} <= set(moved_along(key))
    assert "net/ipv6/conf/lo/forwarding" in moved_along("net.ipv6.conf.all.forwarding")
    assert moved_along("net.ipv4.tcp_syncookies") == []


SYSTEMCTL = """#!/bin/sh
# Of one unit: the files `enabled` and `active` in the folder of this program.
here=$(dirname "$0")
echo "$@" >>"$here/asked"
quiet=$1; [ "$quiet" = --quiet ] && shift
case $1 in
    is-enabled) [ -e "$here/enabled" ] && echo enabled || { echo disabled; exit 1; } ;;
    is-active) [ -e "$here/active" ] ;;
    is-system-running) echo running ;;
    enable) touch "$here/enabled" ;;
    disable) rm -f "$here/enabled" ;;
    start|restart) [ ! -e "$here/broken" ] && touch "$here/active" ;;
    stop) rm -f "$here/active" ;;
    daemon-reload) ;;
    *) exit 9 ;;
esac
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a unit is enabled and active as its files say."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "systemctl").write_text(SYSTEMCTL)
    (place / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.setattr("vpnprobe.deployment.effects.UNIT_SETTLES_S", 0.0)
    return place


UNIT = ManageUnit(id="unit", why="w", unit="openvpn-server@x.service", files=("/etc/x",))


def state(systemd: Path) -> tuple[bool, bool]:
    return (systemd / "enabled").exists(), (systemd / "active").exists()


NO_UNIT = StopUnit(id="no-unit", why="w", unit="openvpn-server@x.service")


@pytest.mark.parametrize("step", [UNIT, NO_UNIT], ids=["runs", "ends"])
@pytest.mark.parametrize(("enabled", "active"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_unit_is_as_it_was_before(systemd: Path, enabled: bool, active: bool, step: ManageUnit | StopUnit) -> None:
    """Its steps alone, since below another root units are only enabled."""
    from vpnprobe.deployment.effects import take
    from vpnprobe.deployment.undoing import Undoing

    for name, there in (("enabled", enabled), ("active", active)):
        if there:
            (systemd / name).touch()
    root = Path("/")
    undo = undos(step, root, save=lambda content: "", temporary="")
    take(step, root, temporary="", environment={})
    assert state(systemd) == (step is UNIT, step is UNIT)
    assert is_done(step, root, ())
    assert is_done(step, root, {"/etc/x"}) == (step is NO_UNIT)
    for _ in range(2):
        undoing = Undoing(systemd, root, print)
        for one in undo:
            undoing.one(one)
        for act, one in undoing.at_last.values():
            act(one)
        assert state(systemd) == (enabled, active)
    assert ("restart openvpn-server@x.service" in (systemd / "asked").read_text()) == active


def test_a_unit_that_does_not_start_is_a_failure(systemd: Path) -> None:
    from vpnprobe.deployment.effects import StepFailed, take

    (systemd / "broken").touch()
    with pytest.raises(StepFailed, match="systemctl start"):
        take(UNIT, Path("/"), temporary="", environment={})


def test_below_another_root_a_unit_is_only_enabled(server: Server, systemd: Path) -> None:
    (systemd / "systemctl").write_text(SYSTEMCTL.replace("case $1 in", "shift\ncase $1 in"))
    try:
        apply_plan(plan_of(UNIT), root=server.root, hooks=NO_HOOKS)
    except CannotRun as problem:
        pytest.fail(str(problem))
    assert state(systemd) == (True, False)
    roll_back(server.root, print, hooks=NO_HOOKS)
    assert f"--root={server.root}" in (systemd / "asked").read_text()
