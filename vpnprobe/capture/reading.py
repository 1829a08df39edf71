"""One input, of any format, read to its end: a `CaptureInput` with a decoder for each trace in it.

A capture file is one trace. A printed text may hold several, each by itself: people paste what they saw at the client and what they saw
at the server one after the other.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.files import CaptureFormat, CaptureReader, open_source, packets_of, told_dropped
from vpnprobe.capture.frames import frame_of
from vpnprobe.capture.pipes import unreadable
from vpnprobe.capture.printed.characters import lines_of
from vpnprobe.capture.printed.traces import PrintedTrace, parse
from vpnprobe.capture.recording import COMPARED_BYTES, Recording
from vpnprobe.capture.sources import CHUNK_BYTES, Source
from vpnprobe.capture.time_order import TimeOrder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.circumstances import Circumstances, read_note
from vpnprobe.evidence.packet_records import Vantage

TEXT_LIMIT_BYTES: Final = 256 << 20


@dataclass(slots=True)
class PacketTrace:
    """What was captured in one run of a capture program."""

    decoder: Decoder
    first_at: float | None
    """Unix time, or since midnight where `dated` is not set; None: no packets."""
    named: Vantage | None = None
    """The end that the text itself says it was taken at."""
    dated: bool = True
    circumstances: Circumstances | None = None
    """What the end of a run of ours noted beside its packets; None: nothing."""

    @property
    def ends(self) -> Ends | None:
        return self.decoder.ends()

    def vantage(self, ends: Ends) -> Vantage | None:
        """At which end it was taken; None: nothing shows it."""
        return self.named or self.decoder.finder.vantage(ends)


@dataclass(slots=True)
class CaptureInput:
    """One input that was read: a capture file, or a printed text with one trace or more."""

    file: str
    format: CaptureFormat
    linktype: str | None
    packets: int
    readable: bool
    problem: str | None
    traces: tuple[PacketTrace, ...] = ()
    recording: Recording = field(default_factory=Recording)


def read_capture(path: Path) -> CaptureInput:
    """Reads a capture to its end. Raises UsageError, status UNREADABLE, for what is none."""
    source, capture_format = open_source(path)
    if capture_format is CaptureFormat.TCPDUMP_TEXT:
        with source:
            return _read_text(path, source)
    with packets_of(source, capture_format) as reader:
        return _read_packets(reader)


def _read_packets(reader: CaptureReader) -> CaptureInput:
    decoder, recording = Decoder(), Recording()
    first_at: float | None = None
    order = TimeOrder()
    for packet in order(reader):
        first_at = packet.at if first_at is None else first_at
        recording.packet(packet.data[:COMPARED_BYTES], packet.at)
        frame = frame_of(packet)
        if frame is not None:
            decoder.take(frame)
    problem = "; ".join(told for told in (reader.problem, order.told(), *decoder.told()) if told) or None
    notes = (read_note(comment.decode("utf-8", "replace")) for comment in reader.besides.comments)
    trace = PacketTrace(decoder, first_at, circumstances=next((found for found in notes if found is not None), None))
    return CaptureInput(reader.file, reader.format, reader.linktype, reader.packets, reader.readable, problem, (trace,), recording)


def _read_text(path: Path, source: Source) -> CaptureInput:
    chunks, recording = _Chunks(source), Recording()
    printed = parse(lines_of(chunks))
    if not printed.packets:
        raise unreadable(path, "is text without one packet line: give what tcpdump, tshark or their like printed, or a pcap file")
    problem = "; ".join(told for told in (printed.problem, told_dropped(printed.dropped)) if told) or None
    if chunks.failure is not None:
        problem = "; ".join(told for told in (f"{printed.packets} packet lines were read, then {chunks.failure}", problem) if told)
    traces = tuple(_trace_of(trace) for trace in printed.traces)
    recording.content(chunks.digest.digest())
    for frame in (frame for trace in printed.traces for frame in trace.frames):
        known_by = (frame.source, frame.destination, frame.protocol, frame.data[:COMPARED_BYTES], frame.length, frame.identification)
        recording.packet(known_by, frame.at)
    name, sound = CaptureFormat.TCPDUMP_TEXT, chunks.failure is None
    return CaptureInput(str(path), name, None, printed.packets, sound, problem, traces, recording)


class _Chunks:
    """The bytes of a source, as far as it can be read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.failure: DecodeError | None = None
        self.digest = hashlib.blake2b(digest_size=16)
        """Of what was read so far."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (chunk := self._source.take_up_to(CHUNK_BYTES)) and self._source.offset < TEXT_LIMIT_BYTES:
                self.digest.update(chunk)
                yield chunk
        except DecodeError as error:
            self.failure = error


def _trace_of(printed: PrintedTrace) -> PacketTrace:
    decoder = Decoder(excerpt=True)
    for frame in printed.frames:
        decoder.take(frame)
    return PacketTrace(decoder, printed.frames[0].at if printed.frames else None, printed.named, printed.dated)


def read_text(text: str) -> tuple[PacketTrace, ...]:
    """The traces of a printed text."""
    return tuple(_trace_of(trace) for trace in parse(io.StringIO(text)).traces)


def captures_in(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """The files to read, folders opened, and whether each was named by itself. Other files of a folder are left out by their names."""
    for path in paths:
        if not path.is_dir():
            yield path, True
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and is_capture_name(file):
                yield file, False


CAPTURE_SUFFIXES: Final = frozenset((".pcap", ".pcapng", ".cap", ".dmp", ".dump", ".ntar", ".snoop", ".trc", ".txt", ".log"))
COMPRESSED_SUFFIXES: Final = frozenset((".gz", ".zst", ".zstd"))


def is_capture_name(path: Path) -> bool:
    """Whether a file in a folder is worth opening."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in CAPTURE_SUFFIXES
