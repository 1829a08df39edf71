"""Which reader a client profile has: the one place where `--profile FILE` becomes an existing server to be tried.

And which protocol's own program can be tried with the same profile.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vpnprobe.cli.openvpn_real_client import check_wanted as check_real_client
from vpnprobe.cli.openvpn_real_client import real_client_option
from vpnprobe.cli.openvpn_real_client import trial_of as real_client_trial
from vpnprobe.cli.openvpn_real_client import tried as try_real_client

if TYPE_CHECKING:
    from vpnprobe.probes.settings import ExistingServer

__all__ = ["check_real_client", "existing_server", "real_client_option", "real_client_trial", "try_real_client"]


def existing_server(path: Path, tell: Callable[[str], None], *, take_over: bool = False) -> "ExistingServer":
    """Reads the profile, and asks on the terminal for what it wants asked, and for leave. Raises ProfileError and UsageError."""
    from vpnprobe.cli.openvpn_profile import profile_test_of
    from vpnprobe.cli.wireguard_profile import wireguard_profile_test_of
    from vpnprobe.profiles.files import read_text
    from vpnprobe.profiles.wireguard import is_wireguard

    read = wireguard_profile_test_of if is_wireguard(read_text(path)) else profile_test_of
    return read(path, tell, take_over=take_over)
