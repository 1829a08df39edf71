"""From a result to the settings of a server: what is recommended, what the user wants otherwise, and what is refused."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from vpnprobe.deployment.choosing import POOLS, Wishes, settings_of
from vpnprobe.deployment.settings import Settings, Wrap, decode_settings
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import (
    Cause,
    Direction,
    Feasibility,
    Mode,
    Observation,
    Outcome,
    Reason,
    Recommendation,
    Result,
    Run,
    Transport,
    Verdict,
)
from vpnprobe.provisioning.certificates import KeyAlgorithm

UDP, TCP = Transport.UDP, Transport.TCP
RUN = Run("a", Mode.PAIRED, "2026-11-29T00:00:00Z", 1.0, "0", client={"address": "192.0.2.7"}, server={"address": "198.51.100.3"})
FEASIBLE, UNKNOWN, INFEASIBLE = Feasibility.FEASIBLE, Feasibility.UNKNOWN, Feasibility.INFEASIBLE


def verdict(protocol: str, feasibility: Feasibility, port: int | None = 1194) -> Verdict:
    return Verdict(protocol, feasibility, (Reason("r", f"{protocol} is {feasibility}."),), port)


def data(transport: Transport, port: int, outcome: Outcome, *, cause: Cause | None = None, wrap: str | None = None) -> Observation:
    return Observation(
        f"{transport}-{port}-{wrap}",
        "openvpn",
        "data",
        Direction.C2S,
        transport,
        outcome,
        port=port,
        cause=cause,
        detail={"wrap": wrap} if wrap else {},
    )


def result(*verdicts: Verdict, rows: tuple[Observation, ...] = (), protocol: str = "", **settings: object) -> Result:
    advice = Recommendation(protocol, (protocol,), ("it works",), 1194, settings) if protocol else None
    return Result(RUN, rows, verdicts or (verdict("openvpn-udp", FEASIBLE),), advice)


def chosen(of: Result, *used: str, **wishes: object) -> Settings:
    return settings_of(of, Wishes(**wishes), used=tuple(map(ip_network, used)), user="nobody", group="nogroup")  # type: ignore[arg-type]


def refused(of: Result, *used: str, **wishes: object) -> str:
    with pytest.raises(UsageError) as caught:
        chosen(of, *used, **wishes)
    assert caught.value.status is ExitStatus.REFUSED
    return str(caught.value)


@pytest.mark.parametrize("host", ["", "a b", "x\nup y", "-x", "a;b", "vpn..example", "x" * 254, "10.0.0.1/24", "\u0645.example"])
def test_what_is_no_host_gets_into_no_profile(host: str) -> None:
    told = replace(result(), run=replace(RUN, server={"address": host or "a b"}))
    for of, wishes in ((result(), {"host": host}), (told, {})):
        with pytest.raises(UsageError, match="is no name or address of a server") as caught:
            chosen(of, **wishes)
        assert caught.value.status is ExitStatus.USAGE


def test_hosts_by_name_and_by_address() -> None:
    for host in ("vpn.example.org", "2001:db8::1", "192.0.2.1", "server-1", "x."):
        assert chosen(result(), host=host).host == host


def test_a_tunnel_with_ipv6_has_another_device_than_one_without() -> None:
    listeners = ((UDP, 65535, None), (TCP, 443, None))
    found = chosen(result(), listeners=listeners, pools6=(ip_network("2001:db8::/64"),)).listeners
    assert [one.device for one in found] == ["vpn6-udp-65535", "vpn-tcp-443"]


def test_a_port_and_a_pool_for_each_listener() -> None:
    for wishes in ({"listeners": ((UDP, 1194, None), (UDP, 1194, Wrap.NONE))}, {"pools": (POOLS[0], POOLS[1])}):
        with pytest.raises(UsageError, match=r"is given twice|is one too many") as caught:
            chosen(result(), **wishes)
        assert caught.value.status is ExitStatus.USAGE


@pytest.mark.parametrize(
    ("pools", "said"),
    [(("fd00::/64", "fd00::/64"), "overlaps --pool"), (("fd00::/64", "2001:db8::/64"), "are translated, global ones are not")],
)
def test_ipv6_pools_that_do_not_go_together(pools: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen(result(), listeners=((UDP, 1194, None), (TCP, 443, None)), pools6=tuple(map(ip_network, pools)))


class TestListener:
    def test_what_is_recommended(self) -> None:
        found = chosen(result(protocol="openvpn-udp", port=1194, wrap="tls-crypt", mssfix=1300, keepalive=[5, 30]))
        (listener,) = found.listeners
        assert (listener.transport, listener.port, listener.wrap, listener.device) == (UDP, 1194, Wrap.TLS_CRYPT, "vpn-udp-1194")
        assert listener.name == "vpnprobe-udp-1194"
        assert (found.host, found.mssfix, found.keepalive) == ("198.51.100.3", 1300, (5, 30))
        assert (found.full_tunnel, found.key_algorithm) == (True, KeyAlgorithm.EC_P256)

    @pytest.mark.parametrize(
        "told", [{"mssfix": "large", "keepalive": [1]}, {"mssfix": True, "keepalive": "often"}, {"mssfix": -1, "keepalive": [0, 9]}]
    )
    def test_numbers_that_are_none_are_openvpns_own(self, told: dict[str, object]) -> None:
        found = chosen(result(protocol="openvpn-udp", **told))
        assert (found.mssfix, found.keepalive) == (None, (10, 60))

    def test_one_that_works_where_another_protocol_is_recommended(self) -> None:
        found = chosen(result(verdict("openvpn-udp", INFEASIBLE), verdict("openvpn-tcp", FEASIBLE, 443), protocol="pptp"))
        assert [(one.transport, one.port, one.wrap) for one in found.listeners] == [(TCP, 443, Wrap.TLS_CRYPT_V2)]

    def test_one_that_only_the_server_stands_in_the_way_of(self) -> None:
        found = chosen(result(verdict("openvpn-udp", UNKNOWN, None), verdict("openvpn-tcp", INFEASIBLE)))
        assert [(one.transport, one.port) for one in found.listeners] == [(UDP, 1194)]

    def test_several_with_their_own_wraps(self) -> None:
        wanted = ((UDP, 1194, None), (TCP, 443, Wrap.TLS_CRYPT))
        found = chosen(result(protocol="openvpn-udp", wrap="none"), listeners=wanted)
        assert [(one.transport, one.port, one.wrap) for one in found.listeners] == [(UDP, 1194, Wrap.NONE), (TCP, 443, Wrap.TLS_CRYPT)]
        assert found.listeners[0].pool != found.listeners[1].pool

    def test_the_path_forbids_all(self) -> None:
        said = refused(result(verdict("openvpn-udp", INFEASIBLE), verdict("openvpn-tcp", INFEASIBLE)))
        assert "the path lets no OpenVPN through" in said
        assert "openvpn-udp is infeasible." in said

    def test_nothing_was_asked_of_it(self) -> None:
        assert "says nothing of OpenVPN" in refused(result(verdict("pptp", FEASIBLE)))

    def test_one_that_is_wanted_and_does_not_pass(self) -> None:
        rows = (data(TCP, 443, Outcome.BLOCKED, cause=Cause.PAYLOAD),)
        assert "OpenVPN on tcp/443 does not pass the path" in refused(result(rows=rows), listeners=((TCP, 443, None),))
        passing = (*rows, data(TCP, 443, Outcome.PASS, wrap="tls-crypt"))
        assert chosen(result(rows=passing), listeners=((TCP, 443, Wrap.TLS_CRYPT),)).listeners[0].port == 443

    def test_the_servers_own_firewall_is_no_path(self) -> None:
        rows = (data(UDP, 1194, Outcome.BLOCKED, cause=Cause.HOST_FIREWALL),)
        assert chosen(result(rows=rows), listeners=((UDP, 1194, None),)).listeners[0].port == 1194


class TestPools:
    def test_the_first_that_nothing_uses(self) -> None:
        assert chosen(result()).listeners[0].pool == POOLS[0]
        assert chosen(result(), "10.8.0.0/16").listeners[0].pool == POOLS[2]

    def test_the_clients_network_is_used(self) -> None:
        of = replace(result(), run=replace(RUN, client={"address": "10.8.0.77"}))
        assert chosen(of).listeners[0].pool == POOLS[1]

    def test_one_that_is_wanted(self) -> None:
        assert chosen(result(), pools=(IPv4Network("10.200.0.0/24"),)).listeners[0].pool == IPv4Network("10.200.0.0/24")
        said = refused(result(), "10.200.0.0/20", pools=(IPv4Network("10.200.1.0/24"),))
        assert "the pool 10.200.1.0/24 overlaps 10.200.0.0/20" in said

    def test_two_that_are_wanted_overlap(self) -> None:
        listeners = ((UDP, 1194, None), (TCP, 443, None))
        assert "overlaps" in refused(result(), listeners=listeners, pools=(IPv4Network("10.1.0.0/16"), IPv4Network("10.1.2.0/24")))

    def test_none_is_left(self) -> None:
        assert "all usual pools overlap" in refused(result(), "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


class TestOtherWishes:
    def test_split_tunnel_and_resolvers(self) -> None:
        found = chosen(result(), routes=(ip_network("192.168.7.0/24"),), dns=(ip_address("10.8.0.1"),), host="vpn.example.net")
        assert (found.full_tunnel, found.host) == (False, "vpn.example.net")
        assert chosen(result(), routes=(ip_network("192.168.7.0/24"),), full_tunnel=True).full_tunnel

    def test_a_server_without_address(self) -> None:
        assert "--host NAME" in refused(replace(result(), run=replace(RUN, server=None)))

    def test_a_client_without_address(self) -> None:
        assert chosen(replace(result(), run=replace(RUN, client=None))).listeners[0].pool == POOLS[0]

    def test_they_survive_json(self) -> None:
        found = chosen(result(), pools6=(ip_network("2001:db8::/64"),), routes=(ip_network("10.3.0.0/16"),), dns=(ip_address("10.8.0.1"),))
        assert decode_settings(found.as_json()) == found

    @pytest.mark.parametrize("plain", [None, [], {}, {"host": 3}, {"listeners": [{}]}, {"listeners": [], "host": "a", "colour": 1}])
    def test_what_is_none(self, plain: object) -> None:
        with pytest.raises(UsageError) as caught:
            decode_settings(plain)
        assert caught.value.status is ExitStatus.UNREADABLE
