"""From a result to the settings of a server: what was recommended, or works, and what the user wants otherwise.

Pure. What the path forbids is refused; what only the server's own firewall or a taken port stands in the way of is planned all the same,
since a plan opens the one and chooses another for the other.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import combinations, zip_longest
from typing import Final

from vpnprobe.deployment.settings import Lifetimes, Listener, Settings, Wrap
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Cause, Feasibility, Observation, Result, Transport
from vpnprobe.provisioning.certificates import KeyAlgorithm

OF_TRANSPORT: Final = {Transport.UDP: "openvpn-udp", Transport.TCP: "openvpn-tcp"}
"""The protocols of a verdict that can be set up."""
DEFAULT_PORT: Final = 1194
POOLS: Final = tuple(
    IPv4Network(text) for text in ("10.8.0.0/24", "10.8.1.0/24", "10.9.0.0/24", "10.86.24.0/24", "172.29.86.0/24", "192.168.186.0/24")
)
"""The first that nothing else uses is taken; OpenVPN's own examples have the first one."""
HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?", re.ASCII)
LONGEST_HOST: Final = 253
LIKELY_LAN_PREFIX: Final = 24
"""Of the client's network, whose prefix length a result does not tell."""

UNIQUE_LOCAL: Final = IPv6Network("fc00::/7")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user wants otherwise than the result has it. None and empty: as it is."""

    host: str | None = None
    """Name or address that clients connect to."""
    listeners: tuple[tuple[Transport, int, Wrap | None], ...] = ()
    """Transport, port and wrap; a wrap of None is the result's."""
    pools: tuple[IPv4Network, ...] = ()
    """In the order of the listeners."""
    pools6: tuple[IPv6Network, ...] = ()
    dns: tuple[Address, ...] = ()
    routes: tuple[Network, ...] = ()
    """Given: a split tunnel of these."""
    full_tunnel: bool | None = None
    key_algorithm: KeyAlgorithm | None = None
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    oldest_client: str | None = None


def settings_of(result: Result, wishes: Wishes, *, used: Sequence[Network], user: str, group: str) -> Settings:
    """The settings of a server. `used`: networks that the server reaches already. Raises UsageError (REFUSED)."""
    listeners = wishes.listeners or (_recommended(result),)
    _check_each_once(listeners, wishes)
    _check_path(result, listeners)
    client = _network_of(result.run.client)
    taken = [*used, *([client] if client is not None else [])]
    pools = list(_pools(len(listeners), wishes.pools, taken))
    told = result.recommendation.settings if result.recommendation is not None else {}
    return Settings(
        host=_checked_host(_host(result) if wishes.host is None else wishes.host),
        listeners=tuple(
            Listener(
                transport=transport,
                port=port,
                wrap=wrap or _wrap(result, transport, port),
                device=_device(transport, port, pool6),
                pool=pool,
                pool6=pool6,
            )
            for (transport, port, wrap), pool, pool6 in zip_longest(listeners, pools, wishes.pools6)
        ),
        dns=wishes.dns,
        full_tunnel=not wishes.routes if wishes.full_tunnel is None else wishes.full_tunnel,
        routes=wishes.routes,
        key_algorithm=wishes.key_algorithm or KeyAlgorithm.EC_P256,
        lifetimes=wishes.lifetimes,
        oldest_client=wishes.oldest_client or "2.5",
        mssfix=_number(told.get("mssfix")),
        tun_mtu=_number(told.get("tun_mtu")),
        keepalive=_keepalive(told.get("keepalive")),
        user=user,
        group=group,
    )


def _device(transport: Transport, port: int, pool6: IPv6Network | None) -> str:
    """Another one where the tunnel has IPv6: what an earlier plan had the firewall refuse from the one without stays refused there."""
    return f"vpn{'' if pool6 is None else '6'}-{transport}-{port}"


def _recommended(result: Result) -> tuple[Transport, int, Wrap | None]:
    """The OpenVPN that is recommended; else the one that works; else one that nothing but the server's own doing stands in the way of."""
    verdicts = {verdict.protocol: verdict for verdict in result.verdicts}
    named = result.recommendation.protocol if result.recommendation is not None else ""
    order = sorted(OF_TRANSPORT, key=lambda transport: OF_TRANSPORT[transport] != named)
    for wanted in ((Feasibility.FEASIBLE, Feasibility.DEGRADED), (Feasibility.UNKNOWN,)):
        for transport in order:
            verdict = verdicts.get(OF_TRANSPORT[transport])
            if verdict is not None and verdict.feasibility in wanted:
                return transport, verdict.port or DEFAULT_PORT, None
    if not set(verdicts) & set(OF_TRANSPORT.values()):
        raise UsageError(
            "the result says nothing of OpenVPN: run vpnprobe without --only, or with --only openvpn", status=ExitStatus.REFUSED
        )
    why = next((verdict.because[0].text for verdict in result.verdicts if verdict.protocol in OF_TRANSPORT.values()), "")
    raise UsageError(f"the path lets no OpenVPN through, so none is set up: {why}", status=ExitStatus.REFUSED)


def _check_each_once(listeners: Sequence[tuple[Transport, int, Wrap | None]], wishes: Wishes) -> None:
    """Raises UsageError (USAGE) for two listeners on one port, for a pool that none has, and for IPv6 pools that do not go together."""
    ports = [(transport, port) for transport, port, _ in listeners]
    if twice := next((one for number, one in enumerate(ports) if one in ports[:number]), None):
        raise UsageError(f"--listen {twice[0]}:{twice[1]} is given twice: one server listens there")
    for pools in (wishes.pools, wishes.pools6):
        if len(pools) > len(listeners):
            raise UsageError(f"--pool {pools[len(listeners)]} is one too many: each of the {len(listeners)} listeners has one")
    for one, other in combinations(wishes.pools6, 2):
        if one.overlaps(other):
            raise UsageError(f"--pool {one} overlaps --pool {other}: each listener has one of its own")
        if is_unique_local(one) != is_unique_local(other):
            raise UsageError(f"--pool {one} and --pool {other}: unique local addresses are translated, global ones are not: give either")


def is_unique_local(network: IPv6Network) -> bool:
    """RFC 4193."""
    return network.subnet_of(UNIQUE_LOCAL)


def _checked_host(host: str) -> str:
    """Raises UsageError (USAGE) for what is no address and no name of a host (RFC 1123 section 2.1)."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    if len(host) > LONGEST_HOST or not HOST.fullmatch(host):
        raise UsageError(f"{host[:80]!a} is no name or address of a server: name the one that clients connect to (--host NAME)")
    return host


def _check_path(result: Result, listeners: Iterable[tuple[Transport, int, Wrap | None]]) -> None:
    """Raises UsageError for a listener that is shown to fail on the path, whoever asked for it."""
    for transport, port, _ in listeners:
        stopped = [
            row
            for row in result.observations
            if (row.probe, row.transport, row.port) == ("openvpn", transport, port)
            and row.outcome == "blocked"
            and row.cause is not Cause.HOST_FIREWALL
            and not row.detail.get("wrap")
        ]
        passes = any(row.outcome in ("pass", "degraded") for row in _data_rows(result, transport, port))
        if stopped and not passes:
            raise UsageError(
                f"OpenVPN on {transport}/{port} does not pass the path ({stopped[0].id}): choose another port or transport (--listen)",
                status=ExitStatus.REFUSED,
            )


def _data_rows(result: Result, transport: Transport, port: int) -> Iterator[Observation]:
    return (
        row
        for row in result.observations
        if (row.probe, row.check, row.transport, row.port) == ("openvpn", "data", transport, port) and not row.detail.get("profile")
    )


def _wrap(result: Result, transport: Transport, port: int) -> Wrap:
    """The strongest that data is shown to pass in there; where none was tried, the one that hides most."""
    advice = result.recommendation
    if (
        advice is not None
        and (advice.protocol, advice.port) == (OF_TRANSPORT[transport], port)
        and advice.settings.get("wrap") in set(Wrap)
    ):
        return Wrap(advice.settings["wrap"])
    return Wrap.TLS_CRYPT_V2


def _host(result: Result) -> str:
    address = (result.run.server or {}).get("address")
    if not isinstance(address, str) or not address:
        raise UsageError("the result does not tell the server's address: name it (--host NAME)", status=ExitStatus.REFUSED)
    return address


def _network_of(end: object) -> Network | None:
    """The network that an end is likely to be in; None: its address is not told."""
    address = end.get("address") if isinstance(end, dict) else None
    try:
        network = ip_network(f"{address}/{LIKELY_LAN_PREFIX}", strict=False)
    except ValueError:
        return None
    return network if network.version == 4 else None


def _pools(count: int, wanted: Sequence[IPv4Network], used: Sequence[Network]) -> Iterator[IPv4Network]:
    """One for each listener. Raises UsageError where one that is wanted overlaps, or none is left."""
    taken = [network for network in used if network.version == 4]
    for place in range(count):
        own = wanted[place] if place < len(wanted) else None
        if own is not None and (clash := next((network for network in taken if network.overlaps(own)), None)) is not None:
            raise UsageError(
                f"the pool {own} overlaps {clash}, which the server or the client uses: choose another (--pool)", status=ExitStatus.REFUSED
            )
        found = own or next((pool for pool in POOLS if not any(network.overlaps(pool) for network in taken)), None)
        if found is None:
            raise UsageError("all usual pools overlap networks that are in use: choose one (--pool)", status=ExitStatus.REFUSED)
        taken.append(found)
        yield found


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536 else None


def _keepalive(value: object) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(_number(one) for one in value):
        return int(value[0]), int(value[1])
    return 10, 60
