"""At which of its addresses a host is sent to, as its wire shows: where a NAT forwards to it, not the one that the sender names.

For IPv4, whose addresses are translated. A few bytes of each packet are read where they stand.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.ip import IpProtocol

TRANSPORTS: Final[Mapping[int, Transport]] = {
    int(IpProtocol.TCP): Transport.TCP,
    int(IpProtocol.UDP): Transport.UDP,
    int(IpProtocol.GRE): Transport.GRE,
    int(IpProtocol.ESP): Transport.ESP,
}
MOST: Final = 8
"""Addresses of one IP protocol that are kept."""
_HEADER: Final = 20


class OwnAddresses:
    """Listens to a run capture."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[bytes, None]] = {}

    def __call__(self, packet: Packet) -> None:
        """Notes the destination of what comes."""
        data = packet.data
        if packet.outgoing or len(data) < _HEADER or data[0] >> 4 != 4 or data[9] not in TRANSPORTS:
            return
        of_protocol = self._seen.setdefault(data[9], {})
        if len(of_protocol) < MOST:
            of_protocol[data[16:20]] = None

    def by_transport(self) -> dict[Transport, list[str]]:
        """The addresses, in the order in which they were seen."""
        return {TRANSPORTS[number]: [str(IPv4Address(raw)) for raw in found] for number, found in self._seen.items()}
