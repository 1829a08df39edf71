"""How a profile wants packets to go through the tunnel, in the words of the conversation (`vpnprobe.conversations.openvpn_tunnel`)."""

from typing import Final

from vpnprobe.conversations.openvpn_tunnel import Device, TunnelSettings, compression_of
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.model import DataSettings, Remote

CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers, which `fragment SIZE mtu` counts."""


def tunnel_settings(data: DataSettings, remote: Remote) -> TunnelSettings:
    """The settings of the tunnel to this remote; `dev null` is taken for a tunnel of IP packets.

    Over TCP nothing is fragmented: OpenVPN does not start with that, and what is measured all the same is measured without it.
    """
    words = data.framing.split()
    stub_of_lzo = words[:1] == ["comp-lzo"] and words[1:2] == ["no"]
    fragment = remote.fragment - CARRIER_BYTES if remote.fragment is not None and remote.fragment_mtu else remote.fragment
    return TunnelSettings(
        device=Device.TAP if data.device == "tap" else Device.TUN,
        compression=compression_of(data.framing),
        said=data.framing,
        # As OpenVPN 2.6.14 was seen to do it: `comp-lzo no` alone lets nothing be pushed that compresses.
        may_compress=data.allow_compression in ("asym", "yes") or (bool(words) and not stub_of_lzo and data.allow_compression != "no"),
        fragment=fragment if remote.transport is Transport.UDP else None,
        tun_mtu=remote.tun_mtu or TunnelSettings().tun_mtu,
    )
