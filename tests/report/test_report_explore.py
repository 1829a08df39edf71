"""A result folder as tables, figures and packets."""

from pathlib import Path

import pytest
from result_samples import offline_result, seed_result

from vpnprobe.errors import UsageError
from vpnprobe.observations import document
from vpnprobe.report import explore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from scapy.layers.inet import GRE, IP
    from scapy.utils import PcapWriter

    with PcapWriter(str(tmp_path / "client.pcap"), linktype=101) as capture:
        capture.write(IP(src="10.78.0.1", dst="10.78.3.2") / GRE(proto=0x0800) / b"nonce")
    document.write_files(tmp_path, {"result.json": document.encode(seed_result())})
    return tmp_path


def test_tables_of_a_folder_and_of_its_document(folder: Path) -> None:
    found = explore.load(folder)
    assert len(found.observations) == len(seed_result().observations)
    assert found.verdicts.loc["pptp", "feasibility"] == "infeasible"
    assert found.conversations.empty
    assert explore.load(str(folder / "result.json")).folder == folder


def test_packets_are_scapy_packets(folder: Path) -> None:
    (packet,) = explore.load(folder).packets("client")
    assert packet["GRE"].proto == 0x0800


def test_packets_that_are_not_there_are_named(folder: Path) -> None:
    found = explore.load(folder)
    with pytest.raises(UsageError, match="kept no packets of the server"):
        found.packets("server")
    with pytest.raises(UsageError, match="say client or server"):
        found.packets("router")
    (folder / "server.pcap").write_bytes(b"not a capture, but long enough to be one")
    with pytest.raises(UsageError, match="as a capture"):
        found.packets("server")


def test_the_bars_add_up_to_the_observations(folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    axes = explore.load(folder).plot_outcomes()
    assert sum(int(bar.get_width()) for bar in axes.patches) == len(seed_result().observations)  # type: ignore[attr-defined]
    again = explore.Exploration(offline_result(), folder).plot_outcomes(pyplot.subplots()[1])
    assert {text.get_text() for text in again.get_legend().get_texts()} == {"passed", "blocked"}  # type: ignore[union-attr]
    pyplot.close("all")


def test_a_result_without_observations_has_an_empty_figure(folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from dataclasses import replace

    from matplotlib import pyplot

    axes = explore.Exploration(replace(seed_result(), observations=()), folder).plot_outcomes()
    assert list(axes.patches) == []
    pyplot.close("all")


def test_a_folder_that_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"result\.json"):
        explore.load(tmp_path)
