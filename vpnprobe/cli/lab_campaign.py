"""`vpnprobe lab campaign`: many random networks in virtual time, each held against the truth about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.errors import ExitStatus

if TYPE_CHECKING:
    from vpnprobe.lab.campaign.running import Judged
    from vpnprobe.lab.campaign.tally import Tally

BY_HAND: Final = "<!-- by hand -->"
"""The line below which a page of tables keeps what it holds when it is made again."""
TELL_EVERY: Final = 10
"""Networks between two lines of progress."""


@click.command("campaign")
@click.option("--runs", type=click.IntRange(min=1), default=100, show_default=True, help="How many networks.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the draws: the same seed draws the same networks.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; they change nothing of what comes out."
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the wrong draws [default: vpnprobe-results/TIME-campaign-SEED].",
)
@click.option("--shrink", is_flag=True, help="Save the smallest network that is wrong in the same way beside each wrong draw.")
@click.option(
    "--markdown",
    "page",
    type=click.Path(path_type=Path),
    help=f"Also write the tables to this file; what it holds below a line {BY_HAND} stays.",
)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def campaign(runs: int, seed: int, jobs: int, folder: Path | None, *, shrink: bool, page: Path | None, quiet: bool) -> int:
    """Measures random networks in virtual time and compares every verdict with the truth.

    The truth is computed from each network alone. What is judged wrongly is saved as a scenario that replays it (`vpnprobe demo
    --scenario FILE --seed N`; both stand in the file), with the wrong words below. Ctrl-C ends it with the tables of the networks so far.
    """
    from vpnprobe import __version__
    from vpnprobe.cli.finishing import default_folder, now
    from vpnprobe.lab.campaign.matrix import markdown
    from vpnprobe.lab.campaign.running import campaign as judged_draws
    from vpnprobe.lab.campaign.tally import Tally

    tally = Tally()
    folder = folder or default_folder(now(), f"campaign-{seed}")
    interrupted = False
    try:
        for judged in judged_draws(seed, range(runs), processes=jobs):
            tally.add(judged.comparison, judged.draw.features)
            if judged.comparison.findings:
                _save(judged, folder, seed, shrink=shrink)
            if not quiet and (tally.draws % TELL_EVERY == 0 or tally.draws == runs):
                click.echo(_progress(tally, runs), err=True)
    except KeyboardInterrupt:
        if not tally.draws:
            raise
        interrupted = True
        click.echo(f"interrupted: {_progress(tally, runs)}", err=True)
    text = markdown(tally, command_line(tally.draws, seed, page), __version__)
    click.echo(text, nl=False)
    if page is not None:
        _write(page, text + _by_hand(page))
    if tally.wrong_draws:
        click.echo(f"Wrong draws: {folder}")
    return ExitStatus.INTERRUPTED if interrupted else ExitStatus.FINISHED


def command_line(runs: int, seed: int, page: Path | None) -> str:
    """What makes the same tables again; the number of processes and the folder change nothing of them."""
    return f"vpnprobe lab campaign --runs {runs} --seed {seed}" + (f" --markdown {page}" if page is not None else "")


def _progress(tally: "Tally", runs: int) -> str:
    return f"{tally.draws} of {runs} networks, {tally.wrong_draws} judged wrongly somewhere"


def _by_hand(page: Path) -> str:
    """What somebody has written below the tables of a page that is there; empty: nothing."""
    try:
        _, mark, below = page.read_text(encoding="utf-8").partition(BY_HAND)
    except (OSError, UnicodeDecodeError):
        return ""
    return f"\n{mark}{below}" if mark else ""


def _save(judged: "Judged", folder: Path, seed: int, *, shrink: bool) -> None:
    """The draw as a scenario file, and the smallest that is wrong alike."""
    from functools import partial

    from vpnprobe.lab.campaign.running import judge_topology
    from vpnprobe.lab.campaign.scenario_text import scenario_text
    from vpnprobe.lab.campaign.shrink import shrunk, signature

    draw = judged.draw
    name = f"{seed}-{draw.number}"
    text = scenario_text(draw.topology, draw.description, seed=draw.seed, comments=map(str, judged.comparison.findings))
    _write(folder / f"{name}.toml", text)
    if shrink:
        judge = partial(judge_topology, seed=draw.seed)
        small = shrunk(draw.topology, signature(judged.comparison), judge)
        text = scenario_text(small, draw.description, seed=draw.seed, comments=map(str, judge(small).findings))
        _write(folder / f"{name}-small.toml", text)


def _write(file: Path, text: str) -> None:
    """Raises UsageError (UNWRITABLE)."""
    from vpnprobe.observations.document import write_files

    write_files(file.parent, {file.name: text.encode()})
