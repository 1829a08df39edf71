"""A run beside SoftEther: one program that answers OpenVPN over UDP and TCP, raw L2TP, and IKEv1 (only with NAT-T vendor IDs).

It also shows that a run does no harm: L2TP still answers the second one.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_support import run, serving

from vpnprobe.lab import daemons
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import SERVER

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]

PROGRAM = Path("/usr/libexec/softether/vpnserver")
SETUP = """\
ServerPasswordSet lab
HubDelete DEFAULT
HubCreate LAB /PASSWORD:lab
IPsecEnable /L2TP:yes /L2TPRAW:yes /ETHERIP:no /PSK:lab /DEFAULTHUB:LAB
"""
AT_ONCE = {(Transport.TCP, 1194), (Transport.UDP, 1194), (Transport.TCP, 443), (Transport.TCP, 5555)}
WITH_IPSEC = {(Transport.UDP, 500), (Transport.UDP, 4500), (Transport.UDP, 1701)}


@contextmanager
def softether(lab: Lab, folder: Path) -> Iterator[None]:
    """From a private copy, with folders of its own where Debian's build keeps its files."""
    vpncmd = shutil.which("vpncmd")
    if not PROGRAM.exists() or vpncmd is None:
        pytest.skip("needs SoftEther: sudo apt install softether-vpnserver")
    shutil.copytree(PROGRAM, folder / "server")
    (folder / "setup.txt").write_text(SETUP)
    folders = "/run/softether /var/lib/softether /var/log/softether"
    script = f"mount -t tmpfs none /var/lib; mount -t tmpfs none /var/log; mkdir -p {folders}; cd {folder}/server; exec ./vpnserver execsvc"
    with daemons._serving(lab, ["sh", "-ec", script], folder, AT_ONCE) as daemon:
        command = [*lab.exec_prefix(SERVER), vpncmd, "localhost:5555", "/SERVER", "/IN:setup.txt"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.count("completed successfully") == 4, done.stdout
        daemons._wait(lambda: daemons._listening(lab) >= WITH_IPSEC, daemon)
        yield


def test_softether_answers_on_all_its_ports_and_goes_on_answering(clean_lab: Lab, tmp_path: Path) -> None:
    with softether(clean_lab, tmp_path):
        with serving(clean_lab, tmp_path) as token:
            ran = run(clean_lab, tmp_path, "--token-file", str(token))
        again = run(clean_lab, tmp_path, "--solo", "--only", "l2tp")
    assert set(ran.feasibility.values()) == {"feasible"}
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
    row = ran.row("ike-ikev2-init-udp-500-both")
    assert (row["outcome"], row["detail"]["arrived_at_server"]) == ("no-answer", row["sent"])
    assert again.outcome("l2tp-control-udp-1701-both") == "pass"
