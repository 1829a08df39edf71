"""All probes, in the order in which their results are shown. A probe is a file of its own and a line here."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from vpnprobe.conversations.registry import PROTOCOLS, ClientKeys
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.esp import EspPassthrough
from vpnprobe.probes.gre import GrePassthrough
from vpnprobe.probes.ike import IkeProbe
from vpnprobe.probes.l2tp import L2tpProbe
from vpnprobe.probes.nat import NatMapping
from vpnprobe.probes.openvpn import OpenvpnProbe
from vpnprobe.probes.pptp import PptpProbe
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.tcp import TcpReach
from vpnprobe.probes.udp import UdpReach
from vpnprobe.probes.wireguard import WireguardProbe


class Probe(Protocol):
    """One check, or a few that belong together."""

    @property
    def name(self) -> str: ...
    def ports(self, settings: Settings) -> list[WantedPort]:
        """Ports that the server agent is to open for it."""
        ...

    async def run(self, context: ProbeContext) -> None:
        """Asks the path until it is sure, recording what is seen; never raises for what the network does."""
        ...


PROBES: Final[Sequence[Probe]] = (
    TcpReach(),
    UdpReach(),
    GrePassthrough(),
    EspPassthrough(),
    PptpProbe(),
    L2tpProbe(),
    IkeProbe(),
    OpenvpnProbe(),
    WireguardProbe(),
    NatMapping(),
)

NEEDED_BY: Final = {
    "pptp": ("pptp", "gre", "tcp"),
    "l2tp": ("l2tp", "udp"),
    "l2tp-ipsec": ("ike", "esp", "udp"),
    "openvpn-udp": ("openvpn", "udp"),
    "openvpn-tcp": ("openvpn", "tcp"),
    "wireguard": ("wireguard", "udp"),
}
"""The probes that a protocol's verdict rests on: what `--only PROTOCOL` runs."""


def chosen(settings: Settings) -> list[Probe]:
    """The probes that the settings ask for."""
    return [probe for probe in PROBES if settings.wants(probe.name)]


def ports_of(probes: Sequence[Probe], settings: Settings) -> list[WantedPort]:
    """All ports that the server agent is to open, each once."""
    return list(dict.fromkeys(port for probe in probes for port in probe.ports(settings)))


def keys_for(settings: Settings, entropy: Callable[[int], bytes]) -> dict[str, ClientKeys]:
    """By protocol that takes them: the keys of a run. `entropy`: gives so many bytes that nobody can guess."""
    wanted = (s for s in PROTOCOLS if settings.wants(s.probe) and any(settings.candidates(s, over) for over in s.transports))
    return {spec.name: spec.make_keys(entropy) for spec in wanted if spec.make_keys is not None}
