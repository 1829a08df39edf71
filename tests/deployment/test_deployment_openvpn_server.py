"""A server's configuration as text: what stands in it, for whom, and what is refused."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from typing import Any

import pytest
from deployment_site_support import listener, settings
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.openvpn_server import Places, check_version, places, server_configuration, wrap_path
from vpnprobe.deployment.settings import Listener, Settings, Wrap
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport

UDP, TCP = Transport.UDP, Transport.TCP
VERSION = "2.6.14"


def text(one: Listener | None = None, chosen: Settings | None = None, **more: Any) -> str:
    one = listener() if one is None else one
    return server_configuration(settings(one) if chosen is None else chosen, one, version=VERSION, **more)


def options(text: str) -> list[str]:
    return [line for line in text.rstrip("\n").split("\n") if not line.startswith("#")]


def test_each_line_has_its_reason() -> None:
    lines = text().splitlines()
    assert all(before.startswith("# ") for before, line in pairwise(lines) if not line.startswith("#"))
    assert all(len(line.encode()) <= 254 for line in lines)


def test_the_usual_one() -> None:
    assert options(text()) == [
        "proto udp6",
        "port 1194",
        "multihome",
        "explicit-exit-notify 1",
        'push "explicit-exit-notify 1"',
        "dev vpnp1194",
        "dev-type tun",
        "topology subnet",
        "server 10.99.194.0 255.255.255.0",
        "block-ipv6",
        "ca vpnprobe/ca.crt",
        "cert vpnprobe/server.crt",
        "key vpnprobe/server.key",
        "dh none",
        "crl-verify vpnprobe/crl.pem",
        "verify-client-cert require",
        "remote-cert-tls client",
        "tls-version-min 1.2",
        "data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
        "tls-crypt-v2 vpnprobe/tls-crypt-v2.key",
        'push "redirect-gateway def1 ipv6"',
        'push "ifconfig-ipv6 fd15:53b6:dead::2/64 fd15:53b6:dead::1"',
        "push block-ipv6",
        "keepalive 10 60",
        "user nobody",
        "group nogroup",
        "persist-key",
        "persist-tun",
        "management /run/openvpn-server/vpnprobe-udp-1194.sock unix",
        "management-client-user root",
        "ifconfig-pool-persist /var/lib/vpnprobe/vpnprobe-udp-1194.pool",
        "verb 3",
    ]


def test_over_tcp_nothing_of_udp() -> None:
    found = options(text(listener(TCP, 443)))
    assert found[:3] == ["proto tcp6-server", "port 443", "tcp-nodelay"]
    assert not any("exit-notify" in line or "multihome" in line for line in found)


def test_a_kernel_without_ipv6() -> None:
    assert "proto udp4" in options(text(ipv6=False))
    assert "proto tcp4-server" in options(text(listener(TCP), ipv6=False))


@pytest.mark.parametrize(
    ("wrap", "lines"),
    [
        (Wrap.NONE, []),
        (Wrap.TLS_AUTH, ["auth SHA256", "tls-auth vpnprobe/tls-auth.key", "key-direction 0"]),
        (Wrap.TLS_CRYPT, ["tls-crypt vpnprobe/tls-crypt.key"]),
        (Wrap.TLS_CRYPT_V2, ["tls-crypt-v2 vpnprobe/tls-crypt-v2.key"]),
    ],
)
def test_wraps(wrap: Wrap, lines: list[str]) -> None:
    found = options(text(listener(wrap=wrap)))
    assert [line for line in found if re.match(r"auth|key-direction|tls-(auth|crypt)", line)] == lines
    assert wrap_path(wrap) == (None if wrap is Wrap.NONE else f"/etc/openvpn/server/vpnprobe/{wrap}.key")


def test_ipv6_inside() -> None:
    found = options(text(listener(pool6=IPv6Network("fd00:1::/64"))))
    assert "server-ipv6 fd00:1::/64" in found
    assert 'push "redirect-gateway def1 ipv6"' in found
    assert not any("block-ipv6" in line or "ifconfig-ipv6" in line for line in found)


def test_a_split_tunnel_has_its_routes_alone() -> None:
    routes = (IPv4Network("10.1.0.0/16"), IPv6Network("fd00:2::/48"))
    found = options(text(chosen=settings(full_tunnel=False, routes=routes)))
    assert [line for line in found if line.startswith("push")] == [
        'push "explicit-exit-notify 1"',
        'push "route 10.1.0.0 255.255.0.0"',
        'push "route-ipv6 fd00:2::/48"',
    ]
    assert "block-ipv6" not in found


def test_resolvers() -> None:
    found = options(text(chosen=settings(dns=(IPv4Address("10.99.194.1"), IPv6Address("fd00::53")))))
    assert 'push "dhcp-option DNS 10.99.194.1"' in found
    assert 'push "dhcp-option DNS6 fd00::53"' in found


def test_what_was_measured() -> None:
    found = options(text(chosen=settings(tun_mtu=1400, mssfix=1300, keepalive=(5, 30))))
    assert {"tun-mtu 1400", "mssfix 1300", "keepalive 5 30"} <= set(found)
    assert "# mssfix: OpenVPN's default, for paths of 1492 bytes; the measurement gave no other.\n" in text()
    assert "# tun-mtu: OpenVPN's default, 1500; the measurement gave no other.\n" in text()


def test_older_clients() -> None:
    found = options(text(listener(wrap=Wrap.TLS_CRYPT), settings(oldest_client="2.4")))
    assert "data-ciphers AES-256-GCM:AES-128-GCM" in found
    with pytest.raises(UsageError, match=r"tls-crypt-v2 came with OpenVPN 2\.5"):
        text(chosen=settings(oldest_client="2.4"))
    with pytest.raises(UsageError, match=r"clients of OpenVPN 2\.3 cannot be served"):
        text(chosen=settings(oldest_client="2.3"))


@pytest.mark.parametrize("version", ["2.5.9", "2.7_rc1", "2.7.0", "3.0", "", "2.60.1", "2"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(UsageError, match=r"install OpenVPN 2\.6") as refused:
        check_version(version)
    assert refused.value.status is ExitStatus.REFUSED


@pytest.mark.parametrize("device", ["", "a" * 16, "tun 0", "../x", "tun0\n", "0tun"])
def test_devices_that_cannot_be(device: str) -> None:
    with pytest.raises(UsageError, match="device"):
        text(listener(device=device))


def test_places_of_the_callers_choice() -> None:
    assert "management /tmp/m unix" in options(text(where=Places("/tmp/m", None)))
    daemon = options(text(where=places(listener(), systemd=False)))
    assert [line for line in daemon if line.startswith(("management ", "status", "ifconfig-pool-persist"))] == [
        "management ../../../run/vpnprobe/vpnprobe-udp-1194/management unix",
        "ifconfig-pool-persist ../../../var/lib/vpnprobe/vpnprobe-udp-1194.pool",
        "status ../../../run/vpnprobe/vpnprobe-udp-1194/status 30",
        "status-version 2",
    ]
    found = options(text(where=Places(None, None)))
    assert not any(line.startswith(("management", "status", "ifconfig-pool-persist")) for line in found)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_breaks_out(user: str, path: str) -> None:
    try:
        found = options(text(chosen=settings(user=user), where=Places(path, None)))
    except UsageError:
        return
    assert len(found) == len(options(text(where=Places("/x", None))))
