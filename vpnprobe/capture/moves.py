"""Conversations whose ends move: a packet from or to a later address belongs to what began between earlier ones.

Followers know which conversations have moved, and where to (`followers.base.Moved`). What is said of the two ends of a path is said of all
packets of their conversations, wherever those stand by then: a moved packet is read as if it stood between the addresses that are asked
about. Ports are those of the beginning, so that a packet bears on the same check before and after a move. Pure.
"""

from collections.abc import Iterable
from dataclasses import replace

from vpnprobe.capture.ends import Ends
from vpnprobe.capture.followers.base import CapturedMessage
from vpnprobe.capture.followers.flows import HostPort, Moved

Way = tuple[HostPort, HostPort]
"""Sender and receiver."""


class Moves:
    """All conversations of one capture that have moved."""

    def __init__(self, moved: Iterable[Moved]) -> None:
        self._beginnings: dict[Way, Way] = {}
        self._ways: dict[Way, tuple[Way, ...]] = {}
        """By the way at the beginning: that one and all later ones, in order."""
        for one in moved:
            for turn in (1, -1):
                first, *later = ((pair[::turn][0], pair[::turn][1]) for pair in (one.ends, *one.later))
                self._ways.setdefault(first, (first, *later))
                for way in (first, *later):
                    self._beginnings.setdefault(way, first)

    def begun(self, captured: CapturedMessage) -> CapturedMessage:
        """The message as it would stand at the beginning of its conversation."""
        first = self._beginnings.get((captured.source, captured.destination))
        return captured if first is None else replace(captured, source=first[0], destination=first[1])

    def pairs(self, captured: CapturedMessage) -> set[frozenset[str]]:
        """All pairs of hosts that the message's conversation has been between."""
        way = (captured.source, captured.destination)
        first = self._beginnings.get(way)
        return {frozenset((one[0][0], one[1][0])) for one in (self._ways[first] if first is not None else (way,))}

    def between(self, captured: CapturedMessage, ends: Ends) -> CapturedMessage | None:
        """The message as it would stand between these two; None: its conversation has never been between them."""
        way = (captured.source, captured.destination)
        first = self._beginnings.get(way)
        asked = {ends.client, ends.server}
        if first is None:
            return captured if {way[0][0], way[1][0]} == asked else None
        found = next((one for one in self._ways[first] if {one[0][0], one[1][0]} == asked), None)
        if found is None:
            return None
        return replace(captured, source=(found[0][0], first[0][1]), destination=(found[1][0], first[1][1]))

    def addresses(self, ends: Ends) -> tuple[frozenset[str], frozenset[str]]:
        """All addresses that the client is shown to have had in conversations with this server, and the server with this client."""
        clients, servers = {ends.client}, {ends.server}
        for ways in self._ways.values():
            if any((source[0], destination[0]) == (ends.client, ends.server) for source, destination in ways):
                clients.update(source[0] for source, _ in ways)
                servers.update(destination[0] for _, destination in ways)
        return frozenset(clients), frozenset(servers)
