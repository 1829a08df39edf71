"""TTL-limited copies in simulated networks: which routers answer, what arrived, and quotes that are none of ours."""

import asyncio
from ipaddress import IPv4Address

import pytest

from vpnprobe.endpoint.probe_packets import FIRST_PORT, PORTS, tcp_syn, udp, without_port
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces, ProbePacket
from vpnprobe.endpoint.ttl_probe import (
    HIGHEST_TTL,
    UNKNOWN_DISTANCE,
    Copied,
    Copy,
    IcmpTap,
    check_of,
    distance,
    unreachable_kind,
    with_reach,
)
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import port_key
from vpnprobe.evidence.packet_counts import by_check
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.transports.simulated import SimulatedNetwork, SimulatedStack, run_virtual
from vpnprobe.transports.stack import Address, Datagram, Endpoint
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Topology
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.ip import IPv4Packet

GRE = 47
KINDS = {
    "gre": checks.GRE_BARE,
    "esp": checks.ESP,
    "echo": checks.ICMP_ECHO,
    "udp": checks.udp_reach(500),
    "reset": checks.openvpn_reset(Transport.UDP, 1194),
    "syn": checks.tcp_reach(80),
}
ROUTERS = {1: "10.78.0.2", 2: "10.78.1.2", 3: "10.78.2.2"}


class Stepper:
    """The client's tap in a simulated network, whose server listens for GRE and ESP."""

    def __init__(self, topology: Topology) -> None:
        network = SimulatedNetwork(topology, seed=1)
        self.topology = topology
        self.stack: SimulatedStack = network.stack(CLIENT)
        self.recorder = Recorder(self.stack, Vantage.CLIENT)
        self.nonces = Nonces(self.stack, 7)
        self.refusals: list[tuple[Quote, Address, RefusalKind]] = []
        self.tap = IcmpTap(self.stack, lambda *refusal: self.refusals.append(refusal))
        self.arrived: list[Datagram] = []
        self.ports: set[tuple[Transport, int]] = set()
        for protocol in (GRE, 50):
            network.stack(SERVER).raw(protocol, self.arrived.append)

    def copied(self, kind: str) -> Copied:
        own, peer = self.topology.client_address, self.topology.server_address
        check = KINDS[kind]
        make = without_port(self.nonces, check)
        if make is None and check.transport is Transport.UDP:
            make = udp(self.nonces, Endpoint(own, 40000), Endpoint(peer, check.port or 0), check)
        elif make is None:
            make = tcp_syn(self.nonces, Endpoint(own, 0), Endpoint(peer, check.port or 0), check, using=self.ports)
        return Copied(check, make)

    def send(self, of: Copied, ttl: int) -> Copy:
        return self.tap.send(self.recorder, of, source=self.topology.client_address, destination=self.topology.server_address, ttl=ttl)

    async def trace(self, kind: str, highest_ttl: int = 4) -> Copied:
        """One copy for each TTL."""
        of = self.copied(kind)
        for ttl in range(1, highest_ttl + 1):
            self.send(of, ttl)
        await asyncio.sleep(0.1)
        return of


def traced(topology: Topology, *kinds: str) -> list[Copied]:
    async def main() -> list[Copied]:
        stepper = Stepper(topology)
        return [await stepper.trace(kind) for kind in kinds]

    return run_virtual(main())


def dropping(at: str, protocol: int = GRE, hook: Hook = Hook.FORWARD) -> Topology:
    return Topology(filters=(Filter(at=at, protocol=protocol, hook=hook),))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_names_the_routers(kind: str) -> None:
    (found,) = traced(Topology(), kind)
    assert found.answered == ROUTERS
    assert found.sent == {1: 1, 2: 1, 3: 1, 4: 1}


def test_what_a_router_drops_it_still_answers_for() -> None:
    (found,) = traced(dropping("r2"), "gre")
    assert found.answered == {1: ROUTERS[1], 2: ROUTERS[2]}


def test_unless_it_drops_it_before_it_looks_at_the_ttl() -> None:
    (found,) = traced(dropping("r2", hook=Hook.PREROUTING), "gre")
    assert found.answered == {1: ROUTERS[1]}


def test_two_kinds_at_once_are_told_apart() -> None:
    async def main() -> list[Copied]:
        stepper = Stepper(dropping("r2"))
        return list(await asyncio.gather(stepper.trace("gre"), stepper.trace("echo")))

    failing, passing = run_virtual(main())
    assert 3 not in failing.answered
    assert passing.answered[3] == ROUTERS[3]
    assert passing.reached == 4


def test_an_echo_reply_says_where_the_path_ends() -> None:
    (found,) = traced(Topology(routers=2), "echo")
    assert found.reached == 3
    assert 3 not in found.answered


def test_a_copy_that_is_refused_says_by_whom() -> None:
    (found,) = traced(Topology(filters=(Filter(at="r2", protocol=GRE, action=Action.REJECT_ADMIN),)), "gre")
    assert found.answered == {1: ROUTERS[1], 2: ROUTERS[2]}
    assert found.refused == {3: ROUTERS[2], 4: ROUTERS[2]}


def test_what_comes_for_a_forgotten_copy_is_nobodys() -> None:
    async def main() -> tuple[Copied, Copy, Copy]:
        stepper = Stepper(Topology())
        of = stepper.copied("gre")
        one, other = stepper.send(of, 1), stepper.send(of, 2)
        stepper.tap.forget([one])
        await asyncio.sleep(0.1)
        return of, one, other

    of, one, other = run_virtual(main())
    assert of.answered == {2: ROUTERS[2]}
    assert (one.answered, other.answered) == (False, True)


def test_a_packet_that_is_sent_again_has_no_second_record() -> None:
    async def main() -> tuple[Copied, list[PacketRecord]]:
        stepper = Stepper(Topology())
        again = ProbePacket(GRE, b"\0\0\x88\xb5again", checks.GRE_BARE, "", dont_fragment=True)
        of = Copied(checks.GRE_BARE, lambda _: again)
        stepper.send(of, 2)
        await asyncio.sleep(0.1)
        return of, stepper.recorder.packet_records

    of, rows = run_virtual(main())
    assert of.answered == {2: ROUTERS[2]}
    assert rows == []


def test_every_copy_is_recorded_as_one() -> None:
    async def main() -> list[PacketRecord]:
        stepper = Stepper(Topology())
        await stepper.trace("gre")
        return stepper.recorder.packet_records

    rows = run_virtual(main())
    assert all(row.ttl_limited and row.ttl is not None for row in rows)
    assert len({row.key for row in rows}) == len(rows)


def test_a_prohibition_is_handed_on_with_who_said_it() -> None:
    async def main() -> list[tuple[Quote, Address, RefusalKind]]:
        stepper = Stepper(Topology(filters=(Filter(at="r2", protocol=GRE, action=Action.REJECT_ADMIN),)))
        await stepper.trace("gre")
        return stepper.refusals

    refusals = run_virtual(main())
    assert refusals
    for quote, router, kind in refusals:
        assert (check_of(quote, server_port=max), str(router), kind) == (checks.GRE_BARE, "10.78.1.2", RefusalKind.PROHIBITED)


def test_somebody_elses_time_exceeded_is_not_ours() -> None:
    """Another program on this host traces with the same IP identification, to another place or in another protocol."""

    async def main() -> Copied:
        stepper = Stepper(Topology(silent_routers=("r1", "r2", "r3")))
        own, peer = stepper.topology.client_address, stepper.topology.server_address
        tracing = asyncio.get_running_loop().create_task(stepper.trace("gre"))
        await asyncio.sleep(0.05)
        for identification in range(65536):
            if identification in stepper.tap._copies:
                for protocol, destination in ((17, peer), (GRE, IPv4Address("10.78.2.1"))):
                    quoted = IPv4Packet(own, destination, protocol, 1, identification, b"\0" * 8).encode()[:28]
                    stepper.tap._came(Datagram(b"\x0b\0\0\0\0\0\0\0" + quoted, Endpoint(IPv4Address("10.78.0.2"), 0), 0.0))
        return await tracing

    assert run_virtual(main()).answered == {}


def test_the_tap_closes() -> None:
    async def main() -> None:
        stepper = Stepper(Topology())
        stepper.tap.close()
        stepper.tap._came(Datagram(b"\x03", Endpoint(stepper.topology.server_address, 0), 0.0))
        stepper.tap._came(Datagram(b"\x08\x00\x00\x00\x00\x01\x00\x01ping", Endpoint(stepper.topology.server_address, 0), 0.0))
        assert stepper.refusals == []

    run_virtual(main())


def quote(protocol: int, first: bytes) -> Quote:
    return Quote(IPv4Packet(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), protocol, 1, 5, first))


@pytest.mark.parametrize(
    ("quoted", "check"),
    [
        (quote(GRE, b"\x00\x00\x88\xb5data"), checks.GRE_BARE),
        (quote(GRE, b"\x30\x01\x88\x0b\0\x04\x04\xd2"), checks.GRE_IN_CALL),
        (quote(GRE, b"\x00"), checks.GRE_BARE),
        (quote(50, b"\0\0\x10\0\0\0\0\1"), checks.ESP),
        (quote(17, b"\x9c\x40\x01\xf4\0\0\0\0"), checks.udp_reach(500)),
        (quote(6, b"\x9c\x40\x06\xbb\0\0\0\0"), checks.tcp_reach(1723)),
        (quote(17, b"\x9c"), None),
        (quote(132, b"\x9c\x40\x01\xf4\0\0\0\0"), None),
    ],
)
def test_what_a_quote_is_about(quoted: Quote, check: Check | None) -> None:
    assert check_of(quoted, server_port=lambda _, server: server) == check


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (2, RefusalKind.PROTOCOL_UNREACHABLE),
        (3, RefusalKind.PORT_UNREACHABLE),
        (9, RefusalKind.PROHIBITED),
        (10, RefusalKind.PROHIBITED),
        (13, RefusalKind.PROHIBITED),
        (0, RefusalKind.UNREACHABLE),
        (1, RefusalKind.UNREACHABLE),
        (200, RefusalKind.UNREACHABLE),
    ],
)
def test_what_a_code_says(code: int, kind: RefusalKind) -> None:
    assert unreachable_kind(code) is kind


def came(*ttls: int | None) -> EndRecord:
    return EndRecord(tuple(PacketRecord(Vantage.CLIENT, Movement.RECEIVED, 0.0, checks.ESP, str(ttl), ttl=ttl) for ttl in ttls))


@pytest.mark.parametrize(
    ("ttls", "hops"), [((61,), 4), ((64,), 1), ((125, 120), 4), ((252,), 4), ((129,), HIGHEST_TTL), ((None,), 16), ((), 16)]
)
def test_how_far_the_other_end_is(ttls: tuple[int | None, ...], hops: int) -> None:
    assert distance(came(*ttls)) == hops
    assert UNKNOWN_DISTANCE == 16


def test_what_the_receiving_end_got_of_the_copies() -> None:
    trace = TtlTrace(checks.ESP, Direction.C2S, {1: "a", 2: "b", 3: None, 4: None})
    left = (PacketRecord(Vantage.CLIENT, Movement.SENT, 0.0, checks.ESP, f"k{ttl}", ttl=ttl, ttl_limited=True) for ttl in (1, 2, 3, 4))
    copies = by_check(left)
    got = by_check(PacketRecord(Vantage.SERVER, Movement.RECEIVED, 0.0, checks.ESP, key) for key in ("k4", "k3", "foreign"))
    assert with_reach(trace, copies, got).reached == 3
    assert with_reach(trace, copies, {}).reached is None
    assert with_reach(TtlTrace(checks.ESP, Direction.C2S, {}, 2), copies, got).reached == 2


def test_what_came_of_another_check_is_no_copy_that_came() -> None:
    """Attempts to two ports may have come from one port of the client's, which is their key."""
    check, other = checks.tcp_reach(80), checks.tcp_reach(443)
    trace, key = TtlTrace(check, Direction.C2S, {1: "a"}), port_key(44782)
    copy = PacketRecord(Vantage.CLIENT, Movement.SENT, 0.0, check, key, ttl=1, ttl_limited=True)
    for came_of, reached in ((other, None), (check, 1)):
        got = by_check([PacketRecord(Vantage.SERVER, Movement.RECEIVED, 0.0, came_of, key)])
        assert with_reach(trace, by_check([copy]), got).reached == reached


def test_crafted_copies_of_syns_come_from_no_port_that_the_run_has_had() -> None:
    nonces = Nonces(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), 7)
    ends = Endpoint(IPv4Address("192.0.2.1"), 0), Endpoint(IPv4Address("192.0.2.2"), 80)
    all_but_two = set(range(FIRST_PORT, FIRST_PORT + PORTS)) - {40000, 50000}
    using = {(Transport.TCP, port) for port in all_but_two}
    make = tcp_syn(nonces, *ends, checks.tcp_reach(80), using=using)
    assert {make(1).key, make(2).key} == {port_key(40000), port_key(50000)}
    assert make(3).key == port_key(FIRST_PORT)


def test_crafted_copies_of_syns_leave_from_different_ports() -> None:
    async def main() -> tuple[list[ProbePacket], set[tuple[Transport, int]]]:
        nonces = Nonces(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), 7)
        ends = Endpoint(IPv4Address("192.0.2.1"), 0), Endpoint(IPv4Address("192.0.2.2"), 80)
        ports: set[tuple[Transport, int]] = set()
        make = tcp_syn(nonces, *ends, checks.tcp_reach(80), using=ports)
        return [make(1) for _ in range(8)], ports

    copies, ports = run_virtual(main())
    assert {probe_packet.key for probe_packet in copies} == {f"port-{port}" for _, port in ports}
    assert len(ports) == 8
