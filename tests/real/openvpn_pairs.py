"""Pairs of an OpenVPN server and a client's profile, drawn by a seed: right ones, and ones that are wrong in one known way.

Each of `KINDS` is one thing that two ends can share or not. What it stands on (transport, wrap of the control channel, kind of key, login,
harmless options) is drawn for each pair anew. `Pair.causes` are the names that are right where the real client fails; whether it does is
for the real client to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from vpnprobe.lab.openvpn_pki import Algorithm, Flaw, Identity, WrapKeys
from vpnprobe.lab.openvpn_servers import USER_NAME, WRONG_PASSWORD, RunningServer, ServerConfig, Wrapping, client_profile
from vpnprobe.observations.schema import Transport
from vpnprobe.wire.openvpn import Opcode

UDP, TCP = Transport.UDP, Transport.TCP
FIRST_PORT: Final = 23000
CLOSED_PORT: Final = 3999
COMPRESSES: Final = ("--allow-compression", "yes")
TAP: Final = ("--dev", "tap", "--dev-type", "tap")
SHARED_TLS_CIPHER: Final = "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384:TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384"
OTHER_TLS_CIPHER: Final = "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256:TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256"
NO_WRAP: Final[Mapping[str, str | None]] = {"tls-auth": None, "key-direction": None, "tls-crypt": None, "tls-crypt-v2": None}
WRAPS: Final = tuple(Wrapping)
TLS_AUTHS: Final = (Wrapping.TLS_AUTH_SHA1, Wrapping.TLS_AUTH_SHA256, Wrapping.TLS_AUTH_SHA512)
SUSPICIONS: Final[Mapping[Flaw | None, str]] = {
    Flaw.EXPIRED: "certificate expired on",
    Flaw.NOT_YET_VALID: "certificate is valid from",
    Flaw.OTHER_AUTHORITY: "not issued by the authority",
    Flaw.OTHER_PURPOSE: "not made for clients",
    None: "has no certificate",
}
"""Words of what is suspected where a server falls silent; None: of a certificate that is missing."""
DATA_V2: Final = f"{Opcode.DATA_V2 << 3:#x}"

Overrides = dict[str, str | None]


@dataclass
class Pair:
    """A server, a profile, and what is true of them."""

    kind: str
    transport: Transport
    wrapping: Wrapping
    algorithm: Algorithm
    user_password: bool
    port: int
    data_ciphers: tuple[str, ...] = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    flaw: Flaw = Flaw.NONE
    """Of the server's certificate."""
    tls_version_min: str | None = None
    server: list[str] = field(default_factory=list)
    """More words of the server's command line."""
    profile: Overrides = field(default_factory=dict)
    """As for `client_profile`."""
    lines: str = ""
    """More lines at the profile's end."""
    identity: tuple[str, Flaw] | None = None
    """The client's certificate: `client` with a flaw; None: the good one."""
    other_keys: bool = False
    """The profile's key of the control channel is not the server's."""
    other_wrapping: Wrapping | None = None
    """How the profile wraps the control channel; None: as the server."""
    rules: tuple[str, ...] = ()
    """Of the router, for the packets of this server."""
    tunnel_rules: str = ""
    """Of the server's own firewall, for what comes out of its tunnel, as a statement of nftables; empty: there are none."""
    causes: frozenset[str] = frozenset()
    """Names that are right where it fails; empty: nothing is wrong."""
    suspicion: str = ""
    """Words that name the cause where the server falls silent over it (`keys-unanswered`); empty: no such suspicion is right."""
    also: frozenset[str] = frozenset()
    """Names that are true besides, and stop nothing by themselves."""

    def wrong(self, *causes: str) -> None:
        self.causes = frozenset(causes)

    @property
    def config(self) -> ServerConfig:
        return ServerConfig(
            transport=self.transport,
            port=self.port,
            wrapping=self.wrapping,
            algorithm=self.algorithm,
            user_password=self.user_password,
            data_ciphers=self.data_ciphers,
            flaw=self.flaw,
            tls_version_min=self.tls_version_min,
            extra=tuple(self.server),
        )

    def text(self, server: RunningServer, other_keys: WrapKeys) -> str:
        """The profile."""
        own = self.profile if self.identity is None else {**_client(server.authority.client(self.identity[1])), **self.profile}
        config = ServerConfig(
            transport=self.transport,
            wrapping=self.other_wrapping or self.wrapping,
            algorithm=self.algorithm,
            user_password=self.user_password,
            data_ciphers=self.data_ciphers,
        )
        keys = other_keys if self.other_keys else server.keys
        lines = self.lines.replace("HOST", server.endpoint[0]).replace("PORT", str(self.port))
        overrides = {name: _filled(value, server) for name, value in own.items()}
        return client_profile(config, server.endpoint, server.authority, keys, **overrides) + lines


def _filled(value: str | None, server: RunningServer) -> str | None:
    if value is None:
        return None
    if value == "OTHER-AUTHORITY":
        return server.authority.other_pem.decode()
    return value.replace("HOST", server.endpoint[0]).replace("PORT", str(server.config.port))


def _client(identity: Identity) -> Overrides:
    return {"cert": identity.certificate_pem.decode(), "key": identity.key_pem.decode()}


Kind = Callable[[Random, Pair], None]


def draw(number: int, seed: int, *, kinds: "Mapping[str, Kind] | None" = None) -> list[Pair]:
    """So many pairs; every kind comes before one comes again."""
    rng = Random(seed)
    table = dict(KINDS if kinds is None else kinds)
    names: list[str] = []
    while len(names) < number:
        again = list(table)
        rng.shuffle(again)
        names += again
    return [_drawn(rng, name, table[name], FIRST_PORT + place) for place, name in enumerate(names[:number])]


def _drawn(rng: Random, name: str, kind: Kind, port: int) -> Pair:
    pair = Pair(
        name,
        transport=rng.choice((UDP, UDP, TCP)),
        wrapping=rng.choice((Wrapping.PLAIN, Wrapping.PLAIN, *WRAPS)),
        algorithm=rng.choice(tuple(Algorithm)),
        user_password=rng.random() < 0.2,
        port=port,
    )
    kind(rng, pair)
    if rng.random() < 0.5:
        pair.lines += "".join(f"{line}\n" for line in rng.sample(HARMLESS, 3))
    return pair


HARMLESS: Final = (
    "verb 3",
    "persist-key",
    "persist-tun",
    "auth-nocache",
    "resolv-retry infinite",
    "mute 20",
    "float",
    "reneg-sec 3600",
    "mssfix 1400",
    "setenv opt block-outside-dns",
    "tun-mtu 1500",
    "route 192.0.2.0 255.255.255.0",
    "dhcp-option DNS 192.0.2.1",
    "sndbuf 0",
    "ignore-unknown-option some-new-option\nsome-new-option 1",
)


# What passes through the tunnel.


def _nothing_is_wrong(rng: Random, pair: Pair) -> None:
    pass


def _compression_at_both(rng: Random, pair: Pair) -> None:
    option, argument = rng.choice(
        [("comp-lzo", value) for value in ("", "yes", "no", "adaptive")]
        + [("compress", value) for value in ("", "stub", "stub-v2", "lzo", "lz4", "lz4-v2", "migrate")]
    )
    pair.server += [f"--{option}", *([argument] if argument else []), *COMPRESSES]
    pair.profile[option] = argument


def _compression_in_the_profile(rng: Random, pair: Pair) -> None:
    option, argument = rng.choice([("comp-lzo", ""), ("comp-lzo", "no"), ("compress", ""), ("compress", "stub"), ("compress", "lz4")])
    pair.profile[option] = argument
    pair.wrong("settings-differ")


def _compression_at_the_server(rng: Random, pair: Pair) -> None:
    words = rng.choice((("--comp-lzo",), ("--comp-lzo", "no"), ("--compress", "stub"), ("--compress", "lz4")))
    pair.server += [*words, *COMPRESSES]
    pair.wrong("settings-differ")


def _compression_of_two_kinds(rng: Random, pair: Pair) -> None:
    pair.server += [*rng.choice((("--compress", "stub"), ("--compress", "stub-v2"))), *COMPRESSES]
    pair.profile["comp-lzo"] = rng.choice(("", "no"))
    pair.wrong("settings-differ")


def _compression_pushed(rng: Random, pair: Pair) -> None:
    framing = rng.choice(("comp-lzo no", "compress stub", "compress stub-v2", "compress"))
    pair.server += [*f"--{framing}".split(), "--push", framing, *COMPRESSES]


def _compression_pushed_and_refused(rng: Random, pair: Pair) -> None:
    framing = rng.choice(("comp-lzo yes", "compress lz4-v2", "compress lzo"))
    pair.server += [*f"--{framing}".split(), "--push", framing, *COMPRESSES]
    pair.wrong("push-refused")


def _compression_pushed_and_allowed(rng: Random, pair: Pair) -> None:
    framing = rng.choice(("comp-lzo yes", "compress lz4-v2", "compress lzo"))
    pair.server += [*f"--{framing}".split(), "--push", framing, *COMPRESSES]
    pair.profile["allow-compression"] = rng.choice(("asym", "yes"))


def _fragment_at_both(rng: Random, pair: Pair) -> None:
    pair.transport = UDP
    size = rng.choice(("600", "1300"))
    pair.server += ["--fragment", size, "--mssfix", size]
    pair.profile |= {"fragment": size, "mssfix": size}


def _fragment_in_the_profile(rng: Random, pair: Pair) -> None:
    pair.transport = UDP
    pair.profile["fragment"] = rng.choice(("600", "1300"))
    pair.wrong("settings-differ")


def _fragment_at_the_server(rng: Random, pair: Pair) -> None:
    pair.transport = UDP
    pair.server += ["--fragment", "1300", "--mssfix", "1300"]
    pair.wrong("settings-differ")


def _fragment_over_tcp(rng: Random, pair: Pair) -> None:
    pair.transport = TCP
    pair.profile["fragment"] = "1300"
    pair.wrong("profile-refused")


def _tap_at_both(rng: Random, pair: Pair) -> None:
    pair.server += TAP
    pair.profile["dev"] = "tap"


def _tap_in_the_profile(rng: Random, pair: Pair) -> None:
    pair.profile["dev"] = "tap"
    pair.wrong("settings-differ")


def _tap_at_the_server(rng: Random, pair: Pair) -> None:
    pair.server += TAP
    pair.wrong("settings-differ")


def _other_topology(rng: Random, pair: Pair) -> None:
    pair.server += ["--topology", rng.choice(("net30", "p2p"))]


def _data_ciphers(rng: Random, pair: Pair) -> None:
    cipher = rng.choice(pair.data_ciphers)
    pair.profile["data-ciphers"] = rng.choice((cipher, f"AES-256-CBC:{cipher}", f"{cipher}:?NO-SUCH-CIPHER"))


def _no_common_data_cipher(rng: Random, pair: Pair) -> None:
    pair.data_ciphers = ("AES-256-GCM",)
    pair.profile["data-ciphers"] = rng.choice(("AES-128-GCM", "CHACHA20-POLY1305", "AES-256-CBC"))
    pair.wrong("no-common-data-cipher")


def _cbc_at_the_server(rng: Random, pair: Pair) -> None:
    pair.data_ciphers = (rng.choice(("AES-256-CBC", "AES-128-CBC")),)
    pair.profile["data-ciphers"] = "AES-256-GCM:AES-128-GCM"
    pair.wrong("no-common-data-cipher")


def _cbc_at_both(rng: Random, pair: Pair) -> None:
    pair.data_ciphers = (rng.choice(("AES-256-CBC", "AES-128-CBC")),)


def _no_encryption_at_both(rng: Random, pair: Pair) -> None:
    pair.data_ciphers = ("none",)


def _other_auth(rng: Random, pair: Pair) -> None:
    """Without tls-auth and with AEAD the digest is not used."""
    pair.wrapping = rng.choice((Wrapping.PLAIN, Wrapping.TLS_CRYPT, Wrapping.TLS_CRYPT_V2))
    pair.profile["auth"] = rng.choice(("SHA512", "SHA256", "SHA384", "MD5", "none"))


def _no_such_auth(rng: Random, pair: Pair) -> None:
    pair.wrapping = rng.choice((Wrapping.PLAIN, *TLS_AUTHS))
    none = ("none",) if pair.wrapping is not Wrapping.PLAIN else ()
    pair.profile["auth"] = rng.choice(("SHA-3000", "RSA-SHA256", *none))
    pair.wrong("profile-refused")


# The control channel's wrap.


def _tls_auth_missing(rng: Random, pair: Pair) -> None:
    pair.wrapping, pair.other_wrapping = rng.choice(TLS_AUTHS), Wrapping.PLAIN
    pair.wrong("silent", "closed-at-once")


def _tls_crypt_missing(rng: Random, pair: Pair) -> None:
    pair.wrapping, pair.other_wrapping = rng.choice((Wrapping.TLS_CRYPT, Wrapping.TLS_CRYPT_V2)), Wrapping.PLAIN
    pair.wrong("silent", "closed-at-once")


def _wrap_in_the_profile_alone(rng: Random, pair: Pair) -> None:
    pair.wrapping, pair.other_wrapping = Wrapping.PLAIN, rng.choice(WRAPS[1:])
    pair.wrong("wrong-wrap", "silent", "closed-at-once")


def _other_wrap(rng: Random, pair: Pair) -> None:
    pair.wrapping, pair.other_wrapping = rng.choice(
        (
            (Wrapping.TLS_CRYPT, Wrapping.TLS_AUTH_SHA256),
            (Wrapping.TLS_AUTH_SHA256, Wrapping.TLS_CRYPT),
            (Wrapping.TLS_CRYPT, Wrapping.TLS_CRYPT_V2),
            (Wrapping.TLS_CRYPT_V2, Wrapping.TLS_CRYPT),
        )
    )
    pair.wrong("wrong-wrap", "silent", "closed-at-once")


def _other_key(rng: Random, pair: Pair) -> None:
    pair.wrapping = rng.choice(WRAPS[1:])
    pair.other_keys = True
    pair.wrong("silent", "closed-at-once")


def _other_direction(rng: Random, pair: Pair) -> None:
    pair.wrapping = rng.choice(TLS_AUTHS)
    pair.profile["key-direction"] = rng.choice(("0", None))
    pair.wrong("wrong-wrap")


def _other_tls_auth_digest(rng: Random, pair: Pair) -> None:
    pair.wrapping = Wrapping.TLS_AUTH_SHA256
    pair.profile["auth"] = rng.choice(("SHA1", "SHA512"))
    pair.wrong("wrong-wrap")


# Certificates.


def _server_certificate(flaw: Flaw, cause: str) -> Kind:
    def kind(rng: Random, pair: Pair) -> None:
        pair.flaw = flaw
        pair.wrong(cause)

    return kind


def _client_certificate(flaw: Flaw) -> Kind:
    def kind(rng: Random, pair: Pair) -> None:
        pair.identity = ("client", flaw)
        pair.suspicion = SUSPICIONS[flaw]
        pair.wrong("client-certificate-expired" if flaw is Flaw.EXPIRED else "client-certificate-refused")

    return kind


def _other_authority_in_the_profile(rng: Random, pair: Pair) -> None:
    pair.profile["ca"] = "OTHER-AUTHORITY"
    pair.wrong("certificate-wrong-ca")


def _purpose_not_asked(rng: Random, pair: Pair) -> None:
    """OpenSSL asks for a server's purpose all the same."""
    pair.flaw = Flaw.OTHER_PURPOSE
    pair.profile["remote-cert-tls"] = None
    pair.wrong("certificate-wrong-purpose")


def _ns_cert_type(rng: Random, pair: Pair) -> None:
    pair.profile |= {"remote-cert-tls": None, "ns-cert-type": "server"}


def _ns_cert_type_wrong(rng: Random, pair: Pair) -> None:
    pair.flaw = Flaw.OTHER_PURPOSE
    pair.profile |= {"remote-cert-tls": None, "ns-cert-type": "server"}
    pair.wrong("certificate-wrong-purpose")


def _remote_cert_eku_wrong(rng: Random, pair: Pair) -> None:
    pair.profile |= {"remote-cert-tls": None, "remote-cert-eku": rng.choice(("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.17"))}
    pair.wrong("certificate-wrong-purpose")


def _remote_cert_ku_wrong(rng: Random, pair: Pair) -> None:
    pair.profile |= {"remote-cert-tls": None, "remote-cert-ku": "a0"}
    pair.wrong("certificate-wrong-purpose")


def _remote_cert_ku(rng: Random, pair: Pair) -> None:
    pair.profile |= {"remote-cert-ku": "a0 80"}


def _name(rng: Random, pair: Pair) -> None:
    pair.profile["verify-x509-name"] = rng.choice(("server.vpnprobe.test name", "server. name-prefix", "CN=server.vpnprobe.test subject"))


def _name_wrong(rng: Random, pair: Pair) -> None:
    pair.profile["verify-x509-name"] = rng.choice(
        ("vpn.example.com name", "other name-prefix", "CN=server subject", "server.vpnprobe.test")
    )
    pair.wrong("certificate-wrong-name")


def _fingerprint_wrong(rng: Random, pair: Pair) -> None:
    pair.profile |= {"ca": None, "peer-fingerprint": ":".join(["ab"] * 32)}
    pair.wrong("certificate-wrong-fingerprint")


# TLS.


def _tls_cipher(rng: Random, pair: Pair) -> None:
    pair.profile["tls-cipher"] = rng.choice((SHARED_TLS_CIPHER, "DEFAULT:@SECLEVEL=0", "DEFAULT"))


def _tls_cipher_wrong(rng: Random, pair: Pair) -> None:
    pair.server += ["--tls-version-max", "1.2", "--tls-cipher", SHARED_TLS_CIPHER]
    pair.profile["tls-cipher"] = OTHER_TLS_CIPHER
    pair.wrong("tls-no-common-cipher")


def _tls_cipher_unknown(rng: Random, pair: Pair) -> None:
    pair.profile["tls-cipher"] = "NO-SUCH-CIPHER"
    pair.wrong("profile-refused")


def _tls_ciphersuites(rng: Random, pair: Pair) -> None:
    pair.profile["tls-ciphersuites"] = rng.choice(("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"))


def _tls_ciphersuites_wrong(rng: Random, pair: Pair) -> None:
    pair.server += ["--tls-version-min", "1.3", "--tls-ciphersuites", "TLS_AES_128_GCM_SHA256"]
    pair.profile["tls-ciphersuites"] = "TLS_CHACHA20_POLY1305_SHA256"
    pair.wrong("tls-no-common-cipher", "not-supported")


def _tls_groups(rng: Random, pair: Pair) -> None:
    pair.profile["tls-groups"] = rng.choice(("prime256v1", "X25519:prime256v1", "secp384r1:prime256v1"))


def _tls_groups_wrong(rng: Random, pair: Pair) -> None:
    pair.algorithm = Algorithm.RSA
    pair.server += ["--tls-groups", "secp384r1"]
    pair.profile["tls-groups"] = "secp521r1"
    pair.wrong("tls-no-common-cipher")


def _tls_version(rng: Random, pair: Pair) -> None:
    pair.profile |= rng.choice(({"tls-version-max": "1.2"}, {"tls-version-min": "1.3"}, {"tls-version-min": "1.0"}))


def _tls_version_too_low(rng: Random, pair: Pair) -> None:
    pair.tls_version_min = "1.3"
    pair.profile["tls-version-max"] = "1.2"
    pair.wrong("tls-version")


def _tls_version_too_high(rng: Random, pair: Pair) -> None:
    pair.server += ["--tls-version-max", "1.2"]
    pair.profile["tls-version-min"] = "1.3"
    pair.wrong("tls-version")


def _cert_profile(rng: Random, pair: Pair) -> None:
    pair.profile["tls-cert-profile"] = rng.choice(("preferred", "legacy", "insecure"))


def _cert_profile_too_strict(rng: Random, pair: Pair) -> None:
    pair.algorithm = Algorithm.RSA
    pair.profile["tls-cert-profile"] = "suiteb"
    pair.wrong("certificate-weak", "tls-no-common-cipher", "profile-refused")


# Signing in.


def _password(rng: Random, pair: Pair) -> None:
    pair.user_password = True


def _password_wrong(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.profile["auth-user-pass"] = f"{USER_NAME}\n{WRONG_PASSWORD}\n"
    pair.wrong("credentials-refused")


def _password_missing(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.profile["auth-user-pass"] = None
    pair.wrong("credentials-wanted")


def _password_not_wanted(rng: Random, pair: Pair) -> None:
    pair.user_password = False
    pair.profile["auth-user-pass"] = "somebody\nsomething\n"


def _certificate_missing(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.profile |= {"cert": None, "key": None}
    pair.suspicion = SUSPICIONS[None]
    pair.wrong("client-certificate-refused")


def _no_certificate_wanted(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.server += ["--verify-client-cert", "none"]
    pair.profile |= {"cert": None, "key": None}


def _token(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.server += ["--auth-gen-token"]


def _client_without_its_file(rng: Random, pair: Pair) -> None:
    pair.user_password = False
    pair.server += ["--client-config-dir", "/etc", "--ccd-exclusive"]
    pair.wrong("session-refused")


def _client_connect_says_no(rng: Random, pair: Pair) -> None:
    pair.user_password = False
    pair.server += ["--script-security", "2", "--client-connect", "/bin/false"]
    pair.wrong("session-refused")


def _static_challenge(rng: Random, pair: Pair) -> None:
    pair.user_password = True
    pair.lines += 'static-challenge "The code" 1\n'


# Where the profile leads, and what it is.


def _other_transport(rng: Random, pair: Pair) -> None:
    pair.profile["proto"] = "udp" if pair.transport is TCP else "tcp"
    pair.wrong("port-refused")


def _other_port(rng: Random, pair: Pair) -> None:
    pair.profile["remote"] = f"HOST {CLOSED_PORT}"
    pair.wrong("port-refused")


def _no_such_name(rng: Random, pair: Pair) -> None:
    pair.profile["remote"] = "nothing.invalid PORT"
    pair.wrong("name-not-resolved")


def _second_remote_is_right(rng: Random, pair: Pair) -> None:
    pair.profile["remote"] = f"HOST {CLOSED_PORT}"
    pair.lines += "remote HOST PORT\n"
    pair.also = frozenset({"port-refused"})


def _both_remotes_are_wrong(rng: Random, pair: Pair) -> None:
    pair.profile["remote"] = f"HOST {CLOSED_PORT}"
    pair.lines += f"remote HOST {CLOSED_PORT - 1}\n"
    pair.wrong("port-refused")


def _second_remote_does_not_resolve(rng: Random, pair: Pair) -> None:
    pair.lines += "remote nothing.invalid PORT\n"
    pair.also = frozenset({"name-not-resolved"})


def _removed_option(rng: Random, pair: Pair) -> None:
    line = rng.choice(("keysize 256", "key-method 2", "ncp-disable", "no-iv", "tls-remote server", "compat-names", "no-replay"))
    pair.lines += f"{line}\n"
    pair.wrong("profile-refused")


def _removed_option_passed_over(rng: Random, pair: Pair) -> None:
    option = rng.choice(("keysize 256", "ncp-disable", "key-method 2", "tls-remote another-server"))
    passed_over = (f"setenv opt {option}", f"ignore-unknown-option {option.split()[0]}\n{option}", f"setenv FORWARD_COMPATIBLE 1\n{option}")
    pair.lines += f"{rng.choice(passed_over)}\n"


def _option_of_others(rng: Random, pair: Pair) -> None:
    line = rng.choice(("scramble obfuscate secret", "block-outside-dns", "duplicate-cn", "no-such-option 1", "nobind\nlport 1194"))
    pair.lines += f"{line}\n"
    pair.wrong("profile-refused")


def _exit_notify_over_tcp(rng: Random, pair: Pair) -> None:
    pair.transport = TCP
    pair.profile["explicit-exit-notify"] = rng.choice(("", "2"))
    pair.wrong("profile-refused")


def _exit_notify(rng: Random, pair: Pair) -> None:
    pair.transport = UDP
    pair.profile["explicit-exit-notify"] = rng.choice(("", "2"))


def _proxy(rng: Random, pair: Pair) -> None:
    pair.transport = TCP
    pair.lines += rng.choice((f"http-proxy HOST {CLOSED_PORT}\n", f"socks-proxy HOST {CLOSED_PORT}\n"))
    pair.wrong("not-supported")


# What the path and the server's host do.


def _large_packets_lost(rng: Random, pair: Pair) -> None:
    pair.transport, pair.algorithm = UDP, Algorithm.RSA
    pair.rules = (f"meta length > {rng.choice((600, 900))} drop",)
    pair.wrong("handshake-large-lost")


def _large_data_lost(rng: Random, pair: Pair) -> None:
    pair.transport = UDP
    pair.rules = (f"@ih,0,8 & 0xf8 == {DATA_V2} meta length > 1200 drop",)
    pair.wrong("data-large-dead")


def _data_lost(rng: Random, pair: Pair) -> None:
    pair.rules = (f"@ih,{16 if pair.transport is TCP else 0},8 & 0xf8 == {DATA_V2} drop",)
    pair.wrong("data-dead")


def _all_lost(rng: Random, pair: Pair) -> None:
    pair.rules = ("drop",)
    pair.wrong("silent", "unreachable")


def _pings_dropped_at_the_server(rng: Random, pair: Pair) -> None:
    pair.tunnel_rules = "icmp type echo-request drop"
    pair.wrong("data-unanswered")


KINDS: Final[Mapping[str, Kind]] = {
    "nothing is wrong": _nothing_is_wrong,
    "compression at both ends": _compression_at_both,
    "compression in the profile alone": _compression_in_the_profile,
    "compression at the server alone": _compression_at_the_server,
    "two kinds of compression": _compression_of_two_kinds,
    "framing pushed": _compression_pushed,
    "compression pushed": _compression_pushed_and_refused,
    "compression pushed and allowed": _compression_pushed_and_allowed,
    "fragment at both ends": _fragment_at_both,
    "fragment in the profile alone": _fragment_in_the_profile,
    "fragment at the server alone": _fragment_at_the_server,
    "fragment over TCP": _fragment_over_tcp,
    "tap at both ends": _tap_at_both,
    "tap in the profile alone": _tap_in_the_profile,
    "tap at the server alone": _tap_at_the_server,
    "topology net30 or p2p": _other_topology,
    "data ciphers": _data_ciphers,
    "no common data cipher": _no_common_data_cipher,
    "CBC at the server alone": _cbc_at_the_server,
    "CBC at both ends": _cbc_at_both,
    "no encryption at both ends": _no_encryption_at_both,
    "another auth, which nothing uses": _other_auth,
    "no such auth": _no_such_auth,
    "tls-auth missing in the profile": _tls_auth_missing,
    "tls-crypt missing in the profile": _tls_crypt_missing,
    "a wrap in the profile alone": _wrap_in_the_profile_alone,
    "two kinds of wrap": _other_wrap,
    "another key of the wrap": _other_key,
    "another key direction": _other_direction,
    "another digest of tls-auth": _other_tls_auth_digest,
    "server's certificate expired": _server_certificate(Flaw.EXPIRED, "certificate-expired"),
    "server's certificate not yet valid": _server_certificate(Flaw.NOT_YET_VALID, "certificate-not-yet-valid"),
    "server's certificate of another authority": _server_certificate(Flaw.OTHER_AUTHORITY, "certificate-wrong-ca"),
    "server's certificate for clients": _server_certificate(Flaw.OTHER_PURPOSE, "certificate-wrong-purpose"),
    "client's certificate expired": _client_certificate(Flaw.EXPIRED),
    "client's certificate not yet valid": _client_certificate(Flaw.NOT_YET_VALID),
    "client's certificate of another authority": _client_certificate(Flaw.OTHER_AUTHORITY),
    "client's certificate for servers": _client_certificate(Flaw.OTHER_PURPOSE),
    "another authority in the profile": _other_authority_in_the_profile,
    "certificate for clients, not asked for": _purpose_not_asked,
    "ns-cert-type": _ns_cert_type,
    "ns-cert-type, certificate for clients": _ns_cert_type_wrong,
    "remote-cert-eku of another purpose": _remote_cert_eku_wrong,
    "remote-cert-ku of another use": _remote_cert_ku_wrong,
    "remote-cert-ku": _remote_cert_ku,
    "verify-x509-name": _name,
    "verify-x509-name of another": _name_wrong,
    "peer-fingerprint of another": _fingerprint_wrong,
    "tls-cipher": _tls_cipher,
    "tls-cipher in common with nobody": _tls_cipher_wrong,
    "tls-cipher that is none": _tls_cipher_unknown,
    "tls-ciphersuites": _tls_ciphersuites,
    "tls-ciphersuites in common with nobody": _tls_ciphersuites_wrong,
    "tls-groups": _tls_groups,
    "tls-groups in common with nobody": _tls_groups_wrong,
    "TLS versions": _tls_version,
    "TLS version too low": _tls_version_too_low,
    "TLS version too high": _tls_version_too_high,
    "tls-cert-profile": _cert_profile,
    "tls-cert-profile too strict": _cert_profile_too_strict,
    "password": _password,
    "password wrong": _password_wrong,
    "password missing": _password_missing,
    "password that nobody wants": _password_not_wanted,
    "client's certificate missing": _certificate_missing,
    "no certificate wanted": _no_certificate_wanted,
    "auth-gen-token": _token,
    "ccd-exclusive without a file": _client_without_its_file,
    "client-connect says no": _client_connect_says_no,
    "static-challenge": _static_challenge,
    "another transport": _other_transport,
    "another port": _other_port,
    "no such name": _no_such_name,
    "second remote is right": _second_remote_is_right,
    "both remotes are wrong": _both_remotes_are_wrong,
    "second remote has no address": _second_remote_does_not_resolve,
    "removed option": _removed_option,
    "removed option passed over": _removed_option_passed_over,
    "option of others": _option_of_others,
    "explicit-exit-notify over TCP": _exit_notify_over_tcp,
    "explicit-exit-notify": _exit_notify,
    "proxy": _proxy,
    "large packets lost": _large_packets_lost,
    "large data packets lost": _large_data_lost,
    "data packets lost": _data_lost,
    "everything lost": _all_lost,
    "pings dropped at the server": _pings_dropped_at_the_server,
}
"""By name, what two ends can share or not."""
