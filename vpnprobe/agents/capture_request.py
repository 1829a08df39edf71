"""The client asks for the server's capture: a summary of it, and then the payloads that it has not seen itself.

Parts are asked for several at a time, over as many connections as the control channel has: on a path that loses packets one connection
waits most of the time.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from vpnprobe.agents.control import Message, readable
from vpnprobe.agents.handover import known_payloads, missing, read_payloads, read_summary, restored
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Packet

MOST_BYTES: Final = 64 << 20
"""Of the summary and of the payloads."""
DEADLINE_S: Final = 40.0
"""For the whole of it: the verdict stands without, and a path that bad is not to keep anybody from it."""
AT_ONCE: Final = 4
"""Parts that are under way at a time."""
LEAST_PART: Final = 1 << 10
"""Bytes of a part that is not the last: a peer that hands it over by the byte is not waited for."""


class Ask(Protocol):
    """One request of the control channel. `place`: among those that are under way at a time."""

    def __call__(self, kind: str, *, place: int, **arguments: object) -> Awaitable[Message]: ...


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
        parts: list[bytes] = []
        for start in range(0, len(requests), AT_ONCE):
            if self.too_slow:
                return None
            asked = (self._ask(kind, place=place, **request) for place, request in enumerate(requests[start : start + AT_ONCE]))
            answers = await asyncio.gather(*asked)
            with readable(kind):
                parts += [_decoded(answer) for answer in answers]
        return parts


def _decoded(answer: Message) -> bytes:
    return base64.b64decode(str(answer.get("data")), validate=True)
