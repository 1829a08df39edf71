"""What OpenVPN 2.6 does not start with, so that no client comes to the server; and what vpnprobe cannot do, which says nothing of it.

Each line was tried with OpenVPN 2.6.14 on Linux. `setenv opt X`, and from its line on `ignore-unknown-option X` and
`setenv FORWARD_COMPATIBLE 1`, make OpenVPN pass over what it does not know, most of what was removed included.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from vpnprobe.conversations.openvpn_tunnel import compresses
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import shown
from vpnprobe.profiles.known import ELSEWHERE, KNOWN
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import DataSettings, Note, Remote, ServerChecks
from vpnprobe.profiles.naming import option_shown
from vpnprobe.profiles.openssl_names import CIPHERS, DIGESTS, LEGACY_CIPHERS, LEGACY_DIGESTS, PROVIDERS, lacking
from vpnprobe.profiles.options import Options
from vpnprobe.profiles.tls_lists import refused_lists, unknown_groups
from vpnprobe.profiles.vendors import VENDORS

REMOVED: Final[Mapping[str, str]] = {
    "client-cert-not-required": "removed in 2.5; a server says `verify-client-cert none` instead",
    "compat-names": "removed in 2.5, with nothing in its place",
    "ifconfig-pool-linear": "removed in 2.6; a server says `topology p2p` instead",
    "key-method": "removed in 2.6: method 2 is the only one",
    "keysize": "removed in 2.6: the cipher's name says the size",
    "ncp-disable": "removed in 2.6: the data cipher is always negotiated (`data-ciphers`)",
    "no-iv": "removed in 2.6, with nothing in its place",
    "no-name-remapping": "removed in 2.5, with nothing in its place",
    "management-client-pf": "removed in 2.6, with nothing in its place",
    "tls-remote": "removed in 2.4; `verify-x509-name NAME name` instead",
}
"""Options of older releases that end OpenVPN 2.6 at once."""
STILL_READ: Final = frozenset({"client-cert-not-required", "compat-names", "no-name-remapping"})
"""Removed options that OpenVPN knows in order to refuse them: nothing makes it pass over them."""
_WINDOWS: Final = """
    allow-nonadmin block-outside-dns dhcp-internal dhcp-pre-release dhcp-release dhcp-renew ip-win32 pause-exit rdns-internal register-dns
    service show-net-up tap-sleep win-sys windows-driver
"""
WINDOWS: Final = frozenset(_WINDOWS.split())
"""Options that OpenVPN knows on Windows alone, and does not start with elsewhere."""
_SERVERS: Final = """
    auth-gen-token auth-user-pass-optional auth-user-pass-verify ccd-exclusive client-config-dir client-connect client-crresponse
    client-disconnect client-to-client connect-freq duplicate-cn hash-size ifconfig-ipv6-pool ifconfig-pool ifconfig-pool-persist
    learn-address opt-verify port-share stale-routes-check username-as-common-name verify-client-cert vlan-accept vlan-pvid vlan-tagging
"""
OF_SERVERS: Final = frozenset(_SERVERS.split())
"""Options that need `mode server`."""
OF_CLIENT_FILES: Final = frozenset({"disable", "ifconfig-push", "iroute", "iroute-ipv6", "push-remove", "push-reset"})
"""Options of a server's files for single clients."""
SCRIPTS: Final = ("up", "tls-verify")
"""Programs without which no tunnel comes up, and that `script-security` has to let run."""
NEWER: Final = frozenset({"allow-deprecated-insecure-static-crypto", "dns-updown", "tls-crypt-v2-max-age"})
"""Options that 2.6 does not know yet."""
BOUND: Final = ("bind", "local", "lport")
"""None of these goes with nobind."""


def refusals(
    everything: Iterable[Statement], options: Options, data: DataSettings, checks: ServerChecks, remotes: Sequence[Remote]
) -> tuple[Note, ...]:
    """What OpenVPN 2.6 does not start with, in the order of lines."""
    declared = {name for one in options.all("ignore-unknown-option") for name in one.arguments}
    found = []
    for one in everything:
        if (text := _unknown(one, option_shown(one.option, declared), lenient=is_lenient(one, options))) is not None:
            found.append(Note(one.line, text))
    if data.allow_compression == "no" and compresses(data.framing):
        found.append(Note(0, f"{data.framing} is what allow-compression no forbids"))
    if "nobind" in options and (bound := options.last(*BOUND)) is not None:
        found.append(Note(bound.line, f"{bound.option} does not go with nobind"))
    found += [Note(0, text) for text in refused_lists(checks)]
    # Those that proto-force leaves out are looked at too.
    found += [
        Note(one.line, f"fragment goes with UDP alone, and the remote {shown(one.host)} is over TCP")
        for one in remotes
        if one.fragment is not None and one.transport is Transport.TCP
    ]
    found += _late(options)
    return tuple(sorted(found))


def is_lenient(one: Statement, options: Options) -> bool:
    """Whether OpenVPN passes over this line if it does not know its option."""
    lines = [other.line for other in options.all("ignore-unknown-option") if one.option in other.arguments]
    lines += [other.line for other in options.all("setenv") if other.arguments[:2] == ("FORWARD_COMPATIBLE", "1")]
    return min(lines, default=one.line) < one.line or one.optional


def _late(options: Options) -> Iterator[Note]:
    """What OpenVPN knows and ends with when it comes to it."""
    if (one := options.last("no-replay")) is not None:
        yield Note(one.line, "no-replay ends OpenVPN 2.6 once an AEAD cipher is agreed on, as they are by default")
    if (one := options.last("auth")) is not None and one.arguments[0].upper().startswith("RSA-"):
        yield Note(one.line, f"auth {shown(one.arguments[0])} is no digest of OpenSSL 3: write it without RSA-")
    elif one is not None and one.arguments[0].lower() == "none" and "tls-auth" in options:
        yield Note(one.line, "auth none leaves tls-auth without a digest")
    elif one is not None:
        yield from _not_had(one, one.arguments, options, DIGESTS, LEGACY_DIGESTS)
    for name in ("data-ciphers-fallback", "cipher"):
        # BF-CBC is the default of 2.4, which 2.6 passes over there.
        if (one := options.last(name)) is not None and (name, one.arguments[0]) != ("cipher", "BF-CBC"):
            yield from _not_had(one, one.arguments, options, CIPHERS, LEGACY_CIPHERS)
    if (one := options.last("data-ciphers", "ncp-ciphers")) is not None:
        names = [cipher for cipher in one.arguments[0].split(":") if cipher]
        yield from _not_had(one, [cipher for cipher in names if not cipher.startswith("?")], options, CIPHERS, LEGACY_CIPHERS)
        if all(cipher.startswith("?") for cipher in names) and len(lacking((n[1:] for n in names), CIPHERS | LEGACY_CIPHERS)) == len(names):
            yield Note(one.line, f"{one.option} {shown(one.arguments[0])}: OpenVPN 2.6 has none of these")
    lets_run = options.word("script-security", "1") in ("2", "3")
    if (one := options.last(*SCRIPTS)) is not None and not lets_run:
        yield Note(one.line, f"{one.option} needs script-security 2")


def _not_had(one: Statement, names: Iterable[str], options: Options, usual: Set[str], legacy: Set[str]) -> Iterator[Note]:
    """Names of ciphers or digests that OpenSSL 3 does not have, or has only where it is asked to."""
    providers = {name for line in options.all("providers") for name in line.arguments}
    if providers - PROVIDERS:
        return
    missing = lacking(names, usual)
    unknown = lacking(missing, legacy)
    old = [name for name in missing if name not in unknown]
    if unknown:
        yield Note(one.line, f"{one.option} {shown(':'.join(unknown))}: OpenVPN 2.6 with OpenSSL 3 has nothing of that name")
    if old and "legacy" not in providers:
        yield Note(one.line, f"{one.option} {shown(':'.join(old))} needs `providers legacy default` with OpenSSL 3")


def _unknown(one: Statement, name: str, *, lenient: bool) -> str | None:
    """Why OpenVPN 2.6 does not start with an option, shown as `name`; None: it does. `lenient`: what it does not know is passed over."""
    if one.option in REMOVED and (one.option in STILL_READ or not lenient):
        return f"{name} was {REMOVED[one.option]}"
    if one.option in OF_SERVERS:
        return f"{name} needs `mode server`, and a client does not start with it"
    if one.option in OF_CLIENT_FILES:
        return f"{name} belongs into a server's file for one client (`client-config-dir`)"
    if lenient:
        return None
    if one.option in VENDORS:
        return f"{name} is {VENDORS[one.option]}"
    if one.option in WINDOWS and sys.platform != "win32":
        return f"{name} is known on Windows alone: `setenv opt {name}` is passed over elsewhere"
    if one.option not in KNOWN or one.option in NEWER:
        return f"{name} is no option of OpenVPN 2.6: `ignore-unknown-option` lets it pass over it"
    return None


def unsupported(options: Options, inside: Iterable[Statement], checks: ServerChecks) -> tuple[Note, ...]:
    """What vpnprobe cannot do and OpenVPN can, which keeps it from trying the profile."""
    found = []
    if (one := options.last("secret")) is not None:
        found.append(Note(one.line, "secret: the static-key mode has no handshake that could be tried; OpenVPN 2.7 has it switched off"))
    if (one := options.last("static-challenge")) is not None:
        found.append(Note(one.line, "static-challenge: a login without its second factor would count as a failed one"))
    for proxy in ("http-proxy", "http-proxy-override", "socks-proxy"):
        lines = [*options.all(proxy), *(one for one in inside if one.option == proxy)]
        found += [Note(one.line, f"{proxy}: OpenVPN goes through this proxy, and vpnprobe straight to the server") for one in lines[:1]]
    if (one := options.last("tls-groups")) is not None and (groups := unknown_groups(checks)):
        found.append(Note(one.line, f"tls-groups {shown(':'.join(groups))}: whether OpenSSL has this group is not known"))
    if (one := options.last(*ELSEWHERE)) is not None:
        found.append(Note(one.line, f"{one.option}: the key is kept elsewhere, where vpnprobe cannot use it"))
    return tuple(sorted(found))
