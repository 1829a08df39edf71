"""What a profile lets the data channel be, and what it asks of the server's certificate and of TLS.

Ciphers follow OpenVPN 2.6: `data-ciphers` (up to 2.4 `ncp-ciphers`) is what is offered, `cipher` is taken no notice of in TLS mode, and
`DEFAULT` inside of the list (2.7) is the default list. AEAD ciphers alone can be spoken; all others are kept by name.
"""

from typing import Final

from vpnprobe.profiles.connections import LARGEST_MTU_BYTES, LEAST_FRAGMENT_BYTES, LEAST_MTU_BYTES
from vpnprobe.profiles.errors import ProfileError, shown
from vpnprobe.profiles.keys import fingerprints
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import DataCiphers, DataSettings, NameType, ServerChecks
from vpnprobe.profiles.options import Options, number_in
from vpnprobe.wire.ciphers import Cipher

SIDES: Final = ("server", "client")
TLS_VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")
CERT_PROFILES: Final = ("insecure", "legacy", "preferred", "suiteb")
COMPRESSIONS: Final = ("", "lzo", "lz4", "lz4-v2", "stub", "stub-v2", "migrate")


def data_ciphers(options: Options) -> DataCiphers:
    """The ciphers of the data channel; OpenVPN's default list where nothing is said."""
    listed = options.last("data-ciphers", "ncp-ciphers")
    names = _names(listed.arguments[0]) if listed else ["DEFAULT"]
    fallback = options.word("data-ciphers-fallback").upper()
    offered: list[Cipher] = []
    unsupported: list[str] = []
    for name in names:
        if name == "DEFAULT":
            offered += DataCiphers().offered
        elif (cipher := _cipher(name)) is not None:
            offered.append(cipher)
        else:
            unsupported.append(shown(name))
    if fallback and _cipher(fallback) is None:
        unsupported.append(shown(fallback))
    return DataCiphers(
        offered=tuple(dict.fromkeys(offered)),
        fallback=_cipher(fallback),
        legacy=options.word("cipher").upper(),
        unsupported=tuple(dict.fromkeys(unsupported)),
    )


def _names(listed: str) -> list[str]:
    """Of a list parted by colons; a `?` before a name marks one that not every OpenVPN has."""
    return [name.removeprefix("?").upper() for name in listed.split(":") if name.removeprefix("?")]


def _cipher(name: str) -> Cipher | None:
    try:
        return Cipher(name)
    except ValueError:
        return None


def server_checks(options: Options) -> ServerChecks:
    """What the server must show. Raises ProfileError."""
    name = options.last("verify-x509-name")
    usage = options.last("remote-cert-ku")
    return ServerChecks(
        x509_name=name.arguments[0] if name else "",
        x509_name_type=_name_type(name),
        tls_remote=options.word("tls-remote"),
        certificate_type=options.one_of("remote-cert-tls", SIDES),
        extended_key_usage=options.word("remote-cert-eku"),
        key_usages=None if usage is None else tuple(_key_usage(word, usage) for word in usage.arguments),
        ns_cert_type=options.one_of("ns-cert-type", SIDES),
        fingerprints=fingerprints(options),
        tls_version_min=_least_tls(options),
        tls_version_max=options.one_of("tls-version-max", TLS_VERSIONS),
        tls_cipher=_colons(options.word("tls-cipher")),
        tls_ciphersuites=_colons(options.word("tls-ciphersuites")),
        tls_groups=_colons(options.word("tls-groups")),
        tls_cert_profile=options.one_of("tls-cert-profile", CERT_PROFILES),
    )


def _colons(listed: str) -> tuple[str, ...]:
    return tuple(name for name in listed.split(":") if name)


def _name_type(statement: Statement | None) -> NameType:
    if statement is None or len(statement.arguments) < 2:
        return NameType.SUBJECT
    try:
        return NameType(statement.arguments[1])
    except ValueError:
        raise statement.place.wrong(
            f"verify-x509-name compares {statement.arguments[1]!r}, which is none of {', '.join(NameType)}",
            "put quotes around a name that has blanks in it",
        ) from None


def _key_usage(word: str, statement: Statement) -> int:
    """The bits of X.509's keyUsage in hexadecimal, 1 to ffff."""
    digits = word.lower().removeprefix("0x")
    if not 1 <= len(digits) <= 4 or not set(digits) <= set("0123456789abcdef"):
        raise statement.place.wrong(f"remote-cert-ku {word!r} is not up to four hexadecimal digits", "write it like: remote-cert-ku a0")
    return int(digits, 16)


def _least_tls(options: Options) -> str:
    """`or-highest` behind a version that nobody knows means the highest there is."""
    statement = options.last("tls-version-min")
    if statement is not None and statement.arguments[1:] == ("or-highest",) and statement.arguments[0] not in TLS_VERSIONS:
        return TLS_VERSIONS[-1]
    return options.one_of("tls-version-min", TLS_VERSIONS, default=ServerChecks().tls_version_min)


def data_settings(options: Options) -> DataSettings:
    """How packets go through the tunnel. Raises ProfileError."""
    return DataSettings(
        device=_device(options),
        topology=options.one_of("topology", ("net30", "p2p", "subnet")),
        comp_lzo=options.one_of("comp-lzo", ("yes", "no", "adaptive"), default="adaptive") if "comp-lzo" in options else None,
        compress=options.one_of("compress", COMPRESSIONS) if "compress" in options else None,
        tun_mtu=options.number("tun-mtu", low=LEAST_MTU_BYTES, high=LARGEST_MTU_BYTES),
        link_mtu=options.number("link-mtu", low=LEAST_MTU_BYTES, high=LARGEST_MTU_BYTES),
        framing=_framing(options),
        allow_compression=options.one_of("allow-compression", ("no", "asym", "yes")),
        fragment=options.number("fragment", low=LEAST_FRAGMENT_BYTES, high=LARGEST_MTU_BYTES),
        fragment_mtu=(found := options.last("fragment")) is not None and found.arguments[1:] == ("mtu",),
        mssfix=_mssfix(options),
        exit_notify=_exit_notify(options),
        reneg_s=options.number("reneg-sec"),
    )


def _framing(options: Options) -> str:
    statement = options.last("comp-lzo", "compress")
    return "" if statement is None else " ".join((statement.option, *statement.arguments[:1]))


def _device(options: Options) -> str:
    """`dev-type` where it is there; otherwise a device's name begins with its type, and any other name is taken for a TUN."""
    if "dev-type" in options:
        return options.one_of("dev-type", ("tun", "tap"))
    name = options.word("dev", "tun")
    return next((kind for kind in ("tun", "tap", "null") if name.startswith(kind)), "tun")


def _mssfix(options: Options) -> int | None:
    """Without an argument it is OpenVPN's default, and so is it not said."""
    statement = options.last("mssfix")
    if statement is None or not statement.arguments:
        return None
    size, *kind = statement.arguments
    value = number_in(size, 0, LARGEST_MTU_BYTES)
    if value is None or kind not in ([], ["mtu"], ["fixed"]):
        raise _wrong_mssfix(statement)
    return value


def _wrong_mssfix(statement: Statement) -> ProfileError:
    return statement.place.wrong(f"{statement.text!r} is no mssfix with a size in bytes", "write it like: mssfix 1400 mtu")


def _exit_notify(options: Options) -> int | None:
    if "explicit-exit-notify" not in options:
        return None
    tries = options.number("explicit-exit-notify", high=100)
    return 1 if tries is None else tries
