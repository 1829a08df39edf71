"""What `--profile FILE` means where the file is a WireGuard profile: it is read, and what is passed over is told."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest


def wireguard_profile_test_of(path: Path, tell: Callable[[str], None]) -> "WireguardProfileTest":
    """Raises ProfileError."""
    from vpnprobe.cli.resolving import addresses_of
    from vpnprobe.probes.existing_server import MOST_REMOTES
    from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest
    from vpnprobe.profiles.wireguard import check_keys, read_wireguard

    profile = read_wireguard(path)
    for note in profile.notes:
        tell(f"{path}:{note.line}: {note.text}")
    for unknown in profile.unknown:
        tell(f"{path}:{unknown.line}: {unknown.option} is no key of WireGuard: passed over, and wg refuses a file that has it")
    if len(profile.peers) > MOST_REMOTES:
        tell(f"{path}: the first {MOST_REMOTES} of {len(profile.peers)} peers are tried")
    check_keys(profile)
    return WireguardProfileTest(profile, addresses_of)
