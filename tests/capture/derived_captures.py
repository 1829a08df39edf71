"""Captures made of real ones: other segments, shorter snap lengths, one direction alone, copies of a mirror port, jumbled times.

All functions take and give packets of one capture in the order of the file, as IP packets with their times, and change nothing else: what a
capture says must not hang on how it was taken, but where it cannot say as much, and then it has to say so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.files import CapturedPacket, read_packets
from vpnprobe.capture.frames import frame_of
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

ETHERNET_BYTES = 14
VLAN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet of a capture."""

    at: float
    data: bytes
    interface: int = 0


def packets_of(path: Path) -> list[Packet]:
    """The packets of a capture file."""
    with read_packets(path) as reader:
        return [Packet(packet.at, packet.data) for packet in reader]


def decoder_of(packets: Iterable[Packet]) -> Decoder:
    """What the program makes of them."""
    decoder = Decoder()
    for number, packet in enumerate(packets, 1):
        captured = CapturedPacket(number, packet.at, packet.data, len(packet.data))
        frame = frame_of(captured)
        if frame is not None:
            decoder.take(frame)
    return decoder


def stages(packets: Iterable[Packet]) -> list[tuple[str, str, str]]:
    """Protocol, client and stage of each conversation."""
    return sorted(map(named, decoder_of(packets).conversations()))


def named(summary: ConversationSummary) -> tuple[str, str, str]:
    return summary.protocol, f"{summary.client.address}:{summary.client.port}", summary.stage


def _tcp(packet: Packet) -> tuple[IPv4Packet, TcpSegment] | None:
    ip = IPv4Packet.decode(packet.data)
    return (ip, TcpSegment.decode(ip.payload)) if ip.protocol == IpProtocol.TCP else None


def _with_segment(packet: Packet, ip: IPv4Packet, segment: TcpSegment) -> Packet:
    return replace(packet, data=replace(ip, payload=segment.encode(ip.source, ip.destination)).encode())


def in_segments(packets: Iterable[Packet], sizes: Callable[[], int]) -> list[Packet]:
    """TCP payloads in segments of other sizes, at the same times."""
    cut: list[Packet] = []
    for packet in packets:
        found = _tcp(packet)
        if found is None or not found[1].payload:
            cut.append(packet)
            continue
        ip, segment = found
        at = 0
        while at < len(segment.payload):
            size = sizes()
            part = segment.payload[at : at + size]
            last = at + size >= len(segment.payload)
            flags = segment.flags if last else segment.flags & ~(TcpFlag.FIN | TcpFlag.PSH)
            sequence = (segment.sequence + at) % (1 << 32)
            cut.append(_with_segment(packet, ip, replace(segment, payload=part, sequence=sequence, flags=int(flags))))
            at += size
    return cut


def retransmitted(packets: Sequence[Packet], size: int) -> list[Packet]:
    """Each TCP payload once more a little later, together with half of the one before, cut anew into segments of a size."""
    result: list[Packet] = []
    before: dict[tuple[object, ...], bytes] = {}
    for packet in packets:
        result.append(packet)
        found = _tcp(packet)
        if found is None or not found[1].payload:
            continue
        ip, segment = found
        flow = (ip.source, ip.destination, segment.source_port, segment.destination_port)
        tail = before.get(flow, b"")[len(before.get(flow, b"")) // 2 :]
        before[flow] = segment.payload
        again = replace(segment, payload=tail + segment.payload, sequence=(segment.sequence - len(tail)) % (1 << 32))
        whole = _with_segment(replace(packet, at=packet.at + 0.3), replace(ip, identification=ip.identification ^ 0x5555), again)
        result += in_segments([whole], lambda: size)
    return result


def snapped(packets: Iterable[Packet], snap_bytes: int, *, link_bytes: int = ETHERNET_BYTES) -> list[Packet]:
    """Frames cut to a snap length."""
    return [replace(packet, data=packet.data[: snap_bytes - link_bytes]) for packet in packets]


def one_direction(packets: Iterable[Packet], source: str) -> list[Packet]:
    """Only what one address sent."""
    return [packet for packet in packets if str(IPv4Packet.decode(packet.data).source) == source]


def mirrored(packets: Iterable[Packet], *, ttl_less: int = 0, later_s: float = 0.0002) -> list[Packet]:
    """Each packet twice, the copy with a lower TTL where it was routed in between."""
    twice: list[Packet] = []
    for packet in packets:
        ip = IPv4Packet.decode(packet.data)
        copy = replace(ip, ttl=ip.ttl - ttl_less).encode()[: len(packet.data)]
        twice += [packet, replace(packet, at=packet.at + later_s, data=copy)]
    return twice


def from_the_middle(packets: Sequence[Packet], share: float) -> list[Packet]:
    """Without the first packets."""
    return list(packets[int(len(packets) * share) :])
