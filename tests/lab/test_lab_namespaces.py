"""Labs out of namespaces: the plan, and what the built networks really do to packets."""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.lab import namespaces
from vpnprobe.lab.namespaces import Lab, plan, require_tools
from vpnprobe.lab.scenario import load
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    Clock,
    Filter,
    Link,
    Nat,
    Service,
    Stall,
    StatefulFirewall,
    TakenPort,
    Timeouts,
    Topology,
    WayBack,
)

PREFIX = f"vplab-{os.getpid()}"
PATIENCE_S = 5.0

GRE, ESP = 47, 50
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
MARKER_PORT = 9009


def commands(topology: Topology) -> list[str]:
    return ["\n".join([" ".join(step.command), step.stdin]) for step in plan(topology, "p", ethtool=False)]


class TestPlan:
    def test_addresses_are_those_of_the_topology(self) -> None:
        text = "\n".join(commands(Topology(routers=1)))
        for line in (
            "link add name to-server netns p-client type veth peer name to-client netns p-r1",
            "addr add 10.78.0.1/24 dev to-server",
            "addr add 10.78.0.2/24 dev to-client",
            "addr add 10.78.1.1/24 dev to-server",
            "addr add 10.78.1.2/24 dev to-client",
            "route add 10.78.1.0/24 via 10.78.0.2",
            "route add 10.78.0.0/24 via 10.78.1.1",
        ):
            assert line in text

    def test_routers_forward_and_hosts_do_not(self) -> None:
        scripts = [text for text in commands(Topology(routers=1)) if "ip_forward" in text]
        assert ["echo 1 > /proc/sys/net/ipv4/ip_forward" in script for script in scripts] == [False, True, False]

    @pytest.mark.parametrize(("errors_per_s", "spacing_ms"), [(1.0, 1000), (20.0, 50), (0.0, 0)])
    def test_the_limit_of_icmp_errors(self, errors_per_s: float, spacing_ms: int) -> None:
        text = "\n".join(commands(Topology(icmp_errors_per_s=errors_per_s)))
        assert text.count(f"echo {spacing_ms} > /proc/sys/net/ipv4/icmp_ratelimit") == 3

    def test_the_size_limit_of_a_link_holds_at_both_ends(self) -> None:
        topology = Topology(routers=1, links=(Link(), Link(mtu=1400)))
        assert "\n".join(commands(topology)).count(" mtu 1400 ") == 2

    def test_a_delay_is_netem_and_a_rate_alone_is_tbf(self) -> None:
        links = (Link(delay_s=0.02), Link(rate_bit_s=5e6))
        shapers = [text.strip() for text in commands(Topology(routers=1, links=links)) if text.startswith("tc")]
        assert shapers == [
            "tc -n p-client qdisc add dev to-server root netem delay 20000us",
            "tc -n p-r1 qdisc add dev to-client root netem delay 20000us",
            "tc -n p-r1 qdisc add dev to-server root tbf rate 5000000bit burst 3028b latency 100ms",
            "tc -n p-server qdisc add dev to-client root tbf rate 5000000bit burst 3028b latency 100ms",
        ]

    def test_offloads_are_switched_off_where_ethtool_is(self) -> None:
        scripts = [step.command[-1] for step in plan(Topology(routers=1), "p", ethtool=True) if "ip_forward" in step.command[-1]]
        assert [script.count("ethtool -K") for script in scripts] == [1, 2, 1]


class TestRefusals:
    @pytest.mark.parametrize("prefix", ["", "Lab", "a b", "-lab", "x" * 32, "a/b"])
    def test_a_prefix_that_is_no_name(self, prefix: str) -> None:
        with pytest.raises(UsageError, match="is no prefix for namespaces"):
            namespaces._check_prefix(prefix)

    def test_no_program_is_one_line_with_its_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(namespaces, "_SEARCH", str(tmp_path))
        with pytest.raises(CannotRun, match="the lab needs ip: sudo apt install iproute2") as caught:
            require_tools()
        assert caught.value.status is ExitStatus.MISSING

    def test_no_root_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for program in ("ip", "nft"):
            (tmp_path / program).touch(mode=0o755)
        monkeypatch.setattr(namespaces, "_SEARCH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(CannotRun, match="needs root: run it with sudo") as caught:
            require_tools()
        assert caught.value.status is ExitStatus.MISSING


@pytest.fixture
def _able() -> None:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))


@contextmanager
def listening(lab: Lab, host: str, protocol: int = 0, *, port: int = 0) -> Iterator[socket.socket]:
    """A raw socket of an IP protocol, or a UDP socket on a port, on a host."""
    with lab.inside(host):
        raw = protocol and socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        opened = raw or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        if not protocol:
            opened.bind(("", port))
        opened.settimeout(PATIENCE_S)
        yield opened


def address(lab: Lab, host: str) -> str:
    return str(lab.topology.client_address if host == CLIENT else lab.topology.server_address)


def send(lab: Lab, host: str, to: IPv4Address | str, payload: bytes, *, protocol: int = 0, port: int = 0) -> None:
    with listening(lab, host, protocol) as opened:
        opened.sendto(payload, (str(to), port))


def arrives(lab: Lab, payload: bytes, *, protocol: int = 0, port: int = 0, sender: str = CLIENT) -> bool:
    """Whether a packet reaches the other end: the marker that is sent after it arrives in any case, and nothing overtakes."""
    receiver = SERVER if sender == CLIENT else CLIENT
    with (
        listening(lab, receiver, protocol, port=port) as awaited,
        listening(lab, receiver, port=MARKER_PORT) as marker,
        listening(lab, sender, port=MARKER_PORT) as marking,
    ):
        # A stateful firewall passes the server's marker only after the client's.
        (marking if sender == CLIENT else marker).sendto(b"open", (address(lab, SERVER), MARKER_PORT))
        send(lab, sender, address(lab, receiver), payload, protocol=protocol, port=port)
        marking.sendto(b"marker", (address(lab, receiver), MARKER_PORT))
        while marker.recv(100) != b"marker":
            pass
        awaited.setblocking(False)
        try:
            return awaited.recv(2000).endswith(payload)
        except BlockingIOError:
            return False


def enhanced_gre(call_id: int, text: bytes = b"data") -> bytes:
    """RFC 2637 section 4.1: K and S set, version 1."""
    return struct.pack(">HHHHI", 0x3001, 0x880B, len(text), call_id, 0) + text


@contextmanager
def built(name_or_topology: str | Topology) -> Iterator[Lab]:
    topology = load(name_or_topology).topology if isinstance(name_or_topology, str) else name_or_topology
    with Lab(topology, PREFIX) as lab:
        yield lab


@pytest.mark.root
@pytest.mark.usefixtures("_able")
class TestLab:
    def test_it_is_found_by_its_prefix_and_leaves_nothing(self) -> None:
        with built("clean"):
            assert namespaces.hosts(PREFIX) == ["client", "r1", "r2", "r3", "server"]
            assert namespaces.hosts(f"{PREFIX}-other") == []
        assert namespaces.hosts(PREFIX) == []

    def test_more_than_nine_routers_stand_in_the_order_of_the_chain(self) -> None:
        topology = Topology(routers=11)
        with built(topology) as lab:
            assert tuple(namespaces.hosts(PREFIX)) == topology.names()
            assert arrives(lab, b"x", port=1194)

    def test_a_second_one_of_the_same_prefix_is_refused_and_the_first_stands(self) -> None:
        with built("clean") as lab:
            with pytest.raises(UsageError, match="is up already"):
                namespaces.up(Topology(), PREFIX)
            assert arrives(lab, b"x", port=1194)

    def test_what_cannot_be_built_is_taken_down_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(namespaces, "rulesets", lambda _: {"r1": "no ruleset at all"})
        with pytest.raises(CannotRun, match="the lab cannot be built: nftables rules on r1: ") as caught:
            namespaces.up(Topology(), PREFIX)
        assert "\n" not in str(caught.value)
        assert caught.value.status is ExitStatus.MISSING
        assert namespaces.hosts(PREFIX) == []

    def test_a_kernel_without_netem_is_said_in_one_line(self) -> None:
        topology = Topology(routers=1, links=(Link(delay_s=0.01), Link()))
        refusal = ""
        try:
            namespaces.up(topology, PREFIX)
        except CannotRun as lack:
            refusal = str(lack)
        if not refusal:
            namespaces.down(PREFIX)
            pytest.skip("this kernel has netem")
        assert "links[0].delay_s needs the kernel's netem" in refusal
        assert namespaces.hosts(PREFIX) == []

    def test_processes_inside_end_with_it_and_none_outside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(namespaces, "PATIENCE_S", 0.2)
        outside = subprocess.Popen(["sleep", "60"])
        try:
            with built("clean") as lab:
                inside = subprocess.Popen(
                    [*lab.exec_prefix(SERVER), "sh", "-c", "trap '' TERM; echo here; sleep 60"], stdout=subprocess.PIPE
                )
                assert inside.stdout is not None
                with inside.stdout as said:
                    assert said.readline() == b"here\n"
                assert inside.pid in lab.processes(SERVER)
            assert inside.wait(PATIENCE_S) == -9
            assert outside.poll() is None
        finally:
            outside.kill()
            outside.wait()

    def test_a_thread_comes_back_from_a_namespace(self) -> None:
        before = os.readlink("/proc/thread-self/ns/net")
        with built("clean") as lab:
            with lab.inside(CLIENT):
                assert os.readlink("/proc/thread-self/ns/net") != before
            assert os.readlink("/proc/thread-self/ns/net") == before

    def test_a_rate_limits(self) -> None:
        with built(Topology(routers=1, links=(Link(rate_bit_s=1e6), Link()))) as lab, listening(lab, SERVER, port=1194) as awaited:
            began = time.monotonic()
            with listening(lab, CLIENT, port=0) as sender:
                for _ in range(10):
                    sender.sendto(bytes(1000), (address(lab, SERVER), 1194))
            for _ in range(10):
                awaited.recv(2000)
            # 10 packets of 1028 bytes take 82 ms; the bucket lets the first three through at once.
            assert time.monotonic() - began > 0.04

    def test_a_small_link_is_told_of_by_its_router(self) -> None:
        with built(Topology(routers=1, links=(Link(), Link(mtu=1300)))) as lab, listening(lab, CLIENT, socket.IPPROTO_ICMP) as errors:
            send(lab, CLIENT, address(lab, SERVER), bytes(1400), port=1194)
            error = errors.recv(2000)[20:]
            assert (error[0], error[1], struct.unpack(">H", error[6:8])[0]) == (3, 4, 1300)


@pytest.mark.root
@pytest.mark.usefixtures("_able")
class TestScenarios:
    def test_clean(self) -> None:
        with built("clean") as lab:
            for sender in (CLIENT, SERVER):
                assert arrives(lab, b"any gre", protocol=GRE, sender=sender)
                assert arrives(lab, b"any esp", protocol=ESP, sender=sender)
                assert arrives(lab, b"any udp", port=500, sender=sender)

    def test_seed(self) -> None:
        with built("seed") as lab:
            for sender in (CLIENT, SERVER):
                assert not arrives(lab, b"any gre", protocol=GRE, sender=sender)
                assert arrives(lab, b"any esp", protocol=ESP, sender=sender)
            assert lab.acted("r2") == 2
            assert lab.acted("r1") == 0

    def test_gre_one_way(self) -> None:
        with built("gre-one-way") as lab:
            assert arrives(lab, b"any gre", protocol=GRE)
            assert not arrives(lab, b"any gre", protocol=GRE, sender=SERVER)

    def test_host_firewall(self) -> None:
        with built("host-firewall") as lab:
            assert not arrives(lab, b"any gre", protocol=GRE)
            assert arrives(lab, b"any gre", protocol=GRE, sender=SERVER)
            assert lab.acted(SERVER) == 1

    def test_openvpn_dpi(self) -> None:
        with built("openvpn-dpi") as lab:
            for port in (1194, 443):
                assert not arrives(lab, bytes([0x38]) + bytes(13), port=port)
                assert not arrives(lab, bytes([0x3F]) + bytes(13), port=port, sender=SERVER)
                assert arrives(lab, bytes([0x40]) + bytes(13), port=port)
                assert arrives(lab, bytes([0x50]) + bytes(13), port=port)

    def test_a_long_pattern_is_found_where_it_stands(self) -> None:
        pattern = bytes(range(1, 21))
        planted = Filter(at="r1", protocol=17, payload_offset=3, payload=pattern, payload_mask=b"\xff" * 19 + b"\x00")
        with built(Topology(routers=1, filters=(planted,))) as lab:
            assert not arrives(lab, b"abc" + pattern, port=1194)
            assert not arrives(lab, b"xyz" + pattern[:-1] + b"?", port=1194)
            assert arrives(lab, b"abcd" + pattern, port=1194)
            assert arrives(lab, b"abc" + pattern[:-2] + b"??", port=1194)

    def test_port_1194_blocked(self) -> None:
        with built("port-1194-blocked") as lab:
            assert not arrives(lab, b"x", port=1194)
            assert arrives(lab, b"x", port=1195)

    def test_a_filter_by_size(self) -> None:
        with built(Topology(routers=1, filters=(Filter(at="r1", longer_than=1400),))) as lab:
            assert arrives(lab, bytes(1372), port=1194)
            assert not arrives(lab, bytes(1373), port=1194)

    def test_only_the_control_port_passes(self) -> None:
        planted = load("control-port-alone").topology
        spared = replace(planted.filters[0], except_ports=(7117, MARKER_PORT))
        with built(replace(planted, filters=(spared,))) as lab:
            assert arrives(lab, b"x", port=7117)
            assert not arrives(lab, b"x", port=1194)
            assert not arrives(lab, b"any gre", protocol=GRE)

    def test_pptp_refused(self) -> None:
        with built("pptp-refused") as lab, lab.inside(SERVER), socket.create_server(("", 1723)):
            with lab.inside(CLIENT), pytest.raises(ConnectionRefusedError):
                socket.create_connection((address(lab, SERVER), 1723), timeout=PATIENCE_S)
            assert lab.acted("r1") == 1

    def test_lossy(self) -> None:
        with built("lossy") as lab, listening(lab, SERVER, port=1194) as awaited:
            with listening(lab, CLIENT) as sender:
                for _ in range(200):
                    sender.sendto(b"x", (address(lab, SERVER), 1194))
            lost = lab.acted("r2")
            # 40 are expected with a standard deviation of 5.7: six of them either way.
            assert 6 <= lost <= 74
            for _ in range(200 - lost):
                assert awaited.recv(100) == b"x"

    def test_a_lossy_link_loses_each_way(self) -> None:
        with built(Topology(routers=1, links=(Link(loss=1.0), Link()))) as lab, listening(lab, SERVER, port=1194) as awaited:
            send(lab, CLIENT, address(lab, SERVER), b"x", port=1194)
            send(lab, SERVER, address(lab, CLIENT), b"x", port=1194)
            assert lab.acted("r1") == 2
            awaited.setblocking(False)
            with pytest.raises(BlockingIOError):
                awaited.recv(100)

    def test_nat_without_alg(self) -> None:
        """Plain GRE comes back by its addresses; enhanced GRE, by Call ID, does not."""
        with built("nat-without-alg") as lab, listening(lab, SERVER, GRE) as there, listening(lab, CLIENT, GRE) as here:
            outside = str(lab.topology.addresses()[1][0])
            here.sendto(enhanced_gre(1111), (address(lab, SERVER), 0))
            assert there.recvfrom(100)[1][0] == outside
            there.sendto(enhanced_gre(2222), (outside, 0))
            here.sendto(b"\0\0\x08\0plain", (address(lab, SERVER), 0))
            assert there.recv(100).endswith(b"plain")
            there.sendto(b"\0\0\x08\0back", (outside, 0))
            assert here.recv(100).endswith(b"back")

    def test_a_stateful_firewall_passes_answers_alone(self) -> None:
        with built(Topology(routers=1, firewalls=(StatefulFirewall(at="r1"),))) as lab:
            assert not arrives(lab, b"x", port=1194, sender=SERVER)
            with listening(lab, SERVER, GRE) as there, listening(lab, CLIENT, GRE) as here:
                here.sendto(enhanced_gre(1111), (address(lab, SERVER), 0))
                assert there.recv(100).endswith(b"data")
                there.sendto(enhanced_gre(2222), (address(lab, CLIENT), 0))
                here.sendto(b"\0\0\x08\0plain", (address(lab, SERVER), 0))
                assert there.recv(100).endswith(b"plain")
                there.sendto(b"\0\0\x08\0back", (address(lab, CLIENT), 0))
                assert here.recv(100).endswith(b"back")

    @pytest.mark.parametrize(("name", "hops"), [("clean", ["10.78.0.2", "10.78.1.2", "10.78.2.2"]), ("no-icmp", [])])
    def test_who_answers_for_a_packet_whose_ttl_ran_out(self, name: str, hops: list[str]) -> None:
        with built(name) as lab:
            assert self.trace(lab, ESP) == hops

    @pytest.mark.parametrize(("name", "hops"), [("seed", ["10.78.0.2", "10.78.1.2"]), ("gre-prerouting", ["10.78.0.2"])])
    def test_how_far_blocked_packets_are_seen(self, name: str, hops: list[str]) -> None:
        with built(name) as lab:
            assert self.trace(lab, GRE) == hops

    def test_each_direction_meets_its_own_routers_on_a_way_back(self) -> None:
        with built(Topology(routers=3, way_back=WayBack("r3", "r1"), filters=(Filter("b1", protocol=ESP),))) as lab:
            assert self.trace(lab, GRE) == ["10.78.0.2", "10.78.1.2", "10.79.0.2"]
            assert arrives(lab, b"any esp", protocol=ESP)
            assert not arrives(lab, b"any esp", protocol=ESP, sender=SERVER)
            assert lab.acted("b1") == 1

    @staticmethod
    def trace(lab: Lab, protocol: int) -> list[str]:
        """Time-exceeded senders, until the marker is through."""
        with listening(lab, CLIENT, socket.IPPROTO_ICMP) as errors, listening(lab, CLIENT, protocol) as probe:
            for ttl in (1, 2, 3):
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                probe.sendto(bytes(8), (address(lab, SERVER), 0))
            assert arrives(lab, b"x", port=1194)
            errors.setblocking(False)
            seen = []
            try:
                while True:
                    packet, (source, _) = errors.recvfrom(2000)
                    seen += [source] if packet[20] == 11 else []
            except BlockingIOError:
                return seen


def asks(lab: Lab, there: tuple[str, int], *, size: int = 1) -> str:
    """From which address the server sees a datagram of the client come; empty: it does not within a moment."""
    with listening(lab, SERVER, port=there[1]) as server, listening(lab, CLIENT) as client:
        client.sendto(bytes(size), there)
        server.settimeout(0.3)
        try:
            source = server.recvfrom(4000)[1]
        except TimeoutError:
            return ""
        server.sendto(b"back", source)
        assert client.recvfrom(100) == (b"back", there)
        return str(source[0])


@pytest.mark.root
@pytest.mark.usefixtures("_able")
class TestBoxes:
    """What routers and ends do beyond filtering, as the simulated network has it."""

    def test_a_servers_nat_forwards_what_it_names(self) -> None:
        nats = (Nat("r1"), Nat("r3", inside=SERVER, forwards=(Service(17, (1194,)), Service(GRE))))
        with built(Topology(nats=nats)) as lab:
            public = str(lab.topology.public_address(SERVER))
            assert asks(lab, (public, 1194)) == "10.78.1.1"
            assert asks(lab, (public, 443)) == ""
            with listening(lab, SERVER, GRE) as there:
                send(lab, CLIENT, public, enhanced_gre(7), protocol=GRE)
                assert there.recv(100).endswith(b"data")

    def test_a_nat_forgets_when_it_is_told_to(self) -> None:
        with (
            built(Topology(nats=(Nat("r1", timeouts=Timeouts(udp_s=1)),))) as lab,
            listening(lab, SERVER, port=1194) as server,
            listening(lab, CLIENT) as client,
        ):
            client.sendto(b"x", (address(lab, SERVER), 1194))
            source = server.recvfrom(100)[1]
            server.sendto(b"soon", source)
            assert client.recv(100) == b"soon"
            time.sleep(2.5)
            server.sendto(b"late", source)
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(100)

    @pytest.mark.parametrize("at", ["r2", SERVER])
    def test_a_firewall_of_the_server_lets_in_what_it_allows_and_answers(self, at: str) -> None:
        walls = (StatefulFirewall(at, SERVER, allows=(Service(17, (1194, MARKER_PORT)),)),)
        with built(Topology(firewalls=walls)) as lab:
            assert arrives(lab, b"x", port=1194)
            assert not arrives(lab, b"x", port=443)
            assert not arrives(lab, b"any esp", protocol=ESP)
            assert arrives(lab, b"any esp", protocol=ESP, sender=SERVER)
            assert lab.acted(at) == 2

    def test_every_second_flow_takes_the_dead_path(self) -> None:
        dead = Filter("r1", protocol=17, ports=(1194,), flow_share=0.5)
        with built(Topology(routers=1, filters=(dead,))) as lab, listening(lab, SERVER, port=1194) as server:
            for _ in range(60):
                with listening(lab, CLIENT) as client:
                    for _ in range(2):
                        client.sendto(b"x", (address(lab, SERVER), 1194))
            lost = lab.acted("r1")
            # 30 flows of two packets are expected, with a standard deviation of 3.9 flows: six of them either way.
            assert lost % 2 == 0
            assert 12 <= lost <= 108
            for _ in range(120 - lost):
                server.recv(100)

    def test_fragments_are_put_together_where_connections_are_tracked(self) -> None:
        narrow, fragments = (Link(), Link(mtu=1000), Link(), Link()), Filter("r2", fragments=True)
        with built(Topology(links=narrow, filters=(fragments,))) as lab:
            send_without_df(lab, 1400)
            assert arrives(lab, b"x", port=1194)
            assert lab.acted("r2") == 2
        tracking = Topology(links=narrow, filters=(fragments,), firewalls=(StatefulFirewall("r2"),))
        with built(tracking) as lab, listening(lab, SERVER, port=1194) as server:
            send_without_df(lab, 1400)
            assert len(server.recv(4000)) == 1400

    def test_a_black_hole_says_nothing_of_sizes_alone(self) -> None:
        with built(Topology(routers=1, links=(Link(), Link(mtu=1300)), black_holes=("r1",))) as lab:
            with listening(lab, CLIENT, socket.IPPROTO_ICMP) as errors, listening(lab, CLIENT) as client:
                client.sendto(bytes(1400), (address(lab, SERVER), 1194))
                client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
                client.sendto(b"x", (address(lab, SERVER), 1194))
                assert errors.recv(2000)[20] == 11
            assert lab.acted("r1") == 1

    def test_ports_are_taken_and_answer(self) -> None:
        with built(Topology(taken_ports=(TakenPort(SERVER, 17, 1194, b"mine"),))) as lab, listening(lab, CLIENT) as client:
            client.sendto(b"x", (address(lab, SERVER), 1194))
            assert client.recv(100) == b"mine"
            with pytest.raises(OSError, match="in use"), listening(lab, SERVER, port=1194):
                pass

    def test_programs_stand_still_for_a_while_and_others_do_not(self) -> None:
        stall = Stall(SERVER, 0.0, 0.6)
        topology = Topology(stalls=(stall,), taken_ports=(TakenPort(SERVER, 17, 1194, b"mine"),))
        with built(topology) as lab, lab.inside(SERVER), socket.create_server(("", 443)):
            program = subprocess.Popen([*lab.exec_prefix(SERVER), "sleep", "60"])
            with lab.running(), lab.inside(CLIENT), socket.create_connection((address(lab, SERVER), 443)):
                assert stopped_within(program.pid, PATIENCE_S)
                with listening(lab, CLIENT) as client:
                    client.sendto(b"x", (address(lab, SERVER), 1194))
                    assert client.recv(100) == b"mine"
            assert state_of(program.pid) != "T"
            program.kill()
            program.wait()

    def test_what_no_kernel_can_show_is_refused(self) -> None:
        with pytest.raises(UsageError, match="namespaces cannot show clocks: all namespaces have the time of their machine"):
            namespaces.up(Topology(clocks=(Clock(SERVER, 1.0),)), PREFIX)


def send_without_df(lab: Lab, size: int) -> None:
    with listening(lab, CLIENT) as client:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        client.sendto(bytes(size), (address(lab, SERVER), 1194))


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stopped_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while state_of(pid) != "T":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
