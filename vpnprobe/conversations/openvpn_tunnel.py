"""How packets go through an OpenVPN tunnel: what the profile says, what the server pushes, and what the server says of itself.

Device and framing are never negotiated. What the profile has stands unless the server pushes another framing of compression; the server's
own settings show in the options string of its key method 2 message (`dev-type`, `comp-lzo` for any framing of compression, `mtu-dynamic`
for `fragment`; OpenVPN's source, options_string). A real client warns where they differ, goes on, and passes nothing. A framing of
compression that the server pushes is refused where the profile does not let anything be compressed (OpenVPN 2.6, `allow-compression`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.wire.openvpn_data import Compression
from vpnprobe.wire.openvpn_messages import PushReply

FRAMED: Final = "comp-lzo"
"""What an options string says where compression frames packets, whichever it is."""
FRAGMENTS: Final = "mtu-dynamic"
COMPRESSING: Final = frozenset({"lzo", "lz4", "lz4-v2"})
"""Arguments of `compress` that let a server compress."""


class Device(StrEnum):
    """What the tunnel carries: IP packets, or Ethernet frames."""

    TUN = "tun"
    TAP = "tap"


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """How one end's packets go through the tunnel."""

    device: Device = Device.TUN
    compression: Compression = Compression.NONE
    said: str = ""
    """The option that frames for compression, as it is written; empty: none does."""
    pushed: bool = False
    """Whether it is the server that says so."""
    may_compress: bool = False
    """Whether the server may push what compresses."""
    fragment: int | None = None
    """Largest data packet in bytes without the headers of UDP and IP; None: packets are not cut."""
    tun_mtu: int = 1500
    """Bytes."""

    def after(self, push: PushReply) -> "TunnelSettings":
        """These settings with what a push changes of them."""
        option = pushed_framing(push)
        return self if option is None else replace(self, compression=compression_of(option), said=option, pushed=True)

    def refuses(self, push: PushReply) -> str | None:
        """What of a push a client with these settings refuses, as OpenVPN 2.6 does; None: nothing."""
        option = pushed_framing(push)
        return option if option is not None and compresses(option) and not self.may_compress else None


def pushed_framing(push: PushReply) -> str | None:
    """The last option of a push that frames for compression; None: it has none."""
    return next((option for option in reversed(push.options) if option.split()[:1] in (["compress"], ["comp-lzo"])), None)


def compression_of(option: str) -> Compression:
    """The framing that `comp-lzo ...` or `compress ...` stands for; any other option is none. `migrate` frames nothing by itself."""
    match option.split():
        case ["comp-lzo", *_] | ["compress", "lzo", *_]:
            return Compression.LZO_NO
        case ["compress", ("stub-v2" | "lz4-v2"), *_]:
            return Compression.STUB_V2
        case ["compress", "migrate", *_]:
            return Compression.NONE
        case ["compress", *_]:
            return Compression.STUB
        case _:
            return Compression.NONE


def compresses(option: str) -> bool:
    """Whether an option is more than framing: the other end may compress."""
    words = option.split()
    if words[:1] == ["comp-lzo"]:
        return words[1:2] != ["no"]
    return words[:1] == ["compress"] and words[1:2] != [] and words[1] in COMPRESSING


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that the two ends do not share."""

    option: str
    """Its name in a profile."""
    text: str
    """A clause that says which end has it."""

    @property
    def is_compression(self) -> bool:
        return self.option in ("comp-lzo", "compress")


def differences(own: TunnelSettings, theirs: Mapping[str, str]) -> tuple[Difference, ...]:
    """Where the options string of a server differs from a client's settings in what has to be the same. Empty, too, if it says nothing."""
    if "dev-type" not in theirs:
        return ()
    found = []
    if theirs["dev-type"] != own.device:
        found.append(Difference("dev", f"the profile has `dev {own.device}` and the server `dev {theirs['dev-type']}`"))
    if (FRAMED in theirs) != (own.compression is not Compression.NONE):
        found.append(Difference(own.said.partition(" ")[0] or "comp-lzo", _compression_text(own)))
    if (FRAGMENTS in theirs) != (own.fragment is not None):
        text = (
            f"the profile has `fragment {own.fragment}` and the server has no `fragment`"
            if own.fragment is not None
            else "the server has `fragment` and the profile has not"
        )
        found.append(Difference("fragment", text))
    return tuple(found)


def _compression_text(own: TunnelSettings) -> str:
    if own.compression is Compression.NONE:
        return "the server frames its packets for compression (`comp-lzo` or `compress`) and the profile does not"
    if own.pushed:
        return f"the server pushes `{own.said}` and does not have it itself (no compression)"
    return f"the profile has `{own.said}` and the server has no compression"


FRAMING_WORDS: Final[Mapping[Compression, str]] = {
    Compression.NONE: "without framing of compression",
    Compression.STUB: "as `compress` does",
    Compression.STUB_V2: "as `compress stub-v2` does",
    Compression.LZO_NO: "as `comp-lzo` does",
}


def tunnel_gateway(push: PushReply) -> IPv4Address | None:
    """The server's own address in the tunnel: route-gateway, or with topology net30 the single host that is routed; None: not told."""
    if (gateway := ipv4_of(push.gateway)) is not None:
        return gateway
    hosts = (option.split()[1:] for option in push.options if option.startswith("route "))
    single = next((ipv4_of(words[0]) for words in hosts if len(words) == 1 or words[1:2] == ["255.255.255.255"]), None)
    return single or (ipv4_of(push.netmask) if push.topology == "p2p" else None)


@lru_cache(maxsize=256)
def ipv4_of(text: str | None) -> IPv4Address | None:
    """The address that a word is; None: it is none."""
    try:
        return IPv4Address(text or "")
    except ValueError:
        return None
