"""What leaves this host, device by device and with all protocols of the link; of one device also what comes in (Linux, AF_PACKET).

Packets begin behind the link's header. They are seen after the local firewall let them out:
what is seen on a device is on its wire. A program that bypasses the queueing discipline (PACKET_QDISC_BYPASS, AF_XDP) is not seen.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vpnprobe.transports.bpf import EVERYTHING, NOTHING, outgoing_program
from vpnprobe.transports.capabilities import lacking
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.system import linux
from vpnprobe.transports.system.capturing import (
    BATCH,
    LARGEST_BYTES,
    RECEIVE_BUFFER_BYTES,
    attach_filter,
    empty,
    is_port_of_another,
    timestamp,
)


@dataclass(frozen=True, slots=True)
class WatchedPacket:
    """A packet on a device."""

    device: str
    ethertype: int
    """Protocol of the link's payload: 0x0800 IPv4, 0x86DD IPv6, 0x0806 ARP."""
    data: bytes
    """From the first byte behind the link's header."""
    at: float
    """Unix time, seconds."""
    outgoing: bool


OnWatched = Callable[[WatchedPacket], None]


class DeviceWatch:
    """Reads on the current event loop until closed. Raises CannotRun (status MISSING) without Capability.CAPTURE.

    `device`: what comes and goes there; None: what leaves, on all devices but loopback and those that are ports of another.
    """

    def __init__(self, on_packet: OnWatched, *, device: str | None, unix_time: Callable[[], float]) -> None:
        self._on_packet = on_packet
        self._unix_time = unix_time
        self._buffer = bytearray(LARGEST_BYTES)
        self._passed_over: dict[str, bool] = {"lo": True}
        self._drops = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._sock = _open(device)
        self._loop.add_reader(self._sock, self._readable)

    @property
    def drops(self) -> int:
        """Packets that this host had no room for, since the beginning."""
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
            at = timestamp(ancillary) or self._unix_time()
            self._on_packet(WatchedPacket(device, ethertype, data, at, kind == linux.PACKET_OUTGOING))
        return True

    def _passes_over(self, device: str) -> bool:
        known = self._passed_over.get(device)
        if known is None:
            known = self._passed_over[device] = is_port_of_another(device)
        return known


def _open(device: str | None) -> socket.socket:
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
    attach_filter(sock, NOTHING)
    if device is not None:
        sock.bind((device, linux.ETH_P_ALL))
    empty(sock)
    attach_filter(sock, outgoing_program() if device is None else EVERYTHING)
    return sock
