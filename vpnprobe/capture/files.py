"""Opens a capture of any format and gives its IP packets; writes captures.

The format is told by the first bytes, never by the name. A damaged or truncated file gives what came before, and says where it ended. An
empty or foreign file is a UsageError of status UNREADABLE that says what the file looks like and what to do.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self, assert_never

from vpnprobe.capture import linktypes, pcap, pcapng
from vpnprobe.capture.pcap import Record
from vpnprobe.capture.pipes import unreadable
from vpnprobe.capture.sources import Source
from vpnprobe.capture.text_encoding import encoding_of
from vpnprobe.errors import DecodeError

__all__ = ["CaptureFormat", "CaptureReader", "CapturedPacket", "read_packets", "recognise"]

PACKETS_LIMIT: Final = 50_000_000
"""Most records read from one file."""


class CaptureFormat(StrEnum):
    PCAP = "pcap"
    PCAPNG = "pcapng"
    TCPDUMP_TEXT = "tcpdump-text"


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One IP packet of a capture."""

    number: int
    """1-based, as Wireshark numbers it; frames that hold no IP packet have numbers too."""
    at: float
    """Unix time, seconds; 0 where the capture has none."""
    data: bytes
    """From the first byte of the IP header, as far as it was captured; may end with padding of the link layer."""
    wire_length: int
    """Bytes of the frame on the wire."""
    outgoing: bool | None = None
    """Whether the capturing host sent it; None: the link type does not tell."""
    interface: int = 0
    """Which of the file's interfaces it was captured on, from 0."""
    of_interfaces: int = 1
    """How many interfaces the file has described by then."""


class CaptureReader:
    """Iterates once over the IP packets of an open capture. What it tells besides is complete when the iteration is."""

    def __init__(self, source: Source, capture_format: CaptureFormat) -> None:
        self._source = source
        self.format = capture_format
        self.packets = 0
        """Records read, IP or not."""
        self.protected = 0
        """Frames whose content is encrypted on the link, as of a wireless network with a password."""
        self.damage: str | None = None
        """Where and why reading ended early; None: it did not."""
        self.besides = pcapng.Besides()
        """What the file says besides its packets."""
        self._linktypes: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    @property
    def file(self) -> str:
        return str(self._source.path)

    @property
    def linktype(self) -> str | None:
        """Name of the link type that most records have; None: no record was read."""
        return linktypes.name(self._linktypes.most_common(1)[0][0]) if self._linktypes else None

    @property
    def readable(self) -> bool:
        """Whether the file was sound up to its end."""
        return self.damage is None

    @property
    def problem(self) -> str | None:
        """What keeps this capture from being understood whole; None: nothing."""
        unknown = sorted(linktypes.name(number) for number in self._linktypes if not linktypes.is_known(number))
        said = (
            self.damage,
            f"link type not supported: {', '.join(unknown)}" if unknown and not self.damage else None,
            f"{self.protected} of its {self.packets} frames are encrypted (protected 802.11): what they carry cannot be read"
            if self.protected
            else None,
            told_dropped(sum(self.besides.drops.values())),
        )
        return "; ".join(one for one in said if one) or None

    def __iter__(self) -> Iterator[CapturedPacket]:
        try:
            for record in self._records():
                self.packets = record.number
                self._linktypes[record.linktype] += 1
                packet = linktypes.ip_packet(record.linktype, record.data)
                if packet:
                    yield CapturedPacket(
                        number=record.number,
                        at=record.at,
                        data=packet,
                        wire_length=record.wire_length,
                        outgoing=linktypes.is_outgoing(record.linktype, record.data),
                        interface=record.interface,
                        of_interfaces=record.of_interfaces,
                    )
                elif linktypes.is_protected(record.linktype, record.data):
                    self.protected += 1
                if self.packets >= PACKETS_LIMIT:
                    raise DecodeError(f"record {self.packets}", 0, "is the last that is read; cut the capture with editcap")
        except DecodeError as error:
            self.damage = f"{self.packets} packets were read, then {error}"

    def _records(self) -> Iterator[Record]:
        match self.format:
            case CaptureFormat.PCAP:
                return pcap.records(self._source)
            case CaptureFormat.PCAPNG:
                return pcapng.records(self._source, self.besides)
            case CaptureFormat.TCPDUMP_TEXT:
                return iter(())
            case _:
                assert_never(self.format)


def told_dropped(count: int) -> str | None:
    """What is said where the program that captured lost packets itself."""
    if not count:
        return None
    packets = f"{count} packet{'s' * (count > 1)}"
    return f"the program that captured dropped {packets}: what is missing here may be its own loss, and not the path's"


def recognise(head: bytes) -> CaptureFormat | None:
    """The format that the first bytes show; text is only a candidate for tcpdump's; None: none of ours."""
    if len(head) >= 4 and pcap.byte_order(head[:4]) is not None:
        return CaptureFormat.PCAP
    if head.startswith(pcapng.SECTION_MAGIC):
        return CaptureFormat.PCAPNG
    return CaptureFormat.TCPDUMP_TEXT if _is_text(head) else None


def open_source(path: Path) -> tuple[Source, CaptureFormat]:
    """Opens an input and tells its format. Raises UsageError, status UNREADABLE, for what is empty or foreign."""
    source = Source(path)
    capture_format = recognise(source.head)
    if capture_format is not None:
        return source, capture_format
    with source:
        if not source.head:
            raise unreadable(path, _why_nothing(source))
        raise unreadable(path, f"looks like {_likeness(source.head)}, not like a capture: give pcap, pcapng or tcpdump's printed text")


def _why_nothing(source: Source) -> str:
    if source.compression is not None:
        return "holds nothing that can be unpacked"
    if source.failure is not None:
        return f"cannot be read: {source.failure.problem}"
    return "is empty (0 bytes): capture again with tcpdump -w FILE"


def read_packets(path: Path) -> CaptureReader:
    """Opens a pcap or pcapng file, plain or compressed. Raises UsageError, status UNREADABLE, for anything else."""
    source, capture_format = open_source(path)
    if capture_format is CaptureFormat.TCPDUMP_TEXT:
        source.close()
        raise unreadable(path, "looks like text, not like a pcap or pcapng file")
    return packets_of(source, capture_format)


def packets_of(source: Source, capture_format: CaptureFormat) -> CaptureReader:
    """The reader of an opened pcap or pcapng input, which it closes. Raises UsageError (UNREADABLE) for one without a whole header."""
    if capture_format is CaptureFormat.PCAP and len(source.head) < 24:
        source.close()
        hint = f"is a pcap file that ends within its header ({len(source.head)} bytes): capture again with tcpdump -w FILE"
        raise unreadable(source.path, hint)
    return CaptureReader(source, capture_format)


_LIKENESSES: Final = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"7z\xbc\xaf", "a 7z archive (unpack it first)"),
    (b"\xfd7zXZ", "an xz file (unpack it first)"),
    (b"BZh", "a bzip2 file (unpack it first)"),
    (b"\x04\x22\x4d\x18", "an lz4 file (unpack it first)"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"snoop\0", "a snoop capture (convert it with editcap)"),
    (b"GMBU", "a Network Monitor capture (convert it with editcap)"),
    (b"RTSS", "a Network Monitor capture (convert it with editcap)"),
    (b"MDMP", "a Windows memory dump"),
)


def _likeness(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    return next((likeness for magic, likeness in _LIKENESSES if head.startswith(magic)), "a binary file of another kind")


def _is_text(head: bytes) -> bool:
    if not head or any(head.startswith(magic) for magic, _ in _LIKENESSES):
        return False
    if b"\0" in head:
        return encoding_of(head).startswith("utf-16") or encoding_of(head).startswith("utf-32")
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return control <= len(head) // 100
