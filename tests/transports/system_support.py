"""What the tests of the real transports share: a typed network stack, waiting with a limit, and two joined network namespaces."""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

import pytest

from vpnprobe.transports.capabilities import may_open_raw
from vpnprobe.transports.stack import NetworkStack
from vpnprobe.transports.system import SystemStack

T = TypeVar("T")
LOOPBACK = IPv4Address("127.0.0.1")
LOOPBACK6 = IPv6Address("::1")
PATIENCE_S = 5.0
LEFT, RIGHT = f"vpsys-l{os.getpid()}", f"vpsys-r{os.getpid()}"
LEFT_ADDRESS, RIGHT_ADDRESS, RIGHT_SECOND = IPv4Address("10.79.0.1"), IPv4Address("10.79.0.2"), IPv4Address("10.79.0.3")

needs_raw = pytest.mark.skipif(not may_open_raw(), reason="needs raw IP sockets (CAP_NET_RAW)")
CLONE_NEWNET = 0x40000000


def stack() -> NetworkStack:
    """The assignment is the check: mypy compares SystemStack with the interface."""
    found: NetworkStack = SystemStack()
    return found


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


def may_make_namespaces() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None and shutil.which("nft") is not None


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def inside(name: str, *command: str) -> str:
    return run("ip", "netns", "exec", name, *command)


def rules(name: str, text: str) -> None:
    """Replaces the namespace's packet filter."""
    run("ip", "netns", "exec", name, "nft", "-f", "-", text=f"flush ruleset\n{text}")


@contextlib.contextmanager
def joined_namespaces() -> Iterator[None]:
    """Two hosts on one link: LEFT with one address, RIGHT with two. No IPv6 beyond loopback."""
    remove()
    try:
        for name in (LEFT, RIGHT):
            run("ip", "netns", "add", name)
            inside(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
            inside(name, "ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "vpsys0", "netns", LEFT, "type", "veth", "peer", "name", "vpsys0", "netns", RIGHT)
        for name, addresses in ((LEFT, (LEFT_ADDRESS,)), (RIGHT, (RIGHT_ADDRESS, RIGHT_SECOND))):
            for address in addresses:
                inside(name, "ip", "address", "add", f"{address}/24", "dev", "vpsys0")
            # Otherwise a filter by length meets packets that the device would have cut up.
            inside(name, "ip", "link", "set", "vpsys0", "up", "gso_max_segs", "1")
        yield
    finally:
        remove()


def remove() -> None:
    for name in (LEFT, RIGHT):
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def within(name: str, main: Callable[[], Coroutine[None, None, T]]) -> "concurrent.futures.Future[T]":
    """Runs the coroutine on an event loop of a thread that has entered the namespace; namespaces are a thread's own."""

    def enter_and_run() -> T:
        handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            assert ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) == 0
        finally:
            os.close(handle)
        return asyncio.run(main())

    executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    future = executor.submit(enter_and_run)
    executor.shutdown(wait=False)
    return future
