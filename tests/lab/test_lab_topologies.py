"""The `[topology]` table: what it means, and what is refused."""

import pytest

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.lab.tables import parse
from vpnprobe.lab.topologies import read_topology
from vpnprobe.transports.topology import Action, Filter, Hook, Link, Nat, StatefulFirewall, Topology


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
        ("filters = [{ at = 'server' }]", "filters[0].hook: is 'forward', on server it must be input or output"),
        ("filters = [{ at = 'r1', hook = 'input' }]", "filters[0].hook: is 'input', on r1 it must be forward or prerouting"),
        ("filters = [{ at = 'r1', action = 'reject-rst' }]", "filters[0].action: reject-rst needs protocol = 'tcp'"),
        ("filters = [{ at = 'r1', protocol = 'gre', ports = [1] }]", "filters[0].protocol: with ports or payload it must be tcp or udp"),
        ("filters = [{ at = 'r1', payload = '38' }]", "filters[0].payload: payload and payload_offset belong together"),
        (
            "filters = [{ at = 'r1', payload_offset = 0, payload = '38', payload_mask = 'ffff' }]",
            "filters[0].payload_mask: is 2 bytes long, payload is 1",
        ),
        ("nats = [{ at = 'server' }]", "nats[0].at: there is no 'server' here, only r1, r2, r3"),
        ("firewalls = [{ at = 'r9' }]", "firewalls[0].at: there is no 'r9' here, only r1, r2, r3"),
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
