"""What echo requests show of a tunnel: data both ways, the largest packet, the speed, and whether anything beyond the server answers.

Nobody outside is asked: the server's own end of the tunnel answers, or the routers behind it do, to requests whose TTL ends there on
the way to an address that nobody has (RFC 5737). A server whose firewall lets nothing in still forwards, and says so of a TTL of 1.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from vpnprobe.deployment.verification.echoes import Back, EchoSocket
from vpnprobe.transports.stack import Address

EVERY_S: Final = 0.25
LEAST_WAIT_S: Final = 0.35
LONGEST_WAIT_S: Final = 1.0
COPIES: Final = 3
"""Of each size: one that is lost by chance proves nothing."""
SIZES_AT_ONCE: Final = 12
LEAST_SIZE_BYTES: Final = 576
"""What every host must take (RFC 791)."""
MOST_HOPS: Final = 4
FLOOD_S: Final = 0.7
FIRST_WINDOW: Final = 8
LARGEST_WINDOW: Final = 256
FLOOD_BYTES: Final = 1200
"""Of a packet: fits every tunnel that works at all."""


@dataclass(frozen=True, slots=True)
class Data:
    """Whether data passes both ways."""

    gateway: Address | None
    """Who answered from the server's end; None: nobody did."""
    sent: int
    answered: int
    delay_s: float | None
    """Median there and back."""
    by: str
    """How: `echo reply`, `time exceeded`, ...; empty: nothing came back."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a packet gets there and back."""

    mtu_bytes: int
    largest_bytes: int | None
    """None: nobody answers."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """Who answers from behind the server."""

    source: Address | None
    """None: nobody."""
    hops: int
    refused_by: str
    """The server's own words where it sends nothing on; empty: it says nothing."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Of echo requests, which go both ways."""

    megabits_s: float | None
    """Each way; None: nobody answers."""
    answered: int
    sent: int
    lasted_s: float


def patience_s(delay_s: float | None) -> float:
    """How long an answer is waited for."""
    return LONGEST_WAIT_S if delay_s is None else min(LONGEST_WAIT_S, max(LEAST_WAIT_S, 3 * delay_s))


async def data_trial(sock: EchoSocket, candidates: Sequence[Address], outside: Address, *, lasting_s: float) -> Data:
    """Asks all candidates for the server's end, and sends requests that must die there; ends early once there are enough answers."""
    asked: list[int] = []
    until = time.monotonic() + lasting_s
    while True:
        asked += [number for to in candidates if (number := sock.send(to)) is not None]
        asked += [number] if (number := sock.send(outside, ttl=1)) is not None else []
        came = await sock.wait(asked, EVERY_S)
        if len([one for one in came if not one.error]) >= COPIES or time.monotonic() > until:
            return _data(came, len(asked))
        await asyncio.sleep(EVERY_S / 2)


def _data(came: Sequence[Back], sent: int) -> Data:
    replies = [one for one in came if not one.error]
    best = replies or list(came)
    if not best:
        return Data(None, sent, 0, None, "")
    return Data(best[0].source, sent, len(best), median(one.delay_s for one in best), best[0].error or "echo reply")


async def size_trial(sock: EchoSocket, gateway: Address, mtu_bytes: int, delay_s: float | None) -> Size:
    """The largest of the sizes between 576 bytes and the tunnel's MTU that is answered, to the byte."""
    low, high = 0, mtu_bytes + 1
    sizes = _between(min(LEAST_SIZE_BYTES, mtu_bytes) - 1, mtu_bytes)
    while sizes:
        passed = await _passed(sock, gateway, sizes, patience_s(delay_s))
        low = max((size for size in sizes if size in passed), default=low)
        high = min((size for size in sizes if size > low), default=high)
        if low == 0 or low == mtu_bytes:
            break
        sizes = _between(low, high - 1)
    return Size(mtu_bytes, low or None)


def _between(low: int, high: int) -> list[int]:
    """Sizes above `low` up to `high`, evenly spread, the highest among them; empty: there is none."""
    count = min(SIZES_AT_ONCE, high - low)
    return sorted({low + (high - low) * step // count for step in range(1, count + 1)}) if count > 0 else []


async def _passed(sock: EchoSocket, gateway: Address, sizes: Sequence[int], wait_s: float) -> set[int]:
    asked = {number: size for _ in range(COPIES) for size in sizes if (number := sock.send(gateway, size_bytes=size)) is not None}
    deadline = time.monotonic() + wait_s
    passed: set[int] = set()
    while len(passed) < len(sizes) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        passed = {asked[number] for number in asked if number in sock.back and not sock.back[number].error}
    return passed


async def beyond_trial(sock: EchoSocket, outside: Sequence[Address], server: Collection[Address], delay_s: float | None) -> Beyond:
    """Requests with growing TTLs. `server`: its addresses; an answer from one of them is none from beyond.

    Few at once: a router sends about six errors to one asker, and then one a second.
    """
    asked = {number: ttl for ttl in range(1, MOST_HOPS + 1) for to in outside if (number := sock.send(to, ttl=ttl)) is not None}
    came = await sock.wait(asked, patience_s(delay_s))
    first_hop = {one.source for one in came if asked[one.sequence] == 1} | set(server)
    behind = sorted((asked[one.sequence], str(one.source), one.source) for one in came if one.source not in first_hop)
    if behind:
        hops, _, source = behind[0]
        return Beyond(source, hops, "")
    refused = next((one.error for one in came if asked[one.sequence] > 1 and one.error.startswith("unreachable")), "")
    return Beyond(None, 0, refused)


async def speed_trial(sock: EchoSocket, to: Address, *, lasting_s: float = FLOOD_S, size_bytes: int = FLOOD_BYTES) -> Speed:
    """As many requests on the way as are answered: two for each answer until the window is full, then one; ends after `lasting_s`."""
    state = {"sent": 0, "answered": 0, "window": FIRST_WINDOW, "last": 0.0}
    began = time.monotonic()

    def send() -> bool:
        taken = sock.send(to, size_bytes=size_bytes) is not None
        state["sent"] += taken
        return taken

    def came(one: Back) -> None:
        if one.error or time.monotonic() > began + lasting_s:
            return
        state["answered"] += 1
        state["last"] = time.monotonic() - began
        state["window"] = min(LARGEST_WINDOW, state["window"] + 1)
        while state["sent"] - state["answered"] < state["window"] and send():
            pass

    for _ in range(FIRST_WINDOW):
        send()
    sock.on_back = came
    try:
        await _until_still(state, began, lasting_s)
    finally:
        sock.on_back = lambda _: None
    answered = int(state["answered"])
    speed = answered * size_bytes * 8 / state["last"] / 1e6 if answered and state["last"] else None
    return Speed(None if speed is None else round(speed, 2), answered, int(state["sent"]), round(state["last"], 3))


async def _until_still(state: dict[str, float], began: float, lasting_s: float) -> None:
    """Time is up, or nothing was answered for half of it."""
    while (passed := time.monotonic() - began) < lasting_s and passed - state["last"] < lasting_s / 2:
        await asyncio.sleep(0.02)
