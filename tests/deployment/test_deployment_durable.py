"""Paths below a root, and files that are there whole or not at all."""

import os
import stat
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.durable import found_state, inside, write_whole

OWNER = {"mode": "0640", "uid": os.geteuid(), "gid": os.getegid(), "xattrs": {}}


@pytest.mark.parametrize(
    ("target", "path", "where"),
    [
        ("/run", "/etc/link/x", "run/x"),
        ("../run", "/etc/link/x", "run/x"),
        ("../../../../run", "/etc/link/x", "run/x"),
        ("/etc/link2", "/etc/link/x", "etc/link2/x"),
        ("x", "/etc/../../link", "link"),
    ],
)
def test_links_are_read_as_the_server_reads_them(tmp_path: Path, target: str, path: str, where: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/link").symlink_to(target)
    assert inside(tmp_path, path) == tmp_path / where


def test_the_last_link_may_be_meant_itself(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    assert inside(tmp_path, "/link") == tmp_path / "there"
    assert inside(tmp_path, "/link", follow_last=False) == tmp_path / "link"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="Too many levels"):
        inside(tmp_path, "/link/x")


PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", "/"]), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.sampled_from("abc"), PARTS)), PARTS)
def test_nothing_leads_out_of_a_root(links: list[tuple[str, list[str]]], path: list[str]) -> None:
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name, target in links:
            if not os.path.lexists(root / name):
                (root / name).symlink_to(str(PurePosixPath(*target)))
        try:
            found = inside(root, "/".join(path))
        except OSError:
            return
        assert found.is_relative_to(root)
        assert ".." not in found.parts


def test_a_file_has_bytes_mode_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, b"1", {**OWNER, "xattrs": {"user.a": "AQ=="}, "mtime_ns": 10**18}, tmp_path / ".new")
    state = found_state(path)
    assert (state["mode"], state["xattrs"], state["mtime_ns"]) == ("0640", {"user.a": "AQ=="}, 10**18)
    write_whole(path, b"2", OWNER, tmp_path / ".new")
    assert (path.read_bytes(), found_state(path)["xattrs"]) == (b"2", {})
    assert os.listdir(tmp_path) == ["x"]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new", OWNER, tmp_path / ".new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:3]))
    write_whole(tmp_path / "x", b"0123456789", OWNER, tmp_path / ".new")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_what_is_no_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "."):
        with pytest.raises(OSError, match="no regular file"):
            found_state(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
