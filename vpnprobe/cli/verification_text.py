"""A verification on a terminal: its verdict, a line for each proof with what mends it, and each leak. Fits the width of the terminal."""

import shutil
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from vpnprobe.report.text import COLOURS, RESET, SYMBOLS
from vpnprobe.report.words import visible

if TYPE_CHECKING:
    from vpnprobe.deployment.verification.model import Leak, Verification

WIDEST: Final = 100
LEAST: Final = 40
TONES: Final = {"shown": "good", "failed": "bad", "unknown": "mute"}
VERDICTS: Final = {"proved": "good", "failed": "bad", "not-proved": "mute"}
WORDS: Final = {
    "up": "Up",
    "data": "Data both ways",
    "path": "Path",
    "leaks": "Leaks",
    "ipv6": "IPv6",
    "dns": "DNS",
    "beyond": "Beyond the server",
    "size": "Full-sized packets",
    "throughput": "Throughput",
    "restored": "Taken down",
}
MOST_LEAKS: Final = 20


def render_verification(verification: "Verification", *, colour: bool) -> str:
    """Lines that end in a line feed."""
    width = max(LEAST, min(WIDEST, shutil.get_terminal_size((80, 24)).columns))
    return "\n".join(_lines(verification, colour=colour, width=width)) + "\n"


def _lines(verification: "Verification", *, colour: bool, width: int) -> Iterator[str]:
    tone = VERDICTS[verification.verdict]
    yield from _marked(tone, verification.sentence, colour=colour, width=width, indent=0)
    if not verification.complete:
        yield from _wrapped("It was interrupted: what is missing says nothing about the tunnel.", width, 2)
    yield ""
    for proof in verification.proofs:
        words = f"{WORDS[proof.question]}: {proof.sentence}"
        yield from _marked(TONES[proof.outcome], words, colour=colour, width=width, indent=2)
        if proof.todo:
            yield from _wrapped(f"To do: {proof.todo}.", width, 6)
    if verification.leaks:
        yield ""
        yield "Leaks"
        for leak in verification.leaks[:MOST_LEAKS]:
            yield from _wrapped(_leak(leak), width, 2)
    yield ""
    yield f"It took {verification.duration_s:.1f} s."


def _leak(leak: "Leak") -> str:
    by = f", by {leak.process}" if leak.process else ", sent to see where it goes" if leak.provoked else ""
    return f"{leak.count} x {leak.name} on {leak.device} after {leak.first_after_s:.1f} s{by}: {leak.why}"


def _marked(tone: str, words: str, *, colour: bool, width: int, indent: int) -> Iterator[str]:
    symbol = f"{COLOURS[tone]}{SYMBOLS[tone]}{RESET}" if colour else SYMBOLS[tone]
    first, *rest = wrap(visible(words), width - indent - 2, break_on_hyphens=False) or [""]
    yield f"{' ' * indent}{symbol} {first}"
    yield from (f"{' ' * (indent + 2)}{line}" for line in rest)


def _wrapped(words: str, width: int, indent: int) -> list[str]:
    return wrap(visible(words), width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False)
