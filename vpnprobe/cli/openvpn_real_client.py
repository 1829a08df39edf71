"""What `--with-openvpn` means: the installed openvpn is tried with the same profile, after vpnprobe's own try."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.real_client.trying import RealClientTrial
    from vpnprobe.observations.schema import Observation
    from vpnprobe.probes.settings import ExistingServer

HELP: Final = "Then run the installed openvpn with the same profile (no routes, no device), and show both side by side."


def real_client_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--with-openvpn`, as `real_client`."""
    return click.option("--with-openvpn", "real_client", is_flag=True, help=HELP)(command)


def check_wanted(*, profile: bool) -> None:
    """Raises UsageError where there is no profile, and CannotRun (MISSING) where there is no openvpn."""
    from vpnprobe.deployment.real_client.trying import find_real_client

    if not profile:
        raise UsageError("--with-openvpn runs openvpn with a profile: give --profile FILE too, or leave it out")
    find_real_client()


def trial_of(existing: "ExistingServer", tell: Callable[[str], None]) -> "RealClientTrial":
    """Raises UsageError where the profile is another protocol's."""
    from vpnprobe.deployment.real_client.trying import RealClientTrial, find_real_client
    from vpnprobe.probes.openvpn_profile_test import ProfileTest

    if not isinstance(existing, ProfileTest):
        raise UsageError(f"--with-openvpn: {existing.file} is no profile of OpenVPN: leave the option out")
    return RealClientTrial(find_real_client(), existing, tell)


async def tried(trial: "RealClientTrial", observations: "Sequence[Observation]") -> bool:
    """Runs it; Ctrl-C and SIGTERM end openvpn, and what was tried by then stays. Whether it came to its end."""
    loop = asyncio.get_running_loop()
    trying = loop.create_task(trial.run(observations))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, trying.cancel)
    try:
        await trying
    except asyncio.CancelledError:
        return False
    return True
