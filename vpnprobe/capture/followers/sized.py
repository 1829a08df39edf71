"""The conversations over UDP of which sizes alone are known, whatever their protocol."""

from collections.abc import Callable, Iterable
from typing import Protocol

from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, ends_of, pair
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.observations.schema import ConversationSummary


class Sized(Protocol):
    """One pair of addresses and ports that may be a conversation of one protocol."""

    flow: Flow

    @property
    def known(self) -> bool:
        """Whether the sizes show that it is one."""

    def take(self, frame: Frame, source: HostPort, size: int, /) -> Iterable[CapturedMessage]:
        """What a datagram of that many bytes shows."""

    def summary(self) -> ConversationSummary:
        """What is told of it."""


Begin = Callable[[HostPort, HostPort, int], Sized | None]
"""A conversation that may begin with a datagram of that source, destination and size in bytes; None: it is none, for good."""


class SizedConversations:
    """All of one protocol in a capture."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._conversations: dict[object, Sized | None] = {}

    def take(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        """What a datagram of that size shows."""
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        if slot not in self._conversations:
            if len(self._conversations) >= FLOWS_LIMIT:
                return ()
            self._conversations[slot] = self._begin(source, destination, length)
        conversation = self._conversations[slot]
        if conversation is None:
            return ()
        conversation.flow.count(frame, source)
        return conversation.take(frame, source, length)

    def summaries(self) -> Iterable[ConversationSummary]:
        return (one.summary() for one in self._conversations.values() if one is not None and one.known)
