"""The client asks for the server's capture: a summary of it, and then the payloads that it has not seen itself.

Parts are asked for several at a time, over as many connections as the control channel has: on a path that loses packets one connection
waits most of the time.
"""

import asyncio
import base64
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from math import inf
from statistics import median
from typing import Final, Protocol

from vpnprobe.agents.control import Message, readable
from vpnprobe.agents.handover import known_payloads, missing, read_payloads, read_summary, restored
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Packet

MOST_BYTES: Final = 64 << 20
"""Of the summary and of the payloads."""
DEADLINE_S: Final = 40.0
"""For the whole of it: the verdict stands without, and a path that bad is not to keep anybody from it."""
AT_ONCE: Final = 12
"""Parts that are under way at a time."""
LATE_S: Final = 0.3
LATE: Final = 3.0
"""So many times longer than the others took, and LATE_S at least, a part is late."""
LEAST_PART: Final = 1 << 10
"""Bytes of a part that is not the last: a peer that hands it over by the byte is not waited for."""


class Ask(Protocol):
    """One request of the control channel. `place`: among those that are under way; each takes another connection."""

    def __call__(self, kind: str, *, place: int, **arguments: object) -> Coroutine[object, object, Message]: ...


class CaptureRequest:
    """One capture handed over."""

    def __init__(self, ask: Ask, now: Callable[[], float]) -> None:
        self._ask = ask
        self._now = now
        self._ends = now() + DEADLINE_S

    @property
    def too_slow(self) -> bool:
        """Whether the time for it is over."""
        return self._now() > self._ends

    async def run(self, client_ports: Sequence[tuple[str, int]] | None, own: Sequence[Packet]) -> list[Packet] | None:
        """The packets of the server's capture; None: it has none, or it could not be had in time.

        `client_ports`: transport and number of those that the probes used; None: a NAT changes them. `own`: the client's capture, which
        holds most of what the server's does. Raises CannotRun where the peer is gone, or what it says cannot be read.
        """
        first = await self._ask("capture", place=0, offset=0, client_ports=client_ports)
        if not first.get("kept"):
            return None
        with readable("capture"):
            data, total = _decoded(first), int(str(first.get("total")))
            if not min(total, LEAST_PART) <= len(data) <= total <= MOST_BYTES:
                raise DecodeError("data", 0, f"{len(data)} of {total} bytes are no part of a capture")
        size = max(1, len(data))
        lengths = [min(size, total - at) for at in range(size, total, size)]
        offsets: list[dict[str, object]] = [{"offset": at, "client_ports": client_ports} for at in range(size, total, size)]
        others = await self._parts("capture", offsets, lengths)
        if others is None:
            return None
        with readable("capture"):
            entries = read_summary(b"".join((data, *others)), most_bytes=MOST_BYTES)
            payloads = known_payloads(own)
        digests = missing(entries, payloads)
        found = await self._parts("payloads", [{"digests": base64.b64encode(b"".join(some)).decode()} for some in digests])
        if found is None:
            return None
        with readable("payloads"):
            for some, part in zip(digests, found, strict=True):
                payloads |= read_payloads(part, some)
            return list(restored(entries, payloads))

    async def _parts(self, kind: str, requests: Sequence[dict[str, object]], lengths: Sequence[int] = ()) -> list[bytes] | None:
        """What the answers hold, in the order of the requests; None: the time is over. `lengths`: bytes of each; empty: not known."""
        parts: dict[int, bytes] = {}
        under_way: dict[asyncio.Task[Message], tuple[int, float]] = {}
        waiting, took_s, asked = deque(range(len(requests))), list[float](), 0
        try:
            while len(parts) < len(requests):
                if self.too_slow:
                    return None
                while len(under_way) < AT_ONCE and (one := waiting.popleft() if waiting else self._late(under_way, took_s)) is not None:
                    asking = asyncio.get_running_loop().create_task(self._ask(kind, place=asked, **requests[one]))
                    under_way[asking], asked = (one, self._now()), asked + 1
                done, _ = await asyncio.wait(under_way, timeout=LATE_S, return_when=asyncio.FIRST_COMPLETED)
                for asking in done:
                    if asking not in under_way:
                        continue  # Another copy came at the same time.
                    one, began = under_way.pop(asking)
                    with readable(kind):
                        parts[one] = _decoded(asking.result(), lengths[one] if lengths else None)
                        if not lengths and sum(map(len, parts.values())) > MOST_BYTES:
                            raise DecodeError("data", 0, f"more than {MOST_BYTES} bytes are no payloads of a capture")
                    took_s.append(self._now() - began)
                    await _given_up([other for other, (part, _) in under_way.items() if part == one], under_way)
        finally:
            await _given_up(list(under_way), under_way)
        return [parts[part] for part in range(len(requests))]

    def _late(self, under_way: Mapping["asyncio.Task[Message]", tuple[int, float]], took_s: Sequence[float]) -> int | None:
        """A part that takes much longer than the others did and is asked for once so far: it is asked for over another connection too."""
        times = Counter(part for part, _ in under_way.values())
        longest_s = max(LATE_S, LATE * median(took_s)) if took_s else inf
        found = (part for part, began in under_way.values() if times[part] == 1 and self._now() - began > longest_s)
        return next(found, None)


async def _given_up(asking: Sequence["asyncio.Task[Message]"], under_way: dict["asyncio.Task[Message]", tuple[int, float]]) -> None:
    """Ends requests whose part has come, or is wanted no longer."""
    for one in asking:
        one.cancel()
        under_way.pop(one, None)
    await asyncio.gather(*asking, return_exceptions=True)


def _decoded(answer: Message, length: int | None = None) -> bytes:
    """Raises ValueError where it is no base64, and DecodeError where it is not as long as it is to be."""
    data = base64.b64decode(str(answer.get("data")), validate=True)
    if length is not None and len(data) != length:
        raise DecodeError("data", 0, f"{len(data)} bytes where {length} are to come")
    return data
