"""Which reader a client profile has: the one place where `--profile FILE` becomes an existing server to be tried."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpnprobe.probes.settings import ExistingServer


def existing_server(path: Path, tell: Callable[[str], None]) -> "ExistingServer":
    """Reads the profile, and asks on the terminal for what it wants asked. Raises ProfileError."""
    from vpnprobe.cli.openvpn_profile import profile_test_of

    return profile_test_of(path, tell)
