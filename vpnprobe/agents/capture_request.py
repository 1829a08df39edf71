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
AT_ONCE: Final = 8
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
        offsets = range(len(data), total, max(1, len(data)))
        others = await self._parts("capture", [{"offset": at, "client_ports": client_ports} for at in offsets])
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
                payloads |= read_payloads(part, some, most_bytes=MOST_BYTES)
            return list(restored(entries, payloads))

    async def _parts(self, kind: str, requests: Sequence[dict[str, object]]) -> list[bytes] | None:
        """What the answers hold, in the order of the requests; None: the time is over."""
        answers: dict[int, Message] = {}
        under_way: dict[asyncio.Task[Message], tuple[int, float]] = {}
        waiting, took_s, asked = deque(range(len(requests))), list[float](), 0
        try:
            while len(answers) < len(requests):
                if self.too_slow:
                    return None
                while len(under_way) < AT_ONCE and (part := waiting.popleft() if waiting else self._late(under_way, took_s)) is not None:
                    asking = asyncio.get_running_loop().create_task(self._ask(kind, place=asked, **requests[part]))
                    under_way[asking], asked = (part, self._now()), asked + 1
                done, _ = await asyncio.wait(under_way, timeout=LATE_S, return_when=asyncio.FIRST_COMPLETED)
                for asking in done:
                    part, began = under_way.pop(asking)
                    answers.setdefault(part, asking.result())
                    took_s.append(self._now() - began)
        finally:
            for asking in under_way:
                asking.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        with readable(kind):
            return [_decoded(answers[part]) for part in range(len(requests))]

    def _late(self, under_way: Mapping["asyncio.Task[Message]", tuple[int, float]], took_s: Sequence[float]) -> int | None:
        """A part that takes much longer than the others did and is asked for once so far: it is asked for over another connection too."""
        times = Counter(part for part, _ in under_way.values())
        longest_s = max(LATE_S, LATE * median(took_s)) if took_s else inf
        found = (part for part, began in under_way.values() if times[part] == 1 and self._now() - began > longest_s)
        return next(found, None)


def _decoded(answer: Message) -> bytes:
    return base64.b64decode(str(answer.get("data")), validate=True)
