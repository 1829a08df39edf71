"""`vpnprobe lab`: list, up, exec, down."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vpnprobe.cli.lab import instructions, lab
from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.lab import namespaces
from vpnprobe.lab.scenario import load, names

PREFIX = f"vplab-cli-{os.getpid()}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(lab, arguments)


def test_list_shows_each_scenario_on_one_line() -> None:
    lines = run("list").output.splitlines()
    assert len(lines) == len(names())
    for line, name in zip(lines, names(), strict=True):
        assert line.split(maxsplit=1) == [name, load(name).description]


def test_up_of_a_name_that_nothing_has() -> None:
    error = run("up", "sede").exception
    assert isinstance(error, UsageError)
    assert "did you mean 'seed'" in str(error)


def test_up_of_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[topology]\nrouters = 'many'")
    error = run("up", str(tmp_path / "x.toml")).exception
    assert isinstance(error, UsageError)
    assert error.status is ExitStatus.UNREADABLE


@pytest.mark.parametrize(
    ("name", "what"), [("outage", "filters of outage come and go"), ("stall-server", "programs of stall-server stand still")]
)
def test_what_happens_at_times_cannot_stay_up(name: str, what: str) -> None:
    error = run("up", name).exception
    assert isinstance(error, UsageError)
    assert what in str(error)


def test_what_no_kernel_can_show_is_simulated() -> None:
    error = run("up", "clock-ahead", "--prefix", PREFIX).exception
    assert isinstance(error, UsageError)
    assert "namespaces cannot show clocks: all namespaces have the time of their machine ('vpnprobe demo' simulates it anywhere)" in str(
        error
    )


def test_a_server_behind_a_nat_is_reached_at_the_nat() -> None:
    assert "vpnprobe run --peer 10.78.2.2" in instructions(load("server-behind-nat").topology, PREFIX)


def test_without_root_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces.shutil, "which", lambda program, path=None: program)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for arguments in (("up", "seed"), ("exec", "server", "true"), ("down",)):
        error = run(*arguments, "--prefix", PREFIX).exception if arguments[0] != "exec" else run(*arguments).exception
        assert isinstance(error, CannotRun)
        assert error.status is ExitStatus.MISSING


@pytest.fixture
def _root() -> Iterator[None]:
    try:
        namespaces.require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    yield
    namespaces.down(PREFIX)


@pytest.mark.root
@pytest.mark.usefixtures("_root")
class TestWithRoot:
    def test_up_says_how_it_is_used_and_down_what_was_removed(self) -> None:
        up = run("up", "seed", "--prefix", PREFIX)
        assert up.exception is None
        assert f"vpnprobe lab exec --prefix {PREFIX} server vpnprobe serve" in up.output
        assert "vpnprobe run --peer 10.78.3.2" in up.output
        assert len(namespaces.hosts(PREFIX)) == 5
        down = run("down", "--prefix", PREFIX)
        assert down.output == f"removed {', '.join(f'{PREFIX}-{host}' for host in ('client', 'r1', 'r2', 'r3', 'server'))}\n"
        assert namespaces.hosts(PREFIX) == []

    def test_down_of_nothing_says_so(self) -> None:
        down = run("down", "--prefix", PREFIX)
        assert (down.exit_code, down.output) == (0, f"no lab with the prefix '{PREFIX}' is up\n")

    def test_exec_without_a_lab_says_how_to_build_one(self) -> None:
        error = run("exec", "--prefix", PREFIX, "server", "true").exception
        assert isinstance(error, UsageError)
        assert "'vpnprobe lab up NAME' builds one" in str(error)

    def test_exec_runs_a_command_with_its_options_and_gives_its_status(self) -> None:
        assert run("up", "clean", "--prefix", PREFIX).exception is None
        error = run("exec", "--prefix", PREFIX, "r9", "true").exception
        assert isinstance(error, UsageError)
        assert "there is no host 'r9' in this lab, only client, r1, r2, r3, server" in str(error)
        command = ["exec", "--prefix", PREFIX, "server", "sh", "-c", "ip -br -4 addr show to-client; exit 7"]
        done = subprocess.run(
            [sys.executable, "-c", "from vpnprobe.cli.lab import lab; lab()", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 7
        assert "10.78.3.2/24" in done.stdout
