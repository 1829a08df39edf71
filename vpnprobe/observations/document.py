"""The result document `vpnprobe.result/1`: written, read back and validated, and the files of a result folder.

`result.schema.json` beside this module is the published schema (JSON Schema 2020-12). What `encode` writes is valid for it; what
`decode` takes has the types, the closed sets and the required keys of it, and unknown keys are passed over, so that a later minor
version can still be read. A file appears whole or not at all: it is written under a hidden name in the same folder, synchronised,
and then renamed.
"""

import errno
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from importlib.resources import files
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePath
from typing import Final

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import SCHEMA, CaptureFile, Observation, PathVerdicts, Result, Unit, Verdict
from vpnprobe.observations.tables import to_csv

RESULT_FILE: Final = "result.json"
REPORT_FILE: Final = "report.html"
TABLE_FILE: Final = "observations.csv"
MADE_AGAIN: Final = "name the result.json, or the folder with it, of a `vpnprobe run`, `demo` or `analyze`"
LARGEST_DOCUMENT: Final = 512 * 1024 * 1024
"""Bytes. A file that never ends is refused before it is read."""
DEEPEST: Final = 50
"""Levels of nesting."""
CAPTURE_FORMATS: Final = ("pcap", "pcapng", "tcpdump-text", "text")
VANTAGES: Final = ("client", "server", "unknown")
FAMILIES: Final = (None, 4, 6)
LIMIT_UNITS: Final = frozenset(Unit) - {Unit.MILLISECONDS}


def schema_text() -> bytes:
    """The published JSON Schema of the document, as the package carries it."""
    return files("vpnprobe.observations").joinpath("result.schema.json").read_bytes()


def encode(result: Result) -> bytes:
    """The document as UTF-8 JSON, indented by two spaces, ending in a line feed.

    Characters that are not Unicode (undecodable file names) become U+FFFD. Addresses and paths in `detail` become text.
    """
    import msgspec

    document = {"schema": SCHEMA, **{member.name: getattr(result, member.name) for member in fields(result)}}
    plain = msgspec.to_builtins(document, enc_hook=_as_text, str_keys=True)
    try:
        data = msgspec.json.encode(plain)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_unicode(plain))
    return msgspec.json.format(data, indent=2) + b"\n"


def decode(data: bytes, *, source: str = "the result") -> Result:
    """The document as a `Result`. `source` names it in errors. Raises UsageError (UNREADABLE) with the place in the document."""
    import msgspec

    try:
        document = msgspec.json.decode(data)
    except (UnicodeDecodeError, RecursionError) as problem:
        raise _unreadable(source, "it is not JSON that a result could be") from problem
    except msgspec.DecodeError as problem:
        # Of text that is no UTF-8 this says so, or not, by its version.
        raise _unreadable(source, f"it is not JSON, or not all of it is there ({problem})") from problem
    try:
        _require_this_schema(document, source)
        _require_shallow(document)
        result = msgspec.convert(document, Result)
        _require_ranges(result)
    except msgspec.ValidationError as problem:
        raise _unreadable(source, _place(str(problem))) from problem
    except _OutOfRange as problem:
        raise _unreadable(source, str(problem)) from problem
    return result


def read(path: Path) -> Result:
    """Reads a document, or that of a result folder. Raises UsageError (UNREADABLE)."""
    file = path / RESULT_FILE if os.path.isdir(path) else path
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_DOCUMENT + 1)
    except OSError as problem:
        raise _unreadable(str(file), _system_words(problem)) from problem
    if len(data) > LARGEST_DOCUMENT:
        raise _unreadable(str(file), f"it is larger than {LARGEST_DOCUMENT // 1024 // 1024} MiB")
    return decode(data, source=str(file))


def write_atomically(path: Path, data: bytes) -> None:
    """Writes one file whole, or leaves what stood there. Raises UsageError where the system will not have it.

    What is not a regular file (a pipe, a terminal) is written to directly: there is nothing to rename.
    """
    target = Path(os.path.realpath(path))
    # os.path answers False where pathlib raises: for names too long and folders that may not be looked into.
    if os.path.isdir(target):
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it", status=ExitStatus.UNWRITABLE)
    if os.path.exists(target) and not os.path.isfile(target):
        _write_directly(target, data)
        return
    staged = _stage(target, data)
    _put_in_place({staged: target})


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes all files of a result folder: all are on the disk before the first one appears. Raises UsageError."""
    made = _make_folder(folder)
    staged: dict[Path, Path] = {}
    try:
        for name, data in contents.items():
            if name != PurePath(name).name:
                raise UsageError(f"cannot write {name!r} into {folder}: it is not a plain file name")
            target = folder / name
            staged[_stage(target, data)] = target
        _put_in_place(staged)
    except BaseException:
        for temporary in staged:
            temporary.unlink(missing_ok=True)
        for empty in made:
            with suppress(OSError):
                empty.rmdir()
        raise


def write_folder(result: Result, folder: Path, *, report: bytes, captures: Mapping[str, bytes]) -> None:
    """Writes the result folder: the document, the table, the report (HTML that the caller rendered) and the captures by file name."""
    contents = {RESULT_FILE: encode(result), TABLE_FILE: to_csv(result), REPORT_FILE: report}
    write_files(folder, {**contents, **captures})


def _as_text(value: object) -> object:
    """What the library does not know by itself; any other type in `detail` is a mistake in our own code."""
    if isinstance(value, IPv4Address | IPv6Address | PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} has no place in a result document")


def _unicode(value: object) -> object:
    """The same built-in values with every lone surrogate replaced."""
    match value:
        case str():
            return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= character <= "\udfff" else character for character in value)
        case dict():
            return {_unicode(key): _unicode(item) for key, item in value.items()}
        case list() | tuple():
            return [_unicode(item) for item in value]
        case _:
            return value


class _OutOfRange(ValueError):
    """A number or a date that the schema does not allow."""


def _require_this_schema(document: object, source: str) -> None:
    if not isinstance(document, dict):
        raise _unreadable(source, "it is JSON, but not an object")
    found = document.get("schema")
    if found != SCHEMA:
        what = f"its schema is {str(found)[:60]!r}, this version reads {SCHEMA!r}" if found is not None else 'it has no "schema"'
        raise _unreadable(source, what)
    if "complete" not in document:
        raise _unreadable(source, '"complete" is missing at $')


def _require_shallow(document: object) -> None:
    """Whoever walks a document must not run out of stack for what a stranger nested in `detail`."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner for outer in level if isinstance(outer, dict | list) for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise _OutOfRange(f"it is nested more than {DEEPEST} levels deep")


def _require_ranges(result: Result) -> None:
    """What the schema says beyond types: no negative counts, probabilities that are some, reasons, unique ids, a date that is one."""
    if not _is_date_with_zone(result.run.started):
        raise _OutOfRange("`started` is no date and time with a time zone at $.run.started")
    if result.run.duration_s < 0:
        raise _OutOfRange("a negative duration at $.run.duration_s")
    _require_captures(result.run.captures)
    _require_observations(result.observations)
    _require_verdicts(result.verdicts, "$.verdicts")
    _require_paths(result.paths, "$.paths")


def _is_date_with_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _require_captures(captures: tuple[CaptureFile, ...]) -> None:
    for index, capture in enumerate(captures):
        place = f"$.run.captures[{index}]"
        if capture.packets < 0:
            raise _OutOfRange(f"a negative count at {place}.packets")
        if capture.format not in CAPTURE_FORMATS or capture.vantage not in VANTAGES:
            raise _OutOfRange(f"a format or vantage that this version does not know at {place}")
        _require_verdicts(capture.verdicts, f"{place}.verdicts")
        _require_paths(capture.paths, f"{place}.paths")


def _require_paths(paths: tuple[PathVerdicts, ...], place: str) -> None:
    for index, path in enumerate(paths):
        _require_verdicts(path.verdicts, f"{place}[{index}].verdicts")


def _require_observations(observations: tuple[Observation, ...]) -> None:
    ids: set[str] = set()
    for index, row in enumerate(observations):
        if min(row.sent or 0, row.received or 0) < 0:
            raise _OutOfRange(f"a negative count at $.observations[{index}]")
        if not 0 <= (row.error_bound or 0) <= 1:
            raise _OutOfRange(f"a probability that is none at $.observations[{index}].error_bound")
        if row.family not in FAMILIES:
            raise _OutOfRange(f"an IP version that is none at $.observations[{index}].family")
        if row.id in ids:
            raise _OutOfRange(f"an id that stands twice at $.observations[{index}].id")
        ids.add(row.id)


def _require_verdicts(verdicts: tuple[Verdict, ...], place: str) -> None:
    for index, verdict in enumerate(verdicts):
        if not verdict.because:
            raise _OutOfRange(f"a verdict without a reason at {place}[{index}].because")
        if any(limit.unit not in LIMIT_UNITS for limit in verdict.limits):
            raise _OutOfRange(f"a limit in a unit that limits do not have at {place}[{index}].limits")


def _place(message: str) -> str:
    """The library's "Expected `int`, got `str` - at `$.run`" as one clause."""
    return message.replace(" - at ", " at ").replace("\n", " ")


def _unreadable(source: str, problem: str) -> UsageError:
    return UsageError(f"cannot read {source} as a vpnprobe result: {problem}; {MADE_AGAIN}", status=ExitStatus.UNREADABLE)


def _system_words(problem: OSError) -> str:
    return (problem.strerror or type(problem).__name__).lower()


def _unwritable(path: Path, problem: OSError) -> UsageError:
    match problem.errno:
        case errno.ENOSPC | errno.EDQUOT:
            remedy = "free some space, or name another folder with -o"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            remedy = "name a folder that you may write to with -o"
        case errno.ENOTDIR | errno.EEXIST:
            remedy = "a file stands where a folder is needed: name another folder with -o"
        case _:
            remedy = "name another place with -o"
    return UsageError(f"cannot write {path}: {_system_words(problem)}; {remedy}", status=ExitStatus.UNWRITABLE)


def _make_folder(folder: Path) -> list[Path]:
    """Makes the folder and those above it; returns the ones that were made, innermost first."""
    missing: list[Path] = []
    for candidate in (folder, *folder.parents):
        if os.path.exists(candidate):
            break
        missing.append(candidate)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _unwritable(folder, problem) from problem
    return missing


def _stage(target: Path, data: bytes) -> Path:
    """Writes the data beside its target under a hidden name, on the disk for certain."""
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise _unwritable(target, problem) from problem
    return temporary


def _put_in_place(staged: Mapping[Path, Path]) -> None:
    for temporary, target in staged.items():
        try:
            os.replace(temporary, target)
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise _unwritable(target, problem) from problem
    for folder in {target.parent for target in staged.values()}:
        with suppress(OSError):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_directly(target: Path, data: bytes) -> None:
    try:
        with target.open("wb") as stream:
            stream.write(data)
    except OSError as problem:
        raise _unwritable(target, problem) from problem
