"""What profile and server ask of a tunnel."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.verification.asked import Asked, asked_of
from vpnprobe.profiles.identity import statements_in

REPLY = "PUSH_REPLY,{},route-gateway 10.8.0.1,topology subnet,ifconfig 10.8.0.2 255.255.255.0,peer-id 0"


def asked(pushed: str = "", profile: str = "client\n") -> Asked:
    return asked_of(statements_in(profile, "client.ovpn"), REPLY.format(pushed))


@pytest.mark.parametrize(
    ("pushed", "full4", "full6"),
    [
        ("", False, False),
        ("redirect-gateway", True, False),
        ("redirect-gateway def1 bypass-dhcp", True, False),
        ("redirect-gateway def1 ipv6", True, True),
        ("redirect-gateway ipv6 !ipv4", False, True),
        ("redirect-private def1", False, False),
        ("route 0.0.0.0 0.0.0.0", True, False),
        ("route 0.0.0.0 128.0.0.0,route 128.0.0.0 128.0.0.0", True, False),
        ("route 0.0.0.0 128.0.0.0", False, False),
        ("route-ipv6 2000::/3", False, True),
        ("route-ipv6 ::/1,route-ipv6 8000::/1", False, True),
    ],
)
def test_how_much_goes_through_it(pushed: str, full4: bool, full6: bool) -> None:
    found = asked(pushed)
    assert (found.full4, found.full6, found.full) == (full4, full6, full4 or full6)


def test_networks_through_and_around() -> None:
    found = asked(
        "route 10.9.0.0 255.255.0.0,route 10.9.9.9", "client\nroute 192.0.2.0 255.255.255.0 net_gateway\nroute-ipv6 2001:db8::/32\n"
    )
    assert found.through == (ip_network("2001:db8::/32"), ip_network("10.9.0.0/16"), ip_network("10.9.9.9/32"))
    assert found.around == (ip_network("192.0.2.0/24"),)


def test_resolvers_gateways_and_flags() -> None:
    found = asked(
        "redirect-gateway def1 block-local,dhcp-option DNS 10.8.0.1,dhcp-option DNS6 fd00::1,dns server 0 address 10.8.0.3,block-ipv6"
    )
    assert found.dns == tuple(map(ip_address, ("10.8.0.1", "fd00::1", "10.8.0.3")))
    assert found.gateways == (ip_address("10.8.0.1"),)
    assert (found.blocks6, found.blocks_local, found.has_scripts) == (True, True, False)


def test_the_server_of_a_net30_tunnel_is_a_route() -> None:
    found = asked_of([], "PUSH_REPLY,route 10.8.0.1,topology net30,ifconfig 10.8.0.6 10.8.0.5")
    assert set(found.gateways) == {ip_address("10.8.0.5"), ip_address("10.8.0.1")}


@pytest.mark.parametrize(
    ("profile", "full", "resolvers"),
    [
        ("client\nroute-nopull\n", False, 0),
        ('client\npull-filter ignore "redirect-gateway"\n', False, 1),
        ('client\npull-filter accept "redirect-gateway def1"\npull-filter ignore "redirect-gateway"\n', True, 1),
        ('client\npull-filter ignore "dhcp-option DNS"\n', True, 0),
        ("client\nroute-nopull\nredirect-gateway def1\n", True, 0),
    ],
)
def test_what_is_pulled(profile: str, full: bool, resolvers: int) -> None:
    found = asked("redirect-gateway def1,dhcp-option DNS 10.8.0.1", profile)
    assert (found.full, len(found.dns)) == (full, resolvers)


def test_secrets_are_not_kept() -> None:
    found = asked("auth-token SESS_ID_secret,auth-token-user c2VjcmV0,redirect-gateway def1")
    assert "redirect-gateway def1" in found.pushed
    assert not any("secret" in option or "c2VjcmV0" in option for option in found.pushed)


def test_scripts_are_told() -> None:
    assert asked(profile="client\nscript-security 2\nup /etc/openvpn/update-resolv-conf\n").has_scripts


@pytest.mark.parametrize(
    ("profile", "size"),
    [
        ("", 1440),
        ("mssfix 1252", 1228),
        ("mssfix 1280 mtu", 1228),
        ("mssfix 0", None),
        ("tun-mtu 1400", 1400),
        ("mssfix 1300\ntun-mtu 1400", 1276),
    ],
)
def test_what_tcp_is_kept_to(profile: str, size: int | None) -> None:
    assert asked("tun-mtu 1500" if "tun-mtu" not in profile else "", f"client\n{profile}\n").segment_bytes == size


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_read(profile: str, reply: str) -> None:
    assert isinstance(asked_of(statements_in(profile, "client.ovpn"), reply), Asked)
