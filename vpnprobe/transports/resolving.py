"""Addresses of names, as the system's resolver has them. Nobody else asks it, but to see where its queries go."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from vpnprobe.transports.stack import Address

FAMILIES: Final = {"4": socket.AF_INET, "6": socket.AF_INET6}


async def resolve(host: str, family: str = "") -> Sequence[Address]:
    """All addresses of a host, at least one, in the resolver's order and without zones. `family`: `4`, `6`, or empty: either.

    Raises OSError, with words in `strerror`, where it has none or is no valid name.
    """
    wanted = FAMILIES.get(family, socket.AF_UNSPEC)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM, family=wanted)
    except UnicodeError:  # A label that is empty or longer than 63 characters.
        raise socket.gaierror(socket.EAI_NONAME, "no valid name") from None
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


async def addresses_of(host: str, family: str = "") -> Sequence[Address]:
    """As `resolve`; empty: the host is not known."""
    try:
        return await resolve(host, family)
    except OSError:
        return ()


async def first_address_of(host: str) -> Address:
    """An address as it is, with its zone; of a name the first one. Raises OSError as `resolve` does."""
    with suppress(ValueError):
        return ip_address(host)
    return (await resolve(host))[0]
