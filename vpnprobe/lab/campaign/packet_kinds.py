"""What the checks put on the wire, message by message, as far as a filter can tell it apart.

Written after the protocols' own formats and the program's published list of checks, not after a run: which bytes stand where in a
payload, how long the IP packet is, in which order the messages of a conversation follow. Sizes are bytes of an IPv4 packet. What is not
written here is random in each packet.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.observations.schema import Direction, Transport

C2S, S2C = Direction.C2S, Direction.S2C
GRE: Final = 47
ESP: Final = 50
UDP_AT: Final = 0
"""Where an OpenVPN packet begins in a UDP payload."""
STREAM_AT: Final = 2
"""Where it begins in a TCP segment, behind its length."""
RESET, CONTROL, DATA, SERVER_RESET, RESET_V3 = 0x38, 0x20, 0x48, 0x40, 0x50
"""First bytes of OpenVPN packets: opcode and key ID 0."""
WRAPS: Final = ("", "tls-crypt", "tls-crypt-v2")
"""Of OpenVPN's control channel; empty: none. Only tls-crypt-v2 begins with another opcode."""
LARGEST_DATA: Final = 1492
"""Bytes of the largest data packet over UDP that is tried."""
MORE_IN_A_STREAM: Final = 14
"""Bytes that a packet is longer in a TCP segment than over UDP: the longer header, and its length."""
SEGMENT: Final = 1500
"""Bytes of the IP packet of a full TCP segment, on links that carry as much."""
DATA_ALWAYS: Final = 1400
"""Bytes of the largest data packets over UDP that are tried on every path."""
DATA_IN_A_STREAM: Final = 1388
"""Bytes of the largest data packets over TCP, in an IP packet of their own without the time stamps that Linux sends (RFC 7323)."""
CERTIFICATE: Final = 1150
"""Bytes of a control packet over UDP that the server's certificate fills, at least."""


@dataclass(frozen=True, slots=True)
class PacketKind:
    """Packets that look alike to filters."""

    protocol: int
    """IP protocol number."""
    port: int | None = None
    """The server's; None: the protocol has none."""
    known: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Bytes of the TCP or UDP payload that are always the same, by offset."""
    smallest: int = 40
    largest: int = 40
    """Bytes of the IP packet."""
    merged: bool = False
    """Segments of its stream may have been joined on the way: what begins one may stand anywhere in it."""
    enhanced: bool = False
    """GRE version 1, which NATs and firewalls track by Call ID."""

    @property
    def payload_bytes(self) -> int:
        """Of the smallest."""
        return max(0, self.smallest - (28 if self.protocol == UDP else 40))


@dataclass(frozen=True, slots=True)
class Step:
    """One message that has to get through before the next one is sent."""

    direction: Direction
    kind: PacketKind
    repeated: bool = False
    """The same bytes are sent again where they are lost, so that a filter that hits them by chance hits them each time."""


def _bytes_at(offset: int, hexadecimal: str) -> Mapping[int, int]:
    return MappingProxyType({offset + place: value for place, value in enumerate(bytes.fromhex(hexadecimal))})


def _one_byte(offset: int, value: int) -> Mapping[int, int]:
    return MappingProxyType({offset: value})


def _udp(port: int, known: Mapping[int, int], smallest: int, largest: int) -> PacketKind:
    return PacketKind(UDP, port, known, smallest, largest)


def _segment(port: int, known: Mapping[int, int], smallest: int, largest: int) -> PacketKind:
    return PacketKind(TCP, port, known, smallest, largest)


def _connection(port: int) -> tuple[Step, ...]:
    """SYN and SYN-ACK."""
    return Step(C2S, PacketKind(TCP, port, smallest=40, largest=60)), Step(S2C, PacketKind(TCP, port, smallest=40, largest=60))


def numbered(port: int) -> PacketKind:
    """Our own payload, which begins with `vp`."""
    return _udp(port, _bytes_at(0, "7670"), 42, 330)


def _openvpn(transport: Transport, port: int, first: int, smallest: int, largest: int) -> PacketKind:
    if transport is Transport.UDP:
        return _udp(port, _one_byte(UDP_AT, first), smallest, largest)
    return _segment(port, _one_byte(STREAM_AT, first), smallest + MORE_IN_A_STREAM, min(largest + MORE_IN_A_STREAM, SEGMENT))


def _continued(port: int) -> PacketKind:
    """What stands in a segment that begins in the middle of a packet: ciphertext."""
    return _segment(port, MappingProxyType({}), 300, SEGMENT)


def openvpn_reset(transport: Transport, port: int, wrap: str) -> tuple[Step, ...]:
    first = RESET_V3 if wrap == "tls-crypt-v2" else RESET
    steps = (Step(C2S, _openvpn(transport, port, first, 42, 390)), Step(S2C, _openvpn(transport, port, SERVER_RESET, 54, 110)))
    return (*_connection(port), *steps) if transport is Transport.TCP else steps


def openvpn_handshake(transport: Transport, port: int, wrap: str) -> tuple[Step, ...]:
    """TLS in control packets; the server's certificate takes the largest."""
    there, back = _openvpn(transport, port, CONTROL, 101, 611), _openvpn(transport, port, CONTROL, 151, 1200)
    steps: tuple[Step, ...] = (Step(C2S, there), Step(S2C, back))
    if transport is Transport.UDP:
        steps = (*steps, Step(S2C, replace(back, smallest=CERTIFICATE)))
    if transport is Transport.TCP:
        steps = (*steps, Step(S2C, _continued(port), repeated=True))
        if wrap == "tls-crypt-v2":
            steps = (Step(C2S, _continued(port), repeated=True), *steps)
    return (*openvpn_reset(transport, port, wrap), *steps)


def openvpn_data(transport: Transport, port: int, way: Direction) -> tuple[Step, ...]:
    """Data packets of one direction alone."""
    steps = (Step(way, _openvpn(transport, port, DATA, 69, LARGEST_DATA)),)
    return (*steps, Step(way, _continued(port), repeated=True)) if transport is Transport.TCP else steps


def pptp_control() -> tuple[Step, ...]:
    """The magic cookie stands at offset 4 of every message (RFC 2637 section 2)."""
    messages = _segment(1723, _bytes_at(4, "1a2b3c4d"), 64, 208)
    return (*_connection(1723), Step(C2S, messages), Step(S2C, messages))


def l2tp_control() -> tuple[Step, ...]:
    """Flags and version of a control message (RFC 2661 section 3.1)."""
    messages = _udp(1701, _bytes_at(0, "c802"), 40, 145)
    return Step(C2S, messages), Step(S2C, messages)


def l2tp_data(way: Direction) -> tuple[Step, ...]:
    """Flags and version of a data message with a length (section 3.1), and the head of LCP in the PPP frame behind its header."""
    return (Step(way, _udp(1701, {**_bytes_at(0, "4002"), **_bytes_at(8, "ff03c021")}, 54, 1400)),)


def ike(port: int, version: int) -> tuple[Step, ...]:
    """The version stands behind both SPIs and the next payload (RFC 7296 section 3.1); on 4500 behind the non-ESP marker."""
    start = 4 if port == 4500 else 0
    known = {start + 17: version << 4, **(dict.fromkeys(range(4), 0) if start else {})}
    messages = _udp(port, MappingProxyType(known), 172, 460)
    return Step(C2S, messages), Step(S2C, messages)


def esp_in_udp(way: Direction) -> tuple[Step, ...]:
    """It begins with its SPI, which is random."""
    return (Step(way, _udp(4500, MappingProxyType({}), 92, 1400)),)


def wireguard_handshake(port: int) -> tuple[Step, ...]:
    """Type and three reserved bytes."""
    return Step(C2S, _udp(port, _bytes_at(0, "01000000"), 176, 176)), Step(S2C, _udp(port, _bytes_at(0, "02000000"), 120, 120))


def wireguard_data(port: int, way: Direction) -> tuple[Step, ...]:
    return (Step(way, _udp(port, _bytes_at(0, "04000000"), 108, 1480)),)


def gre_bare(way: Direction) -> tuple[Step, ...]:
    return (Step(way, PacketKind(GRE, smallest=80, largest=80)),)


def gre_in_call(way: Direction) -> tuple[Step, ...]:
    return (Step(way, PacketKind(GRE, smallest=50, largest=1400, enhanced=True)),)


def esp(way: Direction) -> tuple[Step, ...]:
    return (Step(way, PacketKind(ESP, smallest=84, largest=1400)),)


def steps_of(probe: str, check: str, transport: Transport, port: int | None, variant: str, way: Direction) -> tuple[Step, ...]:
    """The messages of a check, in their order; empty: no packets of the path are counted in it, or it is not known here."""
    return next(iter(_steps(probe, check, transport, port or 0, variant, way)), ())


def _steps(probe: str, check: str, transport: Transport, port: int, variant: str, way: Direction) -> Iterator[tuple[Step, ...]]:
    match probe, check:
        case "tcp", "reach":
            yield _connection(port)
        case "udp", "reach":
            yield (Step(way, numbered(port)),)
        case "gre" | "pptp", "passthrough" | "lcp":
            yield gre_in_call(way) if variant == "in-call" else gre_bare(way)
        case "esp", "passthrough":
            yield esp(way)
        case "pptp", "control":
            yield pptp_control()
        case "l2tp", "control":
            yield l2tp_control()
        case "l2tp", "data":
            yield l2tp_data(way)
        case "ike", "ikev1-main":
            yield ike(port, 1)
        case "ike", "ikev2-init":
            yield ike(port, 2)
        case "ike", "esp-in-udp":
            yield esp_in_udp(way)
        case "openvpn", "reset":
            yield openvpn_reset(transport, port, variant)
        case "openvpn", "handshake":
            yield openvpn_handshake(transport, port, variant)
        case "openvpn", "data":
            yield openvpn_data(transport, port, way)
        case "wireguard", "handshake":
            yield wireguard_handshake(port)
        case "wireguard", "data":
            yield wireguard_data(port, way)
        case _:
            return
