"""What tcpdump prints about a packet behind its addresses, turned back into the bytes of an IP payload.

Only what is printed is filled in. Where a line tells a length and not the bytes, the payload is left out, as in a capture with a short
snapshot length. One thing that tcpdump does not print without `-v` is made up from the addresses, and only so that the packets of one
conversation can be told from another's: IKE's SPIs. `base` is what the readers of `tcp`, `udp`, `ip` and `icmp` lines share.
"""

from collections.abc import Callable, Sequence
from typing import Final

from vpnprobe.capture.tcpdump_lines import icmp, ip, tcp, udp
from vpnprobe.capture.tcpdump_lines.base import Content, Endpoints, port_number

__all__ = ["Content", "Endpoints", "content_of", "has_ports", "port_number"]


def has_ports(text: str) -> bool:
    """Whether the addresses before this text end with a port."""
    return not text.startswith(("GRE", "ESP(", "AH(", "ICMP", "ip-proto", "igmp", "IP "))


def content_of(text: str, ends: Endpoints) -> Content | None:
    """The packet that `text`, all after the colon behind the addresses, describes; None: not a kind that is read here."""
    text = text.strip()
    for prefix, reader in _READERS:
        if text.startswith(prefix):
            return reader(text, ends)
    return tcp.old_tcp(text, ends)


_READERS: Final[Sequence[tuple[str, Callable[[str, Endpoints], Content | None]]]] = (
    ("Flags [", tcp.tcp),
    ("GREv1", ip.gre_1),
    ("GREv0", ip.gre_0),
    ("ESP(", ip.esp),
    ("AH(", ip.ah),
    ("UDP-encap: ", udp.esp_in_udp),
    ("isakmp-nat-keep-alive", udp.keepalive),
    ("NONESP-encap: isakmp", udp.ike),
    ("isakmp", udp.ike),
    ("l2tp:", udp.l2tp_line),
    ("ICMP ", icmp.icmp),
    ("UDP, ", udp.udp),
    ("[", udp.udp),
)
"""In this order: the first prefix that fits."""
