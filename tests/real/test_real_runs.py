"""Paired runs beside real VPN servers: their ports are probed as they are, and the server agent witnesses what comes and goes.

One run is enough for many checks: each fixture is one run, each test one fact about it.
"""

import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from real_support import Ran, run, serving

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab import daemons
from vpnprobe.lab.daemons import Daemon, Wrap, openvpn, pptpd, strongswan, xl2tpd
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]

EACH_DAEMON = ("tcp-1723", "udp-1701", "udp-500", "udp-4500", "udp-1194", "tcp-1194")
RESET, SERVER_RESET = "P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"


def paired(lab: Lab, folder: Path, *options: str) -> Ran:
    with serving(lab, folder) as token:
        return run(lab, folder, "--token-file", str(token), *options)


def entered(stack: ExitStack, *servers: AbstractContextManager[Daemon]) -> None:
    for server in servers:
        try:
            stack.enter_context(server)
        except CannotRun as lack:
            if lack.status is ExitStatus.MISSING:
                pytest.skip(str(lack))
            raise


@pytest.fixture(scope="module")
def beside_all(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with ExitStack() as stack:
        tcp = openvpn(clean_lab, transport=Transport.TCP)
        entered(stack, pptpd(clean_lab), xl2tpd(clean_lab), strongswan(clean_lab), openvpn(clean_lab), tcp)
        return paired(clean_lab, tmp_path_factory.mktemp("beside"))


def test_beside_real_servers_everything_works(beside_all: Ran) -> None:
    assert beside_all.status == 0
    expected = {protocol: "feasible" for protocol in beside_all.feasibility}
    # OpenVPN's own port is the daemons', whose keys nobody gave us: data is shown on the next candidate.
    assert beside_all.feasibility == expected | {"openvpn-udp": "feasible", "openvpn-tcp": "feasible"}
    ports = {verdict["protocol"]: verdict["port"] for verdict in beside_all.document["verdicts"]}
    assert (ports["openvpn-udp"], ports["openvpn-tcp"]) == (443, 443)
    assert "--profile" in beside_all.row("openvpn-data-udp-1194-c2s")["detail"]["reason"]
    assert beside_all.offline() == beside_all.feasibility


def test_their_ports_are_reported(beside_all: Ran) -> None:
    rows = beside_all.document["observations"]
    told = {f"{row['transport']}-{row['port']}" for row in rows if row["detail"].get("port_state") == "daemon"}
    assert told == set(EACH_DAEMON)


def test_pptp_control_with_pptpd(beside_all: Ran) -> None:
    assert beside_all.outcome("pptp-control-tcp-1723-both") == "pass"
    both = {("SCCRQ", "c2s"), ("SCCRP", "s2c"), ("OCRQ", "c2s"), ("OCRP", "s2c"), ("ECHORQ", "c2s"), ("ECHORP", "s2c"), ("CCRQ", "c2s")}
    messages = beside_all.messages("pptp-control-tcp-1723-both")
    assert {name: messages[name] for name in both} == dict.fromkeys(both, (1, 1))


@pytest.mark.parametrize("way", ["c2s", "s2c"])
@pytest.mark.parametrize("name", ["gre-passthrough-in-call-gre", "pptp-lcp-in-call-gre"])
def test_lcp_passes_both_ways_to_the_server_s_own_ppp(beside_all: Ran, name: str, way: str) -> None:
    row = beside_all.row(f"{name}-{way}")
    assert row["outcome"] == "pass"
    assert row["received"] >= 4


def test_l2tp_with_xl2tpd(beside_all: Ran) -> None:
    assert beside_all.outcome("l2tp-control-udp-1701-both") == "pass"
    messages = beside_all.messages("l2tp-control-udp-1701-both")
    assert messages["SCCRQ", "c2s"] == messages["ICRP", "s2c"] == messages["ICCN", "c2s"] == (1, 1)
    assert messages["CDN", "c2s"] == messages["StopCCN", "c2s"] == (1, 1)


@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_l2tp_data_passes_both_ways_to_xl2tpd_s_own_ppp(beside_all: Ran, way: str) -> None:
    row = beside_all.row(f"l2tp-data-udp-1701-{way}")
    assert (row["outcome"], row["detail"]["port_state"]) == ("pass", "daemon")
    assert row["sent"] == row["received"]
    assert row["received"] >= 6


@pytest.mark.parametrize("port", [500, 4500])
@pytest.mark.parametrize("check", ["ikev1-main", "ikev2-init"])
def test_charon_answers_few_requests(beside_all: Ran, check: str, port: int) -> None:
    row = beside_all.row(f"ike-{check}-udp-{port}-both")
    assert (row["outcome"], row["sent"]) == ("pass", 1)


@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_esp_in_udp_passes_beside_charon(beside_all: Ran, way: str) -> None:
    row = beside_all.row(f"ike-esp-in-udp-udp-4500-{way}")
    assert (row["outcome"], row["detail"]["port_state"]) == ("pass", "daemon")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_openvpn_answers_a_reset(beside_all: Ran, transport: str) -> None:
    name = f"openvpn-reset-{transport}-1194-both"
    assert beside_all.outcome(name) == "pass"
    assert beside_all.messages(name)[RESET, "c2s"] == beside_all.messages(name)[SERVER_RESET, "s2c"] == (1, 1)


@pytest.fixture(scope="module")
def beside_wrapped(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    wrap = Wrap.TLS_CRYPT
    with ExitStack() as stack:
        entered(stack, openvpn(clean_lab, wrap=wrap), openvpn(clean_lab, transport=Transport.TCP, wrap=wrap))
        return paired(clean_lab, tmp_path_factory.mktemp("wrapped"), "--only", "openvpn-udp,openvpn-tcp")


def test_a_wrapped_openvpn_is_silent_over_udp_though_the_reset_came(beside_wrapped: Ran) -> None:
    row = beside_wrapped.row("openvpn-reset-udp-1194-both")
    assert (row["outcome"], row["sent"], row["detail"]["arrived_at_server"]) == ("no-answer", 4, 4)
    assert "came to the server" in beside_wrapped.because("openvpn-udp") or beside_wrapped.feasibility["openvpn-udp"] == "feasible"


def test_a_wrapped_openvpn_closes_over_tcp_which_is_no_filter(beside_wrapped: Ran) -> None:
    row = beside_wrapped.row("openvpn-reset-tcp-1194-both")
    assert (row["outcome"], row["cause"]) == ("refused", "unknown")
    assert row["detail"]["by"] == "peer"
    assert row["detail"]["message"] == "FIN"
    assert "wants its control channel wrapped" in row["detail"]["consistent_with"]
    assert beside_wrapped.offline() == beside_wrapped.feasibility
    assert beside_wrapped.feasibility == {"openvpn-udp": "feasible", "openvpn-tcp": "feasible"}


@pytest.fixture(scope="module")
def gre_dropped(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(load("seed").topology, f"vprl-seed-{os.getpid()}"))
        entered(stack, pptpd(lab))
        return paired(lab, tmp_path_factory.mktemp("seed"))


def test_where_gre_is_dropped_pptpd_answers_and_pptp_is_infeasible(gre_dropped: Ran) -> None:
    assert gre_dropped.outcome("pptp-control-tcp-1723-both") == "pass"
    assert gre_dropped.feasibility["pptp"] == "infeasible"
    assert gre_dropped.feasibility["l2tp"] == "feasible"
    assert gre_dropped.offline() == gre_dropped.feasibility


@pytest.mark.parametrize(("form", "way"), [("bare", "c2s"), ("in-call", "c2s"), ("in-call", "s2c")])
def test_gre_is_shown_to_be_dropped_both_ways_beside_pptpd(gre_dropped: Ran, form: str, way: str) -> None:
    row = gre_dropped.row(f"gre-passthrough-{form}-gre-{way}")
    assert (row["outcome"], row["cause"], row["received"]) == ("blocked", "ip-protocol", 0)
    assert row["error_bound"] <= 1e-6
    assert row["location"]["last_hop"] in (1, 2)


def test_nmap_is_not_waited_for(gre_dropped: Ran) -> None:
    said = {row["port"]: row["detail"]["state"] for row in gre_dropped.document["observations"] if row["id"].startswith("tcp-nmap")}
    assert said.get(1723, "open") == "open"
    # nmap may take 20 s; on a busy machine the rest takes some too.
    assert gre_dropped.document["run"]["duration_s"] < 15


def test_a_pppd_that_dies_leaves_pptp_unknown_and_says_why(clean_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's own pppd where the kernel has no PPP: the call comes up, and the server hangs up 10 ms later."""
    if Path("/dev/ppp").exists():
        pytest.skip("this kernel has PPP: pppd lives")
    monkeypatch.setattr(daemons, "_stub", lambda folder: "/usr/sbin/pppd")
    with ExitStack() as stack:
        entered(stack, pptpd(clean_lab))
        ran = paired(clean_lab, tmp_path, "--only", "pptp")
    assert ran.outcome("pptp-control-tcp-1723-both") == "pass"
    assert ran.feasibility == {"pptp": "unknown"}
    assert "the server ended the call right after it had come up" in ran.because("pptp")
    assert ran.outcome("gre-passthrough-in-call-gre-s2c") == "skipped"


def test_a_pppd_that_dies_leaves_l2tp_unknown_and_says_why(clean_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xl2tpd ends the call with a CDN once its pppd has gone."""
    if Path("/dev/ppp").exists():
        pytest.skip("this kernel has PPP: pppd lives")
    monkeypatch.setattr(daemons, "_stub", lambda folder: "/usr/sbin/pppd")
    with ExitStack() as stack:
        entered(stack, xl2tpd(clean_lab))
        ran = paired(clean_lab, tmp_path, "--only", "l2tp")
    assert ran.outcome("l2tp-control-udp-1701-both") == "pass"
    assert ran.feasibility == ran.offline() == {"l2tp": "unknown"}
    assert "the server ended the call right after it had come up" in ran.because("l2tp")
    assert ran.outcome("l2tp-data-udp-1701-s2c") == "skipped"


@pytest.mark.parametrize(("scenario", "way"), [("l2tp-data-dropped", "c2s"), ("l2tp-data-one-way", "s2c")])
def test_where_data_is_dropped_xl2tpd_answers_and_l2tp_is_infeasible(tmp_path: Path, scenario: str, way: str) -> None:
    """Where nothing gets to its pppd that one has nothing to answer, and repeats itself too seldom to show the way back."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(load(scenario).topology, f"vprl-l2tp-{os.getpid()}"))
        entered(stack, xl2tpd(lab))
        ran = paired(lab, tmp_path, "--only", "l2tp")
    assert ran.outcome("l2tp-control-udp-1701-both") == "pass"
    assert ran.feasibility == ran.offline() == {"l2tp": "infeasible"}
    row = ran.row(f"l2tp-data-udp-1701-{way}")
    assert (row["outcome"], row["cause"], row["received"]) == ("blocked", "payload", 0)


def test_a_host_firewall_before_pptpd_is_not_taken_for_an_open_path(tmp_path: Path) -> None:
    """The server's wire sees the GRE that its firewall then drops."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(load("host-firewall").topology, f"vprl-fw-{os.getpid()}"))
        entered(stack, pptpd(lab))
        ran = paired(lab, tmp_path, "--only", "pptp")
    row = ran.row("gre-passthrough-in-call-gre-c2s")
    assert (row["outcome"], row["cause"], row["received"]) == ("no-answer", "host-firewall", 0)
    assert ran.outcome("gre-passthrough-in-call-gre-s2c") == "pass"
    assert ran.feasibility == ran.offline() == {"pptp": "unknown"}
    assert "the server, whose own firewall" in ran.because("pptp")


def test_behind_a_nat_without_helper_ipsec_works_and_pptp_does_not(tmp_path: Path) -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(load("nat-without-alg").topology, f"vprl-nat-{os.getpid()}"))
        entered(stack, pptpd(lab), strongswan(lab))
        ran = paired(lab, tmp_path, "--only", "pptp,l2tp-ipsec")
    assert ran.feasibility == {"pptp": "infeasible", "l2tp-ipsec": "feasible"}
    assert ran.row("gre-passthrough-in-call-gre-s2c")["cause"] == "nat"
    assert ran.outcome("ike-esp-in-udp-udp-4500-s2c") == "pass"
