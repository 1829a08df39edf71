"""Names and addresses: what is not known is told as such, and what is no name is no bug."""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

import vpnprobe
from vpnprobe.transports.resolving import addresses_of, first_address_of, resolve

NO_NAMES = ["a" * 64 + ".example", "a..example"]


@pytest.mark.parametrize("family", ["", "4"])
def test_an_address_is_its_own(family: str) -> None:
    assert asyncio.run(resolve("192.0.2.7", family)) == [ip_address("192.0.2.7")]


def test_zones_are_left_out_of_what_is_resolved() -> None:
    assert asyncio.run(resolve("fe80::1%lo")) == [ip_address("fe80::1")]
    assert asyncio.run(first_address_of("fe80::1%lo")) == ip_address("fe80::1%lo")


def test_the_other_family_has_none() -> None:
    assert asyncio.run(addresses_of("192.0.2.7", "6")) == ()


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_an_error_in_words(name: str) -> None:
    for what in (resolve, first_address_of):
        with pytest.raises(OSError, match="no valid name"):
            asyncio.run(what(name))
    assert asyncio.run(addresses_of(name)) == ()


def test_the_first_of_a_name() -> None:
    assert asyncio.run(first_address_of("localhost")).is_loopback


def test_names_are_resolved_in_one_place() -> None:
    """Beside it, queries alone are provoked, to see which way they go."""
    root = Path(vpnprobe.__file__).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "getaddrinfo(" in path.read_text()}
    assert found == {"transports/resolving.py", "deployment/verification/provoking.py"}
