"""Observations and verdicts as tables: `observations.csv` (RFC 4180), and pandas data frames for notebooks.

One row an observation, one column a field, always the same columns in the same order. `detail` and `evidence` stand in the CSV as JSON
text; what is not known is an empty cell. A text cell that a spreadsheet would take for a formula gets an apostrophe before it, since
some of the text comes from captures and peers.
"""

import json
from collections.abc import Sequence
from csv import writer
from io import StringIO
from typing import TYPE_CHECKING, Final

from vpnprobe.observations.schema import Observation, Result

if TYPE_CHECKING:
    from pandas import DataFrame

Cell = str | int | float | None

COLUMNS: Final = (
    "id", "probe", "check", "direction", "transport", "port", "outcome", "cause", "sent", "received", "rtt_ms", "error_bound",
    "family", "value", "low", "high", "unit", "last_hop", "last_address", "next_address", "detail", "evidence",
)  # fmt: skip
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
INTEGERS: Final = ("port", "sent", "received", "family", "last_hop")
FLOATS: Final = ("rtt_ms", "error_bound", "value", "low", "high")


def to_csv(result: Result) -> bytes:
    """`observations.csv` as UTF-8 with CRLF line ends; the first line names the columns."""
    text = StringIO()
    rows = writer(text)
    rows.writerow(COLUMNS)
    for row in result.observations:
        rows.writerow([_inert(cell) for cell in _cells(row)])
    return text.getvalue().encode("utf-8", "replace")


def to_table(result: Result) -> "DataFrame":
    """The observations as a data frame with the columns of the CSV, indexed by `id`.

    `detail` holds mappings (`table.detail.str.get("form")` reads one key), `evidence` tuples; what is not known is `<NA>`.
    """
    from pandas import DataFrame

    rows = [(*_cells(row)[:-2], dict(row.detail), row.evidence) for row in result.observations]
    table = DataFrame(rows, columns=list(COLUMNS))
    types = {name: "Int64" for name in INTEGERS} | {name: "Float64" for name in FLOATS}
    return table.astype(types).set_index("id")


def verdict_table(result: Result) -> "DataFrame":
    """The verdicts as a data frame, indexed by protocol: feasibility, port, score, rules and the sentences."""
    from pandas import DataFrame

    rows = [
        (
            verdict.protocol,
            verdict.feasibility.value,
            verdict.port,
            verdict.score,
            ", ".join(reason.rule for reason in verdict.because),
            " ".join(reason.text for reason in verdict.because),
        )
        for verdict in result.verdicts
    ]
    table = DataFrame(rows, columns=["protocol", "feasibility", "port", "score", "rules", "because"])
    return table.astype({"port": "Int64", "score": "Float64"}).set_index("protocol")


def conversation_table(result: Result) -> "DataFrame":
    """The VPN conversations seen on the wire as a data frame; without any, an empty one with the same columns."""
    from pandas import DataFrame

    columns = ["protocol", "client", "client_port", "server", "server_port", "stage", "frames_c2s", "frames_s2c", "capture"]
    rows = [
        (
            one.protocol,
            one.client.address,
            one.client.port,
            one.server.address,
            one.server.port,
            one.stage,
            one.frames_c2s,
            one.frames_s2c,
            one.capture,
        )
        for one in result.conversations
    ]
    return DataFrame(rows, columns=columns).astype({"client_port": "Int64", "server_port": "Int64"})


def _cells(row: Observation) -> Sequence[Cell]:
    place = row.location
    return (
        row.id,
        row.probe,
        row.check,
        row.direction.value,
        row.transport.value,
        row.port,
        row.outcome.value,
        row.cause.value if row.cause else None,
        row.sent,
        row.received,
        row.rtt_ms,
        row.error_bound,
        row.family,
        row.value,
        row.low,
        row.high,
        row.unit.value if row.unit else None,
        place.last_hop if place else None,
        place.last_address if place else None,
        place.next_address if place else None,
        json.dumps(dict(row.detail), default=str, ensure_ascii=False),
        json.dumps([{"capture": frame.capture, "frame": frame.frame} for frame in row.evidence], ensure_ascii=False),
    )


def _inert(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
