"""Profiles of clients (`.ovpn`): everything a client needs in one file, for the program that reads it.

All listeners of the server stand in it, in the order in which they are tried. Where they differ in what wraps the control channel, each has
a `<connection>` block with its own wrap. Programs that may read no keys in such blocks get the listeners that share the first one's wrap,
and the profile says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.openvpn_server import DIGEST, NOWHERE, wrapping
from vpnprobe.deployment.settings import Listener, Settings, Wrap
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.openvpn_config import Inline, Option, Value, commented_text, connection_block, wrapping_options

NEXT_REMOTE_S: Final = 10
"""How long a client waits for a remote's first answer before it takes the next one."""


class Target(StrEnum):
    """Whose program reads the profile."""

    WINDOWS = "windows"
    MACOS = "macos"
    """Tunnelblick."""
    LINUX = "linux"
    """The program openvpn itself."""
    NETWORKMANAGER = "networkmanager"
    IOS = "ios"
    ANDROID = "android"
    MIKROTIK = "mikrotik"
    """Not supported yet."""


ONE_WRAP: Final = frozenset({Target.NETWORKMANAGER, Target.IOS, Target.ANDROID})
"""Programs that are not known to take keys inside of `<connection>` blocks (NetworkManager's import refuses the blocks): all remotes have
one wrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMaterial:
    """What one client gets, as PEM and OpenVPN's own files."""

    name: str
    authority: str
    certificate: str
    key: str = field(repr=False)
    passphrase: bool = False
    """Whether the key is encrypted."""
    wraps: Mapping[Wrap, str] = field(repr=False)
    """The client's key of each wrap that a listener has; of tls-crypt-v2 its own, otherwise the one that all share."""


def check_target(target: Target) -> Target:
    """Raises UsageError for one that is not supported yet."""
    if target is Target.MIKROTIK:
        raise UsageError(
            "profiles for mikrotik are not written yet: RouterOS reads neither tls-crypt nor several remotes; choose another --for"
        )
    return target


def client_profile(settings: Settings, client: ClientMaterial, target: Target) -> str:
    """The profile's text. Raises UsageError for a target that is not supported, and for a value that cannot stand in it."""
    check_target(target)
    served, left = _served(settings, target)
    return commented_text(
        (
            Option("", (), f"Profile of {client.name}, written by vpnprobe. It has a private key: keep it to yourself."),
            *_beginning(),
            *_remotes(settings.host, served, client),
            *_left_out(left),
            *_checks(),
            *_packets(settings),
            *_by_target(settings, target),
            *_identity(client),
        )
    )


def _served(settings: Settings, target: Target) -> tuple[list[Listener], list[Listener]]:
    """Listeners that stand in the profile, and those that cannot."""
    first = settings.listeners[0].wrap
    left = [listener for listener in settings.listeners if target in ONE_WRAP and listener.wrap is not first]
    return [listener for listener in settings.listeners if listener not in left], left


def _beginning() -> Iterator[Option]:
    yield Option("client", (), "The server says which addresses and routes the tunnel has.")
    yield Option("dev", ("tun",), "Carries IP packets.")
    yield Option("nobind", (), "Any local port.")
    yield Option("persist-tun", (), "While it connects again the tunnel stays, so that nothing goes beside it.")


def _remotes(host: str, listeners: list[Listener], client: ClientMaterial) -> Iterator[Option]:
    yield Option("server-poll-timeout", (str(NEXT_REMOTE_S),), "Seconds until the next remote is tried where one does not answer.")
    wraps = {listener.wrap for listener in listeners}
    if len(wraps) > 1:
        for listener in listeners:
            block = connection_block((_remote(host, listener), *(one for one in _wrap(listener.wrap, client) if one[0] != "auth")))
            yield Option("connection", block, f"{listener.transport.upper()} port {listener.port}, wrap {listener.wrap}.")
        if Wrap.TLS_AUTH in wraps:
            yield Option("auth", (DIGEST,), "The digest of tls-auth; it cannot stand in a block.")
        return
    for listener in listeners:
        name, value = _remote(host, listener)
        yield Option(name, value, "One way to the server; they are tried in this order.")
    for name, value in _wrap(wraps.pop(), client):
        yield Option(name, value, "Wraps the control channel.")


def _remote(host: str, listener: Listener) -> tuple[str, Value]:
    return "remote", (host, str(listener.port), "udp" if listener.transport is Transport.UDP else "tcp")


def _wrap(wrap: Wrap, client: ClientMaterial) -> Iterator[tuple[str, Value]]:
    key = client.wraps.get(wrap, "")
    if not key and wrap is not Wrap.NONE:
        what = f"the key of {wrap} is not on this server"
        raise UsageError(f"{what}: apply the plan that has it first (vpnprobe provision apply)", status=ExitStatus.REFUSED)
    yield from wrapping_options(wrapping(wrap, Inline(key)), server=False)


def _left_out(listeners: list[Listener]) -> Iterator[Option]:
    for listener in listeners:
        why = "this program takes one wrap for all remotes"
        yield Option("", (), f"Left out: {listener.transport.upper()} port {listener.port}, wrap {listener.wrap}; {why}.")


def _checks() -> Iterator[Option]:
    yield Option("remote-cert-tls", ("server",), "The other end's certificate must be one for servers: a client's is not enough.")
    yield Option("verify-x509-name", (SERVER_NAME, "name"), "And it must be this server's.")
    yield Option("tls-version-min", ("1.2",), "Older versions of TLS are broken.")


def _packets(settings: Settings) -> Iterator[Option]:
    if settings.tun_mtu is not None:
        yield Option("tun-mtu", (str(settings.tun_mtu),), "Bytes, as the server has it.")
    if settings.mssfix is not None:
        yield Option("mssfix", (str(settings.mssfix),), "TCP inside the tunnel keeps its packets as short as the path needs.")
    yield Option("verb", ("3",), "Enough to see why it does not connect.")


def _by_target(settings: Settings, target: Target) -> Iterator[Option]:
    if target is Target.WINDOWS and settings.full_tunnel and settings.dns:
        why = "Windows asks resolvers of all networks at once: those outside of the tunnel are blocked. Others pass over it."
        yield Option("setenv", ("opt", "block-outside-dns"), why)
    if target is Target.LINUX:
        yield from _linux_ipv6(settings)
        yield from (Option("", (), line) for line in (LINUX_DNS if settings.dns else ()))


def _linux_ipv6(settings: Settings) -> Iterator[Option]:
    """openvpn ends where it is to set an IPv6 address and the host's IPv6 is switched off (disable_ipv6)."""
    if settings.full_tunnel and any(listener.pool6 is None for listener in settings.listeners):
        why = "IPv6 is led into the tunnel and refused there; Linux needs no address for that, and may have its IPv6 switched off."
        yield Option("pull-filter", ("ignore", f"ifconfig-ipv6 {NOWHERE[0]}"), why)
    if any(listener.pool6 is not None for listener in settings.listeners):
        yield Option("", (), "Where this host's IPv6 is switched off, take the '#' off: pull-filter ignore ifconfig-ipv6")


LINUX_DNS: Final = (
    "The server's resolvers are taken by a script that not every system has. With the package openvpn-systemd-resolved:",
    "  script-security 2",
    "  up /etc/openvpn/update-systemd-resolved",
    "  down /etc/openvpn/update-systemd-resolved",
    "  down-pre",
    "with the package openresolv or resolvconf the same with /etc/openvpn/update-resolv-conf. Take the '#' off where it is there.",
)


def _identity(client: ClientMaterial) -> Iterator[Option]:
    if client.passphrase:
        yield Option("auth-nocache", (), "The passphrase of the key is forgotten once it was used.")
    yield Option("ca", Inline(client.authority), "The authority that the server's certificate is checked against.")
    yield Option("cert", Inline(client.certificate), f"The certificate of {client.name}.")
    yield Option("key", Inline(client.key), "Its private key.")
