"""What the fuzz targets of captures begin with: those of the case and of simulated runs, and whole sessions as packets."""

import io
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import capture_packets
import wireguard_support
from capture_reading import LONGEST_PAYLOAD
from openvpn_support import WRAPS
from openvpn_talking import fresh, recorded

from vpnprobe.cli import run_command
from vpnprobe.wire.openvpn import frame

ROOT: Final = Path(__file__).resolve().parent.parent


def _script(sent: Iterable[tuple[bool, bytes]], *, stream: bool = False, port: int = 0) -> bytes:
    """Packets of a session as those of a capture (see `capture_reading.captured`). `sent`: whether the server did, and what."""
    made = bytes([0x02 | 0x08, port, 0, 0, 0x03 | 0x08, port, 0, 0]) if stream else b""
    for back, data in [packet for packet in sent if len(packet[1]) < LONGEST_PAYLOAD][:24]:
        made += bytes([back | stream << 1, port]) + len(data).to_bytes(2, "big") + data
    return made + (bytes([0x12, port, 0, 0, 0x33, port, 0, 0]) if stream else b"")


def _openvpn(wrap: str, *, stream: bool) -> bytes:
    pair = fresh(wrap, stream=stream).complete()
    return _script(((end is pair.server, data) for end, data in pair.sent), stream=stream)


def _wireguard(*, wants_cookie: bool) -> bytes:
    pair = wireguard_support.Pair(server=wireguard_support.responder(wants_cookie=wants_cookie)).run(until=10.0)
    return _script(((end is pair.server, data) for end, data in pair.said), port=3)


def captured() -> Iterator[bytes]:
    yield from (_openvpn(wrap, stream=stream) for wrap in WRAPS for stream in (False, True))
    yield from (_wireguard(wants_cookie=wants_cookie) for wants_cookie in (False, True))
    for packet in (recorded(wrap, False)[0][0] for wrap in WRAPS):
        # A server that closes, or resets, at the client's reset; and one whose stream has a length of 0.
        opened = bytes([0x0A, 1, 0, 0, 0x0B, 1, 0, 0, 0x02, 1]) + (2 + len(packet)).to_bytes(2, "big") + frame(packet)
        yield from (opened + end for end in (bytes([0x13, 1, 0, 0]), bytes([0x23, 1, 0, 0]), bytes([0x03, 1, 0, 4]) + bytes(4)))


def capture() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted((ROOT / "pcaps").iterdir()) if path.suffix in (".pcap", ".txt"))
    with TemporaryDirectory() as folder:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            run_command(["demo", "-o", folder])
        for path in sorted(Path(folder).glob("*.pcap")):
            yield from _pieces(path.read_bytes())
    for wrap in WRAPS[:1]:
        sent = recorded(wrap, False)[0]
        yield capture_packets.pcap(capture_packets.udp(packet, 50000, 1194) for packet in sent[:8])


def _pieces(data: bytes) -> Iterator[bytes]:
    """Captures of 40 packets each out of a classic one: large inputs are slow, and few."""
    header, at, order = data[:24], 24, "little" if data[0] in (0xD4, 0x4D) else "big"
    records: list[bytes] = []
    while at + 16 <= len(data):
        size = 16 + int.from_bytes(data[at + 8 : at + 12], order)
        records.append(data[at : at + size])
        at += size
    for first in range(0, len(records), 200):
        yield header + b"".join(records[first : first + 40])
