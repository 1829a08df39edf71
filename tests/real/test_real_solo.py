"""`vpnprobe run --solo`: no agent at the server. Answers and refusals prove, silence is unknown, and every run comes to its end."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from real_support import WITHOUT_ROOT, Ran, anybodys_folder, run

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.daemons import Wrap, openvpn, pptpd, strongswan, xl2tpd
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Transport
from vpnprobe.report.story import next_steps
from vpnprobe.transports.topology import Action, Filter, Hook, Topology

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]

MOST_S = 15
MOST_PLAYED = 3
# WireGuard is asked nothing without keys.
PROTOCOLS = ("pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "openvpn-tcp")
ICMP = 1


def alone(folder: Path, *filters: Filter, only: str = "") -> Ran:
    """Against a host on which nothing listens, behind these filters."""
    with Lab(Topology(routers=2, filters=filters), f"vprl-solo-{os.getpid()}") as lab:
        return run(lab, folder, "--solo", *(["--only", only] if only else []))


@pytest.fixture(scope="module")
def with_servers(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    wrapped = openvpn(clean_lab, transport=Transport.TCP, wrap=Wrap.TLS_CRYPT)
    with ExitStack() as stack:
        for server in (pptpd(clean_lab), xl2tpd(clean_lab), strongswan(clean_lab), openvpn(clean_lab), wrapped):
            try:
                stack.enter_context(server)
            except CannotRun as lack:
                if lack.status is ExitStatus.MISSING:
                    pytest.skip(str(lack))
                raise
        ran = run(clean_lab, tmp_path_factory.mktemp("solo"), "--solo")
        for _ in range(MOST_PLAYED - 1):
            if not any(row["check"] == "late" for row in ran.document["observations"]):
                break
            # What was lost while the machine was busy with other tests counts for nothing, and is not there.
            ran = run(clean_lab, tmp_path_factory.mktemp("solo"), "--solo")
        return ran


def test_answers_prove(with_servers: Ran) -> None:
    assert with_servers.status == 0
    assert with_servers.document["run"]["mode"] == "solo"
    found = {protocol: with_servers.feasibility[protocol] for protocol in ("pptp", "l2tp", "openvpn-udp")}
    # Data decides about OpenVPN, and takes the server's own profile.
    assert found == {"pptp": "feasible", "l2tp": "feasible", "openvpn-udp": "unknown"}
    assert with_servers.outcome("openvpn-reset-udp-1194-both") == "pass"
    assert "--profile" in with_servers.because("openvpn-udp")
    assert with_servers.outcome("ike-ikev1-main-udp-500-both") == "pass"
    assert with_servers.document["run"]["duration_s"] < MOST_S


@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_pptp_is_proven_by_lcp_both_ways(with_servers: Ran, way: str) -> None:
    """That our requests came is shown by the Configure-Acks that carry their Magic-Numbers."""
    row = with_servers.row(f"pptp-lcp-in-call-gre-{way}")
    assert row["outcome"] in ("pass", "degraded")
    assert row["received"] >= 4


def test_a_wrapped_openvpn_is_told_from_a_filter(with_servers: Ran) -> None:
    row = with_servers.row("openvpn-reset-tcp-1194-both")
    assert (row["outcome"], row["cause"], row["detail"]["message"]) == ("refused", "unknown", "FIN")
    assert with_servers.feasibility["openvpn-tcp"] == "unknown"
    assert "wants its control channel wrapped" in with_servers.because("openvpn-tcp")


def test_a_protocol_unreachable_proves_the_way_there_only(with_servers: Ran) -> None:
    row = with_servers.row("esp-passthrough-esp-c2s")
    assert (row["outcome"], row["cause"]) == ("refused", "no-listener")
    assert row.get("location") is None
    assert with_servers.feasibility["l2tp-ipsec"] == "unknown"


@pytest.mark.parametrize("protocol", ["pptp", "l2tp", "l2tp-ipsec"])
def test_where_something_answered_nobody_says_that_nothing_listens(with_servers: Ran, protocol: str) -> None:
    assert "nothing listens" not in with_servers.because(protocol)


@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_l2tp_is_proven_by_lcp_both_ways(with_servers: Ran, way: str) -> None:
    row = with_servers.row(f"l2tp-data-udp-1701-{way}")
    assert row["outcome"] == "pass"
    assert row["received"] >= 4


def test_nmap_leaves_ports_alone_where_a_scan_does_harm(with_servers: Ran) -> None:
    """Its SCCRQ silences L2TP of some servers for good, and its IKE counts as half open."""
    scanned = {row["port"] for row in with_servers.document["observations"] if row["id"].startswith("udp-nmap")}
    assert scanned.isdisjoint({500, 1701, 4500})


def test_where_nothing_listens_all_is_unknown_and_said_to_be_so(tmp_path: Path) -> None:
    ran = alone(tmp_path)
    assert ran.status == 0
    assert ran.feasibility == dict.fromkeys((*PROTOCOLS, "wireguard"), "unknown")
    assert all("nothing listens there" in ran.because(protocol) for protocol in PROTOCOLS)
    assert ran.outcome("tcp-reach-tcp-1723-both") == "refused"
    assert ran.document["run"]["duration_s"] < MOST_S


def test_a_silent_host_is_unknown_in_time_with_the_next_step(tmp_path: Path) -> None:
    from vpnprobe.observations.document import decode

    ran = alone(tmp_path, Filter(at="server", hook=Hook.INPUT))
    assert ran.status == 0
    assert ran.feasibility == dict.fromkeys((*PROTOCOLS, "wireguard"), "unknown")
    assert {row["outcome"] for row in ran.document["observations"] if row["check"] != "nmap"} <= {"no-answer", "skipped"}
    assert ran.document["run"]["duration_s"] < MOST_S
    assert any("vpnprobe serve" in step for step in next_steps(decode(ran.output.encode())))


def test_a_router_that_prohibits_is_named(tmp_path: Path) -> None:
    ran = alone(tmp_path, Filter(at="r1", action=Action.REJECT_ADMIN, except_protocols=(ICMP,)), only="tcp")
    row = ran.row("tcp-reach-tcp-1723-both")
    assert (row["outcome"], row["detail"]["by"], row["detail"]["refusal"]) == ("refused", "10.78.0.2", "prohibited")
    assert ran.feasibility["pptp"] == "infeasible"
    assert "The same payload passes" not in ran.because("pptp")


def test_a_host_that_prohibits_has_a_firewall_of_its_own(tmp_path: Path) -> None:
    ran = alone(tmp_path, Filter(at="server", hook=Hook.INPUT, action=Action.REJECT_ADMIN, except_protocols=(ICMP,)), only="tcp")
    row = ran.row("tcp-reach-tcp-1723-both")
    assert (row["outcome"], row["cause"]) == ("refused", "host-firewall")
    assert row.get("location") is None


def test_without_root_the_rest_is_done(clean_lab: Lab) -> None:
    with anybodys_folder() as folder, openvpn(clean_lab):
        ran = run(clean_lab, folder, "--solo", "--only", "pptp,openvpn-udp", prefix=WITHOUT_ROOT)
        assert not list(ran.folder.glob("*.pcap"))
    assert ran.status == 0
    assert ran.feasibility == {"pptp": "unknown", "openvpn-udp": "unknown"}
    assert ran.outcome("openvpn-reset-udp-1194-both") == "pass"
    assert "sudo" in ran.row("gre-passthrough-bare-gre-c2s")["detail"]["reason"]
