"""What openvpn is run with, so that it changes nothing of this machine, and what of the profile does not go with that."""

from collections.abc import Set
from typing import Final

from vpnprobe.observations.schema import Transport

_PROGRAMS: Final = """
    dns-updown down down-pre ipchange plugin route-pre-down route-up script-security tls-export-cert tls-export-peer-cert-dir tls-verify up
    up-delay up-restart
"""
_DEVICE: Final = "dev dev-node dev-type iproute lladdr mktun rmtun route-delay txqueuelen"
_RUNNING: Final = """
    chroot config daemon errors-to-stderr group inetd log log-append machine-readable-output mlock mute nice remap-usr1 setcon status
    status-version suppress-timestamps syslog user verb writepid
"""
_MANAGEMENT: Final = """
    management management-client management-client-auth management-client-group management-client-user management-forget-disconnect
    management-hold management-log-cache management-query-passwords management-query-proxy management-query-remote management-signal
    management-up-down
"""
_WRITING: Final = "genkey replay-persist"
LEFT_OUT: Final[Set[str]] = frozenset(" ".join((_PROGRAMS, _DEVICE, _RUNNING, _MANAGEMENT, _WRITING)).split())
"""Options of a profile that start programs, set up a device, write files, or concern how openvpn runs."""
QUIET: Final = ("--dev", "null", "--ifconfig-noexec", "--route-noexec", "--script-security", "0")
"""No device, no addresses, no routes, and no program is started."""
NO_DNS: Final = ("--dns-updown", "disable")
"""Since 2.7 a program of its own would set the resolver."""
GOODBYE: Final = ("--explicit-exit-notify", "1")
"""Over UDP the server is told when it ends; over TCP it sees that."""


def added_options(version: tuple[int, int] | None, transport: Transport) -> tuple[str, ...]:
    """Behind those of the profile. `version`: major and minor; None: not known."""
    dns = NO_DNS if version is not None and version >= (2, 7) else ()
    return (*QUIET, *dns, *(GOODBYE if transport is Transport.UDP else ()))
