"""Both ends of a whole OpenVPN session, for those that run one: `Client` with its `ClientOffer`, and `Server`.

What they share is in `openvpn_session` (what comes), `openvpn_sending` (what leaves), `openvpn_echo` (what goes through the tunnel) and
below these `openvpn_negotiation`, `openvpn_reliable` and `openvpn_tls`; how they fail is in `openvpn_failures`.
"""

from vpnprobe.conversations.openvpn_client import PUSH_AGAIN_S, VERSION, Client, ClientOffer
from vpnprobe.conversations.openvpn_echo import EchoingEnd
from vpnprobe.conversations.openvpn_negotiation import CIPHERS, CLIENT_TUNNEL, SERVER_TUNNEL
from vpnprobe.conversations.openvpn_server import Server
from vpnprobe.conversations.openvpn_tunnel import FRAMING_WORDS, Device, TunnelSettings, compression_of, differences, tunnel_gateway

__all__ = [
    "CIPHERS",
    "CLIENT_TUNNEL",
    "FRAMING_WORDS",
    "PUSH_AGAIN_S",
    "SERVER_TUNNEL",
    "VERSION",
    "Client",
    "ClientOffer",
    "Device",
    "EchoingEnd",
    "Server",
    "TunnelSettings",
    "compression_of",
    "differences",
    "tunnel_gateway",
]
