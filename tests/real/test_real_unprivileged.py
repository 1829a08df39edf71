"""Runs where one end or the other may not open raw sockets or capture: all that can be done is, and what was skipped has its reason."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from real_support import WITHOUT_ROOT, Ran, anybodys_folder, run, serving

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.evidence.judging.facts import ALL_LATE
from vpnprobe.lab.daemons import pptpd
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.scenario import load

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]

NOBODY = 65534


def ran_without_root(lab: Lab, folder: Path, *ends: str) -> Ran:
    """A run in which these ends have no privilege."""
    with serving(lab, folder, prefix=WITHOUT_ROOT if "server" in ends else ()) as token:
        mine = Path(shutil.copy(token, folder / "client-token"))
        mine.chmod(0o600)
        if "client" in ends:
            os.chown(mine, NOBODY, NOBODY)
        return run(lab, folder, "--token-file", str(mine), prefix=WITHOUT_ROOT if "client" in ends else ())


def test_a_client_without_root_does_the_rest(clean_lab: Lab) -> None:
    with anybodys_folder() as folder:
        ran = ran_without_root(clean_lab, folder, "client")
        assert {path.name for path in ran.folder.glob("*.pcap")} == {"server.pcap"}
    assert ran.status == 0
    assert ran.feasibility == {
        "pptp": "unknown",
        "l2tp": "feasible",
        "l2tp-ipsec": "feasible",
        "openvpn-udp": "feasible",
        "openvpn-tcp": "feasible",
        "wireguard": "feasible",
    }
    assert ran.document["run"]["client"]["capture"].startswith("none: ")
    assert "sudo" in ran.document["run"]["client"]["capture"]
    for name in ("gre-passthrough-bare-gre-c2s", "gre-passthrough-in-call-gre-s2c", "esp-passthrough-esp-s2c"):
        row = ran.row(name)
        assert row["outcome"] == "skipped"
        assert "raw IP sockets may not be opened here: run it with sudo" in row["detail"]["reason"]


def test_a_server_without_root_is_no_witness_of_gre(clean_lab: Lab) -> None:
    with anybodys_folder() as folder:
        ran = ran_without_root(clean_lab, folder, "server")
        assert {path.name for path in ran.folder.glob("*.pcap")} == {"client.pcap"}
    assert ran.status == 0
    assert ran.feasibility["pptp"] == "unknown"
    assert ran.feasibility["openvpn-udp"] == "feasible"
    # The server's kernel refuses a few packets a second, in whichever form they come first.
    rows = [ran.row(f"gre-passthrough-{form}-gre-c2s") for form in ("bare", "in-call")]
    late = [row for row in rows if row["detail"].get("reason") == ALL_LATE]
    told = {row["outcome"] for row in rows if row not in late}
    assert "refused" in told or late
    assert told <= {"refused", "no-answer"}
    assert ran.row("gre-passthrough-bare-gre-s2c")["detail"]["reason"].startswith("at the server: ")
    assert ran.document["run"]["server"]["capture"].startswith("none: ")


def test_a_filter_is_not_shown_by_a_server_without_root() -> None:
    with anybodys_folder() as folder, Lab(load("seed").topology, f"vprl-seed-{os.getpid()}") as lab:
        ran = ran_without_root(lab, folder, "server")
    assert ran.feasibility["pptp"] == "unknown"
    assert {row["outcome"] for row in ran.document["observations"] if row["transport"] == "gre" and row["probe"] == "gre"} <= {
        "no-answer",
        "skipped",
    }


@pytest.mark.parametrize(("end", "expected"), [("server", "feasible"), ("client", "unknown")])
def test_beside_pptpd_either_end_may_lack_root(clean_lab: Lab, end: str, expected: str) -> None:
    """pptpd's own Configure-Acks prove both ways; but a client that may not receive GRE refuses it itself, which is no filter."""
    with ExitStack() as stack:
        folder = stack.enter_context(anybodys_folder())
        try:
            stack.enter_context(pptpd(clean_lab))
        except CannotRun as lack:
            if lack.status is ExitStatus.MISSING:
                pytest.skip(str(lack))
            raise
        assert ran_without_root(clean_lab, folder, end).feasibility["pptp"] == expected
