"""What a packet socket of Linux sees (packet(7), AF_PACKET with SOCK_DGRAM): packets from behind the link's header, loopback included.

There each packet is seen leaving and coming. Outgoing packets are seen after the local firewall let them out, incoming ones before it may
drop them. A packet that passes several devices of this host (a bridge and its port, a VLAN and the device below) counts once.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.bpf import NOTHING
from vpnprobe.transports.capabilities import lacking
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.system import linux

RECEIVE_BUFFER_BYTES: Final = 16 << 20
LARGEST_BYTES: Final = 256 * 1024
"""Bytes: a packet that the device is to cut up itself may be longer than any on the wire."""
BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class SeenPacket:
    """A packet on a device."""

    device: str
    ethertype: int
    """Protocol of the link's payload: 0x0800 IPv4, 0x86DD IPv6, 0x0806 ARP."""
    data: bytes
    """From the first byte behind the link's header."""
    at: float
    """Unix time, seconds."""
    outgoing: bool


OnSeen = Callable[[SeenPacket], None]


class PacketSocket:
    """Reads on the current event loop until closed. Raises CannotRun (status MISSING) without Capability.CAPTURE.

    `program`: what it lets in (`vpnprobe.transports.bpf`); `device`: the one that it is bound to, which is never passed over, None: all;
    `passed_over`: those of all that are left out, beside the ports of others.
    """

    def __init__(
        self,
        on_packet: OnSeen,
        program: bytes,
        *,
        device: str | None = None,
        passed_over: Iterable[str] = (),
        unix_time: Callable[[], float],
    ) -> None:
        self._on_packet = on_packet
        self._unix_time = unix_time
        self._buffer = bytearray(LARGEST_BYTES)
        self._is_bound = device is not None
        self._passed_over = dict.fromkeys(passed_over, True)
        self._drops = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._sock = _open(device, program)
        self._loop.add_reader(self._sock, self._readable)

    @property
    def drops(self) -> int:
        """Packets that this host had no room for, since the beginning: they were not seen."""
        if not self._closed:
            statistics = self._sock.getsockopt(linux.SOL_PACKET, linux.PACKET_STATISTICS, 8)
            self._drops += struct.unpack_from("=II", statistics)[1]  # The kernel counts from zero after each reading.
        return self._drops

    def close(self) -> None:
        """Hands over what has been captured already, then stops."""
        if self._closed:
            return
        self._loop.remove_reader(self._sock)
        while self._read_one():
            pass
        _ = self.drops
        self._closed = True
        self._sock.close()

    def _readable(self) -> None:
        for _ in range(BATCH):
            if self._closed or not self._read_one():
                return

    def _read_one(self) -> bool:
        """Whether there was one to read."""
        try:
            count, ancillary, _, source = self._sock.recvmsg_into([self._buffer], 128)
        except OSError:
            return False  # Nothing left, or a device went down.
        device, ethertype, kind = str(source[0]), int(source[1]), int(source[2])
        if kind != linux.PACKET_OTHERHOST and not self._passes_over(device):
            data = bytes(memoryview(self._buffer)[:count])
            at = _timestamp(ancillary) or self._unix_time()
            self._on_packet(SeenPacket(device, ethertype, data, at, kind == linux.PACKET_OUTGOING))
        return True

    def _passes_over(self, device: str) -> bool:
        if self._is_bound:
            return False
        known = self._passed_over.get(device)
        if known is None:
            known = self._passed_over[device] = _is_port_of_another(device)
        return known


def _open(device: str | None, program: bytes) -> socket.socket:
    if sys.platform != "linux":
        raise lacking(Capability.CAPTURE)
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(linux.ETH_P_ALL))
    except OSError as exc:
        raise lacking(Capability.CAPTURE) from exc
    sock.setblocking(False)
    linux.enlarge_receive_buffer(sock, RECEIVE_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, linux.SO_TIMESTAMPNS, 1)
    # The socket receives everything from its first moment on: close it, empty it, and only then let in what is asked for.
    _attach_filter(sock, NOTHING)
    if device is not None:
        sock.bind((device, linux.ETH_P_ALL))
    _empty(sock)
    _attach_filter(sock, program)
    return sock


def _is_port_of_another(device: str) -> bool:
    """Whether the device is a port of a bridge or bond: what passes it is seen on that one again."""
    return Path("/sys/class/net", device, "master").exists()


def _empty(sock: socket.socket) -> None:
    """Throws away what has been received."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(1)


def _attach_filter(sock: socket.socket, program: bytes) -> None:
    """Hands a BPF program to the kernel (struct sock_fprog)."""
    try:
        import ctypes
    except ImportError as exc:  # Small builds of Python come without it.
        sock.close()
        raise CannotRun("packets cannot be captured: this Python has no ctypes, install it", status=ExitStatus.MISSING) from exc
    instructions = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, linux.SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)))


def _timestamp(ancillary: linux.Ancillary) -> float | None:
    """Unix time, seconds; None where the kernel did not say."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, linux.SO_TIMESTAMPNS) and len(data) >= 16:
            seconds: int
            nanoseconds: int
            seconds, nanoseconds = struct.unpack_from("@ll", data)
            return seconds + nanoseconds / 1e9
    return None
