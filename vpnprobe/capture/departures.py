"""Ends that had left a conversation before the last packets to them came: their ICMP errors refuse nothing.

A program that ends closes its port, and its host answers whatever still comes for it with port unreachable (RFC 1122 section 4.1.3.1).
That is no refusal of the conversation, which had gone both ways, and says nothing of the path. What was sent to an end that had left is no
trial.

An end has left where its own host refuses a packet of a session that had begun before that end was last heard, and it is never heard again
in the flow. A session that begins afterwards and is refused was refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.capture.followers.base import CapturedMessage
from vpnprobe.capture.followers.flows import HostPort
from vpnprobe.evidence.packet_counts import session_part
from vpnprobe.evidence.records import RefusalKind
from vpnprobe.wire.icmp import Quote

Flow = tuple[HostPort, HostPort, int]
"""Who sends to whom, and the IP protocol."""
DEPARTURES_LIMIT: Final = 10_000
"""Most flows whose ends are known to have left."""


@dataclass(frozen=True, slots=True)
class HostError:
    """An ICMP error that the packet's own addressee sent, with the packets that it may have quoted, likeliest first."""

    at: float
    kind: RefusalKind | None
    source: str
    quote: Quote
    quoted: Sequence[CapturedMessage]


class Departures:
    """Which ends of a capture's conversations had left, and since when."""

    def __init__(self, messages: Iterable[CapturedMessage], errors: Iterable[HostError]) -> None:
        self._since: dict[Flow, float] = {}
        """By the flow to the end that left: when the first packet to it that was refused left."""
        candidates = [(error, error.quoted[0]) for error in errors if _is_of_the_host(error) and error.quoted]
        if not candidates:
            return
        heard, begun = _timed(messages, {_flow(message) for _, message in candidates})
        for error, message in candidates:
            flow = _flow(message)
            last = heard.get((flow[1], flow[0], flow[2]))
            began = begun.get((flow, session_part(message.key)), error.at)
            if last is not None and began <= last <= error.at and len(self._since) < DEPARTURES_LIMIT:
                self._since[flow] = min(self._since.get(flow, error.at), _refused_at(error, message))

    def had_left(self, message: CapturedMessage) -> bool:
        """Whether a message was sent to an end that had left by then."""
        return bool(self._since) and message.at >= self._since.get(_flow(message), float("inf"))

    def explain(self, error: HostError) -> bool:
        """Whether an ICMP error came of an end's having left."""
        return _is_of_the_host(error) and bool(error.quoted) and _flow(error.quoted[0]) in self._since


def _is_of_the_host(error: HostError) -> bool:
    return error.kind is RefusalKind.PORT_UNREACHABLE and error.source == str(error.quote.destination)


def _refused_at(error: HostError, message: CapturedMessage) -> float:
    """When the packet left that an error quotes; where the capture does not hold it, when the error came."""
    exact = bool(error.quote.identification) and message.identification == error.quote.identification
    return min(message.at, error.at) if exact else error.at


def _flow(message: CapturedMessage) -> Flow:
    return message.source, message.destination, message.protocol


def _timed(messages: Iterable[CapturedMessage], flows: set[Flow]) -> tuple[dict[Flow, float], dict[tuple[Flow, str], float]]:
    """When each flow was last heard, and when each session of it was first heard, of these flows both ways."""
    heard: dict[Flow, float] = {}
    begun: dict[tuple[Flow, str], float] = {}
    for message in messages:
        flow = _flow(message)
        if flow in flows or (flow[1], flow[0], flow[2]) in flows:
            heard[flow] = max(heard.get(flow, message.at), message.at)
            session = (flow, session_part(message.key))
            begun[session] = min(begun.get(session, message.at), message.at)
    return heard, begun
