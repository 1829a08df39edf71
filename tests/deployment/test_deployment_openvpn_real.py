"""The real openvpn serves what was generated, and the real client connects with each profile."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

import pytest
from deployment_easy_rsa_support import FOLDER, SERVED, with_clients
from deployment_openvpn_support import Office, gateway, office, wait_until
from deployment_site_support import listener, settings, write

from vpnprobe.deployment import clients
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.management import Management, cut_off
from vpnprobe.deployment.pki_adoption import adopt
from vpnprobe.deployment.settings import Listener, Wrap
from vpnprobe.deployment.site import complete
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.certificates import KeyAlgorithm
from vpnprobe.transports.topology import SERVER

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]
UDP, TCP = Transport.UDP, Transport.TCP
EVERY = [listener(transport, first + number, wrap) for transport, first in ((UDP, 2000), (TCP, 2010)) for number, wrap in enumerate(Wrap)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(load("clean").topology, f"vppki-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module")
def every(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A server with all wraps over both transports."""
    dns = (IPv4Address(gateway(EVERY[0])),)
    with office(lab, tmp_path_factory.mktemp("every"), EVERY, dns=dns, tun_mtu=1400, mssfix=1300) as made:
        made.add("anna")
        yield made


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.transport}-{one.wrap}")
def test_each_wrap_over_each_transport(every: Office, one: Listener) -> None:
    assert every.connects(every.profile("anna", Target.LINUX, one))


@pytest.mark.parametrize("target", [target for target in Target if target is not Target.MIKROTIK])
def test_each_targets_profile(every: Office, target: Target) -> None:
    assert every.connects(every.profile("anna", target))


@pytest.mark.parametrize("name", ["bø-手机", "a" * 64, "é" * 32, "anna@example.org", "1234"])
def test_names_of_any_script(every: Office, name: str) -> None:
    with every.connected(every.add(name)), Management(Path(every.places(EVERY[0]).management or "")) as management:
        assert management.kill(name) == 1
        assert management.kill("nobody") == 0


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_AUTH, Wrap.NONE, Wrap.TLS_CRYPT_V2])
def test_the_next_listener_is_taken_where_the_first_is_silent(lab: Lab, tmp_path: Path, wrap: Wrap) -> None:
    """Each with its own wrap, in a block of its own where they differ."""
    first = Wrap.TLS_CRYPT_V2 if wrap is not Wrap.TLS_CRYPT_V2 else Wrap.TLS_AUTH
    with office(lab, tmp_path, [listener(UDP, 1194, first), listener(TCP, 443, wrap)]) as made:
        profile = made.add("anna").replace("server-poll-timeout 10", "server-poll-timeout 1")
        assert profile.count("<connection>") == 2
        made.processes["vpnprobe-udp-1194"].kill()
        assert made.connects(profile)


def test_rsa_and_a_passphrase(lab: Lab, tmp_path: Path) -> None:
    listeners = [listener(UDP, 1194), listener(TCP, 443)]
    with office(lab, tmp_path, listeners, key_algorithm=KeyAlgorithm.RSA_3072) as made:
        (tmp_path / "passphrase").write_text("open sesame\n")
        made.add("anna", passphrase=b"open sesame")
        for one in listeners:
            assert made.connects(made.profile("anna", Target.LINUX, one), "--askpass", str(tmp_path / "passphrase"))


def test_older_clients(lab: Lab, tmp_path: Path) -> None:
    with office(lab, tmp_path, [listener(wrap=Wrap.TLS_CRYPT)], oldest_client="2.4") as made:
        profile = made.add("anna")
        with made.connected(profile, "--data-ciphers", "AES-256-GCM:AES-128-GCM", "--tls-version-max", "1.2") as client:
            assert "Cipher AES-256-GCM" in client.log or "cipher 'AES-256-GCM'" in client.log


def test_ipv6_inside(lab: Lab, tmp_path: Path) -> None:
    with office(lab, tmp_path, [listener(pool6=IPv6Network("fd00:99::/64"))]) as made, made.connected(made.add("anna")):
        assert made.pings("fd00:99::1")


def test_ipv6_that_is_not_carried_goes_nowhere(lab: Lab, tmp_path: Path) -> None:
    with office(lab, tmp_path, [listener()]) as made:
        linux, others = made.add("anna"), made.profile("anna", Target.WINDOWS)
        made.run("ip", "addr", "add", "2001:db8::2/64", "dev", "to-server", "nodad")
        made.run("ip", "-6", "route", "add", "default", "via", "2001:db8::1")
        try:
            assert "dev to-server" in made.run("ip", "-6", "route", "get", "2620:fe::fe").stdout
            for profile in (linux, others):
                with made.connected(profile):
                    for there in ("2620:fe::fe", "2a00::1", "3fff::1", "fc00::1", "fd00::1"):
                        assert "dev tun" in made.run("ip", "-6", "route", "get", there).stdout, there
                    assert "No route" in made.run("ping", "-c", "1", "-W", "2", "2620:fe::fe").stdout
        finally:
            made.run("ip", "addr", "del", "2001:db8::2/64", "dev", "to-server")


def test_a_linux_client_whose_ipv6_is_switched_off(lab: Lab, tmp_path: Path) -> None:
    with office(lab, tmp_path, [listener()]) as made:
        profile = made.add("anna")
        for which in ("all", "default"):
            made.run("sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=1")
        try:
            assert made.connects(profile)
        finally:
            for which in ("all", "default"):
                made.run("sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=0")


def test_both_families_and_several_addresses(tmp_path: Path) -> None:
    """Answers come from the address that was asked, or the client passes over them."""
    direct = replace(load("clean").topology, routers=0)
    listeners = [listener(UDP, 1194), listener(TCP, 443)]
    with Lab(direct, f"vppkid-{os.getpid()}") as lab, office(lab, tmp_path, listeners) as made:
        made.add("anna")
        host, own = made.settings.host, ("10.78.0.77", "fd00:78::2", "fd00:78::3")
        made.run("ip", "addr", "add", "fd00:78::1/64", "dev", "to-server", "nodad")
        for address, length in zip(own, (24, 64, 64), strict=True):
            made.run("ip", "addr", "add", f"{address}/{length}", "dev", "to-client", "nodad", host=SERVER)
        for one in listeners:
            profile = made.profile("anna", Target.LINUX, one)
            for address in (host, *own):
                assert made.connects(profile.replace(f"remote {host} ", f"remote {address} ")), address


def revoke(made: Office, name: str) -> int:
    """How many sessions were cut."""
    outcome = made.done(clients.revoke_client(made.site, name, now=datetime.now(UTC)))
    return sum(cut_off(Path(made.places(one).management or ""), outcome.cut) for one in made.settings.listeners)


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_a_revoked_client_is_cut_and_refused_and_no_other_is(lab: Lab, tmp_path: Path, transport: Transport) -> None:
    one = listener(transport, 1194)
    with office(lab, tmp_path, [one]) as made:
        anna, bert = made.add("anna"), made.add("bert")
        runs_as = Path(f"/proc/{made.processes[one.name].pid}/status").read_text()
        assert "\nUid:\t65534\t65534\t" in runs_as
        with made.connected(anna, "--connect-retry-max", "1"):
            assert made.pings(gateway(one))
            assert revoke(made, "anna") == 1
            assert wait_until(lambda: not made.pings(gateway(one)), "the session is cut", 4) < 2
        assert made.refused(anna)
        assert "certificate revoked" in made.log(one)
        assert made.connects(bert)
        again = made.add("anna")
        assert made.connects(again)
        assert made.refused(anna)
        revoke(made, "bert")
        assert made.refused(bert)


def test_renewals(lab: Lab, tmp_path: Path) -> None:
    with office(lab, tmp_path, [listener()]) as made:
        first = made.add("anna")
        made.done(clients.renew_client(made.site, "anna", now=datetime.now(UTC)))
        second = made.profile("anna")
        assert first != second
        for renew in (clients.renew_server, clients.renew_authority):
            made.done(renew(made.site, now=datetime.now(UTC)))
            assert made.connects(first)
            assert made.connects(second)
        third = made.profile("anna")
        assert third != second
        assert made.connects(third)
        revoke(made, "anna")
        for profile in (first, second, third):
            assert made.refused(profile)


def of_another(profile: str, folder: Path, name: str, other: str) -> str:
    """The profile with another's certificate and key, as easy-rsa keeps them."""
    for kind, label in (("issued/{}.crt", "CERTIFICATE"), ("private/{}.key", "PRIVATE KEY")):
        own, others = ((folder / kind.format(one)).read_text() for one in (name, other))
        begin = f"-----BEGIN {label}-----"
        profile = profile.replace(own[own.index(begin) :], others[others.index(begin) :])
    return profile


@pytest.mark.requires("easy-rsa", "openssl")
def test_an_adopted_authority_serves_its_clients(lab: Lab, tmp_path: Path) -> None:
    """Those that easy-rsa revoked before are refused, those that are revoked here too; new ones and the others work."""
    one, now = listener(), datetime.now(UTC)
    made = Office(lab, tmp_path, settings(one, host=str(lab.topology.addresses()[-1][1])))
    with_clients(made.root)
    write(adopt(made.root, FOLDER, now=now, served=(SERVED,)).files, made.root)
    write(complete(made.site, now=now).files, made.root)
    try:
        made.start()
        carl, bert, dora = made.profile("carl"), made.profile("bert"), made.add("dora")
        assert made.refused(of_another(carl, inside(made.root, FOLDER), "carl", "anna"))
        for profile in (carl, bert, dora):
            assert made.connects(profile)
        revoke(made, "bert")
        assert made.refused(bert)
        made.done(clients.renew_authority(made.site, now=now))
        assert made.connects(made.profile("carl"))
    finally:
        made.stop()


def test_with_the_capabilities_of_the_distributions_unit(lab: Lab, tmp_path: Path) -> None:
    """CapabilityBoundingSet and LimitNPROC of openvpn-server@.service; keys, socket, pool and list work under them."""
    kept = "ipc_lock net_admin net_bind_service net_raw setgid setuid setpcap sys_chroot dac_override audit_write"
    bounded = ["prlimit", "--nproc=10", "setpriv", "--bounding-set", ",".join(["-all", *(f"+{name}" for name in kept.split())])]
    with office(lab, tmp_path, [listener()], under=bounded) as made:
        anna, bert = made.add("anna"), made.add("bert")
        assert made.connects(anna)
        revoke(made, "anna")
        assert made.refused(anna)
        assert made.connects(bert)


def test_only_root_may_use_the_management_socket(every: Office) -> None:
    """Anybody may connect where the folder lets them; OpenVPN asks the kernel who it is, and closes."""
    path = Path(every.places(EVERY[0]).management or "")
    path.parent.chmod(0o755)
    ask = f"one = socket.socket(socket.AF_UNIX); one.connect({path.name!r}); print(one.recv(5))"
    for before, said in (("pass", b"b'>INFO'\n"), ("os.setgid(65534); os.setuid(65534)", b"b''\n")):
        command = [sys.executable, "-c", f"import os, socket; {before}; {ask}"]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, timeout=10, check=True)
        assert done.stdout == said


def test_no_process_is_left(every: Office) -> None:
    """Each server is openvpn itself, and is ended by its own id."""
    listed = subprocess.run(["ip", "netns", "pids", every.lab.namespace(SERVER)], capture_output=True, text=True, check=True)
    assert {int(pid) for pid in listed.stdout.split()} == {process.pid for process in every.processes.values()}
