"""What a client has asked to be sent beside the controls of its blocks: one packet a block, at a random place among their answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.evidence.comparison import CONTROLS

BLOCKS_PATIENCE: Final = 2.0
"""How many times longer than they take blocks are waited for."""


@dataclass(slots=True)
class _Place:
    """Of one packet in one block: behind so many answers."""

    behind: int
    answered: int = 0


@dataclass(slots=True)
class BesideControls:
    """One request: `send_one` is called once a block, in `count` blocks.

    The place is drawn among all answers of a whole block. Where controls were lost on the way here and it lies behind the last that came,
    nothing is sent: among those that are, each place is as likely as another.
    """

    send_one: Callable[[], None]
    count: int
    entropy: Callable[[int], bytes]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    _places: dict[int, _Place] = field(default_factory=dict)

    def answers(self, block: int) -> None:
        """A control of this block is about to be answered."""
        place = self._places.setdefault(block, _Place(int.from_bytes(self.entropy(4), "big") % (CONTROLS + 1)))
        if place.behind == place.answered == 0:
            self._send()

    def answered(self, block: int) -> None:
        """It has been answered."""
        place = self._places[block]
        place.answered += 1
        if place.behind == place.answered:
            self._send()

    def _send(self) -> None:
        if self.sent < self.count:
            self.sent += 1
            self.send_one()
        if self.sent >= self.count:
            self.over.set()
