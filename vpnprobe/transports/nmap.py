"""nmap's own word on ports: a second opinion where nmap is installed, never a requirement.

The scan runs in a helper process (`vpnprobe.transports.nmap_helper`) in a session of its own, so that the deadline ends nmap with it. No
shell is involved, and only a valid IP address and port numbers reach a command line.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from vpnprobe.errors import UsageError


class NmapPort(NamedTuple):
    """What nmap says about one port."""

    transport: str
    """`tcp` or `udp`."""
    port: int
    state: str
    """nmap's word: open, closed, filtered, open|filtered, unfiltered, closed|filtered."""
    reason: str
    """Why it says so: syn-ack, reset, no-response, port-unreach, ..."""


async def scan(host: str, tcp_ports: Iterable[int], udp_ports: Iterable[int], *, deadline_s: float) -> list[NmapPort] | None:
    """The ports that nmap reported; None where nmap or python-nmap is not installed.

    Empty where it did not finish within `deadline_s` seconds or failed. UDP is scanned by root only. Raises UsageError for a host that is
    no IP address or a port out of range.
    """
    request = _request(host, tcp_ports, udp_ports)
    # -P: the current folder must not lend modules to the helper.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "vpnprobe.transports.nmap_helper",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(deadline_s):
            output, _ = await process.communicate(request)
    except TimeoutError:
        return []
    finally:
        await _end(process)
    return _answer(output)


def _request(host: str, tcp_ports: Iterable[int], udp_ports: Iterable[int]) -> bytes:
    tcp, udp = sorted(set(tcp_ports)), sorted(set(udp_ports))
    try:
        address = ip_address(host)
    except ValueError as exc:
        raise UsageError(f"nmap is given IP addresses only, and {host!r} is none") from exc
    if any(not 0 < port < 65536 for port in (*tcp, *udp)):
        raise UsageError("a port is a number from 1 to 65535")
    return json.dumps({"host": str(address), "tcp": tcp, "udp": udp}).encode()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills the helper and the nmap that it started; both are in a process group of their own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _answer(output: bytes) -> list[NmapPort] | None:
    try:
        answer = json.loads(output)
        if "missing" in answer:
            return None
        return [
            NmapPort(str(entry["transport"]), int(entry["port"]), str(entry["state"]), str(entry["reason"])) for entry in answer["ports"]
        ]
    except (ValueError, KeyError, TypeError):
        return []
