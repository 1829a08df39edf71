"""The frames of one conversation, counted by their sender: its ends wherever they move, gaps in what they number, its summary."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

from vpnprobe.capture.account import Account, Fact
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.numbering import Numbering
from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary, Transport
from vpnprobe.wire.ip import IpProtocol

WHOLE_BYTES: Final = 1500
"""Of an IP payload. Where a host leaves segmentation to its interface (UDP GSO, GRO), a larger frame holds several datagrams."""
TOLD_FROM: Final = 1000
"""One that is missing is told of so many numbers at most: fewer losses are none worth a word."""
EARLIEST_DATE: Final = 366 * 86_400.0
"""Times below are those of printed traces without dates."""
ROAMED_SHOWN: Final = 32
"""Most later places of a conversation that its summary names."""
TOLD: Final = 3
"""Most of them that are told in words, of each end."""
MOVES_LIMIT: Final = 64
"""Most moves of one conversation that are followed."""
HostPort = tuple[str, int | None]
"""Address and port; None: the protocol has no ports."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A conversation an end of which went on from another address or port."""

    ends: tuple[HostPort, HostPort]
    """At its beginning."""
    later: tuple[tuple[HostPort, HostPort], ...]
    """The pairs that it was between later, in order, each with its ends in the same order."""


class Flow:
    """The frames of one conversation, counted by their sender."""

    def __init__(self, protocol: str, transport: Transport, source: HostPort, destination: HostPort) -> None:
        self.protocol = protocol
        self.transport = transport
        self.ends = (source, destination)
        self.client: HostPort | None = None
        """Who opened it; None: nothing shows that."""
        self.counts = {source: 0, destination: 0}
        self.cut = 0
        """Packets of which the capture holds only the beginning."""
        self.first_frame = self.last_frame = 0
        self.first_at = self.last_at = 0.0
        self.counts_numbers = True
        """Whether what its packets are numbered by is followed."""
        self._numbering: dict[HostPort, Numbering] = {}
        """By sender."""
        self._later: list[tuple[HostPort, HostPort]] = []
        """Pairs that it has moved to, with the ends in the order of `ends`."""
        self._carrier: str | None = None
        """The tunnel that its first frame was in; None: in none."""
        self._places: dict[HostPort, tuple[HostPort, int]] = {}
        """By later place of an end: which end that is, and the frame that shows it there."""

    def count(self, frame: Frame, sender: HostPort) -> None:
        if not any(self.counts.values()):
            self.first_frame, self.first_at = frame.number, frame.at
            self._carrier = frame.carrier
        self.counts[sender] += 1
        self.cut += frame.cut
        self.last_frame, self.last_at = frame.number, max(self.last_at, frame.at)

    def numbered(self, sender: HostPort, series: object, number: int | None, frame: Frame) -> None:
        """Notes what a packet is counted by, one after another. `series`, `number`: as of `Numbering.take`."""
        if self.counts_numbers:
            several = frame.protocol == IpProtocol.UDP and frame.length > WHOLE_BYTES
            self._numbering.setdefault(sender, Numbering()).take(series, None if several else number, frame.number)

    def adopt(self, counts: Mapping[HostPort, int], first: Frame | None, last: Frame | None = None, cut: int = 0) -> None:
        """Takes over what was counted before the protocol was known."""
        self.cut += cut
        for end, count in counts.items():
            self.counts[end] += count
        if first is not None:
            last = last or first
            self._carrier = first.carrier
            self.first_frame, self.first_at = first.number, first.at
            self.last_frame, self.last_at = last.number, last.at

    def move(self, source: HostPort, destination: HostPort, number: int) -> bool:
        """Notes that the conversation goes on between these, one of which is known. False: it has moved too often to be followed there.

        `number`: of the frame that shows it.
        """
        if len(self._later) >= MOVES_LIMIT:
            return False
        forward = self.end(source) == self.ends[0] or self.end(destination) == self.ends[1]
        later = (source, destination) if forward else (destination, source)
        self._later.append(later)
        for end, place in zip(self.ends, later, strict=True):
            self._place(end, place, number)
        return True

    def _place(self, end: HostPort, place: HostPort, number: int) -> None:
        if place not in self.ends:
            self._places.setdefault(place, (end, number))

    def end(self, place: HostPort) -> HostPort:
        """The end that is or was at an address and port, as it was at the beginning."""
        found = self._places.get(place)
        return place if found is None else found[0]

    def join(self, later: "Flow", known: HostPort) -> bool:
        """Takes over another flow, which turned out to be this conversation after a move. False: it has moved too often for that.

        `known`: a place of the end that did not move.
        """
        if len(self._later) + len(later._later) >= MOVES_LIMIT:
            return False
        same = self.end(known)
        ends = {later.end(known): same, later.other(later.end(known)): self.other(same)}
        self.cut += later.cut
        for end, count in later.counts.items():
            self.counts[ends[end]] += count
        for end, numbering in later._numbering.items():
            self._numbering.setdefault(ends[end], Numbering()).adopt(numbering)
        for source, destination in (later.ends, *later._later):
            for place in (source, destination):
                end, number = later._places.get(place, (place, later.first_frame))
                self._place(ends[end], place, number)
            forward = ends[later.end(source)] == self.ends[0]
            self._later.append((source, destination) if forward else (destination, source))
        if self.client is None and later.client is not None:
            self.client = ends[later.client]
        self.last_frame, self.last_at = max(self.last_frame, later.last_frame), max(self.last_at, later.last_at)
        return True

    @property
    def moved(self) -> Moved | None:
        """Where it has moved to; None: nowhere."""
        return Moved(self.ends, tuple(self._later)) if self._later else None

    def other(self, end: HostPort) -> HostPort:
        return self.ends[1] if end == self.ends[0] else self.ends[0]

    @property
    def both_ways(self) -> bool:
        return len(self.counts) == 2 and all(self.counts.values())

    def guessed_client(self) -> HostPort:
        """The client, or the lower-numbered end where nothing shows who it is."""
        return self.client if self.client is not None else min(self.ends, key=_order)

    def summary(
        self, stage: str, detail: Mapping[str, Any] | None = None, findings: Iterable[str] = (), *, account: Account | None = None
    ) -> ConversationSummary:
        """`account`: what was said in it; None: nothing is known of single messages."""
        client = self.guessed_client()
        server = self.other(client)
        dated = self.first_at >= EARLIEST_DATE
        return ConversationSummary(
            protocol=self.protocol,
            client=ConversationEndpoint(*client),
            server=ConversationEndpoint(*server),
            stage=stage,
            transport=self.transport,
            frames_c2s=self.counts[client],
            frames_s2c=self.counts[server] if server != client else 0,
            first_frame=self.first_frame or None,
            last_frame=self.last_frame or None,
            started=datetime.fromtimestamp(self.first_at, UTC).isoformat().replace("+00:00", "Z") if dated else None,
            duration_s=round(max(0.0, self.last_at - self.first_at), 6),
            detail=self._detail(client, {**(detail or {}), **self._accounted(account)}),
            findings=(*findings, *self._told_carrier(), *self._told_cut(), *self._told_moves(client)),
        )

    def _detail(self, client: HostPort, known: Mapping[str, Any]) -> dict[str, Any]:
        facts = [*known.get("facts", ()), *self._missing(client)]
        return {"client_known": self.client is not None, **known, **self._roamed(client), **({"facts": facts} if facts else {})}

    def _missing(self, client: HostPort) -> Iterable[Fact]:
        """The numbers between those of packets that were seen. TCP repeats what is lost, so that they tell nothing there."""
        if self.transport is Transport.TCP:
            return
        found: list[Fact] = []
        for end, (by, to) in ((client, ("client", "server")), (self.other(client), ("server", "client"))):
            missing, span, frames = self._numbering[end].missing if end in self._numbering else (0, 0, [])
            if missing and missing * TOLD_FROM >= span:
                found.append({"fact": "numbers-missing", "by": by, "to": to, "times": missing, "of": span, "frames": frames})
        yield from sorted(found, key=lambda fact: -fact["times"])

    def _accounted(self, account: Account | None) -> dict[str, Any]:
        if account is None:
            return {}
        left_out = {"ladder_left_out": account.rungs_left_out} if account.rungs_left_out else {}
        return {"facts": account.facts(), "ladder": account.ladder(self.first_at), **left_out}

    def _roamed(self, client: HostPort) -> dict[str, Any]:
        """The further places of both ends, in the order in which they were seen."""
        shown = list(self._places.items())[:ROAMED_SHOWN]
        rows = [
            {"end": "client" if end == client else "server", "address": place[0], "port": place[1], "frame": number}
            for place, (end, number) in shown
        ]
        return {"roamed": rows} if rows else {}

    def _told_carrier(self) -> Iterable[str]:
        if self._carrier is not None:
            yield f"It was seen inside {self._carrier}, which carried it here."

    def _told_cut(self) -> Iterable[str]:
        if self.cut:
            whole = sum(self.counts.values())
            yield f"The capture cut {self.cut} of its {whole} packets short: it came at least as far as their beginnings show."

    def _told_moves(self, client: HostPort) -> Iterable[str]:
        """The same in words."""
        for end, name in ((client, "client"), (self.other(client), "server")):
            places = [f"{place[0]} port {place[1]}" for place, (whose, _) in self._places.items() if whose == end]
            if places:
                more = f" and {len(places) - TOLD} more places" if len(places) > TOLD else ""
                yield f"The {name} moved within the conversation, which went on from {', then '.join(places[:TOLD])}{more}."


def _order(end: HostPort) -> tuple[int, int, str, int]:
    try:
        address = ip_address(end[0].partition("%")[0])
    except ValueError:
        return (9, 0, end[0], end[1] or 0)
    return (address.version, int(address), "", end[1] or 0)
