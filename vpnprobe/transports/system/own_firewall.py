"""This host's own firewall, read for what it keeps of the packets to and from one peer. Changes nothing."""

import contextlib
from collections.abc import Sequence
from typing import Final

from vpnprobe.errors import CannotRun
from vpnprobe.firewall.detect import by_marks, detect
from vpnprobe.firewall.mending import Kept, Mends, mends
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system.routing import Flow, way_of

_UNREADABLE: Final = (CannotRun, OSError, ValueError, LookupError, TypeError)
"""No privilege, no such program, or one that prints what nobody expects."""


def own_firewall(kept: Sequence[Kept], peer: Address) -> Mends:
    """What lets these kinds through. Where the rules may not be read, by the marks of who manages them."""
    try:
        state = detect()
    except _UNREADABLE:
        state = by_marks()
    return mends(state, kept, device=_device(peer))


def _device(peer: Address) -> str | None:
    with contextlib.suppress(OSError, AttributeError):
        return way_of(Flow(peer)).device or None
    return None
