"""A PPP peer in user space, in place of pppd where the kernel has no PPP: negotiates LCP and IPCP, answers echoes, carries no data.

PPP in HDLC-like framing with octet stuffing (RFC 1662 section 4), LCP (RFC 1661), IPCP (RFC 1332), on the terminal at file descriptor 0.
Run as a program with pppd's own arguments, of which it heeds only `LOCAL:REMOTE`. It shares no code with the rest of vpnprobe: it is the
stranger that our own encoders and decoders meet. Standard library alone.
"""

import os
import re
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

FLAG: Final = 0x7E
ESCAPE: Final = 0x7D
ESCAPE_BIT: Final = 0x20
GOOD_FCS: Final = 0xF0B8
"""What the FCS of a frame with its FCS comes to (RFC 1662 appendix C.2)."""
HEADER: Final = b"\xff\x03"

LCP: Final = 0xC021
IPCP: Final = 0x8021
RESTART_S: Final = 3.0
MAX_CONFIGURE: Final = 10
"""Restart timer and Max-Configure (RFC 1661 section 4.6)."""

MRU: Final = 1
MAGIC_NUMBER: Final = 5
IP_ADDRESS: Final = 3
UNDERSTOOD: Final = {LCP: frozenset({MRU, 2, MAGIC_NUMBER, 7, 8}), IPCP: frozenset({IP_ADDRESS})}
"""Options that are acknowledged; others, authentication among them, are rejected."""


class Code(IntEnum):
    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    PROTOCOL_REJECT = 8
    ECHO_REQUEST = 9
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11


Option = tuple[int, bytes]
"""Type and value."""


def fcs(data: bytes) -> int:
    """The 16-bit frame check sequence before its complement (RFC 1662 appendix C)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x8408 if value & 1 else value >> 1
    return value


def stuffed(frame: bytes) -> bytes:
    """A frame between two flags, with its FCS, control characters escaped."""
    whole = frame + struct.pack("<H", fcs(frame) ^ 0xFFFF)
    line = bytearray([FLAG])
    for byte in whole:
        line += bytes([ESCAPE, byte ^ ESCAPE_BIT]) if byte < 0x20 or byte in (FLAG, ESCAPE) else bytes([byte])
    return bytes(line) + bytes([FLAG])


def unstuffed(line: bytes) -> bytes | None:
    """The frame between two flags, its FCS taken off; None: empty or damaged."""
    frame, escaped = bytearray(), False
    for byte in line:
        if escaped:
            frame.append(byte ^ ESCAPE_BIT)
        elif byte != ESCAPE:
            frame.append(byte)
        escaped = byte == ESCAPE and not escaped
    return bytes(frame[:-2]) if len(frame) > 2 and fcs(bytes(frame)) == GOOD_FCS else None


def packet(protocol: int, code: int, identifier: int, data: bytes = b"") -> bytes:
    return HEADER + struct.pack(">HBBH", protocol, code, identifier, 4 + len(data)) + data


def options(data: bytes) -> Iterator[Option]:
    while len(data) >= 2 and 2 <= data[1] <= len(data):
        yield data[0], data[2 : data[1]]
        data = data[data[1] :]


def encoded(chosen: list[Option]) -> bytes:
    return b"".join(bytes([kind, 2 + len(value)]) + value for kind, value in chosen)


@dataclass(slots=True)
class Negotiation:
    """One control protocol's state: what we ask for, and which of both requests are acknowledged."""

    wishes: list[Option]
    identifier: int = 0
    tries: int = 0
    ours_acknowledged: bool = False
    theirs_acknowledged: bool = False

    @property
    def opened(self) -> bool:
        return self.ours_acknowledged and self.theirs_acknowledged


@dataclass(slots=True)
class Peer:
    """Frames in, frames out; no clock and no terminal."""

    local: bytes
    """Own IPv4 address."""
    remote: bytes
    """The address that the other end is given."""
    magic: bytes
    ended: bool = False
    layers: dict[int, Negotiation] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = {
            LCP: Negotiation([(MRU, struct.pack(">H", 1400)), (MAGIC_NUMBER, self.magic)]),
            IPCP: Negotiation([(IP_ADDRESS, self.local)]),
        }

    def requests(self) -> list[bytes]:
        """The Configure-Request that is due, at the start and each time that the restart timer runs out."""
        for protocol, layer in self.layers.items():
            if not layer.ours_acknowledged:
                return [self._request(protocol)] if layer.tries < MAX_CONFIGURE else []
            if not layer.opened:
                return []
        return []

    def receive(self, frame: bytes) -> list[bytes]:
        body = frame.removeprefix(HEADER)
        if len(body) < 6:
            return []
        protocol, code, identifier, length = struct.unpack(">HBBH", body[:6])
        if protocol not in self.layers:
            return [packet(LCP, Code.PROTOCOL_REJECT, identifier, body)] if protocol >= 0x8000 else []
        if not 4 <= length <= len(body) - 2:
            return []
        return self._control(protocol, code, identifier, body[6 : 2 + length])

    def _control(self, protocol: int, code: int, identifier: int, data: bytes) -> list[bytes]:
        layer = self.layers[protocol]
        if code == Code.CONFIGURE_REQUEST:
            return self._answer(protocol, identifier, data)
        if code == Code.CONFIGURE_ACK and identifier == layer.identifier:
            layer.ours_acknowledged = True
            return self._next(protocol)
        if code in (Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT) and identifier == layer.identifier:
            self._heed(layer, code, dict(options(data)))
            return [self._request(protocol)]
        if code == Code.TERMINATE_REQUEST:
            self.ended = protocol == LCP
            return [packet(protocol, Code.TERMINATE_ACK, identifier)]
        if code == Code.ECHO_REQUEST and protocol == LCP:
            return [packet(LCP, Code.ECHO_REPLY, identifier, self.magic + data[4:])]
        if code > Code.DISCARD_REQUEST:
            return [packet(protocol, Code.CODE_REJECT, identifier, bytes([code, identifier]) + struct.pack(">H", 4 + len(data)) + data)]
        return []

    def _answer(self, protocol: int, identifier: int, data: bytes) -> list[bytes]:
        asked = list(options(data))
        unknown = [option for option in asked if option[0] not in UNDERSTOOD[protocol]]
        if unknown:
            return [packet(protocol, Code.CONFIGURE_REJECT, identifier, encoded(unknown))]
        if protocol == IPCP and (IP_ADDRESS, bytes(4)) in asked:
            return [packet(protocol, Code.CONFIGURE_NAK, identifier, encoded([(IP_ADDRESS, self.remote)]))]
        self.layers[protocol].theirs_acknowledged = True
        return [packet(protocol, Code.CONFIGURE_ACK, identifier, data), *self._next(protocol)]

    def _next(self, protocol: int) -> list[bytes]:
        """LCP has just opened: IPCP begins."""
        begins = protocol == LCP and self.layers[LCP].opened and not self.layers[IPCP].tries
        return [self._request(IPCP)] if begins else []

    @staticmethod
    def _heed(layer: Negotiation, code: int, answer: dict[int, bytes]) -> None:
        rejected = code == Code.CONFIGURE_REJECT
        layer.wishes = [(kind, answer.get(kind, value)) for kind, value in layer.wishes if not (rejected and kind in answer)]

    def _request(self, protocol: int) -> bytes:
        layer = self.layers[protocol]
        layer.tries += 1
        layer.identifier = layer.identifier % 255 + 1
        return packet(protocol, Code.CONFIGURE_REQUEST, layer.identifier, encoded(layer.wishes))


def addresses(arguments: list[str]) -> tuple[bytes, bytes]:
    """Local and remote, from pppd's `LOCAL:REMOTE`; zeros where it is not there."""
    dotted = r"((?:\d+\.){3}\d+)"
    found = next(filter(None, (re.fullmatch(f"{dotted}:{dotted}", argument) for argument in arguments)), None)
    local, remote = found.groups() if found else ("0.0.0.0", "0.0.0.0")
    return bytes(map(int, local.split("."))), bytes(map(int, remote.split(".")))


def serve(terminal: int, peer: Peer) -> None:
    """Until the line hangs up or the other end terminates."""
    pending, due = b"", time.monotonic()
    while not peer.ended:
        if time.monotonic() >= due:
            _write(terminal, peer.requests())
            due = time.monotonic() + RESTART_S
        if not select.select([terminal], [], [], max(0.0, due - time.monotonic()))[0]:
            continue
        chunk = os.read(terminal, 4096)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(bytes([FLAG]))
        for line in lines:
            frame = unstuffed(line)
            _write(terminal, peer.receive(frame) if frame is not None else [])


def _write(terminal: int, frames: list[bytes]) -> None:
    for frame in frames:
        os.write(terminal, stuffed(frame))


def main() -> None:
    local, remote = addresses(sys.argv[1:])
    try:
        tty.setraw(0)
        serve(0, Peer(local, remote, os.urandom(4)))
    except (OSError, termios.error):
        # The server has hung up: the terminal is gone.
        return


if __name__ == "__main__":
    main()
