"""A profile's test uses the identity of the user's own tunnel, which it interrupts: never without a word, and here only with leave.

A server serves the newest session of an identity. Where this machine shows that the tunnel is up, the user is asked on a terminal;
elsewhere than on a terminal the test is refused without `--take-over`. What is up on another machine nobody sees: one line warns of it.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.endpoint.running_tunnels import TunnelSearch

OPTION: Final = "--take-over"


def with_leave(file: str, search: "TunnelSearch", interrupts: str, tell: Callable[[str], None], *, take_over: bool) -> None:
    """Returns where the profile may be tried; raises UsageError where it may not.

    `interrupts`: what a test does to such a tunnel, a sentence's end behind "a test".
    """
    from vpnprobe.report.words import visible

    for one in search.untold:
        tell(f"{file}: it cannot be told whether this is its tunnel: {one}")
    if not search.tunnels:
        tell(f"{file}: where its tunnel is up on another machine, a test {interrupts}")
        return
    what = " and ".join(tunnel.what for tunnel in search.tunnels)
    running = "is up" if len(search.tunnels) == 1 else "are up"
    if take_over:
        tell(f"{file}: {what} {running}, and the test {interrupts}")
    elif not _may_ask():
        raise UsageError(f"{file}: {what} {running}, and a test {interrupts}: end it first, or give {OPTION}")
    elif not click.confirm(visible(f"{file}: {what} {running}, and a test {interrupts}. Try it all the same?"), err=True):
        raise UsageError(f"{file}: not tried, since {what} {running}: end it first, or give {OPTION}")


def _may_ask() -> bool:
    """Whether somebody sits there who reads the question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()
