"""A run beside SoftEther, which answers on all its ports. It also shows that a run does no harm: L2TP still answers the second one."""

from pathlib import Path

import pytest
from real_support import run, serving
from softether_support import SoftEther

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]


def test_softether_answers_on_all_its_ports_and_goes_on_answering(softether_server: SoftEther, tmp_path: Path) -> None:
    lab = softether_server.lab
    with serving(lab, tmp_path) as token:
        ran = run(lab, tmp_path, "--token-file", str(token))
    again = run(lab, tmp_path, "--solo", "--only", "l2tp")
    assert set(ran.feasibility.values()) == {"feasible"}
    # Its own OpenVPN is not tried without its profile, so that the port has to be another.
    for protocol in ("openvpn-udp", "openvpn-tcp"):
        assert ran.document["recommendation"]["port"] != 1194
        assert "another program answers there" in ran.because(protocol)
    for name in (
        "openvpn-reset-udp-1194-both",
        "openvpn-reset-tcp-1194-both",
        "openvpn-reset-tcp-443-both",
        "l2tp-control-udp-1701-both",
        "ike-ikev1-main-udp-500-both",
        "ike-ikev1-main-udp-4500-both",
    ):
        row = ran.row(name)
        assert (row["outcome"], row["detail"]["port_state"]) == ("pass", "daemon"), name
    for way in ("c2s", "s2c"):
        row = ran.row(f"l2tp-data-udp-1701-{way}")
        assert (row["outcome"], row["detail"]["port_state"], row["sent"]) == ("pass", "daemon", row["received"]), way
    row = ran.row("ike-ikev2-init-udp-500-both")
    assert (row["outcome"], row["detail"]["arrived_at_server"]) == ("no-answer", row["sent"])
    assert again.outcome("l2tp-control-udp-1701-both") == "pass"
    assert again.feasibility == {"l2tp": "feasible"}
