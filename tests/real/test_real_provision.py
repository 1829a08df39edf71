"""`vpnprobe provision` with the real OpenVPN: planned, applied, proved from a client, updated, refused, and taken back."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from provision_support import World, recommended, world
from real_support import PROGRAM

from vpnprobe.cli.doctor import check_certificates
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.namespaces import require_tools
from vpnprobe.observations.document import encode
from vpnprobe.observations.schema import Feasibility

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]

REJECTING = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    tcp dport 22 accept
    reject
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    reject
  }
}
"""
TAKES_PORT = """
import socket, time
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("0.0.0.0", 1194))
print("up", flush=True)
time.sleep(300)
"""


@pytest.fixture
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with world(tmp_path, f"vprp-{os.getpid()}", firewall=getattr(request, "param", "")) as found:
        yield found


@pytest.mark.parametrize(
    ("protocol", "port", "settings"),
    [
        ("openvpn-udp", 1194, {"wrap": "tls-crypt-v2"}),
        ("openvpn-tcp", 443, {"wrap": "tls-crypt"}),
        ("openvpn-udp", 5353, {"wrap": "none", "mssfix": 1200, "keepalive": [5, 30]}),
    ],
    ids=["udp", "tcp", "an odd port, plain, small packets"],
)
def test_a_recommendation_becomes_a_proved_tunnel_and_goes_without_a_trace(
    here: World, protocol: str, port: int, settings: dict[str, object]
) -> None:
    before = here.state()
    planned = here.plan(recommended(protocol, port, **settings), "--client", "first")
    assert here.state() == before
    assert "net.ipv4.ip_forward = 1" in planned.output
    assert "PRIVATE KEY" not in planned.output
    assert (here.folder / "plan/clients/first.ovpn").stat().st_mode & 0o777 == 0o600
    here.apply("--confirm-within", "60s")
    proof = here.verify(here.folder / "plan/clients/first.ovpn", "--for", "3s")
    assert (proof["status"], proof["verdict"]) == (0, "proved"), [one["sentence"] for one in proof["proofs"] if one["outcome"] != "shown"]
    assert here.connects(here.folder / "plan/clients/first.ovpn")
    here.provision("confirm")
    applied = here.state()
    assert "Nothing to do" in here.apply("--no-confirm").output
    assert here.state() == applied
    here.provision("rollback")
    assert here.state() == before


@pytest.mark.parametrize("here", [REJECTING], indirect=True, ids=["rejecting"])
def test_a_firewall_that_rejects_lets_it_through_and_is_the_same_afterwards(here: World) -> None:
    before = here.state()
    here.plan(recommended(), "--client", "first")
    here.plan(recommended(), "--client", "first")  # In the place of the one before.
    here.apply("--no-confirm")
    assert here.connects(here.folder / "plan/clients/first.ovpn")
    here.provision("rollback")
    assert here.state() == before


def test_clients_come_and_go(here: World) -> None:
    before = here.state()
    here.plan(recommended())
    here.apply("--no-confirm")
    first, second = here.profile("first"), here.profile("second", "--for", "windows")
    assert here.provision("client", "add", "first", "-o", here.folder / "again.ovpn", check=False).status == ExitStatus.REFUSED
    assert here.provision("client", "add", "../x", "-o", here.folder / "x.ovpn", check=False).status == ExitStatus.USAGE
    assert here.connects(first)
    here.provision("client", "revoke", "first")
    assert not here.connects(first, within_s=6)
    assert here.connects(second)
    here.provision("renew", "server")
    assert here.connects(second)
    listed = json.loads(here.provision("client", "list", "--json").output)
    assert {one["name"]: one["state"] for one in listed["clients"]} == {"first": "revoked", "second": "good"}
    assert [check.state for check in check_certificates(here.root)] == ["ok"]
    status = json.loads(here.provision("status", "--json").output)
    assert (status["applied"], status["waits_s"], list(status["daemons"].values())) == (True, None, [True])
    here.provision("rollback")
    assert here.state() == before


def test_without_a_confirmation_it_goes_back_by_itself(here: World) -> None:
    before = here.state()
    here.plan(recommended())
    here.apply("--confirm-within", "3s")
    assert here.state() != before
    deadline = time.monotonic() + 30
    while (here.root / "etc/openvpn").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    late = here.provision("confirm", check=False)  # It waits until all is put back.
    assert here.state() == before
    assert (late.status, "too late" in late.errors) == (ExitStatus.PUT_BACK, True)


@pytest.mark.parametrize("kept", [True, False], ids=["confirmed", "not confirmed"])
def test_a_client_that_is_added_while_a_plan_waits_shares_its_fate(here: World, kept: bool) -> None:
    before = here.state()
    here.plan(recommended())
    here.apply("--confirm-within", "60s" if kept else "8s")
    profile = here.profile("first")
    assert here.connects(profile)
    if kept:
        here.provision("confirm")
        assert json.loads(here.provision("client", "list", "--json").output)["clients"][0]["state"] == "good"
        here.provision("rollback")
    else:
        deadline = time.monotonic() + 40
        while (here.root / "etc/openvpn").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert here.provision("confirm", check=False).status == ExitStatus.PUT_BACK
    assert here.state() == before


def test_an_update_adds_a_listener_and_goes_back_to_what_was_confirmed(here: World) -> None:
    before = here.state()
    assert "destroy them" not in here.plan(recommended(), "--client", "first").output
    here.apply("--no-confirm")
    confirmed = here.state()
    more = ("--listen", "udp:1194", "--listen", "tcp:443:tls-crypt", "--client", "both")
    assert "destroy them if this is not applied" in here.plan(recommended(), *more, name="more").output
    here.apply("--confirm-within", "60s", name="more")
    assert here.connects(here.folder / "more/clients/both.ovpn")
    here.provision("rollback")
    after = here.state()
    assert {name: part for name, part in after["files"].items() if confirmed["files"].get(name) != part} == {}
    assert after == confirmed
    assert here.connects(here.folder / "plan/clients/first.ovpn")
    here.provision("rollback")
    assert here.state() == before


def test_an_update_to_another_port_ends_the_server_on_the_old_one(here: World) -> None:
    before = here.state()
    here.plan(recommended(), "--client", "first")
    here.apply("--no-confirm")
    confirmed = here.state()
    told = here.plan(recommended(), "--listen", "tcp:443", "--client", "second", name="other")
    assert "- file /etc/openvpn/server/vpnprobe-udp-1194.conf" in told.output
    here.apply("--confirm-within", "60s", name="other")
    running = here.inside("server", "ss", "-lnup").output
    assert ":1194 " not in running
    assert not (here.root / "etc/openvpn/server/vpnprobe-udp-1194.conf").exists()
    assert list(json.loads(here.provision("status", "--json").output)["daemons"].values()) == [True]
    assert here.connects(here.folder / "other/clients/second.ovpn")
    here.provision("rollback")
    assert here.state() == confirmed
    assert here.connects(here.folder / "plan/clients/first.ovpn")
    here.apply("--no-confirm", name="other")
    assert here.connects(here.folder / "other/clients/second.ovpn")
    here.provision("rollback")
    assert here.state() == before


def test_what_is_done_to_clients_while_an_update_waits_outlives_it(here: World) -> None:
    here.plan(recommended(), "--client", "first")
    here.apply("--no-confirm")
    first = here.folder / "plan/clients/first.ovpn"
    here.plan(recommended(), "--listen", "udp:1194", "--listen", "tcp:443:tls-crypt", name="more")
    here.apply("--confirm-within", "60s", name="more")
    assert "goes back by itself" in here.apply("--confirm-within", "60s", name="more").output
    second = here.profile("second")
    here.provision("client", "revoke", "first")
    refused = here.provision("renew", "server", check=False)
    assert (refused.status, "waits to be confirmed" in refused.errors) == (ExitStatus.REFUSED, True)
    here.provision("rollback")
    listed = json.loads(here.provision("client", "list", "--json").output)
    assert {one["name"]: one["state"] for one in listed["clients"]} == {"first": "revoked", "second": "good"}
    assert not here.connects(first, within_s=6)
    assert here.connects(second)


def test_a_certificate_that_a_rollback_forgets_is_named(here: World) -> None:
    here.plan(recommended())
    here.apply("--no-confirm")
    here.plan(recommended(), "--client", "both", name="more")
    here.apply("--confirm-within", "60s", name="more")
    refused = here.provision("client", "add", "second", "-o", here.folder / "second.ovpn", check=False)
    assert (refused.status, "waits to be confirmed" in refused.errors) == (ExitStatus.REFUSED, True)
    assert "the certificate of both is no longer in the index" in here.provision("rollback").errors


def test_a_plan_that_waits_is_kept_by_no_confirm(here: World) -> None:
    here.plan(recommended())
    here.apply("--confirm-within", "60s")
    assert "goes back" not in here.apply("--no-confirm").output
    assert json.loads(here.provision("status", "--json").output)["waits_s"] is None


def test_a_port_that_is_taken_and_a_file_that_was_changed_are_refused(here: World) -> None:
    here.plan(recommended())
    taker = subprocess.Popen(
        ["ip", "netns", "exec", f"{here.prefix}-server", sys.executable, "-c", TAKES_PORT], stdout=subprocess.PIPE, text=True
    )
    here.running.append(taker)  # type: ignore[arg-type]
    assert taker.stdout is not None
    assert taker.stdout.readline() == "up\n"
    before = here.state()
    refused = here.apply("--no-confirm", check=False)
    assert (refused.status, "udp/1194" in refused.errors, here.state()) == (ExitStatus.REFUSED, True, before)
    taker.kill()
    taker.wait()
    taker.stdout.close()
    folder = here.root / "etc/openvpn/server"
    folder.mkdir(parents=True)
    (folder / "vpnprobe-udp-1194.conf").write_text("# somebody else's\n")
    before = here.state()
    refused = here.apply("--no-confirm", check=False)
    assert (refused.status, here.state()) == (ExitStatus.REFUSED, before)
    assert "vpnprobe-udp-1194.conf" in refused.errors


def test_a_plan_from_elsewhere_is_completed_on_the_server(here: World) -> None:
    before = here.state()
    (here.folder / "result.json").write_bytes(encode(recommended()))
    made = here.inside("client", *PROGRAM, "provision", "plan", here.folder / "result.json", "-o", here.folder / "plan", "--client", "a")
    assert "Not compared" in made.output
    assert {path.name for path in (here.folder / "plan/by-hand").iterdir()} == {"pf-openbsd.conf", "pf-freebsd-macos.conf"}
    keys = here.root / "etc/openvpn/vpnprobe"
    keys.mkdir(parents=True)
    (keys / "index.jsonl").write_text("")
    (keys / "ca.crt").write_text("of somebody else")
    refused = here.apply("--no-confirm", check=False)
    assert refused.status in (ExitStatus.REFUSED, ExitStatus.UNREADABLE)
    assert (keys / "ca.crt").read_text() == "of somebody else"
    shutil.rmtree(here.root / "etc/openvpn")
    assert "+++ /etc/openvpn/server/vpnprobe-udp-1194.conf" in here.apply("--no-confirm").errors
    assert here.connects(here.folder / "plan/clients/a.ovpn")
    adopts = here.plan(recommended(), "--adopt", "/etc/easy-rsa/pki", "--here", name="adopts", check=False)
    assert (adopts.status, "is not adopted" in adopts.errors) == (ExitStatus.REFUSED, True)
    here.provision("rollback")
    assert here.state() == before


def test_what_the_path_forbids_is_refused(here: World) -> None:
    result = recommended()
    verdicts = tuple(replace(verdict, feasibility=Feasibility.INFEASIBLE) for verdict in result.verdicts)
    forbidden = replace(result, verdicts=verdicts, recommendation=None)
    refused = here.plan(forbidden, check=False)
    assert (refused.status, "lets no OpenVPN through" in refused.errors) == (ExitStatus.REFUSED, True)
    assert not (here.folder / "plan").exists()


def test_pools_that_overlap_are_refused(here: World) -> None:
    refused = here.plan(recommended(), "--pool", "10.79.2.0/25", check=False)
    assert (refused.status, "overlaps 10.79.2.0/24" in refused.errors) == (ExitStatus.REFUSED, True)


def test_a_profile_is_written_again(here: World) -> None:
    here.plan(recommended(), "--client", "first")
    here.apply("--no-confirm")
    (here.folder / "plan/clients/first.ovpn").unlink()
    again = here.folder / "again.ovpn"
    here.provision("client", "profile", "first", "-o", again, "--for", "windows")
    assert here.connects(again)
    over = here.provision("client", "profile", "first", "-o", again, check=False)
    assert (over.status, "is not overwritten" in over.errors) == (ExitStatus.REFUSED, True)
    unknown = here.provision("client", "profile", "nobody", "-o", here.folder / "nobody.ovpn", check=False)
    assert (unknown.status, "nobody" in unknown.errors) == (ExitStatus.REFUSED, True)
    here.provision("client", "revoke", "first")
    gone = here.provision("client", "profile", "first", "-o", here.folder / "gone.ovpn", check=False)
    assert gone.status == ExitStatus.REFUSED, gone.output
