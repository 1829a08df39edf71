"""The result document: valid for the published schema, whole or absent on the disk, and refused in one line where it is not one."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from result_samples import SAMPLES, clean_result, seed_result

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations import document
from vpnprobe.observations.schema import (
    CaptureFile,
    Cause,
    Direction,
    Evidence,
    Feasibility,
    Limit,
    LimitKind,
    Location,
    Observation,
    Outcome,
    PathVerdicts,
    Reason,
    Result,
    Transport,
    Unit,
    Verdict,
)

VALIDATOR = Draft202012Validator(json.loads(document.schema_text()), format_checker=FormatChecker())
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NUMBERS = st.none() | st.floats(0, 1e12)
OBSERVATIONS = st.builds(
    Observation,
    id=st.text(),
    probe=st.text(max_size=8),
    check=st.text(max_size=8),
    direction=st.sampled_from(Direction),
    transport=st.sampled_from(Transport),
    outcome=st.sampled_from(Outcome),
    port=st.none() | st.integers(0, 65535),
    sent=st.none() | st.integers(0, 10**6),
    received=st.none() | st.integers(0, 10**6),
    rtt_ms=st.none() | st.floats(0, 1e6),
    error_bound=st.none() | st.floats(0, 1),
    location=st.none() | st.builds(Location, st.integers(0, 255), st.none() | st.text(max_size=8), st.none() | st.text(max_size=8)),
    detail=st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
    evidence=st.lists(st.builds(Evidence, st.text(max_size=8), st.integers(1, 10**9)), max_size=2).map(tuple),
    cause=st.none() | st.sampled_from(Cause),
    family=st.sampled_from([None, 4, 6]),
    value=NUMBERS,
    low=NUMBERS,
    high=NUMBERS,
    unit=st.none() | st.sampled_from(Unit),
)
LIMITS = st.builds(
    Limit, st.sampled_from(LimitKind), NUMBERS, st.sampled_from(sorted(document.LIMIT_UNITS)), st.sampled_from(Direction), NUMBERS,
    st.lists(st.text(max_size=8), max_size=2).map(tuple),
)  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_valid_for_the_schema(name: str) -> None:
    VALIDATOR.validate(json.loads(document.encode(SAMPLES[name]())))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "hostile"])
def test_what_is_written_reads_back_the_same(name: str) -> None:
    result = SAMPLES[name]()
    assert document.decode(document.encode(result)) == result


@settings(max_examples=60, deadline=None)
@given(st.lists(OBSERVATIONS, max_size=3, unique_by=lambda row: row.id))
def test_any_observations_are_valid_and_read_back_the_same(rows: list[Observation]) -> None:
    result = replace(clean_result(), observations=tuple(rows))
    data = document.encode(result)
    VALIDATOR.validate(json.loads(data))
    assert document.decode(data) == result


@settings(max_examples=30, deadline=None)
@given(st.lists(LIMITS, max_size=3).map(tuple))
def test_limits_and_paths_are_valid_and_read_back_the_same(limits: tuple[Limit, ...]) -> None:
    verdict = Verdict("pptp", Feasibility.DEGRADED, (Reason("rule", "text"),), limits=limits)
    paths = (PathVerdicts("10.0.0.1", "10.0.0.2", (verdict,)),)
    capture = CaptureFile("a.txt", "text", None, 3, readable=True, paths=paths)
    result = replace(clean_result(), verdicts=(verdict,), paths=paths, run=replace(clean_result().run, captures=(capture,)))
    data = document.encode(result)
    VALIDATOR.validate(json.loads(data))
    assert document.decode(data) == result


def test_a_document_without_the_newer_keys_still_loads() -> None:
    """As version 0.1 of the program wrote it before IP versions, numbers, limits and paths were recorded."""
    old = json.loads(document.encode(seed_result()))
    del old["paths"]
    for row in old["observations"]:
        for key in ("family", "value", "low", "high", "unit"):
            del row[key]
    for verdict in old["verdicts"]:
        del verdict["limits"]
    assert document.decode(json.dumps(old).encode()) == seed_result()


def test_every_closed_set_of_the_schema_is_that_of_the_types() -> None:
    parts = json.loads(document.schema_text())["$defs"]
    row, limit = parts["observation"]["properties"], parts["limit"]["properties"]
    for enum, published in ((Cause, row["cause"]), (Unit, row["unit"]), (LimitKind, limit["kind"]), (Outcome, row["outcome"])):
        assert set(enum) == set(published["enum"]) - {None}
    assert set(limit["unit"]["enum"]) == document.LIMIT_UNITS
    assert set(document.FAMILIES) == set(row["family"]["enum"])
    captures = json.loads(document.schema_text())["properties"]["run"]["properties"]["captures"]["items"]["properties"]
    assert set(document.CAPTURE_FORMATS) == set(captures["format"]["enum"])


def test_the_schema_in_the_package_names_this_version() -> None:
    assert json.loads(document.schema_text())["$id"] == "vpnprobe.result/1"


def test_detail_takes_addresses_mappings_and_sets() -> None:
    row = replace(
        seed_result().observations[0],
        detail=MappingProxyType({"by": IPv4Address("10.0.0.1"), "way": Direction.C2S, "in": MappingProxyType({"a": (1,)}), 3: Path("a/b")}),
    )
    written = json.loads(document.encode(replace(seed_result(), observations=(row,))))
    assert written["observations"][0]["detail"] == {"by": "10.0.0.1", "way": "c2s", "in": {"a": [1]}, "3": "a/b"}


def test_what_has_no_place_in_json_is_a_mistake_of_ours() -> None:
    row = replace(seed_result().observations[0], detail={"socket": object()})
    with pytest.raises(NotImplementedError, match="object has no place"):
        document.encode(replace(seed_result(), observations=(row,)))


def test_undecodable_names_become_replacement_characters() -> None:
    result = SAMPLES["hostile"]()
    assert "\ufffd\ufffd.pcap" in document.encode(result).decode("utf-8")
    again = document.decode(document.encode(result))
    assert document.decode(document.encode(again)) == again


WHOLE: dict[str, Any] = json.loads(document.encode(seed_result()))


def changed(*path: str | int, value: object = None, gone: bool = False) -> bytes:
    """The seed's document with one place changed or taken out."""
    copy = json.loads(json.dumps(WHOLE))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if gone:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(copy).encode()


BAD = {
    "empty": (b"", "not JSON"),
    "cut off": (document.encode(seed_result())[:5000], "not JSON"),
    "not UTF-8": (b'{"schema": "\xff"}', "not JSON"),
    "deep": (b"[" * 200_000, "not JSON"),
    "deep detail": (changed("observations", 0, "detail", value={"a": json.loads("[" * 100 + "]" * 100)}), "more than 50 levels"),
    "no object": (b"[]", "not an object"),
    "no schema": (b"{}", 'no "schema"'),
    "later schema": (changed("schema", value="vpnprobe.result/2"), "vpnprobe.result/2"),
    "no completeness": (changed("complete", gone=True), '"complete" is missing'),
    "no run": (changed("run", gone=True), "`run`"),
    "a port in words": (changed("observations", 3, "port", value="1194"), "`$.observations[3].port`"),
    "an unknown outcome": (changed("observations", 2, "outcome", value="fine"), "`$.observations[2].outcome`"),
    "a negative count": (changed("observations", 2, "sent", value=-1), "$.observations[2]"),
    "a probability of two": (changed("observations", 2, "error_bound", value=2), "$.observations[2].error_bound"),
    "a negative probability": (changed("observations", 2, "error_bound", value=-0.1), "$.observations[2].error_bound"),
    "IP version 5": (changed("observations", 2, "family", value=5), "$.observations[2].family"),
    "an unknown unit": (changed("observations", 2, "unit", value="furlongs"), "`$.observations[2].unit`"),
    "a limit in milliseconds": (
        changed("verdicts", 0, "limits", value=[{"kind": "time", "value": 1, "unit": "ms"}]),
        "$.verdicts[0].limits",
    ),
    "a path without a reason": (
        changed(
            "paths",
            value=[{"client": "a", "server": "b", "verdicts": [{"protocol": "pptp", "feasibility": "unknown", "because": []}]}],
        ),
        "$.paths[0].verdicts[0].because",
    ),
    "an id twice": (changed("observations", 1, "id", value=WHOLE["observations"][0]["id"]), "$.observations[1].id"),
    "no reason": (changed("verdicts", 0, "because", value=[]), "$.verdicts[0].because"),
    "no date": (changed("run", "started", value="yesterday"), "$.run.started"),
    "no zone": (changed("run", "started", value="2026-03-14T09:26:53"), "$.run.started"),
    "negative duration": (changed("run", "duration_s", value=-1), "$.run.duration_s"),
    "capture format": (
        changed("run", "captures", value=[{"file": "a", "format": "zip", "linktype": None, "packets": 1, "readable": True}]),
        "$.run.captures[0]",
    ),
    "capture count": (
        changed("run", "captures", value=[{"file": "a", "format": "pcap", "linktype": None, "packets": -1, "readable": True}]),
        "$.run.captures[0].packets",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_result_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    data, place = BAD[name]
    file = tmp_path / "result.json"
    file.write_bytes(data)
    with pytest.raises(UsageError) as refusal:
        document.read(tmp_path)
    message = str(refusal.value)
    assert refusal.value.status is ExitStatus.UNREADABLE
    assert place in message
    assert str(file) in message
    assert "\n" not in message


def test_keys_of_a_later_minor_version_are_passed_over() -> None:
    assert document.decode(changed("weather", value="fair")) == seed_result()


@given(st.binary(max_size=60))
def test_any_bytes_give_a_result_or_a_refusal(data: bytes) -> None:
    with pytest.raises(UsageError):
        document.decode(data)


def test_a_missing_document_and_one_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such file"):
        document.read(tmp_path / "absent")
    monkeypatch.setattr(document, "LARGEST_DOCUMENT", 1024 * 1024)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        document.read(Path("/dev/zero"))


def test_a_result_folder_has_its_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    document.write_folder(seed_result(), folder, report=b"<html>", captures={"client.pcap": b"c", "server.pcap": b"s"})
    assert sorted(os.listdir(folder)) == ["client.pcap", "observations.csv", "report.html", "result.json", "server.pcap"]
    assert document.read(folder) == document.read(folder / "result.json") == seed_result()
    assert (folder / "report.html").read_bytes() == b"<html>"


def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        document.write_atomically(tmp_path / "report.html", b"page")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o640


def test_what_stood_there_is_replaced_whole_and_links_are_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "real.html", tmp_path / "link.html"
    target.write_bytes(b"old and much longer")
    link.symlink_to(target)
    document.write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    document.write_atomically(pipe, b"page")
    assert os.read(reader, 100) == b"page"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_full_device_is_told_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"cannot write /dev/full: no space left on device; free some space") as refusal:
        document.write_atomically(Path("/dev/full"), b"page")
    assert refusal.value.status is ExitStatus.UNWRITABLE


def refuses_after(limit_bytes: int, folder: Path) -> None:
    """In a process of its own: files may not grow beyond the limit, as on a full disk."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    with pytest.raises(UsageError, match="cannot write"):
        document.write_files(folder, {"small.csv": b"1", "large.json": b"2" * 100_000})


@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_midway_leaves_the_folder_as_it_was(existing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    if existing:
        folder.mkdir()
        (folder / "small.csv").write_bytes(b"old")
    program = f"from pathlib import Path; from test_document import refuses_after; refuses_after(5000, Path({str(folder)!r}))"
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "report")])
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": places}, timeout=60)
    assert folder.exists() is existing
    if existing:
        assert os.listdir(folder) == ["small.csv"]
        assert (folder / "small.csv").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", "it is a folder"),
        ("file/report.html", "not a directory"),
        ("absent/report.html", "no such file"),
        ("n" * 256, "name too long"),
    ],
)
def test_places_that_cannot_be_written_are_named(place: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=words) as refusal:
        document.write_atomically(tmp_path / place, b"")
    assert "\n" not in str(refusal.value)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_where_a_file_stands_and_names_with_a_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="a file stands where a folder is needed"):
        document.write_files(tmp_path / "file", {"a": b""})
    with pytest.raises(UsageError, match="not a plain file name"):
        document.write_files(tmp_path / "new", {"../a": b""})
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EACCES, "you may write to"), (errno.EROFS, "you may write to"), (errno.EIO, "another place")]
)
def test_the_remedy_fits_the_error(number: int, remedy: str) -> None:
    assert remedy in str(document._unwritable(Path("x"), OSError(number, os.strerror(number))))


def test_reading_the_schema_needs_no_heavy_package() -> None:
    program = "import sys, vpnprobe.observations.document; print(sorted({'msgspec', 'pandas', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_verdicts_of_single_captures_need_reasons_too() -> None:
    capture: Mapping[str, Any] = {"file": "a", "format": "pcap", "linktype": None, "packets": 1, "readable": True}
    verdict = {"protocol": "pptp", "feasibility": "unknown", "because": []}
    with pytest.raises(UsageError, match=r"captures\[0\]\.verdicts\[0\]"):
        document.decode(changed("run", "captures", value=[{**capture, "verdicts": [verdict]}]))


def test_a_result_is_made_of_frozen_parts() -> None:
    result: Result = seed_result()
    verdict: Verdict = result.verdicts[0]
    with pytest.raises(AttributeError):
        verdict.port = 1  # type: ignore[misc]
