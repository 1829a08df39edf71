"""A plan as a folder: what is written is read back, and what is not a plan is refused in one line."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from deployment_support import file, plan_of, whole_plan
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.encoding import read_plan, same_host, this_host, write_plan
from vpnprobe.deployment.steps import (
    AnyStep,
    Command,
    MakeDirectory,
    ManageUnit,
    Plan,
    RemoveFile,
    RunCommand,
    SetSysctl,
    StartDaemon,
    StopDaemon,
    StopUnit,
    UndoCommand,
    UndoNftRules,
    WriteFile,
)
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAME = st.from_regex(r"[a-z][a-z0-9.-]{0,10}", fullmatch=True)
PATH = st.lists(NAME, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(f"{part}x" for part in parts))
COMMAND = st.builds(Command, argv=st.lists(TEXT.filter(bool), min_size=1, max_size=3).map(tuple), stdin=TEXT)
UNDO = st.one_of(st.builds(UndoCommand, command=COMMAND, when=st.none() | COMMAND), st.builds(UndoNftRules, comment=TEXT))
COMMON = {"id": NAME, "why": TEXT}
CHECKS = {"check": st.none() | COMMAND, "done_when": st.none() | COMMAND}
MODE = st.integers(0, 0o7777)
PATHS = st.lists(PATH, max_size=3).map(tuple)
STEP: st.SearchStrategy[AnyStep] = st.one_of(
    st.builds(RunCommand, **COMMON, **CHECKS, command=COMMAND, undo=st.lists(UNDO, max_size=2).map(tuple)),
    st.builds(SetSysctl, **COMMON, key=st.just("net.ipv4.ip_forward"), value=TEXT, before=TEXT),
    st.builds(StartDaemon, **COMMON, name=NAME, argv=st.lists(TEXT, min_size=1, max_size=3).map(tuple), folder=PATH, files=PATHS),
    st.builds(ManageUnit, **COMMON, unit=NAME, files=PATHS, start=st.booleans()),
    st.builds(
        WriteFile, **COMMON, path=PATH, content=st.binary(max_size=50), mode=st.integers(0, 0o7777), secret=st.booleans(), before=TEXT
    ),
    st.builds(RemoveFile, **COMMON, path=PATH, before=TEXT),
    st.builds(StopDaemon, **COMMON, name=NAME),
    st.builds(StopUnit, **COMMON, unit=NAME),
    st.builds(MakeDirectory, **COMMON, path=PATH, mode=MODE, contents=st.booleans()),
)


def _nested(paths: list[str]) -> bool:
    return any(one != other and other.startswith(f"{one}/") for one in paths for other in paths)


def _plan(steps: list[AnyStep]) -> Plan:
    found: dict[str, AnyStep] = {}
    paths: list[str] = []
    for step in steps:
        path = getattr(step, "path", None) if hasattr(step, "before") else None
        if step.id not in found and (path is None or (path not in paths and not _nested([*paths, path]))):
            found[step.id] = step
            paths += [] if path is None else [path]
    return plan_of(*found.values(), host={"hostname": "server"}, settings={"dns": ["192.0.2.1"]})


@given(st.lists(STEP, max_size=5).map(_plan))
def test_what_is_written_is_read_back(plan: Plan) -> None:
    with TemporaryDirectory() as scratch:
        write_plan(plan, Path(scratch) / "plan")
        assert read_plan(Path(scratch) / "plan") == plan


def test_secrets_are_for_the_owner_alone(tmp_path: Path) -> None:
    write_plan(whole_plan(), tmp_path / "plan")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "plan").rglob("*") if path.is_file()}
    assert modes["server.key"] == 0o600
    assert stat.S_IMODE((tmp_path / "plan").stat().st_mode) == 0o700
    assert "secret\\n" not in (tmp_path / "plan/plan.json").read_text()


def test_an_older_plan_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    place = tmp_path / "plan"
    write_plan(whole_plan(version="1"), place)
    write_plan(whole_plan(version="2"), place)
    assert read_plan(place) == whole_plan(version="2")
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]
    (place / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"something else than a plan \(mine.txt\)"):
        write_plan(whole_plan(), place)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is no folder"):
        write_plan(whole_plan(), tmp_path / "file")


def test_profiles_are_replaced_by_those_of_the_same_clients_alone(tmp_path: Path) -> None:
    place = tmp_path / "plan"
    write_plan(whole_plan(), place)
    (place / "clients").mkdir()
    (place / "clients/anna.ovpn").write_text("old")
    with pytest.raises(UsageError, match=r"something else than a plan \(clients\)"):
        write_plan(whole_plan(), place, clients=("bert",))
    assert (place / "clients/anna.ovpn").read_text() == "old"
    write_plan(whole_plan(), place, clients=("anna", "bert"))
    assert not (place / "clients").exists()


def test_where_it_cannot_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CannotRun) as raised:
        write_plan(whole_plan(), tmp_path / "file/plan")
    assert raised.value.status is ExitStatus.UNWRITABLE
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    long = plan_of(file(f"/etc/{'x' * 300}"))
    with pytest.raises(CannotRun, match="File name too long"):
        write_plan(long, tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


def _damage(place: Path, how: str) -> None:
    key = place / "files/etc/openvpn/server/keys/server.key"
    match how:
        case "edited":
            key.write_text("edited")
        case "missing":
            key.unlink()
        case "link":
            key.unlink()
            key.symlink_to("/etc/hostname")
        case "folder behind a link":
            (place / "files/etc").rename(place.parent / "etc")
            (place / "files/etc").symlink_to(place.parent / "etc")
        case "fifo":
            key.unlink()
            os.mkfifo(key)
        case "huge":
            os.truncate(key, 17 << 20)
        case "no plan":
            (place / "plan.json").unlink()
        case "huge plan":
            os.truncate(place / "plan.json", 17 << 20)
        case "no json":
            (place / "plan.json").write_text("{")
        case "no text":
            (place / "plan.json").write_bytes(b"\xff\xfe\x00")
        case "deep":
            (place / "plan.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    "how",
    ["edited", "missing", "link", "folder behind a link", "fifo", "huge", "no plan", "huge plan", "no json", "no text", "deep"],
)
def test_a_damaged_plan_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    write_plan(whole_plan(), tmp_path / "plan")
    _damage(tmp_path / "plan", how)
    with pytest.raises(UsageError) as raised:
        read_plan(tmp_path / "plan")
    assert raised.value.status is ExitStatus.UNREADABLE
    assert "\n" not in str(raised.value)
    assert "vpnprobe provision plan" in str(raised.value)


def test_the_host_is_known_by_its_id_and_else_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("server\n")
    assert this_host(tmp_path) == {"hostname": "server"}
    assert not same_host(plan_of(host={}), {"hostname": "server"})
    assert not same_host(plan_of(host={"machine_id": "1", "hostname": "old"}), {"machine_id": "1", "hostname": "new"})
    assert "made for other, and this is server" in same_host(plan_of(host={"hostname": "other"}), this_host(tmp_path))
