"""A topology as real network namespaces, joined by veth pairs and ruled by nftables (Linux, root).

`plan` is pure: the commands that build a lab, in order. `up` carries them out and takes everything down again where one fails; `down`
finds a lab by the prefix of its namespaces, so it needs no record of what `up` did. Nothing but namespaces called `PREFIX-client`,
`PREFIX-rN` and `PREFIX-server`, and the processes inside them, is ever touched. Where the kernel lacks what a topology needs, `CannotRun`
says so.
"""

import ctypes
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.lab.nftables import ACTS, TO_CLIENT, TO_SERVER, rulesets, timed_rules
from vpnprobe.lab.timed_filters import TimedFilters
from vpnprobe.transports.topology import CLIENT, SERVER, Link, Topology

DEFAULT_PREFIX: Final = "vpnprobe"

STEP_DEADLINE_S: Final = 20.0
PATIENCE_S: Final = 3.0
"""How long processes in a namespace have to end after SIGTERM."""

_CLONE_NEWNET: Final = 0x40000000
_SEARCH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
_PACKAGES: Final = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
_NEEDED_CAPABILITIES: Final = 1 << 12 | 1 << 21
"""CAP_NET_ADMIN and CAP_SYS_ADMIN."""
ESTABLISHED: Final = "01"
_UNLIMITED_ICMP: Final = 100_000


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a plan."""

    command: tuple[str, ...]
    stdin: str = ""
    needs: str = ""
    """What a failure of it means, for the one who reads the error; empty: its own words say it."""


class Lab:
    """A topology that is up, as a context manager; `exec_prefix` leads into its hosts."""

    def __init__(self, topology: Topology, prefix: str = DEFAULT_PREFIX) -> None:
        self.topology = topology
        self.prefix = prefix
        self._timed = TimedFilters(timed_rules(topology), self._nft, self._acted, self.client_is_connected)

    def __enter__(self) -> Self:
        up(self.topology, self.prefix)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        down(self.prefix)

    def namespace(self, host: str) -> str:
        return namespace(self.prefix, host)

    def exec_prefix(self, host: str) -> list[str]:
        return exec_prefix(host, self.prefix)

    def processes(self, host: str) -> list[int]:
        """Ids of the processes in a host's namespace."""
        return _processes(self.namespace(host))

    def acted(self, host: str) -> int:
        """Packets that the host's filters, NATs and losses acted on: dropped, rejected or translated; filters that are gone included."""
        return self._timed.acted[host] + self._acted(host)

    def _acted(self, host: str, table: str = "") -> int:
        listed = ("list", "table", "ip", table) if table else ("list", "ruleset")
        rules = _run(Step((*self.exec_prefix(host), "nft", *listed)))
        return sum(int(packets) for packets in re.findall(rf"counter packets (\d+).*{ACTS}", rules))

    def _nft(self, host: str, text: str) -> str:
        return _run(Step((*self.exec_prefix(host), "nft", "-f", "-"), stdin=text, needs=f"nftables rules on {host}"))

    def client_is_connected(self) -> bool:
        """Whether the client has a TCP connection (proc_pid_net(5): a line a socket, its state in the fourth column)."""
        with self.inside(CLIENT):
            lines = Path("/proc/thread-self/net/tcp").read_text("ascii").splitlines()[1:]
        return any(line.split()[3] == ESTABLISHED for line in lines)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Filters that come and go do so while this lasts, at their times after the client's first TCP connection is up.

        Raises CannotRun at the end where one could not be planted.
        """
        self._timed.begin()
        try:
            yield
        finally:
            self._timed.end()
        if self._timed.problem:
            raise CannotRun(self._timed.problem, status=ExitStatus.MISSING)

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """The calling thread, and threads it starts, are in the host's namespace: sockets opened here are that host's."""
        with entered(self.namespace(host)):
            yield


def namespace(prefix: str, host: str) -> str:
    return f"{prefix}-{host}"


def exec_prefix(host: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """The words before a command that make it run in a host's namespace."""
    return ["ip", "netns", "exec", namespace(prefix, host)]


def up(topology: Topology, prefix: str = DEFAULT_PREFIX) -> None:
    """Builds the lab, whole or not at all.

    Raises UsageError where one of this prefix is up, CannotRun (MISSING) where a privilege, a program or a kernel feature is missing.
    """
    require_tools(uses_tc=any(_shaping(topology.link(index)) for index in range(topology.routers + 1)))
    _check_prefix(prefix)
    if hosts(prefix):
        raise UsageError(f"a lab with the prefix {prefix!r} is up already: take it down with 'vpnprobe lab down --prefix {prefix}'")
    try:
        for step in plan(topology, prefix, ethtool=shutil.which("ethtool", path=_SEARCH) is not None):
            _run(step)
    except BaseException:
        down(prefix)
        raise


def down(prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Ends the processes in the lab's namespaces and removes them; their names, empty where no lab of this prefix was up."""
    require_tools()
    _check_prefix(prefix)
    found = [namespace(prefix, host) for host in hosts(prefix)]
    for name in found:
        _end_processes(name)
    for name in found:
        _run(Step(("ip", "netns", "del", name)))
    return found


def hosts(prefix: str = DEFAULT_PREFIX) -> list[str]:
    """The hosts of the lab that is up with this prefix, from the client to the server; empty: none is."""
    listed = [line.split()[0] for line in _run(Step(("ip", "netns", "list"))).splitlines() if line.strip()]
    pattern = re.compile(rf"{re.escape(prefix)}-({CLIENT}|{SERVER}|r[0-9]+)")
    found = [match[1] for match in map(pattern.fullmatch, listed) if match]
    return sorted(found, key=_position)


def _position(host: str) -> float:
    """In the chain."""
    ends = {CLIENT: 0, SERVER: math.inf}
    return ends[host] if host in ends else int(host[1:])


def require_tools(*, uses_tc: bool = False) -> None:
    """Raises CannotRun (MISSING) with the command that mends the lack."""
    for program in ("ip", "nft", *(["tc"] if uses_tc else [])):
        if shutil.which(program, path=_SEARCH) is None:
            package = _PACKAGES[program]
            raise CannotRun(f"the lab needs {program}: sudo apt install {package}", status=ExitStatus.MISSING)
    if os.geteuid() != 0:
        raise CannotRun("the lab makes network namespaces, which needs root: run it with sudo", status=ExitStatus.MISSING)
    if _effective_capabilities() & _NEEDED_CAPABILITIES != _NEEDED_CAPABILITIES:
        raise CannotRun(
            "the lab makes network namespaces, which needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run it outside this container",
            status=ExitStatus.MISSING,
        )


def _effective_capabilities() -> int:
    """A bit set (capabilities(7)); 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread is in the named network namespace; it is put back afterwards."""
    library = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor: int) -> None:
        if library.setns(descriptor, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise CannotRun(f"cannot enter the namespace {name}: {os.strerror(code)}", status=ExitStatus.MISSING)

    with Path("/proc/thread-self/ns/net").open("rb") as own, Path("/run/netns", name).open("rb") as other:
        enter(other.fileno())
        try:
            yield
        finally:
            enter(own.fileno())


def plan(topology: Topology, prefix: str, *, ethtool: bool) -> list[Step]:
    """The commands that build a lab. Pure. With `ethtool`, offloads are switched off, so that captures show what a wire would carry."""
    names = topology.names()
    return [
        *(Step(("ip", "netns", "add", namespace(prefix, host))) for host in names),
        Step(("ip", "-batch", "-"), stdin=_lines(_pairs(topology, prefix))),
        *(Step(("ip", "-n", namespace(prefix, host), "-batch", "-"), stdin=_lines(_addressing(topology, host))) for host in names),
        *(
            Step((*exec_prefix(host, prefix), "sh", "-ec", _lines(_settings(topology, host, ethtool=ethtool))), needs="kernel settings")
            for host in names
        ),
        *(
            Step((*exec_prefix(host, prefix), "nft", "-f", "-"), stdin=rules, needs=f"nftables rules on {host}")
            for host, rules in rulesets(topology).items()
        ),
        *_shapers(topology, prefix),
    ]


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _pairs(topology: Topology, prefix: str) -> Iterator[str]:
    names = [namespace(prefix, host) for host in topology.names()]
    for nearer, farther in pairwise(names):
        yield f"link add name {TO_SERVER} netns {nearer} type veth peer name {TO_CLIENT} netns {farther}"


def _interfaces(topology: Topology, host: str) -> Iterator[tuple[str, int, str]]:
    """Interface, number of its link, own address: one or two for a host."""
    position = topology.names().index(host)
    addresses = topology.addresses()
    if host != CLIENT:
        yield TO_CLIENT, position - 1, str(addresses[position - 1][1])
    if host != SERVER:
        yield TO_SERVER, position, str(addresses[position][0])


def _addressing(topology: Topology, host: str) -> Iterator[str]:
    yield "link set dev lo up"
    for interface, link, address in _interfaces(topology, host):
        # One wire packet at a time: filters by length see what a wire would carry.
        yield f"link set dev {interface} mtu {topology.link(link).mtu} gso_max_segs 1"
        yield f"addr add {address}/24 dev {interface}"
        yield f"link set dev {interface} up"
    yield from _routes(topology, host)


def _routes(topology: Topology, host: str) -> Iterator[str]:
    """To every link that is not the host's own: over the neighbour on its side."""
    position = topology.names().index(host)
    addresses = topology.addresses()
    for link in range(topology.routers + 1):
        if link < position - 1:
            yield f"route add 10.78.{link}.0/24 via {addresses[position - 1][0]}"
        elif link > position:
            yield f"route add 10.78.{link}.0/24 via {addresses[position][1]}"


def _settings(topology: Topology, host: str, *, ethtool: bool) -> Iterator[str]:
    """A shell script for inside the namespace."""
    router = host not in (CLIENT, SERVER)
    yield f"echo {int(router)} > /proc/sys/net/ipv4/ip_forward"
    for interface in ("all", *(name for name, _, _ in _interfaces(topology, host))):
        yield f"echo 0 > /proc/sys/net/ipv4/conf/{interface}/rp_filter"
    if router:
        yield from _icmp_limits(topology.icmp_errors_per_s)
    if ethtool:
        for interface, _, _ in _interfaces(topology, host):
            yield f"ethtool -K {interface} tx off rx off tso off gso off gro off > /dev/null"


def _icmp_limits(errors_per_s: float) -> Iterator[str]:
    spacing_ms = round(1000 / errors_per_s) if errors_per_s else 0
    yield f"echo {spacing_ms} > /proc/sys/net/ipv4/icmp_ratelimit"
    if not errors_per_s:
        # A limit for all askers together lies above the one for each; before Linux 6.12 it belongs to the whole machine and is left alone.
        for name in ("icmp_msgs_per_sec", "icmp_msgs_burst"):
            yield f"if [ -e /proc/sys/net/ipv4/{name} ]; then echo {_UNLIMITED_ICMP} > /proc/sys/net/ipv4/{name}; fi"


def _shapers(topology: Topology, prefix: str) -> Iterator[Step]:
    """Delay and rate, at both ends of a link."""
    for host in topology.names():
        for interface, number, _ in _interfaces(topology, host):
            shaping = _shaping(topology.link(number))
            if shaping:
                command = ("tc", "-n", namespace(prefix, host), "qdisc", "add", "dev", interface, "root", *shaping)
                yield Step(command, needs=_needs(number, shaping[0]))


def _needs(number: int, kind: str) -> str:
    what = "delay_s" if kind == "netem" else "rate_bit_s"
    return f"links[{number}].{what} needs the kernel's {kind}, which is not to be had here ('vpnprobe demo' simulates it anywhere)"


def _shaping(link: Link) -> tuple[str, ...]:
    """The queueing discipline of a link, as tc takes it; empty: none. The default delay is not added: namespaces have their own."""
    delayed = link.delay_s != Link().delay_s and link.delay_s > 0
    if delayed:
        rate = ("rate", f"{link.rate_bit_s:.0f}bit") if link.rate_bit_s is not None else ()
        return ("netem", "delay", f"{link.delay_s * 1e6:.0f}us", *rate)
    if link.rate_bit_s is not None:
        # The bucket must hold the largest packet, with its link header, and what a timer tick lets through.
        burst_bytes = max(2 * (link.mtu + 14), round(link.rate_bit_s / 8 / 250))
        return ("tbf", "rate", f"{link.rate_bit_s:.0f}bit", "burst", f"{burst_bytes}b", "latency", "100ms")
    return ()


def _run(step: Step) -> str:
    """What the command prints. Raises CannotRun with its first words of complaint."""
    try:
        done = subprocess.run(
            step.command,
            input=step.stdin,
            capture_output=True,
            text=True,
            timeout=STEP_DEADLINE_S,
            check=False,
            env={**os.environ, "PATH": _SEARCH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"the lab cannot run {step.command[0]}: {error}", status=ExitStatus.MISSING) from error
    if done.returncode:
        complaint = next(iter((done.stderr or done.stdout).strip().splitlines()), f"exit status {done.returncode}")
        about = step.needs or " ".join(step.command[:4])
        raise CannotRun(f"the lab cannot be built: {about}: {complaint}", status=ExitStatus.MISSING)
    return done.stdout


def _check_prefix(prefix: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", prefix):
        raise UsageError(f"{prefix!r} is no prefix for namespaces: lower-case letters, digits and hyphens, a letter first, at most 31")


def _processes(name: str) -> list[int]:
    """Those whose network namespace is this one, the calling process aside."""
    pids = _run(Step(("ip", "netns", "pids", name))).split()
    return [int(pid) for pid in pids if int(pid) != os.getpid()]


def _end_processes(name: str) -> None:
    """SIGTERM, and SIGKILL for what is still there after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    _signal(_processes(name), signal.SIGTERM)
    while time.monotonic() < deadline:
        if not _processes(name):
            return
        time.sleep(0.05)
    _signal(_processes(name), signal.SIGKILL)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
