"""What the options of `vpnprobe provision` mean: words in, values out, one line where a word is none."""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, TypeVar

from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.settings import Wrap
    from vpnprobe.observations.schema import Transport

T = TypeVar("T")

UNITS_S: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_S: Final = 24 * 3600.0


def listener_of(text: str) -> "tuple[Transport, int, Wrap | None]":
    """`udp:1194`, `tcp:443:tls-crypt`. Raises UsageError."""
    from vpnprobe.deployment.settings import Wrap
    from vpnprobe.observations.schema import Transport

    transport, _, rest = text.partition(":")
    port, _, wrap = rest.partition(":")
    if transport not in ("udp", "tcp") or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"--listen {text!r} is no TRANSPORT:PORT[:WRAP]: write udp:1194, or tcp:443:tls-crypt")
    if wrap and wrap not in set(Wrap):
        raise UsageError(f"--listen {text!r}: there is no wrap {wrap!r}: known are {', '.join(Wrap)}")
    return Transport(transport), int(port), Wrap(wrap) if wrap else None


def pools_of(texts: Sequence[str]) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """IPv4 and IPv6 apart. Raises UsageError for what is no network, or none for clients."""
    networks = [_read(text, "--pool", ip_network, "a network such as 10.8.0.0/24") for text in texts]
    fours = tuple(network for network in networks if isinstance(network, IPv4Network))
    sixes = tuple(network for network in networks if isinstance(network, IPv6Network))
    for network in networks:
        smallest = 29 if network.version == 4 else 112
        if network.prefixlen > smallest:
            raise UsageError(f"--pool {network} is too small: /{smallest} at the least")
        if network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified:
            raise UsageError(f"--pool {network} is none that hosts can have beyond their link: take one such as 10.8.0.0/24")
    return fours, sixes


def resolvers_of(texts: Sequence[str]) -> tuple[IPv4Address | IPv6Address, ...]:
    return tuple(_read(text, "--dns", ip_address, "an address such as 9.9.9.9") for text in texts)


def routes_of(texts: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(_read(text, "--route", ip_network, "a network such as 192.168.7.0/24") for text in texts)


def seconds_of(text: str, *, least_s: float = 1.0) -> float:
    """`120`, `120s`, `500ms`, `2m`, `1h`, at most a day. Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h|)", text.strip())
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not least_s <= seconds <= LONGEST_S:
        raise UsageError(f"{text!r} is no time: write 120s or 2m, from {least_s:g} s to a day")
    return seconds


def _read(text: str, option: str, read: Callable[[str], T], wanted: str) -> T:
    try:
        return read(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not {wanted}") from None
