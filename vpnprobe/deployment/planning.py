"""A whole plan for a server: keys, configurations, sysctls, firewall, services; and what must hold when it is applied.

Made on the server it is compared with what is there. Made elsewhere it has no steps that only the server can tell (its firewall, its
services): `completed` adds them when it is applied. A plan over one that is applied keeps its authority and its keys.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from vpnprobe import __version__
from vpnprobe.deployment.checks import Precondition
from vpnprobe.deployment.choosing import Wishes, is_unique_local, settings_of
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.clients import add_client, profile_after
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.encoding import CLIENTS
from vpnprobe.deployment.firewall.needs import FirewallNeeds, Tunnel, TunnelIpv6
from vpnprobe.deployment.firewall.packet_filter import pf_files
from vpnprobe.deployment.firewall.planning import firewall_steps
from vpnprobe.deployment.host import HostFacts, control_ports, inspect_host, is_taken
from vpnprobe.deployment.openvpn_server import SUPPORTED, Places, places, run_folder, server_configuration
from vpnprobe.deployment.openvpn_trial import try_configuration
from vpnprobe.deployment.pki import File, read_authority
from vpnprobe.deployment.pki_adoption import adopt
from vpnprobe.deployment.settings import FOLDER, KEYS, PKI, RUN, STATE, Listener, Settings, Wrap, decode_settings
from vpnprobe.deployment.site import (
    Outcome,
    Site,
    complete,
    digest,
    file_steps,
    folder_steps,
    new_site,
    read_once,
    read_site,
)
from vpnprobe.deployment.steps import (
    AnyStep,
    MakeDirectory,
    ManageUnit,
    Plan,
    RemoveFile,
    SetSysctl,
    StartDaemon,
    StopDaemon,
    StopUnit,
    WriteFile,
)
from vpnprobe.deployment.transactions import status
from vpnprobe.deployment.watchdog import BOOT_UNIT, BOOT_UNIT_NAME
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.firewall.detect import detect
from vpnprobe.firewall.state import FirewallState
from vpnprobe.observations.schema import Result, Transport

FORWARDING: Final = "/etc/sysctl.d/60-vpnprobe.conf"
"""Makes our own sysctls last. Nothing loads it but the next boot."""
FORWARDS: Final = "Clients' packets go on from the tunnel."
DNS_PORT: Final = 53
FIREWALL: Final = "firewall"
"""In what a plan says of its host: the fingerprint of the firewall's rules, among which new ones have their places."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Made:
    """A plan, and what is for clients."""

    plan: Plan
    profiles: Mapping[str, str]
    """By client: the text of its profile."""
    by_hand: Mapping[str, str] = field(default_factory=dict)
    """By file name: rules for a server whose firewall no step concerns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """An authority of easy-rsa's that is to be taken over."""

    folder: str
    """easy-rsa's `pki`, a path on the server."""
    passphrase: bytes | None = field(default=None, repr=False)
    """Of the authority's key, where it has one."""


def make_plan(result: Result, wishes: Wishes, *, root: Path, clients: Sequence[str], now: datetime, adopted: Adopted | None = None) -> Made:
    """What would be done on this server. Raises UsageError (REFUSED) for what is in the way, CannotRun for what it lacks."""
    facts = inspect_host(root)
    applied = applied_settings(root)
    own = _networks(applied)
    used = [network for network in facts.routes if network not in own]
    settings = settings_of(result, wishes, used=used, user="nobody", group=facts.group)
    files, profiles = _keys(settings, root, clients, now, adopted)
    configurations = list(_configurations(settings, facts))
    _try(configurations, files, settings, facts)
    firewall = detect(root, place=inside)
    plan = Plan(
        made_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        summary=_summary(settings),
        host={**facts.identity, FIREWALL: firewall.fingerprint},
        settings=settings.as_json(),
        steps=[*_directories(), *file_steps(files, root), *configurations, *_on_the_server(settings, facts, applied, firewall)],
        compared=True,
        vpnprobe=__version__,
    )
    return Made(plan, profiles)


def make_plan_elsewhere(result: Result, wishes: Wishes, *, clients: Sequence[str], now: datetime) -> Made:
    """What would be done on a server that this is not: compared with nothing, and without what only the server can tell."""
    settings = settings_of(result, wishes, used=(), user="nobody", group="nogroup")
    files, profiles = _new_keys(new_site(settings, now=now), clients, now)
    texts = [_file(settings, listener, SUPPORTED, places(listener, systemd=True), ipv6=True) for listener in settings.listeners]
    plan = Plan(
        made_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        summary=_summary(settings),
        host={},
        settings=settings.as_json(),
        steps=[*_directories(), *file_steps(files, None), *file_steps(texts, None)],
        compared=False,
        vpnprobe=__version__,
    )
    return Made(plan, profiles, by_hand=pf_files(settings))


def completed(plan: Plan, root: Path) -> Plan:
    """A plan that was made elsewhere, with what only this server can tell. Raises UsageError and CannotRun as `make_plan` does."""
    facts = inspect_host(root)
    settings = replace(decode_settings(plan.settings), group=facts.group)
    if applied_settings(root) is not None:
        raise UsageError(
            "a server is set up here already: make the next plan on it (with --here where the result names another address of it)",
            status=ExitStatus.REFUSED,
        )
    if read_authority(root) is not None:
        raise UsageError(
            f"there is an authority in {PKI}, which this plan would replace: make the plan on this server", status=ExitStatus.REFUSED
        )
    configurations = {step.path: step for step in _configurations(settings, facts)}
    steps = [configurations.get(step.path, step) if isinstance(step, WriteFile) else step for step in plan.steps]
    return replace(plan, steps=[*steps, *_on_the_server(settings, facts, None, detect(root, place=inside))], settings=settings.as_json())


def applied_settings(root: Path) -> Settings | None:
    """Those of the server that is applied; None: none is. Raises UsageError where they cannot be read."""
    plan = status(root).plan
    return None if plan is None else decode_settings(plan["settings"])


def require_applied(root: Path) -> Settings:
    """As `applied_settings`. Raises UsageError (REFUSED) where none is."""
    found = applied_settings(root)
    if found is None:
        raise UsageError("nothing is applied here: vpnprobe provision apply DIR does that", status=ExitStatus.REFUSED)
    return found


def _networks(settings: Settings | None) -> set[Network]:
    """Networks that are a server's own tunnels."""
    listeners = () if settings is None else settings.listeners
    return {network for listener in listeners for network in (listener.pool, listener.pool6) if network is not None}


def _summary(settings: Settings) -> str:
    return f"OpenVPN at {settings.host}, {' and '.join(map(_served, settings.listeners))}"


def _served(listener: Listener) -> str:
    return f"{listener.transport}/{listener.port}" + (f" in {listener.wrap}" if listener.wrap is not Wrap.NONE else "")


def _keys(
    settings: Settings, root: Path, clients: Sequence[str], now: datetime, adopted: Adopted | None
) -> tuple[tuple[File, ...], dict[str, str]]:
    """The files of keys that are missing, and of new clients, with their profiles."""
    there = read_site(root, settings, passphrase=None if adopted is None else adopted.passphrase)
    if there is not None and adopted is not None:
        raise UsageError(f"there is an authority in {PKI} already, and {adopted.folder} is not adopted", status=ExitStatus.REFUSED)
    if there is not None:
        return _new_keys(complete(there, now=now), clients, now)
    if adopted is None:
        return _new_keys(new_site(settings, now=now), clients, now)
    change = adopt(root, adopted.folder, now=now, passphrase=adopted.passphrase)
    site = Site(settings=settings, authority=change.authority, wraps={}, served=False)
    return _new_keys(complete(site, now=now, begun=change), clients, now)


def _new_keys(outcome: Outcome, clients: Sequence[str], now: datetime) -> tuple[tuple[File, ...], dict[str, str]]:
    files, profiles = {file.path: file for file in outcome.files}, {}
    for name in clients:
        outcome = add_client(outcome.site, name, now=now)
        files |= {file.path: file for file in outcome.files}
        profiles[name] = profile_after(outcome, name, Target.LINUX)
    return tuple(files.values()), profiles


def _directories() -> Iterator[AnyStep]:
    yield from folder_steps()
    yield MakeDirectory(id="folder-state", why="What the servers remember of their clients' addresses.", path=STATE, mode=0o755)
    yield MakeDirectory(id="folder-run", why="Their control sockets.", path=RUN, mode=0o700, contents=True)


def _configurations(settings: Settings, facts: HostFacts) -> Iterator[WriteFile]:
    for listener in settings.listeners:
        file = _file(settings, listener, ".".join(map(str, facts.openvpn_version)), places_of(listener, facts), ipv6=facts.ipv6)
        yield from file_steps((file,), facts.root)


def _file(settings: Settings, listener: Listener, version: str, where: Places, *, ipv6: bool) -> File:
    """A server's configuration."""
    text = server_configuration(settings, listener, version=version, where=where, ipv6=ipv6)
    return File(path=_configuration(listener), content=text.encode(), mode=0o600, why=_why(listener))


def _why(listener: Listener) -> str:
    return f"The server on {listener.transport}/{listener.port}."


def _try(configurations: Sequence[WriteFile], files: Sequence[File], settings: Settings, facts: HostFacts) -> None:
    """Each is started for real, in a network namespace of its own, with the keys that it would have. Raises CannotRun (REFUSED)."""
    there = inside(facts.root, KEYS)
    known = {f"{KEYS}/{path.name}": path.read_bytes() for path in (there.iterdir() if there.is_dir() else ()) if path.is_file()}
    keys = {**known, **{file.path: file.content for file in files if file.path.startswith(f"{KEYS}/")}}
    for step in configurations:
        try_configuration(step.content.decode(), keys, program=facts.openvpn, user=settings.user, group=settings.group)


def _configuration(listener: Listener) -> str:
    return f"{FOLDER}/{listener.name}.conf"


def places_of(listener: Listener, facts: HostFacts) -> Places:
    """Where a running server keeps what is not configuration."""
    return places(listener, systemd=facts.systemd)


def _on_the_server(settings: Settings, facts: HostFacts, applied: Settings | None, firewall: FirewallState) -> list[AnyStep]:
    """What is no file of OpenVPN's. `applied`: what is served until now; None: nothing is."""
    rules = firewall_steps(firewall, firewall_needs(settings, facts), root=facts.root)
    return [*_sysctls(settings, facts), *rules, *_dropped(settings, facts, applied), *service_steps(settings, facts)]


def _dropped(settings: Settings, facts: HostFacts, applied: Settings | None) -> Iterator[AnyStep]:
    """Servers that the plan has no more are ended before others start, which may have their pools."""
    kept = {listener.name for listener in settings.listeners}
    for listener in () if applied is None else applied.listeners:
        if listener.name in kept:
            continue
        name, path = listener.name, _configuration(listener)
        why = f"The plan has no server on {listener.transport}/{listener.port} any more."
        if facts.systemd:
            yield StopUnit(id=f"no-service-{name}", why=why, unit=_unit(listener))
        else:
            yield StopDaemon(id=f"no-service-{name}", why=why, name=name)
        yield RemoveFile(id=f"no-file-{name}", why=why, path=path, before=digest(facts.root, path))


def _unit(listener: Listener) -> str:
    """The distribution's, of a listener."""
    return f"openvpn-server@{listener.name}.service"


def firewall_needs(settings: Settings, facts: HostFacts) -> FirewallNeeds:
    """What has to pass the server's firewall."""
    gateways = {listener.pool.network_address + 1 for listener in settings.listeners}
    resolves = any(resolver in gateways for resolver in settings.dns)
    return FirewallNeeds(
        listeners=tuple((listener.transport, listener.port) for listener in settings.listeners),
        tunnels=tuple(Tunnel(device=one.device, pool=one.pool, pool6=one.pool6) for one in settings.listeners),
        egress=facts.egress,
        egress6=facts.egress6,
        control_ports=control_ports(),
        services=((Transport.UDP, DNS_PORT), (Transport.TCP, DNS_PORT)) if resolves else (),
        ipv6=tunnel_ipv6(settings),
    )


def tunnel_ipv6(settings: Settings) -> TunnelIpv6:
    """What becomes of it. Nobody on the Internet has a route to a unique local address (RFC 4193), so it is translated."""
    pools = [listener.pool6 for listener in settings.listeners if listener.pool6 is not None]
    if not pools:
        return TunnelIpv6.BLOCKED
    return TunnelIpv6.NATED if is_unique_local(pools[0]) else TunnelIpv6.ROUTED


def _sysctls(settings: Settings, facts: HostFacts) -> Iterator[AnyStep]:
    wanted = {"net.ipv4.ip_forward": facts.forwards}
    if any(listener.pool6 is not None for listener in settings.listeners):
        wanted["net.ipv6.conf.all.forwarding"] = facts.forwards6
    text = "# Written by vpnprobe: clients' packets go on from the tunnel.\n" + "".join(f"{key} = 1\n" for key in wanted)
    file = File(path=FORWARDING, content=text.encode(), mode=0o644, why="Forwarding lasts over a reboot.")
    yield from file_steps((file,), facts.root)
    for key, forwards in wanted.items():
        yield SetSysctl(id=f"sysctl-{key}", why=FORWARDS, key=key, value="1", before="1" if forwards else "0")


def service_steps(settings: Settings, facts: HostFacts) -> Iterator[AnyStep]:
    """The servers run, with what is on the disk."""
    if facts.systemd:
        why = "What was not finished or confirmed when the power went is taken back at the next boot."
        file = File(path=f"/etc/systemd/system/{BOOT_UNIT_NAME}", content=BOOT_UNIT.encode(), mode=0o644, why=why)
        yield from file_steps((file,), facts.root)
        yield ManageUnit(id="service-rollback", why=why, unit=BOOT_UNIT_NAME, start=False, files=(file.path,))
    for listener in settings.listeners:
        files = (_configuration(listener), *read_once(listener))
        why = f"The server on {listener.transport}/{listener.port} runs, and its changes take effect."
        if facts.systemd:
            yield ManageUnit(id=f"service-{listener.name}", why=why, unit=_unit(listener), files=files)
        else:
            folder = run_folder(listener)
            yield MakeDirectory(
                id=f"folder-run-{listener.name}", why="Its control socket and status.", path=folder, mode=0o700, contents=True
            )
            argv = (facts.openvpn, "--config", f"{listener.name}.conf")
            yield StartDaemon(id=f"service-{listener.name}", why=why, name=listener.name, argv=argv, folder=FOLDER, files=files)


def preconditions(plan: Plan, root: Path) -> list[Precondition]:
    """What is asked once more before anything is changed: each gives what is in the way in one line, or None."""
    settings, applied = decode_settings(plan.settings), applied_settings(root)
    ours = {(one.transport, one.port) for one in (() if applied is None else applied.listeners)}
    own = _networks(applied) | _networks(settings)

    def ports() -> str | None:
        for listener in settings.listeners:
            if (listener.transport, listener.port) not in ours and is_taken(listener.transport, listener.port):
                return f"another program has {listener.transport}/{listener.port}: end it, or plan another port (--listen)"
        return None

    def pools() -> str | None:
        used = [network for network in inspect_host(root).routes if network not in own]
        for listener in settings.listeners:
            for network in used:
                if network.version == 4 and network.overlaps(listener.pool):
                    return f"the pool {listener.pool} overlaps {network}, which this server uses: plan another (--pool)"
        return None

    def firewall() -> str | None:
        planned = plan.host.get(FIREWALL)
        if planned and detect(root, place=inside).fingerprint != planned:
            return "the firewall's rules have changed since the plan was made, and so may the places of new ones: make the plan again"
        return None

    return [ports, pools, firewall]


def write_profiles(profiles: Mapping[str, str], folder: Path) -> None:
    """Profiles of clients into `clients/` beside the plan, for whoever may read it. Raises UsageError (UNWRITABLE)."""
    for name, text in profiles.items():
        path = folder / CLIENTS / f"{name}.ovpn"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}", status=ExitStatus.UNWRITABLE) from None
