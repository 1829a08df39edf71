"""What openvpn is run with beside the profile, and what of the profile is left out."""

import pytest

from vpnprobe.deployment.real_client.options import GOODBYE, LEFT_OUT, NO_DNS, QUIET, added_options
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.accounts import ACCOUNTS, Treatment
from vpnprobe.profiles.known import KNOWN


def test_all_that_is_left_out_is_an_option() -> None:
    assert LEFT_OUT <= KNOWN


def test_what_vpnprobe_applies_to_a_session_stays() -> None:
    applied = {name for name in LEFT_OUT if ACCOUNTS[name].treatment is not Treatment.TOLD}
    assert applied <= {"dev", "dev-type"}


@pytest.mark.parametrize(
    ("version", "transport", "expected"),
    [
        ((2, 4), Transport.UDP, (*QUIET, *GOODBYE)),
        ((2, 6), Transport.TCP, QUIET),
        ((2, 7), Transport.UDP, (*QUIET, *NO_DNS, *GOODBYE)),
        (None, Transport.TCP, QUIET),
    ],
)
def test_what_is_added(version: tuple[int, int] | None, transport: Transport, expected: tuple[str, ...]) -> None:
    assert added_options(version, transport) == expected
