"""A run leaves no call behind at a real server: it is ended in the protocol's own words, and the server's pppd goes with it."""

from pathlib import Path

import pytest
from real_support import Ran, run

from vpnprobe.lab.daemons import Daemon
from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import SERVER

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]


def alone(lab: Lab, folder: Path, protocol: str) -> Ran:
    """One run, after which the server has as many programs as before."""
    before = lab.processes(SERVER)
    ran = run(lab, folder, "--solo", "--only", protocol)
    assert lab.processes(SERVER) == before
    assert ran.feasibility == {protocol: "feasible"}
    return ran


def test_pptpd_is_told_that_the_call_is_over(clean_lab: Lab, pptpd_server: Daemon, tmp_path: Path) -> None:
    messages = alone(clean_lab, tmp_path, "pptp").messages("pptp-control-tcp-1723-both")
    assert messages["ECHORP", "s2c"][1] == messages["ECHORQ", "c2s"][0] == messages["CCRQ", "c2s"][0] == 1
    assert pptpd_server.process.poll() is None


def test_xl2tpd_is_told_that_call_and_tunnel_are_over(clean_lab: Lab, xl2tpd_server: Daemon, tmp_path: Path) -> None:
    messages = alone(clean_lab, tmp_path, "l2tp").messages("l2tp-control-udp-1701-both")
    assert messages["CDN", "c2s"][0] == messages["StopCCN", "c2s"][0] == messages["ICCN", "c2s"][0]
    log = (xl2tpd_server.folder / "log").read_text()
    for said in ("Call-Disconnect-Notify(14)", "Stop-Control-Connection-Notification(4)", "sending TERM signal", "closing down tunnel"):
        assert said in log, said
    assert xl2tpd_server.process.poll() is None
