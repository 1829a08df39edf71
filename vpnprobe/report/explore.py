"""A result folder in a notebook: tables, figures and packets.

`load("vpnprobe-results/demo")` gives an `Exploration`: its tables are pandas data frames, its figures matplotlib axes, its packets scapy
packets. The heavy libraries load with the first use of each. Raises UsageError where the folder is not a result.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations import document, tables
from vpnprobe.observations.schema import Outcome, Result
from vpnprobe.report.words import outcome_mark, probe_name, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

CAPTURES: Final = {"client": "client.pcap", "server": "server.pcap"}
TONES: Final = {"good": "#2f8f63", "fair": "#d08a1d", "bad": "#c0392b", "mute": "#a3a9af"}


@dataclass(frozen=True)
class Exploration:
    """One result and the folder that it stands in."""

    result: Result
    folder: Path

    @cached_property
    def observations(self) -> "DataFrame":
        """One row an observation, indexed by id; `detail` holds mappings."""
        return tables.to_table(self.result)

    @cached_property
    def verdicts(self) -> "DataFrame":
        """One row a protocol, indexed by it."""
        return tables.verdict_table(self.result)

    @cached_property
    def conversations(self) -> "DataFrame":
        """One row a VPN conversation seen on the wire; empty for a live run."""
        return tables.conversation_table(self.result)

    def plot_outcomes(self, ax: "Axes | None" = None) -> "Axes":
        """How many observations of each probe came out how, as stacked bars; draws on `ax`, or on a new figure."""
        from matplotlib import pyplot
        from matplotlib.ticker import MaxNLocator

        axes = pyplot.subplots(figsize=(8, 4.5))[1] if ax is None else ax
        counts = self.observations.groupby(["probe", "outcome"]).size().unstack(fill_value=0)
        order = [outcome.value for outcome in Outcome if outcome.value in counts.columns]
        shown = counts[order].iloc[::-1] if order else counts
        left = [0] * len(shown)
        for value in order:
            mark = outcome_mark(Outcome(value))
            widths = [int(width) for width in shown[value]]
            names = [_plain(probe_name(str(probe))) for probe in shown.index]
            axes.barh(names, widths, left=left, label=mark.word, color=TONES[mark.tone], edgecolor="white", hatch=HATCHES.get(value))
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_xlabel("observations")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("How the probes came out")
        axes.spines[["top", "right"]].set_visible(False)
        if order:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return axes

    def packets(self, vantage: str) -> list[Any]:
        """The scapy packets that the capture of one end, `client` or `server`, holds. Raises UsageError where there is none."""
        if vantage not in CAPTURES:
            raise UsageError(f"no end is called {vantage!r}: say {' or '.join(CAPTURES)}")
        file = self.folder / CAPTURES[vantage]
        if not file.is_file():
            raise UsageError(f"{file} is not there: this run kept no packets of the {vantage}", status=ExitStatus.UNREADABLE)
        from scapy.all import PcapReader, Scapy_Exception

        try:
            # Scapy does not close a file that it cannot read when it opened it itself.
            with file.open("rb") as stream, PcapReader(stream) as reader:
                return list(reader)
        except Scapy_Exception as problem:
            raise UsageError(f"cannot read {file} as a capture: {visible(str(problem))}", status=ExitStatus.UNREADABLE) from problem


HATCHES: Final = {"no-answer": "//", "skipped": "..", "refused": "xx"}
"""So that outcomes of one colour can be told apart."""


def load(folder: str | Path) -> Exploration:
    """The result of a folder, or of a result.json by itself."""
    path = Path(folder)
    return Exploration(document.read(path), path if path.is_dir() else path.parent)


def _plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")
