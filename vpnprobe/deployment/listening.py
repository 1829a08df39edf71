"""Whether what was applied runs: each listener has its port. What does not come up is taken back at once."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vpnprobe.deployment.host import is_taken
from vpnprobe.deployment.settings import Settings
from vpnprobe.deployment.transactions import give_up
from vpnprobe.errors import CannotRun, ExitStatus

WITHIN_S: Final = 10.0
"""How long a server may take to open its port."""
POLL_S: Final = 0.05


def require_listening(settings: Settings, root: Path, tell: Callable[[str], None], transaction: int, *, within_s: float = WITHIN_S) -> None:
    """Takes the transaction back, and raises CannotRun (PUT_BACK), where a listener has not opened its port in time.

    What was confirmed before it stays, also where the transaction's own time has run out meanwhile.
    """
    deadline = time.monotonic() + within_s
    missing = list(settings.listeners)
    while missing := [one for one in missing if not is_taken(one.transport, one.port)]:
        if time.monotonic() >= deadline:
            give_up(root, tell, transaction)
            one = missing[0]
            what = f"{one.name} does not listen on {one.transport}/{one.port} after {within_s:g} s"
            raise CannotRun(f"{what}: everything was put back", status=ExitStatus.PUT_BACK)
        time.sleep(POLL_S)
