"""Which questions routes and rules lead to. The kernel's answers are tried with real tunnels."""

from ipaddress import ip_address, ip_network

import pytest
from verification_support import LINKS, OWN

from vpnprobe.deployment.verification.way_out import OUTSIDE, _of_route, _of_rule, _one_of
from vpnprobe.transports.system.routing import Flow

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
