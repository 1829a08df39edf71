"""Words of `provision plan`'s options."""

from ipaddress import ip_address, ip_network

import pytest

from vpnprobe.cli.provision_options import listener_of, pools_of, resolvers_of, routes_of, seconds_of
from vpnprobe.deployment.settings import Wrap
from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Transport


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("udp:1194", (Transport.UDP, 1194, None)),
        ("tcp:443:tls-crypt", (Transport.TCP, 443, Wrap.TLS_CRYPT)),
        ("tcp:65535:none", (Transport.TCP, 65535, Wrap.NONE)),
    ],
)
def test_listeners(text: str, meant: tuple[Transport, int, Wrap | None]) -> None:
    assert listener_of(text) == meant


@pytest.mark.parametrize("text", ["", "udp", "udp:", "sctp:1", "udp:0", "udp:65536", "udp:a", "1194", "udp:1194:rot13", "udp:\u0661"])
def test_what_is_no_listener(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        listener_of(text)


def test_pools_by_family() -> None:
    assert pools_of(["10.8.0.0/24", "2001:db8::/64"]) == ((ip_network("10.8.0.0/24"),), (ip_network("2001:db8::/64"),))
    assert pools_of([]) == ((), ())


@pytest.mark.parametrize("text", ["10.8.0.1/24", "here", "10.8.0.0/30", "2001:db8::/120", "127.1.0.0/24", "224.0.0.0/24", "fe80::/64"])
def test_what_is_no_pool(text: str) -> None:
    with pytest.raises(UsageError, match="--pool"):
        pools_of([text])


def test_resolvers_and_routes() -> None:
    assert resolvers_of(["9.9.9.9", "2620:fe::fe"]) == (ip_address("9.9.9.9"), ip_address("2620:fe::fe"))
    assert routes_of(["192.168.7.0/24"]) == (ip_network("192.168.7.0/24"),)
    with pytest.raises(UsageError, match="--dns 'there' is not an address"):
        resolvers_of(["there"])
    with pytest.raises(UsageError, match="--route"):
        routes_of(["192.168.7.1/24"])


@pytest.mark.parametrize(
    ("text", "meant"), [("120", 120.0), ("120s", 120.0), ("2m", 120.0), ("1.5s", 1.5), ("1500ms", 1.5), ("1h", 3600.0)]
)
def test_times(text: str, meant: float) -> None:
    assert seconds_of(text) == meant


@pytest.mark.parametrize("text", ["", "s", "m", "0", "-1", "25h", "500ms", "nan", "inf", "999999", "soon"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        seconds_of(text)
