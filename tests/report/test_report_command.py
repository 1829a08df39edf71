"""`vpnprobe report RESULT`."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from result_samples import seed_result

from vpnprobe.cli.report import report
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations import document
from vpnprobe.report.html import render


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    document.write_files(tmp_path, {"result.json": document.encode(seed_result())})
    return tmp_path


@pytest.mark.parametrize("name", [".", "result.json"])
def test_the_report_stands_beside_the_result(folder: Path, name: str) -> None:
    done = CliRunner().invoke(report, [str(folder / name)], catch_exceptions=False)
    assert done.output == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_bytes() == render(seed_result())


def test_the_report_goes_where_it_is_told(folder: Path) -> None:
    CliRunner().invoke(report, [str(folder), "-o", str(folder / "other.html")], catch_exceptions=False)
    assert sorted(path.name for path in folder.iterdir()) == ["other.html", "result.json"]


def test_a_dash_is_standard_output(folder: Path) -> None:
    done = CliRunner().invoke(report, [str(folder), "-o", "-"], catch_exceptions=False)
    assert done.stdout_bytes == render(seed_result())
    assert not (folder / "report.html").exists()


def test_what_is_no_result_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"{}")
    done = CliRunner().invoke(report, [str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert done.exception.status is ExitStatus.UNREADABLE
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
