"""What a profile and its server ask of the tunnel: all traffic or some networks, what stays beside it, resolvers, IPv6.

As OpenVPN 2.6 takes it (its manual, under the names of the options): pushed options count as if they stood behind the profile's own;
`pull-filter` decides by the beginning of an option which are taken, `route-nopull` leaves routes and resolvers out. What names a host
instead of an address is passed over here: the routing table shows it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from vpnprobe.profiles.lexing import Statement
from vpnprobe.transports.stack import Address

Network = IPv4Network | IPv6Network
Option = tuple[str, ...]
"""An option's name and its arguments."""

NOT_PULLED: Final = frozenset(("route", "route-ipv6", "dhcp-option", "dns", "redirect-gateway", "redirect-private", "block-ipv6"))
"""What `route-nopull` leaves out."""
AROUND: Final = frozenset(("net_gateway", "net_gateway_ipv6"))
_MAKES_SECRETS: Final = ("auth-token", "auth-token-user", "echo", "setenv")
WHOLE6: Final = ip_network("2000::/3")
"""The addresses in use of all of IPv6 (RFC 4291 section 2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a tunnel."""

    full4: bool
    """All IPv4 goes through it."""
    full6: bool
    """All IPv6 does."""
    blocks6: bool
    """IPv6 is refused while it is up (`block-ipv6`)."""
    blocks_local: bool
    """Nor may the local network be reached."""
    through: tuple[Network, ...]
    """Networks that go through it, beside all."""
    around: tuple[Network, ...]
    """Networks that are to go beside it (`net_gateway`)."""
    dns: tuple[Address, ...]
    gateways: tuple[Address, ...]
    """Addresses at which the server may be inside the tunnel, the likeliest first."""
    has_scripts: bool
    """A program of the profile runs when it comes up, which may set the resolver."""
    segment_bytes: int | None
    """TCP packets inside the tunnel are kept to about this size (`mssfix`); None: they are not, or it does not show."""
    pushed: tuple[str, ...]
    """As the server wrote them, without secrets."""

    @property
    def full(self) -> bool:
        return self.full4 or self.full6


def asked_of(profile: Sequence[Statement], reply: str) -> Asked:
    """`reply`: the server's PUSH_REPLY, options parted by commas; empty: it pushed nothing."""
    own = [(one.option, *one.arguments) for one in profile]
    pushed = [option for option in reply.split(",") if option and option != "PUSH_REPLY"]
    taken = [tuple(option.split()) for option in pushed if _is_taken(option, own)]
    listed = [option for option in (*own, *taken) if option]
    flags = _redirected(listed)
    return Asked(
        full4=(flags is not None and "!ipv4" not in flags) or _covers(_routes(listed, around=False), 4),
        full6=(flags is not None and "ipv6" in flags) or _covers(_routes(listed, around=False), 6),
        blocks6=any(option[0] == "block-ipv6" for option in listed),
        blocks_local=flags is not None and "block-local" in flags,
        through=tuple(dict.fromkeys(_routes(listed, around=False))),
        around=tuple(dict.fromkeys(_routes(listed, around=True))),
        dns=tuple(dict.fromkeys(_resolvers(listed))),
        gateways=tuple(dict.fromkeys(_gateways(listed))),
        has_scripts=any(option[0] in ("up", "route-up", "plugin", "dns-updown") for option in own),
        segment_bytes=_segment_bytes(listed),
        pushed=tuple(option for option in pushed if not option.startswith(_MAKES_SECRETS)),
    )


def _is_taken(option: str, own: Iterable[Option]) -> bool:
    """The first `pull-filter` whose text the option begins with decides."""
    listed = list(own)
    for one in listed:
        if one[0] == "pull-filter" and len(one) > 2 and option.startswith(one[2]):
            return one[1] == "accept"
    nopull = any(one[0] == "route-nopull" for one in listed)
    return not (nopull and option.split(" ")[0] in NOT_PULLED)


def _redirected(listed: Iterable[Option]) -> frozenset[str] | None:
    """The flags of `redirect-gateway`; None: it is not there. `redirect-private` redirects nothing."""
    found = [option[1:] for option in listed if option[0] == "redirect-gateway"]
    return frozenset(flag for flags in found for flag in flags) if found else None


def _routes(listed: Iterable[Option], *, around: bool) -> list[Network]:
    """Those through the tunnel, or those around it."""
    found = []
    for option in listed:
        network, gateway = _route(option)
        if network is not None and (gateway in AROUND) == around:
            found.append(network)
    return found


def _route(option: Option) -> tuple[Network | None, str]:
    """The network and the gateway of `route NET [MASK [GATEWAY]]` and `route-ipv6 NET/BITS [GATEWAY]`."""
    name, *words = option
    if name == "route" and words:
        mask = words[1] if len(words) > 1 and words[1] != "default" else "255.255.255.255"
        return _network(f"{words[0]}/{mask}"), words[2] if len(words) > 2 else ""
    if name == "route-ipv6" and words:
        return _network(words[0]), words[1] if len(words) > 1 else ""
    return None, ""


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _covers(routes: Iterable[Network], version: int) -> bool:
    """Whether routes of their own make the tunnel a full one: `0.0.0.0/0`, or its two halves."""
    whole: Network = ip_network("0.0.0.0/0") if version == 4 else WHOLE6
    of_version = [route for route in routes if route.version == version]
    halves: list[Network] = list(whole.subnets())
    return _holds(of_version, whole) or all(_holds(of_version, half) for half in halves)


def _holds(routes: Iterable[Network], network: Network) -> bool:
    return any(network.version == route.version and network.subnet_of(route) for route in routes)  # type: ignore[arg-type]


def _resolvers(listed: Iterable[Option]) -> list[Address]:
    found = []
    for option in listed:
        match option:
            case ("dhcp-option", "DNS" | "DNS6", address, *_):
                found.append(_address(address))
            case ("dns", "server", _, "address", *addresses):
                found += [_address(address.rpartition(":")[0] if address.count(":") == 1 else address) for address in addresses]
    return [address for address in found if address is not None]


def _gateways(listed: Sequence[Option]) -> list[Address]:
    """Where the server may be inside: the gateway, the other end, the first host of the subnet, and single hosts that are routed."""
    found: list[Address | None] = []
    for option in listed:
        match option:
            case ("route-gateway", address, *_):
                found.append(_address(address))
            case ("ifconfig", own, other, *_) if other.startswith("255."):
                network = _network(f"{own}/{other}")
                found.append(None if network is None else network.network_address + 1)
            case ("ifconfig", _, other, *_):
                found.append(_address(other))
            case ("ifconfig-ipv6", _, other, *_):
                found.append(_address(other))
    found += [route.network_address for route in _routes(listed, around=False) if route.num_addresses == 1]
    return [address for address in found if address is not None]


OVERHEAD_BYTES: Final = 24
"""Of a data packet with AEAD: opcode and peer 4, packet ID 4, tag 16."""
HEADERS_BYTES: Final = 28
"""IPv4 and UDP."""
DEFAULT_MSSFIX_BYTES: Final = 1492


DEFAULT_MTU_BYTES: Final = 1500


def _segment_bytes(listed: Iterable[Option]) -> int | None:
    """The largest TCP packet inside the tunnel.

    `mssfix N` counts UDP's payload, `mssfix N mtu` the whole packet, as by default with a usual MTU; with another MTU that is the limit.
    """
    last = {option[0]: option[1:] for option in listed if len(option) > 1 and option[1].isdigit()}
    mtu = int(last.get("tun-mtu", (DEFAULT_MTU_BYTES,))[0])
    if "mssfix" not in last:
        return mtu if mtu != DEFAULT_MTU_BYTES else DEFAULT_MSSFIX_BYTES - OVERHEAD_BYTES - HEADERS_BYTES
    size, *kind = last["mssfix"]
    return int(size) - OVERHEAD_BYTES - (HEADERS_BYTES if "mtu" in kind else 0) if int(size) else None
