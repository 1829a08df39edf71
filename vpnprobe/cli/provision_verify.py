"""`vpnprobe provision verify`: brings a profile's tunnel up with the real OpenVPN, proves it, and takes it down."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.cli.provision_options import seconds_of
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.verification.model import Verification
    from vpnprobe.deployment.verification.process import Secrets
    from vpnprobe.deployment.verification.verifying import Request
    from vpnprobe.profiles.model import Profile
    from vpnprobe.transports.stack import Packet

CAPTURE: Final = "leaked.pcap"
DOCUMENT: Final = "verification.json"


LEAST_S: Final = 0.1


def seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return seconds_of(value, least_s=LEAST_S)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from None


@click.command()
@click.option(
    "--profile",
    metavar="FILE",
    # Whether it can be read shows when it is: access(2), which click asks, does not count capabilities.
    type=click.Path(path_type=Path, readable=False),
    required=True,
    help="The client's profile (client.ovpn).",
)
@click.option("--for", "for_s", metavar="TIME", callback=seconds, default="10s", show_default=True, help="How long leaks are watched for.")
@click.option(
    "--up-within", "up_within_s", metavar="TIME", callback=seconds, default="20s", show_default=True, help="Until when it must be up."
)
@click.option("--beyond", multiple=True, metavar="HOST[:PORT]", help="A host beyond the server that answers pings or TCP (repeatable).")
@click.option("--seen-by", metavar="URL", default="", help="A service that answers with the address that it is asked from.")
@click.option("--take-over", is_flag=True, help="Try the profile though this machine shows that its own tunnel is up, which it interrupts.")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Also write the document, and the packets that leaked.")
@click.option("--json", "as_json", is_flag=True, help="Print the document, and nothing else, on standard output.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.option("--no-color", is_flag=True, help="No colours (NO_COLOR does the same).")
def verify(
    profile: Path,
    for_s: float,
    up_within_s: float,
    beyond: tuple[str, ...],
    seen_by: str,
    take_over: bool,
    folder: Path | None,
    as_json: bool,
    quiet: bool,
    no_color: bool,
) -> int:
    """Brings the tunnel of a profile up and proves it (on a client).

    With the real OpenVPN, as root: that it is up and carries data both ways, that nothing leaks, what becomes of IPv6 and of names, how
    large packets may be and how fast it is; then it is taken down, and everything is as it was before. While it is watched, small packets
    are sent to addresses that nobody has, so that a leak shows; nobody on the Internet is asked anything unless you name it.
    Status 0: it is proved; 3: something is shown to fail or to leak, or what it must show could not be told.
    """
    from vpnprobe.cli.options import output_of
    from vpnprobe.cli.verification_text import render_verification
    from vpnprobe.deployment.verification.beyond import parse_host

    output = output_of(folder, as_json=as_json, quiet=quiet, no_color=no_color)
    tell = _teller(quiet)
    hosts = tuple(map(parse_host, beyond))
    _check_url(seen_by)
    request = _request(profile, tell, take_over=take_over, for_s=for_s, up_within_s=up_within_s, beyond=hosts, seen_by=seen_by)
    verification, leaked = asyncio.run(_verified(request, tell))
    if as_json:
        _print_document(verification)
    else:
        click.echo(render_verification(verification, colour=output.colour), nl=False, color=output.colour)
    if folder is not None:
        _write(folder, verification, leaked, tell)
    return verification.status if verification.complete else ExitStatus.INTERRUPTED


def _teller(quiet: bool) -> Callable[[str], None]:
    from vpnprobe.report.words import visible

    def tell(text: str) -> None:
        if not quiet:
            click.echo(visible(text), err=True)

    return tell


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise UsageError(f"--seen-by {url!r} is no URL: write http://HOST/ or https://HOST/")


def _request(profile_path: Path, tell: Callable[[str], None], *, take_over: bool, **wanted: object) -> "Request":
    """Reads the profile, sees what this machine lacks, and asks for leave. Raises ProfileError, UsageError and CannotRun."""
    from vpnprobe.cli.openvpn_profile import INTERRUPTS
    from vpnprobe.cli.taking_over import with_leave
    from vpnprobe.deployment.verification.process import find_openvpn
    from vpnprobe.deployment.verification.verifying import Request
    from vpnprobe.endpoint.openvpn_running import search_openvpn
    from vpnprobe.profiles.ovpn import read_profile

    profile = read_profile(profile_path)
    if profile.data.device == "null":
        raise UsageError(f"{profile_path}: its device is null, so there is no tunnel to verify: give it a line 'dev tun'")
    _require_privilege(profile, tell)
    find_openvpn()
    secrets = _secrets(profile)
    with_leave(str(profile_path), search_openvpn(profile), INTERRUPTS, tell, take_over=take_over)
    return Request(profile=profile, secrets=secrets, **wanted)  # type: ignore[arg-type]


def _require_privilege(profile: "Profile", tell: Callable[[str], None]) -> None:
    """Raises CannotRun (MISSING), and prints what to do by hand on another system."""
    import os
    import shlex

    from vpnprobe.deployment.verification.by_hand import by_hand
    from vpnprobe.deployment.verification.privileges import lacks_privilege, lacks_tun

    if sys.platform != "linux":
        for line in by_hand(profile):
            tell(line)
        raise CannotRun("a tunnel is verified on Linux alone: do what stands above by hand, or run it there", status=ExitStatus.MISSING)
    if lacks_privilege():
        if os.geteuid() == 0:
            raise CannotRun(
                "a tunnel may not be set up here: start the container with --cap-add=NET_ADMIN --cap-add=NET_RAW", status=ExitStatus.MISSING
            )
        command = f"sudo vpnprobe provision verify --profile {shlex.quote(profile.file)}"
        raise CannotRun(f"bringing a tunnel up needs root: {command}", status=ExitStatus.MISSING)
    if lacks_tun():
        mend = "sudo modprobe tun (in a container: start it with --device=/dev/net/tun)"
        raise CannotRun(f"/dev/net/tun cannot be opened, so there are no tunnel devices here: {mend}", status=ExitStatus.MISSING)


def _secrets(profile: "Profile") -> "Secrets":
    """What the profile has, and what it wants asked, on a terminal."""
    from vpnprobe.cli.openvpn_profile import _credentials, _passphrase
    from vpnprobe.deployment.verification.process import Secrets

    username, password = _credentials(profile)
    passphrase = profile.tls.passphrase or _passphrase(profile)
    return Secrets(username or None, password or None, passphrase)


async def _verified(request: "Request", tell: Callable[[str], None]) -> "tuple[Verification, list[Packet]]":
    """Ctrl-C and SIGTERM end the watch, and the tunnel is taken down."""
    import signal

    from vpnprobe.deployment.verification.verifying import Verifier

    verifier = Verifier(request, tell)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, verifier.interrupt)
    return await verifier.verify(), verifier.leaked


def _print_document(verification: "Verification") -> None:
    import json

    click.echo(json.dumps(verification.as_json(), ensure_ascii=False, indent=2))


def _write(folder: Path, verification: "Verification", leaked: "list[Packet]", tell: Callable[[str], None]) -> None:
    """Raises UsageError (UNWRITABLE)."""
    import json

    from vpnprobe.endpoint.pcap import encode_pcap

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DOCUMENT).write_text(json.dumps(verification.as_json(), ensure_ascii=False, indent=2) + "\n")
        (folder / CAPTURE).write_bytes(encode_pcap(leaked))
    except OSError as error:
        problem = error.strerror or str(error)
        raise UsageError(f"{folder} cannot be written: {problem}: name another folder with -o", status=ExitStatus.UNWRITABLE) from error
    tell(f"document and leaked packets: {folder / DOCUMENT}, {folder / CAPTURE}")
