"""The journal as it is read, and what takes back with python3 and the journal alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deployment_support import NO_HOOKS, Server, daemon, file, files_of, folder, plan_of
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment import rollback
from vpnprobe.deployment.apply import apply_plan
from vpnprobe.deployment.rollback import Busy, append, locked, read_journal

PLAN = plan_of(file("/etc/host.conf"), folder("/etc/new"), file("/etc/new/key", b"secret\n", mode=0o600, secret=True))


def applied(server: Server, **facts: Any) -> dict[str, object]:
    before = files_of(server.root)
    apply_plan(PLAN, root=server.root, hooks=NO_HOOKS, **facts)
    assert files_of(server.root) != before
    return before


def emergency(server: Server, *words: object) -> subprocess.CompletedProcess[str]:
    """With nothing of vpnprobe to be found, as another program would run it."""
    program = [sys.executable, "-I", str(server.journal / "rollback.py"), *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, cwd="/", env={})


def test_python_and_the_journal_take_everything_back(server: Server) -> None:
    before = applied(server)
    done = emergency(server)
    assert (done.returncode, done.stdout, done.stderr) == (0, "taken back: OpenVPN on udp/1194\n", "")
    assert files_of(server.root) == before
    assert emergency(server).stdout == "taken back: nothing was left to take back\n"
    assert files_of(server.root) == before
    assert not list(server.journal.glob("saved/*")), "saved files may be secret"


def test_what_is_confirmed_stays_at_boot(server: Server) -> None:
    applied(server)
    after = files_of(server.root)
    assert emergency(server, "--unconfirmed").returncode == 0
    assert files_of(server.root) == after


def test_the_journal_is_named_by_its_folder(server: Server, tmp_path: Path) -> None:
    before = applied(server)
    done = subprocess.run([sys.executable, rollback.__file__, str(server.journal)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files_of(server.root) == before
    assert subprocess.run([sys.executable, rollback.__file__, str(tmp_path / "none")], capture_output=True, check=False).returncode == 1


def test_a_process_ends_and_its_files_go(server: Server) -> None:
    before = files_of(server.root)
    apply_plan(plan_of(daemon("/etc")), root=server.root, hooks=NO_HOOKS)
    assert len(server.processes()) == 2
    assert emergency(server).returncode == 0
    assert (files_of(server.root), server.processes()) == (before, [])


@given(cut=st.integers(0, 500))
def test_a_torn_last_line_was_never_written(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    place = tmp_path_factory.mktemp("journal")
    begin = {"entry": "begin", "transaction": 1, "schema": rollback.SCHEMA, "summary": "x", "boot": "b", "network": "n"}
    append(place, {**begin, "confirm_within_s": None})
    append(place, {"entry": "step", "transaction": 1, "step": 0, "id": "a", "why": "w", "undo": []})
    whole = (place / "journal.jsonl").read_bytes()
    torn = whole[: min(cut, len(whole))]
    (place / "journal.jsonl").write_bytes(torn)
    found = read_journal(place)
    assert sum(1 + len(one.steps) for one in found) == torn.count(b"\n")
    append(place, {**begin, "transaction": 2})
    assert [one.number for one in read_journal(place)] == [one.number for one in found] + [2]
    assert (place / "journal.jsonl").read_bytes().startswith(torn[: torn.rfind(b"\n") + 1])


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, {"entry": "done", "transaction": 1})
    before = (tmp_path / "journal.jsonl").read_bytes()
    real, left = os.write, [10]

    def full(handle: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        length, left[0] = left[0], 0
        return real(handle, bytes(data)[:length])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append(tmp_path, {"entry": "done", "transaction": 2})
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_journal_of_another_version_is_left_alone(server: Server) -> None:
    applied(server)
    path = server.journal / "journal.jsonl"
    path.write_text(path.read_text().replace(rollback.SCHEMA, "vpnprobe.journal/9"))
    after = files_of(server.root)
    done = emergency(server)
    assert done.returncode == 1
    assert "line 1 cannot be read: it is of vpnprobe.journal/9, this program reads vpnprobe.journal/1" in done.stderr
    assert files_of(server.root) == after


def test_what_cannot_be_put_back_is_said_and_all_the_rest_is(server: Server) -> None:
    before = applied(server)
    (server.journal / "saved/1-0").write_text("damaged")
    done = emergency(server)
    assert done.returncode == 1
    assert done.stderr.count("could not be put back") == 1
    assert f"{server.root}/etc/host.conf stays as it is: {server.journal}/saved/1-0 is damaged" in done.stderr
    now = files_of(server.root)
    assert {name for name in {*before, *now} if before.get(name) != now.get(name)} == {"etc/host.conf"}
    assert emergency(server).returncode == 1, "it is tried again"
    assert emergency(server, "--leave").returncode == 1
    assert emergency(server).returncode == 0, "it was given up"


def test_what_somebody_has_written_since_is_kept(server: Server) -> None:
    before = applied(server)
    (server.root / "etc/host.conf").write_text("by hand\n")
    (server.root / "etc/new/mine").write_text("mine\n")
    done = emergency(server)
    assert done.returncode == 0
    kept = next(server.journal.glob("edited-*-host.conf"))
    assert kept.read_text() == "by hand\n"
    assert f"was edited since: what stood there is kept as {kept}" in done.stderr
    assert "etc/new is left: it holds mine, which the set-up did not write" in done.stderr
    assert files_of(server.root)["etc/host.conf"] == before["etc/host.conf"]


def test_a_link_that_somebody_has_put_there_since_is_not_followed(server: Server, tmp_path: Path) -> None:
    before = applied(server)
    (tmp_path / "elsewhere").write_text("new\n")
    (server.root / "etc/host.conf").unlink()
    (server.root / "etc/host.conf").symlink_to(tmp_path / "elsewhere")
    assert emergency(server).returncode == 0
    assert (tmp_path / "elsewhere").read_text() == "new\n"
    assert files_of(server.root)["etc/host.conf"] == before["etc/host.conf"]


def test_one_works_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(server)
    monkeypatch.setattr(rollback, "COMMAND_WITHIN_S", 0.1)
    with locked(server.journal):
        with pytest.raises(Busy), locked(server.journal):
            pass
        assert rollback.main([str(server.journal)]) == 1


def test_all_of_a_file_is_in_the_journal(server: Server) -> None:
    attributes = {"user.note": "AG1pbmU="} if os.listxattr(server.root / "etc/host.conf") else {}
    applied(server)
    was = json.loads((server.journal / "journal.jsonl").read_text().splitlines()[1])["undo"][0]["was"]
    assert (was["mode"], was["xattrs"], was["mtime_ns"]) == ("0640", attributes, 10**18 + 7)
