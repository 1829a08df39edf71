"""UDP lines: bare ones, IKE (RFC 2408, RFC 7296), ESP in UDP (RFC 3948) and L2TP (RFC 2661)."""

import re
from collections.abc import Mapping
from typing import Final

from vpnprobe.capture.printed.contents import messages
from vpnprobe.capture.printed.contents.base import Content, Endpoints, cut, datagram, fields
from vpnprobe.capture.printed.contents.ip import esp, lcp
from vpnprobe.wire import ikev2, l2tp

ISAKMP_HEADER_BYTES: Final = 28
L2TP_3_CONTROL: Final = (l2tp.TYPE_BIT | l2tp.LENGTH_BIT | l2tp.SEQUENCE_BIT | 3).to_bytes(2, "big") + b"\0\x0c" + bytes(8)
"""The header of a control message of version 3, RFC 3931 section 3.2.1."""

_UDP: Final = re.compile(r"(?:UDP, (?:bad )?length:? |udp )(?P<length>\d{1,9})")
_IKE: Final = re.compile(
    r"(?:NONESP-encap: )?isakmp(?: (?P<major>\d)\.(?P<minor>\d))?(?: msgid (?P<msgid>[0-9a-f]{8}))?"
    r"(?: cookie (?P<initiator>[0-9a-f]{16})->(?P<responder>[0-9a-f]{16}))?:\s+(?P<rest>.*)",
    re.DOTALL,
)
_LARGER: Final = re.compile(r"len mismatch: isakmp (?P<length>\d{1,6})")
_L2TP: Final = re.compile(
    r"l2tp:\s*\[(?P<bits>[A-Z]{0,8})\]\((?P<tunnel>\d{1,9})/(?P<session>\d{1,9})\)(?:Ns=(?P<ns>\d{1,9}),Nr=(?P<nr>\d{1,9}))?(?P<rest>.*)",
    re.DOTALL,
)


def udp(text: str, ends: Endpoints) -> Content | None:
    found = _UDP.match(text)
    return datagram(b"", int(found["length"]), ends) if found else None


def esp_in_udp(text: str, ends: Endpoints) -> Content | None:
    packet = esp(text.partition(": ")[2], ends)
    return datagram(packet.data, packet.length, ends) if packet else None


def keepalive(_: str, ends: Endpoints) -> Content:
    return datagram(b"\xff", 1, ends)


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
    if found["initiator"]:
        spis = bytes.fromhex(found["initiator"] + found["responder"])
    else:
        spis = messages.made_up_spis(ends, initiator=initiator, opening=exchange in (2, 34) and initiator and not flags & 1)
    told = _LARGER.search(rest)
    length = max(ISAKMP_HEADER_BYTES, int(told["length"])) if told else ISAKMP_HEADER_BYTES
    head = messages.ike(spis, version, exchange, flags, int(found["msgid"] or "0", 16), length=length, next_payload=_first(rest, ends))
    return messages.ike_datagram(head, length, ends, marked=text.startswith("NONESP-encap"))


def _first(rest: str, ends: Endpoints) -> int:
    """The first payload of a message of IKEv2, as far as its payloads are printed or its length tells; 0: nothing does."""
    if "(sa:" in rest or "(v2ke" in rest:
        return int(ikev2.PayloadType.SA)
    if "(n:" in rest:
        return int(ikev2.PayloadType.NOTIFY)
    return int(ikev2.PayloadType.SA) if (ends.length or 0) >= messages.SA_LEAST else 0


def other_l2tp(_text: str, ends: Endpoints) -> Content | None:
    """On L2TP's port, what tcpdump does not know by its version: there is no other than 3 (RFC 3931 section 4.1.2.1)."""
    head = L2TP_3_CONTROL
    return datagram(head, len(head), ends)


def l2tp_line(text: str, ends: Endpoints) -> Content | None:
    found = _L2TP.match(text)
    if not found:
        return None
    tunnel, session = cut(found["tunnel"], 0xFFFF), cut(found["session"], 0xFFFF)
    if "T" not in found["bits"]:
        data = l2tp.DataMessage(tunnel, session, lcp(found["rest"])).encode()
        return datagram(data, len(data), ends)
    rest = found["rest"]
    printed = fields(rest)
    name = printed.get("MSGTYPE", "ZLB" if "ZLB" in rest else "")
    data = messages.l2tp_control(name, tunnel, session, cut(found["ns"]), cut(found["nr"]), _avps(printed))
    return datagram(data, len(data), ends) if data else None


def _avps(printed: Mapping[str, str]) -> tuple[l2tp.Avp, ...]:
    avps: list[l2tp.Avp] = []
    for name, attribute, size in (("RESULT_CODE", 1, 2), ("ASSND_TUN_ID", 9, 2), ("ASSND_SESS_ID", 14, 2)):
        if name in printed:
            avps.append(l2tp.Avp(attribute, cut(printed[name], 0xFFFF).to_bytes(size, "big")))
    if "HOST_NAME" in printed:
        avps.append(l2tp.Avp(l2tp.AvpType.HOST_NAME, printed["HOST_NAME"].encode()[:255]))
    return tuple(avps)
