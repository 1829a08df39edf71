"""The exact forms of OpenVPN's hard resets, by which a conversation is known at its beginning, over UDP and at the front of a TCP stream.

Many other protocols have a first byte that is an opcode of OpenVPN. So a reset is known by its size and by what stands in clear in each
wrap: plain, tls-auth, tls-crypt and tls-crypt-v2. Of one that the capture cut, what is seen has to fit the whole of the form.
"""

from typing import Final

from vpnprobe.conversations.openvpn_places import LENGTH_BYTES
from vpnprobe.wire.openvpn import OPCODE_SHIFT, SESSION_ID, Opcode

PLAIN_RESET_BYTES: Final = 14
TLS_CRYPT_RESET_BYTES: Final = 54
WRAPPED_KEY_BYTES: Final = range(100, 1025)
"""A V3 reset ends with the client's wrapped key, a few hundred bytes, whose last two bytes are its length."""
V3_RESET_BYTES: Final = range(PLAIN_RESET_BYTES, 101)
"""Of a V3 reset without the wrapped key."""
V3_WHOLE_BYTES: Final = range(V3_RESET_BYTES.start + WRAPPED_KEY_BYTES.start, V3_RESET_BYTES.stop + WRAPPED_KEY_BYTES.stop)
WITHOUT_HMAC_BYTES: Final = 22
"""Of a client's tls-auth reset; its HMAC comes to that."""
HMAC_BYTES: Final = frozenset((16, 20, 28, 32, 48, 64))
SERVER_PLAIN_BYTES: Final = 26
SERVER_TLS_CRYPT_BYTES: Final = frozenset((66, 72))
"""The longer one answers a tls-crypt-v2 client without keeping state, and says so in a TLV."""
SERVER_WITHOUT_HMAC_BYTES: Final = 34
FIRST_PACKET_ID: Final = b"\x00\x00\x00\x01"
"""Of the replay protection."""
EARLY_PACKET_ID: Final = b"\x0f\x00\x00\x01"
"""The same in tls-crypt-v2's early negotiation."""
NO_ACKS: Final = bytes(5)
"""Ack count and packet ID of a client's plain reset."""
FIRST_ACKED: Final = b"\x01" + bytes(4)
"""What a server's reset acknowledges: one packet, the first."""
_BODY: Final = 1 + SESSION_ID
_V1_V2_CLIENT: Final = frozenset((Opcode.HARD_RESET_CLIENT_V1 << OPCODE_SHIFT, Opcode.HARD_RESET_CLIENT_V2 << OPCODE_SHIFT))
_V3_CLIENT: Final = Opcode.HARD_RESET_CLIENT_V3 << OPCODE_SHIFT
_SERVER: Final = frozenset((Opcode.HARD_RESET_SERVER_V1 << OPCODE_SHIFT, Opcode.HARD_RESET_SERVER_V2 << OPCODE_SHIFT))


def is_client_reset(packet: bytes, missing: int = 0) -> bool:
    """Whether a packet (without a TCP length) has the form of a client's hard reset. `missing`: bytes behind it that were cut off."""
    size = len(packet) + missing
    if not _may_be_client_reset(packet[:1], size):
        return False
    if packet[0] == _V3_CLIENT:
        wrapped_key = int.from_bytes(packet[-2:], "big")
        return bool(missing) or (wrapped_key >= WRAPPED_KEY_BYTES.start and size - wrapped_key in V3_RESET_BYTES)
    if size == PLAIN_RESET_BYTES:
        return NO_ACKS.startswith(packet[_BODY:])
    if size == TLS_CRYPT_RESET_BYTES and _begins(packet, _BODY, FIRST_PACKET_ID):
        return True
    return size - WITHOUT_HMAC_BYTES in HMAC_BYTES and _begins(packet, size - len(NO_ACKS), NO_ACKS)


def is_server_reset(packet: bytes, missing: int = 0) -> bool:
    """Whether a packet has the form of a server's answer to the first reset of a client."""
    size = len(packet) + missing
    if not _may_be_server_reset(packet[:1], size):
        return False
    if size == SERVER_PLAIN_BYTES:
        return _begins(packet, _BODY, FIRST_ACKED) and _begins(packet, size - 4, bytes(4))
    if size in SERVER_TLS_CRYPT_BYTES and (_begins(packet, _BODY, FIRST_PACKET_ID) or _begins(packet, _BODY, EARLY_PACKET_ID)):
        return True
    hmac = size - SERVER_WITHOUT_HMAC_BYTES
    return hmac in HMAC_BYTES and _begins(packet, _BODY + hmac, FIRST_PACKET_ID) and _begins(packet, _BODY + hmac + 8, FIRST_ACKED)


def begins_openvpn_tcp(head: bytes, missing: int) -> bool | None:
    """Whether a stream that begins with `head` begins with a reset of either end; None: more bytes tell. `missing`: bytes cut off it."""
    if len(head) <= LENGTH_BYTES:
        return False if missing or head[:1] > V3_WHOLE_BYTES.stop.to_bytes(2, "big")[:1] else None
    length, packet = int.from_bytes(head[:LENGTH_BYTES], "big"), head[LENGTH_BYTES:]
    if not _may_be_client_reset(packet[:1], length) and not _may_be_server_reset(packet[:1], length):
        return False
    if len(packet) + missing < length:
        return None if not missing else False
    seen = packet[:length]
    return is_client_reset(seen, length - len(seen)) or is_server_reset(seen, length - len(seen))


def is_of_client(head: bytes) -> bool:
    """Whether the reset at the front of a stream is the client's."""
    return head[LENGTH_BYTES] not in _SERVER


def _may_be_client_reset(first: bytes, size: int) -> bool:
    """By first byte, in which the key ID is 0, and size."""
    if first and first[0] in _V1_V2_CLIENT:
        return size in (PLAIN_RESET_BYTES, TLS_CRYPT_RESET_BYTES) or size - WITHOUT_HMAC_BYTES in HMAC_BYTES
    return bool(first) and first[0] == _V3_CLIENT and size in V3_WHOLE_BYTES


def _may_be_server_reset(first: bytes, size: int) -> bool:
    fits = size == SERVER_PLAIN_BYTES or size in SERVER_TLS_CRYPT_BYTES or size - SERVER_WITHOUT_HMAC_BYTES in HMAC_BYTES
    return bool(first) and first[0] in _SERVER and fits


def _begins(packet: bytes, at: int, expected: bytes) -> bool:
    """Whether what is there of a field is what is expected."""
    return expected.startswith(packet[at : at + len(expected)])
