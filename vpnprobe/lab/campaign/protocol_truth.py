"""What must be said of a protocol, computed from the topology alone: which port and wrap it works on, and how well.

What each protocol takes follows its standard: PPTP's data is GRE inside a call, L2TP/IPsec takes IKEv1 and ESP, or ESP in UDP where a
NAT is on the path or ESP does not pass, L2TP by itself, OpenVPN and WireGuard take their data both ways on one port.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.lab.campaign import packet_kinds
from vpnprobe.lab.campaign.packet_kinds import Step
from vpnprobe.lab.campaign.truth import Passing, Truth, truth_of
from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.observations.schema import Direction, Feasibility, Protocol, Transport
from vpnprobe.transports.topology import SERVER, Topology

OVER_TCP: Final = frozenset({Protocol.PPTP, Protocol.OPENVPN_TCP})
LOSS_ALWAYS_TOLD: Final = 0.15
"""From this share of lost packets on a protocol over datagrams is degraded, however few were sent; below it may be either."""
WAYS: Final = (Direction.C2S, Direction.S2C)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use a protocol."""

    port: int
    wrap: str = ""
    settings: tuple[tuple[str, object], ...] = ()
    """What has to be set for it."""


@dataclass(frozen=True, slots=True)
class ProtocolTruth:
    """Of one protocol."""

    ways: tuple[tuple[Way, Truth], ...]
    """Each way to use it, the ends' own firewalls counted."""
    without_hosts: bool
    """Whether some way might work if the ends' own firewalls and other programs were not there."""
    taken: frozenset[int] = frozenset()
    """Ports of the server's that another program has, so that they are none of the ways."""

    @property
    def passing(self) -> Passing:
        found = {truth.passing for _, truth in self.ways}
        order = (Passing.YES, Passing.MAYBE, Passing.CUT)
        best = next((one for one in order if one in found), None)
        if best is not None:
            return best
        return Passing.HOST if self.without_hosts else Passing.NO

    @property
    def working(self) -> list[Truth]:
        return [truth for _, truth in self.ways if truth.passing is Passing.YES]

    @property
    def too_small(self) -> bool:
        """Whether packets of sizes that are always tried get through on no way that works or may work."""
        return all(truth.too_small for _, truth in self.ways if truth.passing in (Passing.YES, Passing.MAYBE))

    @property
    def free(self) -> bool:
        """Whether it works without any limit, and nothing but a port and a wrap has to be set. What few clients can be told is felt."""
        return any(truth.clean and not way.settings for way, truth in self.ways)

    def of(self, port: int, wrap: str, settings: Mapping[str, object]) -> Truth | None:
        """The truth about one port and wrap, set up like that; None: it is no way to use the protocol."""
        there = [(way, truth) for way, truth in self.ways if (way.port, way.wrap) == (port, wrap)]
        fitting = [(way, truth) for way, truth in there if all(settings.get(name) == value for name, value in way.settings)]
        return max(fitting, key=lambda one: len(one[0].settings))[1] if fitting else None

    @property
    def right(self) -> frozenset[Feasibility]:
        """The verdicts that are right; `unknown` besides is never wrong."""
        feasible, degraded, infeasible = Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE
        match self.passing:
            case Passing.YES:
                return self._right_where_it_works()
            case Passing.MAYBE:
                ends_alone = all(truth.ends_alone for _, truth in self.ways if truth.passing is Passing.MAYBE)
                right = {degraded} if self.too_small else {feasible, degraded}
                return frozenset(right if ends_alone else {*right, infeasible})
            case Passing.CUT:
                seen = not any(truth.ends_unwatched for _, truth in self.ways)
                return frozenset({degraded, infeasible}) if seen else frozenset({feasible, degraded, infeasible})
            case Passing.NO:
                return frozenset({infeasible})
            case Passing.HOST:
                return frozenset()

    def _right_where_it_works(self) -> frozenset[Feasibility]:
        if self.free:
            return frozenset({Feasibility.FEASIBLE})
        if self.too_small or min(truth.data_loss for truth in self.working) >= LOSS_ALWAYS_TOLD:
            return frozenset({Feasibility.DEGRADED})
        return frozenset({Feasibility.FEASIBLE, Feasibility.DEGRADED})


def truth_of_protocol(topology: Topology, protocol: str, candidates: Sequence[int], control_port: int) -> ProtocolTruth | None:
    """None: it is not known here. `candidates`: the ports that protocols of any port are tried on; `control_port`: one over UDP besides."""
    known = list(_ways(topology, protocol, candidates, control_port))
    if not known:
        return None
    taken = _taken(topology, Transport.TCP if protocol in OVER_TCP else Transport.UDP)
    ways = [(way, steps) for way, steps in known if way.port not in taken]
    found = tuple((way, truth_of(topology, steps)) for way, steps in ways)
    bare = (truth_of(topology, steps, hosts=False) for _, steps in known)
    return ProtocolTruth(found, any(truth.passing is not Passing.NO for truth in bare), taken)


def _ways(topology: Topology, protocol: str, candidates: Sequence[int], control_port: int) -> Iterator[tuple[Way, tuple[Step, ...]]]:
    match protocol:
        case Protocol.PPTP:
            inside = [step for way in WAYS for step in packet_kinds.gre_in_call(way)]
            yield Way(1723), (*packet_kinds.pptp_control(), *inside)
        case Protocol.L2TP:
            inside = [step for way in WAYS for step in packet_kinds.l2tp_data(way)]
            yield Way(1701), (*packet_kinds.l2tp_control(), *inside)
        case Protocol.L2TP_IPSEC:
            yield from _l2tp_ipsec(behind_nat=bool(topology.nats))
        case Protocol.OPENVPN_UDP:
            yield from _openvpn(Transport.UDP, (*_but(candidates, 51820), control_port))
        case Protocol.OPENVPN_TCP:
            yield from _openvpn(Transport.TCP, _but(candidates, 51820, control_port))
        case Protocol.WIREGUARD:
            for port in (51820, control_port, *_but(candidates, 51820, control_port)):
                data = [step for way in WAYS for step in packet_kinds.wireguard_data(port, way)]
                # Any port is good for it; others than these two are tried where neither of them works.
                chosen = () if port in (51820, control_port) else (("listen_port", port),)
                yield Way(port, settings=chosen), (*packet_kinds.wireguard_handshake(port), *data)
        case _:
            return


def _taken(topology: Topology, transport: Transport) -> frozenset[int]:
    """Ports of the server's that another program has: what a VPN's own server would meet there is not known."""
    protocol = TCP if transport is Transport.TCP else UDP
    return frozenset(taken.port for taken in topology.taken_ports if taken.at == SERVER and taken.protocol == protocol)


def _but(ports: Sequence[int], *others: int) -> tuple[int, ...]:
    return tuple(port for port in ports if port not in others)


def _openvpn(transport: Transport, ports: Sequence[int]) -> Iterator[tuple[Way, tuple[Step, ...]]]:
    for port in ports:
        data = [step for way in WAYS for step in packet_kinds.openvpn_data(transport, port, way)]
        for wrap in packet_kinds.WRAPS:
            yield Way(port, wrap), (*packet_kinds.openvpn_handshake(transport, port, wrap), *data)


def _l2tp_ipsec(*, behind_nat: bool) -> Iterator[tuple[Way, tuple[Step, ...]]]:
    """IKE begins on 500 and goes on to 4500 where it finds a NAT or encapsulation is forced; it may also begin there (RFC 3947)."""
    plain = [step for way in WAYS for step in packet_kinds.esp(way)]
    in_udp = [step for way in WAYS for step in packet_kinds.esp_in_udp(way)]
    forced = () if behind_nat else (("force_udp_encapsulation", True),)
    if not behind_nat:
        yield Way(500), (*packet_kinds.ike(500, 1), *plain)
    yield Way(500, settings=forced), (*packet_kinds.ike(500, 1), *packet_kinds.ike(4500, 1), *in_udp)
    yield Way(4500, settings=(("ike_port", 4500), *forced)), (*packet_kinds.ike(4500, 1), *in_udp)
