"""The whole story: the state of the network, the direct path, the tunnel with what is tried while it is watched, and all put back.

What is tried runs while the watch runs, so that the watch's length is what a verification takes beside coming up and going down. An
interruption ends the watch early, and never leaves the tunnel up.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar

from vpnprobe import __version__
from vpnprobe.deployment.verification import proofs, traffic_proofs
from vpnprobe.deployment.verification.asked import Asked, Network, asked_of
from vpnprobe.deployment.verification.beyond import Host, Reached, differ, reach, seen_by
from vpnprobe.deployment.verification.echoes import EchoSocket
from vpnprobe.deployment.verification.leak_watch import LeakWatch, Sent
from vpnprobe.deployment.verification.model import Leak, Proof, Question, TunnelFacts, Verification, WatchFacts
from vpnprobe.deployment.verification.naming import Resolvers, read_resolvers
from vpnprobe.deployment.verification.network_state import entries, put_back, read_state
from vpnprobe.deployment.verification.process import Endpoint, Secrets, TunnelProcess, find_openvpn
from vpnprobe.deployment.verification.provoking import TRANSPORTS, Provoker
from vpnprobe.deployment.verification.traffic import Surroundings, is_excepted
from vpnprobe.deployment.verification.traffic_proofs import Ways
from vpnprobe.deployment.verification.trials import (
    Beyond,
    Data,
    Size,
    Speed,
    beyond_trial,
    data_trial,
    size_trial,
    speed_trial,
)
from vpnprobe.deployment.verification.way_out import TO_SEND_TO, TO_SEND_TO6, Answer, links_of, ways
from vpnprobe.profiles.files import read_text
from vpnprobe.profiles.identity import statements_in
from vpnprobe.profiles.model import Profile
from vpnprobe.transports.resolving import first_address_of
from vpnprobe.transports.stack import Address, Packet
from vpnprobe.transports.system.routing import Flow, way_of
from vpnprobe.wire.ip import IpProtocol

DIRECT_SPEED_S: Final = 0.4
RESOLVE_S: Final = 2.0
LOOK_EVERY_S: Final = 0.8
LONGEST_TRIALS_S: Final = 12.0
QUIET_S: Final = 0.5
"""Before traffic of our own begins."""
AFTER_BREAKING_S: Final = 1.0
"""How long it is watched at least after the tunnel broke."""
MOST_TIMES: Final = 3
"""Rounds in which one address of a route or rule is sent to."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be verified."""

    profile: Profile
    secrets: Secrets
    for_s: float
    """How long it is watched at least."""
    up_within_s: float
    beyond: tuple[Host, ...] = ()
    seen_by: str = ""
    """URL; empty: nobody is asked."""


@dataclass(slots=True)
class _Tried:
    """What came of the trials; None: it was not tried, or not to its end."""

    data: Data = field(default_factory=lambda: Data(None, 0, 0, None, ""))
    size: Size | None = None
    beyond: Beyond | None = None
    speed: Speed | None = None
    named: tuple[Reached, ...] = ()
    seen: Address | str = ""


class Verifier:
    """One verification. Raises CannotRun where this machine lacks something: nothing has been changed then."""

    def __init__(self, request: Request, tell: Callable[[str], None]) -> None:
        self._request = request
        self._tell = tell
        self._interrupted = asyncio.Event()
        self._process: TunnelProcess | None = None
        self._broken = asyncio.Event()
        self._quiet_over = asyncio.Event()
        self._answers: dict[tuple[object, ...], Answer] = {}
        self._times: dict[Flow, int] = {}
        self._tried = _Tried()
        self.leaked: list[Packet] = []
        """Packets that left beside the tunnel."""

    def interrupt(self) -> None:
        """Ends it early; the tunnel is taken down as ever."""
        self._interrupted.set()
        if self._process is not None and self._process.connected is None:
            self._process.fail("it was interrupted")

    async def verify(self) -> Verification:
        """All of it."""
        request, began, started = self._request, time.monotonic(), datetime.now(UTC)
        program, before = find_openvpn(), await asyncio.to_thread(read_state)
        direct, seen_before = await self._direct()
        self._process = process = TunnelProcess(program, Path(request.profile.file), request.secrets, attempts=_attempts(request.profile))
        scripted = _asked(request.profile, "").has_scripts
        found: list[Proof] = []
        tunnel, watch, leaks = None, None, list[Leak]()
        at = time.monotonic()
        try:
            async with process:
                if self._interrupted.is_set():
                    process.fail("it was interrupted")
                if await process.come_up(request.up_within_s):
                    self._tell(f"the tunnel is up; it is watched for {request.for_s:g} s")
                    tunnel, watch, leaks, found = await self._watched(process, time.monotonic() - at, direct, seen_before)
                else:
                    found = [proofs.not_up(process.problem, interrupted=self._interrupted.is_set())]
        finally:
            await asyncio.to_thread(put_back, before, process.lines, with_resolver=scripted)
        after = await asyncio.to_thread(read_state)
        found.append(proofs.restored(*after.differences(before, process.lines, process.device, all_its_own=scripted)))
        return Verification(
            profile=request.profile.file,
            started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            duration_s=time.monotonic() - began,
            complete=not self._interrupted.is_set(),
            version=__version__,
            tunnel=tunnel,
            watch=watch,
            proofs=sorted(found, key=lambda proof: list(Question).index(proof.question)),
            leaks=leaks,
        )

    async def _direct(self) -> tuple[Speed | None, Address | str]:
        """The path beside the tunnel, before it is up: its speed, and the address that it is seen with."""
        url = self._request.seen_by
        remote = self._request.profile.remotes[0]
        seen = await seen_by(url) if url else ""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(RESOLVE_S):
                address = await first_address_of(remote.host)
                with closing(EchoSocket(address.version)) as sock:
                    return await speed_trial(sock, address, lasting_s=DIRECT_SPEED_S), seen
        return None, seen

    async def _watched(
        self, process: TunnelProcess, up_after_s: float, direct: Speed | None, seen_before: Address | str
    ) -> tuple[TunnelFacts, WatchFacts, list[Leak], list[Proof]]:
        """While it is up."""
        assert process.connected is not None
        up_at = time.monotonic()
        asked = _asked(self._request.profile, process.pushed)
        server = process.endpoint or _endpoint(process, self._request.profile)
        device, addresses, mtu_bytes, inside = _device_of(process)
        here = Surroundings(asked=asked, links=links_of(device), servers=frozenset((server,)), inside=inside)
        resolvers = await asyncio.to_thread(read_resolvers)
        sent = Sent()
        watch = LeakWatch(here, device, sent, unix_time=time.time)
        provoker = Provoker(sent, lambda: self._flows(asked, device), resolvers.asked)
        process.on_broken = self._broken.set
        if process.broke_at is not None:
            self._broken.set()
        watch.start()
        try:
            await self._during(watch, here, device, mtu_bytes, server, provoker)
        finally:
            watch.stop()
        broke_after_s = None if process.broke_at is None else round(process.broke_at - up_at, 2)
        self.leaked = watch.packets
        facts, leaks = watch.facts, watch.leaks
        tunnel = _facts(device, addresses, mtu_bytes, server, asked, self._tried.data, up_after_s)
        judged = Ways(device, tuple(self._answers.values()), asked)
        beside = _asked_beside(resolvers, device, asked)
        others = [one for one in watch.sources if one not in {server.address, *asked.gateways} and not any(one in net for net in inside)]
        seen = (seen_before, self._tried.seen, differ(seen_before, self._tried.seen, {server.address})) if self._request.seen_by else None
        why = proofs.CUT_SHORT if broke_after_s is not None or self._interrupted.is_set() else proofs.SILENT
        found = [
            proofs.up(tunnel, broke_after_s, process.connected.detail),
            proofs.data(self._tried.data, facts.through_tunnel["received"]),
            traffic_proofs.path(judged, broke=broke_after_s is not None),
            traffic_proofs.leaks(leaks, facts, broke=broke_after_s is not None),
            traffic_proofs.ipv6(judged, leaks),
            traffic_proofs.dns(resolvers, asked, facts, leaks, beside),
            proofs.beyond(self._tried.beyond, others, self._tried.named, seen),
            proofs.size(self._tried.size, asked, server.transport, why),
            proofs.throughput(self._tried.speed, direct, why),
        ]
        return tunnel, facts, leaks, found

    async def _during(
        self, watch: LeakWatch, here: Surroundings, device: str, mtu_bytes: int, server: Endpoint, provoker: Provoker
    ) -> None:
        """What runs while it is watched: lookups, our own traffic, trials; until the time is up and the trials have ended."""
        until = time.monotonic() + self._request.for_s
        await self._look(device, here, server)
        async with AsyncExitStack() as stack:
            started = _started(stack)
            started(self._provoking(provoker))
            trials = started(self._trials(device, here.asked, mtu_bytes, server))
            started(self._looking(device, here, server))
            broken = started(self._after_breaking(provoker))
            until_done = started(self._until_done(until, trials, broken))
            interrupted = started(self._interrupted.wait())
            await asyncio.wait(
                (until_done, interrupted), timeout=self._request.for_s + LONGEST_TRIALS_S, return_when=asyncio.FIRST_COMPLETED
            )
        await self._look(device, here, server)

    async def _until_done(self, until: float, trials: "asyncio.Task[None]", broken: "asyncio.Task[None]") -> None:
        """The time is up, and the trials have ended; or the tunnel is broken, and it is known where packets go since."""
        await asyncio.sleep(until - time.monotonic())
        await asyncio.wait((trials, broken), return_when=asyncio.FIRST_COMPLETED)
        if self._broken.is_set():
            await asyncio.wait((broken,))

    async def _after_breaking(self, provoker: Provoker) -> None:
        """Where the tunnel breaks, what is sent then tells where it goes."""
        await self._broken.wait()
        self._times.clear()
        for _ in range(4):
            provoker.round()
            await asyncio.sleep(AFTER_BREAKING_S / 4)

    async def _provoking(self, provoker: Provoker) -> None:
        """After the routers beyond the server have been asked: they send few errors to one asker."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet_over.wait(), QUIET_S)
        await provoker.run()

    async def _looking(self, device: str, here: Surroundings, server: Endpoint) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look(device, here, server)

    async def _look(self, device: str, here: Surroundings, server: Endpoint) -> None:
        for answer in await asyncio.to_thread(ways, device, here.links, here.asked.through, server=server.address):
            self._answers.setdefault((answer.question, answer.way.device), answer)

    def _flows(self, asked: Asked, device: str) -> list[Flow]:
        """Where our own packets go: outside, and where a route or rule leads around the tunnel."""
        kinds = zip(TO_SEND_TO, (IpProtocol.ICMP, *TRANSPORTS), strict=True)
        general = [*(Flow(address, protocol=int(kind)) for address, kind in kinds), *map(Flow, TO_SEND_TO6[:1])] if asked.full else []
        found = Ways(device, tuple(self._answers.values()), asked)
        # Addresses that are somebody's are looked up and never sent to.
        special = [one.question.flow for version in (4, 6) for one in found.astray(version) if one.question.because]
        special += [one.question.flow for one in found.inside(4) if not asked.full and one.question.because]
        for flow in special:
            self._times[flow] = self._times.get(flow, 0) + 1
        return list(dict.fromkeys([*general, *(flow for flow in special if self._times[flow] <= MOST_TIMES)]))

    async def _trials(self, device: str, asked: Asked, mtu_bytes: int, server: Endpoint) -> None:
        """One after the other, each using what the one before found; hosts that the user names are asked meanwhile."""
        tried = self._tried
        named = [asyncio.ensure_future(reach(host)) for host in self._request.beyond]
        seen = asyncio.ensure_future(seen_by(self._request.seen_by)) if self._request.seen_by else None
        tasks: list[asyncio.Future[Any]] = [*named, *([seen] if seen else [])]
        try:
            with suppress(OSError), closing(EchoSocket(4, device=device)) as sock:
                await self._echoes(sock, asked, mtu_bytes, server)
            tried.named = tuple([await one for one in named])
            tried.seen = await seen if seen is not None else ""
        finally:
            for task in tasks:
                task.cancel()

    async def _echoes(self, sock: EchoSocket, asked: Asked, mtu_bytes: int, server: Endpoint) -> None:
        tried, candidates = self._tried, [address for address in asked.gateways if address.version == 4]
        own = {*candidates, server.address}
        if asked.full4:
            tried.beyond = await beyond_trial(sock, TO_SEND_TO[:1], own, None)
        self._quiet_over.set()
        tried.data = await data_trial(sock, candidates, TO_SEND_TO[0], lasting_s=min(3.0, max(1.5, self._request.for_s / 2)))
        gateway, delay_s = tried.data.gateway, tried.data.delay_s
        if tried.beyond is not None and tried.beyond.source is None:
            tried.beyond = await beyond_trial(sock, TO_SEND_TO[1:2], own, delay_s)
        if gateway is not None and tried.data.by == "echo reply":
            tried.size = await size_trial(sock, gateway, mtu_bytes, delay_s)
            tried.speed = await speed_trial(sock, gateway)


def _asked(profile: Profile, pushed: str) -> Asked:
    return asked_of(statements_in(read_text(Path(profile.file)), profile.file), pushed)


def _attempts(profile: Profile) -> int:
    """How often it may begin anew."""
    return max(2, len(profile.remotes) + 1)


def _endpoint(process: TunnelProcess, profile: Profile) -> Endpoint:
    """From its state, where the log does not say."""
    state, remote = process.connected, profile.remotes[0]
    assert state is not None
    return Endpoint(state.server or ip_address("0.0.0.0"), state.port or remote.port, remote.transport.value)


def _device_of(process: TunnelProcess) -> tuple[str, tuple[str, ...], int, tuple[Network, ...]]:
    """Name, addresses, MTU and networks of the tunnel's device: by its name, else by the address that OpenVPN tells."""
    links = entries("addr", "show")
    own = None if process.connected is None or process.connected.address is None else str(process.connected.address)
    for link in links:
        addresses = [one for one in link.get("addr_info", ()) if one.get("scope") != "link"]
        if link.get("ifname") == process.device or (not process.device and any(one.get("local") == own for one in addresses)):
            networks = [ip_network(f"{one.get('address', one['local'])}/{one['prefixlen']}", strict=False) for one in addresses]
            return str(link["ifname"]), tuple(str(one["local"]) for one in addresses), int(link.get("mtu", 1500)), tuple(networks)
    return process.device, (), 1500, ()


def _facts(
    device: str, addresses: tuple[str, ...], mtu_bytes: int, server: Endpoint, asked: Asked, data: Data, up_after_s: float
) -> TunnelFacts:
    gateway = data.gateway or next(iter(asked.gateways), None)
    return TunnelFacts(
        device=device,
        addresses=addresses,
        gateway="" if gateway is None else str(gateway),
        mtu_bytes=mtu_bytes,
        server=str(server.address),
        port=server.port,
        transport=server.transport,
        up_after_s=round(up_after_s, 2),
        full=asked.full,
        routes=tuple(map(str, asked.through)),
        around=tuple(map(str, asked.around)),
        dns=tuple(map(str, asked.dns)),
        pushed=asked.pushed,
    )


def _asked_beside(resolvers: Resolvers, device: str, asked: Asked) -> list[str]:
    """Resolvers whose queries the kernel would send around the tunnel; after it is known that it is to carry them."""
    found = []
    for address in (one for one in resolvers.asked if asked.full and not is_excepted(one, asked)):
        with suppress(OSError):
            way = way_of(Flow(address, protocol=17, port=53))
            if way.device not in ("", "lo", device) and not way.local:
                found.append(f"{address} on {way.device}")
    return found


def _started(stack: AsyncExitStack) -> Callable[[Coroutine[Any, Any, T]], "asyncio.Task[T]"]:
    """Starts tasks that are cancelled when the stack is left."""

    def start(coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.ensure_future(coroutine)
        stack.push_async_callback(_ended, task)
        return task

    return start


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
