"""A client profile, read: where it connects to, with what, and what it asks of the server.

All that is secret is kept out of `repr`. What a profile does not say is the default of OpenVPN 2.6 where that has one, otherwise None or
empty. `Profile.notes` is what was understood and is not carried out; `Profile.unknown` is what no OpenVPN 2.x knows.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.accounts import Told
from vpnprobe.profiles.lexing import Statement
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn_keys import ClientKeyV2, KeyDirection, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap


class Note(NamedTuple):
    """Something that a profile says, that is understood, and that is not carried out."""

    line: int
    """Counted from 1; 0: the whole file."""
    text: str
    """One sentence without full stop."""


class Unknown(NamedTuple):
    """An option that is not among those of OpenVPN 2.x; an unpatched OpenVPN may refuse the profile for it."""

    line: int
    option: str
    """As it may be shown."""
    text: str
    """The whole line, which may hold what is secret."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What wraps the control channel."""

    kind: Wrap = Wrap.NONE
    key: StaticKey | ClientKeyV2 | None = field(default=None, repr=False)
    """ClientKeyV2 with tls-crypt-v2, StaticKey with tls-auth and tls-crypt, None with neither."""
    direction: KeyDirection = KeyDirection.BIDIRECTIONAL
    """Of tls-auth; the others have their own."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One server to try."""

    host: str
    """Name or address, not resolved."""
    port: int
    """1 to 65535."""
    transport: Transport
    """UDP or TCP."""
    family: str = ""
    """IP version that the profile insists on, `4` or `6`; empty: either."""
    wrapping: Wrapping = field(default_factory=Wrapping)
    """The one of its `<connection>` block, otherwise the profile's."""
    line: int = 0
    fragment: int | None = None
    """As in DataSettings, of its `<connection>` block or of what stands before it."""
    fragment_mtu: bool = False
    tun_mtu: int | None = None
    """Bytes; the same."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Certificates and keys as they are in the profile or its files: PEM, and DER in `pkcs12`. None: not given."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    pkcs12: bytes | None = field(default=None, repr=False)
    extra_certs: bytes | None = None
    key_is_encrypted: bool = False
    """The private key's PEM says so. PKCS#12 tells only when it is opened: False."""
    passphrase: str | None = field(default=None, repr=False)
    """From the file that `askpass` names; None: to be asked where the key is encrypted."""


class NameType(StrEnum):
    """What `verify-x509-name` compares."""

    SUBJECT = "subject"
    NAME = "name"
    NAME_PREFIX = "name-prefix"


@dataclass(frozen=True, slots=True)
class ServerChecks:
    """What the server's certificate and TLS must be, beside being signed by the authority. Empty or None: not asked."""

    x509_name: str = ""
    x509_name_type: NameType = NameType.SUBJECT
    tls_remote: str = ""
    """Of OpenVPN up to 2.3: a subject, or the beginning of a common name."""
    certificate_type: str = ""
    """`remote-cert-tls`: `server` or `client`."""
    extended_key_usage: str = ""
    """`remote-cert-eku`: an OID, or OpenSSL's name for it."""
    key_usages: tuple[int, ...] | None = None
    """`remote-cert-ku`: one of these must be wholly there; an empty tuple: the extension must."""
    ns_cert_type: str = ""
    """`server` or `client`; Netscape's extension, gone since OpenVPN 2.5."""
    fingerprints: tuple[bytes, ...] = ()
    """SHA-256 of the certificates that are good, 32 bytes each; an authority is not needed then."""
    tls_version_min: str = "1.2"
    tls_version_max: str = ""
    tls_cipher: tuple[str, ...] = ()
    """For TLS 1.2 and older, OpenSSL's or IANA's names."""
    tls_ciphersuites: tuple[str, ...] = ()
    """For TLS 1.3."""
    tls_groups: tuple[str, ...] = ()
    tls_cert_profile: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password."""

    wanted: bool = False
    """`auth-user-pass` is there."""
    username: str | None = None
    """None: to be asked."""
    password: str | None = field(default=None, repr=False)
    """None: to be asked."""
    static_challenge: str = ""
    """The question for a second factor; empty: none."""
    static_challenge_echo: bool = False
    """Whether the answer may be seen while it is typed."""


@dataclass(frozen=True, slots=True)
class DataCiphers:
    """Ciphers of the data channel."""

    offered: tuple[Cipher, ...] = (Cipher.AES_256_GCM, Cipher.AES_128_GCM, Cipher.CHACHA20_POLY1305)
    """`data-ciphers`, in its order, without what vpnprobe cannot do; may be empty."""
    fallback: Cipher | None = None
    """`data-ciphers-fallback`, where the server negotiates none."""
    legacy: str = ""
    """`cipher`, in capitals: what a client up to 2.5 fell back to. 2.6 takes no notice of it."""
    unsupported: tuple[str, ...] = ()
    """Names of `data-ciphers` and its fallback that vpnprobe cannot do, in capitals."""


@dataclass(frozen=True, slots=True)
class DataSettings:
    """How packets go through the tunnel. None: not said."""

    device: str = "tun"
    """`tun`, `tap` or `null`."""
    topology: str = ""
    comp_lzo: str | None = None
    """`yes`, `no` or `adaptive`."""
    compress: str | None = None
    """`lzo`, `lz4`, `lz4-v2`, `stub`, `stub-v2`, `migrate`, or empty: framing alone."""
    tun_mtu: int | None = None
    """Bytes."""
    link_mtu: int | None = None
    """Bytes."""
    framing: str = ""
    """The last of `comp-lzo` and `compress` as it is written, which is the one that counts; empty: neither is there."""
    allow_compression: str = ""
    """`no`, `asym` or `yes`; empty: not said, which is `asym` where the profile lets the server compress (OpenVPN 2.6), else `no`."""
    fragment: int | None = None
    """Largest data packet in bytes, without the headers of IP and UDP unless `fragment_mtu`."""
    fragment_mtu: bool = False
    """`fragment SIZE mtu`: the size is that of the whole IP packet."""
    mssfix: int | None = None
    """Bytes; 0: switched off."""
    exit_notify: int | None = None
    """Tries."""
    reneg_s: int | None = None
    """Seconds between new keys; 0: never."""


@dataclass(frozen=True, slots=True)
class Management:
    """Where OpenVPN listens for the program that manages it (`management`)."""

    address: str
    """As written: an IP address, `localhost`, `tunnel` (its own address in the tunnel) or another name; or the path of a unix socket."""
    port: int | None
    """TCP, 1 to 65535; None: it is a unix socket."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A client profile."""

    file: str
    remotes: tuple[Remote, ...]
    """At least one, in the profile's order."""
    tls: TlsMaterial
    wrapping: Wrapping
    """Outside of `<connection>` blocks; each remote has its own."""
    auth: str = "SHA1"
    """The digest of tls-auth's HMAC, in capitals, without the `RSA-` that OpenSSL once put before it; not checked to be one."""
    ciphers: DataCiphers = field(default_factory=DataCiphers)
    checks: ServerChecks = field(default_factory=ServerChecks)
    credentials: Credentials = field(default_factory=Credentials)
    data: DataSettings = field(default_factory=DataSettings)
    pull: bool = True
    """It asks the server for its settings: `client` or `pull`."""
    random: bool = False
    """`remote-random`: the remotes are tried in any order."""
    random_hostname: bool = False
    """`remote-random-hostname`: random characters and a dot stand before each name."""
    float: bool = False
    nobind: bool = False
    auth_nocache: bool = False
    push_peer_info: bool = False
    management: Management | None = None
    """None: not said, a port that is no number, or (`management-client`) OpenVPN connects there itself."""
    environment: tuple[tuple[str, str], ...] = ()
    """What `setenv` and `setenv-safe` set, in order."""
    notes: tuple[Note, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    refused: tuple[Note, ...] = ()
    """What OpenVPN 2.6 does not start with."""
    unsupported: tuple[Note, ...] = ()
    """What keeps vpnprobe from trying it, and not OpenVPN."""
    told: tuple[Told, ...] = ()
    """Options that are not applied."""
    export: str = ""
    """The program whose export it is; empty: nothing marks one."""
    statements: tuple[Statement, ...] = field(default=(), repr=False)
    """What it was read from, in order; blocks may hold what is secret."""

    @property
    def unsupported_ciphers(self) -> tuple[str, ...]:
        """Names of data ciphers that vpnprobe cannot do."""
        return self.ciphers.unsupported
