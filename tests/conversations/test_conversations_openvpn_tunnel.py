"""Settings of the tunnel: what an option frames, what a push changes or may not, and where two ends differ."""

import pytest

from vpnprobe.conversations.openvpn_tunnel import (
    FRAMING_WORDS,
    Device,
    TunnelSettings,
    compresses,
    compression_of,
    differences,
    pushed_framing,
)
from vpnprobe.wire.openvpn_data import Compression
from vpnprobe.wire.openvpn_keying import options_string, read_options
from vpnprobe.wire.openvpn_messages import PushReply


@pytest.mark.parametrize(
    ("option", "compression", "more"),
    [
        ("", Compression.NONE, False),
        ("topology subnet", Compression.NONE, False),
        ("comp-lzo", Compression.LZO_NO, True),
        ("comp-lzo adaptive", Compression.LZO_NO, True),
        ("comp-lzo no", Compression.LZO_NO, False),
        ("compress lzo", Compression.LZO_NO, True),
        ("compress", Compression.STUB, False),
        ("compress stub", Compression.STUB, False),
        ("compress lz4", Compression.STUB, True),
        ("compress stub-v2", Compression.STUB_V2, False),
        ("compress lz4-v2", Compression.STUB_V2, True),
        ("compress migrate", Compression.NONE, False),
    ],
)
def test_what_an_option_frames(option: str, compression: Compression, more: bool) -> None:
    assert compression_of(option) is compression
    assert compresses(option) is more
    assert compression in FRAMING_WORDS


def test_the_last_pushed_option_counts() -> None:
    assert pushed_framing(PushReply(("comp-lzo no", "x", "compress stub-v2", "route 1.2.3.4"))) == "compress stub-v2"
    assert pushed_framing(PushReply(("x", ""))) is None
    own = TunnelSettings(said="comp-lzo", compression=Compression.LZO_NO)
    assert own.after(PushReply(("x",))) == own
    pushed = own.after(PushReply(("compress stub-v2",)))
    assert (pushed.compression, pushed.said, pushed.pushed) == (Compression.STUB_V2, "compress stub-v2", True)


def test_what_compresses_is_refused_unless_the_profile_lets_it() -> None:
    """As OpenVPN 2.6.14 does: 'server pushed compression settings that are not allowed'."""
    push = PushReply(("comp-lzo yes",))
    assert TunnelSettings().refuses(push) == "comp-lzo yes"
    assert TunnelSettings(may_compress=True).refuses(push) is None
    assert TunnelSettings().refuses(PushReply(("comp-lzo no",))) is None
    assert TunnelSettings().refuses(PushReply(())) is None


def server(**settings: object) -> dict[str, str]:
    return read_options(options_string(transport="UDPv4", cipher="AES-256-GCM", auth="SHA1", server=True, **settings))  # type: ignore[arg-type]


LZO = TunnelSettings(compression=Compression.LZO_NO, said="comp-lzo")


@pytest.mark.parametrize(
    ("own", "theirs", "found"),
    [
        (TunnelSettings(), server(), []),
        (LZO, server(comp_lzo=True), []),
        (LZO, {}, []),
        (LZO, server(), [("comp-lzo", "the profile has `comp-lzo` and the server has no compression")]),
        (
            TunnelSettings(compression=Compression.STUB, said="compress", pushed=True),
            server(),
            [("compress", "the server pushes `compress` and does not have it itself (no compression)")],
        ),
        (
            TunnelSettings(),
            server(comp_lzo=True),
            [("comp-lzo", "the server frames its packets for compression (`comp-lzo` or `compress`) and the profile does not")],
        ),
        (TunnelSettings(fragment=1300), server(fragment=True), []),
        (TunnelSettings(fragment=1300), server(), [("fragment", "the profile has `fragment 1300` and the server has no `fragment`")]),
        (TunnelSettings(), server(fragment=True), [("fragment", "the server has `fragment` and the profile has not")]),
        (TunnelSettings(device=Device.TAP), server(device="tap"), []),
        (TunnelSettings(), server(device="tap"), [("dev", "the profile has `dev tun` and the server `dev tap`")]),
    ],
)
def test_where_two_ends_differ(own: TunnelSettings, theirs: dict[str, str], found: list[tuple[str, str]]) -> None:
    differing = differences(own, theirs)
    assert [(one.option, one.text) for one in differing] == found
    assert [one.is_compression for one in differing] == [option not in ("dev", "fragment") for option, _ in found]
