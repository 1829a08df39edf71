"""The path as a drawing: for each direction a figure with the hosts from top to bottom and one lane a kind of packet.

The client stands at the top and the server at the bottom in both figures, so that they can be laid side by side. A lane that gets
through joins both ends; one that does not ends in a cross between the last hop that it is shown to reach and the next, or in an open
end where the place is not known. All coordinates are SVG user units; nothing is judged here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vpnprobe.observations.schema import Direction, Observation, Outcome, Result
from vpnprobe.report.story import address_of, failing_direction, is_stopped, summed
from vpnprobe.report.words import direction_words, visible

MOST_HOPS: Final = 64
"""A trace is cut here: IP paths are shorter, and a damaged document must not fill the page."""
MOST_LANES: Final = 6
FEWEST_LANES: Final = 4
"""Room that is kept, so that figures side by side have the same scale."""
LABELS: Final = 138
"""Width of the column with the hosts' names."""
LANE: Final = 46
HEAD: Final = 46
"""Height of the lanes' names."""
ROW: Final = 58


class Host(NamedTuple):
    """A host on the path."""

    name: str
    address: str
    """Empty: it did not answer."""
    y: int
    is_end: bool


class Lane(NamedTuple):
    """One kind of packet in one direction."""

    name: str
    ports: str
    """The port or ports, or the form; empty where there is nothing to add."""
    tone: str
    """`good`, `fair` or `bad`."""
    x: int
    start: int
    stop: int
    """Where the line ends: at the other end, or at the last hop that is reached."""
    cross: int | None
    """Where the packets vanish; None: they arrive, or nobody knows."""
    lost: bool
    title: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One direction's drawing."""

    direction: Direction
    heading: str
    hosts: tuple[Host, ...]
    lanes: tuple[Lane, ...]
    width: int
    height: int
    traced: bool
    """False: no router answered, or none was asked."""
    title: str
    """The drawing in words, for who cannot see it."""
    left_out: int
    """Lanes that did not fit."""


def figures(result: Result) -> tuple[Figure, ...]:
    """The drawings of both directions; a direction about which nothing is known has none."""
    drawn = (figure(result, direction) for direction in (Direction.C2S, Direction.S2C))
    return tuple(one for one in drawn if one is not None)


def figure(result: Result, direction: Direction) -> Figure | None:
    """One direction's drawing, or None where nothing passed and nothing was stopped in it."""
    groups = _groups(result.observations, direction)
    if not groups:
        return None
    addresses = route(result, direction)
    count = len(addresses)
    downwards = direction is Direction.C2S
    tops = [HEAD + ROW // 2 + ROW * index for index in range(count + 2)]
    levels = tops if downwards else tops[::-1]
    hosts = _hosts(result, direction, addresses, levels)
    hops = (*addresses, _target(result, direction))
    lanes = tuple(_lane(group, LABELS + LANE // 2 + LANE * place, levels, hops) for place, group in enumerate(groups[:MOST_LANES]))
    return Figure(
        direction,
        direction_words(direction),
        hosts,
        lanes,
        width=LABELS + LANE * max(FEWEST_LANES, len(lanes)),
        height=HEAD + ROW * (count + 2),
        traced=bool(count),
        title="; ".join(lane.title for lane in lanes),
        left_out=max(0, len(groups) - MOST_LANES),
    )


def route(result: Result, direction: Direction) -> tuple[str, ...]:
    """The routers' addresses from the sender on, as the longest trace shows them; empty text for one that did not answer."""
    target = _target(result, direction)
    rows = [row for row in result.observations if row.direction is direction]
    longest = max((_trace(row, target) for row in rows if row.check == "trace"), key=len, default=())
    placed = max((_by_location(row, target) for row in rows), key=len, default=())
    if len(placed) <= len(longest):
        return longest
    return tuple(known or (longest[index : index + 1] and longest[index]) or "" for index, known in enumerate(placed))


def _target(result: Result, direction: Direction) -> str:
    """The addressee."""
    return address_of(result.run.server if direction is Direction.C2S else result.run.client)


def _trace(row: Observation, target: str) -> tuple[str, ...]:
    """A trace's routers; the addressee itself is none of them."""
    hops = row.detail.get("hops")
    known: dict[int, str] = {}
    for hop in hops if isinstance(hops, list | tuple) else ():
        ttl, address = (hop.get("ttl"), hop.get("address")) if isinstance(hop, dict) else (None, None)
        if isinstance(ttl, int) and 1 <= ttl <= MOST_HOPS and isinstance(address, str) and visible(address) != target:
            known[ttl] = visible(address)
    reached = row.detail.get("reached")
    last = reached - 1 if isinstance(reached, int) and 1 <= reached <= MOST_HOPS else max(known, default=0)
    return tuple(known.get(ttl, "") for ttl in range(1, last + 1))


def _by_location(row: Observation, target: str) -> tuple[str, ...]:
    place = row.location
    if place is None or not is_stopped(row) or not 0 <= place.last_hop < MOST_HOPS:
        return ()
    before = [""] * (place.last_hop - 1) + [visible(place.last_address or "")] if place.last_hop else []
    following = visible(place.next_address or "")
    return (*before, *([following] if following and following != target else []))


def _hosts(result: Result, direction: Direction, addresses: Sequence[str], levels: Sequence[int]) -> tuple[Host, ...]:
    client, server = Host("client", address_of(result.run.client), 0, True), Host("server", address_of(result.run.server), 0, True)
    sender, receiver = (client, server) if direction is Direction.C2S else (server, client)
    routers = [Host(f"hop {ttl}", address, levels[ttl], False) for ttl, address in enumerate(addresses, 1)]
    found = (sender._replace(y=levels[0]), *routers, receiver._replace(y=levels[-1]))
    return tuple(sorted(found, key=lambda host: host.y))


class _Group(NamedTuple):
    """Rows that make one lane."""

    rows: tuple[Observation, ...]
    tone: str
    last_hop: int | None
    """None: it arrives, or its place is not known."""
    following: str
    """Address of the next hop that is shown not to be reached; empty: none is."""
    alone: bool
    """No other lane has the same transport."""


def _groups(observations: Iterable[Observation], direction: Direction) -> list[_Group]:
    """The lanes of one direction, what gets through first within each transport."""
    found: dict[tuple[str, str, int, str], list[Observation]] = {}
    for row in observations:
        tone = _tone(row, direction)
        if tone and row.check not in ("trace", "nmap") and row.transport.value not in ("icmp", "ip"):
            place = row.location if tone == "bad" else None
            hop, following = (place.last_hop, visible(place.next_address or "")) if place is not None else (-1, "")
            found.setdefault((row.transport.value, tone, hop, following), []).append(row)
    order = {"tcp": 0, "udp": 1, "esp": 2, "gre": 3}
    keys = sorted(found, key=lambda key: (order.get(key[0], 9), key[1] == "bad", *key[1:]))
    transports = [key[0] for key in keys]
    return [_Group(tuple(found[key]), key[1], key[2] if key[2] >= 0 else None, key[3], transports.count(key[0]) == 1) for key in keys]


def _tone(row: Observation, direction: Direction) -> str:
    """The lane that a row belongs to in this direction; empty for none."""
    if row.outcome in (Outcome.PASS, Outcome.DEGRADED) and row.direction in (direction, Direction.BOTH):
        return "good" if row.outcome is Outcome.PASS else "fair"
    if row.outcome is Outcome.BLOCKED and failing_direction(row) is direction:
        return "bad"
    return ""


def _lane(group: _Group, x: int, levels: Sequence[int], hops: Sequence[str]) -> Lane:
    """`hops`: addresses of the routers and of the addressee."""
    kinds = ", ".join(summed(group.rows))
    lost = group.tone == "bad"
    start, stop, cross = levels[0], levels[-1], None
    if lost and group.last_hop is not None and group.last_hop < len(hops):
        stop = levels[group.last_hop]
        behind = [hop for hop, address in enumerate(hops, 1) if hop > group.last_hop and address == group.following]
        cross = (stop + levels[behind[0] if behind else group.last_hop + 1]) // 2
    elif lost:
        stop = (3 * levels[0] + levels[1]) // 4
    fate = {"good": "gets through", "fair": "gets through with losses or limits"}.get(group.tone, "does not arrive")
    return Lane(group.rows[0].transport.value.upper(), _beside(group), group.tone, x, start, stop, cross, lost, f"{kinds} {fate}")


def _beside(group: _Group) -> str:
    """What tells the lane from others of its transport, in few characters."""
    ports = {row.port for row in group.rows if row.port is not None}
    forms = {str(row.detail.get("form", "")) for row in group.rows}
    if ports:
        return str(*ports) if len(ports) == 1 else f"{len(ports)} ports"
    return "" if group.alone else visible(forms.pop())[:8] if len(forms) == 1 else ""
