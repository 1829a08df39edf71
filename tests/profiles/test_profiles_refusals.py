"""What OpenVPN 2.6.14 was seen not to start with, and what vpnprobe cannot try."""

import sys

import pytest
from profile_support import parsed

from vpnprobe.profiles.refusals import REMOVED, STILL_READ


@pytest.mark.parametrize("option", sorted(REMOVED))
def test_removed_options(option: str) -> None:
    (note,) = parsed(f"{option} 1" if option == "tls-remote" else option).refused
    assert (note.line, note.text) == (3, f"{option} was {REMOVED[option]}")


@pytest.mark.parametrize("option", sorted(REMOVED))
@pytest.mark.parametrize("before", ["ignore-unknown-option {}\n{}", "setenv FORWARD_COMPATIBLE 1\n{1}", "setenv opt {}"])
def test_removed_options_that_openvpn_is_told_to_pass_over(option: str, before: str) -> None:
    found = parsed(before.format(option, option) + (" x" if option == "tls-remote" else "")).refused
    assert len(found) == (option in STILL_READ)


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ("verb 3", []),
        ("frobnicate 1", ["a word of 10 characters is no option of OpenVPN 2.6: `ignore-unknown-option` lets it pass over it"]),
        ("allow-deprecated-insecure-static-crypto", ["allow-deprecated-insecure-static-crypto is no option of OpenVPN 2.6"]),
        ("remotes 1", ["remotes is no option"]),
        ("x" * 60, ["a word of 60 characters is no option"]),
        ("scramble obfuscate x", ["scramble is of the XOR patch"]),
        ("ignore-unknown-option frobnicate scramble\nfrobnicate 1\nscramble x", []),
        ("setenv FORWARD_COMPATIBLE 1\nfrobnicate 1\nkeysize 256", []),
        ("frobnicate 1\nignore-unknown-option frobnicate", ["frobnicate is no option"]),
        ("frobnicate 1\nsetenv FORWARD_COMPATIBLE 1\nscramble x", ["a word of 10 characters is no option"]),
        ("keysize 256\nignore-unknown-option keysize", ["keysize was removed"]),
        ("setenv FORWARD_COMPATIBLE 1\nduplicate-cn", ["duplicate-cn needs `mode server`"]),
        ("ignore-unknown-option push-reset\npush-reset", ["push-reset belongs into a server's file"]),
        ("setenv opt frobnicate 1\nsetenv opt keysize 256", []),
        ("allow-compression no\ncomp-lzo", ["comp-lzo is what allow-compression no forbids"]),
        ("allow-compression no\ncomp-lzo no", []),
        ("nobind\nlport 0", ["lport does not go with nobind"]),
        ("no-replay", ["no-replay ends OpenVPN 2.6 once an AEAD cipher is agreed on"]),
        ("auth RSA-SHA256", ["auth RSA-SHA256 is no digest of OpenSSL 3"]),
        ("auth SHA256", []),
        ("data-ciphers AES-256-GCM:BF-CBC", ["data-ciphers BF-CBC needs `providers legacy default`"]),
        ("data-ciphers AES-256-GCM:BF-CBC\nproviders legacy default", []),
        ("data-ciphers AES-256-GCM:?BF-CBC", []),
        ("cipher BF-CBC", []),
        ("cipher FOO", ["cipher FOO: OpenVPN 2.6 with OpenSSL 3 has nothing of that name"]),
        ("cipher FOO\ndata-ciphers AES-256-GCM", ["cipher FOO: "]),
        ("cipher AES-256-CTR", ["cipher AES-256-CTR: "]),
        ("cipher bf-cbc", ["cipher bf-cbc needs `providers legacy default`"]),
        ("cipher none", []),
        ("cipher id-aes256-GCM", []),
        ("cipher aria256", []),
        ("cipher 2.16.840.1.101.3.4.1.42", []),
        ("cipher FOO\nproviders default oqsprovider", []),
        ("cipher FOO\nproviders default legacy", ["cipher FOO: "]),
        ("data-ciphers-fallback FOO", ["data-ciphers-fallback FOO: "]),
        ("data-ciphers-fallback none", []),
        ("data-ciphers AES-256-GCM:FOO-CBC", ["data-ciphers FOO-CBC: "]),
        ("data-ciphers FOO:BF-CBC", ["data-ciphers BF-CBC needs", "data-ciphers FOO: "]),
        ("data-ciphers AES-256-GCM:?FOO-CBC", []),
        ("data-ciphers ?FOO-CBC", ["data-ciphers ?FOO-CBC: OpenVPN 2.6 has none of these"]),
        ("data-ciphers ?AES-256-GCM", []),
        ("data-ciphers DEFAULT", ["data-ciphers DEFAULT: "]),
        ("ncp-ciphers FOO:AES-256-GCM", ["ncp-ciphers FOO: "]),
        ("auth FOO", ["auth FOO: "]),
        ("auth FOO\nauth SHA256", []),
        ("auth MD4", ["auth MD4 needs `providers legacy default`"]),
        ("auth whirlpool", ["auth whirlpool needs `providers legacy default`"]),
        ("auth WHIRLPOOL\nproviders legacy default", []),
        ("auth none", []),
        ("auth sha512-256", []),
        ("fragment 1300", []),
        ("proto tcp\nfragment 1300", ["fragment goes with UDP alone, and the remote vpn.example.net is over TCP"]),
        ("proto-force udp\nremote b 1 tcp\nfragment 1300", ["fragment goes with UDP alone, and the remote b is over TCP"]),
        ("cipher CAST5-CBC", ["cipher CAST5-CBC needs `providers legacy default`"]),
        ("up /bin/true", ["up needs script-security 2"]),
        ("up /bin/true\nscript-security 2", []),
        ("duplicate-cn", ["duplicate-cn needs `mode server`"]),
        ("push-reset", ["push-reset belongs into a server's file"]),
        ("tls-cipher FOO", ["tls-cipher FOO: OpenSSL knows none of these"]),
    ],
)
def test_what_openvpn_does_not_start_with(lines: str, refused: list[str]) -> None:
    found = [note.text for note in parsed(lines).refused]
    assert len(found) == len(refused)
    assert all(text.startswith(beginning) for text, beginning in zip(found, refused, strict=True)), found


def test_options_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, count in (("linux", 1), ("win32", 0)):
        monkeypatch.setattr(sys, "platform", platform)
        assert len(parsed("block-outside-dns").refused) == count


@pytest.mark.parametrize(
    ("lines", "beginning"),
    [
        ('static-challenge "PIN" 1', "static-challenge: a login without"),
        ("http-proxy proxy 3128", "http-proxy: OpenVPN goes through this proxy"),
        ("http-proxy-override proxy 3128", "http-proxy-override: OpenVPN goes through this proxy"),
        ("socks-proxy proxy 1080", "socks-proxy: OpenVPN goes through this proxy"),
        ("tls-groups X25519:sect571r1", "tls-groups sect571r1: whether OpenSSL has this group"),
        ("pkcs11-id x", "pkcs11-id: the key is kept elsewhere"),
    ],
)
def test_what_cannot_be_tried(lines: str, beginning: str) -> None:
    (note,) = parsed(lines).unsupported
    assert note.line == 3
    assert note.text.startswith(beginning)


@pytest.mark.parametrize(
    ("lines", "compared"),
    [
        ("tls-remote my-server", "my-server"),
        ("setenv opt tls-remote my-server", ""),
        ("ignore-unknown-option tls-remote\ntls-remote my-server", ""),
        ("setenv FORWARD_COMPATIBLE 1\ntls-remote my-server", ""),
        ("tls-remote my-server\nignore-unknown-option tls-remote", "my-server"),
    ],
)
def test_what_openvpn_passes_over_is_compared_with_no_server(lines: str, compared: str) -> None:
    assert parsed(lines).checks.tls_remote == compared
