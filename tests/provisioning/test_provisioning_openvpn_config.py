"""OpenVPN's configuration as text: whole files as they should read, and values that try to break out of their word, line or block."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import Place
from vpnprobe.profiles.lexing import LONGEST_LINE_BYTES as LONGEST_READ
from vpnprobe.profiles.lexing import Statement, split_words, statements
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.provisioning.certificates import CertificateContent, KeyAlgorithm, build_certificate, certificate_pem, key_pem, make_key
from vpnprobe.provisioning.openvpn_config import (
    LONGEST_LINE_BYTES,
    MOST_VALUES,
    ClientProfile,
    ControlWrapping,
    Credentials,
    Inline,
    ServerConfiguration,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
    Value,
    client_text,
    configuration_text,
    quoted,
    server_text,
)
from vpnprobe.wire.openvpn_keys import ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap

SERVER = ServerConfiguration(
    transport=Transport.UDP,
    address=IPv4Address("192.0.2.1"),
    port=1194,
    subnet=IPv4Network("10.8.0.0/24"),
    authority=Path("/etc/openvpn/ca.crt"),
    certificate=Path("/etc/openvpn/server.crt"),
    key=Path("/etc/openvpn/server.key"),
)
CLIENT = ClientProfile(
    transport=Transport.UDP,
    host="vpn.example",
    port=1194,
    authority=Inline("CA\n"),
    certificate=Inline("CERT\n"),
    key=Inline("KEY\n"),
)
SEARCH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
NASTY = (
    "two words",
    ' "quoted" ',
    "it's",
    "back\\slash",
    "ends with \\",
    '\\"',
    "# no comment",
    ";neither",
    "tab\there",
    "<ca>",
    "$HOME `id`",
    "ünï",
    '" script-security 2 "',
)
"""Values that OpenVPN must take as one word each."""


def line_of(*words: str) -> str:
    return configuration_text([("option", words)])


def read(text: str) -> list[Statement]:
    return list(statements(text, file="written.conf"))


class TestWholeFiles:
    def test_a_server_of_defaults(self) -> None:
        assert server_text(SERVER).splitlines() == [
            "server 10.8.0.0 255.255.255.0",
            "topology subnet",
            "dev tun",
            "dev-type tun",
            "proto udp",
            "local 192.0.2.1",
            "port 1194",
            "dh none",
            "ca /etc/openvpn/ca.crt",
            "cert /etc/openvpn/server.crt",
            "key /etc/openvpn/server.key",
            "keepalive 10 60",
            "verb 3",
        ]

    def test_a_server_with_everything(self) -> None:
        whole = replace(
            SERVER,
            port=443,
            wrapping=TlsAuth(Path("/etc/openvpn/ta.key"), "SHA256"),
            device="ovpn7",
            data_ciphers=("AES-256-GCM", "CHACHA20-POLY1305"),
            ping_interval_s=5,
            ping_timeout_s=30,
            tls_version_min="1.3",
            password_script=Path("/etc/open vpn/verify"),
            duplicate_names=True,
            new_clients_per_s=7,
            kernel_offload=False,
            temporary_folder=Path("/run/vpn"),
            verbosity=4,
        )
        assert server_text(whole).splitlines() == [
            "server 10.8.0.0 255.255.255.0",
            "topology subnet",
            "dev ovpn7",
            "dev-type tun",
            "proto udp",
            "local 192.0.2.1",
            "port 443",
            "dh none",
            "data-ciphers AES-256-GCM:CHACHA20-POLY1305",
            "ca /etc/openvpn/ca.crt",
            "cert /etc/openvpn/server.crt",
            "key /etc/openvpn/server.key",
            "auth SHA256",
            "tls-auth /etc/openvpn/ta.key",
            "key-direction 0",
            "keepalive 5 30",
            "tls-version-min 1.3",
            r'auth-user-pass-verify "\"/etc/open vpn/verify\"" via-file',
            "script-security 2",
            "duplicate-cn",
            "connect-freq-initial 7 1",
            "disable-dco",
            "tmp-dir /run/vpn",
            "verb 4",
        ]

    def test_over_tcp_the_server_says_so_and_first_packets_are_not_counted(self) -> None:
        lines = server_text(replace(SERVER, transport=Transport.TCP, new_clients_per_s=7)).splitlines()
        assert "proto tcp-server" in lines
        assert not any(line.startswith("connect-freq") for line in lines)

    def test_a_client(self) -> None:
        assert client_text(replace(CLIENT, data_ciphers=("AES-128-GCM",), credentials=Credentials("me", "pass word "))) == (
            "client\ndev tun\nproto udp\nremote vpn.example 1194\nnobind\nremote-cert-tls server\n"
            "<auth-user-pass>\nme\npass word \n</auth-user-pass>\n"
            "data-ciphers AES-128-GCM\n<ca>\nCA\n</ca>\n<cert>\nCERT\n</cert>\n<key>\nKEY\n</key>\n"
        )

    def test_overrides_set_add_and_take_out(self) -> None:
        made = client_text(
            replace(CLIENT, transport=Transport.TCP), {"remote": ("other", "9"), "ca": None, "auth-nocache": (), "nobind": None}
        )
        assert made.splitlines()[:5] == ["client", "dev tun", "proto tcp-client", "remote other 9", "remote-cert-tls server"]
        assert made.splitlines()[-1] == "auth-nocache"
        assert "<ca>" not in made

    @pytest.mark.parametrize(
        ("wrapping", "server", "client"),
        [
            (TlsAuth(Path("k")), ["tls-auth k", "key-direction 0"], ["tls-auth k", "key-direction 1"]),
            (TlsCrypt(Path("k")), ["tls-crypt k"], ["tls-crypt k"]),
            (TlsCrypt(Inline("k")), ["<tls-crypt>", "k", "</tls-crypt>"], ["<tls-crypt>", "k", "</tls-crypt>"]),
            (TlsCryptV2(Path("k")), ["tls-crypt-v2 k"], ["tls-crypt-v2 k"]),
        ],
    )
    def test_wrappings_of_both_ends(self, wrapping: ControlWrapping, server: list[str], client: list[str]) -> None:
        plain = [server_text(SERVER).splitlines(), client_text(CLIENT).splitlines()]
        wrapped = [
            server_text(replace(SERVER, wrapping=wrapping)).splitlines(),
            client_text(replace(CLIENT, wrapping=wrapping)).splitlines(),
        ]
        for before, after, more in zip(plain, wrapped, (server, client), strict=True):
            at = next(index for index, line in enumerate(after) if line == more[0])
            assert after[at : at + len(more)] == more
            assert after[:at] + after[at + len(more) :] == before

    @pytest.mark.parametrize(("force", "word"), [(True, "force-cookie"), (False, "allow-noncookie")])
    def test_the_cookie_of_tls_crypt_v2(self, force: bool, word: str) -> None:
        assert f"tls-crypt-v2 k {word}" in server_text(replace(SERVER, wrapping=TlsCryptV2(Path("k"), force))).splitlines()
        with pytest.raises(UsageError, match="no place for force-cookie"):
            server_text(replace(SERVER, wrapping=TlsCryptV2(Inline("k"), force)))


@cache
def identity() -> tuple[str, str]:
    """PEM of a certificate and its key."""
    now = datetime.now(UTC)
    key = make_key(KeyAlgorithm.EC_P256)
    content = CertificateContent(subject="some client", not_before=now - timedelta(hours=1), not_after=now + timedelta(days=1))
    return certificate_pem(build_certificate(content, key)).decode(), key_pem(key).decode()


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize("wrap", Wrap)
def test_our_own_reader_takes_a_profile_for_what_it_is(wrap: Wrap, transport: Transport, tmp_path: Path) -> None:
    static, v2 = StaticKey(bytes(range(256))), ServerKeyV2(bytes(range(128))).wrap(StaticKey(bytes(256)))
    wrappings: dict[Wrap, ControlWrapping | None] = {
        Wrap.NONE: None,
        Wrap.TLS_AUTH: TlsAuth(Inline(static.encode()), "SHA512"),
        Wrap.TLS_CRYPT: TlsCrypt(Inline(static.encode())),
        Wrap.TLS_CRYPT_V2: TlsCryptV2(Inline(v2.encode())),
    }
    certificate, key = identity()
    profile = ClientProfile(
        transport=transport,
        host="vpn.example",
        port=443,
        authority=Inline(certificate),
        certificate=Inline(certificate),
        key=Inline(key),
        wrapping=wrappings[wrap],
        data_ciphers=("AES-128-GCM",),
        credentials=Credentials('na"me', "pass # \\word"),
    )
    found = parse_profile(client_text(profile), folder=tmp_path, file="written.ovpn")
    [remote] = found.remotes
    assert (remote.host, remote.port, remote.transport) == ("vpn.example", 443, transport)
    assert found.wrapping.kind is wrap
    assert found.auth == ("SHA512" if wrap is Wrap.TLS_AUTH else "SHA1")
    assert found.unknown == ()
    assert found.credentials is not None
    assert (found.credentials.username, found.credentials.password) == ('na"me', "pass # \\word")


class TestQuoting:
    @pytest.mark.parametrize("word", ["plain", "/etc/openvpn/ca.crt", "10.8.0.0", "AES-256-GCM:AES-128-GCM", "a@b", "x=1,2%+", "--up"])
    def test_plain_words_stand_as_they_are(self, word: str) -> None:
        assert quoted(word) == word

    @pytest.mark.parametrize("word", ["", *NASTY])
    def test_a_word_that_is_not_plain_is_quoted_and_read_as_it_was(self, word: str) -> None:
        assert quoted(word).startswith('"')
        [statement] = read(line_of("first", word, "last"))
        assert statement.arguments == ("first", word, "last")

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=12), max_size=5))
    def test_any_words_are_read_as_they_were(self, words: list[str]) -> None:
        assert split_words(line_of(*words).removesuffix("\n"), Place("written.conf", 1)) == ["option", *words]

    @given(st.text(max_size=40))
    def test_any_value_is_one_line_or_refused(self, word: str) -> None:
        try:
            text = line_of(word)
        except UsageError:
            assert set(word) & set("\n\r\0")
            return
        assert text.count("\n") == 1
        assert text.endswith("\n")

    @pytest.mark.parametrize("word", ["a\nup /bin/sh", "a\rb", "a\0b", "\n"])
    def test_what_no_quoting_can_carry_is_refused(self, word: str) -> None:
        with pytest.raises(UsageError, match="cannot have"):
            server_text(replace(SERVER, key=Path(word)))
        with pytest.raises(UsageError, match="cannot have"):
            client_text(replace(CLIENT, host=word))

    def test_a_line_is_as_long_as_openvpn_takes(self) -> None:
        assert LONGEST_LINE_BYTES == LONGEST_READ
        fits = "x" * (LONGEST_LINE_BYTES - len("option "))
        assert len(line_of(fits)) == LONGEST_LINE_BYTES + 1
        for word in (fits + "x", "ü" * (len(fits) // 2)):
            with pytest.raises(UsageError, match="254 bytes at most, and the line of option has"):
                line_of(word)

    def test_a_line_has_as_many_words_as_openvpn_takes(self) -> None:
        assert line_of(*"x" * MOST_VALUES).count("x") == MOST_VALUES
        with pytest.raises(UsageError, match="takes 15 values of an option, and option has 16"):
            line_of(*"x" * (MOST_VALUES + 1))

    @pytest.mark.parametrize("name", ["", "ca crt", "ca\n", "<ca>", "ca>", "#ca", "-ca", "CA"])
    @pytest.mark.parametrize("value", [("x",), Inline("x")], ids=["line", "block"])
    def test_a_name_is_an_option_s_name(self, name: str, value: Value) -> None:
        with pytest.raises(UsageError, match="is no name of an option"):
            configuration_text([(name, value)])


class TestBlocks:
    @pytest.mark.parametrize("content", ["a\n", "a", "a\n\n", "", "  # a\n;b", "<cert>"])
    def test_content_is_read_as_it_was(self, content: str) -> None:
        [statement] = read(configuration_text([("auth-user-pass", Inline(content))]))
        assert statement.content == (content.removesuffix("\n") if content else "")

    @pytest.mark.parametrize("content", ["</ca>", "x\n</ca>\nup /bin/sh\n<ca>", "x\n \t</ca>", "x" * 254 + "</ca>", "a\0b"])
    def test_content_cannot_end_its_own_block(self, content: str) -> None:
        with pytest.raises(UsageError, match="the content of ca cannot stand"):
            client_text(replace(CLIENT, authority=Inline(content)))

    @pytest.mark.parametrize("credentials", [Credentials("a\nb", "c"), Credentials("a", "b\nc"), Credentials("a\r", "b")])
    def test_a_name_and_a_password_are_one_line_each(self, credentials: Credentials) -> None:
        with pytest.raises(UsageError, match="one line each"):
            client_text(replace(CLIENT, credentials=credentials))

    def test_a_password_may_be_empty_and_end_with_blanks(self) -> None:
        assert "<auth-user-pass>\na \n\n</auth-user-pass>\n" in client_text(replace(CLIENT, credentials=Credentials("a ", "")))


def said_by_openvpn(text: str, folder: Path) -> str:
    """What the real OpenVPN says of a configuration before it opens anything: the files that it names are not there."""
    (folder / "written.conf").write_text(text)
    command = [str(shutil.which("openvpn", path=SEARCH)), "--config", str(folder / "written.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    return done.stdout


@pytest.mark.requires("openvpn")
@pytest.mark.parametrize("name", NASTY)
class TestOpenVpnItself:
    def test_it_reads_a_path_as_it_was(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "none" / name
        said = said_by_openvpn(server_text(replace(SERVER, authority=path, temporary_folder=tmp_path)), tmp_path)
        assert f"Options error: --ca fails with '{path}': No such file or directory" in said
        assert "--cert fails with '/etc/openvpn/server.crt'" in said

    def test_it_reads_a_script_as_one_word_of_a_command(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "none" / name
        said = said_by_openvpn(server_text(replace(SERVER, password_script=path)), tmp_path)
        assert f"Options error: --auth-user-pass-verify script fails with '{path}': No such file or directory" in said
