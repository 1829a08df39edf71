"""What a profile restricts TLS to (`tls-cipher`, `tls-ciphersuites`, `tls-groups`): for the library that speaks it, and compared.

OpenVPN takes IANA's names of cipher suites with hyphens (`TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384`) besides all that OpenSSL has for a list.
The standard library's `ssl` restricts the ciphers of TLS 1.2 and one elliptic curve; neither suites of TLS 1.3 nor lists of groups, so that
what was agreed on is compared: what is in the list, the profile's own client would have agreed on too.
"""

import re
import ssl
from typing import Final

from vpnprobe.profiles.model import ServerChecks
from vpnprobe.wire.tls_handshake import GROUPS

USUAL: Final = "DEFAULT:!EXP:!LOW:!MEDIUM:!kDH:!kECDH:!DSS:!PSK:!SRP:!kRSA"
"""OpenVPN 2.6's own list where `tls-cipher` says nothing."""
SUITES: Final = frozenset(
    {
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    }
)
"""All of TLS 1.3 (RFC 8446 appendix B.4)."""
SAME_GROUPS: Final = {"p-256": "secp256r1", "prime256v1": "secp256r1", "p-384": "secp384r1", "p-521": "secp521r1"}
CURVES: Final = {"secp256r1": "prime256v1", "secp384r1": "secp384r1", "secp521r1": "secp521r1"}
"""Groups that the library can be restricted to, to OpenSSL's names of them."""
_OTHER_GROUPS: Final = ("brainpoolp256r1", "brainpoolp384r1", "brainpoolp512r1", "secp256k1", "secp224r1", "secp192r1")
KNOWN_GROUPS: Final = frozenset({*GROUPS.values(), *SAME_GROUPS, *_OTHER_GROUPS})


def openssl_list(checks: ServerChecks) -> str:
    """The list of ciphers for TLS 1.2 and older, in OpenSSL's terms."""
    return ":".join(openssl_name(name) for name in checks.tls_cipher) or USUAL


def openssl_name(name: str) -> str:
    """OpenSSL's name of a cipher suite by IANA's, with hyphens or underscores; any other word stays as it is."""
    iana = name.upper().replace("_", "-")
    if not iana.startswith("TLS-") or "-WITH-" not in iana:
        return name
    exchange, cipher = iana.removeprefix("TLS-").split("-WITH-", 1)
    cipher = re.sub(r"^(AES|CAMELLIA)-(128|256)-", r"\1\2-", cipher).replace("-CBC-", "-").replace("3DES-EDE", "DES-CBC3")
    if cipher.startswith("CHACHA20-POLY1305"):
        cipher = "CHACHA20-POLY1305"
    return cipher if exchange == "RSA" else f"{exchange}-{cipher}"


def group_name(name: str) -> str:
    """One name for each group, in small letters."""
    return SAME_GROUPS.get(name.lower(), name.lower())


def curve(checks: ServerChecks) -> str:
    """OpenSSL's name of the one curve that TLS can be restricted to; empty: `tls-groups` says nothing, or cannot be applied."""
    names = [group_name(name) for name in checks.tls_groups]
    return CURVES.get(names[0], "") if len(names) == 1 else ""


def refused_lists(checks: ServerChecks) -> tuple[str, ...]:
    """Options whose list OpenSSL takes nothing of, so that OpenVPN ends before it sends anything; a clause each."""
    found = []
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(openssl_list(checks))
    except ssl.SSLError:
        found.append(f"tls-cipher {':'.join(checks.tls_cipher)}: OpenSSL knows none of these")
    suites = [name.upper().replace("-", "_") for name in checks.tls_ciphersuites]
    if suites and not SUITES & set(suites):
        found.append(f"tls-ciphersuites {':'.join(checks.tls_ciphersuites)}: OpenSSL knows none of these")
    return tuple(found)


def unknown_groups(checks: ServerChecks) -> tuple[str, ...]:
    """Names of `tls-groups` that may be groups or not: OpenSSL has many that hardly anybody uses, and which depends on its release."""
    return tuple(name for name in checks.tls_groups if group_name(name) not in KNOWN_GROUPS)


def outside_of_lists(checks: ServerChecks, *, version: str, suite: str, group: int | None) -> str | None:
    """What was agreed on that the profile's own client would not have offered; None: nothing, as far as can be told.

    Then nothing follows for that client: the server may also do what the profile has.
    """
    suites = [name.upper().replace("-", "_") for name in checks.tls_ciphersuites]
    if suites and version == "TLSv1.3" and suite not in suites:
        return f"tls-ciphersuites {':'.join(checks.tls_ciphersuites)} cannot be applied, and the server took {suite}"
    names = [group_name(name) for name in checks.tls_groups]
    if names and not curve(checks) and version == "TLSv1.2" and "ECDSA" in suite:
        # There the list restricts the curve of the server's certificate too (RFC 8422 section 5.1.1).
        return f"tls-groups {':'.join(checks.tls_groups)} cannot be applied, and the server's certificate has a key on a curve"
    if names and not curve(checks) and group is not None and GROUPS.get(group, "") not in names:
        return f"tls-groups {':'.join(checks.tls_groups)} cannot be applied, and the server took {GROUPS.get(group, f'group {group}')}"
    return None
