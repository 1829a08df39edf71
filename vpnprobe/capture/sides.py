"""One end's captures, as they bear on one pair of hosts: who is the client, when they were taken, which addresses an end has had. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.reading import CaptureInput, PacketTrace
from vpnprobe.evidence.circumstances import Circumstances
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.records import PathFacts


@dataclass(frozen=True, slots=True)
class Side:
    """One end's traces."""

    file: str
    traces: tuple[PacketTrace, ...]
    ends: Ends | None
    """The pair of hosts that they are read for. None: there is no VPN traffic in them."""
    started: str | None
    """When its first packet was seen: date and time in UTC, or the time of day of a trace without dates."""
    clock_offset_s: float | None = None
    """Of a server's side: how far its clock is ahead of the client's, seconds; None: not known."""

    @property
    def decoders(self) -> list[Decoder]:
        return [trace.decoder for trace in self.traces]

    @property
    def own(self) -> bool:
        """Whether they are of a vpnprobe run."""
        return any(decoder.own for decoder in self.decoders)

    @property
    def addresses(self) -> tuple[frozenset[str], frozenset[str]]:
        """All addresses that the captures show the client and the server to have had: an end may move. Empty: there is no VPN traffic."""
        if self.ends is None:
            return frozenset(), frozenset()
        found = [decoder.moves.addresses(self.ends) for decoder in self.decoders]
        return frozenset().union(*(clients for clients, _ in found)), frozenset().union(*(servers for _, servers in found))

    @property
    def ways(self) -> set[tuple[str, str]]:
        """Source and destination of everything that the captures hold."""
        return {way for decoder in self.decoders for way in decoder.finder.ways}

    @property
    def watched(self) -> tuple[float, float] | None:
        """From its first to its last frame; None: there is none, and the end saw nothing all the time."""
        seen = [decoder for decoder in self.decoders if decoder.frames]
        return (min(one.first_at for one in seen), max(one.last_at for one in seen)) if seen else None

    @property
    def circumstances(self) -> Circumstances | None:
        """What the end of a run of ours noted; None: nothing."""
        return next((trace.circumstances for trace in self.traces if trace.circumstances is not None), None)

    def noted(self, facts: PathFacts, vantage: Vantage) -> PathFacts:
        """The facts with what the end noted."""
        noted = self.circumstances
        return facts if noted is None else noted.told(facts, vantage.value)


def side_of(capture: CaptureInput, traces: Sequence[PacketTrace], ends: Ends | None) -> Side:
    """Traces of one input, read for a pair of hosts."""
    seen = [trace for trace in traces if trace.first_at is not None]
    return Side(capture.file, tuple(traces), ends, _started(seen[0]) if seen else None)


def _started(trace: PacketTrace) -> str:
    moment = datetime.fromtimestamp(trace.first_at or 0.0, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if trace.dated else f"{moment:%H:%M:%S}"


def known(side: Side, vantage: Vantage) -> Ends | None:
    """The ends, where who the client is follows from where the capture was taken."""
    if side.ends is None or side.ends.client_known:
        return side.ends
    local = next((found for d in side.decoders if (found := d.finder.local(side.ends)) is not None), None)
    is_client = (local == side.ends.client) == (vantage is Vantage.CLIENT)
    if local is None or is_client:
        return side.ends
    return Ends(client=side.ends.server, server=side.ends.client)


def oriented(side: Side, other: Side, vantage: Vantage) -> Side:
    """Takes over from the other end who the client is, where this one does not show it."""
    if side.ends is None or side.ends.client_known:
        return side
    if other.ends is not None and other.ends.client_known:
        ours = (side.ends.client, side.ends.server)
        if other.ends.client == ours[1] or other.ends.server == ours[0]:
            return replace(side, ends=Ends(ours[1], ours[0]))
        if other.ends.client == ours[0] or other.ends.server == ours[1]:
            return replace(side, ends=Ends(*ours))
    return replace(side, ends=known(side, vantage))
