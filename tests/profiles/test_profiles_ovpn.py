"""Whole profiles in the manner of the tools and providers that write them, and what is no client's profile."""

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest
from profile_support import STATIC, block, client_key, identity, made, parsed, refused, refused_text

from vpnprobe.errors import ExitStatus
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import Credentials, Management, NameType, Profile, Wrapping
from vpnprobe.profiles.ovpn import parse_profile, read_profile
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a profile, and beside it the files given by name."""

    def written(text: str | bytes, **files: str) -> Path:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        path = tmp_path / "client.ovpn"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def lines(profile: Profile) -> list[str]:
    return [note.text for note in profile.notes]


def test_of_an_install_script(write: Write) -> None:
    """Everything inline, tls-crypt, one cipher, Windows options that may be unknown elsewhere."""
    text = """client
proto udp
explicit-exit-notify
remote 198.51.100.7 1194
dev tun
resolv-retry infinite
nobind
persist-key
persist-tun
remote-cert-tls server
verify-x509-name server_f3Yq1 name
auth SHA256
auth-nocache
cipher AES-128-GCM
tls-client
tls-version-min 1.2
tls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256
ignore-unknown-option block-outside-dns
setenv opt block-outside-dns # Prevent Windows 10 DNS leak
verb 3
"""
    profile = read_profile(write(text + identity() + block("tls-crypt", STATIC.encode())))
    (remote,) = profile.remotes
    assert (remote.host, remote.port, remote.transport, remote.line) == ("198.51.100.7", 1194, Transport.UDP, 4)
    assert remote.wrapping == Wrapping(Wrap.TLS_CRYPT, STATIC)
    assert (profile.checks.x509_name, profile.checks.x509_name_type) == ("server_f3Yq1", NameType.NAME)
    assert profile.checks.tls_cipher == ("TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",)
    assert (profile.auth, profile.ciphers.legacy, profile.data.exit_notify) == ("SHA256", "AES-128-GCM", 1)
    assert profile.auth_nocache
    assert profile.nobind
    assert (profile.notes, profile.unknown) == ((), ())


def test_of_a_raspberry_pi(write: Write) -> None:
    """An encrypted key, tls-crypt-v2, a name with its type."""
    text = """client
dev tun
proto udp
remote home.example.org 1194
resolv-retry infinite
nobind
remote-cert-tls server
tls-version-min 1.2
verify-x509-name raspberrypi_0b1c name
cipher AES-256-CBC
auth SHA256
auth-nocache
verb 3
"""
    keys = block("ca", made().ca) + block("cert", made().cert) + block("key", made().encrypted_key)
    profile = read_profile(write(text + keys + block("tls-crypt-v2", client_key().encode())))
    assert profile.tls.key_is_encrypted
    assert profile.wrapping == Wrapping(Wrap.TLS_CRYPT_V2, client_key())
    assert profile.ciphers.offered[0] is Cipher.AES_256_GCM
    assert profile.ciphers.legacy == "AES-256-CBC"
    assert profile.unsupported_ciphers == ()


def test_of_a_provider(write: Write) -> None:
    """Many remotes in any order, a password to be asked, a patch that nobody else has, scripts that do not run."""
    text = """client
dev tun
resolv-retry infinite
remote-random
nobind
tun-mtu 1500
mssfix 0
persist-key
persist-tun
reneg-sec 0

remote 192.0.2.1 51820
remote 192.0.2.1 80
remote 192.0.2.2 4569

remote-cert-tls server
auth-user-pass
pull
fast-io
scramble obfuscate letmein
cipher AES-256-CBC
data-ciphers AES-256-GCM:AES-256-CBC
auth SHA512
key-direction 1
script-security 2
up /etc/openvpn/update-resolv-conf
down /etc/openvpn/update-resolv-conf
"""
    profile = read_profile(write(text + block("ca", made().ca) + block("tls-auth", STATIC.encode())))
    assert [remote.port for remote in profile.remotes] == [51820, 80, 4569]
    assert profile.random
    assert profile.credentials == Credentials(wanted=True)
    assert profile.wrapping == Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)
    assert (profile.auth, profile.data.mssfix, profile.data.tun_mtu, profile.data.reneg_s) == ("SHA512", 0, 1500, 0)
    assert profile.ciphers.offered == (Cipher.AES_256_GCM,)
    assert profile.unsupported_ciphers == ("AES-256-CBC",)
    assert profile.tls.cert is profile.tls.key is None
    assert profile.unknown == ((20, "scramble", "scramble obfuscate letmein"),)
    assert lines(profile) == ["up is a program of the profile, and none is run", "down is a program of the profile, and none is run"]


def test_of_an_access_server(write: Write) -> None:
    """Comments that tools read, options of newer clients, and several transports."""
    text = """# Automatically generated OpenVPN client config file
# Note: this config file contains inline private keys
# OVPN_ACCESS_SERVER_PROFILE=anna@vpn.example.com/AUTOLOGIN
# OVPN_ACCESS_SERVER_CLI_PREF_ALLOW_WEB_IMPORT=True
# OVPN_ACCESS_SERVER_WEB_CA_BUNDLE_START
# -----BEGIN CERTIFICATE-----
# MIIDH...
# -----END CERTIFICATE-----
# OVPN_ACCESS_SERVER_WEB_CA_BUNDLE_STOP
setenv FORWARD_COMPATIBLE 1
client
server-poll-timeout 4
nobind
remote vpn.example.com 1194 udp
remote vpn.example.com 443 tcp
dev tun
dev-type tun
remote-cert-tls server
tls-version-min 1.2
reneg-sec 604800
tun-mtu 1420
auth-user-pass
verb 3
push-peer-info
setenv-safe profile "staff only"
static-challenge "Enter Authenticator Code" 1

"""
    signature = "## -----BEGIN RSA SIGNATURE-----\n## DIGEST:sha256\n## -----END RSA SIGNATURE-----\n"
    profile = read_profile(write(text + identity() + block("tls-crypt-v2", client_key().encode()) + signature))
    assert [(remote.port, remote.transport) for remote in profile.remotes] == [(1194, Transport.UDP), (443, Transport.TCP)]
    assert profile.environment == (("FORWARD_COMPATIBLE", "1"), ("OPENVPN_profile", "staff only"))
    assert profile.credentials.static_challenge == "Enter Authenticator Code"
    assert profile.push_peer_info
    assert profile.unknown == ()
    assert lines(profile) == []
    assert [note.text.partition(":")[0] for note in profile.unsupported] == ["static-challenge"]
    assert profile.export == "OpenVPN Access Server"


def test_of_a_router(write: Write) -> None:
    """Files beside the profile, a TCP tunnel, a TAP."""
    text = """client
dev tap0
proto tcp-client
remote 203.0.113.5 443
ca ca.crt
cert client.crt
key client.key
tls-auth ta.key 1
data-ciphers AES-256-GCM:CHACHA20-POLY1305
keepalive 10 60
user nobody
group nogroup
log /tmp/openvpn.log
"""
    files = {"ca_crt": made().ca, "client_crt": made().cert, "client_key": made().key, "ta_key": STATIC.encode()}
    profile = read_profile(write(text, **files))
    assert profile.remotes[0].transport is Transport.TCP
    assert profile.wrapping == Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)
    assert profile.tls.key == made().key.encode()
    assert profile.data.device == "tap"
    assert lines(profile) == []


def test_of_2_3(write: Write) -> None:
    """Written ten years ago: nothing is said of negotiation, and compression is on."""
    text = """client
dev tun
proto udp
remote my-server-1 1194
;remote my-server-2 1194
;remote-random
resolv-retry infinite
nobind
persist-key
persist-tun
mute-replay-warnings
ca ca.crt
cert client.crt
key client.key
ns-cert-type server
tls-remote my-server
tls-auth ta.key 1
cipher BF-CBC
comp-lzo
verb 3
mute 20
keysize 128
http-proxy-retry
"""
    files = {"ca_crt": made().ca, "client_crt": made().cert, "client_key": made().old_encrypted_key, "ta_key": STATIC.encode()}
    profile = read_profile(write(text, **files))
    assert (profile.checks.ns_cert_type, profile.checks.tls_remote) == ("server", "my-server")
    assert (profile.ciphers.legacy, profile.auth, profile.data.comp_lzo) == ("BF-CBC", "SHA1", "adaptive")
    assert profile.tls.key_is_encrypted
    assert (profile.notes, profile.unknown) == ((), ())


def test_of_windows(write: Write) -> None:
    """A byte order mark, CRLF, and paths with backslashes, relative to the profile's folder."""
    text = 'client\nremote vpn.example.net 1194\nca .\\\\ca.crt\ncert "client.crt"\nkey client.key\nauth-user-pass\nverb 3\n'
    data = codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()
    profile = read_profile(write(data, ca_crt=made().ca, client_crt=made().cert, client_key=made().key))
    assert profile.remotes[0].host == "vpn.example.net"
    assert profile.tls.ca == made().ca.encode()
    with pytest.raises(ProfileError, match="without its Windows folder") as caught:
        read_profile(write(data.replace(b".\\\\ca.crt", b'"C:\\\\Program Files\\\\OpenVPN\\\\config\\\\ca.crt"')))
    assert caught.value.problem == "ca names the file 'C:\\\\Program Files\\\\OpenVPN\\\\config\\\\ca.crt': No such file or directory"
    assert caught.value.line == 3


def test_comments_in_another_encoding_do_no_harm(write: Write) -> None:
    profile = read_profile(write("client\nremote a\n# Büro\nbüro x\n".encode("latin-1") + identity().encode()))
    assert profile.unknown == ((4, "a word of 4 characters", "b?ro x"),)


def test_peer_to_peer_asks_the_server_for_nothing() -> None:
    assert not parsed(head="tls-client\nremote a\n").pull
    assert parsed(head="tls-client\npull\nremote a\n").pull
    assert parsed(head="client\nremote a\nremote-random-hostname\nfloat\n").float


def test_what_is_understood_and_not_carried_out_is_noted() -> None:
    extra = (
        "crl-verify crl.pem\nhttp-proxy proxy 3128\nsocks-proxy proxy\nfragment 1300\n"
        "plugin x.so\ncapath certs\ndh dh.pem\nconfig more.ovpn\n"
    )
    profile = parsed(extra)
    assert [note.line for note in profile.notes] == [3, 7, 8, 9, 10]
    assert [note.line for note in profile.unsupported] == [4, 5]
    assert profile.notes[3].text == "dh is a server's, and is passed over"
    assert profile.unknown == ()


def test_what_nobody_knows_is_listed_and_never_fatal() -> None:
    profile = parsed('xor "a b"  # c\n<wg>\nhello\n</wg>\nsetenv opt quic on')
    assert profile.unknown == (
        (3, "a word of 3 characters", 'xor "a b"  # c'),
        (4, "a word of 2 characters", "<wg>"),
        (7, "a word of 4 characters", "setenv opt quic on"),
    )
    assert profile.unknown[0].option == "a word of 3 characters"


@pytest.mark.parametrize(
    ("text", "line", "option"),
    [
        ("port 1194\nserver 10.8.0.0 255.255.255.0\ndh dh.pem\n", 2, "server"),
        ("mode server\ntls-server\n", 1, "mode"),
        ("server-bridge\n", 1, "server-bridge"),
        ("server-ipv6 2001:db8::/64\n", 1, "server-ipv6"),
        ("dev tun\ndh none\n", 2, "dh"),
        ("client\nremote a\ntls-server\n", 3, "tls-server"),
    ],
)
def test_a_servers_profile(text: str, line: int, option: str) -> None:
    error = refused_text(text)
    assert (error.line, error.problem) == (line, f"{option} is a server's: this is the profile of a server")
    assert error.mend.startswith("give the client's profile")


def test_static_key_mode() -> None:
    for text in ("remote a\nsecret static.key 1\n", "remote a\n" + block("secret", STATIC.encode())):
        profile = parse_profile(text, folder=Path("/"), file="some.ovpn")
        assert [note.line for note in profile.unsupported] == [2]
        assert profile.unsupported[0].text.startswith("secret: the static-key mode has no handshake")


def test_neither_client_nor_server() -> None:
    assert refused_text("remote a\n" + identity()).problem == "says neither client nor tls-client: OpenVPN would not speak TLS"
    for text in ("", "hello world\n", block("ca", made().ca)):
        assert refused_text(text).problem == "there is no remote, so no server to connect to"


def test_binary(write: Write) -> None:
    assert refused_text("client\nremote a\nca \0\n").line == 3
    with pytest.raises(ProfileError, match="has a NUL byte"):
        read_profile(write(b"\x7fELF\x02\x01\x01\0\0\n"))
    for encoding, mark in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
        with pytest.raises(ProfileError, match="UTF-16, which VPN programs do not read; save it as UTF-8"):
            read_profile(write(mark + "client\n".encode(encoding)))


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "x", "No such file"),
        (tmp_path / "\0", "is no name that a file can have"),
    ):
        with pytest.raises(ProfileError, match=f"cannot be read: {reason}") as caught:
            read_profile(path)
        assert caught.value.file == str(path)
        assert caught.value.status is ExitStatus.UNREADABLE


def test_an_error_names_file_line_problem_and_mend() -> None:
    assert str(refused("port x")) == "some.ovpn, line 3: port 'x' is no number from 1 to 65535; write the port's number, such as 1194"


@pytest.mark.parametrize(
    ("line", "digest"), [("", "SHA1"), ("auth sha256", "SHA256"), ("auth RSA-SHA512", "SHA512"), ("auth none", "NONE")]
)
def test_the_digest_of_tls_auth(line: str, digest: str) -> None:
    assert parsed(line).auth == digest


def test_the_same_text_gives_the_same_profile() -> None:
    text = "client\nremote a\n" + identity()
    first, second = (parse_profile(text, folder=Path("/"), file="x") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("management 127.0.0.1 7505", Management("127.0.0.1", 7505)),
        ("management localhost 7505 password.txt", Management("localhost", 7505)),
        ("management /run/openvpn/office.sock unix", Management("/run/openvpn/office.sock", None)),
        ("management 127.0.0.1 7505\nmanagement ::1 7506", Management("::1", 7506)),
        ("management 127.0.0.1 7505\nmanagement-client", None),
        ("management 127.0.0.1 by-name", None),
        ("management 127.0.0.1 65536", None),
    ],
)
def test_where_it_would_be_managed(text: str, expected: Management | None) -> None:
    assert parsed(text).management == expected
    assert parsed(text).notes == ()
