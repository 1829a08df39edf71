"""What `--profile FILE` means where the file is a WireGuard profile: it is read, and what is passed over is told."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest


INTERRUPTS: Final = "takes its place at the server, which answers where it heard the key last, until that tunnel begins anew (about 15 s)"


def wireguard_profile_test_of(path: Path, tell: Callable[[str], None], *, take_over: bool = False) -> "WireguardProfileTest":
    """Reads the profile, and asks on the terminal for leave. Raises ProfileError and UsageError."""
    from vpnprobe.cli.passed_over import tell_some
    from vpnprobe.cli.taking_over import with_leave
    from vpnprobe.endpoint.wireguard_running import search_wireguard
    from vpnprobe.probes.existing_server import MOST_REMOTES
    from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest
    from vpnprobe.profiles.vendors import unknown_key
    from vpnprobe.profiles.wireguard import check_keys, read_wireguard
    from vpnprobe.transports.resolving import addresses_of
    from vpnprobe.wire.wireguard_noise import public_key

    profile = read_wireguard(path)
    unknown = (f"{path}:{one.line}: {one.option} {unknown_key(one.option)}" for one in profile.unknown)
    tell_some([*(f"{path}:{note.line}: {note.text}" for note in profile.notes), *unknown], tell)
    if len(profile.peers) > MOST_REMOTES:
        tell(f"{path}: the first {MOST_REMOTES} of {len(profile.peers)} peers are tried")
    check_keys(profile, most=MOST_REMOTES)
    with_leave(str(path), search_wireguard(public_key(profile.private_key), path), INTERRUPTS, tell, take_over=take_over)
    return WireguardProfileTest(profile, addresses_of)
