"""Scenarios: TOML files that describe a network and what an honest run in it must find.

A file has a `description` (one line), a `[topology]` table (see `vpnprobe.lab.topologies`), an `[expect]` table (see
`vpnprobe.lab.expectation`) and, where namespaces cannot show it, the reason as `simulated_only`. A network is given `Scenario.topology`
alone: that is read from `stripped()`, which holds nothing but the `[topology]` table, so neither the expectation nor the name nor the
description can reach it.
"""

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.lab.expectation import Expectation, ExpectedObservation, read_expectation, shortfalls
from vpnprobe.lab.tables import Table, nearest, parse
from vpnprobe.lab.topologies import read_topology
from vpnprobe.transports.topology import Topology

__all__ = ["Expectation", "ExpectedObservation", "Scenario", "load", "names", "read", "shortfalls", "stripped"]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    """The file's name without its ending."""
    description: str
    """One line."""
    topology: Topology
    expectation: Expectation
    simulated_only: str = ""
    """Why namespaces cannot show it, one line; empty: they can."""


def names() -> tuple[str, ...]:
    """The built-in scenarios, in alphabetical order."""
    folder = files("vpnprobe.lab") / "scenarios"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load(name_or_path: str | os.PathLike[str]) -> Scenario:
    """A built-in scenario by its name, or a file: what ends in `.toml` or has a folder in it.

    Raises UsageError: no such scenario (USAGE), or a file that cannot be read as one (UNREADABLE).
    """
    given = os.fspath(name_or_path)
    if given.endswith(".toml") or os.sep in given:
        return read(_text_of(Path(given)), name=Path(given).stem, source=given)
    if given not in names():
        raise UsageError(f"there is no scenario {given!r}{nearest(given, names())} ('vpnprobe lab list' shows them all)")
    return read((files("vpnprobe.lab") / "scenarios" / f"{given}.toml").read_text("utf-8"), name=given, source=f"{given}.toml")


def read(text: str, *, name: str, source: str) -> Scenario:
    """The scenario that a file's text describes; `source` names the file in messages."""
    document = parse(text, source)
    scenario = Scenario(
        name=name,
        description=document.text("description"),
        topology=read_topology(Table(stripped(text, source=source), source, "topology")),
        expectation=read_expectation(document.table("expect")),
        simulated_only=document.text("simulated_only"),
    )
    document.table("topology")
    document.done()
    return scenario


def stripped(text: str, *, source: str = "scenario") -> dict[str, object]:
    """The `[topology]` table of a scenario's text, and nothing else of it."""
    return dict(parse(text, source).table("topology").values)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", status=ExitStatus.UNREADABLE) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})", status=ExitStatus.UNREADABLE) from error
