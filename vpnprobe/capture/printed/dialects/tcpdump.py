"""The lines of tcpdump, versions 3 to 4.99 with any of its options, and of what prints as it does: Junos, pktmon, FortiGate's sniffer.

A packet begins with its time, with `IP` where no times are printed, or with its addresses where only the second lines of `-v` are there.
Between the time and the addresses there may be a number (`-#`), an interface and a direction (`-i any`, Junos, FortiGate), hardware
addresses (`-e`) and the IP header (`-v`).
"""

import re
from typing import Final

from vpnprobe.capture.printed.clocks import STAMP, stamp_of
from vpnprobe.capture.printed.contents.base import Endpoints, port_number
from vpnprobe.capture.printed.contents.table import KNOWN, content_of, has_ports
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.capture.printed.pairs import Pair, pair_in

HEAD_LIMIT: Final = 400
"""Most characters between a time and the addresses."""
LARGEST_TTL: Final = 255
KIND_SHOWN: Final = 40
"""Most characters that are told of what was not understood."""

_STAMPED: Final = re.compile(rf"(?:(?<![\d.:,/-])|(?<=\d-)(?=\d\d:\d\d:\d\d\.)){STAMP}(?=\s)")
"""`grep -n` with `-A`, `-B` or `-C` writes the line's number and a hyphen before a line of the context."""
_NOT_IP: Final = re.compile(
    r"(?:ARP|arp|RARP|STP|LLDP|CDP|IPX|AARP|LLC|EAPOL|MPLS|PPPoE [DP]|IS-IS|Loopback|Unknown|unknown|802\.1|BOOTP|CDPv|[0-9a-f:]{17} )"
)
_STARTS: Final = re.compile(
    r"\s+(?:(?:PPPoE +)?\[[^\]]{0,60}\] ?)?(?:(?P<ip>IP6?[ ,:(]|ip6?: |\((?:tos|class|flowlabel|hlim)\b|(?:Drop: ?)?PktGroupId )"
    r"|(?P<other>ARP|arp |RARP|STP |LLDP|CDPv|EAPOL)"
    r"|(?:[\w.@/-]{1,40} +)?(?:(?:In|Out|P|B|M) +)?(?:ifindex \d{1,9} )?(?:[0-9a-fA-F]{1,2}[:-]){5}[0-9a-fA-F]{1,2}[ ,]"
    r"|(?:[\w.@/-]{1,40} +)?(?P<way>In|Out|P|B|M|in|out|--) +(?=IP6?[ ,(]|ethertype|[\w:.%/-]{3,255})"
    r"|(?:In|Out)\s*$)"
)
_UNTIMED: Final = re.compile(
    r"(?:^|[\s>|*)\].:-])(?P<at>(?:[\w.@-]{1,32} +)?(?:(?:In|Out) +)?IP6? +)(?=\((?:tos|class|flowlabel|hlim)\b|\S+ ?-?[>\u2192])"
)
_ONLY_DECORATION: Final = re.compile(r"^[\s>|*#\u2022\u00b7+\d.):\]-]{0,40}$")
_WAY: Final = re.compile(r"(?:^|\s)(?P<way>In|Out|in|out|Tx|Rx)(?:\s|$)")
_WAYS: Final = {"Out": True, "out": True, "In": False, "in": False}
_VERBOSE: Final = re.compile(
    r"\((?:tos|class|flowlabel|hlim)\b.{0,300}?length:? (?P<length>\d{1,6})\)|\((?:tos|class|flowlabel|hlim)\b.{0,300}"
)
_TTL: Final = re.compile(r"\b(?:ttl|hlim) +(\d{1,4})\b")
_IDENTIFICATION: Final = re.compile(r"\bid (\d{1,6})\b")
_OFFSET: Final = re.compile(r"\boffset (\d{1,6})\b")
_PROTOCOL: Final = re.compile(r"\b(?:proto|next-header)[: ]+[\w.-]+ \((\d{1,3})\)")
_INNER: Final = re.compile(r"^\s+IP6? \(|^\s+(?:IP6? )?\S+ > \S+: ")
_GROUP: Final = re.compile(r"PktGroupId (?P<group>\d{1,24}), PktNumber (?P<number>\d{1,12})")
_BEYOND: Final = re.compile(r"(?<![\w.])\d{11,}(?![\w.])")
"""More digits than a field of 32 bits has."""
_SUM: Final = re.compile(
    r"(?P<right>\[udp sum ok\]|\bcksum 0x[0-9a-f]{1,4} \(correct\))|\[bad udp cksum |\bcksum 0x[0-9a-f]{1,4} \(incorrect "
)
_TRUNCATED: Final = re.compile(r"^truncated-ip6? - \d{1,6} bytes missing! ?")
_PART_OF_ADDRESS: Final = re.compile(r"^\d{1,3}(?:\.\d{1,3}){0,2}$")
IPV4_HEADER: Final = 20


def begins(line: str) -> Beginning | None:
    """Where a packet begins: at the last time before its addresses, at `IP`, or at the addresses."""
    line = line.replace("\t", " ")
    pair = pair_in(line)
    stamped: re.Match[str] | None = None
    starts: re.Match[str] | None = None
    for found in _STAMPED.finditer(line, 0, pair.begin if pair else HEAD_LIMIT):
        what = _STARTS.match(line, found.end())
        if what is not None or (pair is not None and pair.colon and pair.begin - found.end() <= HEAD_LIMIT):
            stamped, starts = found, what
            if what is not None and (what["ip"] or what["other"]):
                break
    if stamped is not None and (starts is not None or _believable(line, stamped, pair)):
        return Beginning(stamped.start(), stamp_of(stamped), stamped.end())
    return _untimed(line, pair)


def _believable(line: str, stamped: re.Match[str], pair: Pair | None) -> bool:
    """Whether what stands between a time and two addresses may be a program's: interfaces and hardware addresses, and few of them."""
    return pair is not None and pair.colon and len(line[stamped.end() : pair.begin].split()) <= 12 and bool(line[pair.end :].strip())


def _untimed(line: str, pair: Pair | None) -> Beginning | None:
    found = _UNTIMED.search(line, 0, HEAD_LIMIT)
    if found is not None and (pair is None or found.start() <= pair.begin):
        return Beginning(found.start("at"), None, found.start("at"))
    if pair is None or not pair.colon or not KNOWN.match(line[pair.end :].lstrip()):
        return None
    return Beginning(pair.begin, None, pair.begin) if _ONLY_DECORATION.match(line[: pair.begin]) else None


def goes_on(packet: PrintedPacket, line: str) -> bool:
    """Whether a line is of the packet though one seems to begin in it: the addresses after the header of `-v`, and what ICMP quotes."""
    if _STAMPED.match(line, len(line) - len(line.lstrip())):
        return False
    text = packet.joined(None)
    if pair_in(text) is None:
        return "(tos " in text or "hlim " in text or "PktGroupId" in text or packet.stamp is not None
    quotes = " unreachable" in text or " exceeded" in text or " redirect " in text
    if packet.stamp is not None:
        return bool(_INNER.match(line)) or not line.lstrip().startswith("IP")
    return quotes and bool(re.match(r"^\s+IP6? \(", line))


def read(packet: PrintedPacket, session: Session) -> Reading:
    """The packet, of whatever of it is printed."""
    text = packet.joined(session.width).replace("\t", " ").strip()
    # pktmon prints a packet at each component that it passes.
    if (group := _GROUP.search(text, 0, HEAD_LIMIT)) and session.seen_before((group["group"], group["number"])):
        return NoPacket("the same packet at another place in the host")
    pair = pair_in(text)
    if pair is None:
        return NoPacket("no IP packet") if _is_no_ip(text) else Unread("has a time and no two addresses")
    before = text[: pair.begin]
    if _is_no_ip(before):
        return NoPacket("no IP packet")
    verbose = _VERBOSE.search(before)
    told = verbose[0] if verbose else ""
    if (offset := _OFFSET.search(told)) and int(offset[1]):
        return NoPacket("a later fragment")
    return _packet(pair, text, before, told, session)


def _packet(pair: Pair, text: str, before: str, told: str, session: Session) -> Reading:
    rest = _TRUNCATED.sub("", text[pair.end :].strip())
    if _BEYOND.search(rest, 0, HEAD_LIMIT):
        return Unread("has a number beyond its field")
    protocol = int(found[1]) if (found := _PROTOCOL.search(told)) else None
    with_ports = has_ports(rest, protocol)
    source, destination = _endpoint(pair.source, with_ports), _endpoint(pair.destination, with_ports)
    if source is None or destination is None:
        if not KNOWN.match(rest):
            return Unread(f"is of a kind that is not read: {rest[:KIND_SHOWN]!r}")
        return Unread(f"has no port where one is due: {pair.source} and {pair.destination}")
    content = content_of(rest, Endpoints(*source, *destination), protocol, _payload_length(told, before))
    if content is None:
        return Unread(f"is of a kind that is not read: {rest[:KIND_SHOWN]!r}" if rest else "ends behind its addresses")
    way = _WAY.search(before)
    ttl, identification = _TTL.search(told), _IDENTIFICATION.search(told)
    found_read = Read(
        source[0],
        destination[0],
        content,
        ttl=min(int(ttl[1]), LARGEST_TTL) if ttl else None,
        identification=int(identification[1]) & 0xFFFF if identification else None,
        outgoing=_WAYS.get(way["way"]) if way else None,
        unmeasured=rest.startswith("psh "),
        sum_right=_sum_right(rest),
    )
    return session.streams.numbered(found_read, unnumbered=_without_numbers(rest, content))


def _sum_right(rest: str) -> bool | None:
    """Whether the checksum of UDP or TCP is right; None: that is not printed (it is with `-vv`)."""
    found = _SUM.search(rest, 0, HEAD_LIMIT)
    return None if found is None else bool(found["right"])


def _without_numbers(rest: str, content: Content) -> bool:
    return content.protocol == 6 and rest.startswith("tcp ")


def _payload_length(told: str, before: str) -> int | None:
    """Bytes behind the IP header, where `-v` printed the packet's length; None: it did not."""
    verbose = _VERBOSE.match(told)
    if verbose is None or not verbose["length"]:
        return None
    length = int(verbose["length"])
    # IPv4 tells the whole packet, IPv6 what is behind its header ("payload length").
    return min(length if "payload length" in told else max(0, length - IPV4_HEADER), 0xFFFF)


def _is_no_ip(text: str) -> bool:
    """Whether the text before the addresses, or all of it, is of ARP and its like."""
    found = re.search(r"ethertype (?!IPv|802\.1|PPPoE)[\w-]+|\bARP\b|\barp (?:who-has|reply)|\bLLDP\b|\bSTP\b|EAPOL", text[:HEAD_LIMIT])
    return found is not None


def _endpoint(text: str, with_port: bool) -> tuple[str, int] | None:
    """Address or name, and port (0: none). None where a port is due and is not there."""
    if not with_port:
        return text, 0
    address, _, last = text.rpartition(".")
    if ":" in last and last.count(":") == 1 and address:
        # Some write a colon before the port of an IPv4 address.
        address, _, last = text.rpartition(":")
    port = port_number(last)
    if port is None or not address or _PART_OF_ADDRESS.match(address):
        return None
    return address, port


TCPDUMP: Final = Dialect("tcpdump", begins, read, goes_on)
