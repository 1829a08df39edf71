"""A whole plan for a server: keys, configurations, sysctls, firewall, services, each step with its reason; and what must hold when it is applied.

Made on the server it compares with what is there. Made elsewhere it has no steps that only the server can tell (its firewall, its services):
`completed` adds them when it is applied. A plan over one that is applied keeps its authority and its keys.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from vpnprobe import __version__
from vpnprobe.deployment.checks import Precondition
from vpnprobe.deployment.choosing import Wishes, settings_of
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.clients import add_client, profile_after
from vpnprobe.deployment.firewall.detect import detect
from vpnprobe.deployment.firewall.needs import FirewallNeeds, Tunnel, TunnelIpv6
from vpnprobe.deployment.firewall.planning import firewall_steps
from vpnprobe.deployment.host import HostFacts, control_ports, inspect_host, is_taken
from vpnprobe.deployment.openvpn_server import Places, places, server_configuration
from vpnprobe.deployment.openvpn_trial import elsewhere
from vpnprobe.deployment.pki import File
from vpnprobe.deployment.settings import FOLDER, RUN, STATE, Listener, Settings, decode_settings
from vpnprobe.deployment.site import SERVER_CERTIFICATE, SERVER_KEY, Outcome, Site, complete, file_steps, folder_steps, new_site, read_site
from vpnprobe.deployment.steps import AnyStep, MakeDirectory, ManageUnit, Plan, SetSysctl, StartDaemon, WriteFile
from vpnprobe.deployment.transactions import status
from vpnprobe.deployment.watchdog import BOOT_UNIT, BOOT_UNIT_NAME
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Result, Transport

FORWARDING: Final = "/etc/sysctl.d/60-vpnprobe.conf"
"""Makes our own sysctls last. Nothing loads it but the next boot."""
DNS_PORT: Final = 53
CLIENTS: Final = "clients"
"""Folder of profiles beside a plan."""
KEY_FILES: Final = (SERVER_CERTIFICATE, SERVER_KEY)
"""Whose change means that a server has to be started anew. It reads the revocation list by itself."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan, and what is for clients."""

    plan: Plan
    profiles: dict[str, str]
    """By client: the text of its profile."""


def make_plan(result: Result, wishes: Wishes, *, root: Path, clients: Sequence[str], now: datetime) -> Made:
    """What would be done on this server. Raises UsageError (REFUSED) for what is in the way, CannotRun for what it lacks."""
    facts = inspect_host(root)
    applied = status(root).plan
    own = _own_pools(applied)
    used = [network for network in facts.routes if network not in own]
    settings = settings_of(result, wishes, used=used, user="nobody", group=facts.group)
    site, files, profiles = _keys(settings, root, clients, now)
    steps = [*_directories(), *file_steps(files, root), *_configurations(settings, facts), *_on_the_server(settings, facts)]
    plan = Plan(
        made_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        summary=_summary(site.settings),
        host=facts.identity,
        settings=settings.as_json(),
        steps=steps,
        compared=True,
        vpnprobe=__version__,
    )
    return Made(plan, profiles)


def _own_pools(applied: object) -> set[object]:
    """Networks that are this server's own tunnels."""
    if not isinstance(applied, dict) or not applied.get("settings"):
        return set()
    listeners = decode_settings(applied["settings"]).listeners
    return {network for listener in listeners for network in (listener.pool, listener.pool6) if network is not None}


def _summary(settings: Settings) -> str:
    served = " and ".join(
        f"{one.transport}/{one.port} in {one.wrap}" if one.wrap != "none" else f"{one.transport}/{one.port}" for one in settings.listeners
    )
    return f"OpenVPN at {settings.host}, {served}"


def _keys(settings: Settings, root: Path, clients: Sequence[str], now: datetime) -> tuple[Site, tuple[File, ...], dict[str, str]]:
    """The keys that are there, with what is missing; and those of new clients."""
    there = read_site(root, settings)
    outcome: Outcome = new_site(settings, now=now) if there is None else complete(there, now=now)
    files, profiles = {file.path: file for file in outcome.files}, {}
    for name in clients:
        outcome = add_client(outcome.site, name, now=now)
        files |= {file.path: file for file in outcome.files}
        profiles[name] = profile_after(outcome, name, Target.LINUX)
    return outcome.site, tuple(files.values()), profiles


def _directories() -> Iterator[AnyStep]:
    yield from folder_steps()
    yield MakeDirectory(id="folder-state", why="What the servers remember of their clients' addresses.", path=STATE, mode=0o755)
    yield MakeDirectory(id="folder-run", why="Their control sockets.", path=RUN, mode=0o755, contents=True)


def _configurations(settings: Settings, facts: HostFacts) -> Iterator[WriteFile]:
    for listener in settings.listeners:
        text = server_configuration(settings, listener, version=_version(facts), ipv6=Path("/proc/net/if_inet6").exists())
        file = File(
            path=_configuration(listener), content=text.encode(), mode=0o600, why=f"The server on {listener.transport}/{listener.port}."
        )
        yield from file_steps((file,), facts.root)


def _version(facts: HostFacts) -> str:
    return ".".join(map(str, facts.openvpn_version))


def _configuration(listener: Listener) -> str:
    return f"{FOLDER}/{listener.name}.conf"


def _on_the_server(settings: Settings, facts: HostFacts) -> list[AnyStep]:
    """What only the server itself can tell."""
    firewall = firewall_steps(detect(facts.root), firewall_needs(settings, facts), root=facts.root)
    return [*_sysctls(settings, facts), *firewall, *service_steps(settings, facts)]


def firewall_needs(settings: Settings, facts: HostFacts) -> FirewallNeeds:
    """What has to pass the server's firewall."""
    routed = any(listener.pool6 is not None for listener in settings.listeners)
    gateways = {listener.pool.network_address + 1 for listener in settings.listeners}
    resolves = any(resolver in gateways for resolver in settings.dns)
    return FirewallNeeds(
        listeners=tuple((listener.transport, listener.port) for listener in settings.listeners),
        tunnels=tuple(Tunnel(listener.device, listener.pool, listener.pool6) for listener in settings.listeners),
        egress=facts.egress,
        egress6=facts.egress6,
        control_ports=control_ports(),
        services=((Transport.UDP, DNS_PORT), (Transport.TCP, DNS_PORT)) if resolves else (),
        nat=True,
        ipv6=TunnelIpv6.ROUTED if routed else TunnelIpv6.BLOCKED,
    )


def _sysctls(settings: Settings, facts: HostFacts) -> Iterator[AnyStep]:
    wanted = {"net.ipv4.ip_forward": facts.forwards}
    if any(listener.pool6 is not None for listener in settings.listeners):
        wanted["net.ipv6.conf.all.forwarding"] = facts.forwards6
    text = "# Written by vpnprobe: clients' packets go on from the tunnel.\n" + "".join(f"{key} = 1\n" for key in wanted)
    file = File(path=FORWARDING, content=text.encode(), mode=0o644, why="Forwarding lasts over a reboot.")
    yield from file_steps((file,), facts.root)
    for key, forwards in wanted.items():
        yield SetSysctl(
            id=f"sysctl-{key}", why="Clients' packets go on from the tunnel.", key=key, value="1", before="1" if forwards else "0"
        )


def service_steps(settings: Settings, facts: HostFacts) -> Iterator[AnyStep]:
    if facts.systemd:
        why = "What was not finished or confirmed when the power went is taken back at the next boot."
        file = File(path=f"/etc/systemd/system/{BOOT_UNIT_NAME}", content=BOOT_UNIT.encode(), mode=0o644, why=why)
        yield from file_steps((file,), facts.root)
        yield ManageUnit(id="service-rollback", why=why, unit=BOOT_UNIT_NAME, start=False, files=(file.path,))
    for listener in settings.listeners:
        files = (_configuration(listener), *KEY_FILES)
        why = f"The server on {listener.transport}/{listener.port} runs, and its changes take effect."
        if facts.systemd:
            yield ManageUnit(id=f"service-{listener.name}", why=why, unit=f"openvpn-server@{listener.name}.service", files=files)
        else:
            yield StartDaemon(
                id=f"service-{listener.name}", why=why, name=listener.name, argv=_argv(listener, facts), folder=FOLDER, files=files
            )


def _argv(listener: Listener, facts: HostFacts) -> tuple[str, ...]:
    """Below another root what it writes goes there too."""
    where = places(listener)
    if facts.root != Path("/"):
        where = Places(
            *(str(facts.root / path.lstrip("/")) if path is not None else None for path in (where.management, where.pool, where.status))
        )
    return (facts.openvpn, "--config", f"{listener.name}.conf", *elsewhere(where))


def preconditions(plan: Plan, root: Path) -> list[Precondition]:
    """What is asked once more before anything is changed: each gives what is in the way in one line, or None."""
    settings, applied = decode_settings(plan.settings), status(root).plan
    ours = decode_settings(applied["settings"]).listeners if applied is not None else ()
    running = {(one.transport, one.port) for one in ours}

    def ports() -> str | None:
        for listener in settings.listeners:
            if (listener.transport, listener.port) not in running and is_taken(listener.transport, listener.port):
                return f"another program has {listener.transport}/{listener.port}: end it, or plan another port (--listen)"
        return None

    def pools() -> str | None:
        own = {network for one in (*ours, *settings.listeners) for network in (one.pool, one.pool6)}
        facts = inspect_host(root)
        used = [*(network for network in facts.routes if network not in own), *(ip_interface(str(one)).network for one in facts.addresses)]
        for listener in settings.listeners:
            for network in used:
                if network.version == 4 and network not in own and network.overlaps(listener.pool):
                    return f"the pool {listener.pool} overlaps {network}, which this server uses: plan another (--pool)"
        return None

    return [ports, pools]


def require_applied(root: Path) -> Settings:
    """The settings of the server that is applied. Raises UsageError where none is."""
    applied = status(root).plan
    if applied is None:
        raise UsageError("nothing is applied here: vpnprobe provision apply DIR does that", status=ExitStatus.REFUSED)
    return decode_settings(applied["settings"])


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
