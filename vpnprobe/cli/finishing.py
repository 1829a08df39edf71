"""From what was measured to what people read: verdicts, the result folder, the text on the terminal, the exit status."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from vpnprobe import __version__
from vpnprobe.cli.options import Judging, Output
from vpnprobe.errors import ExitStatus
from vpnprobe.observations.schema import Feasibility, Mode, Observation, Result, Run, Verdict
from vpnprobe.rules import Decision, RuleSet, decide


def rule_set(judging: Judging) -> RuleSet:
    """The rules in force. Read before anything is measured, so that a typo costs no run. Raises UsageError."""
    from vpnprobe.rules import check_wishes, load, load_default

    rules = load(judging.rules) if judging.rules is not None else load_default()
    check_wishes(rules, preset=judging.preset, prefer=judging.prefer, client_os=judging.client_os, consider=judging.consider)
    return rules


def decided(
    observations: Sequence[Observation],
    judging: Judging,
    rules: RuleSet,
    *,
    ports: Sequence[int] = (),
    control_port: int | None = None,
    protocols: Sequence[str] = (),
) -> Decision:
    """Verdicts and recommendation; `protocols`: those that were asked about (empty: all)."""
    decision = decide(
        observations,
        rules=rules,
        preset=judging.preset,
        prefer=judging.prefer,
        client_os=judging.client_os,
        consider=judging.consider,
        ports=ports,
        control_port=control_port,
        asked=protocols,
    )
    if not protocols:
        return decision
    kept = tuple(verdict for verdict in decision.verdicts if verdict.protocol in protocols)
    return Decision(kept, decision.recommendation)


def result_of(
    decision: Decision,
    observations: Sequence[Observation],
    *,
    mode: Mode,
    started: datetime,
    duration_s: float,
    name: str,
    client: Mapping[str, Any] | None,
    server: Mapping[str, Any] | None,
    complete: bool,
) -> Result:
    """The result document of a run."""
    run = Run(
        id=f"{started:%Y%m%dT%H%M%SZ}-{name}",
        mode=mode,
        started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        duration_s=round(duration_s, 6),
        version=__version__,
        client=client,
        server=server,
    )
    return Result(run, tuple(observations), decision.verdicts, decision.recommendation, complete)


def default_folder(started: datetime, name: str) -> Path:
    """`vpnprobe-results/UTC-TIME-PEER`, with nothing in the name that a file system or a shell could stumble over."""
    plain = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in name)
    return Path("vpnprobe-results") / f"{started:%Y%m%dT%H%M%SZ}-{plain}"


def publish(result: Result, output: Output, *, name: str, started: datetime, captures: Mapping[str, bytes]) -> Path:
    """Writes the result folder and prints the verdict; returns the folder. Raises UsageError where it cannot be written."""
    from vpnprobe.observations.document import encode, write_folder
    from vpnprobe.report.html import render

    folder = output.folder or default_folder(started, name)
    if output.json:
        # First: a full disk must not cost the reader of standard output its result.
        click.echo(encode(result).decode(), nl=False)
    else:
        show(result, output)
    write_folder(result, folder, report=render(result), captures=captures)
    if not output.json:
        click.echo(f"Report: {folder / 'report.html'}")
    return folder


def show(result: Result, output: Output) -> None:
    """Prints the verdict as text."""
    from vpnprobe.report.text import render_text

    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    click.echo(render_text(result, colour=output.colour, width=width), color=output.colour)


def status_of(verdicts: Sequence[Verdict]) -> ExitStatus:
    """NOTHING_WORKS where there are verdicts and all of them are infeasible."""
    nothing = bool(verdicts) and all(verdict.feasibility is Feasibility.INFEASIBLE for verdict in verdicts)
    return ExitStatus.NOTHING_WORKS if nothing else ExitStatus.FINISHED


def now() -> datetime:
    return datetime.now(UTC)
