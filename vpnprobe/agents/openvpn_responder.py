"""The server's end of whole OpenVPN sessions at the server agent's ports, for clients that handed over what it takes.

A client's packets find their session by its session ID, which ends in the paired session's tag. What the first packet looks like decides
the wrap: plain, tls-crypt, or tls-crypt-v2, whose opcode is its own.
"""

import ssl
from dataclasses import dataclass
from typing import Final

from vpnprobe.agents.sessions import ClientSession
from vpnprobe.conversations.openvpn import plain_reset, session_of
from vpnprobe.conversations.openvpn_ends import Server
from vpnprobe.conversations.openvpn_tls import server_context
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.evidence.checks import openvpn_reset
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.openvpn_session_keys import ServerSessionKeys
from vpnprobe.transports.stack import NetworkStack
from vpnprobe.wire.ciphers import lacking
from vpnprobe.wire.openvpn import HardResetClientV2, HardResetClientV3, decode_openvpn
from vpnprobe.wire.openvpn_wrap import Wrap

RETRANSMIT_AFTER_S: Final = 0.3
ECHOES: Final = 6
"""Echo requests that the server's end sends through each tunnel."""
MOST_SESSIONS: Final = 1024
"""OpenVPN sessions of one client in a run."""


@dataclass(slots=True)
class ServerKeys:
    """What lets one client's OpenVPN sessions come up."""

    half: ServerSessionKeys
    context: ssl.SSLContext


def accept(message: object) -> ServerKeys:
    """From a control message. Raises DecodeError where it cannot be used, CannotRun where this host lacks what it takes."""
    if not isinstance(message, dict):
        raise DecodeError("openvpn", 0, "is no table of keys")
    if lack := lacking():
        raise CannotRun(lack)
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


def begin(stack: NetworkStack, session: ClientSession, data: bytes, *, transport: Transport, port: int) -> tuple[Server, Check] | None:
    """The server's end for a client's first packet; None: it is none, or this client handed over no keys."""
    server_keys, wrap = session.openvpn, wrap_of(data)
    if server_keys is None or wrap is None or session.openvpn_begun >= MOST_SESSIONS or not session_of(data):
        return None
    session.openvpn_begun += 1
    server = Server(
        session_id=stack.entropy(8),
        stream=transport is Transport.TCP,
        wrapping=server_keys.half.wrapping(wrap),
        context=server_keys.context,
        entropy=stack.entropy,
        unix_time_at_zero=stack.unix_time() - stack.now(),
        echoes=ECHOES,
        peer_id=session.openvpn_begun,
        retransmit_after_s=RETRANSMIT_AFTER_S,
    )
    server.short_replies = True
    return server, openvpn_reset(transport, port, "" if wrap is Wrap.NONE else wrap.value)
