"""What is wrong with a profile, said in one line: which file, which line, what, and what to do.

`ProfileError` is a `UsageError` with exit status 6: an input that cannot be read as what it should be.
"""

from dataclasses import dataclass

from vpnprobe.errors import ExitStatus, UsageError


class ProfileError(UsageError):
    """A profile that cannot be used as an OpenVPN client would use it."""

    def __init__(self, file: str, line: int, problem: str, mend: str) -> None:
        where = f"{file}, line {line}" if line else file
        message = f"{where}: {problem}; {mend}"
        # Bytes that are no UTF-8 came in as halves of surrogate pairs, which no terminal takes.
        super().__init__(message.encode("utf-8", "replace").decode(), status=ExitStatus.UNREADABLE)
        self.file = file
        self.line = line
        """Counted from 1; 0 where it is about the whole file."""
        self.problem = problem
        self.mend = mend
        """What to do, an imperative."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a profile."""

    file: str
    line: int
    """Counted from 1; 0: the whole file."""

    def wrong(self, problem: str, mend: str) -> ProfileError:
        """The error to raise for what stands here."""
        return ProfileError(self.file, self.line, problem, mend)
