"""Remotes, ports, protocols, `<connection>` blocks, and what wraps the control channel of each."""

from pathlib import Path

import pytest
from profile_support import OTHER_STATIC, STATIC, block, client_key, identity, parsed, refused, refused_text

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.model import Wrapping
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap

UDP, TCP = Transport.UDP, Transport.TCP


def where(lines: str) -> list[tuple[str, int, Transport, str]]:
    """The remotes of a profile with these lines alone."""
    return [(one.host, one.port, one.transport, one.family) for one in parsed(head="client\n" + lines).remotes]


@pytest.mark.parametrize(
    ("lines", "remotes"),
    [
        ("remote a", [("a", 1194, UDP, "")]),
        ("remote a 443 tcp", [("a", 443, TCP, "")]),
        ("remote 2001:db8::1 1 udp6", [("2001:db8::1", 1, UDP, "6")]),
        ("remote a 65535 tcp4-client\nremote b", [("a", 65535, TCP, "4"), ("b", 1194, UDP, "")]),
        ("remote a\nproto tcp-client\nport 993", [("a", 993, TCP, "")]),
        ("proto udp4\nrport 53\nremote a", [("a", 53, UDP, "4")]),
        ("remote a\nrport 5\nport 6", [("a", 6, UDP, "")]),
        ("remote a https tcp", [("a", 443, TCP, "")]),
        ("remote a\nport 5\nrport 6", [("a", 6, UDP, "")]),
        ("remote a 7\nport 5\nlport 9", [("a", 7, UDP, "")]),
        ("proto tcp6\nremote a", [("a", 1194, TCP, "6")]),
        ("remote a 1 udp\nremote b 2 tcp\nproto-force tcp", [("b", 2, TCP, "")]),
    ],
)
def test_remotes(lines: str, remotes: list[tuple[str, int, Transport, str]]) -> None:
    assert where(lines) == remotes


def test_a_blocks_defaults_are_what_stands_before_it() -> None:
    lines = """proto tcp
remote passed.over 9
<connection>
remote a 8 udp
</connection>
port 77
<connection>
remote b
proto tcp6
</connection>
<connection>
remote c
port 78
</connection>
proto udp
"""
    assert where(lines) == [("a", 8, UDP, ""), ("b", 77, TCP, "6"), ("c", 78, TCP, "")]
    profile = parsed(head="client\n" + lines)
    assert [note for note in profile.notes if "passed over" in note.text] == [
        (3, "this remote is passed over, as OpenVPN does: there are <connection> blocks")
    ]
    assert [remote.line for remote in profile.remotes] == [5, 9, 13]


def test_what_a_block_says_beside_its_remote_is_noted() -> None:
    inside = block("connection", "remote a\nfloat\nca x\nscramble obfuscate x\nhttp-proxy proxy 3128\nconnect-retry 2")
    profile = parsed(head="client\n" + inside)
    assert [tuple(note) for note in profile.notes] == [
        (4, "float of one <connection> block alone is passed over"),
        (5, "ca cannot stand in a <connection> block, and is passed over"),
    ]
    assert [tuple(one) for one in profile.unknown] == [(6, "scramble", "scramble obfuscate x")]
    assert [note.line for note in profile.unsupported] == [7]
    assert not profile.float


@pytest.mark.parametrize(
    ("lines", "wrapping"),
    [
        ("", Wrapping()),
        (block("tls-crypt", STATIC.encode()), Wrapping(Wrap.TLS_CRYPT, STATIC)),
        ("tls-crypt [inline] 1\n" + block("tls-crypt", STATIC.encode()), Wrapping(Wrap.TLS_CRYPT, STATIC)),
        (block("tls-auth", STATIC.encode()), Wrapping(Wrap.TLS_AUTH, STATIC)),
        ("key-direction 1\n" + block("tls-auth", STATIC.encode()), Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)),
        (block("tls-auth", STATIC.encode()) + "key-direction 0\n", Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.NORMAL)),
        ("tls-auth [inline] 1\n" + block("tls-auth", STATIC.encode()), Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)),
        (block("tls-auth", STATIC.encode()) + "tls-auth [[INLINE]] 1\n", Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)),
        (block("tls-auth", STATIC.encode()) + block("tls-auth", OTHER_STATIC.encode()), Wrapping(Wrap.TLS_AUTH, OTHER_STATIC)),
        (block("tls-crypt", "#\n# 2048 bit OpenVPN static key\n#\n" + STATIC.encode()), Wrapping(Wrap.TLS_CRYPT, STATIC)),
    ],
)
def test_what_wraps(lines: str, wrapping: Wrapping) -> None:
    profile = parsed(lines)
    assert profile.wrapping == wrapping
    assert [remote.wrapping for remote in profile.remotes] == [wrapping]


def test_tls_crypt_v2() -> None:
    assert parsed(block("tls-crypt-v2", client_key().encode())).wrapping == Wrapping(Wrap.TLS_CRYPT_V2, client_key())


def test_keys_in_files(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ta.key").write_text(STATIC.encode())
    for name in ("keys/ta.key", '"keys/ta.key"', r"keys\\ta.key", str(tmp_path / "keys" / "ta.key")):
        assert parsed(f"tls-auth {name} 1", folder=tmp_path).wrapping == Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)


def test_a_block_has_its_own_key_or_the_profiles() -> None:
    head = (
        "client\nkey-direction 1\n"
        + block("connection", "remote a\n" + block("tls-auth", OTHER_STATIC.encode()))
        + block("connection", "remote b")
        + block("connection", "remote c\n" + block("tls-crypt", STATIC.encode()))
        + block("connection", "remote d\n" + block("tls-auth", OTHER_STATIC.encode()) + "key-direction 1")
        + block("connection", "remote e\nkey-direction 1\n" + block("tls-auth", OTHER_STATIC.encode()))
        + block("tls-auth", STATIC.encode())
    )
    profile = parsed(head=head)
    assert profile.wrapping == Wrapping(Wrap.TLS_AUTH, STATIC, KeyDirection.INVERSE)
    assert [remote.wrapping for remote in profile.remotes] == [
        Wrapping(Wrap.TLS_AUTH, OTHER_STATIC, KeyDirection.BIDIRECTIONAL),
        profile.wrapping,
        Wrapping(Wrap.TLS_CRYPT, STATIC),
        Wrapping(Wrap.TLS_AUTH, OTHER_STATIC, KeyDirection.INVERSE),
        Wrapping(Wrap.TLS_AUTH, OTHER_STATIC, KeyDirection.BIDIRECTIONAL),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("port 0", "port '0' is no number from 1 to 65535"),
        ("rport 65536", "port '65536' is no number from 1 to 65535"),
        ("remote b gopher", "port 'gopher' is no number from 1 to 65535"),
        ("remote b ٣", "port '٣' is no number from 1 to 65535"),
        ("remote b 1 sctp", "'sctp' is no protocol of OpenVPN"),
        ("proto udp-client", "'udp-client' is no protocol of OpenVPN"),
        ("proto UDP", "'UDP' is no protocol of OpenVPN"),
        ("proto 4", "'4' is no protocol of OpenVPN"),
        ("proto tcp-server", "proto tcp-server is a server's: this is no client's profile"),
        ("proto tcp6-server", "proto tcp6-server is a server's: this is no client's profile"),
        ("proto-force tcp", "proto-force tcp leaves no remote"),
        ("remote", "remote has 0 of at least 1 argument"),
        ("remote a 1 udp x", "remote has 4 arguments, and 3 at most"),
        ('remote ""', "'' is no name or address of a server"),
        ('remote "a b"', "'a b' is no name or address of a server"),
        ("tls-auth ta.key 2", "the key direction '2' is neither 0 nor 1"),
        ("key-direction yes", "the key direction 'yes' is neither 0 nor 1"),
    ],
)
def test_broken_lines(line: str, problem: str) -> None:
    error = refused(line)
    assert (error.line, error.problem) == (3, problem)


def test_no_remote() -> None:
    error = refused_text("client\n" + identity())
    assert (error.line, error.problem) == (0, "there is no remote, so no server to connect to")
    assert str(error).startswith("some.ovpn: there is no remote")


@pytest.mark.parametrize(("lines", "count"), [("port 1", 0), ("remote a\nremote b", 2)])
def test_a_block_without_exactly_one_remote(lines: str, count: int) -> None:
    error = refused(block("connection", lines))
    assert (error.line, error.problem) == (3, f"this <connection> block has {count} remotes, and needs exactly one")


def test_a_broken_line_in_a_block_is_named_by_its_own_number() -> None:
    assert refused(block("connection", "remote a\nport x")).line == 5
    assert refused(block("connection", "remote")).line == 4


def test_two_wraps_at_once() -> None:
    error = refused(block("tls-crypt", STATIC.encode()) + "tls-auth ta.key 1")
    assert error.problem == "tls-auth stands beside the tls-crypt of line 3, and only one of them can wrap the control channel"
    assert error.line == 3 + len(block("tls-crypt", STATIC.encode()).splitlines())
