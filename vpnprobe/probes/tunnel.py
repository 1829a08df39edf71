"""A tunnel that is tried, as others than its own probe see it."""

from collections.abc import Sequence
from typing import Protocol

from vpnprobe.conversations.echo_trains import Place, TrainRun
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.packet_records import Check


class Tunnel(Protocol):
    """One protocol in one form on one port."""

    steps: tuple[Check, ...]
    """What a session comes to before its data, in order."""
    data: Check

    def passes(self, judgement: Judge) -> bool:
        """Whether data went both ways, and to the end."""
        ...

    async def in_trains(self, places: Sequence[Place]) -> tuple[str, TrainRun]:
        """One fresh session over UDP whose echo requests follow a timetable: its conversation's key, and the requests."""
        ...
