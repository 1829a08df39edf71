"""What options and errors of the command line say of single protocols."""

from typing import Final

PROFILE: Final = "Also try an existing OpenVPN server as its client."
PORT: Final = "A further port to try OpenVPN and WireGuard on (repeatable)."
NO_PEER: Final = "name the peer: --peer HOST, or try an OpenVPN server by itself: --solo --profile FILE.ovpn"
