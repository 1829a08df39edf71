"""What this program's own sockets were and got: which UDP ports and raw protocols were open when, and each datagram that came out of them.

What a capture shows beside it and no socket got was kept in between, by this host (`endpoint.taken_packets`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple, cast

from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack, OnDatagram, RawPort, UdpPort
from vpnprobe.wire.ip import IpProtocol

ANY: Final = IPv4Address(0)
DIGEST_BYTES: Final = 8
MOST_CLOSED: Final = 4096
"""Sockets that are remembered after they were closed."""


class Slot(NamedTuple):
    """Where datagrams of one kind come in."""

    protocol: int
    """IP protocol."""
    port: int = 0
    """This host's own; 0: the protocol has none."""


@dataclass(slots=True)
class OpenTime:
    """When a socket was open."""

    from_s: float
    """On the network stack's clock."""
    from_unix: float
    """The same as Unix time, as captures have it."""
    address: Address
    """What it is bound to; unspecified: any of this host's."""
    to_s: float | None = None
    """None: it still is."""
    overflowed: bool = False
    """The kernel has dropped what its buffer did not hold: what it did not get then is nobody's doing but this program's."""

    def covers(self, from_s: float, to_s: float) -> bool:
        return self.from_s <= from_s and (self.to_s is None or self.to_s >= to_s)


OnDelivered = Callable[[Slot, Address, bytes], None]
"""Told where a datagram came in, who sent it, and what it holds."""


def digest_of(content: bytes) -> str:
    """What a datagram is known by at both ends where nothing in it can be read: 16 hex digits."""
    return blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


class SocketLog:
    """Of all sockets that are opened through `watched`."""

    def __init__(self, stack: NetworkStack) -> None:
        self.watched: NetworkStack = cast(NetworkStack, _WatchedStack(stack, self))
        """The same network stack, whose sockets this log knows."""
        self.listeners: list[OnDelivered] = []
        self._stack = stack
        self._open: dict[Slot, OpenTime] = {}
        """The newest socket of each slot."""

    def when_open(self, slot: Slot) -> OpenTime | None:
        """None: no socket of this program ever was."""
        return self._open.get(slot)

    def opened(self, slot: Slot, address: Address) -> None:
        self._open.pop(slot, None)
        self._open[slot] = OpenTime(self._stack.now(), self._stack.unix_time(), address)
        while len(self._open) > MOST_CLOSED:
            gone = next((slot for slot, when in self._open.items() if when.to_s is not None), None)
            if gone is None:
                return
            del self._open[gone]

    def closed(self, slot: Slot) -> None:
        when = self._open.get(slot)
        if when is not None and when.to_s is None:
            when.to_s = self._stack.now()

    def delivered(self, slot: Slot, datagram: Datagram) -> None:
        when = self._open.get(slot)
        if datagram.overflowed and when is not None:
            when.overflowed = True
        for listener in self.listeners:
            listener(slot, datagram.source.address, datagram.data)


class _WatchedStack:
    """A network stack that tells a log of its sockets for datagrams; all else is the stack's own."""

    def __init__(self, stack: NetworkStack, log: SocketLog) -> None:
        self._stack = stack
        self._log = log

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stack has
        return getattr(self._stack, name)

    async def udp(
        self,
        on_datagram: OnDatagram,
        *,
        port: int = 0,
        address: Address | None = None,
        on_refused: Callable[[Endpoint], None] | None = None,
    ) -> UdpPort:
        slots: list[Slot] = []

        def came(datagram: Datagram) -> None:
            for slot in slots:
                self._log.delivered(slot, datagram)
            on_datagram(datagram)

        opened = await self._stack.udp(came, port=port, address=address, on_refused=on_refused)
        slots.append(Slot(int(IpProtocol.UDP), opened.local.port))
        self._log.opened(slots[0], opened.local.address)
        return _WatchedUdpPort(opened, self._log, slots[0])

    def raw(self, protocol: int, on_datagram: OnDatagram, *, version: int = 4) -> RawPort:
        slot = Slot(protocol)

        def came(datagram: Datagram) -> None:
            if version == 4:
                self._log.delivered(slot, datagram)
            on_datagram(datagram)

        opened = self._stack.raw(protocol, came, version=version)
        if version != 4:
            return opened
        self._log.opened(slot, ANY)
        return _WatchedRawPort(opened, self._log, slot)


class _WatchedUdpPort:
    def __init__(self, port: UdpPort, log: SocketLog, slot: Slot) -> None:
        self._port = port
        self._log = log
        self._slot = slot

    @property
    def local(self) -> Endpoint:
        return self._port.local

    def send(self, data: bytes, to: Endpoint, *, ttl: int | None = None) -> bool:
        return self._port.send(data, to, ttl=ttl)

    def close(self) -> None:
        self._log.closed(self._slot)
        self._port.close()


class _WatchedRawPort:
    def __init__(self, port: RawPort, log: SocketLog, slot: Slot) -> None:
        self._port = port
        self._log = log
        self._slot = slot

    def send(self, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        return self._port.send(payload, to, ttl=ttl)

    def close(self) -> None:
        self._log.closed(self._slot)
        self._port.close()
