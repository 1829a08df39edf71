"""Every notebook runs from top to bottom on a result folder, and is kept without outputs."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from result_samples import offline_result, seed_result

from vpnprobe.observations import document
from vpnprobe.observations.schema import Result
from vpnprobe.report.html import render

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def needs(*packages: str) -> None:
    """Skips with the name of what is missing; where everything must be there (CI=true) that is a failure."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {', '.join(missing)}: pip install 'vpnprobe[notebook]'")


def write(result: Result, folder: Path) -> None:
    from scapy.layers.inet import GRE, IP
    from scapy.utils import PcapWriter

    document.write_folder(result, folder, report=render(result), captures={})
    with PcapWriter(str(folder / "client.pcap"), linktype=101) as capture:
        capture.write(IP(src="10.78.0.1", dst="10.78.3.2") / GRE(proto=0x0800) / b"nonce")


def test_there_is_a_notebook() -> None:
    assert "explore.ipynb" in [notebook.name for notebook in NOTEBOOKS]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def outputs_of(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the notebook on a result folder; its outputs as text. An error in a cell is raised."""
    needs("nbclient", "nbformat", "ipykernel")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("VPNPROBE_RESULT", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    cells = nbformat.read(notebook, as_version=4)
    NotebookClient(cells, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(notebook.parent)}}).execute()
    return json.dumps([cell.get("outputs", []) for cell in cells.cells], ensure_ascii=False)


@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_on_a_result(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(seed_result(), tmp_path)
    shown = outputs_of(notebook, tmp_path, monkeypatch)
    assert "infeasible" in shown
    assert "Recommended: openvpn-udp, port 1194" in shown
    assert "image/png" in shown
    assert "client: 1 packets" in shown
    assert "server: no packets were kept" in shown


@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_first_notebook_runs_on_a_result_without_a_recommendation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(offline_result(), tmp_path)
    shown = outputs_of(Path(__file__).parents[2] / "notebooks" / "explore.ipynb", tmp_path, monkeypatch)
    assert "Nothing is recommended." in shown
    assert "call-up" in shown
