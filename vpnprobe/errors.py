"""The three exceptions of vpnprobe, and the exit statuses that the command line gives them.

`DecodeError` is about their bytes, `CannotRun` about this machine or the peer, `UsageError` about our caller.
What the network did is never an exception: it is a row (see `vpnprobe.evidence`).
"""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of the command line."""

    FINISHED = 0
    BUG = 1
    USAGE = 2
    NOTHING_WORKS = 3
    """Finished, and every protocol that got a verdict is infeasible."""
    NO_PEER = 4
    """The peer could not be reached, or it refused to pair."""
    MISSING = 5
    """A privilege or a system program is missing that was asked for by name."""
    UNREADABLE = 6
    """An input could not be read as what it should be: capture, profile, rules, result."""
    UNWRITABLE = 7
    """The output could not be written: a full disk, a folder that is read-only."""
    REFUSED = 8
    """Something is in the way of a set-up, and nothing was changed."""
    PUT_BACK = 9
    """A set-up was begun, and everything has been put back."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM: 128 + SIGINT, as shells have it."""


class DecodeError(ValueError):
    """Bytes that are not what they should be. Names the field and where it stands."""

    def __init__(self, field: str, offset: int, problem: str) -> None:
        super().__init__(f"{field} at offset {offset}: {problem}")
        self.field = field
        """The field's name in the standard's words."""
        self.offset = offset
        """Bytes from the start of the message."""
        self.problem = problem


class CannotRun(Exception):
    """This machine lacks something, or the peer cannot be had. One line: what, with what, what to do."""

    def __init__(self, message: str, *, status: ExitStatus = ExitStatus.NO_PEER) -> None:
        super().__init__(message)
        self.status = status


class UsageError(Exception):
    """Our caller asked for what cannot be, or gave an input that cannot be read. One line."""

    def __init__(self, message: str, *, status: ExitStatus = ExitStatus.USAGE) -> None:
        super().__init__(message)
        self.status = status
