"""Raw IP of the operating system: sockets of one IP protocol, and whole packets with a header of our own making.

An open raw socket of a protocol keeps the kernel from answering its packets with ICMP protocol-unreachable, which a capture alone
does not. The IPv4 header is stripped from what arrives; IPv6 raw sockets never show it (RFC 3542 section 3).
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.transports.capabilities import lacking
from vpnprobe.transports.stack import Address, Capability, Datagram, Endpoint, OnDatagram
from vpnprobe.transports.system.addresses import FAMILIES
from vpnprobe.transports.system.datagrams import Arrival, DatagramSocket

_SHORTEST_HEADER: Final = 20
"""Bytes of an IPv4 header without options."""


def open_raw_socket(version: int, protocol: int) -> socket.socket:
    """Raises CannotRun (status MISSING)."""
    try:
        return socket.socket(FAMILIES[version], socket.SOCK_RAW, protocol)
    except OSError as exc:
        raise lacking(Capability.RAW_IP) from exc


class SystemRawPort:
    """A raw socket of one IP protocol and version. Raises CannotRun (status MISSING)."""

    def __init__(self, protocol: int, on_datagram: OnDatagram, *, version: int, clock: Callable[[], float]) -> None:
        def arrived(arrival: Arrival) -> None:
            datagram = _stripped(arrival, clock()) if version == 4 else _whole(arrival, clock())
            if datagram is not None:
                on_datagram(datagram)

        self._version = version
        self._socket = DatagramSocket(open_raw_socket(version, protocol), version=version, on_arrival=arrived, on_refused=None)

    def send(self, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        return to.version == self._version and self._socket.send(payload, Endpoint(to, 0), ttl=ttl)

    def close(self) -> None:
        self._socket.close()


def _stripped(arrival: Arrival, now: float) -> Datagram | None:
    """What follows the IPv4 header, with the header's TTL; None where the header is not whole."""
    packet = arrival.data
    if len(packet) < _SHORTEST_HEADER:
        return None
    header = (packet[0] & 0x0F) * 4
    if not _SHORTEST_HEADER <= header <= len(packet):
        return None
    return Datagram(packet[header:], Endpoint(arrival.source.address, 0), now, packet[8], arrival.overflowed)


def _whole(arrival: Arrival, now: float) -> Datagram:
    return Datagram(arrival.data, Endpoint(arrival.source.address, 0), now, arrival.ttl, arrival.overflowed)


class PacketSender:
    """Sends whole IPv4 packets; the kernel fills in the total length and the header's checksum. Raises CannotRun (status MISSING)."""

    def __init__(self) -> None:
        self._socket = open_raw_socket(4, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        self._socket.setblocking(False)

    def send(self, packet: bytes) -> bool:
        """Whether the kernel took it (not too long, a route, no local filter); raises nothing."""
        try:
            self._socket.sendto(packet, (str(IPv4Address(packet[16:20])), 0))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
