"""`verify` with the real OpenVPN: tunnels that work are proved, planted leaks are found, and all is as before afterwards."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_support import WITHOUT_ROOT, anybodys_folder
from verify_support import DEVICE, MASQUERADE, ROUTER, ROUTER6, SERVER_ADDRESS, VERIFY, WEB, World, world

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.namespaces import require_tools
from vpnprobe.lab.openvpn_pki import Flaw
from vpnprobe.transports.topology import CLIENT, SERVER

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]

BOUND = f"""
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, 25, b"{DEVICE}")
while True:
    sender.sendto(b"x", ("{WEB}", 4444))
    time.sleep(0.3)
"""
LOCAL = f"""
import socket, time
def opened(port=0):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, 25, b"{DEVICE}")
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.bind(("0.0.0.0", port))
    return sender
anybody, dhcp = opened(), opened(68)
while True:
    for to in (("{ROUTER}", 123), ("10.78.0.77", 22), ("10.78.0.255", 137), ("239.255.255.250", 1900), ("224.0.0.251", 5353)):
        anybody.sendto(b"x", to)
    dhcp.sendto(b"x", ("255.255.255.255", 67))
    dhcp.sendto(b"x", ("{ROUTER}", 67))
    time.sleep(0.2)
"""


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with world(tmp_path_factory.mktemp("verify")) as found:
        yield found


@pytest.fixture(autouse=True)
def as_before(here: World) -> Iterator[None]:
    """Whatever a test does: routes, rules and addresses of the client are as before, and no openvpn runs."""
    before = here.state()
    yield
    assert here.state() == before
    assert here.openvpn() == []


@pytest.mark.parametrize("name", ["full", "tcp", "password"])
def test_a_full_tunnel_is_proved(here: World, name: str) -> None:
    found = here.verify(here.profile(name), for_="3s")
    assert (found.status, found.document["verdict"]) == (0, "proved"), found.output
    assert found.document["leaks"] == []
    for proof in ("up", "data", "path", "leaks", "ipv6", "size", "throughput", "restored"):
        assert found.outcome(proof) == "shown", proof
    assert found.proof("ipv6")["numbers"]["state"] == "absent"
    assert found.proof("size")["numbers"]["largest_bytes"] == 1500
    assert found.document["watch"]["watched_s"] >= 3
    assert found.document["watch"]["through_tunnel"]["provoked"] >= 9
    assert found.document["tunnel"]["full"] is True
    assert found.took_s < 12


def test_the_resolver_that_the_server_names_is_told_not_to_be_in_use(here: World) -> None:
    proof = here.verify(here.profile("full")).proof("dns")
    assert "10.80.0.1" in proof["sentence"]
    assert "script-security 2" in proof["todo"]


def test_a_split_tunnel_is_proved(here: World) -> None:
    found = here.verify(here.profile("split"))
    assert (found.status, found.document["verdict"]) == (0, "proved"), found.output
    assert found.document["tunnel"]["full"] is False
    assert found.document["tunnel"]["routes"] == ["10.79.2.0/24"]


def test_a_route_around_a_split_tunnel_is_found(here: World) -> None:
    with here.given(f"route add {WEB}/32 via {ROUTER}"):
        found = here.verify(here.profile("split"))
    assert found.status == 3
    assert found.failed >= {"path", "leaks"}
    assert WEB in found.leaked_to


def test_a_host_beyond_answers(here: World) -> None:
    found = here.verify(here.profile("full"), "--beyond", WEB, "--beyond", f"{WEB}:80")
    assert found.status == 0
    assert [one["how"] for one in found.proof("beyond")["numbers"]["named"]] == [
        "3 of 3 echo requests answered",
        "it answers, and refuses the port",
    ]


def test_a_server_without_nat_carries_nothing_on(here: World) -> None:
    here.run(SERVER, "nft", "flush chain ip beyond out")
    try:
        found = here.verify(here.profile("full"), "--beyond", WEB)
    finally:
        here.run(SERVER, "nft", MASQUERADE)
    assert found.status == 3
    assert found.failed == {"beyond"}
    assert found.outcome("data") == "shown"
    assert "NAT" in found.proof("beyond")["todo"]


PLANTED = {
    "a more specific route": ([f"route add 10.79.2.0/24 via {ROUTER}"], {"path", "leaks"}),
    "a route on the link": ([f"route add 10.79.2.0/24 dev {DEVICE}"], {"path"}),
    "a host route": ([f"route add 198.51.100.53/32 via {ROUTER}"], {"path", "leaks"}),
    "a rule by destination": ([f"route add default via {ROUTER} table 100", "rule add to 10.79.2.0/24 table 100"], {"path", "leaks"}),
    "a rule by mark": ([f"route add default via {ROUTER} table 100", "rule add fwmark 0x7 table 100"], {"path", "leaks"}),
    "a rule by port": ([f"route add default via {ROUTER} table 100", "rule add ipproto tcp dport 25 table 100"], {"path", "leaks"}),
    "a rule by source": ([f"route add default via {ROUTER} table 100", "rule add from 10.78.0.1 table 100"], {"path", "leaks"}),
    "IPv6 left open": ([f"-6 route add default via {ROUTER6}"], {"ipv6", "leaks"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_found(here: World, name: str) -> None:
    commands, expected = PLANTED[name]
    with here.given(*commands):
        found = here.verify(here.profile("full"))
    assert (found.status, found.document["verdict"]) == (3, "failed")
    assert found.failed == expected


def test_ipv6_that_the_tunnel_refuses_is_no_leak(here: World) -> None:
    with here.given(f"-6 route add default via {ROUTER6}"):
        found = here.verify(here.profile("ipv6"))
    assert found.status == 0, found.output
    assert found.proof("ipv6")["numbers"]["state"] == "blocked"


@pytest.mark.parametrize(("resolver", "route"), [(ROUTER, ""), ("198.51.100.53", f"route add 198.51.100.53/32 via {ROUTER}")])
def test_a_resolver_outside_is_found(here: World, tmp_path: Path, resolver: str, route: str) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {resolver}\n")
    bound = ("unshare", "--mount", "sh", "-c", f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"', "sh")
    with here.given(*([route] if route else [])):
        found = here.verify(here.profile("full"), prefix=bound)
    assert found.status == 3
    assert found.failed >= {"dns", "leaks"}
    (leak,) = [leak for leak in found.document["leaks"] if leak["port"] == 53]
    assert (leak["destination"], leak["protocol"]) == (resolver, "udp")


def test_a_program_bound_to_the_device_is_named(here: World) -> None:
    with here.sending(BOUND) as pid:
        found = here.verify(here.profile("full"))
    assert found.status == 3
    assert found.failed == {"leaks"}
    (leak,) = found.document["leaks"]
    assert (leak["destination"], leak["protocol"], leak["port"], leak["provoked"]) == (WEB, "udp", 4444, False)
    assert leak["process"].endswith(f"({pid})")
    assert leak["count"] >= 3


def test_the_servers_own_address_is_no_way_out(here: World) -> None:
    code = BOUND.replace(f'"{WEB}", 4444', f'"{SERVER_ADDRESS}", 22')
    with here.sending(code):
        found = here.verify(here.profile("full"))
    assert found.leaked_to == {SERVER_ADDRESS}
    assert "another port" in found.document["leaks"][0]["why"]


def test_what_is_local_is_no_leak(here: World) -> None:
    with here.sending(LOCAL):
        found = here.verify(here.profile("full"))
    assert found.status == 0, found.output
    traffic = found.document["watch"]["traffic"]
    assert {"arp", "dhcp", "local", "multicast", "tunnel"} <= traffic.keys()
    assert "leak" not in traffic


def kill_openvpn(here: World) -> None:
    here.wait_until_up()
    time.sleep(1.0)
    for pid in here.openvpn():
        os.kill(pid, signal.SIGKILL)


def test_a_tunnel_that_dies_is_found_and_cleaned_up(here: World) -> None:
    found = here.verify(here.profile("full"), meanwhile=lambda _: kill_openvpn(here), for_="3s")
    assert found.status == 3
    assert found.failed >= {"up", "path", "leaks"}
    assert found.outcome("restored") == "shown"
    assert 0 < found.proof("up")["numbers"]["broke_after_s"] < 3
    assert "198.51.100.1" in found.leaked_to


def test_a_default_route_that_was_replaced_comes_back(here: World) -> None:
    profile = here.profile("split", redirect_gateway="")
    found = here.verify(profile, meanwhile=lambda _: kill_openvpn(here), for_="3s")
    assert found.status == 3
    assert found.outcome("restored") == "shown"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_takes_the_tunnel_down(here: World, number: signal.Signals) -> None:
    def interrupt(process: "subprocess.Popen[str]") -> None:
        here.wait_until_up()
        time.sleep(0.5)
        process.send_signal(number)

    found = here.verify(here.profile("full"), meanwhile=interrupt, for_="30s")
    assert found.status == 130
    assert found.took_s < 15
    assert found.document["complete"] is False
    assert found.document["verdict"] != "proved"


def test_a_verification_that_is_killed_leaves_no_tunnel(here: World) -> None:
    def kill(process: "subprocess.Popen[str]") -> None:
        here.wait_until_up()
        process.kill()

    assert here.verify(here.profile("full"), meanwhile=kill, for_="30s").status == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while here.openvpn() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_large_packets_that_vanish_are_found(here: World) -> None:
    chain = "add chain ip narrow forward { type filter hook forward priority 0; }"
    with here.rules("r1", "narrow", chain, "add rule ip narrow forward meta length > 1280 drop"):
        found = here.verify(here.profile("full"))
    assert found.status == 3
    assert found.failed == {"size"}
    # 1280 less IPv4 and UDP (28), opcode, peer, packet ID and tag (24).
    assert found.proof("size")["numbers"]["largest_bytes"] == 1228
    assert "mssfix 1252" in found.proof("size")["todo"]


def test_where_tcp_is_kept_small_it_is_a_limit(here: World) -> None:
    chain = "add chain ip narrow forward { type filter hook forward priority 0; }"
    with here.rules("r1", "narrow", chain, "add rule ip narrow forward meta length > 1280 drop"):
        found = here.verify(here.profile("full", mssfix="1252"))
    assert found.status == 0, found.output
    assert "no packet over 1228 bytes" in found.proof("size")["sentence"]


@pytest.mark.parametrize("verdict", ["drop", "reject"])
def test_a_server_that_answers_no_ping_shows_that_it_forwards(here: World, verdict: str) -> None:
    """TTLs that end at the server are answered whatever its firewall lets in."""
    chain = "add chain ip closed input { type filter hook input priority 0; }"
    keep = f"add rule ip closed input ip protocol icmp iifname ovpn* {verdict}"
    with here.rules(SERVER, "closed", chain, keep):
        found = here.verify(here.profile("full"))
    assert found.status == 0, found.output
    assert found.outcome("data") == "shown"
    assert {found.outcome("size"), found.outcome("throughput")} == {"unknown"}


def test_a_wrong_password_has_openvpns_own_words(here: World) -> None:
    found = here.verify(here.profile("password", auth_user_pass="lab-user\nwrong\n"))
    assert found.status == 3
    assert "AUTH_FAILED" in found.proof("up")["sentence"]
    assert found.outcome("restored") == "shown"


def test_a_certificate_that_the_server_refuses(here: World) -> None:
    authority = here.servers["full"].authority.client(Flaw.EXPIRED)
    pem = {"cert": authority.certificate_pem.decode(), "key": authority.key_pem.decode()}
    found = here.verify(here.profile("full", **pem), "--up-within", "8s")
    assert found.status == 3
    assert "it does not take this client's" in found.proof("up")["sentence"], found.proof("up")
    assert "revoked" in found.proof("up")["todo"]


def test_a_password_that_nobody_gave(here: World) -> None:
    found = here.verify(here.profile("password", auth_user_pass=""))
    assert found.status == 3
    assert "'Auth', which nobody gave" in found.proof("up")["sentence"]


def test_a_resolver_that_a_script_has_set_is_put_back(here: World, tmp_path: Path) -> None:
    """The script's other half never runs where openvpn is killed."""
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    (tmp_path / "up").write_text("#!/bin/sh\necho nameserver 10.80.0.1 > /etc/resolv.conf\n")
    (tmp_path / "up").chmod(0o755)
    profile = here.profile("full")
    profile.write_text(f"{profile.read_text()}script-security 2\nup {tmp_path}/up\n")
    bound = ("unshare", "--mount", "sh", "-c", f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"', "sh")
    found = here.verify(profile, prefix=bound, meanwhile=lambda _: kill_openvpn(here), for_="3s")
    assert found.proof("dns")["numbers"]["asked"] == ["10.80.0.1"]
    assert found.outcome("restored") == "shown"
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 192.0.2.53\n"


def test_a_server_that_is_silent_is_waited_for_in_bounds(here: World) -> None:
    chain = "add chain ip silent forward { type filter hook forward priority 0; }"
    with here.rules("r1", "silent", chain, "add rule ip silent forward udp dport 1999 drop"):
        found = here.verify(here.profile("full", remote=f"{SERVER_ADDRESS} 1999"), "--up-within", "3s")
    assert found.status == 3
    assert "not up within 3 s (nothing comes from the server)" in found.proof("up")["sentence"]
    assert found.took_s < 12


def test_an_option_that_openvpn_does_not_know(here: World) -> None:
    profile = here.profile("full")
    profile.write_text(profile.read_text() + "frobnicate 1\n")
    found = here.verify(profile)
    assert found.status == 3
    assert "frobnicate" in found.proof("up")["sentence"]


def test_a_profile_that_makes_itself_a_daemon_and_drops_root(here: World) -> None:
    profile = here.profile("full")
    profile.write_text(profile.read_text() + "daemon\nuser nobody\ngroup nogroup\npersist-tun\n")
    found = here.verify(profile)
    assert found.status == 0, found.output


def test_leaked_packets_are_written(here: World, tmp_path: Path) -> None:
    with here.sending(BOUND):
        found = here.verify(here.profile("full"), "-o", str(tmp_path / "out"))
    assert found.status == 3
    capture = (tmp_path / "out" / "leaked.pcap").read_bytes()
    assert len(capture) > 24 + 16 + 29
    assert (tmp_path / "out" / "verification.json").read_text().startswith("{")


def test_on_a_terminal_there_is_a_line_for_each_proof(here: World) -> None:
    command = [*here.lab.exec_prefix(CLIENT), *VERIFY, "--profile", str(here.profile("full")), "--for", "1s", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("✓ The tunnel works")
    assert "  ✓ Leaks: Nothing leaked" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_root_it_names_the_command(here: World) -> None:
    with anybodys_folder() as folder:
        profile = folder / "client.ovpn"
        profile.write_text(here.servers["full"].client_profile())
        profile.chmod(0o644)
        found = here.verify(profile, prefix=WITHOUT_ROOT)
    assert (found.status, found.output) == (ExitStatus.MISSING, "")
    assert f"sudo vpnprobe provision verify --profile {profile}" in found.errors.splitlines()[-1]


def test_a_tunnel_of_the_users_own_is_not_taken_unasked(here: World) -> None:
    profile = here.profile("full")
    waiting = ("--management", "127.0.0.1", "7505", "--management-hold")
    command = [*here.lab.exec_prefix(CLIENT), "/usr/sbin/openvpn", "--config", str(profile), *waiting]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as own:
        try:
            deadline = time.monotonic() + 10
            while not here.openvpn() and time.monotonic() < deadline:
                time.sleep(0.05)
            found = here.verify(profile)
        finally:
            own.terminate()
    assert (found.status, found.output) == (ExitStatus.USAGE, ""), found.errors
    assert "--take-over" in found.errors
