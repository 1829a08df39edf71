"""The name of a message and the numbers in it that matter to a judgement, for every protocol's messages.

Names are the standards' own (SCCRQ, P_CONTROL_HARD_RESET_CLIENT_V2); for ISAKMP, whose messages have none, the exchange and whether
it answers. A reply that refuses has `-refused` behind its name.
"""

from collections.abc import Mapping
from typing import Final

from vpnprobe.conversations.openvpn import KeysAgreed
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake
from vpnprobe.evidence.packet_records import OF_SESSION, Check
from vpnprobe.wire import isakmp, l2tp, openvpn, pptp

MAIN_MODE: Final = 2
"""Exchange type Identity Protection (RFC 2408 section 3.1)."""
SA_INIT: Final = 34
"""Exchange type IKE_SA_INIT (RFC 7296 section 3.1)."""
SA_PAYLOADS: Final = frozenset({1, 33})
"""Payload type of the Security Association, IKEv1 and IKEv2."""

Described = tuple[str, Mapping[str, int | str]]


def describe(message: object) -> Described:
    """Name and numbers of a decoded message; what could not be decoded is `unreadable`."""
    match message:
        case pptp.StartControlConnectionReply() | pptp.OutgoingCallReply():
            return _pptp_reply(message)
        case pptp.OutgoingCallRequest():
            return message.NAME, {"call_id": message.call_id}
        case l2tp.ControlMessage():
            return message.name, {"tunnel_id": message.tunnel_id}
        case isakmp.IsakmpMessage():
            return _isakmp(message)
        case openvpn.ControlV1() | openvpn.ControlWkcV1() if message.number is not None:
            # The parts of the TLS stream are told apart, so that the one that never comes can be named.
            return f"{openvpn.ControlV1.name}[{message.number}]", {}
        case openvpn.DataV1() | openvpn.DataV2():
            return message.name, {} if message.answers is None else {"answers": message.answers}
        case Exception():
            return "unreadable", {"problem": str(message)}
        case _:
            return str(getattr(message, "NAME", getattr(message, "name", type(message).__name__))), {}


def placed(check: Check, message: object) -> tuple[Check, str]:
    """Which check of its conversation a message bears on, and what its key has behind the conversation's.

    `check`: the conversation's own, of OpenVPN its reset. Data packets are trials of their own, known by key ID and packet ID.
    """
    if check.probe != "openvpn":
        return check, ""
    assert check.port is not None
    match message:
        case openvpn.ControlV1() | openvpn.ControlWkcV1() | openvpn.SoftResetV1() | KeysAgreed():
            return openvpn_handshake(check.transport, check.port, check.variant), ""
        case openvpn.DataV1() | openvpn.DataV2():
            return openvpn_data(check.transport, check.port, check.variant), data_suffix(message.key_id, message.number)
        case _:
            return check, ""


def data_suffix(key_id: int, number: int | None) -> str:
    """What the key of a data packet has behind the key of its conversation."""
    return f"{OF_SESSION}{key_id}{OF_SESSION}{number or 0:x}"


def _pptp_reply(message: pptp.StartControlConnectionReply | pptp.OutgoingCallReply) -> Described:
    numbers = {"result_code": message.result_code}
    if isinstance(message, pptp.OutgoingCallReply):
        numbers |= {"call_id": message.call_id, "peer_call_id": message.peer_call_id}
    refused = message.result_code != pptp.SUCCESSFUL
    return f"{message.NAME}-refused" if refused else message.NAME, numbers


def _isakmp(message: isakmp.IsakmpMessage) -> Described:
    answers = message.responder_spi != isakmp.NO_SPI or bool(message.flags & isakmp.RESPONSE_FLAG)
    exchange = {MAIN_MODE: "main", SA_INIT: "sa_init"}.get(message.exchange_type)
    numbers = {"exchange_type": message.exchange_type}
    if exchange is not None and not answers:
        return exchange, numbers
    if exchange is not None and any(payload.type in SA_PAYLOADS for payload in message.payloads):
        return f"{exchange}-answer", numbers
    return "notify", numbers
