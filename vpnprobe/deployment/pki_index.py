"""The index of an authority: what it has issued and revoked, in the order in which it happened, one JSON object a line.

Lines are only ever added. Where a name has several certificates (it was renewed, or added again after its revocation) each has its own
serial number, and what is revoked is the serial number: no later line takes that back.

Invariant: `decode_index(index.encode())` gives the same index, and any bytes give an index or `UsageError` (status UNREADABLE).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.revocation_lists import Reason, Revoked

TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
"""RFC 3339, UTC."""


class Event(StrEnum):
    """What happened."""

    ISSUED = "issued"
    RENEWED = "renewed"
    """A further certificate of a name; the one before stays good until its end."""
    REVOKED = "revoked"


class Kind(StrEnum):
    """Whose certificate it is."""

    AUTHORITY = "authority"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line about one certificate."""

    at: datetime
    """UTC, whole seconds."""
    event: Event
    kind: Kind
    name: str
    """Common name."""
    serial: int
    not_after: datetime
    """As `at`."""
    fingerprint: str = ""
    """SHA-256 of the certificate (DER), hexadecimal; empty: the certificate itself was not to be had."""
    reason: Reason | None = None
    """Of a revocation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """The line that says that the authority was another program's."""

    at: datetime
    folder: str
    """Where it lies; nothing in it is changed but the lists below."""
    revocation_lists: tuple[str, ...]
    """Paths at which its servers read the revocation list, so that each new one is written there too."""


@dataclass(frozen=True, slots=True)
class Index:
    """All lines."""

    lines: tuple[Entry | Adoption, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(line for line in self.lines if isinstance(line, Entry))

    @property
    def adoption(self) -> Adoption | None:
        """None: the authority was made here."""
        return next((line for line in self.lines if isinstance(line, Adoption)), None)

    @property
    def revoked(self) -> tuple[Revoked, ...]:
        """What a revocation list has of it."""
        found = (entry for entry in self.entries if entry.event is Event.REVOKED)
        return tuple(Revoked(serial=entry.serial, at=entry.at, reason=entry.reason or Reason.UNSPECIFIED) for entry in found)

    def of(self, name: str) -> tuple[Entry, ...]:
        """Certificates of this name that are not revoked, the newest last; expired ones are among them."""
        gone = {revoked.serial for revoked in self.revoked}
        return tuple(entry for entry in self.certificates() if entry.name == name and entry.serial not in gone)

    def certificates(self) -> Iterator[Entry]:
        """Lines that tell a certificate's making."""
        return (entry for entry in self.entries if entry.event is not Event.REVOKED)

    def encode(self) -> bytes:
        """The file."""
        return "".join(f"{json.dumps(_plain(line), ensure_ascii=False)}\n" for line in self.lines).encode()


def _plain(line: Entry | Adoption) -> dict[str, Any]:
    if isinstance(line, Adoption):
        return {
            "at": line.at.strftime(TIME),
            "event": "adopted",
            "folder": line.folder,
            "revocation_lists": list(line.revocation_lists),
        }
    plain = {
        "at": line.at.strftime(TIME),
        "event": line.event.value,
        "kind": line.kind.value,
        "name": line.name,
        "serial": f"{line.serial:x}",
        "not_after": line.not_after.strftime(TIME),
        "fingerprint": line.fingerprint,
    }
    return plain if line.reason is None else {**plain, "reason": line.reason.value}


def decode_index(data: bytes, *, file: str = "index.jsonl") -> Index:
    """Raises UsageError (UNREADABLE) that names the line."""
    lines: list[Entry | Adoption] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            lines.append(_decode_line(line, f"line {number} of {file}"))
    return Index(tuple(lines))


def _decode_line(line: bytes, where: str) -> Entry | Adoption:
    try:
        plain = json.loads(line)
        if not isinstance(plain, Mapping):
            raise TypeError("it is no table")
        return _adoption(plain) if plain["event"] == "adopted" else _entry(plain)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        problem = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{where} cannot be read: {problem}. Put the file back from a copy", status=ExitStatus.UNREADABLE) from None


def _adoption(plain: Mapping[str, Any]) -> Adoption:
    lists = tuple(_text(path) for path in plain["revocation_lists"])
    return Adoption(at=_time(plain["at"]), folder=_text(plain["folder"]), revocation_lists=lists)


def _entry(plain: Mapping[str, Any]) -> Entry:
    reason = plain.get("reason")
    return Entry(
        at=_time(plain["at"]),
        event=Event(plain["event"]),
        kind=Kind(plain["kind"]),
        name=_text(plain["name"]),
        serial=int(_text(plain["serial"]), 16),
        not_after=_time(plain["not_after"]),
        fingerprint=_text(plain["fingerprint"]),
        reason=None if reason is None else Reason(reason),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    value.encode()  # Half of a surrogate pair is no text either.
    return value


def _time(value: object) -> datetime:
    return datetime.strptime(_text(value), TIME).replace(tzinfo=UTC)
