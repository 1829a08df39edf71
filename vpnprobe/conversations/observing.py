"""What somebody without a socket of their own reads of a conversation: the wire shows it, in either direction.

An observer follows one client port's packets to and from one server port. A message counts for the check that it bears on, under the key
that the client gave the conversation: without one (wrapped, or foreign) it is left out.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from vpnprobe.conversations.contract import Sender


class MessageSeen(NamedTuple):
    """One message on the wire."""

    check: str
    """The name of the check that it bears on."""
    key: str
    name: str
    detail: Mapping[str, int | str] = {}
    call_ids: tuple[int, int] | None = None
    """Of a message that grants a call: the server's Call ID and the client's."""


class Observer(Protocol):
    """Follows one client port's conversation, or one after another."""

    def saw(self, sender: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        """The messages that a datagram, or the next bytes of a stream, shows. Total: what cannot be read shows nothing.

        `gap`: bytes of the stream before these that were not seen.
        """
        ...

    def closed(self, sender: Sender) -> Iterator[MessageSeen]:
        """What it shows that one end closed the stream of which it has not said a byte."""
        ...
