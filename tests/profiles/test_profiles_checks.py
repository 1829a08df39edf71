"""Ciphers of the data channel, what the server's certificate must be, and how packets go through the tunnel."""

import pytest
from profile_support import parsed, refused

from vpnprobe.profiles.model import DataCiphers, DataSettings, NameType, ServerChecks
from vpnprobe.wire.ciphers import Cipher

AES_256, AES_128, AES_192, CHACHA = Cipher.AES_256_GCM, Cipher.AES_128_GCM, Cipher.AES_192_GCM, Cipher.CHACHA20_POLY1305


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", DataCiphers((AES_256, AES_128, CHACHA))),
        ("data-ciphers AES-128-GCM:AES-256-GCM", DataCiphers((AES_128, AES_256))),
        ("data-ciphers aes-192-gcm:?Chacha20-Poly1305", DataCiphers((AES_192, CHACHA))),
        ("ncp-ciphers AES-128-GCM", DataCiphers((AES_128,))),
        ("ncp-ciphers AES-128-GCM\ndata-ciphers AES-256-GCM", DataCiphers((AES_256,))),
        ("data-ciphers DEFAULT:AES-192-GCM:AES-128-GCM", DataCiphers((AES_256, AES_128, CHACHA, AES_192))),
        ("data-ciphers AES-256-GCM:AES-256-CBC:?BF-CBC:::?", DataCiphers((AES_256,), unsupported=("AES-256-CBC", "BF-CBC"))),
        ("data-ciphers none", DataCiphers((), unsupported=("NONE",))),
        ("cipher aes-256-cbc", DataCiphers(legacy="AES-256-CBC")),
        ("data-ciphers-fallback AES-128-GCM", DataCiphers(fallback=AES_128)),
        (
            "data-ciphers AES-256-CBC\ndata-ciphers-fallback AES-256-CBC\ncipher AES-256-CBC",
            DataCiphers((), legacy="AES-256-CBC", unsupported=("AES-256-CBC",)),
        ),
    ],
)
def test_data_ciphers(lines: str, expected: DataCiphers) -> None:
    profile = parsed(lines)
    assert profile.ciphers == expected
    assert profile.unsupported_ciphers == expected.unsupported
    assert ("no cipher of the list is one that vpnprobe can do" in [note.text for note in profile.notes]) == (not expected.offered)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", ServerChecks()),
        ("verify-x509-name 'C=KG, CN=Server-1'", ServerChecks(x509_name="C=KG, CN=Server-1", x509_name_type=NameType.SUBJECT)),
        ("verify-x509-name Server-1 name", ServerChecks(x509_name="Server-1", x509_name_type=NameType.NAME)),
        ("verify-x509-name Server- name-prefix", ServerChecks(x509_name="Server-", x509_name_type=NameType.NAME_PREFIX)),
        ("tls-remote server", ServerChecks(tls_remote="server")),
        ("remote-cert-tls server", ServerChecks(certificate_type="server")),
        ("remote-cert-eku 'TLS Web Server Authentication'", ServerChecks(extended_key_usage="TLS Web Server Authentication")),
        ("remote-cert-ku", ServerChecks(key_usages=())),
        ("remote-cert-ku a0 88 0xF000", ServerChecks(key_usages=(0xA0, 0x88, 0xF000))),
        ("ns-cert-type server", ServerChecks(ns_cert_type="server")),
        ("tls-version-min 1.0\ntls-version-max 1.3", ServerChecks(tls_version_min="1.0", tls_version_max="1.3")),
        ("tls-version-min 1.2 or-highest", ServerChecks(tls_version_min="1.2")),
        ("tls-version-min 1.9 or-highest", ServerChecks(tls_version_min="1.3")),
        ("tls-cipher A:B", ServerChecks(tls_cipher=("A", "B"))),
        (
            "tls-ciphersuites TLS_AES_256_GCM_SHA384\ntls-groups X25519:P-256",
            ServerChecks(tls_ciphersuites=("TLS_AES_256_GCM_SHA384",), tls_groups=("X25519", "P-256")),
        ),
        ("tls-cert-profile insecure", ServerChecks(tls_cert_profile="insecure")),
        ("crl-verify crl.pem\ncapath certs", ServerChecks()),
    ],
)
def test_checks_of_the_server(lines: str, expected: ServerChecks) -> None:
    assert parsed(lines).checks == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", DataSettings()),
        ("dev tun0", DataSettings()),
        ("dev tap", DataSettings(device="tap")),
        ("dev vpn\ndev-type tap", DataSettings(device="tap")),
        ("dev vpn", DataSettings(device="tun")),
        ("dev null", DataSettings(device="null")),
        ("topology subnet", DataSettings(topology="subnet")),
        ("comp-lzo", DataSettings(comp_lzo="adaptive", framing="comp-lzo")),
        ("comp-lzo no", DataSettings(comp_lzo="no", framing="comp-lzo no")),
        ("compress", DataSettings(compress="", framing="compress")),
        ("compress stub-v2", DataSettings(compress="stub-v2", framing="compress stub-v2")),
        ("tun-mtu 1400\nlink-mtu 1500\nfragment 1300", DataSettings(tun_mtu=1400, link_mtu=1500, fragment=1300)),
        ("fragment 1400 mtu", DataSettings(fragment=1400, fragment_mtu=True)),
        ("compress lz4\ncomp-lzo", DataSettings(compress="lz4", comp_lzo="adaptive", framing="comp-lzo")),
        ("allow-compression asym", DataSettings(allow_compression="asym")),
        ("mssfix", DataSettings()),
        ("mssfix 0", DataSettings(mssfix=0)),
        ("mssfix 1400 mtu", DataSettings(mssfix=1400)),
        ("explicit-exit-notify", DataSettings(exit_notify=1)),
        ("explicit-exit-notify 2", DataSettings(exit_notify=2)),
        ("reneg-sec 0", DataSettings(reneg_s=0)),
        ("reneg-sec 3600 1800", DataSettings(reneg_s=3600)),
    ],
)
def test_data_settings(lines: str, expected: DataSettings) -> None:
    assert parsed(lines).data == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("verify-x509-name C=KG, CN=Server-1", "verify-x509-name compares 'CN=Server-1', which is none of subject, name, name-prefix"),
        ("verify-x509-name", "verify-x509-name has 0 of at least 1 argument"),
        ("remote-cert-tls servers", "remote-cert-tls 'servers' is none of server, client"),
        ("remote-cert-ku g0", "remote-cert-ku 'g0' is not up to four hexadecimal digits"),
        ("remote-cert-ku 12345", "remote-cert-ku '12345' is not up to four hexadecimal digits"),
        ("tls-version-min 1.9", "tls-version-min '1.9' is none of 1.0, 1.1, 1.2, 1.3"),
        ("tls-version-max ssl3", "tls-version-max 'ssl3' is none of 1.0, 1.1, 1.2, 1.3"),
        ("dev-type tub", "dev-type 'tub' is none of tun, tap"),
        ("comp-lzo maybe", "comp-lzo 'maybe' is none of yes, no, adaptive"),
        ("compress zip", "compress 'zip' is none of lzo, lz4, lz4-v2, stub, stub-v2, migrate"),
        ("tun-mtu 99", "tun-mtu '99' is no number from 100 to 65535"),
        ("mssfix 1400 bytes", "'mssfix 1400 bytes' is no mssfix with a size in bytes"),
        ("mssfix x", "'mssfix x' is no mssfix with a size in bytes"),
        ("reneg-sec soon", "reneg-sec 'soon' is no number from 0 to 2147483647"),
    ],
)
def test_broken_lines(line: str, problem: str) -> None:
    error = refused(line)
    assert (error.line, error.problem) == (3, problem)


def test_a_close_word_is_proposed() -> None:
    assert refused("remote-cert-tls servers").mend == "write remote-cert-tls server"
    assert refused("topology round").mend == "write one of them"
