"""PF's rules as text, for a server on OpenBSD, FreeBSD or macOS, whose firewall is set up by hand.

There are two dialects. OpenBSD's own (pf.conf(5), since 4.7) translates within a rule that lets pass, which sees the address before that;
the older one, which FreeBSD and macOS have, translates in rules of their own, which stand first, and filters what comes out of them.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Interface
from typing import Final

from vpnprobe.deployment.openvpn_server import NOWHERE
from vpnprobe.deployment.settings import Settings

OPENBSD: Final = "pf-openbsd.conf"
OTHERS: Final = "pf-freebsd-macos.conf"
_HEAD: Final = """\
# For a server whose firewall is PF ({systems}). By hand: put these lines into /etc/pf.conf, before its own rules of the
# same kind; check them with `pfctl -n -f /etc/pf.conf`, then load them with `pfctl -f /etc/pf.conf`. Packets go on with
# `sysctl net.inet.ip.forwarding=1`.
"""


def pf_files(settings: Settings) -> Mapping[str, str]:
    """Text by file name."""
    dialects = ((OPENBSD, "OpenBSD", _openbsd), (OTHERS, "FreeBSD, macOS", _others))
    return {name: "\n".join([_HEAD.format(systems=systems), *rules(settings), ""]) for name, systems, rules in dialects}


def _openbsd(settings: Settings) -> Iterator[str]:
    yield "# `egress` is the group of the interfaces with a default route."
    yield from _filter(settings, "egress")
    for listener in settings.listeners:
        yield f"pass out quick on egress inet from {listener.pool} to any nat-to (egress)"


def _others(settings: Settings) -> Iterator[str]:
    yield "# The interface with the default route: `route -n get default` names it."
    yield 'ext_if = "em0"'
    for listener in settings.listeners:
        yield f"nat pass on $ext_if inet from {listener.pool} to any -> ($ext_if)"
    yield from _filter(settings, "$ext_if")


def _filter(settings: Settings, outside: str) -> Iterator[str]:
    """What comes from outside with a client's address is forged. IPv6 without a way on ends here: clients send it nowhere else."""
    for listener in settings.listeners:
        yield f"block in quick on {outside} inet from {listener.pool} to any"
        yield f"pass in quick on {outside} proto {listener.transport} from any to any port {listener.port} keep state"
        yield f"pass in quick inet from {listener.pool} to any keep state"
        if listener.pool6 is not None:
            yield f"block in quick on {outside} inet6 from {listener.pool6} to any"
            yield f"pass quick inet6 from {listener.pool6} to any keep state"
    yield f"block return quick inet6 from {IPv6Interface(NOWHERE[0]).network} to any"
