"""`vpnprobe provision`: its commands, and what is wrong usage."""

from pathlib import Path

import pytest

from vpnprobe.cli import run_command
from vpnprobe.cli.provision import SUBCOMMANDS
from vpnprobe.errors import ExitStatus


def test_all_commands_are_listed_and_have_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["provision", "--help"]) == 0
    told = capsys.readouterr().out
    for name in SUBCOMMANDS:
        assert f"\n  {name} " in told
        assert run_command(["provision", name, "--help"]) == 0
        capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nothing"], ExitStatus.USAGE, "nothing"),
        (["plan"], ExitStatus.USAGE, "RESULT"),
        (["plan", "result.json"], ExitStatus.USAGE, "-o"),
        (["plan", "none.json", "-o", "plan"], ExitStatus.UNREADABLE, "none.json"),
        (["plan", "none.json", "-o", "plan", "--split-tunnel"], ExitStatus.USAGE, "--route"),
        (["plan", "none.json", "-o", "plan", "--listen", "udp"], ExitStatus.USAGE, "--listen 'udp'"),
        (["apply", "none"], ExitStatus.UNREADABLE, "none"),
        (["apply", "none", "--no-confirm", "--confirm-within", "5s"], ExitStatus.USAGE, "exclude each other"),
        (["apply", "none", "--confirm-within", "soon"], ExitStatus.USAGE, "'soon' is no time"),
        (["confirm", "--root", "nowhere"], ExitStatus.USAGE, "nowhere"),
        (["client", "add"], ExitStatus.USAGE, "NAME"),
        (["client", "add", "a", "--root", "."], ExitStatus.REFUSED, "nothing is applied here"),
        (["client", "revoke", "a", "--root", "."], ExitStatus.REFUSED, "nothing is applied here"),
        (["renew", "server", "--root", "."], ExitStatus.REFUSED, "nothing is applied here"),
        (["renew", "everything"], ExitStatus.USAGE, "everything"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], status: ExitStatus, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["provision", *words]) == status
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert (out, line.startswith("error: "), said in line) == ("", True, True), line
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["provision", "status", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Nothing is applied.\n"
    assert run_command(["provision", "rollback", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Nothing is applied.\n"
    assert list(tmp_path.iterdir()) == []
