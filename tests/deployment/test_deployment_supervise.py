"""A process that is kept running, found again and ended, by its number and start time and by nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deployment_support import wait_for

from vpnprobe.deployment import supervise
from vpnprobe.deployment.supervise import processes, running, start, start_time, stop


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run/vpnprobe"


def test_it_runs_until_it_is_stopped(run: Path, tmp_path: Path) -> None:
    assert start(run, "one", tmp_path, ["sh", "-c", "echo here $PWD; exec sleep 600"]) == ""
    found = running(run, "one")
    assert found is not None
    assert found["argv"] == ["sh", "-c", "echo here $PWD; exec sleep 600"]
    assert (run / "one.log").read_text() == f"here {tmp_path}\n"
    supervisor, child = found["supervisor"][0], found["child"][0]
    assert os.getsid(supervisor) == supervisor != os.getsid(0)
    assert processes(run, "one") == [supervisor, child]
    assert stop(run, "one") == ""
    assert (start_time(supervisor), start_time(child), running(run, "one")) == (None, None, None)
    assert not run.exists()
    assert stop(run, "one") == "", "it may be stopped twice"


def test_it_is_started_again_where_it_ends(run: Path, tmp_path: Path) -> None:
    assert start(run, "one", tmp_path, ["sleep", "600"]) == ""
    first = running(run, "one")
    assert first is not None
    os.kill(first["child"][0], signal.SIGKILL)
    wait_for(lambda: (now := running(run, "one")) is not None and now["child"] != first["child"])
    again = running(run, "one")
    assert again is not None
    assert again["supervisor"] == first["supervisor"]
    assert stop(run, "one") == ""


def test_it_ends_with_its_supervisor(run: Path, tmp_path: Path) -> None:
    assert start(run, "one", tmp_path, ["sleep", "600"]) == ""
    found = running(run, "one")
    assert found is not None
    os.kill(found["supervisor"][0], signal.SIGKILL)
    wait_for(lambda: start_time(found["child"][0]) != found["child"][1])
    assert running(run, "one") is None
    assert start(run, "one", tmp_path, ["sleep", "600"]) == "", "it can be started anew"
    assert stop(run, "one") == ""


def test_hanging_up_does_not_end_it(run: Path, tmp_path: Path) -> None:
    assert start(run, "one", tmp_path, ["sleep", "600"]) == ""
    found = running(run, "one")
    assert found is not None
    os.kill(found["supervisor"][0], signal.SIGHUP)
    assert running(run, "one") == found
    assert stop(run, "one") == ""


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["sh", "-c", "echo no such port; exit 1"], "sh ended at once: no such port"),
        (["/nowhere/program"], "/nowhere/program ended at once: /nowhere/program cannot be started: No such file or directory"),
        (["true"], "true ended at once: it printed nothing"),
    ],
)
def test_what_ends_at_once_is_a_failure_and_leaves_nothing(run: Path, tmp_path: Path, argv: list[str], why: str) -> None:
    assert start(run, "one", tmp_path, argv) == why
    assert (processes(run, "one"), run.exists()) == ([], False)


def test_what_does_not_listen_is_killed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "STOP_WITHIN_S", 2.0)
    assert start(run, "one", tmp_path, ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]) == ""
    assert stop(run, "one") == ""
    assert processes(run, "one") == []


def test_it_is_found_without_its_file(run: Path, tmp_path: Path) -> None:
    assert start(run, "one", tmp_path, ["sleep", "600"]) == ""
    found = processes(run, "one")
    (run / "one.pid").unlink()
    assert processes(run, "one") == sorted(found)
    assert stop(run, "one") == ""
    assert [start_time(process) for process in found] == [None, None]


def test_a_file_of_an_earlier_boot_names_nobody(run: Path) -> None:
    run.mkdir(parents=True)
    other = subprocess.Popen(["sleep", "60"])
    record = {"supervisor": [other.pid, 1], "child": [other.pid, 1], "argv": ["sleep"], "folder": "/"}
    (run / "one.pid").write_text(json.dumps(record))
    assert (running(run, "one"), processes(run, "one")) == (None, [])
    assert stop(run, "one") == ""
    assert other.poll() is None
    other.kill()
    other.wait()
    run.mkdir(parents=True, exist_ok=True)
    (run / "one.pid").write_text(json.dumps({**record, "supervisor": [1 << 22, None], "child": [1 << 22, None]}))
    assert (running(run, "one"), processes(run, "one")) == (None, []), "it had ended before its start could be noted"
    for damaged in ("", "{", "[]", '{"supervisor": 1}'):
        (run / "one.pid").write_text(damaged)
        assert running(run, "one") is None


def test_as_a_program(run: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-I", supervise.__file__]
    subprocess.run([*program, "start", str(run), "one", str(tmp_path), "sleep", "600"], check=True, env={})
    assert running(run, "one") is not None
    subprocess.run([*program, "stop", str(run), "one"], check=True, env={})
    assert running(run, "one") is None
    done = subprocess.run([*program, "fly", str(run), "one"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "supervise: start RUN NAME FOLDER PROGRAM..., or stop RUN NAME\n")


def test_start_times_tell_processes_apart() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(1 << 22) is None
    zombie = subprocess.Popen(["true"])
    wait_for(lambda: start_time(zombie.pid) is None)
    zombie.wait()
