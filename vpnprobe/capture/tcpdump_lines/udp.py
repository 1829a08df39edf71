"""UDP lines: bare ones, IKE (RFC 2408, RFC 7296), ESP in UDP (RFC 3948) and L2TP (RFC 2661)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from vpnprobe.capture.tcpdump_lines.base import NOWHERE, Content, Endpoints, fields, number
from vpnprobe.capture.tcpdump_lines.ip import esp, lcp
from vpnprobe.wire import l2tp
from vpnprobe.wire.ip import IpProtocol, UdpDatagram

UDP_HEADER_BYTES: Final = 8

_UDP: Final = re.compile(r"(?:\[[^\]]*\] )?UDP, (?:bad )?length (?P<length>\d+)")
_IKE: Final = re.compile(
    r"(?:NONESP-encap: )?isakmp(?: (?P<major>\d)\.(?P<minor>\d))?(?: msgid (?P<msgid>[0-9a-f]{8}))?"
    r"(?: cookie (?P<initiator>[0-9a-f]{16})->(?P<responder>[0-9a-f]{16}))?:\s+(?P<rest>.*)"
)
_L2TP: Final = re.compile(r"l2tp:\[(?P<bits>[A-Z]*)\]\((?P<tunnel>\d+)/(?P<session>\d+)\)(?:Ns=(?P<ns>\d+),Nr=(?P<nr>\d+))?(?P<rest>.*)")


def _datagram(payload: bytes, length: int, ends: Endpoints) -> Content:
    datagram = UdpDatagram(ends.source_port, ends.destination_port, payload, max(0, length - len(payload)))
    return Content(IpProtocol.UDP, datagram.encode(NOWHERE, NOWHERE), UDP_HEADER_BYTES + max(length, len(payload)))


def udp(text: str, ends: Endpoints) -> Content | None:
    found = _UDP.match(text)
    return _datagram(b"", int(found["length"]), ends) if found else None


def esp_in_udp(text: str, ends: Endpoints) -> Content | None:
    packet = esp(text.removeprefix("UDP-encap: "), ends)
    return _datagram(packet.data, packet.length, ends) if packet else None


def keepalive(_: str, ends: Endpoints) -> Content:
    return _datagram(b"\xff", 1, ends)


IKE_1_EXCHANGES: Final = {"ident": 2, "agg": 4, "inf": 5, "oakley-quick": 32, "base": 1, "auth": 3}
IKE_2_EXCHANGES: Final = {"ikev2_init": 34, "ikev2_auth": 35, "child_sa": 36, "inf2": 37}


def ike(text: str, ends: Endpoints) -> Content | None:
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


def l2tp_line(text: str, ends: Endpoints) -> Content | None:
    found = _L2TP.match(text)
    if not found:
        return None
    tunnel, session = int(found["tunnel"]) & 0xFFFF, int(found["session"]) & 0xFFFF
    if "T" not in found["bits"]:
        data = l2tp.DataMessage(tunnel, session, lcp(found["rest"])).encode()
        return _datagram(data, len(data), ends)
    printed = fields(found["rest"])
    kind = _L2TP_MESSAGES.get(printed.get("MSGTYPE", "").upper(), l2tp.ZeroLengthBody if "ZLB" in found["rest"] else None)
    if kind is None:
        return None
    data = kind(tunnel, session, number(found["ns"]) & 0xFFFF, number(found["nr"]) & 0xFFFF, _avps(printed)).encode()
    return _datagram(data, len(data), ends)


_L2TP_MESSAGES: Final = {kind.name.upper(): kind for kind in l2tp.MESSAGE_NUMBERS}


def _avps(printed: Mapping[str, str]) -> tuple[l2tp.Avp, ...]:
    avps: list[l2tp.Avp] = []
    for name, attribute, size in (("RESULT_CODE", 1, 2), ("ASSND_TUN_ID", 9, 2), ("ASSND_SESS_ID", 14, 2)):
        if name in printed:
            avps.append(l2tp.Avp(attribute, (number(printed[name]) & 0xFFFF).to_bytes(size, "big")))
    if "HOST_NAME" in printed:
        avps.append(l2tp.Avp(l2tp.AvpType.HOST_NAME, printed["HOST_NAME"].encode()[:255]))
    return tuple(avps)
