"""Notes how long captured packets waited until this end's program took them: the kernel says when each came.

A program that runs may still be behind with what waits for it.
"""

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence.lateness import LATE_S
from vpnprobe.transports.stack import Packet

LONGEST_S = 60.0
"""Of waiting; more is a clock that was set."""


class LatenessObserver:
    """Listens to a run capture."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(self, packet: Packet) -> None:
        """Tells the recorder of a packet that came and was taken late."""
        if packet.outgoing:
            return
        stack = self._recorder.stack
        waited_s = stack.unix_time() - packet.at
        if LATE_S <= waited_s < LONGEST_S:
            now = stack.now()
            self._recorder.was_late(now - waited_s, now)
