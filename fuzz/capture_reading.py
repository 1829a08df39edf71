"""Fuzz targets: the readers of captures and of printed texts, and what follows the protocols in them.

Each takes any bytes and returns, or shows a bug.
Allowed is `UsageError` of status UNREADABLE for what is no capture.
"""

import io
from typing import Final

import capture_packets
from scratch import folder

from vpnprobe.capture.analysis import examine, examine_at, examine_pair
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.printed.characters import lines_of
from vpnprobe.capture.printed.traces import parse
from vpnprobe.capture.reading import read_capture
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.ip import TcpFlag


def capture(data: bytes) -> None:
    """The bytes as a capture file, examined as of one end, of either, and as both ends'."""
    path = folder() / "some.pcap"
    path.write_bytes(data)
    try:
        first, second = read_capture(path), read_capture(path)
    except UsageError as error:
        if error.status is not ExitStatus.UNREADABLE:
            raise
        return
    examine(first)
    examine_at(first, Vantage.SERVER)
    examine_pair(first, second)


def text(data: bytes) -> None:
    """The bytes as a printed text, whatever its encoding, read to conversations; and again as the lines of one that is sound otherwise."""
    for pasted in (data, SOUND_LINE + data.replace(b"\0", b" ")):
        for trace in parse(lines_of([pasted])).traces:
            decoder = Decoder()
            for frame in trace.frames:
                decoder.take(frame)
            decoder.conversations()


SOUND_LINE: Final = b"10:00:00.000000 IP 192.0.2.10.50000 > 198.51.100.20.1194: UDP, length 14\n"
PORTS: Final = (1194, 443, 40000, 51820)
LONGEST_PAYLOAD: Final = 1400
"""A script's payloads are shorter, bytes."""


def captured(data: bytes) -> None:
    """A script of packets: flags, port, two bytes of length, payload. They become IP packets of a sound capture file.

    Bits of the flags: 0 back, 1 TCP, 2 low TTL, 3 SYN, 4 FIN, 5 RST, 6 a gap of the stream before it, 7 the sequence number stays.
    """
    reader, made = io.BytesIO(data), []
    sequence = {False: 1001, True: 5001}
    while len(head := reader.read(4)) == 4 and len(made) < 500:
        flags, port = head[0], PORTS[head[1] % len(PORTS)]
        payload, back = reader.read(int.from_bytes(head[2:], "big") % LONGEST_PAYLOAD), bool(flags & 1)
        if flags & 2:
            sequence[back] += 100 if flags & 0x40 else 0
            made.append(_segment(payload, flags, sequence[back], sequence[not back], port))
            sequence[back] += (0 if flags & 0x80 else len(payload)) + bool(flags & 8)
        else:
            ports = (port, 50000) if back else (50000, port)
            made.append(capture_packets.udp(payload, *ports, back=back, ttl=3 if flags & 4 else None, identification=len(made)))
    capture(capture_packets.pcap(made))


def _segment(payload: bytes, flags: int, sequence: int, acknowledgment: int, port: int) -> bytes:
    bits = {8: TcpFlag.SYN, 16: TcpFlag.FIN, 32: TcpFlag.RST}
    marks = int(TcpFlag.ACK) | sum(int(flag) for bit, flag in bits.items() if flags & bit)
    numbers = (sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF)
    return capture_packets.tcp(
        sequence=numbers[0], acknowledgment=numbers[1], flags=marks, payload=payload, port=50000, server_port=port, back=bool(flags & 1)
    )
