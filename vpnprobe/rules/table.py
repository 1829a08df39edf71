"""A TOML table that is read key by key, and complains in one line.

Every key that is asked for is known; `finish` refuses those that nobody asked for and names the nearest known one. The message holds the
file, the table, the key, what is wrong with it and what to do.

Invariant: any TOML table gives a value or `UsageError` (status UNREADABLE), nothing else.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from string import Formatter
from typing import Final, NoReturn, TypeVar, cast

from vpnprobe.errors import ExitStatus, UsageError

Choice = TypeVar("Choice", bound=StrEnum)

PLACEHOLDERS: Final = (
    "protocol",
    "port",
    "default_port",
    "evidence",
    "numbers",
    "place",
    "bound",
    "why",
    "measured_by",
    "reason",
    "mend",
    "program",
    "taken",
    "sent",
    "share",
    "limit",
    "refusal",
    "wrap",
    "wrapped",
    "what",
    "advice",
    "said",
    "sizes",
    "cut",
    "largest_passing",
    "smallest_lost",
    "cut_after",
    "end",
    "from_s",
    "late_s",
    "set_aside",
    "to_s",
    "c2s",
    "s2c",
    "kbit_s",
    "acknowledged",
    "again",
    "announced",
    "by",
    "bytes",
    "came",
    "carried",
    "client",
    "count",
    "elsewhere",
    "from_host",
    "message",
    "of",
    "seconds",
    "server",
    "source",
    "state",
    "times",
    "to",
    "to_host",
)
"""What a sentence may hold in braces; `default.toml` says what each of them is."""


def refuse(message: str) -> NoReturn:
    raise UsageError(" ".join(message.split()), status=ExitStatus.UNREADABLE)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` where something near is known, else the known words."""
    words = [str(name) for name in known]
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(words) or 'none'}"


class Table:
    """One table of a rules file. `path` is its dotted name in the file, empty for the whole of it."""

    def __init__(self, file: str, path: str, content: Mapping[str, object]) -> None:
        self.file = file
        self.path = path
        self._content = content
        self._asked: list[str] = []

    def refuse(self, problem: str) -> NoReturn:
        refuse(f"{self.file}: {self.path}: {problem}" if self.path else f"{self.file}: {problem}")

    def finish(self) -> None:
        """Refuses keys that were never asked for."""
        for key in self._content:
            if key not in self._asked:
                self.refuse(f"unknown key {key!r}: {nearest(key, self._asked)} Correct or remove it")

    def has(self, key: str) -> bool:
        self._ask(key)
        return key in self._content

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        return value if isinstance(value, str) else self._wrong(key, value, "a string")

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._get(key, default)
        return value if isinstance(value, bool) else self._wrong(key, value, "true or false")

    def number(self, key: str, *, low: float, high: float) -> float:
        value = self._get(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self._wrong(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def port(self, key: str) -> int:
        return self._as_port(key, self._get(key, None))

    def port_or(self, key: str, word: str) -> int | str | None:
        """A port number, that very word, or None where the key is absent."""
        if not self.has(key):
            return None
        value = self._content[key]
        return word if value == word else self._as_port(key, value, f" or {word!r}")

    def whole(self, key: str, *, low: int, high: int) -> int:
        value = self._get(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._wrong(key, value, f"a whole number from {low} to {high}")
        return value

    def ports(self, key: str) -> tuple[int, ...]:
        return tuple(self._as_port(key, value) for value in self._list(key))

    def choice(self, key: str, kind: type[Choice], default: Choice | None = None) -> Choice:
        return self._as_choice(key, self._get(key, default), kind)

    def optional_choice(self, key: str, kind: type[Choice]) -> Choice | None:
        return self.choice(key, kind) if self.has(key) else None

    def template(self, key: str, default: str | None = None) -> str:
        """A sentence with placeholders."""
        text = self.text(key, default)
        try:
            fields = [(field, spec, conversion) for _, field, spec, conversion in Formatter().parse(text) if field is not None]
        except ValueError as problem:
            self.refuse(f"{key}: {problem}: write {{{{ and }}}} for braces")
        for field, spec, conversion in fields:
            if field not in PLACEHOLDERS or spec or conversion:
                self.refuse(f"{key}: unknown placeholder {{{field}}}: {nearest(field, PLACEHOLDERS)} Correct it")
        return text

    def optional_template(self, key: str) -> str | None:
        return self.template(key) if self.has(key) else None

    def choices(self, key: str, kind: type[Choice]) -> frozenset[Choice]:
        """One word or a list of words."""
        value = self._get(key, None)
        words = cast("list[object]", value) if isinstance(value, list) else [value]
        return frozenset(self._as_choice(key, word, kind) for word in words)

    def name(self, key: str, known: Iterable[str], default: str | None = None) -> str:
        return self._as_name(key, self.text(key, default), known)

    def name_of_key(self, key: str, known: Iterable[str]) -> str:
        """The key itself, which must be a known name."""
        words = list(known)
        if key not in words:
            self.refuse(f"unknown key {key!r}: {nearest(key, words)} Correct or remove it")
        return key

    def names(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """A list of names out of `known`; empty where the key is absent."""
        return tuple(self._as_name(key, word, known) for word in self._list(key))

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words; empty where the key is absent."""
        return tuple(value if isinstance(value, str) else self._wrong(key, value, "a string") for value in self._list(key))

    def table(self, key: str) -> "Table":
        """The table at `key`; an empty one where it is absent."""
        return self._as_table(key, self._content.get(key, {}))

    def tables(self) -> dict[str, "Table"]:
        """All of the content as named tables."""
        return {key: self._as_table(key, value) for key, value in self._content.items()}

    def table_list(self, key: str) -> tuple["Table", ...]:
        return tuple(self._as_table(f"{key}[{number}]", item) for number, item in enumerate(self._list(key), 1))

    def own_keys(self) -> tuple[str, ...]:
        return tuple(self._content)

    def settings(self, key: str) -> dict[str, bool | int | str] | None:
        """A table of numbers, strings and flags under names of its own; None where it is absent."""
        if not self.has(key):
            return None
        content = self.table(key)._content
        found: dict[str, bool | int | str] = {}
        for name, value in content.items():
            found[name] = (
                value if isinstance(value, bool | int | str) else self._wrong(f"{key}.{name}", value, "a number, a string or a flag")
            )
        return found

    def _ask(self, key: str) -> None:
        if key not in self._asked:
            self._asked.append(key)

    def _get(self, key: str, default: object) -> object:
        self._ask(key)
        value = self._content.get(key, default)
        if value is None:
            strange = difflib.get_close_matches(key, [other for other in self._content if other not in self._asked], n=1)
            self.refuse(f"unknown key {strange[0]!r}: did you mean {key!r}?" if strange else f"key {key!r} is missing: add it")
        return value

    def _list(self, key: str) -> list[object]:
        self._ask(key)
        value = self._content.get(key, [])
        return cast("list[object]", value) if isinstance(value, list) else self._wrong(key, value, "a list")

    def _as_port(self, key: str, value: object, other: str = "") -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
            self._wrong(key, value, f"a port from 1 to 65535{other}")
        return value

    def _as_choice(self, key: str, value: object, kind: type[Choice]) -> Choice:
        return kind(self._as_name(key, value, [str(member) for member in kind]))

    def _as_name(self, key: str, value: object, known: Iterable[str]) -> str:
        words = list(known)
        if not isinstance(value, str):
            self._wrong(key, value, f"one of {', '.join(words)}")
        if value not in words:
            self.refuse(f"{key} = {value!r} is not known: {nearest(value, words)} Correct it")
        return value

    def _as_table(self, key: str, value: object) -> "Table":
        self._ask(key)
        if not isinstance(value, dict):
            self._wrong(key, value, "a table")
        return Table(self.file, f"{self.path}.{key}" if self.path else key, cast("Mapping[str, object]", value))

    def _wrong(self, key: str, value: object, wanted: str) -> NoReturn:
        self.refuse(f"{key} = {value!r} should be {wanted}: correct it")
