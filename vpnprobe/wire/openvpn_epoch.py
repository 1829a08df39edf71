"""The epoch format of OpenVPN 2.7's data channel (protocol-flags aead-epoch, IV_PROTO bit 10): keys that move on without a renegotiation.

A packet is opcode byte || peer ID (3) || epoch (2) || counter (6) || ciphertext || tag (16). Epoch and counter are one packet ID of 64
bits; the nonce is the implicit IV (12) with the packet ID exclusive-ored into its first 8 bytes; authenticated beside the payload is what
stands before it. Each direction has a secret per epoch, E_1 being the first 32 bytes of its cipher key of the data keys:
E_n+1 = Expand(E_n, "datakey upd"), key = Expand(E_n, "data_key"), implicit IV = Expand(E_n, "data_iv"), Expand being HKDF-Expand-Label of
TLS 1.3 (RFC 8446 section 7.1) with SHA-256 and labels that begin with "ovpn " (OpenVPN Wire Protocol, section on epoch data keys). The
derivation gives the value that OpenVPN's own test expects. A whole channel was tried against itself alone: no peer of version 2.7 was to
be had.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final, Self

from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.wire.ciphers import TAG, Aead, Cipher, aead
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn_data import associated_head, data_head, read_data_head
from vpnprobe.wire.openvpn_keys import KeyDirection, StaticKey
from vpnprobe.wire.replay_window import ReplayWindow

SECRET: Final = 32
NONCE: Final = 12
PACKET_ID: Final = 8
"""Bytes of epoch and counter."""
FIRST_EPOCH: Final = 1
LAST_EPOCH: Final = 0xFFFF
MOST_PACKETS: Final = 2**48 - 1
"""Packets of one epoch."""
AHEAD: Final = 16
"""Epochs beyond the newest one seen whose packets are still looked at, as in OpenVPN 2.7."""


def expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-256, the prefix "ovpn " and no context."""
    full = b"ovpn " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = hmac.digest(secret, block + info + bytes([count]), "sha256")
        out += block
    return out[:length]


@dataclass(slots=True)
class EpochKey:
    """What one direction uses in one epoch."""

    epoch: int
    """1 to 65535."""
    secret: bytes
    """E_n, 32 bytes."""
    cipher: Aead
    implicit_iv: bytes
    """12 bytes."""
    window: ReplayWindow = field(default_factory=ReplayWindow)

    @classmethod
    def derive(cls, cipher: Cipher, epoch: int, secret: bytes) -> Self:
        key = aead(cipher, expand_label(secret, b"data_key", cipher.key_bytes))
        return cls(epoch, secret, key, expand_label(secret, b"data_iv", NONCE))

    def later(self, cipher: Cipher, epoch: int) -> "EpochKey":
        """The key of the same or a later epoch."""
        if epoch == self.epoch:
            return self
        secret = self.secret
        for _ in range(epoch - self.epoch):
            secret = expand_label(secret, b"datakey upd", SECRET)
        return EpochKey.derive(cipher, epoch, secret)

    def nonce(self, packet_id: bytes) -> bytes:
        mixed = int.from_bytes(self.implicit_iv, "big") ^ int.from_bytes(packet_id, "big") << 8 * (NONCE - PACKET_ID)
        return mixed.to_bytes(NONCE, "big")


class EpochDataChannel:
    """One end's data channel in the epoch format; used as `openvpn_data.DataChannel` is."""

    def __init__(self, cipher: Cipher, keys: bytes, *, server: bool, key_id: int = 0, peer_id: int | None = None) -> None:
        """`keys` are the 256 bytes of data keys; `key_id` 0 to 7; `peer_id` 0 to 2**24 - 1, None: P_DATA_V1 is sent."""
        slots, direction = StaticKey(keys), KeyDirection.INVERSE if server else KeyDirection.NORMAL
        self.key_id = key_id
        self.head = data_head(key_id, peer_id)
        self.cipher = cipher
        self.sent = 0
        """The counter last used in the epoch of sending; 0: none."""
        self._out = EpochKey.derive(cipher, FIRST_EPOCH, slots.cipher_key(direction.out_slot)[:SECRET])
        self._in = EpochKey.derive(cipher, FIRST_EPOCH, slots.cipher_key(direction.in_slot)[:SECRET])
        self._retired: EpochKey | None = None

    @property
    def epoch(self) -> int:
        """The epoch of sending."""
        return self._out.epoch

    @property
    def overhead(self) -> int:
        """Bytes that a packet has beyond its payload: 28 of P_DATA_V2, 25 of P_DATA_V1."""
        return len(self.head) + PACKET_ID + TAG

    def advance(self, epoch: int | None = None) -> None:
        """Sends in a later epoch from now on, the next one unless said. Raises CannotRun after the last one."""
        later = self.epoch + 1 if epoch is None else epoch
        if later <= self.epoch:
            return
        if later > LAST_EPOCH:
            raise CannotRun("OpenVPN's data keys have no epoch left: the conversation must be begun anew")
        self._out = self._out.later(self.cipher, later)
        self.sent = 0

    def seal(self, payload: bytes) -> bytes:
        """The whole packet. Goes on to the next epoch when the counter is used up; CannotRun after the last epoch."""
        if self.sent == MOST_PACKETS:
            self.advance()
        self.sent += 1
        packet_id = self.epoch.to_bytes(2, "big") + self.sent.to_bytes(6, "big")
        sealed = self._out.cipher.seal(self._out.nonce(packet_id), payload, associated_head(self.head) + packet_id)
        return self.head + packet_id + sealed

    def open(self, packet: bytes) -> bytes:
        """The payload; an authentic packet of a later epoch takes this end's sending there too.

        Raises DecodeError where the tag does not fit, with the field "epoch" for one that is over or too far ahead, and with "packet ID"
        for a packet that was seen before.
        """
        cursor = Cursor(packet)
        head = read_data_head(cursor, self.key_id)
        at, packet_id = cursor.offset, cursor.take(PACKET_ID, "packet ID")
        key = self._key_of(int.from_bytes(packet_id[:2], "big"), at)
        payload = key.cipher.open(key.nonce(packet_id), cursor.rest(), associated_head(head) + packet_id)
        key.window.accept(int.from_bytes(packet_id[2:], "big"), at + 2)
        if key.epoch > self._in.epoch:
            self._retired, self._in = self._in, key
        if key.epoch > self.epoch:
            self.advance(key.epoch)
        return payload

    def _key_of(self, epoch: int, at: int) -> EpochKey:
        """The key of the epoch that is being received, of the one before it, or of one of the next."""
        if self._retired is not None and epoch == self._retired.epoch:
            return self._retired
        if not self._in.epoch <= epoch <= self._in.epoch + AHEAD:
            raise DecodeError("epoch", at, f"is {epoch}, not {self._in.epoch} to {self._in.epoch + AHEAD}")
        return self._in.later(self.cipher, epoch)
