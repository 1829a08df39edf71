"""A tally as tables: what was said where what was true, kinds of wrong, and the calibration of error bounds, in Markdown."""

from collections.abc import Iterator, Sequence
from typing import Final

from vpnprobe.lab.campaign.findings import Wrong
from vpnprobe.lab.campaign.tally import DECADES, Tally

MATTERS: Final = {
    "verdict": "Verdicts",
    "row": "Observations",
    "direction": "Directions of what is lost",
    "cause": "Causes",
    "place": "Places",
    "recommendation": "Recommendations",
    "settings": "Settings",
}
"""What is told of each, in this order."""


def markdown(tally: Tally, command: str, version: str) -> str:
    """The whole page."""
    told = f"{tally.draws} networks; in {tally.wrong_draws} of them something that was said is wrong."
    lines = [
        "# Accuracy",
        "",
        "Random networks in virtual time, each measured by both agents and held against a truth that is computed from the network alone.",
        f"Made by vpnprobe {version} with",
        "",
        f"    {command}",
        "",
        f"{told} {tally.undecided} verdicts are `unknown` though the truth is plain.",
        "",
        *tables(tally),
    ]
    return "\n".join(lines).rstrip() + "\n"


def tables(tally: Tally) -> list[str]:
    """Kinds of wrong, a matrix for each matter, the calibration, and what was drawn."""
    lines = ["## Wrong words", "", *_table(("kind", "words", "networks"), _wrong(tally)), ""]
    for matter, title in MATTERS.items():
        lines += [f"## {title}", "", *_matrix(tally, matter), ""]
    return [*lines, *_calibration(tally), "", "## What was drawn", "", *_table(("feature", "networks"), sorted(tally.features.items()))]


def _wrong(tally: Tally) -> Iterator[tuple[str, int, int]]:
    return ((wrong.value, tally.wrong[wrong], tally.wrong_in[wrong]) for wrong in Wrong)


def _matrix(tally: Tally, matter: str) -> list[str]:
    """One line for each truth, one column for each word."""
    counts = {(truth, said): count for (about, truth, said), count in tally.said.items() if about == matter}
    words, truths = sorted({said for _, said in counts}), sorted({truth for truth, _ in counts})
    rows = ([truth or "none", *(counts.get((truth, word), 0) for word in words)] for truth in truths)
    return _table(("truth", *words), rows) if counts else ["None were compared."]


def _calibration(tally: Tally) -> list[str]:
    """Of true hypotheses at most a share p may reach the bound p."""
    rows = ((f"1e-{decade}", tally.reached[decade], f"{tally.reached[decade] / (tally.hypotheses or 1):.2g}") for decade in DECADES)
    told = (
        f"Of {tally.hypotheses} observations of packets that the path treats as others, claimed or not: how many reach an error bound, "
        "and the share of them, which may be no more than the bound."
    )
    return ["## Calibration", "", told, "", *_table(("error bound", "observations", "share"), rows)]


def _table(head: Sequence[str], rows: "Iterator[Sequence[object]] | Sequence[Sequence[object]]") -> list[str]:
    """Columns as wide as what is in them."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], f"| {' | '.join('-' * width for width in widths)} |", *lines[1:]]
