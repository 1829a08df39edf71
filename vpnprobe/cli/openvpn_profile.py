"""What `--profile FILE.ovpn` means: the profile is read, what it leaves open is asked, and what is passed over is told."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from vpnprobe.probes.openvpn_profile_test import ProfileTest
    from vpnprobe.profiles.model import Profile


INTERRUPTS: Final = "may end it: many a server serves the newest session of an identity alone, and the older comes back within a minute"


def profile_test_of(path: Path, tell: Callable[[str], None], *, take_over: bool = False) -> "ProfileTest":
    """Reads the profile, and asks on the terminal for what it wants asked, and for leave. Raises ProfileError and UsageError."""
    from vpnprobe.cli.passed_over import tell_some
    from vpnprobe.cli.taking_over import with_leave
    from vpnprobe.endpoint.openvpn_running import search_openvpn
    from vpnprobe.probes.existing_server import MOST_REMOTES
    from vpnprobe.probes.openvpn_profile_test import ProfileTest
    from vpnprobe.profiles.ovpn import read_profile
    from vpnprobe.transports.resolving import addresses_of

    profile = read_profile(path)
    notes = (f"{path}:{note.line}: {note.text}" if note.line else f"{path}: {note.text}" for note in profile.notes)
    unknown = (f"{path}:{one.line}: {one.option} is no option of OpenVPN 2: passed over" for one in profile.unknown)
    unsupported = (f"{path}:{note.line}: not supported by vpnprobe: {note.text}" for note in profile.unsupported)
    tell_some([*notes, *unknown, *unsupported], tell)
    if profile.export:
        tell(f"{path}: an export of {profile.export}, by its marks")
    if profile.unsupported_ciphers:
        names = ", ".join(profile.unsupported_ciphers)
        tell(f"{path}: data ciphers that vpnprobe cannot do, so that it ends where the server takes one: {names}")
    if len(profile.remotes) > MOST_REMOTES:
        tell(f"{path}: the first {MOST_REMOTES} of {len(profile.remotes)} remotes are tried")
    username, password = _credentials(profile)
    profile_test = ProfileTest(profile, addresses_of, username, password, _passphrase(profile))
    _, refused = profile_test.prepared()  # What cannot be used is told before anything is sent.
    for why in refused:
        tell(f"{path}: OpenVPN 2.6 does not start with this profile: {why}")
    with_leave(str(path), search_openvpn(profile), INTERRUPTS, tell, take_over=take_over)
    return profile_test


def _credentials(profile: "Profile") -> tuple[str, str]:
    """User name and password; empty where nobody can be asked: then the server's answer tells that it wants them."""
    from vpnprobe.report.words import visible

    known = profile.credentials
    if not known.wanted or not sys.stdin.isatty():
        return known.username or "", known.password or ""
    username = known.username or click.prompt("User name", err=True)
    return username, known.password or click.prompt(f"Password of {visible(username)}", hide_input=True, err=True)


def _passphrase(profile: "Profile") -> str | None:
    from vpnprobe.profiles.verification import pkcs12_is_encrypted

    asks = profile.tls.key_is_encrypted or pkcs12_is_encrypted(profile)
    if not asks or profile.tls.passphrase is not None or not sys.stdin.isatty():
        return None
    passphrase: str = click.prompt("Passphrase of the private key", hide_input=True, err=True)
    return passphrase
