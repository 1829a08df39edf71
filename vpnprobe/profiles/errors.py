"""What is wrong with a profile, said in one line: which file, which line, what, and what to do.

`ProfileError` is a `UsageError` with exit status 6: an input that cannot be read as what it should be.
"""

from dataclasses import dataclass

from vpnprobe.errors import ExitStatus, UsageError


def shown(text: str) -> str:
    """One line that any terminal takes, of what others wrote: blanks for white space, question marks for what cannot be shown.

    That is control characters, which could rewrite a terminal, and the halves of surrogate pairs that bytes beyond UTF-8 came in as.
    """
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


class ProfileError(UsageError):
    """A profile that cannot be used as its own client would use it."""

    def __init__(self, file: str, line: int, problem: str, mend: str) -> None:
        where = f"{file}, line {line}" if line else file
        super().__init__(shown(f"{where}: {problem}; {mend}"), status=ExitStatus.UNREADABLE)
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
