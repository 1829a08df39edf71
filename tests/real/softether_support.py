"""SoftEther in the server's namespace of a lab: one program that answers OpenVPN over UDP and TCP, raw L2TP, and IKEv1 (with NAT-T)."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from vpnprobe.lab import daemons
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import SERVER

PROGRAM = Path("/usr/libexec/softether/vpnserver")
USER_NAME, PASSWORD = "lab-user@LAB", "lab-password"
GATEWAY = "192.168.30.1"
"""Of its SecureNAT: the address that answers inside the tunnel."""
SETUP = f"""\
ServerPasswordSet lab
HubDelete DEFAULT
HubCreate LAB /PASSWORD:lab
IPsecEnable /L2TP:yes /L2TPRAW:yes /ETHERIP:no /PSK:lab /DEFAULTHUB:LAB
ServerCertGet server.crt
Hub LAB
UserCreate lab-user /GROUP:none /REALNAME:none /NOTE:none
UserPasswordSet lab-user /PASSWORD:{PASSWORD}
SecureNatEnable
"""
AT_ONCE = {(Transport.TCP, 1194), (Transport.UDP, 1194), (Transport.TCP, 443), (Transport.TCP, 5555)}
WITH_IPSEC = {(Transport.UDP, 500), (Transport.UDP, 4500), (Transport.UDP, 1701)}


@dataclass(frozen=True)
class SoftEther:
    """A server that listens on all its ports."""

    lab: Lab
    certificate: str
    """PEM; it is its own authority."""


@contextmanager
def softether(lab: Lab, folder: Path) -> Iterator[SoftEther]:
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
        assert done.stdout.count("completed successfully") == len(SETUP.splitlines()), done.stdout
        daemons._wait(lambda: daemons._listening(lab) >= WITH_IPSEC, daemon)
        yield SoftEther(lab, (folder / "server.crt").read_text())
