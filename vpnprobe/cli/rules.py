"""`vpnprobe rules`: the rules, why a result came out as it did, and whether a rules file is valid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vpnprobe.rules import RuleSet

RULES_FILE = click.option("--rules", "rules_file", metavar="FILE", help="Rules of your own, merged over the default ones.")


@click.group()
def rules() -> None:
    """Shows, explains and checks the rules behind verdicts."""


@rules.command("list")
@RULES_FILE
def list_rules(rules_file: str | None) -> None:
    """The rules, by protocol: what each asks, and what it means for the verdict."""
    from vpnprobe.rules.explain import listing

    click.echo(listing(_rules(rules_file)), nl=False)


@rules.command("explain")
@click.argument("result", metavar="RESULT")
@RULES_FILE
@click.option("--preset", default="modern", show_default=True, metavar="NAME", help="Which table of scores and weights: modern or classic.")
@click.option("--prefer", multiple=True, metavar="CRITERION", help="Counts as much as all others together; no-CRITERION sets it aside.")
@click.option("--client-os", multiple=True, metavar="NAMES", help="Operating systems of the clients, comma separated.")
@click.option("--consider", multiple=True, metavar="NAMES", help="Protocols that may be recommended as well, comma separated.")
def explain_result(
    result: str, rules_file: str | None, preset: str, prefer: tuple[str, ...], client_os: tuple[str, ...], consider: tuple[str, ...]
) -> None:
    """Why the verdicts of RESULT (a result.json or its folder) came out as they did."""
    from vpnprobe.observations.document import read
    from vpnprobe.rules import explain

    known = _rules(rules_file)
    path = Path(result)
    document = read(path / "result.json" if path.is_dir() else path)
    text = explain(document, known, preset=preset, prefer=_names(prefer), client_os=_names(client_os), consider=_names(consider))
    click.echo(text, nl=False)


@rules.command("check")
@click.argument("file", metavar="FILE")
def check_file(file: str) -> None:
    """Whether FILE is a valid rules file, and what it changes."""
    found = _rules(file)
    click.echo(f"{file}: valid; rules added: {', '.join(found.added) or 'none'}; rules changed: {', '.join(found.overridden) or 'none'}")


def _rules(file: str | None) -> RuleSet:
    from vpnprobe.rules import load, load_default

    return load_default() if file is None else load(file)


def _names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Comma-separated names, the option repeatable."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())
