"""What has changed is told apart: the tunnel's own doing, and that of others. Reading and putting back run with real tunnels."""

import json
from dataclasses import replace

from vpnprobe.deployment.verification.network_state import NetworkState, Resolver, described

BEFORE = NetworkState(frozenset(), frozenset(), frozenset(), Resolver("", b"nameserver 192.0.2.53\n", 0o644))
LOG = ["net_route_v4_add: 198.51.100.7/32 via 192.168.1.1 dev [NULL] table 0 metric -1", "net_route_v4_del: 0.0.0.0/0 via 192.168.1.1"]
SERVER = json.dumps({"dst": "198.51.100.7", "gateway": "192.168.1.1", "dev": "eth0", "family": 4})
DEFAULT = json.dumps({"dst": "default", "gateway": "192.168.1.1", "dev": "eth0", "family": 4})
TUNNELS = json.dumps({"dst": "10.9.0.0/16", "dev": "tun0", "family": 4})
OTHER = json.dumps({"dst": "10.77.0.0/16", "gateway": "192.168.1.9", "dev": "eth0", "family": 4, "metric": 100})


def test_nothing_changed() -> None:
    assert BEFORE.differences(BEFORE, LOG, "tun0", all_its_own=False) == ([], [])


def test_what_the_log_or_the_device_names_is_the_tunnels() -> None:
    now = replace(BEFORE, routes=frozenset((SERVER, TUNNELS, OTHER)))
    own, others = now.differences(replace(BEFORE, routes=frozenset((DEFAULT,))), LOG, "tun0", all_its_own=False)
    assert sorted(own) == [
        "route 10.9.0.0/16 dev tun0 is new",
        "route 198.51.100.7 via 192.168.1.1 dev eth0 is new",
        "route default via 192.168.1.1 dev eth0 is gone",
    ]
    assert others == ["route 10.77.0.0/16 via 192.168.1.9 dev eth0 metric 100 is new"]


def test_with_scripts_all_is_the_tunnels() -> None:
    now = replace(BEFORE, routes=frozenset((OTHER,)), resolver=Resolver("", b"", 0o644))
    own, others = now.differences(BEFORE, [], "tun0", all_its_own=True)
    assert (len(own), others) == (2, [])
    assert now.differences(BEFORE, [], "tun0", all_its_own=False)[0] == []


def test_rules_and_addresses_have_words() -> None:
    assert (
        described(json.dumps({"priority": 100, "src": "all", "fwmark": "0x7", "table": "100", "family": 4}))
        == "100 src all fwmark 0x7 table 100"
    )
    assert described(json.dumps({"dev": "eth0", "local": "192.0.2.9", "prefixlen": 24})) == "192.0.2.9/24 dev eth0"
