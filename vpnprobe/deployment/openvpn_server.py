"""The configuration of a server: one file for each listener, in which each line has its reason as a comment. For OpenVPN 2.6.

Paths of keys are relative to the folder in which the distribution's unit runs (`settings.FOLDER`), so that the text is the same below
another root: there `--cd` names the folder. Pure; `openvpn_trial` starts what was written.

What the server pushes covers the client's IPv6 too: where the tunnel carries none and all traffic is to go through it, the client takes an
address of a prefix that leads nowhere, sends its IPv6 into the tunnel, and refuses it there, so that nothing goes beside.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, assert_never

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.settings import FOLDER, KEYS, RUN, STATE, Listener, Settings, Wrap
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.openvpn_config import (
    ControlWrapping,
    Option,
    Source,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
    commented_text,
    wrapping_options,
)

SUPPORTED: Final = "2.6"
OLDEST_CLIENTS: Final = ("2.4", "2.5", "2.6")
"""2.3 can neither negotiate the data cipher nor do ECDH as 2.6 servers want it."""
FIRST_WITH: Final = {Wrap.TLS_CRYPT_V2: "2.5"}
"""Wraps that came later than the oldest client that can be served."""
LONGEST_DEVICE: Final = 15
"""Bytes (IFNAMSIZ with its NUL)."""
DEVICE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
DIGEST: Final = "SHA256"
"""Of tls-auth."""
NOWHERE: Final = ("fd15:53b6:dead::2/64", "fd15:53b6:dead::1")
"""A client's address in a prefix that is not routed, from the manual's own example of --block-ipv6 (RFC 4193 section 3.1)."""
UNIT_RUN: Final = "/run/openvpn-server"
UP: Final = "/".join([".."] * FOLDER.count("/"))
"""From the folder in which a server runs to the root."""
RELATIVE: Final = Path(KEYS).name
"""The folder of keys as the configuration names it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a running server keeps what is not configuration. None: it keeps none."""

    management: str | None
    """Unix socket."""
    pool: str | None
    """Which client had which address."""
    status: str | None = None
    """Who is connected; the distribution's unit names a file of its own."""


def places(listener: Listener, *, systemd: bool) -> Places:
    """Where they are on the server, as its configuration names them.

    Under the distribution's unit, the folder below /run is the one that is made at each boot, and the unit names a status file of its own.
    Elsewhere they are named from `settings.FOLDER` on, so that they are the same below any root; sockets' names are short (unix(7)).
    """
    if systemd:
        return Places(management=f"{UNIT_RUN}/{listener.name}.sock", pool=f"{STATE}/{listener.name}.pool")
    run = UP + run_folder(listener)
    return Places(management=f"{run}/management", pool=f"{UP}{STATE}/{listener.name}.pool", status=f"{run}/status")


def run_folder(listener: Listener) -> str:
    """What a server without systemd has for itself below /run."""
    return f"{RUN}/{listener.name}"


def management_socket(listener: Listener, *, systemd: bool, root: Path = Path("/")) -> Path:
    """The same as a path of this machine. `root`: what stands in the place of `/`."""
    path = f"{UNIT_RUN}/{listener.name}.sock" if systemd else f"{run_folder(listener)}/management"
    return inside(root, path)


def wrap_path(wrap: Wrap) -> str | None:
    """The server's key of a wrap, which all listeners of that wrap share; None: it needs none."""
    return None if wrap is Wrap.NONE else f"{KEYS}/{wrap}.key"


def check_version(version: str) -> str:
    """The version of the installed OpenVPN. Raises UsageError (REFUSED) for one that configurations are not written for."""
    if version.split(".")[:2] != SUPPORTED.split("."):
        wanted = f"configurations are written for {SUPPORTED} alone so far"
        raise UsageError(f"OpenVPN {version} is installed, and {wanted}: install OpenVPN {SUPPORTED}", status=ExitStatus.REFUSED)
    return version


def check_clients(oldest: str, wrap: Wrap) -> None:
    """Raises UsageError where the oldest client cannot be served."""
    if oldest not in OLDEST_CLIENTS:
        raise UsageError(f"clients of OpenVPN {oldest} cannot be served: the oldest client is one of {', '.join(OLDEST_CLIENTS)}")
    if oldest < (first := FIRST_WITH.get(wrap, "")):
        raise UsageError(f"{wrap} came with OpenVPN {first}, and clients of {oldest} are to be served: take the wrap tls-crypt")


def check_device(name: str) -> None:
    """Raises UsageError where Linux has no such names; OpenVPN would cut a longer one off."""
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST_DEVICE:
        raise UsageError(f"the tunnel device {name[:40]!a} has {len(name)} characters, and Linux takes {LONGEST_DEVICE}")
    if not DEVICE.fullmatch(name):
        raise UsageError(f"{name!a} cannot be the name of a tunnel device: letters, digits, - and _ may stand in it")


def wrapping(wrap: Wrap, key: Source) -> ControlWrapping | None:
    """Of either end; `key` is that end's own."""
    match wrap:
        case Wrap.NONE:
            return None
        case Wrap.TLS_AUTH:
            return TlsAuth(key, DIGEST)
        case Wrap.TLS_CRYPT:
            return TlsCrypt(key)
        case Wrap.TLS_CRYPT_V2:
            return TlsCryptV2(key)
        case _:
            assert_never(wrap)


def server_configuration(settings: Settings, listener: Listener, *, version: str, where: Places | None = None, ipv6: bool = True) -> str:
    """The text of `NAME.conf`.

    `version`: what the installed OpenVPN says it is. `where`: None, as under the distribution's unit. `ipv6`: whether the server's kernel
    has IPv6. Raises UsageError for a version, a client or a value that cannot be.
    """
    check_version(version)
    check_clients(settings.oldest_client, listener.wrap)
    check_device(listener.device)
    head = f"Written by vpnprobe for OpenVPN {SUPPORTED}: {listener.transport.upper()} port {listener.port}."
    where = places(listener, systemd=True) if where is None else where
    return commented_text(
        (
            Option("", (), head),
            *_listening(listener, ipv6=ipv6),
            *_tunnel(settings, listener),
            *_keys(settings, listener),
            *_pushed(settings, listener),
            *_packets(settings),
            *_process(settings, where),
        )
    )


def _listening(listener: Listener, *, ipv6: bool) -> Iterator[Option]:
    udp = listener.transport is Transport.UDP
    if ipv6:
        why = "Listens on IPv6 and IPv4 at once: IPv4 addresses come mapped into IPv6 ones."
        yield Option("proto", ("udp6" if udp else "tcp6-server",), why)
    else:
        yield Option("proto", ("udp4" if udp else "tcp4-server",), "This host's kernel has no IPv6.")
    yield Option("port", (str(listener.port),), "The port that was measured to pass, or chosen.")
    if udp:
        yield Option("multihome", (), "Answers leave from the address that the client wrote to, also where this host has several.")
        yield Option("explicit-exit-notify", ("1",), "Tells clients when the server stops, so that they connect again at once.")
        yield Option("push", ("explicit-exit-notify 1",), "Clients say goodbye: a session does not linger until it times out.")
    else:
        yield Option("tcp-nodelay", (), "Small packets do not wait for more to be sent with them.")


def _tunnel(settings: Settings, listener: Listener) -> Iterator[Option]:
    pool = listener.pool
    yield Option("dev", (listener.device,), "A device of its own for each listener, so that firewall rules can name it.")
    yield Option("dev-type", ("tun",), "Carries IP packets.")
    yield Option("topology", ("subnet",), "One address for each client, in one subnet.")
    yield Option("server", (str(pool.network_address), str(pool.netmask)), "The clients' addresses; the server has the first one.")
    if listener.pool6 is not None:
        yield Option("server-ipv6", (str(listener.pool6),), "The clients' IPv6 addresses.")
    elif settings.full_tunnel:
        yield Option("block-ipv6", (), "The tunnel carries no IPv6: what comes of it all the same is answered with 'no route'.")


def _keys(settings: Settings, listener: Listener) -> Iterator[Option]:
    yield Option("ca", (f"{RELATIVE}/ca.crt",), "The authority that clients' certificates are checked against.")
    yield Option("cert", (f"{RELATIVE}/server.crt",), "This server's certificate.")
    yield Option("key", (f"{RELATIVE}/server.key",), "Its private key.")
    yield Option("dh", ("none",), "The key exchange is on elliptic curves alone (ECDH).")
    yield Option("crl-verify", (f"{RELATIVE}/crl.pem",), "Revoked certificates are refused; it is read again when it changes.")
    yield Option("verify-client-cert", ("require",), "Nobody is let in without a certificate.")
    yield Option("remote-cert-tls", ("client",), "The certificate must be one for clients: a server's is no way in.")
    yield Option("tls-version-min", ("1.2",), "Older versions of TLS are broken.")
    yield Option(
        "data-ciphers", (":".join(data_ciphers(settings.oldest_client)),), f"What clients from {settings.oldest_client} on can do."
    )
    path = wrap_path(listener.wrap)
    if path is None:
        yield Option("", (), "No wrap around the control channel: strangers get answers, and filters can read what it is.")
        return
    for name, value in wrapping_options(wrapping(listener.wrap, Path(RELATIVE, Path(path).name)), server=True):
        yield Option(name, value, "Wraps the control channel: without the key nobody gets an answer.")


def data_ciphers(oldest_client: str) -> tuple[str, ...]:
    """In order of preference, by the oldest client to be served (`OLDEST_CLIENTS`)."""
    both = ("AES-256-GCM", "AES-128-GCM")
    return both if oldest_client == "2.4" else (*both, "CHACHA20-POLY1305")


def _pushed(settings: Settings, listener: Listener) -> Iterator[Option]:
    if settings.full_tunnel:
        yield from _whole_traffic(listener)
    for route in settings.routes if not settings.full_tunnel else ():
        if isinstance(route, IPv4Network):
            yield Option("push", (f"route {route.network_address} {route.netmask}",), "This network is reached through the tunnel.")
        else:
            yield Option("push", (f"route-ipv6 {route}",), "This network is reached through the tunnel.")
    for resolver in settings.dns:
        kind = "DNS" if resolver.version == 4 else "DNS6"
        yield Option("push", (f"dhcp-option {kind} {resolver}",), "A resolver that is asked through the tunnel.")


def _whole_traffic(listener: Listener) -> Iterator[Option]:
    if listener.pool6 is not None:
        yield Option("push", ("redirect-gateway def1 ipv6",), "All traffic of the clients goes through the tunnel, IPv6 too.")
        return
    yield Option("push", ("redirect-gateway def1 ipv6",), "All traffic of the clients goes into the tunnel, IPv6 too, which ends there:")
    yield Option("push", (f"ifconfig-ipv6 {' '.join(NOWHERE)}",), "it needs an IPv6 address for that, which leads nowhere,")
    yield Option("push", ("block-ipv6",), "and is refused by the client itself, so that no IPv6 goes beside the tunnel.")


def _packets(settings: Settings) -> Iterator[Option]:
    ping, restart = settings.keepalive
    yield Option("keepalive", (str(ping), str(restart)), "Seconds: a ping where nothing is sent, a new start where nothing comes.")
    if settings.tun_mtu is None:
        yield Option("", (), "tun-mtu: OpenVPN's default, 1500; the measurement gave no other.")
    else:
        yield Option("tun-mtu", (str(settings.tun_mtu),), "Bytes of the longest packet inside the tunnel, as measured.")
    if settings.mssfix is None:
        yield Option("", (), "mssfix: OpenVPN's default, for paths of 1492 bytes; the measurement gave no other.")
    else:
        yield Option(
            "mssfix", (str(settings.mssfix),), "TCP inside the tunnel keeps its packets so short that the path carries them whole."
        )


def _process(settings: Settings, where: Places) -> Iterator[Option]:
    yield Option("user", (settings.user,), "Privileges are dropped once all is set up.")
    yield Option("group", (settings.group,), "As above.")
    yield Option("persist-key", (), "Keys cannot be read again after that,")
    yield Option("persist-tun", (), "nor the tunnel device be made again.")
    if where.management is not None:
        yield Option("management", (where.management, "unix"), "By which a revoked client is cut off at once.")
        yield Option("management-client-user", ("root",), "Nobody else may use it.")
    if where.pool is not None:
        yield Option("ifconfig-pool-persist", (where.pool,), "Clients get the same address again.")
    if where.status is not None:
        yield Option("status", (where.status, "30"), "Who is connected, written every 30 seconds.")
        yield Option("status-version", ("2",), "In the form with a header for each part.")
    yield Option("verb", ("3",), "Enough to see why a client was refused. Where the log goes is left to the unit.")
