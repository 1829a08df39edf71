"""What stands before a packet in a line because somebody quoted, listed or logged it, taken away from the lines that go on with it.

Where a packet begins is known by the packet itself, so that no list of decorations is needed: what stands before it is one. Its shape (the
same signs, any numbers, any words in their places) is what is taken off the packet's further lines.
"""

import re
from functools import lru_cache
from typing import Final

PREFIX_LIMIT: Final = 200
"""Most characters before a packet that are held to be decoration."""
_PART: Final = re.compile(r"(?P<space>\s+)|(?P<number>\d+)|(?P<word>[^\W\d_]+)|(?P<sign>.)", re.DOTALL)
_TABLE_END: Final = re.compile(r"\s*\|\s*$")
_COMMENT: Final = re.compile(r"\s+<-{2,}.*$")
_CAPTURED_BY_HAND: Final = re.compile(r"^\s*(?://|#\s|\$\s|```)")


@lru_cache(maxsize=256)
def shape_of(prefix: str) -> re.Pattern[str]:
    """A pattern for what looks like `prefix`; space at its end may be missing where the line ends there."""
    parts: list[str] = []
    for found in _PART.finditer(prefix.rstrip()):
        if found["space"]:
            parts.append(r"\s+" if parts else r"\s*")
        elif found["number"]:
            parts.append(r"\d{1,20}")
        elif found["word"]:
            parts.append(r"[^\W\d_]{1,64}")
        else:
            parts.append(re.escape(found[0]))
    behind = len(prefix) - len(prefix.rstrip())
    end = r"(?:[^\S\n]{1," + str(behind) + "}|$)" if behind else ""
    return re.compile("".join(parts) + end)


def without_prefix(line: str, prefix: str) -> str:
    """The line without what looks like `prefix` at its beginning; as it is where nothing does, or where there is nothing but space."""
    if not prefix.strip():
        return line
    found = shape_of(prefix).match(line)
    return line if found is None else line[found.end() :]


def without_suffix(line: str, prefix: str) -> str:
    """The line without the border of a table, which is one where the prefix has it too, and without remarks behind an arrow."""
    if prefix.lstrip().startswith("|"):
        line = _TABLE_END.sub("", line)
    return _COMMENT.sub("", line, count=1) if "<--" in line else line


def is_remark(line: str) -> bool:
    """Whether a line is somebody's comment, a command or the border of a block of code."""
    return bool(_CAPTURED_BY_HAND.match(line))
