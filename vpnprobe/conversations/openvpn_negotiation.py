"""What an OpenVPN session is made of: how its control channel is wrapped, its negotiations, and the stages that an end reaches.

A negotiation is one TLS handshake with its key exchange, under a key ID of its own: 0 is the session's first, then 1 to 7 in turn.
"""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.conversations.openvpn_reliable import Reliability
from vpnprobe.conversations.openvpn_tls import TlsEnd
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import KEY_ID_MASK
from vpnprobe.wire.openvpn_data import DataChannel
from vpnprobe.wire.openvpn_keying import KeyMethod2, KeySource
from vpnprobe.wire.openvpn_keys import ClientKeyV2, KeyDirection, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import EARLY_NEGOTIATION, PlainWrapper, TlsAuthWrapper, TlsCryptWrapper, Wrap, Wrapper

CIPHERS: Final = (Cipher.AES_256_GCM, Cipher.AES_128_GCM, Cipher.CHACHA20_POLY1305)
"""OpenVPN 2.6's own order."""
SERVER_TUNNEL: Final = IPv4Address("10.255.238.1")
CLIENT_TUNNEL: Final = IPv4Address("10.255.238.2")


class Stage(IntEnum):
    """How far this end got; each includes those before."""

    IDLE = 0
    RESET = 1
    """A client: its reset left. A server passes over it: what comes to it, it answers."""
    ANSWERED = 2
    """The server's reset acknowledged the client's."""
    TLS_BEGUN = 3
    """TLS records came from the peer."""
    TLS_UP = 4
    KEYS = 5
    """Both key method 2 messages are exchanged: data packets can be made."""
    CONFIGURED = 6
    """The push reply came, or left."""
    DATA = 7
    """A data packet of the peer's was opened."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How the control channel is wrapped, with one end's keys."""

    kind: Wrap = Wrap.NONE
    key: StaticKey | None = None
    """Of tls-auth and tls-crypt."""
    direction: KeyDirection = KeyDirection.BIDIRECTIONAL
    """Of tls-auth, this end's."""
    digest: str = "SHA1"
    """Of tls-auth."""
    client_key: ClientKeyV2 | None = None
    """Of a tls-crypt-v2 client."""
    server_key: ServerKeyV2 | None = None
    """Of a tls-crypt-v2 server."""

    def wrapper(self, *, server: bool) -> Wrapper:
        """A fresh one, from packet ID 1 on (a tls-crypt-v2 client says by its IDs that it can send its wrapped key again)."""
        if self.kind is Wrap.TLS_AUTH and self.key is not None:
            return TlsAuthWrapper(self.digest, self.key, self.direction)
        if self.kind is Wrap.TLS_CRYPT and self.key is not None:
            return TlsCryptWrapper(self.key, server=server)
        if self.kind is Wrap.TLS_CRYPT_V2 and self.client_key is not None:
            return TlsCryptWrapper(self.client_key.key, server=server, first_packet_id=EARLY_NEGOTIATION + 1)
        return PlainWrapper()


@dataclass(slots=True)
class Negotiation:
    """One TLS handshake and key exchange of a session."""

    key_id: int
    """0 to 7."""
    reliability: Reliability
    own: KeySource
    tls: TlsEnd | None = None
    peer: KeyMethod2 | None = None
    plain: bytes = b""
    """Of the peer's stream, not yet read."""
    channel: DataChannel | None = None
    """None: there are no keys yet. What comes is opened as soon as there are."""
    in_use: bool = False
    """Whether the peer has these keys too, so that we may send under them."""
    started: bool = False
    """Whether our key message left."""
    turn: int = 0
    """How often its key ID served before in this session: after seven renegotiations they come again."""

    @property
    def next_key_id(self) -> int:
        """Of the negotiation after this one, 1 to 7: 0 does not come again."""
        return (self.key_id + 1) & KEY_ID_MASK or 1
