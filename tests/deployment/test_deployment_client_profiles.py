"""Profiles of clients: what stands in them for whom, and that the project's own reader understands them."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

import pytest
from deployment_site_support import NOW, listener, settings

from vpnprobe.deployment import clients, site
from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.client_profiles import ONE_WRAP, Target
from vpnprobe.deployment.settings import Settings, Wrap
from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.model import NameType, Profile
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.wire.openvpn_keys import KeyDirection

UDP, TCP = Transport.UDP, Transport.TCP
SUPPORTED = [target for target in Target if target is not Target.MIKROTIK]
MIXED = settings(
    listener(), listener(TCP, 443, Wrap.TLS_AUTH), listener(UDP, 53, Wrap.NONE), listener(TCP, 8443), dns=(IPv4Address("10.99.194.1"),)
)


def text(chosen: Settings, target: Target = Target.LINUX, passphrase: bytes | None = None) -> str:
    added = clients.add_client(site.new_site(chosen, now=NOW).site, "anna", now=NOW, passphrase=passphrase)
    return clients.profile_after(added, "anna", target)


def read(text: str) -> Profile:
    return parse_profile(text, folder=Path("/nowhere"), file="anna.ovpn")


@pytest.mark.parametrize("target", SUPPORTED)
def test_the_projects_own_reader_understands_it(target: Target) -> None:
    profile = read(text(MIXED, target))
    assert (profile.unknown, profile.unsupported_ciphers) == ((), ())
    assert profile.checks.certificate_type == "server"
    assert (profile.checks.x509_name, profile.checks.x509_name_type) == (SERVER_NAME, NameType.NAME)
    remotes = [(remote.host, remote.port, remote.transport, str(remote.wrapping.kind)) for remote in profile.remotes]
    host = "vpn.example.org"
    v2 = [(host, 1194, UDP, "tls-crypt-v2"), (host, 8443, TCP, "tls-crypt-v2")]
    if target in ONE_WRAP:
        assert remotes == v2
    else:
        assert remotes == [v2[0], (host, 443, TCP, "tls-auth"), (host, 53, UDP, "none"), v2[1]]
        assert profile.auth == "SHA256"
        assert profile.remotes[1].wrapping.direction is KeyDirection.INVERSE


@pytest.mark.parametrize("wrap", Wrap)
def test_one_wrap_needs_no_blocks(wrap: Wrap) -> None:
    found = text(settings(listener(wrap=wrap), listener(TCP, 443, wrap)))
    assert "<connection>" not in found
    profile = read(found)
    assert [str(remote.wrapping.kind) for remote in profile.remotes] == [str(wrap)] * 2


def test_what_is_left_out_is_said() -> None:
    found = text(MIXED, Target.IOS)
    assert "# Left out: TCP port 443, wrap tls-auth; this program takes one wrap for all remotes.\n" in found
    assert "Left out" not in text(MIXED, Target.MACOS)


def test_windows_asks_no_resolver_outside() -> None:
    assert "\nsetenv opt block-outside-dns\n" in text(MIXED, Target.WINDOWS)
    assert "block-outside-dns" not in text(settings(), Target.WINDOWS)
    assert "block-outside-dns" not in text(MIXED, Target.LINUX)


def test_linux_is_told_of_scripts_and_runs_none() -> None:
    found = text(MIXED)
    assert "#   up /etc/openvpn/update-systemd-resolved\n" in found
    assert not {"up", "down", "script-security"} & {line.split(" ")[0] for line in found.splitlines()}


def test_linux_may_have_its_ipv6_switched_off() -> None:
    assert '\npull-filter ignore "ifconfig-ipv6 fd15:53b6:dead::2/64"\n' in text(settings())
    carried = text(settings(listener(pool6=IPv6Network("fd00::/64"))))
    assert "\npull-filter" not in carried
    assert "# Where this host's IPv6 is switched off" in carried
    assert "pull-filter" not in text(settings(full_tunnel=False))


def test_what_was_measured() -> None:
    profile = read(text(settings(tun_mtu=1400, mssfix=1300)))
    assert (profile.data.tun_mtu, profile.data.mssfix) == (1400, 1300)


def test_a_passphrase() -> None:
    profile = read(text(settings(), passphrase=b"secret"))
    assert profile.tls.key_is_encrypted
    assert profile.auth_nocache


def test_a_wrap_without_its_key() -> None:
    made = site.new_site(settings(), now=NOW).site
    later = replace(made, settings=settings(listener(wrap=Wrap.TLS_AUTH)))
    with pytest.raises(UsageError, match="the key of tls-auth is not on this server"):
        clients.profile_after(clients.add_client(later, "anna", now=NOW), "anna", Target.LINUX)


def test_mikrotik_is_not_supported_yet() -> None:
    with pytest.raises(UsageError, match="profiles for mikrotik are not written yet"):
        text(settings(), Target.MIKROTIK)


def test_no_secret_shows() -> None:
    added = clients.add_client(site.new_site(settings(), now=NOW).site, "anna", now=NOW, passphrase=b"secret")
    assert "PRIVATE" not in repr(added)
    assert "OpenVPN" not in repr(added)
    assert "secret'" not in repr(added)
