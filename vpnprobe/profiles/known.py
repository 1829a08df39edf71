"""The options of OpenVPN 2.x: which there are, how many arguments the interpreted ones take, and which are not carried out.

The list is that of OpenVPN's manuals from 2.0 to 2.7, removed options included, since old profiles live long. It is a list to compare with:
nothing else follows from a name's being in it.
"""

from collections.abc import Mapping
from typing import Final

_ALL: Final = """
    allow-compression allow-deprecated-insecure-static-crypto allow-nonadmin allow-pull-fqdn allow-recursive-routing askpass auth
    auth-gen-token auth-gen-token-secret auth-nocache auth-retry auth-token auth-token-user auth-user-pass auth-user-pass-optional
    auth-user-pass-verify bcast-buffers bind bind-dev block-ipv6 block-outside-dns ca capath ccd-exclusive cd cert chroot cipher client
    client-cert-not-required client-config-dir client-connect client-crresponse client-disconnect client-nat client-to-client comp-lzo
    comp-noadapt compat-mode compat-names compress config connect-freq connect-freq-initial connect-retry connect-retry-max
    connect-timeout connection crl-verify cryptoapicert daemon data-ciphers data-ciphers-fallback dev dev-node dev-type dh dhcp-internal
    dhcp-option dhcp-pre-release dhcp-release dhcp-renew disable disable-dco disable-occ dns dns-updown down down-pre duplicate-cn
    ecdh-curve echo enable-small engine errors-to-stderr explicit-exit-notify extra-certs fast-io float force-tls-key-material-export
    fragment genkey gremlin group hand-window hash-size help http-proxy http-proxy-option http-proxy-override http-proxy-retry
    http-proxy-timeout http-proxy-user-pass ifconfig ifconfig-ipv6 ifconfig-ipv6-pool ifconfig-ipv6-push ifconfig-noexec ifconfig-nowarn
    ifconfig-pool ifconfig-pool-linear ifconfig-pool-persist ifconfig-push ifconfig-push-constraint ignore-unknown-option inactive inetd
    ip-remote-hint ip-win32 ipchange iproute iroute iroute-ipv6 keepalive key key-derivation key-direction key-method
    keying-material-exporter keysize learn-address link-mtu lladdr local log log-append lport machine-readable-output management
    management-client management-client-auth management-client-group management-client-pf management-client-user
    management-external-cert management-external-key management-forget-disconnect management-hold management-log-cache
    management-query-passwords management-query-proxy management-query-remote management-signal management-up-down mark max-clients
    max-packet-size max-routes max-routes-per-client memstats mktun mlock mode mssfix mtu-disc mtu-dynamic mtu-test multihome mute
    mute-replay-warnings ncp-ciphers ncp-disable nice no-iv no-name-remapping no-replay nobind ns-cert-type opt-verify parameter passtos
    pause-exit peer-fingerprint peer-id persist-key persist-local-ip persist-remote-ip persist-tun ping ping-exit ping-restart
    ping-timer-rem pkcs11-cert-private pkcs11-id pkcs11-id-management pkcs11-id-type pkcs11-pin-cache pkcs11-private-mode
    pkcs11-protected-authentication pkcs11-providers pkcs11-sign-mode pkcs11-slot pkcs11-slot-type pkcs12 plugin port port-share
    preresolve prng proto proto-force protocol-flags providers pull pull-filter push push-continuation push-peer-info push-remove
    push-reset rcvbuf rdns-internal redirect-gateway redirect-private register-dns remap-usr1 remote remote-cert-eku remote-cert-ku
    remote-cert-tls remote-ip-hint remote-random remote-random-hostname reneg-bytes reneg-pkts reneg-sec replay-persist replay-window
    resolv-retry rmtun route route-delay route-gateway route-ipv6 route-ipv6-gateway route-method route-metric route-noexec route-nopull
    route-pre-down route-up rport script-security secret server server-bridge server-ipv6 server-poll-timeout service session-timeout
    setcon setenv setenv-safe shaper show-adapters show-ciphers show-curves show-digests show-engines show-gateway show-groups show-net
    show-net-up show-pkcs11-ids show-tls show-valid-subnets single-session sndbuf socket-flags socks-proxy socks-proxy-retry
    stale-routes-check static-challenge status status-version suppress-timestamps syslog tap-sleep tcp-nodelay tcp-queue-limit
    test-crypto tls-auth tls-cert-profile tls-cipher tls-ciphersuites tls-client tls-crypt tls-crypt-v2 tls-crypt-v2-max-age
    tls-crypt-v2-verify tls-exit tls-export-cert tls-export-peer-cert-dir tls-groups tls-remote tls-server tls-timeout tls-verify
    tls-version-max tls-version-min tmp-dir topology tran-window tun-ipv6 tun-max-mtu tun-mtu tun-mtu-extra txqueuelen udp-mtu up
    up-delay up-restart use-prediction-resistance user username-as-common-name verb verify-client-cert verify-hash verify-x509-name
    version vlan-accept vlan-pvid vlan-tagging win-sys windows-driver writepid x509-track x509-username-field
"""
KNOWN: Final = frozenset(_ALL.split())

ONE: Final = (1, 1)
NONE: Final = (0, 0)
MAYBE: Final = (0, 1)
ARGUMENTS: Final[Mapping[str, tuple[int, int]]] = {
    "askpass": MAYBE,
    "auth": ONE,
    "auth-user-pass": MAYBE,
    "ca": ONE,
    "cert": ONE,
    "cipher": ONE,
    "client": NONE,
    "comp-lzo": MAYBE,
    "compress": MAYBE,
    "data-ciphers": ONE,
    "data-ciphers-fallback": ONE,
    "dev": ONE,
    "dev-type": ONE,
    "explicit-exit-notify": MAYBE,
    "extra-certs": ONE,
    "fragment": (1, 2),
    "http-proxy": (1, 4),
    "key": ONE,
    "key-direction": ONE,
    "link-mtu": ONE,
    "management": (2, 3),
    "mode": ONE,
    "mssfix": (0, 2),
    "ncp-ciphers": ONE,
    "ns-cert-type": ONE,
    "peer-fingerprint": ONE,
    "pkcs12": ONE,
    "port": ONE,
    "proto": ONE,
    "proto-force": ONE,
    "remote": (1, 3),
    "remote-cert-eku": ONE,
    "remote-cert-ku": (0, 15),
    "remote-cert-tls": ONE,
    "reneg-sec": (1, 2),
    "rport": ONE,
    "secret": (1, 2),
    "setenv": (1, 2),
    "setenv-safe": (1, 2),
    "static-challenge": (2, 3),
    "tls-auth": (1, 2),
    "tls-cert-profile": ONE,
    "tls-cipher": ONE,
    "tls-ciphersuites": ONE,
    "tls-crypt": (1, 2),
    "tls-crypt-v2": (1, 2),
    "tls-groups": ONE,
    "tls-remote": ONE,
    "tls-version-max": ONE,
    "tls-version-min": (1, 2),
    "topology": ONE,
    "tun-mtu": (1, 2),
    "verify-x509-name": (1, 2),
}
"""Fewest and most arguments of the options that are interpreted; of any other option, any number is taken."""

ELSEWHERE: Final = ("cryptoapicert", "management-external-cert", "management-external-key", "pkcs11-id", "pkcs11-id-management")
"""Options that leave the key to a smart card, to a store of Windows or to another program."""

SERVERS: Final = frozenset({"server", "server-bridge", "server-ipv6", "tls-server"})
"""Options that only a server has."""

_OF_CONNECTIONS: Final = """
    bind connect-retry connect-retry-max connect-timeout explicit-exit-notify float fragment http-proxy http-proxy-option
    http-proxy-retry http-proxy-timeout http-proxy-user-pass key-direction link-mtu local lport max-packet-size mssfix mtu-disc nobind
    port proto remote rport server-poll-timeout socks-proxy socks-proxy-retry tls-auth tls-crypt tls-crypt-v2 tun-max-mtu tun-mtu
    tun-mtu-extra
"""
IN_CONNECTION: Final = frozenset(_OF_CONNECTIONS.split())
"""Options that a `<connection>` block may have, CONNECTION PROFILES in the manual."""

_SCRIPTS: Final = """
    auth-user-pass-verify client-connect client-crresponse client-disconnect dns-updown down ipchange learn-address plugin
    route-pre-down route-up tls-crypt-v2-verify tls-verify up
"""
_SCRIPT: Final = "is a program of the profile, and none is run"
NOTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(_SCRIPTS.split(), _SCRIPT),
    "capath": "a folder of authorities is not read",
    "cd": "files are looked for in the profile's own folder",
    "config": "other profiles are not read",
    "crl-verify": "revoked certificates are not looked for",
    "engine": "engines of OpenSSL are not loaded",
    "providers": "providers of OpenSSL are not loaded",
    "verify-hash": "the fingerprint of the authority is not compared",
    "x509-username-field": "names are compared with the common name",
}
"""Options that are understood and not carried out, and what that means."""
