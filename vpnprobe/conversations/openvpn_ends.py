"""Both ends of a whole OpenVPN session, for those that run one: `Client` with its `ClientOffer`, and `Server`.

What they share is in `openvpn_session` (what comes), `openvpn_sending` (what leaves), `openvpn_echo` (what goes through the tunnel) and
below these `openvpn_negotiation`, `openvpn_reliable` and `openvpn_tls`; how they fail is in `openvpn_failures`.
"""

from vpnprobe.conversations.openvpn_client import PUSH_AGAIN_S, VERSION, Client, ClientOffer, compression_of, tunnel_gateway
from vpnprobe.conversations.openvpn_echo import EchoingEnd
from vpnprobe.conversations.openvpn_negotiation import CIPHERS, CLIENT_TUNNEL, SERVER_TUNNEL
from vpnprobe.conversations.openvpn_server import Server

__all__ = [
    "CIPHERS",
    "CLIENT_TUNNEL",
    "PUSH_AGAIN_S",
    "SERVER_TUNNEL",
    "VERSION",
    "Client",
    "ClientOffer",
    "EchoingEnd",
    "Server",
    "compression_of",
    "tunnel_gateway",
]
