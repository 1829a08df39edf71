"""What options and errors of the command line say of single protocols."""

from typing import Final

PROFILE: Final = "Also try an existing OpenVPN or WireGuard server as its client (client.ovpn, wg0.conf)."
PORT: Final = "A further port to try OpenVPN and WireGuard on (repeatable)."
NO_PEER: Final = "name the peer: --peer HOST, or try an existing server by itself: --solo --profile FILE"
