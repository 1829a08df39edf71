"""Options that several commands share, and what they mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from vpnprobe.errors import CannotRun, ExitStatus, UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Output:
    """What is printed, and where the result goes."""

    folder: Path | None
    """None: a new one under `vpnprobe-results/`."""
    json: bool
    quiet: bool
    colour: bool


@dataclass(frozen=True, slots=True)
class Judging:
    """How observations become a recommendation."""

    rules: Path | None
    preset: str
    prefer: tuple[str, ...]
    client_os: tuple[str, ...]
    consider: tuple[str, ...]


def split_names(values: Sequence[str]) -> tuple[str, ...]:
    """Comma-separated, repeatable names as one tuple, each once."""
    return tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


output_options = together(
    click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Result folder [default: vpnprobe-results/TIME-PEER]."),
    click.option("--json", "as_json", is_flag=True, help="Print the result document, and nothing else, on standard output."),
    click.option("--quiet", is_flag=True, help="No progress on standard error."),
    click.option("--no-color", is_flag=True, help="No colours (NO_COLOR does the same)."),
)
judging_options = together(
    click.option("--rules", "rules_file", type=click.Path(path_type=Path), help="Rules to add or to put in place of the built-in ones."),
    click.option("--preset", default="modern", show_default=True, help="Weights of the criteria: modern or classic."),
    click.option("--prefer", multiple=True, metavar="CRITERION", help="Weigh this criterion most: ease, speed, security, stability, ..."),
    click.option("--client-os", multiple=True, metavar="NAMES", help="Clients that must be able to: windows, macos, ios, android, linux."),
    click.option("--consider", multiple=True, metavar="NAMES", help="Further protocols that may be recommended."),
)
probing_options = together(
    click.option("--only", multiple=True, metavar="NAMES", help="Only these protocols or probes (comma separated, repeatable)."),
    click.option("--skip", multiple=True, metavar="NAMES", help="Not these protocols or probes."),
)


def output_of(folder: Path | None, *, as_json: bool, quiet: bool, no_color: bool) -> Output:
    import os
    import sys

    colour = not no_color and "NO_COLOR" not in os.environ and sys.stdout.isatty()
    return Output(folder, as_json, quiet, colour)


def judging_of(rules_file: Path | None, preset: str, prefer: Sequence[str], client_os: Sequence[str], consider: Sequence[str]) -> Judging:
    return Judging(rules_file, preset, split_names(prefer), split_names(client_os), split_names(consider))


def probes_for(only: Sequence[str], skip: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The probes to run (empty: all) and the protocols to judge (empty: all). Raises UsageError for an unknown name."""
    from difflib import get_close_matches

    from vpnprobe.probes.catalogue import NEEDED_BY, PROBES

    probes = {probe.name for probe in PROBES}
    wanted, unwanted = split_names(only), split_names(skip)
    for name in (*wanted, *unwanted):
        if name not in probes and name not in NEEDED_BY:
            near = get_close_matches(name, [*NEEDED_BY, *probes], 1)
            hint = f": did you mean {near[0]}?" if near else f": known are {', '.join(dict.fromkeys([*NEEDED_BY, *sorted(probes)]))}"
            raise UsageError(f"there is no protocol or probe {name!r}{hint}")
    protocols = [name for name in NEEDED_BY if name not in unwanted and (not wanted or name in wanted or _by_probe(name, wanted))]
    running = {probe for protocol in protocols for probe in NEEDED_BY[protocol]}
    named = probes & set(wanted)
    if named:
        # A probe that was asked for by name runs alone; a protocol brings all that its verdict rests on.
        running = named | {probe for name in wanted if name in NEEDED_BY for probe in NEEDED_BY[name]}
    running -= set(unwanted)
    if not running:
        raise UsageError("--only and --skip leave nothing to probe: name fewer")
    everything = not wanted and not unwanted
    return (frozenset() if everything else frozenset(running)), (() if everything else tuple(protocols))


def require_privilege(only: Sequence[str]) -> None:
    """Raises CannotRun (status MISSING) where a probe was asked for by name that is nothing without raw sockets, and there are none."""
    from vpnprobe.evidence.checks import SPECS
    from vpnprobe.transports import capabilities
    from vpnprobe.transports.stack import Capability

    raw = {probe for probe, _ in SPECS} - {probe for (probe, _), spec in SPECS.items() if not spec.raw}
    asked = [name for name in split_names(only) if name in raw]
    if asked and Capability.RAW_IP not in capabilities.found():
        raise CannotRun(f"--only {','.join(asked)}: {capabilities.lacking(Capability.RAW_IP)}", status=ExitStatus.MISSING)


def _by_probe(protocol: str, wanted: Sequence[str]) -> bool:
    from vpnprobe.probes.catalogue import NEEDED_BY

    return any(probe in wanted for probe in NEEDED_BY[protocol])
