"""`vpnprobe provision`: from a result to a working OpenVPN: planned, applied, confirmed or taken back, proved from a client."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from vpnprobe.errors import ExitStatus, UsageError

SUBCOMMANDS: Final = {
    "apply": ("provision_apply", "Takes the steps of a plan, all of them or none."),
    "client": ("provision_client", "Adds, revokes, renews and lists clients."),
    "confirm": ("provision_apply", "Keeps what was applied: without it, it goes back in time."),
    "plan": ("provision_plan", "Writes all that would be done, and changes nothing."),
    "renew": ("provision_client", "Renews the server's certificate, or the authority."),
    "rollback": ("provision_apply", "Puts everything back as it was."),
    "status": ("provision_apply", "Says what is applied, what waits, what runs and what expires."),
    "verify": ("provision_verify", "Brings the tunnel of a profile up and proves it (on a client)."),
}
"""Name to the module that has it, and first line of help."""


class LazyGroup(click.Group):
    """Knows its commands by name and imports each when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        command = getattr(import_module(f"vpnprobe.cli.{SUBCOMMANDS[cmd_name][0]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in sorted(SUBCOMMANDS.items())])


@click.group(cls=LazyGroup)
def provision() -> None:
    """Sets up on a server what was recommended, proves it, and can put everything back.

    \b
    On the server:   vpnprobe provision plan RESULT -o DIR
                     vpnprobe provision apply DIR --confirm-within 120s
                     vpnprobe provision client add NAME -o NAME.ovpn
    On the client:   vpnprobe provision verify --profile NAME.ovpn
    On the server:   vpnprobe provision confirm      (or: rollback)
    """


def root_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--root`, as all commands on a server have it."""
    return click.option(
        "--root",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        default=Path("/"),
        help="Files below this folder instead of /: images, tests.",
    )(command)


def asked_passphrase() -> bytes:
    """The passphrase of the authority's key, from the terminal."""
    text: str = click.prompt("Passphrase of the authority's key", hide_input=True, err=True)
    return text.encode()


def tell(line: str) -> None:
    """One line on standard error."""
    from vpnprobe.report.words import visible

    click.echo(visible(line), err=True)


def need_absolute(root: Path) -> Path:
    """The root without links. Raises UsageError for what is no folder."""
    try:
        return root.resolve(strict=True)
    except OSError as error:
        raise UsageError(f"--root {root}: {error.strerror}", status=ExitStatus.USAGE) from None
