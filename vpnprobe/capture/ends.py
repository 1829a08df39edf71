"""Which two addresses a capture is about, which of them is the client, and at which end it was taken.

The client is who opens: a TCP connection, a tunnel, a security association. The capturing end is known from the link layer's own word, else
from TTLs (at the sender a packet still has the TTL that systems begin with), else from turnaround times: the end that answers at once is
here, the other takes a round trip. Where nothing shows it, nothing is claimed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vpnprobe.capture.followers.base import CapturedMessage
from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.evidence.packet_counts import session_part
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.ip import IpProtocol

BEGINNING_TTLS: Final = frozenset((64, 128, 255))
OTHER_SERVICE_PORTS: Final = frozenset((53, 80, 443, 8443, 51194))
"""Ports on which servers are found besides those of the protocols themselves."""
SERVICE_PORTS: Final = OTHER_SERVICE_PORTS.union(*(spec.known_ports for spec in FOLLOWERS))
PAIRS_LIMIT: Final = 20_000
TURNAROUND_RATIO: Final = 3.0
"""How many times faster the near end must answer than the far one."""
AT_ONCE_S: Final = 0.001
"""Within that time a host's own stack answers. An end that takes longer is some way off, however much farther the other one is."""
TRANSPORTS: Final[frozenset[int]] = frozenset((IpProtocol.TCP, IpProtocol.UDP)).union(*(spec.ip_protocols for spec in FOLLOWERS))

Pair = frozenset[str]


@dataclass(frozen=True, slots=True)
class Ends:
    """The two addresses."""

    client: str
    server: str
    client_known: bool = True
    """False: the client is a guess."""


class EndsFinder:
    """Collects what tells the ends, frame by frame, in bounded memory."""

    def __init__(self) -> None:
        self.highest_ttl: dict[str, int] = {}
        """By source address; copies with a small TTL do not lower it."""
        self.ways: set[tuple[str, str]] = set()
        """Source and destination of all that was seen."""
        self._outgoing: Counter[str] = Counter()
        self._incoming: Counter[str] = Counter()
        self._servers: dict[Pair, Counter[str]] = defaultdict(Counter)
        self._last: dict[Pair, tuple[str, float]] = {}
        self._turnaround: dict[tuple[Pair, str], float] = {}

    def take(self, frame: Frame) -> None:
        if frame.protocol not in TRANSPORTS or len(self.highest_ttl) > PAIRS_LIMIT:
            return
        if frame.ttl is not None and frame.ttl > self.highest_ttl.get(frame.source, 0):
            self.highest_ttl[frame.source] = frame.ttl
        if frame.outgoing is not None:
            (self._outgoing if frame.outgoing else self._incoming)[frame.source] += 1
        ends = frozenset((frame.source, frame.destination))
        if len(self.ways) < PAIRS_LIMIT:
            self.ways.add((frame.source, frame.destination))
        if len(ends) == 2 and (ends in self._servers or len(self._servers) < PAIRS_LIMIT):
            self._ports(frame, ends)
            if frame.protocol == IpProtocol.TCP:
                self._turn(frame, ends)

    def _ports(self, frame: Frame, ends: Pair) -> None:
        source, destination = frame.ports
        if (source in SERVICE_PORTS) != (destination in SERVICE_PORTS):
            self._servers[ends][frame.source if source in SERVICE_PORTS else frame.destination] += 1

    def _turn(self, frame: Frame, ends: Pair) -> None:
        last = self._last.get(ends)
        if last is not None and last[0] != frame.source:
            slot = (ends, frame.source)
            self._turnaround[slot] = min(self._turnaround.get(slot, float("inf")), max(0.0, frame.at - last[1]))
        self._last[ends] = (frame.source, frame.at)

    def ends(self, captured_messages: Iterable[CapturedMessage]) -> Ends | None:
        """The pair that the VPN traffic is between; None: there is none."""
        weights: Counter[Pair] = Counter()
        clients: dict[Pair, Counter[str]] = defaultdict(Counter)
        sessions: set[tuple[Pair, str]] = set()
        for captured in captured_messages:
            pair = frozenset((captured.source[0], captured.destination[0]))
            if len(pair) != 2:
                continue
            weights[pair] += self._weight(captured, pair, sessions)
            if captured.from_client is not None:
                clients[pair][captured.source[0] if captured.from_client else captured.destination[0]] += 1
        if not weights:
            weights.update({pair: sum(votes.values()) for pair, votes in self._servers.items() if votes})
        if not weights:
            return None
        pair = max(weights, key=lambda ends: (weights[ends], sorted(ends)))
        return self._oriented(pair, clients[pair])

    def oriented(self, pair: Pair, captured_messages: Iterable[CapturedMessage]) -> Ends:
        """Which of two hosts is the client, by the messages between them."""
        openers = (c.source[0] if c.from_client else c.destination[0] for c in captured_messages if c.from_client is not None)
        return self._oriented(pair, Counter(address for address in openers if address in pair))

    @staticmethod
    def _weight(captured: CapturedMessage, pair: Pair, sessions: set[tuple[Pair, str]]) -> int:
        """What a message says for its pair. The data of a session counts once: a tunnel that works outweighs no question by its bytes."""
        if OF_SESSION not in captured.key:
            return 1000 if captured.own else 1
        session = (pair, session_part(captured.key))
        weight = int(session not in sessions)
        sessions.add(session)
        return weight

    def _oriented(self, pair: Pair, clients: Mapping[str, int]) -> Ends:
        first, second = sorted(pair)
        if clients:
            client = max(sorted(clients), key=lambda address: clients[address])
            return Ends(client, second if client == first else first)
        servers = self._servers.get(pair)
        if servers:
            server = max(sorted(servers), key=lambda address: servers[address])
            return Ends(second if server == first else first, server)
        return Ends(first, second, client_known=False)

    def local(self, ends: Ends) -> str | None:
        """The address at whose end the capture was taken; None: nothing shows it, or it was taken between the two."""
        pair = (ends.client, ends.server)
        out = [address for address in pair if self._outgoing[address] > self._incoming[address]]
        if len(out) == 1:
            return out[0]
        ttls = [self.highest_ttl.get(address) for address in pair]
        here = [address for address, ttl in zip(pair, ttls, strict=True) if ttl in BEGINNING_TTLS]
        known = [ttl for ttl in ttls if ttl is not None]
        if len(known) == 2 and len(here) == 1:
            return here[0]
        if len(known) == 2 and not here:
            return None
        if len(known) == 1:
            return here[0] if here else None
        return self._faster(pair)

    def _faster(self, pair: tuple[str, str]) -> str | None:
        ends = frozenset(pair)
        client, server = (self._turnaround.get((ends, address)) for address in pair)
        if client is None or server is None or min(client, server) > AT_ONCE_S:
            return None
        if client * TURNAROUND_RATIO < server:
            return pair[0]
        return pair[1] if server * TURNAROUND_RATIO < client else None

    def vantage(self, ends: Ends) -> Vantage | None:
        """At which end the capture was taken; None: nothing shows it."""
        local = self.local(ends)
        if local is None or not ends.client_known:
            return None
        return Vantage.CLIENT if local == ends.client else Vantage.SERVER
