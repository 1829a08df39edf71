"""Addresses of names, as the system's resolver has them."""

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpnprobe.transports.stack import Address


async def addresses_of(host: str, family: str) -> "Sequence[Address]":
    """All addresses of a host, in the resolver's order; empty: it is not known."""
    import asyncio
    import socket

    wanted = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(family, socket.AF_UNSPEC)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM, family=wanted)
    except (OSError, UnicodeError):
        return ()
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
