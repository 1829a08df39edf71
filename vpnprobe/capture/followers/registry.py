"""The protocols that are followed in captures: one written list. What goes through it names none of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.followers import gre, ike, ipsec, l2tp, openvpn, openvpn_forms, openvpn_sizes, pptp, pptp_sizes, wireguard
from vpnprobe.capture.followers.base import BeginSizedStream, BeginStream, PacketFollower
from vpnprobe.conversations.openvpn_places import shows_openvpn
from vpnprobe.conversations.registry import PROTOCOLS
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.isakmp import NAT_T_PORT
from vpnprobe.wire.openvpn import PORT as OPENVPN_PORT
from vpnprobe.wire.wireguard import PORT as WIREGUARD_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerSpec:
    """How one protocol is followed: which packets are offered to it, and what only it knows."""

    name: str = ""
    """Of its conversations over TCP; empty: it has none."""
    packets: Callable[[], PacketFollower] | None = None
    """Makes the follower of all that is not in TCP; None: the protocol is in TCP alone."""
    ip_protocols: frozenset[int] = frozenset()
    """IP protocols that are its own."""
    udp_ports: frozenset[int] = frozenset()
    """Ports whose datagrams are offered to it first."""
    any_udp_port: bool = False
    """Whether it is offered the datagrams of every port, and knows its own by their form."""
    unmistakable: bool = False
    """Whether its messages hardly look like another protocol's, so that it is asked even before the one whose port it is."""
    tcp_ports: frozenset[int] = frozenset()
    """Ports whose connections are its own whatever their first bytes are."""
    begins_stream: Callable[[bytes, int], bool | None] = lambda _head, _missing: False
    """Whether a connection is its own in which a direction begins with these bytes, behind which so many were cut off; None: it takes more
    of them to tell."""
    goes_on_stream: Callable[[bytes], bool] = lambda _stretch: False
    """Whether these bytes from the middle of a direction show the connection to be its own."""
    stream: BeginStream | None = None
    """Makes the follower of one connection; None: the protocol is never in TCP."""
    sized_stream: BeginSizedStream | None = None
    """Makes the follower of a connection of which lengths alone are known; None: they show nothing."""
    server_ports: frozenset[int] = frozenset()
    """Further ports that show their end to be the server."""
    service_names: Mapping[str, int] = field(default_factory=dict)
    """What printed traces have in place of its ports' numbers."""
    quoted: Callable[[Quote], Check] | None = None
    """The check of a packet of its IP protocols that only an ICMP error shows."""
    linked: Callable[[Sequence[ConversationSummary]], Iterable[ConversationSummary]] | None = None
    """Says in the summaries of a capture which conversations belong together."""
    kept_from_program: Callable[[EndRecord], frozenset[Check]] | None = None
    """Checks whose packets came to an end's wire and, as its silence shows, never to its program."""

    @property
    def known_ports(self) -> frozenset[int]:
        return self.udp_ports | self.tcp_ports | self.server_ports


def _ports_of(name: str) -> frozenset[int]:
    """The ports that a protocol of the registry lives on."""
    return next(spec.ports for spec in PROTOCOLS if spec.name == name)


FOLLOWERS: Final[tuple[FollowerSpec, ...]] = (
    FollowerSpec(
        name="pptp",
        tcp_ports=_ports_of("pptp"),
        begins_stream=pptp.begins_pptp,
        goes_on_stream=pptp.goes_on_as_pptp,
        stream=pptp.ControlConnection.begun,
        sized_stream=pptp_sizes.SizedControlConnection,
        service_names={"pptp": 1723},
    ),
    FollowerSpec(
        packets=gre.GreFollower,
        ip_protocols=frozenset({IpProtocol.GRE}),
        quoted=gre.quoted_check,
        linked=gre.beside_control_connections,
        kept_from_program=gre.kept_from_program,
    ),
    FollowerSpec(packets=ike.IkeFollower, udp_ports=_ports_of("ikev2"), service_names={"isakmp": 500, "ike": 500}),
    FollowerSpec(
        packets=ipsec.IpsecFollower,
        ip_protocols=frozenset({IpProtocol.ESP, IpProtocol.AH}),
        udp_ports=frozenset({NAT_T_PORT}),
        service_names={"ipsec-nat-t": NAT_T_PORT, "ipsec-msft": NAT_T_PORT},
        quoted=ipsec.quoted_check,
    ),
    FollowerSpec(packets=l2tp.L2tpFollower, udp_ports=_ports_of("l2tp"), service_names={"l2tp": 1701, "l2f": 1701}),
    FollowerSpec(
        packets=wireguard.WireguardFollower,
        any_udp_port=True,
        # Of all SPIs of ESP in UDP, which is what else may begin so on its port, four are its message types.
        unmistakable=True,
        server_ports=frozenset({WIREGUARD_PORT}),
    ),
    FollowerSpec(
        name="openvpn-tcp",
        packets=openvpn.OpenvpnUdpFollower,
        any_udp_port=True,
        begins_stream=openvpn_forms.begins_openvpn_tcp,
        goes_on_stream=shows_openvpn,
        stream=openvpn.OpenvpnConnection.begun,
        sized_stream=openvpn_sizes.SizedConnection,
        server_ports=frozenset({OPENVPN_PORT}),
        service_names={"openvpn": OPENVPN_PORT},
    ),
)
"""In the order in which a packet is offered to them."""
