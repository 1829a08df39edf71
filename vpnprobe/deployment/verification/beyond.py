"""Hosts that the user names: one beyond the server that answers, and one that says from which address it is asked. Nobody else is asked.

A host is asked by the routing table, as any program would, with echo requests or a TCP connection; a URL by HTTP. All of it is bounded.
"""

import asyncio
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from vpnprobe.deployment.verification.echoes import EchoSocket
from vpnprobe.errors import UsageError
from vpnprobe.profiles.options import number_in
from vpnprobe.transports.resolving import first_address_of
from vpnprobe.transports.stack import Address

DEADLINE_S: Final = 2.5
TRIES: Final = 3
LARGEST_ANSWER_BYTES: Final = 4096
_ADDRESS: Final = re.compile(
    rb"(?<![0-9A-Fa-f:.])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![0-9A-Fa-f:.])"
)


@dataclass(frozen=True, slots=True)
class Host:
    """One that the user names."""

    name: str
    port: int | None
    """TCP; None: it is asked with echo requests."""

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name} port {self.port}"


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether it answers."""

    host: Host
    answered: bool
    how: str
    """`3 of 3 echo requests`, `connected`, `refused: it is there`, or what went wrong."""


def parse_host(text: str) -> Host:
    """`HOST`, `HOST:PORT`, `[ADDRESS6]:PORT` or `ADDRESS6`. Raises UsageError."""
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\s\[\]]+)(?::(\d+))?|([0-9A-Fa-f:]+:[0-9A-Fa-f:.]*)", text)
    if found is None:
        raise UsageError(f"{text!r} names no host: write HOST, HOST:PORT or [ADDRESS]:PORT")
    name, port = found[1] or found[3] or found[5], found[2] or found[4]
    number = None if port is None else number_in(port, 1, 65535)
    if port is not None and number is None:
        raise UsageError(f"{text!r} has no port from 1 to 65535: write HOST:PORT")
    return Host(name, number)


async def reach(host: Host) -> Reached:
    """Within DEADLINE_S."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            address = await first_address_of(host.name)
            return await (_pinged(host, address) if host.port is None else _connected(host, address))
    except TimeoutError:
        return Reached(host, False, f"no answer within {DEADLINE_S:g} s")
    except OSError as error:
        return Reached(host, False, error.strerror or str(error))


async def _pinged(host: Host, address: Address) -> Reached:
    sock = EchoSocket(address.version)
    try:
        asked = [number for _ in range(TRIES) if (number := sock.send(address)) is not None]
        came = [one for one in await sock.wait(asked, DEADLINE_S * 0.8) if not one.error]
    finally:
        sock.close()
    return Reached(host, bool(came), f"{len(came)} of {TRIES} echo requests answered")


async def _connected(host: Host, address: Address) -> Reached:
    """A refusal by RST is an answer too; an ICMP error is none of the host's."""
    try:
        _, writer = await asyncio.open_connection(str(address), host.port)
    except ConnectionRefusedError:
        return Reached(host, True, "it answers, and refuses the port")
    await _closed(writer)
    return Reached(host, True, "connected")


async def seen_by(url: str) -> Address | str:
    """The address that the URL's answer names, or what went wrong. Raises UsageError for what is no URL of HTTP."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no URL: write http://HOST/ or https://HOST/")
    try:
        async with asyncio.timeout(DEADLINE_S):
            answer = await _got(parts.scheme, parts.hostname, parts.port, parts.path or "/", parts.query)
    except (TimeoutError, OSError, ValueError) as error:
        return f"{parts.hostname} does not answer ({error or 'in time'})"
    return _address_in(answer) or f"the answer of {parts.hostname} names no address"


async def _got(scheme: str, host: str, port: int | None, path: str, query: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port or (443 if scheme == "https" else 80), ssl=scheme == "https" or None)
    try:
        target = f"{path}?{query}" if query else path
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: curl\r\nAccept: text/plain\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) < LARGEST_ANSWER_BYTES and (chunk := await reader.read(LARGEST_ANSWER_BYTES)):
            answer += chunk
    finally:
        await _closed(writer)
    return bytes(answer).partition(b"\r\n\r\n")[2]


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _address_in(answer: bytes) -> Address | None:
    for found in _ADDRESS.findall(answer):
        with suppress(ValueError):
            return ip_address(found.decode())
    return None


def differ(before: Address | str, now: Address | str, servers: Collection[Address]) -> bool | None:
    """Whether the address outside is another with the tunnel; None: it cannot be told."""
    if isinstance(now, str):
        return None
    if now in servers:
        return True
    return None if isinstance(before, str) else now != before
