r"""The text of OpenVPN's configuration files: a server's, and the profile (`.ovpn`) of its client. Option names are those of OpenVPN 2.6.

`ServerConfiguration` and `ClientProfile` say what is wanted, `server_text` and `client_text` write it. They are pure: nothing is read or
written here. Each option is one line, or a block `<name>` ... `</name>` where its value is `Inline`.

What a value contains cannot end its word, its line or its block. OpenVPN's parser (manual, `--config` and INLINE FILE SUPPORT) parts words
at blanks, takes `#` and `;` where a word would begin for a comment, and within double quotes takes `\\` and `\"` for the character itself.
So every word that is not plain is put into double quotes. What no quoting can carry is a UsageError: a line feed, a NUL, a line that is
too long, and a block that contains its own closing tag.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, assert_never

from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Transport

LONGEST_LINE_BYTES: Final = 254
"""OpenVPN 2.x refuses a line of 255 bytes and more, without its line feed."""
MOST_VALUES: Final = 15
"""OpenVPN takes 16 words of a line, of which the first is the option's name."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,@%+=-]+")
"""Words that are the same in quotes and without."""


@dataclass(frozen=True, slots=True)
class Inline:
    """The content of a file that stands in the configuration itself."""

    content: str
    """Lines of any length. A line feed at the end is added where it is missing."""


Source = Path | Inline
"""Where OpenVPN finds a key or a certificate: in a file of that path, or in the configuration itself."""

Value = tuple[str, ...] | Inline
"""Of an option: its words, of which there may be none, or a block."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option with its reason."""

    name: str
    """Empty: there is no option, only the reason."""
    value: Value
    why: str
    """One line, which stands as a comment before it."""


@dataclass(frozen=True, slots=True)
class TlsAuth:
    """`tls-auth`: an HMAC around the control channel. The server has key direction 0, the client 1."""

    key: Source
    digest: str | None = None
    """As the option `auth` takes it, for example `SHA256`; None: OpenVPN's default, SHA1."""


@dataclass(frozen=True, slots=True)
class TlsCrypt:
    """`tls-crypt`: the control channel is encrypted with a key that all clients have."""

    key: Source


@dataclass(frozen=True, slots=True)
class TlsCryptV2:
    """`tls-crypt-v2`: each client has a key of its own. The server's key is another than the client's."""

    key: Source
    force_cookie: bool | None = None
    """The server's alone: True lets in only clients that can do the stateless cookie (`force-cookie`), False the others too
    (`allow-noncookie`); None: OpenVPN's default. An inline key leaves no place for it."""


ControlWrapping = TlsAuth | TlsCrypt | TlsCryptV2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfiguration:
    """A server with a tunnel of IP packets (`dev-type tun`), TLS, and clients in one subnet (`topology subnet`)."""

    transport: Transport
    """UDP or TCP."""
    address: IPv4Address
    """The local address that it listens on."""
    port: int
    subnet: IPv4Network
    """Of the tunnel; the server takes its first address."""
    authority: Source
    """The certificates of the authorities that clients' certificates are checked against."""
    certificate: Source
    key: Source
    wrapping: ControlWrapping | None = None
    """None: the control channel stands in the clear."""
    device: str = "tun"
    """Of the tunnel; `tun` alone lets OpenVPN choose a number."""
    data_ciphers: tuple[str, ...] = ()
    """In order of preference; empty: OpenVPN's default."""
    ping_interval_s: int = 10
    """How long nothing is sent before the server sends a keepalive; clients are told the same."""
    ping_timeout_s: int = 60
    """How long nothing comes before a client takes the server for gone. The server waits twice as long."""
    tls_version_min: str | None = None
    """`1.2` or `1.3`; None: OpenVPN's default, 1.2."""
    password_script: Path | None = None
    """A program that gets a file of two lines, name and password, and lets in with the status 0; None: the certificate suffices."""
    duplicate_names: bool = False
    """Whether clients of one common name may be connected at once."""
    new_clients_per_s: int | None = None
    """Over UDP, how many first packets a second are answered; None: OpenVPN's default, 100 in 10 s."""
    kernel_offload: bool = True
    """Whether OpenVPN may use its kernel module for data (`ovpn-dco`)."""
    temporary_folder: Path | None = None
    """None: OpenVPN's default."""
    verbosity: int = 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, each one line."""

    name: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProfile:
    """What a client needs to connect to one server."""

    transport: Transport
    """UDP or TCP."""
    host: str
    """Name or address of the server."""
    port: int
    authority: Source
    """The certificates of the authorities that the server's certificate is checked against."""
    certificate: Source
    key: Source
    wrapping: ControlWrapping | None = None
    data_ciphers: tuple[str, ...] = ()
    """In order of preference; empty: OpenVPN's default."""
    credentials: Credentials | None = None
    """Besides the certificate; None: there are none."""


def server_text(configuration: ServerConfiguration) -> str:
    """The server's configuration file. Raises UsageError for a value that OpenVPN cannot be given."""
    return configuration_text(_server_options(configuration))


def client_text(profile: ClientProfile, overrides: Mapping[str, Value | None] | None = None) -> str:
    """The client's profile. Raises UsageError for a value that OpenVPN cannot be given.

    `overrides`: options to be set otherwise, or besides; None as a value takes the option out.
    """
    options = {**dict(_client_options(profile)), **(overrides or {})}
    return configuration_text((name, value) for name, value in options.items() if value is not None)


def configuration_text(options: Iterable[tuple[str, Value]]) -> str:
    """These options in this order; an option may be there more than once. Raises UsageError."""
    return "".join(_block(name, value) if isinstance(value, Inline) else _line(name, value) for name, value in options)


def commented_text(options: Iterable[Option]) -> str:
    """These options in this order, each behind its reason as a comment. Raises UsageError."""
    return "".join(f"# {_one_line(option.why)}\n{_written(option)}" for option in options)


def connection_block(options: Iterable[tuple[str, Value]]) -> Inline:
    """What a `<connection>` block contains: one way to the server."""
    return Inline(configuration_text(options))


def _written(option: Option) -> str:
    return configuration_text([(option.name, option.value)]) if option.name else ""


def _one_line(comment: str) -> str:
    """OpenVPN reads a long line in pieces, of which the second is no comment."""
    if any(character in comment for character in "\n\r\0") or len(comment.encode("utf-8", "surrogateescape")) > LONGEST_LINE_BYTES - 2:
        raise UsageError(f"{comment[:40]!r}... is no comment of one line for OpenVPN's configuration")
    return comment


def quoted(word: str) -> str:
    """A word as it stands in a line, in double quotes where it has to be. Raises UsageError for a line feed, a carriage return or a NUL."""
    if any(character in word for character in "\n\r\0"):
        raise UsageError(f"OpenVPN's configuration cannot have {word!r} in one line")
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _line(name: str, values: tuple[str, ...]) -> str:
    line = " ".join((_checked(name), *map(quoted, values)))
    if len(values) > MOST_VALUES:
        raise UsageError(f"OpenVPN takes {MOST_VALUES} values of an option, and {name} has {len(values)}")
    if (length := len(line.encode("utf-8", "surrogateescape"))) > LONGEST_LINE_BYTES:
        raise UsageError(f"OpenVPN takes lines of {LONGEST_LINE_BYTES} bytes at most, and the line of {name} has {length}")
    return f"{line}\n"


def _block(name: str, value: Inline) -> str:
    closing = f"</{_checked(name)}>"
    # OpenVPN reads long lines in pieces, and a piece may begin anywhere: the tag is no safer in the middle of a line.
    if closing in value.content or "\0" in value.content:
        raise UsageError(f"the content of {name} cannot stand in OpenVPN's configuration: it contains {closing} or a NUL")
    end = "" if value.content.endswith("\n") else "\n"
    return f"<{name}>\n{value.content}{end}{closing}\n"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an option of OpenVPN")
    return name


def _server_options(configuration: ServerConfiguration) -> Iterator[tuple[str, Value]]:
    yield "server", (str(configuration.subnet.network_address), str(configuration.subnet.netmask))
    yield "topology", ("subnet",)
    yield "dev", (configuration.device,)
    yield "dev-type", ("tun",)
    yield "proto", ("tcp-server" if configuration.transport is Transport.TCP else "udp",)
    yield "local", (str(configuration.address),)
    yield "port", (str(configuration.port),)
    yield "dh", ("none",)  # The key exchange is on elliptic curves alone.
    yield from _identity(configuration)
    yield from wrapping_options(configuration.wrapping, server=True)
    yield "keepalive", (str(configuration.ping_interval_s), str(configuration.ping_timeout_s))
    if configuration.tls_version_min is not None:
        yield "tls-version-min", (configuration.tls_version_min,)
    if configuration.password_script is not None:
        # OpenVPN parts the command into words once more, after it has parted the line.
        yield "auth-user-pass-verify", (quoted(str(configuration.password_script)), "via-file")
        yield "script-security", ("2",)
    if configuration.duplicate_names:
        yield "duplicate-cn", ()
    if configuration.new_clients_per_s is not None and configuration.transport is Transport.UDP:
        yield "connect-freq-initial", (str(configuration.new_clients_per_s), "1")
    if not configuration.kernel_offload:
        yield "disable-dco", ()
    if configuration.temporary_folder is not None:
        yield "tmp-dir", (str(configuration.temporary_folder),)
    yield "verb", (str(configuration.verbosity),)


def _client_options(profile: ClientProfile) -> Iterator[tuple[str, Value]]:
    yield "client", ()
    yield "dev", ("tun",)
    yield "proto", ("tcp-client" if profile.transport is Transport.TCP else "udp",)
    yield "remote", (profile.host, str(profile.port))
    yield "nobind", ()
    yield "remote-cert-tls", ("server",)
    if profile.credentials is not None:
        name, password = profile.credentials.name, profile.credentials.password
        if any(character in name + password for character in "\n\r"):
            raise UsageError("a name and a password for OpenVPN are one line each")
        yield "auth-user-pass", Inline(f"{name}\n{password}\n")
    yield from wrapping_options(profile.wrapping, server=False)
    yield from _identity(profile)


def _identity(end: ServerConfiguration | ClientProfile) -> Iterator[tuple[str, Value]]:
    if end.data_ciphers:
        yield "data-ciphers", (":".join(end.data_ciphers),)
    yield "ca", _source(end.authority)
    yield "cert", _source(end.certificate)
    yield "key", _source(end.key)


def wrapping_options(wrapping: ControlWrapping | None, *, server: bool) -> Iterator[tuple[str, Value]]:
    """Of the control channel, at one end."""
    match wrapping:
        case None:
            return
        case TlsAuth(key, digest):
            if digest is not None:
                yield "auth", (digest,)
            yield "tls-auth", _source(key)
            # Behind the key: in a `<connection>` block an inline key takes back what direction was said before it.
            yield "key-direction", ("0" if server else "1",)
        case TlsCrypt(key):
            yield "tls-crypt", _source(key)
        case TlsCryptV2(key, force_cookie):
            yield "tls-crypt-v2", _with_cookie(_source(key), force_cookie)
        case _:
            assert_never(wrapping)


def _with_cookie(key: Value, force_cookie: bool | None) -> Value:
    if force_cookie is None:
        return key
    if isinstance(key, Inline):
        raise UsageError("an inline key of tls-crypt-v2 leaves no place for force-cookie or allow-noncookie: name a file")
    return (*key, "force-cookie" if force_cookie else "allow-noncookie")


def _source(source: Source) -> Value:
    return source if isinstance(source, Inline) else (str(source),)
