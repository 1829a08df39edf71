"""What tcpdump prints about a packet behind its addresses, turned back into the bytes of an IP payload.

Only what is printed is filled in. Where a line tells a length and not the bytes, the payload is left out, as in a capture with a short
snapshot length. Two things that tcpdump does not print without `-v` are made up from the addresses, and only so that packets of one
conversation can be told from another's: IKE's SPIs, and nothing else.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnprobe.wire import l2tp, pptp
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram

NOWHERE: Final = IPv4Address(0)
"""Stands in for addresses in checksums, which nobody reads."""


class Endpoints(NamedTuple):
    """Both ends of a printed line."""

    source: str
    source_port: int
    """0: the protocol has no ports."""
    destination: str
    destination_port: int


class Content(NamedTuple):
    """The payload of one IP packet, as far as it was printed."""

    protocol: int
    data: bytes
    length: int
    """Bytes on the wire, at least `len(data)`."""


FLAGS: Final = {"S": TcpFlag.SYN, "F": TcpFlag.FIN, "R": TcpFlag.RST, "P": TcpFlag.PSH, ".": TcpFlag.ACK, "U": TcpFlag.URG}
TCP_HEADER_BYTES: Final = 20
UDP_HEADER_BYTES: Final = 8
FRAME_TYPES: Final = {"A": 1, "S": 2, "E": 3}
BEARER_TYPES: Final = {"A": 1, "D": 2, "Any": 3}
LCP_CODES: Final = re.compile(r"LCP, [\w-]+ \(0x(?P<code>[0-9a-f]{2})\), id (?P<id>\d+), length (?P<length>\d+)")
LCP_MAGIC: Final = re.compile(r"Magic-Num Option \(0x05\), length 6: 0x(?P<magic>[0-9a-f]{8})")
PPP_OVERHEAD_BYTES: Final = 2
"""tcpdump counts the PPP protocol field to the length of the LCP packet that it prints."""

_TCP: Final = re.compile(
    r"Flags \[(?P<flags>[\w.]+)\](?:, cksum [^,]+)?(?:, seq (?P<seq>\d+)(?::\d+)?)?(?:, ack (?P<ack>\d+))?.*?, length (?P<length>\d+)"
)
_OLD_TCP: Final = re.compile(r"(?P<flags>[SFRPUWE.]+) (?:(?P<seq>\d+):\d+\((?P<length>\d+)\) ?)?(?:ack (?P<ack>\d+) ?)?win ")
_GRE_1: Final = re.compile(
    r"GREv1(?:, Flags \[[^\]]*\])?(?:, call (?P<call>\d+))?(?:, seq (?P<seq>\d+))?(?:, ack (?P<ack>\d+))?"
    r"(?:, (?:no-payload|gre-proto-\S+|proto \S+ \(0x\w+\)))*, length (?P<length>\d+)"
)
_GRE_0: Final = re.compile(
    r"GREv0(?:, Flags \[[^\]]*\])?(?:, key=0x(?P<key>[0-9a-f]+))?(?:, seq(?:uence#)? (?P<seq>\d+))?(?P<more>.*?), length (?P<length>\d+)"
)
_GRE_PROTOCOL: Final = re.compile(r"(?:gre-proto-0x|proto [\w-]+ \(0x|unknown \(0x)(?P<protocol>[0-9a-f]{1,4})")
_ESP: Final = re.compile(r"ESP\(spi=0x(?P<spi>[0-9a-f]+),seq=0x(?P<seq>[0-9a-f]+)\)(?:, length (?P<length>\d+))?")
_AH: Final = re.compile(r"AH\(.*?spi=0x(?P<spi>[0-9a-f]+).*?seq=0x(?P<seq>[0-9a-f]+)")
_UDP: Final = re.compile(r"(?:\[[^\]]*\] )?UDP, (?:bad )?length (?P<length>\d+)")
_IKE: Final = re.compile(
    r"(?:NONESP-encap: )?isakmp(?: (?P<major>\d)\.(?P<minor>\d))?(?: msgid (?P<msgid>[0-9a-f]{8}))?"
    r"(?: cookie (?P<initiator>[0-9a-f]{16})->(?P<responder>[0-9a-f]{16}))?:\s+(?P<rest>.*)"
)
_L2TP: Final = re.compile(r"l2tp:\[(?P<bits>[A-Z]*)\]\((?P<tunnel>\d+)/(?P<session>\d+)\)(?:Ns=(?P<ns>\d+),Nr=(?P<nr>\d+))?(?P<rest>.*)")
_ICMP_PORT: Final = re.compile(r"ICMP (?P<host>\S+) (?P<transport>udp|tcp) port (?P<port>\S+) unreachable")
_ICMP_PROTOCOL: Final = re.compile(r"ICMP (?P<host>\S+) protocol (?P<protocol>\d+)(?: port \d+)? unreachable")
_ICMP_PROHIBITED: Final = re.compile(r"ICMP host (?P<host>\S+) unreachable - admin prohibited")
_ICMP_UNREACHABLE: Final = re.compile(r"ICMP host (?P<host>\S+) unreachable")
_FIELD: Final = re.compile(r"\*?(?P<name>[A-Z][A-Z_]+)\((?P<value>[^)]*)\)")
_QUOTED: Final = re.compile(
    r"\(tos \S+, ttl (?P<ttl>\d+), id (?P<id>\d+),.*?proto \S+ \((?P<protocol>\d+)\), length \d+\)"
    r"\s+(?P<source>[\d.]+) > (?P<destination>[\d.]+)"
)


def has_ports(text: str) -> bool:
    """Whether the addresses before this text end with a port."""
    return not text.startswith(("GRE", "ESP(", "AH(", "ICMP", "ip-proto", "igmp", "IP "))


def content_of(text: str, ends: Endpoints) -> Content | None:
    """The packet that `text`, all after the colon behind the addresses, describes; None: not a kind that is read here."""
    text = text.strip()
    for prefix, reader in _READERS:
        if text.startswith(prefix):
            return reader(text, ends)
    return _old_tcp(text, ends)


def _number(text: str | None) -> int:
    """The leading number of a printed field, decimal or hex; 0 where there is none."""
    found = re.match(r"0x[0-9a-fA-F]+|\d+", text or "")
    return int(found[0], 0 if found[0].startswith("0x") else 10) if found else 0


def _tcp(text: str, ends: Endpoints) -> Content | None:
    found = _TCP.match(text)
    return _segment(found, text, ends) if found else None


def _old_tcp(text: str, ends: Endpoints) -> Content | None:
    """As tcpdump printed it before version 4."""
    found = _OLD_TCP.match(text)
    return _segment(found, text, ends) if found else None


def _segment(found: re.Match[str], text: str, ends: Endpoints) -> Content:
    flags = sum({FLAGS[letter].value for letter in found["flags"] if letter in FLAGS})
    if found["ack"] is not None:
        flags |= TcpFlag.ACK.value
    length = int(found["length"] or 0)
    message = _pptp(text.partition("pptp ")[2]) if "CTRL_MSGTYPE=" in text else b""
    segment = TcpSegment(
        source_port=ends.source_port,
        destination_port=ends.destination_port,
        sequence=_number(found["seq"]) & 0xFFFFFFFF,
        acknowledgment=_number(found["ack"]) & 0xFFFFFFFF,
        flags=flags,
        payload=message[:length],
    )
    return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), TCP_HEADER_BYTES + length)


def _fields(text: str) -> dict[str, str]:
    return {found["name"]: found["value"] for found in _FIELD.finditer(text)}


_PPTP_FIELDS: Final[Mapping[str, str]] = {
    "result_code": "RESULT_CODE",
    "error_code": "ERR_CODE",
    "framing_capabilities": "FRAME_CAP",
    "bearer_capabilities": "BEARER_CAP",
    "maximum_channels": "MAX_CHAN",
    "firmware_revision": "FIRM_REV",
    "host_name": "HOSTNAME",
    "vendor_name": "VENDOR",
    "reason": "REASON",
    "identifier": "ID",
    "call_id": "CALL_ID",
    "peer_call_id": "PEER_CALL_ID",
    "call_serial_number": "CALL_SER_NUM",
    "minimum_bps": "MIN_BPS",
    "maximum_bps": "MAX_BPS",
    "bearer_type": "BEARER_TYPE",
    "framing_type": "FRAME_TYPE",
    "receive_window_size": "RECV_WIN",
    "processing_delay": "PROC_DELAY",
    "cause_code": "CAUSE_CODE",
    "connect_speed": "CONN_SPEED",
    "physical_channel_id": "PHY_CHAN_ID",
    "send_accm": "SEND_ACCM",
    "receive_accm": "RECV_ACCM",
}
"""Fields of our messages and the names under which tcpdump prints them."""
_PPTP_MESSAGES: Final = {message.NAME.upper(): message for message in pptp.MESSAGES} | {
    "STOPCCRQ": pptp.StopControlConnectionRequest,
    "STOPCCRP": pptp.StopControlConnectionReply,
    "ECHORQ": pptp.EchoRequest,
    "ECHORP": pptp.EchoReply,
}


def _pptp(text: str) -> bytes:
    """The control message; empty for one whose fields are not all printed as they should be."""
    kind = re.search(r"CTRL_MSGTYPE=(\w+)", text)
    message = _PPTP_MESSAGES.get(kind[1].upper()) if kind else None
    if message is None:
        return b""
    printed = _fields(text)
    arguments: dict[str, int | bytes] = {}
    for field in fields(message):
        value = printed.get(_PPTP_FIELDS.get(field.name, ""))
        if value is not None:
            arguments[field.name] = _pptp_value(field.name, value)
        elif field.name in ("call_id", "peer_call_id", "identifier"):
            arguments[field.name] = 0
    try:
        return message(**arguments).encode()  # type: ignore[arg-type]
    except Exception:
        return b""


def _pptp_value(name: str, value: str) -> int | bytes:
    if name in ("host_name", "vendor_name"):
        return value.encode()[:64]
    if name.endswith("_capabilities"):
        return ("A" in value) * 1 | ("S" in value or "D" in value) * 2
    if name == "framing_type":
        return FRAME_TYPES.get(value, 0)
    if name == "bearer_type":
        return BEARER_TYPES.get(value, 0)
    return _number(value)


def _gre_1(text: str, _: Endpoints) -> Content | None:
    found = _GRE_1.match(text)
    if not found or found["call"] is None:
        return None
    length = int(found["length"])
    sequence = int(found["seq"]) if found["seq"] else None
    acknowledgment = int(found["ack"]) if found["ack"] else None
    payload = _lcp(text)
    header_bytes = 8 + 4 * (sequence is not None) + 4 * (acknowledgment is not None)
    packet = EnhancedGre(int(found["call"]) & 0xFFFF, sequence, acknowledgment, payload, max(0, length - header_bytes - len(payload)))
    return Content(IpProtocol.GRE, packet.encode(), max(length, header_bytes + len(payload)))


def _lcp(text: str) -> bytes:
    """The head of a printed LCP packet with the PPP header before it, and its Magic-Number where `-v` printed it; else empty."""
    found = LCP_CODES.search(text)
    if not found:
        return b""
    length = max(4, int(found["length"]) - PPP_OVERHEAD_BYTES)
    head = b"\xff\x03\xc0\x21" + bytes((int(found["code"], 16), int(found["id"]) & 0xFF)) + (length & 0xFFFF).to_bytes(2, "big")
    magic = LCP_MAGIC.search(text)
    return head + (b"\x05\x06" + bytes.fromhex(magic["magic"]) if magic else b"")


def _gre_0(text: str, _: Endpoints) -> Content | None:
    found = _GRE_0.match(text)
    if not found:
        return None
    protocol = _GRE_PROTOCOL.search(found["more"])
    length = int(found["length"])
    head = Gre(
        protocol=int(protocol["protocol"], 16) if protocol else 0x0800,
        key=int(found["key"], 16) & 0xFFFFFFFF if found["key"] else None,
        sequence_number=int(found["seq"]) & 0xFFFFFFFF if found["seq"] else None,
    ).encode()
    return Content(IpProtocol.GRE, head, max(length, len(head)))


def _esp(text: str, _: Endpoints) -> Content | None:
    found = _ESP.match(text)
    if not found:
        return None
    head = EspPacket(int(found["spi"], 16) & 0xFFFFFFFF, int(found["seq"], 16) & 0xFFFFFFFF, b"").encode()
    return Content(IpProtocol.ESP, head, max(len(head), _number(found["length"])))


def _ah(text: str, _: Endpoints) -> Content | None:
    found = _AH.match(text)
    if not found:
        return None
    head = bytes((IpProtocol.UDP, 4, 0, 0)) + int(found["spi"], 16).to_bytes(4, "big") + int(found["seq"], 16).to_bytes(4, "big")
    return Content(IpProtocol.AH, head, 24)


def _datagram(payload: bytes, length: int, ends: Endpoints) -> Content:
    datagram = UdpDatagram(ends.source_port, ends.destination_port, payload, max(0, length - len(payload)))
    return Content(IpProtocol.UDP, datagram.encode(NOWHERE, NOWHERE), UDP_HEADER_BYTES + max(length, len(payload)))


def _udp(text: str, ends: Endpoints) -> Content | None:
    found = _UDP.match(text)
    return _datagram(b"", int(found["length"]), ends) if found else None


def _esp_in_udp(text: str, ends: Endpoints) -> Content | None:
    esp = _esp(text.removeprefix("UDP-encap: "), ends)
    return _datagram(esp.data, esp.length, ends) if esp else None


def _keepalive(_: str, ends: Endpoints) -> Content:
    return _datagram(b"\xff", 1, ends)


IKE_1_EXCHANGES: Final = {"ident": 2, "agg": 4, "inf": 5, "oakley-quick": 32, "base": 1, "auth": 3}
IKE_2_EXCHANGES: Final = {"ikev2_init": 34, "ikev2_auth": 35, "child_sa": 36, "inf2": 37}


def _ike(text: str, ends: Endpoints) -> Content | None:
    found = _IKE.match(text)
    if not found:
        return None
    rest = found["rest"]
    second = re.search(r"(ikev2_init|ikev2_auth|child_sa|inf2)\s*\[(\w*)\]", rest)
    first = re.search(r"phase [12]\S* (?P<role>[IR?]) (?P<exchange>[\w-]+)(?P<encrypted>\[E\])?", rest)
    if second:
        exchange, version = IKE_2_EXCHANGES[second[1]], 0x20
        initiator = "R" not in second[2] if "I" not in second[2] else True
        flags = (0x08 if "I" in second[2] else 0) | (0x20 if "R" in second[2] else 0)
    elif first:
        exchange, version = IKE_1_EXCHANGES.get(first["exchange"], 0), 0x10
        initiator, flags = first["role"] != "R", 0x01 if first["encrypted"] else 0
    else:
        return None
    spis = _spis(found, ends, initiator=initiator, opening=exchange in (2, 34) and initiator and not flags & 1)
    message_id = bytes.fromhex(found["msgid"]) if found["msgid"] else bytes(4)
    head = spis + bytes((0, version, exchange, flags)) + message_id + (28).to_bytes(4, "big")
    marker = bytes(4) if text.startswith("NONESP-encap") else b""
    return _datagram(marker + head, len(marker + head), ends)


def _spis(found: re.Match[str], ends: Endpoints, *, initiator: bool, opening: bool) -> bytes:
    if found["initiator"]:
        return bytes.fromhex(found["initiator"] + found["responder"])
    # The port moves from 500 to 4500 within one conversation, so those two do not tell it from another.
    there, back = (ends.source, str(ends.source_port)), (ends.destination, str(ends.destination_port))
    pair = (*there, back[0]) if initiator else (*back, there[0])
    made_up = hashlib.sha256(" ".join(part for part in pair if part not in ("500", "4500")).encode()).digest()
    return made_up[:8] + (bytes(8) if opening else made_up[8:16])


def _l2tp(text: str, ends: Endpoints) -> Content | None:
    found = _L2TP.match(text)
    if not found:
        return None
    tunnel, session = int(found["tunnel"]) & 0xFFFF, int(found["session"]) & 0xFFFF
    if "T" not in found["bits"]:
        data = l2tp.DataMessage(tunnel, session, _lcp(found["rest"])).encode()
        return _datagram(data, len(data), ends)
    printed = _fields(found["rest"])
    kind = _L2TP_MESSAGES.get(printed.get("MSGTYPE", "").upper(), l2tp.ZeroLengthBody if "ZLB" in found["rest"] else None)
    if kind is None:
        return None
    data = kind(tunnel, session, _number(found["ns"]) & 0xFFFF, _number(found["nr"]) & 0xFFFF, _avps(printed)).encode()
    return _datagram(data, len(data), ends)


_L2TP_MESSAGES: Final = {kind.name.upper(): kind for kind in l2tp.MESSAGE_NUMBERS}


def _avps(printed: Mapping[str, str]) -> tuple[l2tp.Avp, ...]:
    avps: list[l2tp.Avp] = []
    for name, attribute, size in (("RESULT_CODE", 1, 2), ("ASSND_TUN_ID", 9, 2), ("ASSND_SESS_ID", 14, 2)):
        if name in printed:
            avps.append(l2tp.Avp(attribute, (_number(printed[name]) & 0xFFFF).to_bytes(size, "big")))
    if "HOST_NAME" in printed:
        avps.append(l2tp.Avp(l2tp.AvpType.HOST_NAME, printed["HOST_NAME"].encode()[:255]))
    return tuple(avps)


def _icmp(text: str, ends: Endpoints) -> Content | None:
    quote = _icmp_quote(text, ends)
    if quote is None:
        return Content(IpProtocol.ICMP, bytes((255, 0, 0, 0)), 8)
    if "time exceeded" in text:
        data = TimeExceeded(quote).encode()
    elif _ICMP_PORT.match(text):
        data = DestinationUnreachable(Unreachable.PORT, quote).encode()
    elif _ICMP_PROTOCOL.match(text):
        data = DestinationUnreachable(Unreachable.PROTOCOL, quote).encode()
    elif _ICMP_PROHIBITED.match(text):
        data = DestinationUnreachable(Unreachable.ADMINISTRATIVELY_PROHIBITED, quote).encode()
    else:
        data = DestinationUnreachable(Unreachable.HOST, quote).encode()
    return Content(IpProtocol.ICMP, data, len(data))


def _icmp_quote(text: str, ends: Endpoints) -> Quote | None:
    """What the error is about, where that was printed with addresses in numbers; None otherwise."""
    try:
        shown = _QUOTED.search(text)
        if shown:
            pair = IPv4Address(shown["source"]), IPv4Address(shown["destination"])
            return Quote(IPv4Packet(*pair, int(shown["protocol"]) & 0xFF, int(shown["ttl"]) & 0xFF, int(shown["id"]) & 0xFFFF))
        for pattern in (_ICMP_PORT, _ICMP_PROTOCOL, _ICMP_PROHIBITED, _ICMP_UNREACHABLE):
            if found := pattern.match(text):
                return _quote_of(found.groupdict(), ends)
    except ValueError:
        return None
    return None


def _quote_of(printed: Mapping[str, str], ends: Endpoints) -> Quote:
    source, destination = IPv4Address(ends.destination), IPv4Address(printed["host"])
    if "transport" in printed:
        protocol = IpProtocol.UDP if printed["transport"] == "udp" else IpProtocol.TCP
        payload = bytes(2) + (port_number(printed["port"]) or 0).to_bytes(2, "big") + bytes(4)
        return Quote(IPv4Packet(source, destination, protocol, payload=payload))
    return Quote(IPv4Packet(source, destination, int(printed.get("protocol", "0")) & 0xFF))


SERVICES: Final[Mapping[str, int]] = {
    "pptp": 1723,
    "isakmp": 500,
    "ike": 500,
    "ipsec-nat-t": 4500,
    "ipsec-msft": 4500,
    "l2tp": 1701,
    "l2f": 1701,
    "openvpn": 1194,
    "https": 443,
    "http": 80,
    "domain": 53,
    "pcsync-https": 8443,
    "http-alt": 8080,
    "webcache": 8080,
    "ssh": 22,
    "ntp": 123,
    "sunrpc": 111,
}
"""Names that tcpdump prints for ports that matter here."""


def port_number(text: str) -> int | None:
    """The port that a number or a service name stands for; None: neither."""
    if text.isascii() and text.isdigit():
        return int(text) if int(text) <= 0xFFFF else None
    return SERVICES.get(text)


_READERS: Final[Sequence[tuple[str, Callable[[str, Endpoints], Content | None]]]] = (
    ("Flags [", _tcp),
    ("GREv1", _gre_1),
    ("GREv0", _gre_0),
    ("ESP(", _esp),
    ("AH(", _ah),
    ("UDP-encap: ", _esp_in_udp),
    ("isakmp-nat-keep-alive", _keepalive),
    ("NONESP-encap: isakmp", _ike),
    ("isakmp", _ike),
    ("l2tp:", _l2tp),
    ("ICMP ", _icmp),
    ("UDP, ", _udp),
    ("[", _udp),
)
"""In this order: the first prefix that fits."""
