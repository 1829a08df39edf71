"""A profile's settings of the tunnel, as the conversation has them."""

import pytest
from profile_support import parsed

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
    ],
)
def test_settings(lines: str, settings: TunnelSettings) -> None:
    assert tunnel_settings(parsed(lines).data) == settings
