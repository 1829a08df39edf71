"""The `[topology]` table: what it means, and what is refused."""

import pytest

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.lab.tables import parse
from vpnprobe.lab.topologies import read_topology
from vpnprobe.transports.topology import (
    Action,
    BurstLoss,
    Clock,
    Filter,
    Filtering,
    Hook,
    Link,
    Mapping,
    Nat,
    Per,
    Recutting,
    Service,
    Stall,
    StatefulFirewall,
    TakenPort,
    Timeouts,
    Topology,
    WayBack,
)


def topology(text: str) -> Topology:
    return read_topology(parse(text, "t.toml"))


def test_an_empty_table_is_the_default_chain() -> None:
    assert topology("") == Topology()


def test_every_field_is_read() -> None:
    text = """
        routers = 2
        icmp_errors_per_s = 0
        silent_routers = ["r2"]
        links = [{}, { delay_s = 0.02, loss = 0.1, mtu = 1400, rate_bit_s = 5e6 }, {}]
        nats = [{ at = "r1", pptp_helper = true, new_ports = true }]
        firewalls = [{ at = "r2" }]
        [[filters]]
        at = "r2"
        action = "reject-rst"
        hook = "prerouting"
        protocol = "tcp"
        direction = "s2c"
        ports = [1723]
        except_ports = [7117]
        except_protocols = ["icmp", 50]
        payload_offset = 4
        payload = "1a2b3c4d"
        payload_mask = "ffff0000"
        longer_than = 100
        probability = 0.5
    """
    assert topology(text) == Topology(
        routers=2,
        links=(Link(), Link(delay_s=0.02, loss=0.1, mtu=1400, rate_bit_s=5e6), Link()),
        filters=(
            Filter(
                at="r2",
                action=Action.REJECT_RST,
                hook=Hook.PREROUTING,
                protocol=6,
                direction="s2c",
                ports=(1723,),
                except_ports=(7117,),
                except_protocols=(1, 50),
                payload_offset=4,
                payload=bytes.fromhex("1a2b3c4d"),
                payload_mask=bytes.fromhex("ffff0000"),
                longer_than=100,
                probability=0.5,
            ),
        ),
        nats=(Nat(at="r1", pptp_helper=True, new_ports=True),),
        firewalls=(StatefulFirewall(at="r2"),),
        icmp_errors_per_s=0,
        silent_routers=("r2",),
    )


@pytest.mark.parametrize(("name", "number"), [("'gre'", 47), ("'esp'", 50), ("'tcp'", 6), ("'udp'", 17), ("'icmp'", 1), ("132", 132)])
def test_protocols_are_named_or_numbered(name: str, number: int) -> None:
    assert topology(f"filters = [{{ at = 'r1', protocol = {name} }}]").filters[0].protocol == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("router = 3", "router: unknown key; did you mean 'routers'?"),
        ("routers = '3'", "routers: is '3', must be a whole number, 1 to 20"),
        ("routers = 0", "routers: is 0, must be a whole number, 1 to 20"),
        ("links = [{}]", "links: there are 1, must be 4: one more than routers"),
        ("links = [{ delay = 1 }]", "links[0].delay: unknown key; did you mean 'delay_s'?"),
        ("links = [{ mtu = 10 }]", "links[0].mtu: is 10, must be a whole number, 68 to 65535"),
        ("links = [{ rate_bit_s = 0 }]", "links[0].rate_bit_s: is 0, must be a number, 1000 to inf"),
        ("filters = [{ protocol = 'gre' }]", "filters[0].at: there is no '' here, only client, r1, r2, r3, server"),
        ("filters = [{ at = 'r4' }]", "filters[0].at: there is no 'r4' here, only client, r1, r2, r3, server"),
        ("filters = [{ at = 'r1', protocol = 'gree' }]", "no IP protocol is called 'gree'; did you mean 'gre'?"),
        ("filters = [{ at = 'r1', protocol = 256 }]", "must be an IP protocol's name or number, 0 to 255"),
        ("filters = [{ at = 'r1', except_protocols = ['x'] }]", "filters[0].except_protocols[0]: no IP protocol is called 'x'"),
        ("filters = [{ at = 'r1', direction = 'both' }]", "filters[0].direction: is 'both', must be one of c2s, s2c"),
        ("filters = [{ at = 'r1', ports = [0] }]", "filters[0].ports[0]: is 0, must be a whole number, 1 to 65535"),
        ("filters = [{ at = 'r1', probability = 2 }]", "filters[0].probability: is 2, must be a number, 0 to 1"),
        ("filters = [{ at = 'server' }]", "filters[0].hook: is 'forward', on server it must be input, output or prerouting"),
        ("filters = [{ at = 'r1', hook = 'input' }]", "filters[0].hook: is 'input', on r1 it must be forward or prerouting"),
        ("filters = [{ at = 'r1', action = 'reject-rst' }]", "filters[0].action: reject-rst needs protocol = 'tcp'"),
        ("filters = [{ at = 'r1', protocol = 'gre', ports = [1] }]", "filters[0].protocol: with ports or payload it must be tcp or udp"),
        ("filters = [{ at = 'r1', payload = '38' }]", "filters[0].payload: payload and payload_offset belong together"),
        (
            "filters = [{ at = 'r1', payload_offset = 0, payload = '38', payload_mask = 'ffff' }]",
            "filters[0].payload_mask: is 2 bytes long, payload is 1",
        ),
        ("nats = [{ at = 'server' }]", "nats[0].at: there is no 'server' here, only r1, r2, r3"),
        ("firewalls = [{ at = 'r9' }]", "firewalls[0].at: there is no 'r9' here, only client, r1, r2, r3, server"),
        ("silent_routers = ['client']", "silent_routers: there is no 'client' here, only r1, r2, r3"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        topology(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.toml: ")
    assert "\n" not in str(caught.value)
    assert caught.value.status is ExitStatus.UNREADABLE


def test_a_filter_may_spare_the_first_packets_of_each_flow() -> None:
    text = "filters = [{ at = 'r1', protocol = 'udp', after_packets = 80 }, { at = 'r1', after_packets = 0 }, { at = 'r1' }]"
    assert [planted.after_packets for planted in topology(text).filters] == [80, 0, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filters = [{ at = 'r1', after_packets = -1 }]", "filters[0].after_packets: is -1, must be a whole number, 0 to 1000000"),
        ("filters = [{ at = 'r1', from_s = 2, to_s = 2 }]", "filters[0].to_s: is 2, must be more than from_s, which is 2"),
        ("filters = [{ at = 'r1', burst_packets = 2 }]", "filters[0].burst_packets: needs packets_per_s: it is a policer's"),
        ("filters = [{ at = 'r1', packets_per_s = 0 }]", "filters[0].packets_per_s: is 0, must be a number, 0.001 to 1e+09"),
        ("filters = [{ at = 'r1', after_packets = 1.5 }]", "filters[0].after_packets: is 1.5, must be a whole number, 0 to 1000000"),
        ("filters = [{ at = 'r1', after_packet = 8 }]", "filters[0].after_packet: unknown key; did you mean 'after_packets'?"),
        (
            "filters = [{ at = 'r1', hook = 'prerouting', after_packets = 8 }]",
            "filters[0].hook: is 'prerouting', with after_packets it must be another: packets are counted behind it",
        ),
    ],
)
def test_a_mistake_about_the_first_packets(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        topology(text)
    assert message in str(caught.value)


def test_every_field_of_what_links_do_is_read() -> None:
    text = """
        routers = 1
        [[links]]
        delay_s = 0.02
        jitter_s = 0.005
        loss = 0.01
        burst_loss = { to_bad = 0.5, to_good = 4, loss_bad = 0.9, loss_good = 0.1, per = "second" }
        reorder = 0.1
        reorder_s = 0.03
        duplicate = 0.05
        mtu = 1400
        rate_bit_s = 1e6
        queue_s = 0.5
        s2c = { rate_bit_s = 16e6, loss = 0 }
        [[links]]
        burst_loss = { to_bad = 0.01, to_good = 0.25 }
    """
    burst = BurstLoss(to_bad=0.5, to_good=4, loss_bad=0.9, loss_good=0.1, per=Per.SECOND)
    shared = {
        "delay_s": 0.02,
        "jitter_s": 0.005,
        "burst_loss": burst,
        "reorder": 0.1,
        "reorder_s": 0.03,
        "duplicate": 0.05,
        "mtu": 1400,
        "queue_s": 0.5,
    }
    back = Link(**shared, loss=0, rate_bit_s=16e6)  # type: ignore[arg-type]
    there = Link(**shared, loss=0.01, rate_bit_s=1e6, s2c=back)  # type: ignore[arg-type]
    found = topology(text)
    assert found.links == (there, Link(burst_loss=BurstLoss(to_bad=0.01, to_good=0.25)))
    assert (found.link(0).towards("c2s"), found.link(0).towards("s2c"), found.link(1).towards("s2c")) == (there, back, found.links[1])


def test_every_field_of_nats_and_firewalls_is_read() -> None:
    text = """
        [[nats]]
        at = "r3"
        inside = "server"
        forwards = [{ protocol = "tcp", ports = [7117, 443] }, { protocol = "gre" }, {}]
        new_ports = true
        mapping = "endpoint-independent"
        filtering = "address-dependent"
        timeouts = { tcp_s = 300, udp_s = 10, gre_s = 30, other_s = 40 }
        [[firewalls]]
        at = "r2"
        protects = "server"
        allows = [{ protocol = "udp" }]
        timeouts = { udp_s = 5 }
        [[firewalls]]
        at = "server"
    """
    found = topology(text)
    assert found.nats == (
        Nat(
            at="r3",
            inside="server",
            forwards=(Service(6, (7117, 443)), Service(47), Service()),
            new_ports=True,
            mapping=Mapping.ENDPOINT,
            filtering=Filtering.ADDRESS,
            timeouts=Timeouts(tcp_s=300, udp_s=10, gre_s=30, other_s=40),
        ),
    )
    assert found.firewalls == (
        StatefulFirewall(at="r2", protects="server", allows=(Service(17),), timeouts=Timeouts(udp_s=5)),
        StatefulFirewall(at="server", protects="server"),
    )


def test_every_field_of_ends_and_ways_is_read() -> None:
    text = """
        way_back = { leaves = "r3", joins = "r1", routers = 2 }
        black_holes = ["r2"]
        silent_routers = ["b1"]
        filters = [{ at = "b2", fragments = true, flow_share = 0.5, action = "reject-host" }, { at = "client", hook = "prerouting" }]
        recuttings = [{ at = "r2", most_bytes = 200, merge_s = 0.005 }]
        stalls = [{ at = "server", from_s = 1, to_s = 2.9 }, { at = "client", from_s = 0, to_s = 0.1, every_s = 0.5 }]
        clocks = [{ at = "server", offset_s = -3600, drift = 1e-4, jump_s = 5, jump_at_s = 2 }]
        taken_ports = [{ at = "server", protocol = "udp", port = 1194, answer = "6e6f" }]
    """
    assert topology(text) == Topology(
        way_back=WayBack(leaves="r3", joins="r1", routers=2),
        black_holes=("r2",),
        silent_routers=("b1",),
        filters=(Filter(at="b2", action=Action.REJECT_HOST, fragments=True, flow_share=0.5), Filter(at="client", hook=Hook.PREROUTING)),
        recuttings=(Recutting(at="r2", most_bytes=200, merge_s=0.005),),
        stalls=(Stall(at="server", from_s=1, to_s=2.9), Stall(at="client", from_s=0, to_s=0.1, every_s=0.5)),
        clocks=(Clock(at="server", offset_s=-3600, drift=1e-4, jump_s=5, jump_at_s=2),),
        taken_ports=(TakenPort(at="server", protocol=17, port=1194, answer=b"no"),),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("links = [{}, {}, {}, { s2c = { s2c = {} } }]", "links[3].s2c.s2c: unknown key"),
        ("links = [{ burst_loss = { to_bad = 2 } }]", "links[0].burst_loss.to_good: is missing"),
        ("links = [{ burst_loss = { to_bad = 2, to_good = 1 } }]", "links[0].burst_loss.to_bad: is 2, must be a number, 0 to 1"),
        ("links = [{ reorder_s = 1 }]", "links[0].reorder_s: needs reorder"),
        ("links = [{ queue_s = 1 }]", "links[0].queue_s: needs rate_bit_s"),
        ("nats = [{ at = 'r1' }, { at = 'r1', inside = 'server' }]", "nats: two are on one router"),
        ("nats = [{ at = 'r1', inside = 'server', pptp_helper = true }]", "nats[0].pptp_helper: is for a NAT that the client sits behind"),
        ("nats = [{ at = 'r1', inside = 'r2' }]", "nats[0].inside: is 'r2', must be one of client, server"),
        ("nats = [{ at = 'r1', forwards = [{ ports = [1] }] }]", "nats[0].forwards[0].protocol: with ports it must be tcp or udp"),
        ("nats = [{ at = 'r1', timeouts = { udp_s = 0 } }]", "nats[0].timeouts.udp_s: is 0, must be a number, 1 to"),
        ("firewalls = [{ at = 'client', protects = 'server' }]", "firewalls[0].protects: is 'server', on client it must be 'client'"),
        ("way_back = { leaves = 'r1', joins = 'r2' }", "way_back.joins: is 'r2', must be nearer to the client than leaves, which is 'r1'"),
        ("way_back = { leaves = 'r4', joins = 'r2' }", "way_back.leaves: there is no 'r4' here, only r1, r2, r3"),
        ("black_holes = ['b1']", "black_holes: there is no 'b1' here, only r1, r2, r3"),
        ("recuttings = [{ at = 'client' }]", "recuttings[0].at: there is no 'client' here, only r1, r2, r3"),
        ("stalls = [{ at = 'r1' }]", "stalls[0].at: there is no 'r1' here, only client, server"),
        ("stalls = [{ at = 'client', from_s = 2, to_s = 1 }]", "stalls[0].to_s: is 1, must be more than from_s, which is 2"),
        (
            "stalls = [{ at = 'client', from_s = 1, to_s = 2, every_s = 1 }]",
            "stalls[0].every_s: is 1, must be more than it lasts, which is 1",
        ),
        ("taken_ports = [{ at = 'client', port = 1 }]", "taken_ports[0].protocol: must be tcp or udp"),
        ("taken_ports = [{ at = 'client', protocol = 'udp' }]", "taken_ports[0].port: is missing"),
    ],
)
def test_a_mistake_about_what_real_networks_do(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        topology(text)
    assert message in str(caught.value)


def test_ends_behind_nats_are_reached_at_the_outermost() -> None:
    double = "routers = 4\nnats = [{ at = 'r4', inside = 'server' }, { at = 'r1' }, { at = 'r3', inside = 'server' }, { at = 'r2' }]"
    found = topology(double)
    assert [str(address) for address in found.outside_addresses("client")] == ["10.78.1.1", "10.78.2.1"]
    assert [str(address) for address in found.outside_addresses("server")] == ["10.78.3.2", "10.78.2.2"]
    assert (str(found.public_address("client")), str(found.public_address("server"))) == ("10.78.2.1", "10.78.2.2")
    assert (Topology().public_address("client"), Topology().public_address("server")) == (
        Topology().client_address,
        Topology().server_address,
    )


def test_routers_of_the_way_back_stand_beside_the_chain() -> None:
    found = topology("way_back = { leaves = 'r3', joins = 'r1', routers = 2 }")
    assert found.hosts() == ("client", "r1", "r2", "r3", "server", "b1", "b2")
    assert [str(nearer) for nearer, _ in found.back_addresses()] == ["10.79.0.1", "10.79.1.1", "10.79.2.1"]
    assert Topology().back_addresses() == ()
