"""What a client has asked to be sent beside the controls of its blocks: one packet for each of its prompts, in the place of the answer.

The client draws which packet of a block is the prompt, and when it leaves, as it does for the controls: so the packet that is asked for is
as likely to leave before an answer as behind it, and is no closer to one than they are to each other.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class BesideControls:
    """One request."""

    send_one: Callable[[], None]
    count: int
    """How many prompts count."""
    sent: int = 0

    def prompted(self) -> None:
        if self.sent < self.count:
            self.sent += 1
            self.send_one()
