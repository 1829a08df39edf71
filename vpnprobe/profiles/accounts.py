"""What becomes of each option of OpenVPN 2 in a profile: one table, which the reader, the report and `docs/openvpn.md` are made of.

An option is applied (the session is as the option has it), compared (what was agreed on is held against it), or told: it is not applied,
and its words say what that can mean. None is passed over in silence.
"""

from collections.abc import Iterable, Mapping, Set
from enum import StrEnum
from typing import Final, NamedTuple

from vpnprobe.profiles.known import KNOWN
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.naming import option_shown


class Treatment(StrEnum):
    """What is done with an option."""

    APPLIED = "applied"
    COMPARED = "compared"
    TOLD = "told"


class Account(NamedTuple):
    """One option's treatment."""

    treatment: Treatment
    meaning: str
    """What it means that it is not applied; of one that is compared, with what. Empty where it is applied."""


class Told(NamedTuple):
    """An option of a profile that is not applied."""

    line: int
    option: str
    """As it may be shown."""
    meaning: str


_APPLIED: Final = """
    allow-compression askpass auth auth-user-pass ca cert cipher client comp-lzo compress connection data-ciphers dev dev-type
    explicit-exit-notify extra-certs fragment ignore-unknown-option key key-direction ncp-ciphers ns-cert-type peer-fingerprint pkcs12 port
    proto proto-force pull remote remote-cert-eku remote-cert-ku remote-cert-tls remote-random-hostname rport tls-auth tls-cert-profile
    tls-cipher tls-client tls-crypt tls-crypt-v2 tls-version-max tls-version-min topology tun-mtu verify-x509-name nobind
"""
_COMPARED: Final[Mapping[str, str]] = {
    "tls-ciphersuites": "with the suite that the server took: another than these leaves the verdict open",
    "tls-remote": "with the server's name, as OpenVPN 2.3 did: 2.6 does not start with it, or passes over it where the profile says so",
    "tls-groups": "a single curve is applied; else with the group that the server took: another than these leaves the verdict open",
}
_GROUPS: Final = (
    (
        "is a program of the profile, and none is run: what it checks, sets up or refuses does not happen",
        """auth-user-pass-verify client-connect client-crresponse client-disconnect dns-updown down down-pre ipchange learn-address plugin
        route-pre-down route-up script-security tls-crypt-v2-verify tls-export-cert tls-export-peer-cert-dir tls-verify up up-delay
        up-restart""",
    ),
    (
        "goes through a proxy, which vpnprobe does not: then nothing is tried, and nothing is told of the server",
        "http-proxy http-proxy-override socks-proxy",
    ),
    (
        "says how to go through a proxy, and means nothing without one",
        "http-proxy-option http-proxy-retry http-proxy-timeout http-proxy-user-pass socks-proxy-retry",
    ),
    (
        "keeps the key elsewhere, where vpnprobe cannot use it: then nothing is tried, and nothing is told of the server",
        "cryptoapicert management-external-cert management-external-key pkcs11-id pkcs11-id-management",
    ),
    (
        "says how to use a smart card, and means nothing without a key on one",
        """pkcs11-cert-private pkcs11-id-type pkcs11-pin-cache pkcs11-private-mode pkcs11-protected-authentication pkcs11-providers
        pkcs11-sign-mode pkcs11-slot pkcs11-slot-type""",
    ),
    (
        "is a way to sign in that vpnprobe does not have: then nothing is tried, and nothing is told of the server",
        "secret static-challenge",
    ),
    (
        "signs in with a token, which vpnprobe does not send: a server may let OpenVPN in that refuses the login here",
        "auth-token auth-token-user",
    ),
    (
        "keeps out what the server pushes, which is taken here as it comes: OpenVPN may go without an option, or end",
        "pull-filter",
    ),
    (
        "checks the server or TLS further, which vpnprobe does not: OpenVPN may refuse a server that passes here",
        """capath crl-verify engine providers tls-exit verify-hash x509-username-field x509-track ecdh-curve force-tls-key-material-export
        keying-material-exporter prng use-prediction-resistance opt-verify""",
    ),
    (
        "concerns addresses, routes and names on this machine, which vpnprobe leaves alone: the session comes up without it",
        """allow-nonadmin allow-pull-fqdn allow-recursive-routing block-ipv6 block-outside-dns client-nat dhcp-internal dhcp-option
        dhcp-pre-release dhcp-release dhcp-renew dns ifconfig ifconfig-ipv6 ifconfig-noexec ifconfig-nowarn ip-win32 iproute lladdr
        max-routes rdns-internal redirect-gateway redirect-private register-dns route route-delay route-gateway route-ipv6
        route-ipv6-gateway route-method route-metric route-noexec route-nopull tap-sleep tun-ipv6 win-sys windows-driver dev-node
        show-net-up txqueuelen""",
    ),
    (
        "concerns how the program runs here (log, user, memory, windows): the session comes up without it",
        """cd chroot config daemon disable-dco echo enable-small errors-to-stderr group inetd log log-append machine-readable-output mlock
        mute
        mute-replay-warnings nice parameter persist-key persist-local-ip persist-remote-ip persist-tun remap-usr1 service setcon setenv
        setenv-safe show-gateway status status-version suppress-timestamps syslog tmp-dir user verb writepid pause-exit auth-nocache
        management management-client management-client-auth management-client-group management-client-user
        management-forget-disconnect management-hold management-log-cache management-query-passwords management-query-proxy
        management-query-remote management-signal management-up-down bcast-buffers fast-io gremlin tls-timeout""",
    ),
    (
        "is about times and repetition, where vpnprobe has its own: what fails only after minutes does not show",
        """connect-freq connect-freq-initial connect-retry connect-retry-max connect-timeout hand-window hash-size inactive keepalive ping
        ping-exit ping-restart ping-timer-rem reneg-bytes reneg-pkts reneg-sec resolv-retry server-poll-timeout session-timeout tran-window
        remote-random replay-window replay-persist no-replay single-session auth-retry""",
    ),
    (
        "is about the sizes of packets: the sizes that pass are tried as they are, and TCP through the tunnel may need it",
        "link-mtu max-packet-size mssfix mtu-disc mtu-dynamic mtu-test tun-max-mtu tun-mtu-extra udp-mtu shaper",
    ),
    (
        "is about the socket or address that is sent from: vpnprobe sends from any port and the usual address, where a firewall may differ",
        """bind bind-dev float ip-remote-hint local lport mark multihome passtos preresolve rcvbuf remote-ip-hint sndbuf socket-flags
        tcp-nodelay tcp-queue-limit""",
    ),
    (
        "changes what is told to the server, or what is agreed on with it, and is not applied: a server may ask for it",
        """compat-mode comp-noadapt data-ciphers-fallback disable-occ key-derivation peer-id protocol-flags push-continuation push-peer-info
        auth-gen-token auth-gen-token-secret""",
    ),
    (
        "was an option of older releases, with which OpenVPN 2.6 does not start",
        """client-cert-not-required compat-names ifconfig-pool-linear key-method keysize management-client-pf ncp-disable no-iv
        no-name-remapping""",
    ),
)
_OF_SERVERS: Final = "is a server's or a command of its own: a client passes over it, or does not start with it"


def _table() -> dict[str, Account]:
    table = {name: Account(Treatment.APPLIED, "") for name in _APPLIED.split()}
    table |= {name: Account(Treatment.COMPARED, meaning) for name, meaning in _COMPARED.items()}
    for meaning, names in _GROUPS:
        table |= {name: Account(Treatment.TOLD, meaning) for name in names.split() if name in KNOWN}
    return {name: table.get(name, Account(Treatment.TOLD, _OF_SERVERS)) for name in sorted(KNOWN)}


ACCOUNTS: Final[Mapping[str, Account]] = _table()
"""Every option of OpenVPN 2, by name."""
UNKNOWN: Final = "is no option of OpenVPN 2, and is passed over here"


def told(everything: Iterable[Statement], declared: Set[str] = frozenset()) -> tuple[Told, ...]:
    """The options of a profile that are not applied, each where it stands first. `declared`: the names of `ignore-unknown-option`."""
    first: dict[str, int] = {}
    for one in everything:
        first.setdefault(one.option, one.line)
    found = ((line, name, ACCOUNTS.get(name, Account(Treatment.TOLD, UNKNOWN))) for name, line in first.items())
    return tuple(
        Told(line, option_shown(name, declared), account.meaning) for line, name, account in found if account.treatment is Treatment.TOLD
    )


def table_in_markdown() -> str:
    """The table of options for the manual: a line for each treatment and meaning."""
    rows: dict[Account, list[str]] = {}
    for name, account in ACCOUNTS.items():
        rows.setdefault(account, []).append(f"`{name}`")
    order = sorted(rows, key=lambda account: (list(Treatment).index(account.treatment), account.meaning == _OF_SERVERS))
    lines = [f"| {', '.join(rows[account])} | {account.treatment} | {account.meaning} |" for account in order]
    return "\n".join(["| options | treatment | what it means |", "| --- | --- | --- |", *lines])
