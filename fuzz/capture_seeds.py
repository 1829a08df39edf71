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


TEXTS: Final = (
    "    1   0.000000    192.0.2.10 \u2192 198.51.100.20    TCP 74 57100 \u2192 1723 [SYN] Seq=0 Win=64240 Len=0 MSS=1460\n"
    "    2   0.000789    192.0.2.10 \u2192 198.51.100.20    PPTP 222 Start-Control-Connection-Request\n"
    "    3   0.001000    192.0.2.10 \u2192 198.51.100.20    ISAKMP 506 IKE_SA_INIT MID=00 Initiator Request\n"
    "    4   0.002000    192.0.2.10 \u2192 198.51.100.20    WireGuard 190 Handshake Initiation, sender=0x13B7C3D2\n"
    "    5   0.003000    192.0.2.10 \u2192 198.51.100.20    OpenVPN 56 MessageType: P_CONTROL_HARD_RESET_CLIENT_V2\n",
    "Frame 1: 56 bytes on wire (448 bits)\n    Epoch Time: 1795334527.013565000 seconds\nInternet Protocol Version 4, Src: 192.0.2.10, "
    "Dst: 198.51.100.20\n    Protocol: UDP (17)\nUser Datagram Protocol, Src Port: 50000, Dst Port: 1194\n    UDP payload (14 bytes)\n"
    "OpenVPN Protocol\n    Type: 0x38 [opcode/key_id]\n    Session ID: 15921076659713520067\n",
    "10:00:00.1 IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto UDP (17), length 42)\n    192.0.2.10.500 > 198.51.100.20.500: "
    "[udp sum ok] isakmp 2.0 msgid 00000000 cookie e60950ea025c8412->0000000000000000: parent_sa ikev2_init[I]:\n    (sa: len=44\n"
    "\t0x0000:  4500 002a 0001 0000 4011 0000 c000 020a  E..*....@.......\n\t0x0010:  c633 6414 c350 04aa 0016 0000 3801 0203\n",
    "0000  45 00 00 2a 00 01 00 00 40 11 00 00 c0 00 02 0a   E..*....@.......\n0010  c6 33 64 14 c3 50 04 aa 00 16 00 00 38 01 02 03\n",
    "ip.src,ip.dst,ip.proto,udp.srcport,udp.dstport,udp.length,udp.payload\n192.0.2.10,198.51.100.20,17,50000,1194,22,3801020304\n",
    "> 3.530807 port4 in 192.0.2.10.500 -> 198.51.100.20.500: udp 368\n> 3.6 port4 in 192.0.2.10 -> 198.51.100.20: ip-proto-50 132\n",
)


def text() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted((ROOT / "pcaps").iterdir()) if path.suffix == ".txt")
    yield from (part.encode(encoding) for part in TEXTS for encoding in ("utf-8", "utf-16"))


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
