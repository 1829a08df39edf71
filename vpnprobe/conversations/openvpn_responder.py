"""The server's end of whole OpenVPN sessions at the server agent's ports, for clients that handed over what it takes.

What a client's first packet looks like decides the wrap: plain, tls-crypt, or tls-crypt-v2, whose opcode is its own. A client that handed
over no keys gets the answer to a plain reset and nothing behind it.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vpnprobe.conversations.openvpn_ends import Server
from vpnprobe.conversations.openvpn_reset import Responder, plain_reset
from vpnprobe.conversations.openvpn_session_keys import ServerSessionKeys
from vpnprobe.conversations.openvpn_tls import server_context
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.ciphers import lacking
from vpnprobe.wire.openvpn import HardResetClientV2, HardResetClientV3, decode_openvpn
from vpnprobe.wire.openvpn_wrap import Wrap

RETRANSMIT_AFTER_S: Final = 0.3
ECHOES: Final = 6
"""Echo requests that the server's end sends through each tunnel."""


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What lets one client's OpenVPN sessions come up."""

    half: ServerSessionKeys
    context: ssl.SSLContext


def accept(message: object) -> ServerKeys:
    """From a control message. Raises DecodeError where it cannot be used, CannotRun (status MISSING) where there are no ciphers."""
    if not isinstance(message, dict):
        raise DecodeError("keys", 0, "are no table")
    if lack := lacking():
        raise CannotRun(lack, status=ExitStatus.MISSING)
    half = ServerSessionKeys.decode(message)
    try:
        return ServerKeys(half, server_context(half.identity, clients_pem=half.client_certificate_pem.decode("ascii", "ignore")))
    except (ssl.SSLError, ValueError) as error:
        raise DecodeError("certificate", 0, str(error)) from error


def wrap_of(data: bytes) -> Wrap | None:
    """How a client's first packet is wrapped, as far as its form tells; None: it is no client's first packet."""
    try:
        packet = decode_openvpn(data)
    except DecodeError:
        return None
    match packet:
        case HardResetClientV3():
            return Wrap.TLS_CRYPT_V2
        case HardResetClientV2():
            return Wrap.TLS_CRYPT if plain_reset(packet) is None else Wrap.NONE
        case _:
            return None


def variant(data: bytes) -> str:
    """What the check of such a session is told apart by: the wrap's name; empty where it is plain."""
    wrap = wrap_of(data)
    return "" if wrap is None or wrap is Wrap.NONE else wrap.value


def respond(
    data: bytes, keys: object | None, *, stream: bool, entropy: Callable[[int], bytes], unix_time_at_zero: float, number: int
) -> Server | Responder | None:
    """The end that answers a client's first packet; None: it is none, or nobody here can read it.

    `keys`: `ServerKeys` of this client, or None. `number`: its sessions so far, told as the peer ID.
    """
    wrap = wrap_of(data)
    if wrap is None or (keys is None and wrap is not Wrap.NONE):
        return None
    if not isinstance(keys, ServerKeys):
        return Responder(session_id=entropy(8), stream=stream)
    server = Server(
        session_id=entropy(8),
        stream=stream,
        wrapping=keys.half.wrapping(wrap),
        context=keys.context,
        entropy=entropy,
        unix_time_at_zero=unix_time_at_zero,
        echoes=ECHOES,
        peer_id=number,
        retransmit_after_s=RETRANSMIT_AFTER_S,
    )
    server.short_replies = True
    return server
