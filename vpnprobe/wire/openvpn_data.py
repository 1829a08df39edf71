"""OpenVPN's data channel with an AEAD cipher: P_DATA_V1 and P_DATA_V2, their keys, pings, the exit message, framing without compression.

P_DATA_V2 is opcode byte || peer ID (3) || packet ID (4) || tag (16) || ciphertext, P_DATA_V1 the same without a peer ID. The nonce is
packet ID || implicit IV, the first 8 bytes of the direction's HMAC key; authenticated beside the payload are the packet ID and, of
P_DATA_V2, the four bytes before it (OpenVPN Wire Protocol, section AEAD encrypted data channel packet). A client sends with slot 0 of the
data keys, a server with slot 1. A packet ID is accepted once, and none that is 64 or more below the highest one seen. The format of 2.7 is
in `openvpn_epoch`.
"""

from enum import StrEnum
from typing import Final, assert_never

from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.wire.ciphers import TAG, Cipher, aead
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import KEY_ID_MASK, OPCODE_SHIFT, Opcode
from vpnprobe.wire.openvpn_keys import KeyDirection, StaticKey
from vpnprobe.wire.replay_window import ReplayWindow

PING: Final = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""The payload that keeps a silent tunnel alive; no IP packet begins so."""
OCC_MAGIC: Final = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
EXIT_NOTIFY: Final = OCC_MAGIC + b"\x06"
"""OCC_EXIT, the payload by which an end says that it goes (explicit-exit-notify)."""
OPTIONS_REQUEST: Final = OCC_MAGIC + b"\x00"
"""OCC_REQUEST: the other end answers with OPTIONS_REPLY and its options string, whoever answers echo requests beyond it or does not."""
OPTIONS_REPLY: Final = OCC_MAGIC + b"\x01"
"""OCC_REPLY: how the answer to OPTIONS_REQUEST begins."""
IMPLICIT_IV: Final = 8
NO_COMPRESSION: Final = 0xFA
NO_COMPRESSION_SWAPPED: Final = 0xFB
ESCAPE: Final = 0x50
COMPRESSED: Final = frozenset({0x66, 0x69})
"""First bytes of what LZO and LZ4 have compressed."""


class DataChannel:
    """One end's data channel under one set of keys. Raises CannotRun where its cipher is not to be had."""

    def __init__(self, cipher: Cipher, keys: bytes, *, server: bool, key_id: int = 0, peer_id: int | None = None) -> None:
        """`keys` are the 256 bytes of data keys; `key_id` 0 to 7; `peer_id` 0 to 2**24 - 1, None: P_DATA_V1 is sent."""
        slots, direction = StaticKey(keys), KeyDirection.INVERSE if server else KeyDirection.NORMAL
        self.key_id = key_id
        self.head = data_head(key_id, peer_id)
        self.sent = 0
        """The packet ID last used; 0: none."""
        self.window = ReplayWindow()
        self._out = aead(cipher, slots.cipher_key(direction.out_slot)[: cipher.key_bytes])
        self._in = aead(cipher, slots.cipher_key(direction.in_slot)[: cipher.key_bytes])
        self._out_iv = slots.hmac_key(direction.out_slot)[:IMPLICIT_IV]
        self._in_iv = slots.hmac_key(direction.in_slot)[:IMPLICIT_IV]

    @property
    def overhead(self) -> int:
        """Bytes that a packet has beyond its payload: 24 of P_DATA_V2, 21 of P_DATA_V1."""
        return len(self.head) + 4 + TAG

    def seal(self, payload: bytes) -> bytes:
        """The whole packet. Raises CannotRun when all 2**32 - 1 packet IDs are used: then new keys are due."""
        if self.sent == 0xFFFFFFFF:
            raise CannotRun("OpenVPN's data keys have no packet ID left: the conversation must be begun anew")
        self.sent += 1
        packet_id = self.sent.to_bytes(4, "big")
        sealed = self._out.seal(packet_id + self._out_iv, payload, associated_head(self.head) + packet_id)
        return self.head + packet_id + sealed[-TAG:] + sealed[:-TAG]

    def open(self, packet: bytes) -> bytes:
        """The payload. Raises DecodeError where the tag does not fit, and with the field "packet ID" where it was seen before."""
        cursor = Cursor(packet)
        head = read_data_head(cursor, self.key_id)
        at, packet_id = cursor.offset, cursor.take(4, "packet ID")
        tag = cursor.take(TAG, "authentication tag")
        payload = self._in.open(packet_id + self._in_iv, cursor.rest() + tag, associated_head(head) + packet_id)
        self.window.accept(int.from_bytes(packet_id, "big"), at)
        return payload


def data_head(key_id: int, peer_id: int | None) -> bytes:
    """What a data packet begins with: one byte of P_DATA_V1, four of P_DATA_V2."""
    if peer_id is None:
        return bytes([Opcode.DATA_V1 << OPCODE_SHIFT | key_id])
    return bytes([Opcode.DATA_V2 << OPCODE_SHIFT | key_id]) + peer_id.to_bytes(3, "big")


def read_data_head(cursor: Cursor, key_id: int) -> bytes:
    """The head at the cursor. Raises DecodeError for another opcode or key ID; the peer ID is left to the tag to vouch for."""
    first = cursor.u8("opcode")
    if first >> OPCODE_SHIFT not in (Opcode.DATA_V1, Opcode.DATA_V2):
        raise cursor.wrong("opcode", f"{first >> OPCODE_SHIFT} is not that of a data packet", back=1)
    if first & KEY_ID_MASK != key_id:
        raise cursor.wrong("key ID", f"is {first & KEY_ID_MASK}, not {key_id}", back=1)
    peer_id = cursor.take(3, "peer ID") if first >> OPCODE_SHIFT == Opcode.DATA_V2 else b""
    return bytes([first]) + peer_id


def associated_head(head: bytes) -> bytes:
    """What of the head is authenticated: all of P_DATA_V2's, nothing of P_DATA_V1's."""
    return head if len(head) > 1 else b""


def packet_number(packet: bytes) -> int | None:
    """The packet ID that stands in clear in a P_DATA_V1 or P_DATA_V2 of an AEAD cipher; None: no such packet, or too short for one."""
    match packet[0] >> OPCODE_SHIFT if packet else None:
        case Opcode.DATA_V1:
            start = 1
        case Opcode.DATA_V2:
            start = 4
        case _:
            return None
    field = packet[start : start + 4]
    return int.from_bytes(field, "big") if len(field) == 4 else None


class Compression(StrEnum):
    """How a payload is framed where compression is configured; nothing is compressed, as a client since 2.6 does it by default.

    Each reads what an OpenVPN with that setting reads: framings that differ in one byte do not understand each other there either.
    """

    NONE = "none"
    STUB = "stub"
    """`compress`, `compress stub` or `compress lz4`: the first byte goes to the end, and 0xFB takes its place."""
    STUB_V2 = "stub-v2"
    """`compress stub-v2` or `compress lz4-v2`: only a payload that begins with 0x50 is preceded by 0x50 0x00."""
    LZO_NO = "lzo-no"
    """`comp-lzo` with any argument, or `compress lzo`: 0xFA in front."""

    def add(self, payload: bytes) -> bytes:
        """The payload as it goes into the data channel. Empty ones stay empty."""
        match self:
            case Compression.NONE:
                return payload
            case Compression.STUB:
                return bytes([NO_COMPRESSION_SWAPPED]) + payload[1:] + payload[:1] if payload else b""
            case Compression.LZO_NO:
                return bytes([NO_COMPRESSION]) + payload if payload else b""
            case Compression.STUB_V2:
                return bytes([ESCAPE, 0]) + payload if payload[:1] == bytes([ESCAPE]) else payload
            case _:
                assert_never(self)

    def remove(self, payload: bytes) -> bytes:
        """The payload as it came out of the data channel, unframed. Raises DecodeError where it is compressed, or framed otherwise."""
        if self is Compression.NONE or not payload:
            return payload
        if self is Compression.STUB_V2:
            return _without_escape(payload)
        wanted = NO_COMPRESSION_SWAPPED if self is Compression.STUB else NO_COMPRESSION
        if payload[0] in COMPRESSED:
            raise DecodeError("compression", 0, f"is 0x{payload[0]:02x}: the peer compresses")
        if payload[0] != wanted:
            raise DecodeError("compression", 0, f"is 0x{payload[0]:02x}, not 0x{wanted:02x}: the peer frames otherwise")
        if self is Compression.STUB:
            return payload[-1:] + payload[1:-1] if len(payload) > 1 else b""
        return payload[1:]


def _without_escape(payload: bytes) -> bytes:
    if payload[0] != ESCAPE:
        return payload
    if len(payload) < 2:
        raise DecodeError("compression", 1, f"is missing after 0x{ESCAPE:02x}")
    if payload[1] != 0:
        raise DecodeError("compression", 1, f"is 0x{payload[1]:02x}, not 0x00: the peer compresses")
    return payload[2:]
