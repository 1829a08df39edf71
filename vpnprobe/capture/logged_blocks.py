"""Packets of which a firewall's log says that it stopped them, as `[UFW BLOCK]` does: who sent them to whom, and how many.

A log has whatever the rule's author wrote before a packet. Only words that can mean nothing else count.
"""

from collections import Counter

from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import IpProtocol

FLOWS_LIMIT = 10_000
PORTS_BYTES = 4
"""Both ports, at the beginning of a TCP segment or a UDP datagram."""

Way = tuple[str, str, int, int]
"""Source, destination, IP protocol, and one of the ports; 0: there are none."""


class LoggedBlocks:
    """Of one trace."""

    def __init__(self) -> None:
        self._counts: Counter[Way] = Counter()

    def take(self, frame: Frame) -> None:
        """Counts a packet that its log says was stopped."""
        if not frame.logged_as_blocked or len(self._counts) >= FLOWS_LIMIT:
            return
        has_ports = frame.protocol in (IpProtocol.UDP, IpProtocol.TCP) and len(frame.data) >= PORTS_BYTES
        ports = {int.from_bytes(frame.data[at : at + 2], "big") for at in (0, 2)} if has_ports else {0}
        self._counts.update((frame.source, frame.destination, frame.protocol, port) for port in ports)

    def of(self, source: str, destination: str, protocol: int, port: int) -> int:
        """How many of one direction. `port`: the server's; 0: the protocol has none."""
        return self._counts[source, destination, protocol, port]
