"""What tshark's list does not print and its earlier lines tell: ports, sequence numbers, and whose PPP and TLS it is."""

from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.printed.contents.base import NOWHERE
from vpnprobe.capture.printed.packets import Content
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

HOSTS_LIMIT: Final = 20_000
"""Most pairs of hosts of which something is remembered."""
ETHERNET_IP_TCP: Final = 54
"""Bytes before a TCP payload where nothing shows how many they are: no options."""

Way = tuple[str, str]


@dataclass(slots=True)
class Hosts:
    """Two hosts, one way."""

    ports: tuple[int, int] | None = None
    """Of the last TCP segment that had them printed."""
    next_sequence: int = 1
    overhead: int = ETHERNET_IP_TCP
    """Bytes of a frame before its TCP payload."""
    numbers: dict[str, int] = field(default_factory=dict)
    """How many messages of a protocol it has sent: their numbers are not printed."""

    def count(self, what: str) -> int:
        """How many there were before this one."""
        number = self.numbers.get(what, 0)
        self.numbers[what] = number + 1
        return number


class Flows:
    """The hosts of a trace."""

    def __init__(self) -> None:
        self._hosts: dict[Way, Hosts] = {}
        self._protocols: dict[frozenset[str], set[str]] = {}
        self._initiators: dict[frozenset[str], str] = {}

    def way(self, source: str, destination: str) -> Hosts:
        """What is known of packets from one host to the other."""
        found = self._hosts.get((source, destination))
        if found is None:
            found = Hosts()
            if len(self._hosts) < HOSTS_LIMIT:
                self._hosts[source, destination] = found
        return found

    def note(self, source: str, destination: str, protocol: str) -> None:
        """Remembers that a protocol was seen between two hosts."""
        if len(self._protocols) < HOSTS_LIMIT:
            self._protocols.setdefault(frozenset((source, destination)), set()).add(protocol)

    def has(self, source: str, destination: str, protocol: str) -> bool:
        """Whether a protocol was seen between two hosts."""
        return protocol in self._protocols.get(frozenset((source, destination)), ())

    def initiator(self, source: str, destination: str, *, opens: bool) -> str:
        """Who began to negotiate: who was seen to speak first, or opens anew."""
        hosts = frozenset((source, destination))
        if opens or hosts not in self._initiators:
            if len(self._initiators) >= HOSTS_LIMIT:
                return source
            self._initiators[hosts] = source
        return self._initiators[hosts]

    def segment(self, source: str, destination: str, payload: bytes, length: int, ports: tuple[int, int]) -> Content:
        """A TCP segment whose numbers are not printed: it goes on where the one before ended. `length`: of its payload, bytes."""
        way, back = self.way(source, destination), self.way(destination, source)
        segment = TcpSegment(
            *(way.ports or ports),
            sequence=way.next_sequence,
            acknowledgment=back.next_sequence,
            flags=int(TcpFlag.ACK | TcpFlag.PSH),
            payload=payload[:length],
        )
        way.next_sequence = (way.next_sequence + length) & 0xFFFFFFFF
        return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), 20 + length)
