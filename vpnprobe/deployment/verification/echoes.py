"""Echo requests (RFC 792, RFC 4443) through one device or by the routing table, and what comes back: replies, and errors that quote them.

A socket that is bound to a device gets what comes in there and nothing else: an answer proves that device. Requests leave with the
do-not-fragment bit, whatever the kernel takes the path's MTU to be.
"""

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.transports.capabilities import lacking
from vpnprobe.transports.stack import Address, Capability
from vpnprobe.transports.system import linux
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, TimeExceeded, decode_icmp, decode_icmpv6
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

HEADERS_BYTES: Final = {4: 28, 6: 48}
"""IP and ICMP."""
SO_BINDTODEVICE: Final = 25
MTU_DISCOVER: Final = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER."""
PROBE: Final = 3
"""IP_PMTUDISC_PROBE: do not fragment, and take no notice of the known path MTU."""
ECHO_REQUEST6: Final = 128
RECEIVE_BUFFER_BYTES: Final = 4 << 20
_SEQUENCES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Back:
    """What came back for a request."""

    sequence: int
    source: Address
    size_bytes: int
    """Of the reply's packet; 0: it is an error."""
    delay_s: float
    error: str = ""
    """`time exceeded`, `unreachable (3)`; empty: it is the reply."""


class EchoSocket:
    """Reads on the current event loop until closed. Raises CannotRun (MISSING) without raw sockets, OSError where the device is gone."""

    def __init__(self, version: int, *, device: str = "") -> None:
        self._version = version
        self._identifier = int.from_bytes(os.urandom(2), "big") or 1
        self._next = 0
        self._sent_at: dict[int, float] = {}
        self.back: dict[int, Back] = {}
        """By sequence number; of a flood the newest 65536."""
        self.on_back: Callable[[Back], None] = lambda _: None
        self._changed = asyncio.Event()
        protocol = IpProtocol.ICMP if version == 4 else IpProtocol.ICMPV6
        try:
            self._sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
        except OSError as error:
            raise lacking(Capability.RAW_IP) from error
        try:
            if device:
                self._sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device.encode())
            self._sock.setsockopt(*MTU_DISCOVER[version], PROBE)
        except OSError:
            self._sock.close()
            raise
        linux.enlarge_receive_buffer(self._sock, RECEIVE_BUFFER_BYTES)
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    @property
    def identifier(self) -> int:
        return self._identifier

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def send(self, to: Address, *, size_bytes: int = 64, ttl: int | None = None) -> int | None:
        """`size_bytes`: of the whole IP packet. The request's sequence number; None: this machine does not take it."""
        sequence = self._next = (self._next + 1) % _SEQUENCES
        data = b"vpnprobe".ljust(max(0, size_bytes - HEADERS_BYTES[self._version]), b"\0")
        if self._version == 4:
            message = EchoRequest(self._identifier, sequence, data).encode()
        else:
            message = struct.pack("!BBHHH", ECHO_REQUEST6, 0, 0, self._identifier, sequence) + data
        control = [linux.with_ttl(ttl, self._version)] if ttl is not None else []
        self.back.pop(sequence, None)
        self._sent_at[sequence] = time.monotonic()
        try:
            self._sock.sendmsg([message], control, 0, (str(to), 0))
        except OSError:
            return None
        return sequence

    async def wait(self, sequences: Collection[int], deadline_s: float) -> list[Back]:
        """What came back for these within so many seconds; ends when all have come."""
        until = time.monotonic() + deadline_s
        while (left := until - time.monotonic()) > 0 and any(sequence not in self.back for sequence in sequences):
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return [self.back[sequence] for sequence in sequences if sequence in self.back]

    def _readable(self) -> None:
        for _ in range(256):
            try:
                data, source = self._sock.recvfrom(65536)
            except OSError:
                return
            with suppress(DecodeError):
                self._take(data, ip_address(str(source[0]).partition("%")[0]))

    def _take(self, data: bytes, source: Address) -> None:
        payload = IPv4Packet.decode(data).payload if self._version == 4 else data
        size = len(data) if self._version == 4 else len(data) + 40
        message = decode_icmp(payload) if self._version == 4 else decode_icmpv6(payload)
        match message:
            case EchoReply(identifier, sequence) if identifier == self._identifier:
                self._came(sequence, source, size, "")
            case TimeExceeded(quote):
                self._quoted(quote.first_bytes, source, "time exceeded")
            case DestinationUnreachable(code, quote):
                self._quoted(quote.first_bytes, source, f"unreachable ({code})")
            case _:
                return

    def _quoted(self, first_bytes: bytes, source: Address, error: str) -> None:
        if len(first_bytes) >= 8 and int.from_bytes(first_bytes[4:6], "big") == self._identifier:
            self._came(int.from_bytes(first_bytes[6:8], "big"), source, 0, error)

    def _came(self, sequence: int, source: Address, size: int, error: str) -> None:
        sent_at = self._sent_at.get(sequence)
        if sent_at is None or sequence in self.back:
            return
        found = self.back[sequence] = Back(sequence, source, size, time.monotonic() - sent_at, error)
        self._changed.set()
        self.on_back(found)
