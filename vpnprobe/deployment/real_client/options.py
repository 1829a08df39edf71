"""What openvpn is run with, so that it changes nothing of this machine, and which options of the profile it is given.

A profile may be a stranger's, and openvpn loads libraries, runs programs and opens files where an option says so: it gets what a session
needs, option by option, and nothing that is not known here. `script-security 0` alone keeps no library and no file from being opened.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Final

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.blocks import OWN_CONTENT, READ
from vpnprobe.profiles.known import ELSEWHERE
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.one_remote import EXIT_NOTIFY, LOGIN, LeftOut
from vpnprobe.profiles.openssl_names import PROVIDERS

_SESSION: Final = """
    allow-compression allow-deprecated-insecure-static-crypto auth auth-nocache auth-retry auth-token auth-token-user cipher client
    comp-lzo comp-noadapt compat-mode compress data-ciphers data-ciphers-fallback disable-dco disable-occ ecdh-curve fragment
    hand-window ignore-unknown-option inactive keepalive key-derivation link-mtu max-packet-size mode mssfix mtu-disc mtu-dynamic
    mute-replay-warnings ncp-ciphers no-replay ns-cert-type peer-id ping ping-exit ping-restart ping-timer-rem prng protocol-flags pull
    pull-filter push-continuation push-peer-info remote-cert-eku remote-cert-ku remote-cert-tls reneg-bytes reneg-pkts reneg-sec
    replay-window session-timeout shaper single-session static-challenge tls-cert-profile tls-cipher tls-ciphersuites tls-client tls-exit
    tls-groups tls-timeout tls-version-max tls-version-min topology tran-window tun-max-mtu tun-mtu tun-mtu-extra udp-mtu
    use-prediction-resistance verify-x509-name x509-username-field
"""
_CONNECTION: Final = """
    allow-pull-fqdn bind bind-dev connect-retry connect-retry-max connect-timeout fast-io float ip-remote-hint local lport mark multihome
    nobind passtos persist-key persist-local-ip persist-remote-ip persist-tun port preresolve proto proto-force rcvbuf remote
    remote-ip-hint remote-random remote-random-hostname resolv-retry rport server-poll-timeout sndbuf socket-flags tcp-nodelay
    tcp-queue-limit
"""
_ADDRESSES: Final = """
    allow-recursive-routing block-ipv6 client-nat dhcp-option dns ifconfig ifconfig-ipv6 ifconfig-noexec ifconfig-nowarn max-routes
    redirect-gateway redirect-private route route-gateway route-ipv6 route-ipv6-gateway route-method route-metric route-noexec
    route-nopull tun-ipv6
"""
"""Are read, and not carried out: `QUIET`."""
_REFUSED: Final = """
    allow-nonadmin auth-gen-token auth-user-pass-optional block-outside-dns ccd-exclusive client-cert-not-required client-to-client
    compat-names connect-freq dhcp-internal dhcp-pre-release dhcp-release dhcp-renew disable duplicate-cn hash-size
    ifconfig-ipv6-pool ifconfig-ipv6-push ifconfig-pool ifconfig-pool-linear ifconfig-push iroute iroute-ipv6 ip-win32 key-method keysize
    management-client-pf ncp-disable no-iv
    no-name-remapping opt-verify pause-exit push-remove push-reset rdns-internal register-dns service show-net-up stale-routes-check
    tap-sleep tls-crypt-v2-max-age tls-remote username-as-common-name verify-client-cert vlan-accept vlan-pvid vlan-tagging win-sys
    windows-driver
"""
"""With which an openvpn of this system does not start, or which it passes over where it is told to: which of both is worth seeing."""
_VARIABLES: Final = frozenset(
    {"CLIENT_CERT", "FORWARD_COMPATIBLE", "GENERIC_CONFIG", "PUSH_PEER_INFO", "REMOTE_RANDOM_HOSTNAME", "SERVER_POLL_TIMEOUT"}
)
"""That mean something to openvpn itself; those that begin with UV_ are told to the server."""
_CHECKED: Final[Mapping[str, Callable[[tuple[str, ...]], bool]]] = MappingProxyType(
    {
        # Any other name of a provider is a library that OpenSSL loads.
        "providers": lambda names: PROVIDERS.issuperset(names),
        "setenv": lambda words: words[:1] != () and (words[0] in _VARIABLES or words[0].startswith("UV_")),
    }
)
"""Options that are kept with some arguments alone."""
KEPT: Final[Set[str]] = frozenset(" ".join((_SESSION, _CONNECTION, _ADDRESSES, _REFUSED)).split())
"""Options that go on as they are."""
WRITTEN: Final[Set[str]] = READ | OWN_CONTENT | {EXIT_NOTIFY, LOGIN, "connection"}
"""Options that go on as what vpnprobe has read, or as its own (`GOODBYE`);
`crl-verify`, `secret` and `verify-hash` only where that is what they should be."""
SOMETIMES: Final[Set[str]] = _CHECKED.keys()
"""Options that go on with some arguments, and without others not."""

_PROGRAMS: Final = """
    auth-user-pass-verify client-connect client-crresponse client-disconnect dns-updown down down-pre engine iproute ipchange
    learn-address pkcs11-providers plugin route-pre-down route-up script-security tls-crypt-v2-verify tls-export-cert
    tls-export-peer-cert-dir tls-verify up up-delay up-restart
"""
"""Programs and libraries."""
_PKCS11: Final = """
    cryptoapicert management-external-cert management-external-key pkcs11-cert-private pkcs11-id pkcs11-id-management pkcs11-id-type
    pkcs11-pin-cache pkcs11-private-mode pkcs11-protected-authentication pkcs11-sign-mode pkcs11-slot pkcs11-slot-type
"""
_PROXIES: Final = """
    http-proxy http-proxy-option http-proxy-override http-proxy-retry http-proxy-timeout http-proxy-user-pass socks-proxy socks-proxy-retry
"""
_FILES: Final = """
    auth-gen-token-secret capath cd chroot client-config-dir config dh genkey ifconfig-pool-persist log log-append memstats port-share
    replay-persist status status-version tmp-dir writepid
"""
_MANAGEMENT: Final = """
    management management-client management-client-auth management-client-group management-client-user management-forget-disconnect
    management-hold management-log-cache management-query-passwords management-query-proxy management-query-remote management-signal
    management-up-down
"""
_RUNNING: Final = """
    daemon echo enable-small errors-to-stderr force-tls-key-material-export gremlin group inetd keying-material-exporter
    machine-readable-output mlock mtu-test mute nice parameter remap-usr1 setcon setenv-safe suppress-timestamps syslog user verb
    x509-track
"""
_DEVICE: Final = "dev dev-node dev-type lladdr mktun rmtun route-delay txqueuelen"
_COMMANDS: Final = """
    help show-adapters show-ciphers show-curves show-digests show-engines show-gateway show-groups show-net show-pkcs11-ids show-tls
    show-valid-subnets test-crypto version
"""
_SERVERS: Final = """
    bcast-buffers connect-freq-initial ifconfig-push-constraint max-clients max-routes-per-client push server server-bridge server-ipv6
    tls-server
"""
LEFT_OUT: Final[Set[str]] = frozenset(
    " ".join((_PROGRAMS, _PKCS11, _PROXIES, _FILES, _MANAGEMENT, _RUNNING, _DEVICE, _COMMANDS, _SERVERS)).split()
)
"""Known options that are left out; so is every one that is not known. The list is for the manual: what is not kept is left out anyhow."""
PROXIES: Final = frozenset({"http-proxy", "http-proxy-override", "socks-proxy"})

QUIET: Final = ("--dev", "null", "--ifconfig-noexec", "--route-noexec", "--script-security", "0")
"""No device, no addresses, no routes, and no program is started."""
NO_DNS: Final = ("--dns-updown", "disable")
"""Since 2.7 a program of its own would set the resolver."""
GOODBYE: Final = (f"--{EXIT_NOTIFY}", "1")
"""Over UDP the server is told when it ends; over TCP it sees that. More would let it outlive vpnprobe: it says so once a second."""
NO_OTHER_GOODBYE: Final = ("--pull-filter", "ignore", EXIT_NOTIFY)
"""Since 2.4: the server does not say how often."""


def is_kept(statement: Statement) -> bool:
    """Whether openvpn gets this option as it is."""
    check = _CHECKED.get(statement.option)
    return check(statement.arguments) if check is not None else statement.option in KEPT


def why_untried(profile: Profile, left_out: Iterable[LeftOut]) -> str:
    """Why openvpn cannot be tried without what was left out; empty: it can."""
    lines = {one.option: one.line for one in left_out}
    for option, line in lines.items():
        if option in PROXIES:
            return f"line {line}, {option}: openvpn would tell the proxy what the profile says, so it is not run through one"
        if option in ELSEWHERE:
            return f"line {line}, {option}: the key is kept elsewhere, and openvpn is not let there"
    known = profile.tls.ca is not None or profile.tls.pkcs12 is not None or bool(profile.checks.fingerprints)
    if "capath" in lines and not known:
        return f"line {lines['capath']}, capath: a folder of authorities is not opened, and nothing else says who the server is"
    return ""


def first_options(version: tuple[int, int] | None, transport: Transport) -> tuple[str, ...]:
    """Before those of the profile: a `<connection>` block begins with what stands before it, and of filters the first decides."""
    filters = NO_OTHER_GOODBYE if version is not None and version >= (2, 4) else ()
    return (*filters, *(GOODBYE if transport is Transport.UDP else ()))


def added_options(version: tuple[int, int] | None) -> tuple[str, ...]:
    """Behind those of the profile. `version`: major and minor; None: not known."""
    dns = NO_DNS if version is not None and version >= (2, 7) else ()
    return (*QUIET, *dns)
