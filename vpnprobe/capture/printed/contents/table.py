"""Which reader is for which printed line, by how it begins."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vpnprobe.capture.printed.contents import icmp, ip, tcp, udp
from vpnprobe.capture.printed.contents.base import UDP_HEADER_BYTES, Content, Endpoints, datagram
from vpnprobe.wire.ip import IpProtocol

_WITHOUT_PORTS: Final = re.compile(r"(?:GRE|gre|ESP\(|AH\(|ICMP|icmp|ip-proto|IP-proto|igmp|IP6? |IPv4|IPIP|call \d|gre-|frag\b|\[\|)")
_CHECKSUM: Final = re.compile(r"^\[(?:udp sum ok|no cksum|bad udp cksum[^\]]{0,60}|\|\w+|udp[^\]]{0,60})\]\s*")
_LENGTH: Final = re.compile(r"\blength:? (\d{1,9})\b|\((\d{1,5})\)(?:\s|$)")
KNOWN: Final = re.compile(
    r"(?:Flags \[|GREv|gre[ :-]|ESP\(|AH\(|UDP[,-]|udp |isakmp|NONESP|l2tp|ICMP6?[ ,]|icmp|ip-proto|IP-proto"
    r"|tcp \d|\[|[SFRPWE.]+ (?:\d|ack|win)"
    r"|syn|ack|psh|fin|rst|call \d|OpenVPN|truncated|Unknown Version)"
)
"""How the content of a packet begins that no other sign shows to be one."""

Reader = Callable[[str, Endpoints], Content | None]


def has_ports(text: str, protocol: int | None = None) -> bool:
    """Whether the addresses before this text end with a port. `protocol`: of IP, where it is printed."""
    if protocol is not None:
        return protocol in (IpProtocol.TCP, IpProtocol.UDP) and not _WITHOUT_PORTS.match(text)
    return not _WITHOUT_PORTS.match(text)


def content_of(text: str, ends: Endpoints, protocol: int | None = None, length: int | None = None) -> Content | None:
    """The packet that `text`, all after the colon behind the addresses, describes; None: not a kind that is read here.

    `protocol` and `length` (of the payload of IP, bytes): where `-v` printed them.
    """
    text = _CHECKSUM.sub("", text.strip(), count=1)
    ends = ends._replace(length=length)
    for prefix, reader in READERS:
        if text.startswith(prefix):
            found = reader(text, ends)
            if found is not None:
                return _whole(found, length)
    return tcp.old_tcp(text, ends) or _other(text, ends, protocol, length)


def _whole(content: Content, length: int | None) -> Content:
    """The content as long as the IP header says that it is, where its own line tells no length."""
    return content if content.length or length is None else content._replace(length=length)


def _other(text: str, ends: Endpoints, protocol: int | None, length: int | None) -> Content | None:
    """What has ports and no reader: other protocols over UDP, whose length alone matters."""
    if protocol == IpProtocol.TCP or (protocol is None and not ends.source_port and not ends.destination_port):
        return None
    if protocol not in (None, IpProtocol.UDP):
        return Content(protocol or 0, b"", length or 0)
    found = _LENGTH.search(text)
    payload = length - UDP_HEADER_BYTES if length is not None else int(found[1] or found[2]) if found else 0
    return datagram(b"", min(max(0, payload), 0xFFFF), ends)


READERS: Final[Sequence[tuple[str, Reader]]] = (
    ("Flags [", tcp.tcp),
    ("tcp ", tcp.length_alone),
    ("syn", tcp.fortigate),
    ("ack ", tcp.fortigate),
    ("psh", tcp.fortigate),
    ("fin", tcp.fortigate),
    ("rst", tcp.fortigate),
    ("GREv1", ip.gre_1),
    ("GREv0", ip.gre_0),
    ("gre", ip.old_gre),
    ("call ", ip.old_gre),
    ("ESP(", ip.esp),
    ("AH(", ip.ah),
    ("ip-proto", ip.by_number),
    ("IP-proto", ip.by_number),
    ("UDP-encap: ", udp.esp_in_udp),
    ("udpencap: ", udp.esp_in_udp),
    ("isakmp-nat-keep-alive", udp.keepalive),
    ("NONESP-encap: isakmp", udp.ike),
    ("isakmp", udp.ike),
    ("l2tp:", udp.l2tp_line),
    ("Unknown Version, neither L2F", udp.other_l2tp),
    ("ICMP ", icmp.icmp),
    ("ICMP6", icmp.icmp),
    ("icmp", icmp.icmp),
    ("UDP, ", udp.udp),
    ("udp ", udp.udp),
)
"""In this order: the first whose beginning fits and who can read it."""

PROTOCOLS: Final[Mapping[str, int]] = {
    "TCP": IpProtocol.TCP,
    "UDP": IpProtocol.UDP,
    "GRE": IpProtocol.GRE,
    "ESP": IpProtocol.ESP,
    "AH": IpProtocol.AH,
    "ICMP": IpProtocol.ICMP,
    "ICMPV6": IpProtocol.ICMPV6,
}
"""Names that programs print for the protocols of IP."""
