"""The checks that vpnprobe asks of a path, and which messages answer them.

One list for live runs and captures. A packet check is answered by counting fresh packets sent and received, a conversation check by
the messages that the initiator gets back.
"""

from typing import Final

from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport

GRE_BARE: Final = Check("gre", "passthrough", Transport.GRE, None, "bare")
"""Enhanced GRE is not used: version 0 with our payload, sent by itself."""
GRE_IN_CALL: Final = Check("gre", "passthrough", Transport.GRE, None, "in-call")
"""Enhanced GRE (RFC 2637 section 4.1) with the Call IDs of a call that was set up on tcp/1723 just before."""
PPTP_LCP: Final = Check("pptp", "lcp", Transport.GRE, None, "in-call")
ESP: Final = Check("esp", "passthrough", Transport.ESP)
PPTP_CONTROL: Final = Check("pptp", "control", Transport.TCP, 1723)
L2TP_CONTROL: Final = Check("l2tp", "control", Transport.UDP, 1701)
ESP_IN_UDP: Final = Check("ike", "esp-in-udp", Transport.UDP, 4500)


def udp_reach(port: int) -> Check:
    return Check("udp", "reach", Transport.UDP, port)


def tcp_reach(port: int) -> Check:
    return Check("tcp", "reach", Transport.TCP, port)


def ikev1_main(port: int) -> Check:
    return Check("ike", "ikev1-main", Transport.UDP, port)


def ikev2_init(port: int) -> Check:
    return Check("ike", "ikev2-init", Transport.UDP, port)


def openvpn_reset(transport: Transport, port: int, wrap: str = "") -> Check:
    """`wrap`: tls-crypt, tls-crypt-v2; empty: plain."""
    return Check("openvpn", "reset", transport, port, wrap)


def openvpn_handshake(transport: Transport, port: int, wrap: str = "") -> Check:
    """From the first TLS record to the server's key method 2 message."""
    return Check("openvpn", "handshake", transport, port, wrap)


def openvpn_data(transport: Transport, port: int, wrap: str = "") -> Check:
    """Data packets, each direction by itself."""
    return Check("openvpn", "data", transport, port, wrap)


CONVERSATIONS: Final = frozenset({"control", "ikev1-main", "ikev2-init", "reset", "handshake"})
"""Checks that are conversations: every message of one has the key that the client gave it."""
ICMP_ECHO: Final = Check("path", "echo", Transport.ICMP)
"""Copies of ICMP echo requests: the kind to compare a trace with where nothing else passes."""
