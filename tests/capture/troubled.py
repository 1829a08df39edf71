"""Conversations of six protocols that fail at a step for a cause, as a capture at the client, at the server or between them shows them.

Each is a script of messages that ask and answer in turn. What fails is played by the protocols' own habits: who hears nothing says the same
again, and who is asked again answers again. The truth is what was planted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, Unreachable
from vpnprobe.wire.ikev1 import Exchange as Main
from vpnprobe.wire.ikev1 import MainModeKeys, PayloadType, main_mode_reply, main_mode_request
from vpnprobe.wire.ikev2 import Auth, Exchange, sa_init_request, sa_init_response
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram, decode_ip
from vpnprobe.wire.isakmp import Payload, with_marker
from vpnprobe.wire.l2tp import (
    IncomingCallConnected,
    IncomingCallReply,
    IncomingCallRequest,
    StartControlConnectionConnected,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    call_connected_avps,
    call_reply_avps,
    call_request_avps,
    tunnel_avps,
)
from vpnprobe.wire.openvpn import ControlV1, DataV2, HardResetClientV2, HardResetServerV2, Reliable
from vpnprobe.wire.wireguard import HandshakeInitiation, HandshakeResponse, TransportData

CLIENT = IPv4Address("192.0.2.10")
SERVER = IPv4Address("198.51.100.20")
OTHER_ADDRESS = IPv4Address("198.51.100.77")
FIREWALL = IPv4Address("203.0.113.1")
HOPS: Final = 6
ENCRYPTED: Final = 46
"""The payload that holds all others (RFC 7296 section 3.14)."""
COPIES: Final = 4
"""How often who hears nothing says the same."""
ROUND_TRIP_S: Final = 0.04
AGAIN_S: Final = 2.0
THINKS_S: Final = 0.001


class At(StrEnum):
    """Where the capture is taken."""

    CLIENT = "client"
    BETWEEN = "between"
    SERVER = "server"


class Trouble(StrEnum):
    """What is planted."""

    ANSWER_LOST = "the answer is lost on the way back, beyond the middle"
    ANSWER_KEPT = "the answer arrives and the client's own firewall keeps it"
    ASKED_LOST = "the question is lost on the way there, beyond the middle"
    SILENT = "the server gets it and is silent"
    REFUSED = "the server's host refuses it"
    REFUSED_BEFORE = "a firewall before the server refuses it"
    ELSEWHERE = "the server answers from another of its addresses"


@dataclass(frozen=True)
class Said:
    """One message of a script."""

    back: bool
    payload: bytes
    ports: tuple[int, int]
    """The client's and the server's."""


@dataclass(frozen=True)
class OnWire:
    """One packet, and where it gets to: 0 is the client, 1 the middle, 2 the server."""

    at: float
    data: bytes
    back: bool
    reaches: int
    begins: int | None = None
    """Where it was sent; None: at an end."""


def ikev2() -> list[Said]:
    one, two = bytes(range(1, 9)), bytes(range(11, 19))
    ask = sa_init_request(one, public_value=bytes(range(256)), nonce=bytes(32))
    answer = sa_init_response(ask, two, public_value=bytes(range(256)), nonce=bytes(32))
    auth = [
        Auth(one, two, Exchange.IKE_AUTH, (Payload(ENCRYPTED, bytes(size)),), flags, message_id=1, major_version=2).encode()
        for flags, size in ((0x08, 240), (0x20, 220))
    ]
    return [
        Said(False, ask.encode(), (500, 500)),
        Said(True, answer.encode(), (500, 500)),
        Said(False, with_marker(auth[0]), (4500, 4500)),
        Said(True, with_marker(auth[1]), (4500, 4500)),
    ]


def ikev1() -> list[Said]:
    """Main mode and quick mode, the last two messages of main mode and all of quick mode encrypted (RFC 2409 sections 5 and 5.5)."""
    one, two = bytes(range(1, 9)), bytes(range(11, 19))
    ask = main_mode_request(one)
    keys = (Payload(PayloadType.KEY_EXCHANGE, bytes(256)), Payload(PayloadType.NONCE, bytes(32)))

    def keyed() -> bytes:
        return MainModeKeys(one, two, Main.MAIN, keys).encode()

    def encrypted(exchange: Main, size: int, message_id: int = 0) -> bytes:
        head = one + two + bytes((PayloadType.HASH if exchange is Main.QUICK else 5, 0x10, exchange, 1))
        return head + message_id.to_bytes(4, "big") + (28 + size).to_bytes(4, "big") + bytes((size,)) * size

    return [
        Said(False, ask.encode(), (500, 500)),
        Said(True, main_mode_reply(ask, two).encode(), (500, 500)),
        Said(False, keyed(), (500, 500)),
        Said(True, keyed(), (500, 500)),
        Said(False, with_marker(encrypted(Main.MAIN, 48)), (4500, 4500)),
        Said(True, with_marker(encrypted(Main.MAIN, 64)), (4500, 4500)),
        Said(False, with_marker(encrypted(Main.QUICK, 160, 0x1234)), (4500, 4500)),
        Said(True, with_marker(encrypted(Main.QUICK, 144, 0x1234)), (4500, 4500)),
        Said(False, with_marker(encrypted(Main.QUICK, 48, 0x1234)), (4500, 4500)),
    ]


def l2tp() -> list[Said]:
    messages = [
        StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=b"lac", assigned_tunnel_id=7)),
        StartControlConnectionReply(7, 0, 0, 1, tunnel_avps(host_name=b"lns", assigned_tunnel_id=5)),
        StartControlConnectionConnected(5, 0, 1, 1, ()),
        IncomingCallRequest(5, 0, 2, 1, call_request_avps(assigned_session_id=8, call_serial_number=1)),
        IncomingCallReply(7, 8, 1, 3, call_reply_avps(assigned_session_id=6)),
        IncomingCallConnected(5, 6, 3, 2, call_connected_avps()),
    ]
    backs = (False, True, False, False, True, False)
    return [Said(back, message.encode(), (1701, 1701)) for back, message in zip(backs, messages, strict=True)]


def openvpn() -> list[Said]:
    one, two, ports = bytes(range(8)), bytes(range(8, 16)), (49152, 1194)

    def part(back: bool, number: int, size: int = 200) -> Said:
        session, peer = (two, one) if back else (one, two)
        return Said(back, ControlV1.plain(session, Reliable((number - 1,), peer, number, b"\x16\x03\x01" + bytes(size))).encode(), ports)

    return [
        Said(False, HardResetClientV2.plain(one, Reliable()).encode(), ports),
        Said(True, HardResetServerV2.plain(two, Reliable((0,), one)).encode(), ports),
        part(False, 1),
        part(True, 1),
        Said(False, DataV2(1, (1).to_bytes(4, "big") + bytes(100), 0).encode(), ports),
        Said(True, DataV2(1, (1).to_bytes(4, "big") + bytes(100), 0).encode(), ports),
    ]


def wireguard() -> list[Said]:
    ports = (51821, 51820)
    return [
        Said(False, HandshakeInitiation(0x1111, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)).encode(), ports),
        Said(True, HandshakeResponse(0x2222, 0x1111, bytes(32), bytes(16), bytes(16), bytes(16)).encode(), ports),
        Said(False, TransportData(0x2222, 0, bytes(96)).encode(), ports),
        Said(True, TransportData(0x1111, 0, bytes(96)).encode(), ports),
    ]


SCRIPTS: Final = {"ikev1": ikev1, "ikev2": ikev2, "l2tp": l2tp, "openvpn-udp": openvpn, "wireguard": wireguard}


def datagram(said: Said, *, server: IPv4Address = SERVER) -> IPv4Packet:
    ends = (server, CLIENT) if said.back else (CLIENT, server)
    ports = said.ports[::-1] if said.back else said.ports
    return IPv4Packet(*ends, IpProtocol.UDP, 64, 0, UdpDatagram(*ports, said.payload).encode(*ends))


def played(script: Sequence[Said], step: int, trouble: Trouble) -> Iterator[OnWire]:
    """The packets of a conversation whose message `step` meets trouble: of a question of the client's, or of the answer to it."""
    now = 0.0
    for said in script[:step]:
        yield OnWire(now, datagram(said).encode(), said.back, 0 if said.back else 2)
        now += ROUND_TRIP_S / 2 + THINKS_S
    failing = script[step]
    for number in range(COPIES):
        if failing.back:
            asked = script[step - 1]
            if number:
                yield OnWire(now, datagram(asked).encode(), False, 2)
                now += ROUND_TRIP_S / 2 + THINKS_S
            source = OTHER_ADDRESS if trouble is Trouble.ELSEWHERE else SERVER
            yield OnWire(now, datagram(failing, server=source).encode(), True, 1 if trouble is Trouble.ANSWER_LOST else 0)
        else:
            packet = datagram(failing)
            yield OnWire(now, packet.encode(), False, 1 if trouble in (Trouble.ASKED_LOST, Trouble.REFUSED_BEFORE) else 2)
            if trouble in (Trouble.REFUSED, Trouble.REFUSED_BEFORE):
                host = trouble is Trouble.REFUSED
                code = Unreachable.PORT if host else Unreachable.ADMINISTRATIVELY_PROHIBITED
                source = SERVER if host else FIREWALL
                error = DestinationUnreachable(code, Quote(replace(packet, payload=packet.payload[:8]))).encode()
                yield OnWire(
                    now + ROUND_TRIP_S / 2,
                    IPv4Packet(source, CLIENT, IpProtocol.ICMP, 64, 0, error).encode(),
                    True,
                    0,
                    begins=2 if host else 1,
                )
        now += AGAIN_S


def seen(packets: Sequence[OnWire], at: At) -> list[tuple[float, bytes]]:
    """What a capture there holds, with the TTLs that packets have there."""
    place = {At.CLIENT: 0, At.BETWEEN: 1, At.SERVER: 2}[at]
    found = []
    for packet in packets:
        there = packet.reaches <= place if packet.back else packet.reaches >= place
        if packet.begins is not None:
            there = packet.reaches <= place <= packet.begins
        if there:
            passed = (2 - place if packet.back else place) * HOPS // 2
            delay = (2 - place if packet.back else place) * ROUND_TRIP_S / 4
            found.append((packet.at + delay, _with_ttl(packet.data, 64 - passed)))
    return sorted(found)


def _with_ttl(data: bytes, ttl: int) -> bytes:
    return replace(decode_ip(data), ttl=ttl).encode()


def pptp_call(
    *,
    gre: Sequence[tuple[bool, int, int, bytes]] = (),
    control: Sequence[tuple[bool, bytes]] = (),
    server: IPv4Address = SERVER,
    goes_on_s: float = 10.0,
) -> list[OnWire]:
    """A PPTP control connection and GRE after it: (back, Call ID, sequence number, PPP frame).

    `goes_on_s`: how long after it the client's keepalive of TCP shows that the capture goes on; 0: it ends at once.
    """
    packets: list[OnWire] = []
    numbers = {False: 1001, True: 5001}
    now = 0.0

    def segment(back: bool, flags: int, payload: bytes = b"", *, sequence: int | None = None) -> None:
        nonlocal now
        ends, ports = ((SERVER, CLIENT), (1723, 40000)) if back else ((CLIENT, SERVER), (40000, 1723))
        number = numbers[back] if sequence is None else sequence
        acknowledgment = 0 if flags == TcpFlag.SYN else numbers[not back]
        data = TcpSegment(*ports, number, acknowledgment, int(flags), payload=payload).encode(*ends)
        packets.append(OnWire(now, IPv4Packet(*ends, IpProtocol.TCP, 64, 0, data).encode(), back, 0 if back else 2))
        if sequence is None:
            numbers[back] += len(payload)
        now += ROUND_TRIP_S / 2 + THINKS_S

    segment(False, TcpFlag.SYN, sequence=1000)
    segment(True, TcpFlag.SYN | TcpFlag.ACK, sequence=5000)
    segment(False, TcpFlag.ACK)
    for back, message in control:
        segment(back, TcpFlag.ACK | TcpFlag.PSH, message)
    segment(False, TcpFlag.ACK)
    for back, call_id, number, ppp in gre:
        ends = (server, CLIENT) if back else (CLIENT, server)
        data = EnhancedGre(call_id, number, None, ppp).encode()
        packets.append(OnWire(now, IPv4Packet(*ends, IpProtocol.GRE, 64, 0, data).encode(), back, 0 if back else 2))
        now += 1.0
    if goes_on_s:
        now += goes_on_s
        segment(False, TcpFlag.ACK)
    return packets
