"""Other programs of an end host, which have ports open that nobody else can have then."""

import asyncio
import contextlib
import contextvars
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.transports.simulated.host import Host, UdpSocket
from vpnprobe.transports.simulated.tcp import TcpConnection
from vpnprobe.transports.stack import ConnectError, Datagram
from vpnprobe.transports.topology import TakenPort
from vpnprobe.wire.ip import IpProtocol, UdpDatagram


def take_port(host: Host, taken: TakenPort) -> None:
    """Opens the port for a program that says `taken.answer` to each datagram, or to the first data of each connection."""
    if taken.protocol == IpProtocol.TCP:
        host.sockets.listeners[taken.port] = lambda connection: _accept(connection, taken.answer)
        return

    def on_datagram(datagram: Datagram) -> None:
        address, port = datagram.source
        if taken.answer and isinstance(address, IPv4Address):
            answer = UdpDatagram(taken.port, port, taken.answer)
            host.send(IpProtocol.UDP, answer.encode(host.address, address), address)

    host.sockets.udp[taken.port] = UdpSocket(taken.port, on_datagram, None)


def _accept(connection: TcpConnection, answer: bytes) -> None:
    """The connection stays open until the other end closes it."""
    if answer:
        task = asyncio.get_running_loop().create_task(_say(connection, answer), context=contextvars.Context())
        _SAYING.add(task)
        task.add_done_callback(_SAYING.discard)


async def _say(connection: TcpConnection, answer: bytes) -> None:
    with contextlib.suppress(ConnectError):
        if await connection.receive():
            await connection.send(answer)


_SAYING: Final[set["asyncio.Task[None]"]] = set()
"""The loop itself keeps no task alive."""
