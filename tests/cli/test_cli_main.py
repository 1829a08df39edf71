"""The command line as a whole: exit statuses, one-line errors, what is printed where."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from vpnprobe import __version__, cli
from vpnprobe.cli import options, run_command
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports import capabilities

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())


SEGMENTS = "quality-loss-tcp-c2s"


def vpnprobe(
    arguments: Sequence[str], *, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vpnprobe", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error; anything more fails."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_version_and_help_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"vpnprobe {__version__}\n"
    assert run_command(["--help"]) == 0
    told = capsys.readouterr().out
    assert "vpnprobe serve" in told
    assert "provision" in told


def test_no_arguments_show_the_help_and_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([]) == ExitStatus.USAGE
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nonsense"], ExitStatus.USAGE, "nonsense"),
        (["run"], ExitStatus.USAGE, "--peer"),
        (["run", "--peer", "h", "--port", "70000"], ExitStatus.USAGE, "70000"),
        (["run", "--peer", "ssh://h", "--solo"], ExitStatus.USAGE, "--solo"),
        (["run", "--peer", "127.0.0.1", "--only", "pttp"], ExitStatus.USAGE, "did you mean pptp"),
        (["demo", "--scenario", "nowhere"], ExitStatus.USAGE, "nowhere"),
        (["demo", "--prefer", "sped"], ExitStatus.USAGE, "speed"),
        (["demo", "--preset", "future"], ExitStatus.USAGE, "future"),
        (["demo", "--rules", "/nonexistent/rules.toml"], ExitStatus.UNREADABLE, "/nonexistent/rules.toml"),
        (["report", "/nonexistent/result.json"], ExitStatus.UNREADABLE, "/nonexistent/result.json"),
        (["analyze"], ExitStatus.USAGE, "--client"),
        (["analyze", "/nonexistent.pcap"], ExitStatus.UNREADABLE, "/nonexistent.pcap"),
        (["serve", "--listen", "nowhere"], ExitStatus.USAGE, "nowhere"),
    ],
)
def test_bad_input_gets_one_line_and_its_status(
    arguments: list[str],
    status: ExitStatus,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == status
    assert words in error_line(capsys)
    assert list(tmp_path.iterdir()) == [], "something was half written"


def test_demo_prints_the_verdict_and_writes_the_whole_folder(tmp_path: Path) -> None:
    done = vpnprobe(["demo", "-o", "out", "--quiet"], cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Use OpenVPN over UDP" in done.stdout
    assert done.stdout.rstrip().endswith("Report: out/report.html")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "result.json",
        "report.html",
        "observations.csv",
        "client.pcap",
        "server.pcap",
    }
    jsonschema.validate(json.loads((tmp_path / "out" / "result.json").read_text()), SCHEMA)


def test_json_is_the_document_and_nothing_else(tmp_path: Path) -> None:
    done = vpnprobe(["demo", "--scenario", "all-blocked", "--json"], cwd=tmp_path)
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    assert done.returncode == ExitStatus.NOTHING_WORKS
    assert {verdict["feasibility"] for verdict in document["verdicts"]} == {"infeasible"}
    assert "probing" in done.stderr
    assert [folder.name.split("-", 1)[1] for folder in (tmp_path / "vpnprobe-results").iterdir()] == ["demo-all-blocked"]


def test_demo_repeats_itself_for_a_seed(tmp_path: Path) -> None:
    command = ["demo", "--scenario", "lossy", "--json", "-o"]
    first, second, other = (
        # How many segments the captures' hand-over takes depends on what TLS draws for itself, since they are compressed.
        [
            row
            for row in json.loads(vpnprobe([*command, name, "--seed", seed], cwd=tmp_path).stdout)["observations"]
            if row["id"] != SEGMENTS
        ]
        for name, seed in (("a", "7"), ("b", "7"), ("c", "8"))
    )
    assert first == second
    assert first != other


def test_a_full_disk_costs_nobody_the_verdict(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("in the way")
    done = vpnprobe(["demo", "-o", str(target), "--json", "--quiet"], cwd=tmp_path)
    assert json.loads(done.stdout)["complete"] is True
    assert done.returncode == ExitStatus.UNWRITABLE
    assert len(done.stderr.splitlines()) == 1
    assert str(target) in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m vpnprobe demo --json --quiet -o out | head -c 1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there(shell: str) -> None:
    done = vpnprobe([], environment={"_VPNPROBE_COMPLETE": f"{shell}_source"})
    assert "_VPNPROBE_COMPLETE" in done.stdout


def test_colours_only_on_a_terminal_and_never_with_no_color(tmp_path: Path) -> None:
    done = vpnprobe(["demo", "--quiet", "-o", "out"], cwd=tmp_path, environment={"NO_COLOR": "1"})
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize("command", [("serve",), ("run", "--peer", "127.0.0.1")])
def test_whether_a_token_file_can_be_read_is_told_by_reading_it(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """access(2) says no of a file that a capability opens all the same."""
    token = tmp_path / "token"
    token.write_text("not a token\n")
    token.chmod(0o600)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert run_command([*command, "--token-file", str(token)]) != 0
    told = error_line(capsys)
    assert str(token) in told
    assert "is not readable" not in told


# ------------------------------------------------------------------------------------------------------ ended from outside


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vpnprobe", "demo", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("simulating")
    process.terminate()
    _, complained = process.communicate(timeout=60)
    assert (process.returncode, complained.splitlines()[-1]) == (130, "error: interrupted")
    assert "Traceback" not in complained
    assert not (tmp_path / "out").exists()


def test_a_full_disk_behind_standard_output_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli.vpnprobe, "main", full)
    monkeypatch.setattr(cli, "_forget_standard_output", lambda: None)
    assert cli.run_command(["demo"]) == ExitStatus.UNWRITABLE
    assert capsys.readouterr().err == "error: standard output cannot be written: no space left on device; free some space\n"


@pytest.mark.parametrize(("only", "refused"), [("gre", "gre"), ("esp,udp", "esp"), ("udp", ""), ("pptp", "")])
def test_probes_that_are_nothing_without_privilege(only: str, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol brings what its verdict rests on, and is judged by the rest; a probe that was asked for by name is all there is."""
    monkeypatch.setattr(capabilities, "found", frozenset)
    if not refused:
        options.require_privilege([only])
        return
    with pytest.raises(CannotRun, match=f"^--only {refused}: raw IP sockets may not be opened here: run it with sudo, or: ") as caught:
        options.require_privilege([only])
    assert caught.value.status is ExitStatus.MISSING
