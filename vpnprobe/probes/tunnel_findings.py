"""Names for what the echo requests through a tunnel show of its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.conversations.tunnel_echo import EchoRun, Request
from vpnprobe.evidence.named_failures import DATA_CUT, DATA_DEAD, LARGE_DEAD

LEAST_LARGE: Final = 4
"""Packets above some size that must all be missing before their size is blamed."""
LEAST_AFTER: Final = 10
"""Packets that must all be missing behind the last that was answered before the session is called cut."""
BY_CHANCE: Final = 1e-3
"""How likely it may be that the loss of what else was asked took them all: more, and nothing is called dead or cut for it."""


@dataclass(frozen=True, slots=True)
class DataFailure:
    """What a session shows whose echo requests were not all answered."""

    code: str
    """data-dead, data-large-dead, data-cut, or the protocol's own name."""
    detail: str


def echo_failure(run: EchoRun, asked: str, *, stream: bool, alive: str = "") -> DataFailure | None:
    """By name, what of the data did not come back; None: enough did, or there was nobody to ask.

    `asked`: whom, in words; `stream`: over TCP; `alive`: what else comes from the server, as a clause.
    """
    requests = [run.requests[number] for number in sorted(run.requests)]
    answered = [request.answered_at is not None for request in requests]
    if all(answered):
        return None
    if not any(answered):
        return DataFailure(DATA_DEAD, f"none of {len(requests)} echo requests to {asked} was answered{alive}")
    largest = max(r.outer_bytes for r in requests if r.answered_at is not None)
    above = [r.outer_bytes for r in requests if r.outer_bytes > largest]
    last = max(number for number, came in enumerate(answered) if came)
    after = sum(1 for r in requests[last + 1 :] if r.outer_bytes <= largest)
    ends = after >= LEAST_AFTER and _lost_share(requests[: last + 1], largest) ** after <= BY_CHANCE
    too_large = len(above) >= LEAST_LARGE and _lost_share(requests, largest) ** len(above) <= BY_CHANCE
    if too_large and not ends and (not stream or _all_below(requests, largest)):
        return DataFailure(LARGE_DEAD, f"packets of {min(above)} bytes and more vanish, {largest} bytes pass")
    if ends and stream and requests[last + 1].outer_bytes > largest:
        return DataFailure(LARGE_DEAD, f"a packet of {requests[last + 1].outer_bytes} bytes stops the connection, {largest} pass")
    if ends:
        return DataFailure(DATA_CUT, f"{last + 1} echo requests were answered, and none of the {len(requests) - last - 1} that followed")
    return None


def _lost_share(requests: Sequence[Request], largest: int) -> float:
    """Share that did not come back of those that are not larger, 0 to 1; some are."""
    lost = [request.answered_at is None for request in requests if request.outer_bytes <= largest]
    return sum(lost) / len(lost)


def _all_below(requests: Sequence[Request], largest: int) -> bool:
    """Whether all that is not larger came back."""
    return all(request.answered_at is not None for request in requests if request.outer_bytes <= largest)
