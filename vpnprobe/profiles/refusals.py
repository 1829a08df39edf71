"""What OpenVPN 2.6 does not start with, so that no client comes to the server; and what vpnprobe cannot do, which says nothing of it.

Each line was tried with OpenVPN 2.6.14 on Linux. `setenv opt X`, `ignore-unknown-option X` and `setenv FORWARD_COMPATIBLE 1` make OpenVPN
pass over what it does not know.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from vpnprobe.conversations.openvpn_tunnel import compresses
from vpnprobe.profiles.errors import shown
from vpnprobe.profiles.known import ELSEWHERE, KNOWN
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import DataSettings, Note, ServerChecks
from vpnprobe.profiles.options import Options
from vpnprobe.profiles.tls_lists import refused_lists
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
    "tls-remote": "removed in 2.4; `verify-x509-name NAME name` instead",
}
"""Options of older releases that end OpenVPN 2.6 at once."""
WINDOWS: Final = frozenset({"block-outside-dns", "register-dns", "service", "win-sys"})
"""Options that OpenVPN knows on Windows alone, and does not start with elsewhere."""
NEWER: Final = frozenset({"allow-deprecated-insecure-static-crypto"})
"""Options that 2.6 does not know yet."""
BOUND: Final = ("bind", "local", "lport")
"""None of these goes with nobind."""


def refusals(everything: Iterable[Statement], options: Options, data: DataSettings, checks: ServerChecks) -> tuple[Note, ...]:
    """What OpenVPN 2.6 does not start with, in the order of lines."""
    passed_over = {name for one in options.all("ignore-unknown-option") for name in one.arguments}
    lenient = any(one.arguments[:2] == ("FORWARD_COMPATIBLE", "1") for one in options.all("setenv"))
    found = [
        Note(one.line, text)
        for one in everything
        if not one.text.startswith(("setenv opt", "--setenv opt")) and (text := _unknown(one, passed_over, lenient=lenient)) is not None
    ]
    if data.allow_compression == "no" and compresses(data.framing):
        found.append(Note(0, f"{data.framing} is what allow-compression no forbids"))
    if "nobind" in options and (bound := options.last(*BOUND)) is not None:
        found.append(Note(bound.line, f"{bound.option} does not go with nobind"))
    found += [Note(0, text) for text in refused_lists(checks)]
    return tuple(sorted(found))


def _unknown(one: Statement, passed_over: set[str], *, lenient: bool) -> str | None:
    """Why OpenVPN 2.6 does not start with an option; None: it does."""
    name = shown(one.option)
    if one.option in REMOVED:
        return f"{name} was {REMOVED[one.option]}"
    if lenient or one.option in passed_over:
        return None
    if one.option in VENDORS:
        return f"{name} is {VENDORS[one.option]}"
    if one.option in WINDOWS and sys.platform != "win32":
        return f"{name} is known on Windows alone: `setenv opt {name}` is passed over elsewhere"
    if one.option not in KNOWN or one.option in NEWER:
        shortened = name if len(name) <= LONGEST_NAME else f"a word of {len(name)} characters"
        return f"{shortened} is no option of OpenVPN 2.6: `ignore-unknown-option` lets it pass over it"
    return None


LONGEST_NAME: Final = 40
"""Characters; a longer word is no option, and may be a line of a key whose block is broken."""


def unsupported(options: Options, inside: Iterable[Statement]) -> tuple[Note, ...]:
    """What vpnprobe cannot do and OpenVPN can, which keeps it from trying the profile."""
    found = []
    if (one := options.last("secret")) is not None:
        found.append(Note(one.line, "secret: the static-key mode has no handshake that could be tried; OpenVPN 2.7 has it switched off"))
    if (one := options.last("static-challenge")) is not None:
        found.append(Note(one.line, "static-challenge: a login without its second factor would count as a failed one"))
    for proxy in ("http-proxy", "socks-proxy"):
        lines = [*options.all(proxy), *(one for one in inside if one.option == proxy)]
        found += [Note(one.line, f"{proxy}: OpenVPN goes through this proxy, and vpnprobe straight to the server") for one in lines[:1]]
    if (one := options.last(*ELSEWHERE)) is not None:
        found.append(Note(one.line, f"{one.option}: the key is kept elsewhere, where vpnprobe cannot use it"))
    return tuple(sorted(found))
