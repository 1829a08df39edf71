"""A topology as real network namespaces, joined by veth pairs and ruled by nftables (Linux, root).

`plan` is pure: the commands that build a lab, in order. `up` carries them out and takes everything down again where one fails; `down`
finds a lab by the prefix of its namespaces, so it needs no record of what `up` did. Nothing but namespaces called `PREFIX-client`,
`PREFIX-rN`, `PREFIX-bN` and `PREFIX-server`, and the processes inside them, is ever touched. Where the kernel lacks what a topology needs,
`CannotRun` says so; what no kernel can show, `unavailable` names.
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
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.lab.nftables import ACTS, FROM_BACK, TO_BACK, TO_CLIENT, TO_SERVER, rulesets, timed_rules
from vpnprobe.lab.other_programs import is_other_program, start_other_programs
from vpnprobe.lab.shaping import needs_tc, shapers, unavailable
from vpnprobe.lab.timed_filters import TimedFilters
from vpnprobe.transports.topology import CLIENT, SERVER, Link, Timeouts, Topology

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
        self._timed = TimedFilters(
            timed_rules(topology), self._nft, self._acted, self.client_is_connected, stalls=topology.stalls, stop=self._stop
        )

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

    def _stop(self, host: str, stopped: bool) -> None:
        """Stops a host's programs, or lets them go on; those that have its ports open aside."""
        pids = [pid for pid in self.processes(host) if not is_other_program(pid)]
        _signal(pids, signal.SIGSTOP if stopped else signal.SIGCONT)

    def client_is_connected(self) -> bool:
        """Whether the client has a TCP connection (proc_pid_net(5): a line a socket, its state in the fourth column)."""
        with self.inside(CLIENT):
            lines = Path("/proc/thread-self/net/tcp").read_text("ascii").splitlines()[1:]
        return any(line.split()[3] == ESTABLISHED for line in lines)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Filters come and go and programs stand still while this lasts, at their times after the client's first TCP connection is up.

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

    Raises UsageError where one of this prefix is up or no kernel has what the topology needs, CannotRun (MISSING) where a privilege, a
    program or a kernel feature is missing.
    """
    if lack := unavailable(topology):
        raise UsageError(f"namespaces cannot show {lack} ('vpnprobe demo' simulates it anywhere)")
    require_tools(uses_tc=needs_tc(topology))
    _check_prefix(prefix)
    if hosts(prefix):
        raise UsageError(f"a lab with the prefix {prefix!r} is up already: take it down with 'vpnprobe lab down --prefix {prefix}'")
    try:
        for step in plan(topology, prefix, ethtool=shutil.which("ethtool", path=_SEARCH) is not None):
            _run(step)
        start_other_programs(topology, lambda host: exec_prefix(host, prefix))
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
    """The hosts of the lab that is up with this prefix, from the client to the server and then beside; empty: none is."""
    listed = [line.split()[0] for line in _run(Step(("ip", "netns", "list"))).splitlines() if line.strip()]
    pattern = re.compile(rf"{re.escape(prefix)}-({CLIENT}|{SERVER}|[rb][0-9]+)")
    found = [match[1] for match in map(pattern.fullmatch, listed) if match]
    return sorted(found, key=_position)


def _position(host: str) -> tuple[bool, float]:
    """Whether beside the chain, and where."""
    ends = {CLIENT: 0, SERVER: math.inf}
    return host[0] == "b", ends[host] if host in ends else int(host[1:])


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
    names = topology.hosts()
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
        *(
            Step(("tc", "-n", namespace(prefix, shaper.host), "qdisc", "add", "dev", shaper.interface, *shaper.words), needs=shaper.needs)
            for shaper in shapers(topology)
        ),
    ]


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _pairs(topology: Topology, prefix: str) -> Iterator[str]:
    for nearer, farther in topology.wires():
        names = interface(topology, nearer, farther), interface(topology, farther, nearer)
        yield (
            f"link add name {names[0]} netns {namespace(prefix, nearer)} type veth peer name {names[1]} netns {namespace(prefix, farther)}"
        )


def interface(topology: Topology, host: str, neighbour: str) -> str:
    """What a host's interface to a neighbour is called."""
    way_back, beside = topology.way_back, topology.back_names()
    if way_back is not None and neighbour in beside and host not in beside:
        return TO_BACK if (host, neighbour) == (way_back.leaves, beside[0]) else FROM_BACK
    return TO_SERVER if (host, neighbour) in topology.wires() else TO_CLIENT


def _interfaces(topology: Topology, host: str) -> Iterator[tuple[str, int, str]]:
    """Interface, MTU, own address."""
    for number, (pair, addresses) in enumerate(topology.wires().items()):
        if host in pair:
            mtu = topology.link(number).mtu if number <= topology.routers else Link().mtu
            yield interface(topology, host, pair[host == pair[0]]), mtu, str(addresses[host])


def _addressing(topology: Topology, host: str) -> Iterator[str]:
    yield "link set dev lo up"
    for name, mtu, address in _interfaces(topology, host):
        # One wire packet at a time: filters by length see what a wire would carry.
        yield f"link set dev {name} mtu {mtu} gso_max_segs 1"
        yield f"addr add {address}/24 dev {name}"
        yield f"link set dev {name} up"
    yield from _routes(topology, host)


def _routes(topology: Topology, host: str) -> Iterator[str]:
    """To every link that is not the host's own: over the neighbour on its side, which may be another for each end of it."""
    wires = topology.wires()
    for pair, addresses in wires.items():
        if host in pair:
            continue
        over = {end: topology.next_host(host, end)[0] for end in pair}
        gateways = {end: next(wires[wire][near] for wire in wires if set(wire) == {host, near}) for end, near in over.items()}
        if len(set(over.values())) == 1:
            yield f"route add {ip_network(f'{addresses[pair[0]]}/24', strict=False)} via {gateways[pair[0]]}"
        else:
            yield from (f"route add {addresses[end]}/32 via {gateways[end]}" for end in pair)


def _settings(topology: Topology, host: str, *, ethtool: bool) -> Iterator[str]:
    """A shell script for inside the namespace."""
    router = host not in (CLIENT, SERVER)
    yield f"echo {int(router)} > /proc/sys/net/ipv4/ip_forward"
    for interface in ("all", *(name for name, _, _ in _interfaces(topology, host))):
        yield f"echo 0 > /proc/sys/net/ipv4/conf/{interface}/rp_filter"
    if router:
        yield from _icmp_limits(topology.icmp_errors_per_s)
    for nat in topology.nats:
        yield from _timeouts(nat.timeouts) if nat.at == host else ()
    for firewall in topology.firewalls:
        yield from _timeouts(firewall.timeouts) if firewall.at == host else ()
    if ethtool:
        for interface, _, _ in _interfaces(topology, host):
            yield f"ethtool -K {interface} tx off rx off tso off gso off gro off > /dev/null"


def _timeouts(timeouts: Timeouts) -> Iterator[str]:
    """Of connection tracking, before and after something came back."""
    settings = (
        (timeouts.tcp_s, ("tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_established")),
        (timeouts.udp_s, ("udp_timeout", "udp_timeout_stream")),
        (timeouts.gre_s, ("gre_timeout", "gre_timeout_stream")),
        (timeouts.other_s, ("generic_timeout",)),
    )
    for seconds, names in settings:
        if seconds is not None:
            yield from (f"echo {max(1, round(seconds))} > /proc/sys/net/netfilter/nf_conntrack_{name}" for name in names)


def _icmp_limits(errors_per_s: float) -> Iterator[str]:
    spacing_ms = round(1000 / errors_per_s) if errors_per_s else 0
    yield f"echo {spacing_ms} > /proc/sys/net/ipv4/icmp_ratelimit"
    if not errors_per_s:
        # A limit for all askers together lies above the one for each; before Linux 6.12 it belongs to the whole machine and is left alone.
        for name in ("icmp_msgs_per_sec", "icmp_msgs_burst"):
            yield f"if [ -e /proc/sys/net/ipv4/{name} ]; then echo {_UNLIMITED_ICMP} > /proc/sys/net/ipv4/{name}; fi"


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
