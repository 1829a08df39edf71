"""Which questions routes and rules lead to, and what becomes of those about an address that is gone. The rest of the kernel's answers are
tried with real tunnels."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from deployment_support import namespace
from verification_support import LINKS, OWN

from vpnprobe.deployment.verification.way_out import OUTSIDE, OUTSIDE6, Links, _of_route, _of_rule, _one_of, ways
from vpnprobe.lab.namespaces import entered
from vpnprobe.transports.system.routing import Flow, Way, way_of

SERVER = ip_address("198.51.100.7")
RULE = {"priority": 100, "src": "all", "table": "100", "family": 4}


@pytest.mark.parametrize(
    ("destination", "asked"),
    [
        ("10.20.0.0/16", "10.20.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.168.0.0/16", "192.168.0.1"),
        ("192.168.1.0/24", None),
        ("default", None),
        ("198.51.100.7", None),
    ],
)
def test_a_route_is_asked_by_an_address_of_its_own(destination: str, asked: str | None) -> None:
    found = list(_of_route({"dst": destination, "dev": "eth0", "family": 4}, LINKS, SERVER))
    assert [str(one.flow.destination) for one in found] == ([asked] if asked else [])


def test_an_address_that_no_link_has() -> None:
    assert _one_of(ip_network("192.168.1.0/23", strict=False), LINKS) == ip_address("192.168.0.1")


@pytest.mark.parametrize(
    ("selector", "flow"),
    [
        ({"dst": "10.9.0.0", "dstlen": 16}, Flow(ip_address("10.9.0.1"))),
        ({"fwmark": "0x7"}, Flow(OUTSIDE[0], mark=7)),
        ({"ipproto": "tcp", "dport": 25}, Flow(OUTSIDE[0], protocol=6, port=25)),
        ({"dport": 53}, Flow(OUTSIDE[0], protocol=17, port=53)),
        ({"uid_start": 1000, "uid_end": 1000}, Flow(OUTSIDE[0], user=1000)),
        ({"src": "192.168.1.2"}, Flow(OUTSIDE[0], source=OWN)),
        ({"src": "192.168.1.0", "srclen": 24}, Flow(OUTSIDE[0], source=OWN)),
    ],
)
def test_a_rule_is_asked_by_what_it_looks_at(selector: dict[str, object], flow: Flow) -> None:
    assert next(iter(_of_rule({**RULE, **selector}, LINKS))).flow == flow


@pytest.mark.parametrize("selector", [{"iif": "eth1"}, {"oif": "eth0"}, {"not": None}, {"src": "10.77.0.1"}, {"table": "main"}])
def test_rules_about_other_packets_are_passed_over(selector: dict[str, object]) -> None:
    assert list(_of_rule({**RULE, **selector}, LINKS)) == []


HERE = frozenset(map(ip_address, ("10.79.0.2", "fd79::2")))
GONE = frozenset(map(ip_address, ("10.79.0.9", "fd79::9")))


@pytest.mark.root
@pytest.mark.requires("namespaces")
class TestSources:
    """Rules about addresses of this machine, of which some are gone since it was read which there are."""

    @pytest.fixture(autouse=True)
    def network(self) -> Iterator[None]:
        with namespace(f"vpway{os.getpid()}") as name:
            lines = ["link add way0 type veth peer name way1", "link set way1 up", "link set way0 up", "route add default dev way0 table 7"]
            lines += ["-6 route add default dev way0 table 7"]
            lines += ["address add 10.79.0.2/24 dev way0", "address add fd79::2/64 dev way0 nodad"]
            lines += [f"-{address.version} rule add from {address} lookup 7" for address in HERE | GONE]
            for line in lines:
                subprocess.run(["ip", "-n", name, *line.split()], check=True)
            with entered(name):
                yield

    def test_what_the_kernel_says_of_one_that_is_gone(self) -> None:
        four, six = sorted(GONE, key=lambda address: address.version)
        assert way_of(Flow(OUTSIDE[0], source=four)) == Way("")
        assert way_of(Flow(OUTSIDE6[0], source=six)).device == "way0"

    def test_those_that_are_gone_are_left_out(self) -> None:
        found = ways("tun0", Links((), frozenset(), HERE | GONE), (), server=ip_address("198.51.100.7"))
        assert {answer.question.flow.source for answer in found} - {None} == HERE
        assert {answer.way.device for answer in found if answer.question.flow.source} == {"way0"}
