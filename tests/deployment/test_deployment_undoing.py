"""Each kind of undo, its proof, and what it says where it is not so."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deployment_support import COMMENT, Server

from vpnprobe.deployment import undoing
from vpnprobe.deployment.undoing import MARK, NotPutBack, Undoing, end_marked, marked, run, sysctl_file


@pytest.fixture
def undo(tmp_path: Path) -> Undoing:
    return Undoing(tmp_path, tmp_path, print)


def sh(script: str) -> dict[str, object]:
    return {"argv": ["sh", "-c", script], "stdin": ""}


def test_a_command_is_run_where_its_condition_holds(undo: Undoing, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    one = {"do": "run", **sh(f"rm {mark}"), "when": sh(f"test -e {mark}")}
    mark.touch()
    for _ in range(2):
        undo.one(one)
        assert not mark.exists()
    with pytest.raises(NotPutBack, match=r"status 1: rm: cannot remove .*No such file"):
        undo.one({**one, "when": None})


def test_what_must_be_gone_is_looked_for(undo: Undoing) -> None:
    undo.one({"do": "gone", **sh("false")})
    with pytest.raises(NotPutBack, match="it is still there: sh -c true succeeds"):
        undo.one({"do": "gone", **sh("true")})


def test_a_sysctl_that_does_not_take_its_value(undo: Undoing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("one", "1"), ("two", "2")):
        (tmp_path / name).write_text(f"{value}\n")
    monkeypatch.setattr(undoing, "sysctl_file", lambda key: tmp_path / key)
    undo.one({"do": "sysctl", "values": [["one", "0"], ["none", "5"]]})
    assert (tmp_path / "one").read_text() == "0\n"
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(NotPutBack, match="sysctl null is , not 1"):
        undo.one({"do": "sysctl", "values": [["null", "1"], ["two", "3"]]})
    assert (tmp_path / "two").read_text() == "3\n", "the rest is done all the same"


def test_keys_are_read_as_sysctl_reads_them() -> None:
    assert sysctl_file("net.ipv4.ip_forward") == Path("/proc/sys/net/ipv4/ip_forward")
    assert sysctl_file("net/ipv4/conf/eth0.1/forwarding") == Path("/proc/sys/net/ipv4/conf/eth0.1/forwarding")


def test_a_command_has_bounded_time_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undoing, "COMMAND_WITHIN_S", 0.3)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run({"argv": ["sh", "-c", "sleep 30 & sleep 30"]})
    assert time.monotonic() - began < 10


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run({"argv": ["no-such-program"]})


def test_what_is_still_running_of_a_transaction_is_ended(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); print(flush=True); time.sleep(600)"
    mark = f"{tmp_path}:7"
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, undoing.MARK: mark}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert len(marked(f"{undoing.MARK}={mark}")) == 2
    end_marked(f"{MARK}={tmp_path}:8")
    assert len(marked(f"{undoing.MARK}={mark}")) == 2
    end_marked(f"{MARK}={tmp_path}:7")
    process.wait(10)
    process.stdout.close()
    assert marked(f"{undoing.MARK}={mark}") == []


@pytest.mark.root
@pytest.mark.requires("namespaces")
def test_rules_are_known_by_their_comment(namespaced: Server) -> None:
    before = namespaced.kernel()
    rules = f'insert rule inet host forward accept comment "{COMMENT}"\nadd rule inet host forward accept comment "{COMMENT}"\n'
    other = 'add rule inet host forward accept comment "vpnprobe test rule 2"\n'
    code = f"""
from pathlib import Path
from vpnprobe.deployment.undoing import *
undo = Undoing(Path("/"), Path("/"), print)
for _ in range(2):
    undo.one({{"do": "nft", "comment": {COMMENT!r}}})
"""
    assert namespaced.command("nft", "-f", "-", input=other).returncode == 0
    with_other = namespaced.kernel()
    assert namespaced.command("nft", "-f", "-", input=rules).returncode == 0
    done = namespaced.command(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert namespaced.kernel() == with_other != before
