"""Which reader a client profile has: the one place where `--profile FILE` becomes an existing server to be tried."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpnprobe.probes.settings import ExistingServer


def existing_server(path: Path, tell: Callable[[str], None], *, take_over: bool = False) -> "ExistingServer":
    """Reads the profile, and asks on the terminal for what it wants asked, and for leave. Raises ProfileError and UsageError."""
    from vpnprobe.cli.openvpn_profile import profile_test_of
    from vpnprobe.cli.wireguard_profile import wireguard_profile_test_of
    from vpnprobe.profiles.files import read_text
    from vpnprobe.profiles.wireguard import is_wireguard

    read = wireguard_profile_test_of if is_wireguard(read_text(path)) else profile_test_of
    return read(path, tell, take_over=take_over)
