"""A profile's settings of the tunnel, as the conversation has them."""

import pytest
from profile_support import parsed, refused

from vpnprobe.conversations.openvpn_tunnel import Device, TunnelSettings
from vpnprobe.profiles.tunnel import tunnel_settings
from vpnprobe.wire.openvpn_data import Compression

LZO = Compression.LZO_NO


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ("", TunnelSettings()),
        ("dev tap\ntun-mtu 1400", TunnelSettings(device=Device.TAP, tun_mtu=1400)),
        ("dev null", TunnelSettings()),
        ("comp-lzo", TunnelSettings(compression=LZO, said="comp-lzo", may_compress=True)),
        ("comp-lzo no", TunnelSettings(compression=LZO, said="comp-lzo no")),
        ("compress", TunnelSettings(compression=Compression.STUB, said="compress", may_compress=True)),
        ("comp-lzo yes\nallow-compression no", TunnelSettings(compression=LZO, said="comp-lzo yes")),
        ("allow-compression asym", TunnelSettings(may_compress=True)),
        ("fragment 1300", TunnelSettings(fragment=1300)),
        ("fragment 1300 mtu", TunnelSettings(fragment=1272)),
        ("fragment 1300\nproto tcp", TunnelSettings()),
    ],
)
def test_settings(lines: str, settings: TunnelSettings) -> None:
    profile = parsed(lines)
    assert tunnel_settings(profile.data, profile.remotes[0]) == settings


def test_what_a_connection_block_has_of_its_own() -> None:
    """What OpenVPN 2.6.14 was seen to do: what stands outside counts for the blocks behind it."""
    blocks = "<connection>\nremote a\n{}\n</connection>\n"
    head = f"client\n{blocks.format('')}fragment 1400\n{blocks.format('fragment 1300 mtu')}{blocks.format('tun-mtu 1400')}"
    profile = parsed(head=head)
    assert [tunnel_settings(profile.data, remote) for remote in profile.remotes] == [
        TunnelSettings(),
        TunnelSettings(fragment=1272),
        TunnelSettings(fragment=1400, tun_mtu=1400),
    ]
    assert not profile.notes


def test_a_size_in_a_block_is_checked() -> None:
    assert "fragment '12' is no number from 68" in refused(head="client\n<connection>\nremote a\nfragment 12\n</connection>\n").problem
