"""Captures and pasted texts changed at random, where no coverage guides: a given number of times, and the same each time.

    python fuzz/mutations.py [FILE or FOLDER...] [--times 100000] [--kinds captures,texts] [--seed 1]

Each is read and examined, and one in eight goes through the whole command `vpnprobe analyze`, in words or as JSON. Wrong are an exception,
another status than 0, 3 and 6, more than 20 seconds, and a process that has grown beyond 1 GiB; such an input is kept in
vpnprobe-results/fuzz. Needs nothing but the program.
"""

import argparse
import hashlib
import io
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "vpnprobe-results" / "fuzz"
SLOW_S: Final = 20
MOST_MIB: Final = 1024
LONGEST: Final = {"captures": 65536, "texts": 16384}
"""The most bytes of an input, by kind: larger ones are cut, since their number counts."""
RIGHT: Final = frozenset((0, 3, 6))
"""Exit statuses."""
CHANGES_LIMIT: Final = 8
"""Most changes of one input."""
EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NUMBERS: Final = (b"0", b"-1", b"65535", b"65536", b"99999", b"4294967295", b"4294967296", b"9" * 20, b"9" * 5000, b"0x", b"1e9", b"1.5")
SIGNS: Final = (
    *(sign.encode() for sign in ("\u2192", "\u00a0", "\ufeff", "&gt;", "<br>", ">", ":", ".", "(", "[", "\u0661", "\U0001f600")),
    *(b" ", b"\t", b"\r", b"\n", b"\0", b"\xff", b"\x1b[31m"),
)
SAID_EVERY: Final = 5_000
WHOLE_EVERY: Final = 8
"""One in so many goes through the whole command."""
_NUMBER: Final = re.compile(rb"\d+")
_WORD: Final = re.compile(rb"\S+")

for needed in ("tests", "tests/conversations", "tests/capture"):
    sys.path.append(str(ROOT / needed))


def _of_bytes(data: bytearray, other: bytes, chance: random.Random) -> None:
    """One change that any bytes may meet."""
    at, size = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8, 16, 64, 256, 1024))
    match chance.randrange(7):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1:
            width = chance.choice((1, 2, 4))
            data[at : at + width] = (chance.choice(EDGES) & ((1 << 8 * width) - 1)).to_bytes(width, chance.choice(("big", "little")))
        case 2:
            del data[at : at + size]
        case 3:
            data[at:at] = data[at : at + size]
        case 4:
            data[at:at] = chance.randbytes(size)
        case 5:
            begin = chance.randrange(len(other) + 1)
            data[at : at + size] = other[begin : begin + size]
        case _:
            del data[at:]
            if chance.random() < 0.5:
                data += other[chance.randrange(len(other) + 1) :]


def _of_text(data: bytearray, other: bytes, chance: random.Random) -> None:
    """One change that a pasted text may meet: of numbers, words, lines and signs."""
    lines = bytes(data).split(b"\n")
    at = chance.randrange(len(lines))
    match chance.randrange(9):
        case 0:
            _replaced(data, _NUMBER, chance.choice(NUMBERS), chance)
        case 1:
            words = _WORD.findall(other) or [b""]
            _replaced(data, _WORD, chance.choice(words), chance)
        case 2:
            place = chance.randrange(len(data) + 1)
            data[place:place] = chance.choice(SIGNS) * chance.choice((1, 1, 1, 300))
        case 3:
            del lines[at]
            data[:] = b"\n".join(lines)
        case 4:
            place = chance.randrange(len(lines))
            lines[at], lines[place] = lines[place], lines[at]
            data[:] = b"\n".join(lines)
        case 5:
            lines[at:at] = lines[at : at + chance.randrange(1, 9)] * chance.choice((1, 1, 40))
            data[:] = b"\n".join(lines)
        case 6:
            lines[at : at + 2] = [b" ".join(lines[at : at + 2])]
            data[:] = b"\n".join(lines)
        case 7:
            data[:] = bytes(data).replace(
                *chance.choice(((b" ", b"  "), (b"\n", b"\r\n"), (b"\n", b" "), (b">", b"&gt;"), (b" ", b"\t"), (b".", b",")))
            )
        case _:
            _of_bytes(data, other, chance)


def _replaced(data: bytearray, what: re.Pattern[bytes], by: bytes, chance: random.Random) -> None:
    found = list(what.finditer(data))
    if found:
        begin, end = chance.choice(found).span()
        data[begin:end] = by


Change = Callable[[bytearray, bytes, random.Random], None]
CHANGES: Final[Mapping[str, Change]] = {"captures": _of_bytes, "texts": _of_text}


def mutations(kind: str, seeds: Sequence[bytes], times: int, *, seed: int) -> Iterator[bytes]:
    """Inputs of one kind, each a seed with some changes; the same for the same `seed`."""
    chance = random.Random(seed)
    for _ in range(times):
        data, other = bytearray(chance.choice(seeds)), chance.choice(seeds)
        for _ in range(chance.randrange(1, CHANGES_LIMIT + 1)):
            CHANGES[kind](data, other, chance)
        yield bytes(data[: LONGEST[kind]])


class TooSlow(BaseException):
    """An input took longer than it may. Not an Exception: nobody is to catch it."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wrong_of(data: bytes, path: Path, *, arguments: Sequence[str] | None) -> str:
    """What is wrong with the analysis of an input, in a line; empty: nothing. `arguments`: of the whole command; None: without it."""
    path.write_bytes(data)
    said = io.StringIO()
    try:
        with bounded(SLOW_S), redirect_stdout(io.StringIO()), redirect_stderr(said):
            status = _examined(path) if arguments is None else _analysed(path, arguments)
    except TooSlow:
        return f"takes longer than {SLOW_S} s"
    except Exception as raised:
        where = traceback.extract_tb(raised.__traceback__)[-1]
        return f"{type(raised).__name__} in {Path(where.filename).name}:{where.lineno}: {raised}"[:300]
    if status not in RIGHT or "Traceback" in said.getvalue():
        return f"status {status}: {said.getvalue().strip()[-200:]}"
    if _grown_mib() > MOST_MIB:
        return f"the process has grown beyond {MOST_MIB} MiB"
    return ""


def _grown_mib() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _examined(path: Path) -> int:
    from vpnprobe.capture.analysis import examine
    from vpnprobe.capture.reading import read_capture
    from vpnprobe.errors import UsageError

    try:
        examine(read_capture(path))
    except UsageError as error:
        return error.status
    return 0


def _analysed(path: Path, arguments: Sequence[str]) -> int:
    from vpnprobe.cli import run_command

    os.environ["VPNPROBE_DEBUG"] = "1"
    return run_command(["analyze", str(path), *arguments])


def seeds_in(paths: Iterable[Path]) -> dict[str, list[bytes]]:
    """The inputs in files and folders, by kind; those with NUL or high bytes in the beginning are captures."""
    found: dict[str, list[bytes]] = {kind: [] for kind in CHANGES}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix not in (".json", ".csv", ".md", ".toml"):
                data = file.read_bytes()
                kind = "captures" if b"\0" in data[:64] or file.suffix == ".gz" else "texts"
                found[kind].append(data[: LONGEST[kind]])
    return found


def own_seeds() -> dict[str, list[bytes]]:
    """What the fuzz targets begin with."""
    import capture_seeds

    captures = [data for data in capture_seeds.capture() if b"\0" in data[:64]]
    return {
        "captures": [data[: LONGEST["captures"]] for data in captures],
        "texts": [data[: LONGEST["texts"]] for data in capture_seeds.text()],
    }


def play(kind: str, seeds: Sequence[bytes], times: int, *, seed: int, path: Path) -> int:
    """Analyses so many mutations; one line at the end, and one for each way in which they go wrong. Returns how many ways there are."""
    began, ways, slowest = time.monotonic(), dict[str, int](), 0.0
    for number, data in enumerate(mutations(kind, seeds, times, seed=seed)):
        before = time.monotonic()
        arguments = None if number % WHOLE_EVERY else ("--json",) if number % (2 * WHOLE_EVERY) else ()
        wrong = wrong_of(data, path, arguments=arguments)
        slowest = max(slowest, time.monotonic() - before)
        if wrong and wrong not in ways:
            RESULTS.mkdir(parents=True, exist_ok=True)
            kept = RESULTS / f"{kind}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
            kept.write_bytes(data)
            print(f"{kind}: FOUND SOMETHING: {wrong} ({kept.name})", flush=True)
        if number and not number % SAID_EVERY:
            print(f"{kind}: {number} in {time.monotonic() - began:.0f} s, {_grown_mib()} MiB", flush=True)
        if wrong:
            ways[wrong] = ways.get(wrong, 0) + 1
    told = f"{sum(ways.values())} wrong in {len(ways)} ways" if ways else "nothing found"
    took = time.monotonic() - began
    print(f"{kind}: {times} mutations of {len(seeds)} seeds, {took:.0f} s, slowest {slowest:.1f} s, {_grown_mib()} MiB: {told}", flush=True)
    return len(ways)


def main() -> int:
    parser = argparse.ArgumentParser(description="Analyses captures and pasted texts that were changed at random.")
    parser.add_argument("seeds", nargs="*", type=Path, help="files and folders to begin with, beside the fuzz targets' own")
    parser.add_argument("--times", type=int, default=100_000, help="of each kind")
    parser.add_argument("--kinds", default=",".join(CHANGES))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    from scratch import folder

    own, given = own_seeds(), seeds_in(arguments.seeds)
    found = 0
    for kind in arguments.kinds.split(","):
        found += play(kind, own[kind] + given[kind], arguments.times, seed=arguments.seed, path=folder() / "input")
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
