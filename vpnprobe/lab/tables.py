"""Typed reading of the tables of a TOML file, with one clear line for each kind of mistake.

A `Table` is read key by key. Whatever was not asked for by the time of `done()` is an unknown key. Every problem is a
`UsageError` with status UNREADABLE that names the file, the key and what it should have been.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import NoReturn, TypeVar

from vpnprobe.errors import ExitStatus, UsageError

Member = TypeVar("Member", bound=StrEnum)


def parse(text: str, source: str) -> "Table":
    """The top table of a TOML document; `source` names it in messages."""
    try:
        return Table(tomllib.loads(text), source)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}", status=ExitStatus.UNREADABLE) from error


def nearest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is close."""
    close = get_close_matches(wrong, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Table:
    """One table, and where it stands."""

    def __init__(self, values: Mapping[str, object], source: str, place: str = "") -> None:
        self.values = values
        self.source = source
        self.place = place
        """Dotted, empty for the top table."""
        self._asked: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        where = ".".join(part for part in (self.place, key) if part)
        raise UsageError(f"{self.source}: {where}: {problem}" if where else f"{self.source}: {problem}", status=ExitStatus.UNREADABLE)

    def done(self) -> None:
        """Refuses keys that nobody asked for."""
        for key in self.values:
            if key not in self._asked:
                self.fail(key, f"unknown key{nearest(key, self._asked)}")

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self.values

    def keys(self) -> tuple[str, ...]:
        """All keys, which count as asked for: for tables whose keys are names."""
        self._asked.update(self.values)
        return tuple(self.values)

    def text(self, key: str, default: str = "") -> str:
        return self._text(key, self.values[key]) if self.has(key) else default

    def flag(self, key: str) -> bool:
        """False where absent."""
        value = self.values[key] if self.has(key) else False
        if not isinstance(value, bool):
            self.fail(key, f"is {value!r}, must be true or false")
        return value

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        return self._whole(key, self.values[key], low, high) if self.has(key) else default

    def wholes(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """Empty where absent."""
        return tuple(self._whole(f"{key}[{index}]", value, low, high) for index, value in enumerate(self.items(key)))

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        return self._number(key, self.values[key], low, high) if self.has(key) else default

    def texts(self, key: str) -> tuple[str, ...]:
        """Empty where absent."""
        return tuple(self._text(f"{key}[{index}]", value) for index, value in enumerate(self.items(key)))

    def range(self, key: str) -> tuple[float, float]:
        """Two numbers, the lower and the upper end."""
        ends = [self._number(f"{key}[{index}]", value, -math.inf, math.inf) for index, value in enumerate(self.items(key))]
        if len(ends) != 2 or ends[0] > ends[1]:
            self.fail(key, f"is {self.values.get(key)!r}, must be two numbers, the lower one first")
        return ends[0], ends[1]

    def member(self, key: str, kind: type[Member]) -> Member | None:
        """None where absent."""
        return self._member(key, self.values[key], kind) if self.has(key) else None

    def members(self, key: str, kind: type[Member]) -> tuple[Member, ...]:
        """One word or a list of them; empty where absent."""
        value = self.values[key] if self.has(key) else ()
        if isinstance(value, str):
            return (self._member(key, value, kind),)
        return tuple(self._member(f"{key}[{index}]", item, kind) for index, item in enumerate(self.items(key)))

    def octets(self, key: str) -> bytes:
        """Hexadecimal digits as bytes; empty where absent."""
        digits = self.text(key)
        try:
            return bytes.fromhex(digits)
        except ValueError:
            self.fail(key, f"is {digits!r}, must be pairs of hexadecimal digits")

    def table(self, key: str) -> "Table":
        """Empty where absent."""
        return self._table(key, self.values[key] if self.has(key) else {})

    def tables(self, key: str) -> tuple["Table", ...]:
        """An array of tables; empty where absent."""
        return tuple(self._table(f"{key}[{index}]", value) for index, value in enumerate(self.items(key)))

    def items(self, key: str) -> list[object]:
        value = self.values[key] if self.has(key) else []
        if not isinstance(value, list):
            self.fail(key, f"is {value!r}, must be a list")
        return value

    def _table(self, key: str, value: object) -> "Table":
        if not isinstance(value, dict):
            self.fail(key, f"is {value!r}, must be a table")
        return Table(value, self.source, ".".join(part for part in (self.place, key) if part))

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self.fail(key, f"is {value!r}, must be a text")
        return value

    def _whole(self, key: str, value: object, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(key, f"is {value!r}, must be a whole number, {low} to {high}")
        return value

    def _number(self, key: str, value: object, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(key, f"is {value!r}, must be a number, {low:g} to {high:g}")
        return float(value)

    def _member(self, key: str, value: object, kind: type[Member]) -> Member:
        words = [member.value for member in kind]
        if not isinstance(value, str) or value not in words:
            self.fail(key, f"is {value!r}, must be one of {', '.join(words)}")
        return kind(value)
