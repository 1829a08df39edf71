"""What was chosen for a server: listeners, addresses, what clients are told, keys. Kept in the plan and on the server, as JSON.

`Settings` is a value: `decode_settings(settings.as_json())` gives the same one, and any JSON gives one or `UsageError` (status UNREADABLE).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.certificates import KeyAlgorithm

FOLDER: Final = "/etc/openvpn/server"
"""Where the distribution's unit looks for configurations, and runs."""
KEYS: Final = f"{FOLDER}/vpnprobe"
"""Keys and certificates that the running server reads."""
PKI: Final = "/etc/openvpn/vpnprobe"
"""The authority, and what it has issued."""
STATE: Final = "/var/lib/vpnprobe"
JOURNAL: Final = f"{STATE}/journal"
RUN: Final = "/run/vpnprobe"


class Wrap(StrEnum):
    """What the control channel is wrapped in."""

    TLS_CRYPT_V2 = "tls-crypt-v2"
    TLS_CRYPT = "tls-crypt"
    TLS_AUTH = "tls-auth"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One server process: it has its own configuration, tunnel device and pool."""

    transport: Transport
    """UDP or TCP."""
    port: int
    wrap: Wrap
    device: str
    """Of the tunnel, at most 15 characters."""
    pool: IPv4Network
    pool6: IPv6Network | None = None
    """None: no IPv6 inside the tunnel."""

    @property
    def name(self) -> str:
        """Of its configuration file without `.conf`, and so of the unit's instance."""
        return f"vpnprobe-{self.transport}-{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """Days."""

    authority: int = 3650
    server: int = 825
    client: int = 825


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server."""

    host: str
    """Name or address that clients connect to."""
    listeners: tuple[Listener, ...]
    """At least one, in the order in which clients try them."""
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    """Resolvers that are pushed."""
    full_tunnel: bool = True
    """All of the clients' traffic goes through it."""
    routes: tuple[IPv4Network | IPv6Network, ...] = ()
    """Pushed where it does not."""
    key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256
    lifetimes: Lifetimes = Lifetimes()
    oldest_client: str = "2.5"
    """OpenVPN version that must still be able to connect."""
    mssfix: int | None = None
    """As OpenVPN takes it without `mtu`; None: OpenVPN's default."""
    tun_mtu: int | None = None
    keepalive: tuple[int, int] = (10, 60)
    """Seconds: ping, restart."""
    user: str = "nobody"
    group: str = "nogroup"
    """Whom the running server drops its privileges to."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:  # noqa: ANN401
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network() | StrEnum():
            return str(value)
        case _:
            return value


def decode_settings(plain: object) -> Settings:
    """From plain values. Raises UsageError."""
    try:
        return _checked(_settings(plain))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"the settings of the server cannot be read: {problem}", status=ExitStatus.UNREADABLE) from None


def _settings(plain: object) -> Settings:
    if not isinstance(plain, Mapping):
        raise TypeError("they are no table")
    known: dict[str, Any] = dict(plain)
    return Settings(
        **{
            **known,
            "listeners": tuple(map(_listener, known["listeners"])),
            "dns": tuple(ip_address(_text(one)) for one in known.get("dns", ())),
            "routes": tuple(ip_network(_text(one)) for one in known.get("routes", ())),
            "key_algorithm": KeyAlgorithm(known.get("key_algorithm", KeyAlgorithm.EC_P256)),
            "lifetimes": Lifetimes(**known.get("lifetimes", {})),
            "keepalive": tuple(known.get("keepalive", (10, 60))),
        }
    )


def _checked(settings: Settings) -> Settings:
    """Raises TypeError where a plain value is not what it should be; the others have been made from their text."""
    words = [settings.host, settings.oldest_client, settings.user, settings.group]
    lifetimes = settings.lifetimes
    numbers = [*settings.keepalive, lifetimes.authority, lifetimes.server, lifetimes.client, *(one.port for one in settings.listeners)]
    numbers += [one for one in (settings.mssfix, settings.tun_mtu) if one is not None]
    if not all(isinstance(word, str) and word for word in words) or not isinstance(settings.full_tunnel, bool):
        raise TypeError("a text in them is none, or empty")
    if not all(type(number) is int and 0 < number < 100_000 for number in numbers) or len(settings.keepalive) != 2:
        raise TypeError("a number in them is none from 1 to 99999")
    if not settings.listeners or max(one.port for one in settings.listeners) > 65535:
        raise TypeError("they have no listener, or one without a port")
    return settings


def _text(value: object) -> str:
    """A network or an address made of a number would be another one than meant."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _listener(plain: Mapping[str, Any]) -> Listener:
    pool6 = plain.get("pool6")
    return Listener(
        transport=Transport(plain["transport"]),
        port=plain["port"],
        wrap=Wrap(plain["wrap"]),
        device=_text(plain["device"]),
        pool=IPv4Network(_text(plain["pool"])),
        pool6=None if pool6 is None else IPv6Network(_text(pool6)),
    )
