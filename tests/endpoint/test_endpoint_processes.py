"""Processes by their program's name, and files as they see them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_support import FakeProc

from vpnprobe.endpoint.processes import MOST_ARGUMENT_BYTES, Process, hides_others, processes, read_file

FOR_EVER = float("inf")


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def found(proc: FakeProc, name: str = "openvpn") -> list[Process]:
    return list(processes(proc.path, [name], FOR_EVER))


def test_by_the_name_of_the_program_in_order(proc: FakeProc) -> None:
    proc.process(70, "openvpn", "--config", "a b.conf", "", parent=12)
    proc.process(12, "/usr/sbin/openvpn", "x.conf")
    proc.process(13, "/usr/sbin/openvpn-tool")
    proc.process(14, "/usr/bin/python3", "openvpn")
    proc.process(15)
    (proc.path / "16").mkdir()
    (proc.path / "self").mkdir()
    assert [(one.pid, one.parent, one.arguments) for one in found(proc)] == [
        (12, 1, ("/usr/sbin/openvpn", "x.conf")),
        (70, 12, ("openvpn", "--config", "a b.conf", "")),
    ]


def test_arguments_are_bounded_and_may_be_any_bytes(proc: FakeProc) -> None:
    proc.process(12, "openvpn", "\udcff", "x" * MOST_ARGUMENT_BYTES)
    (one,) = found(proc)
    assert one.arguments[1] == "\udcff"
    assert len(os.fsencode("\0".join(one.arguments))) == MOST_ARGUMENT_BYTES


def test_a_relative_name_begins_in_the_working_directory(proc: FakeProc, tmp_path: Path) -> None:
    work, other = tmp_path / "work", tmp_path / "other"
    for folder in (work, other):
        folder.mkdir()
        (folder / "x.conf").write_text(folder.name)
    (other / "y.conf").touch()
    proc.process(12, "openvpn", cwd=work)
    for one in processes(proc.path, ["openvpn"], FOR_EVER):
        assert one.shows_its_folder
        paths = [one.file(name, [str(other)]) for name in ("x.conf", "y.conf", "z.conf")]
        assert [path.resolve() if path else None for path in paths] == [work / "x.conf", other / "y.conf", None]


def test_a_name_is_looked_for_under_the_processs_own_root(proc: FakeProc, tmp_path: Path) -> None:
    """A container's; only one that shares our mounts may have named the file before it changed its root."""
    root, ours = tmp_path / "root", tmp_path / "x.conf"
    (root / "etc").mkdir(parents=True)
    (root / "etc/x.conf").touch()
    ours.touch()
    for pid in (12, 13):
        proc.process(pid, "openvpn", root=root)
    proc.shares_mounts(13)
    inside = {one.pid: one.file("/etc/x.conf") is not None for one in processes(proc.path, ["openvpn"], FOR_EVER)}
    outside = {one.pid: one.file(str(ours)) is not None for one in processes(proc.path, ["openvpn"], FOR_EVER)}
    assert (inside, outside) == ({12: True, 13: True}, {12: False, 13: True})


def test_where_nothing_may_be_looked_into_a_whole_name_is_taken_for_ours(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "x.conf").touch()
    proc.process(12, "openvpn")
    for one in processes(proc.path, ["openvpn"], FOR_EVER):
        assert not one.shows_its_folder
        assert one.file(str(tmp_path / "x.conf")) == tmp_path / "x.conf"
        assert one.file("x.conf") is None


@pytest.mark.parametrize("name", ["/dev/stdin", "/proc/self/status", "x\0y", "", ".", "/", "fifo", "x" * 5000])
def test_what_is_no_regular_file_of_its_own_is_none(proc: FakeProc, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    proc.process(12, "openvpn", cwd=tmp_path)
    for one in processes(proc.path, ["openvpn"], FOR_EVER):
        assert one.file(name) is None


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.mkfifo(tmp_path / "fifo")
    assert read_file(tmp_path / "file", 3) == b"123"
    assert [read_file(path, 3) for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero"), tmp_path / "none", Path("x\0"))] == [None] * 5


def test_it_ends_in_time(proc: FakeProc) -> None:
    proc.process(12, "openvpn")
    with pytest.raises(TimeoutError):
        list(processes(proc.path, ["openvpn"], time.monotonic() - 1))


def test_a_process_that_has_ended_is_not_taken_for_another(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "x.conf").touch()
    proc.process(12, "openvpn", cwd=tmp_path)
    for one in processes(proc.path, ["openvpn"], FOR_EVER):
        (proc.path / "12").rename(tmp_path / "gone")
        (tmp_path / "gone/cwd").unlink()
        proc.process(12, "another", cwd=tmp_path)
        assert one.file("x.conf") is None


def test_whether_others_are_hidden(proc: FakeProc, tmp_path: Path) -> None:
    assert not hides_others(proc.path)
    (proc.path / "1/cmdline").unlink()
    assert hides_others(proc.path)
    assert list(processes(tmp_path / "none", ["openvpn"], FOR_EVER)) == []


def test_a_real_process_and_one_that_ends_meanwhile(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux: /proc")
    (tmp_path / "here.conf").touch()
    name = f"vpnprobe-{os.getpid()}"
    # The shell's own name as it is called, and a builtin that waits.
    with subprocess.Popen([name, "-c", "read line", "x"], executable="/bin/sh", stdin=subprocess.PIPE, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (listed := list(processes(Path("/proc"), [name], FOR_EVER))) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [(one.pid, one.parent, one.arguments[1:]) for one in listed] == [(process.pid, os.getpid(), ("-c", "read line", "x"))]
        for one in processes(Path("/proc"), [name], FOR_EVER):
            path = one.file("here.conf")
            assert path is not None
            assert path.samefile(tmp_path / "here.conf")
            assert one.file(str(tmp_path / "here.conf")) is not None
            process.communicate(b"\n")
            assert one.file("here.conf") is None
    assert list(processes(Path("/proc"), [name], FOR_EVER)) == []
