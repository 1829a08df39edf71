"""IP packets and capture files to test with, made from the project's own messages."""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.files import CapturedPacket
from vpnprobe.capture.frames import Frame, frame_of
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram

CLIENT = IPv4Address("192.0.2.10")
SERVER = IPv4Address("198.51.100.20")
ROUTER = IPv4Address("203.0.113.1")


def ip(
    payload: bytes,
    protocol: int,
    *,
    source: IPv4Address = CLIENT,
    destination: IPv4Address = SERVER,
    ttl: int = 64,
    identification: int = 1,
) -> bytes:
    return IPv4Packet(source, destination, protocol, ttl, identification, payload).encode()


def udp(
    payload: bytes, source_port: int, destination_port: int, *, back: bool = False, ttl: int | None = None, identification: int = 1
) -> bytes:
    """From the client to the server, or `back`; the server's packets arrive with TTL 60 unless `ttl` says otherwise."""
    ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    data = UdpDatagram(source_port, destination_port, payload).encode(*ends)
    ttl = ttl if ttl is not None else 60 if back else 64
    return ip(data, IpProtocol.UDP, source=ends[0], destination=ends[1], ttl=ttl, identification=identification)


def tcp(
    *,
    sequence: int,
    acknowledgment: int = 0,
    flags: int = TcpFlag.ACK,
    payload: bytes = b"",
    port: int = 40000,
    server_port: int = 1723,
    back: bool = False,
) -> bytes:
    ends, ports = ((SERVER, CLIENT), (server_port, port)) if back else ((CLIENT, SERVER), (port, server_port))
    segment = TcpSegment(*ports, sequence, acknowledgment, int(flags), payload=payload)
    return ip(segment.encode(*ends), IpProtocol.TCP, source=ends[0], destination=ends[1], ttl=60 if back else 64)


def connection(messages: Iterable[tuple[bool, bytes]], *, port: int = 40000, server_port: int = 1723) -> list[bytes]:
    """A whole connection: handshake, then each (from server, bytes)."""
    numbers = {False: 1001, True: 5001}
    packets = [
        tcp(sequence=1000, flags=TcpFlag.SYN, port=port, server_port=server_port),
        tcp(sequence=5000, acknowledgment=1001, flags=TcpFlag.SYN | TcpFlag.ACK, port=port, server_port=server_port, back=True),
        tcp(sequence=1001, acknowledgment=5001, port=port, server_port=server_port),
    ]
    for back, payload in messages:
        packets.append(
            tcp(
                sequence=numbers[back],
                acknowledgment=numbers[not back],
                flags=TcpFlag.ACK | TcpFlag.PSH,
                payload=payload,
                port=port,
                server_port=server_port,
                back=back,
            )
        )
        numbers[back] += len(payload)
    return packets


def frames(packets: Iterable[bytes], *, apart_s: float = 0.01) -> list[Frame]:
    captured = (CapturedPacket(number, 1e9 + number * apart_s, data, len(data)) for number, data in enumerate(packets, 1))
    return [frame for packet in captured if (frame := frame_of(packet)) is not None]


def decoded(packets: Iterable[bytes]) -> Decoder:
    decoder = Decoder()
    for frame in frames(packets):
        decoder.take(frame)
    return decoder


def pcap(
    packets: Iterable[bytes], *, linktype: int = 101, order: str = "<", magic: int = 0xA1B2C3D4, at: Iterable[int] | None = None
) -> bytes:
    """A classic capture, by hand. `at`: when each packet was seen, seconds; None: one a second."""
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for number, packet in zip(count(1) if at is None else at, packets, strict=at is not None):
        data += struct.pack(order + "IIII", 1_000_000_000 + number, 500, len(packet), len(packet)) + packet
    return data


def written(folder: Path, data: bytes, name: str = "some.pcap") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
