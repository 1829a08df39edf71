"""The command line: parse, call one function, print.

Commands are loaded when they are used, and heavy libraries by the function that needs them, so `vpnprobe --help` costs hardly more than
click itself. An error is one line on standard error and an exit status of `vpnprobe.errors.ExitStatus`, never a traceback (which
VPNPROBE_DEBUG=1 shows).
"""

import errno
import os
import signal
import sys
from importlib import import_module
from typing import Final

import click

from vpnprobe import __version__
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

COMMANDS: Final = {
    "analyze": "Analyses captures: pcap or pcapng, plain or compressed, or what tcpdump printed.",
    "demo": "Runs both agents in a simulated network.",
    "doctor": "Says what this machine can and cannot probe, and the one command that mends each lack.",
    "lab": "Builds scenarios out of real network namespaces (Linux, root), or measures random ones in virtual time.",
    "provision": "Sets up on a server what was recommended, proves it, and can put everything back.",
    "report": "Renders the HTML report of RESULT, a result folder or its result.json, again.",
    "rules": "Shows, explains and checks the rules behind verdicts.",
    "run": "Probes the path to a peer and says which VPN works.",
    "serve": "Waits for clients and answers their probes.",
}
"""Name to first line of help; module and function bear the command's name."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What standard output says that leads to a file which has no room left."""


class LazyGroup(click.Group):
    """Knows its commands by name and imports each when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"vpnprobe.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vpnprobe", message="%(prog)s %(version)s")
def vpnprobe() -> None:
    """Finds which VPN protocol works between this client and that server, proves it, and says what stops the others.

    \b
    Try it here:        vpnprobe demo
    On the server:      vpnprobe serve
    On the client:      vpnprobe run --peer HOST
    No agent there:     vpnprobe run --peer ssh://HOST   or   vpnprobe run --solo --peer HOST
    """


def main() -> None:
    """Runs the command line and ends the process with its exit status. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs one command line; returns the exit status."""
    try:
        status = vpnprobe.main(arguments, prog_name="vpnprobe", standalone_mode=False)
        sys.stdout.flush()
        return int(status) if isinstance(status, int) else ExitStatus.FINISHED
    except (CannotRun, UsageError) as error:
        return _say(str(error), error.status)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitStatus.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "vpnprobe"
        return _say(f"{error.format_message()} See '{where} --help'.", ExitStatus.USAGE)
    except click.ClickException as error:
        return _say(error.format_message(), ExitStatus.USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone: there is nobody left to tell.
        _forget_standard_output()
        return ExitStatus.FINISHED
    except OSError as error:
        if error.errno not in FULL:
            return _bug(error)
        _forget_standard_output()
        return _say(f"standard output cannot be written: {os.strerror(error.errno or 0).lower()}; free some space", ExitStatus.UNWRITABLE)
    except Exception as error:
        return _bug(error)


def _bug(error: Exception) -> int:
    if os.environ.get("VPNPROBE_DEBUG"):
        raise error
    return _say(f"internal error: {type(error).__name__}: {error}; this is a bug (VPNPROBE_DEBUG=1 shows where)", ExitStatus.BUG)


def _forget_standard_output() -> None:
    """What is still in its buffer goes nowhere, instead of raising once more at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, status: int) -> int:
    from vpnprobe.report.words import visible

    # A peer's words may be in it: nothing of them may move the cursor.
    click.echo("error: " + visible(" ".join(message.split())), err=True)
    return int(status)
