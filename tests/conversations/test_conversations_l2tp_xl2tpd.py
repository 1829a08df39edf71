"""L2TP with a real xl2tpd as the LNS."""

import ctypes
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from vpnprobe.conversations.l2tp import State
from vpnprobe.conversations.l2tp_ends import Initiator
from vpnprobe.wire.l2tp import ControlMessage

HANDSHAKE = ["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"]
XL2TPD_CONFIGURATION = """[global]
port = 1701
listen-addr = 127.0.0.1
[lns default]
ip range = 10.97.0.10-10.97.0.20
local ip = 10.97.0.1
require chap = no
refuse pap = yes
require authentication = no
length bit = yes
"""


@pytest.fixture
def xl2tpd(tmp_path: Path) -> Iterator[str]:
    """The name of a network namespace in which xl2tpd listens on 127.0.0.1."""
    if which("xl2tpd") is None:
        pytest.skip("xl2tpd is not installed")
    namespace = "vpq-test-l2tp"
    configuration = tmp_path / "lns.conf"
    configuration.write_text(XL2TPD_CONFIGURATION)
    made = subprocess.run(["ip", "netns", "add", namespace], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    daemon = None
    try:
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        command = f"mkdir -p /run/xl2tpd && mount -t tmpfs none /run/xl2tpd && exec xl2tpd -D -c {configuration} -s /dev/null"
        command += " -p /run/xl2tpd/pid -C /run/xl2tpd/control"
        daemon = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "sh", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        yield namespace
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait(10)
        subprocess.run(["ip", "netns", "del", namespace], check=False)


def socket_in(namespace: str) -> socket.socket:
    """A UDP socket in a namespace: opened by a thread that enters it and ends there; the socket stays."""
    made: list[socket.socket] = []

    def enter_and_open() -> None:
        with Path("/run/netns", namespace).open() as handle:
            entered = ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0)
        if entered == 0:
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=enter_and_open)
    thread.start()
    thread.join()
    return made[0]


@pytest.mark.root
@pytest.mark.real
def test_a_real_xl2tpd_brings_the_session_up(xl2tpd: str) -> None:
    client = Initiator(nonce="0123abcd", tunnel_id=777, session_id=11, retransmit_after_s=0.3, entropy=random.randbytes, attempts=5)
    with socket_in(xl2tpd) as port:
        port.connect(("127.0.0.1", 1701))
        began = time.monotonic()
        client.start(began)
        while (now := time.monotonic()) < began + 8:
            client.handle_timer(now)
            for data in client.data_to_send(now):
                port.send(data)
            if client.state is State.SESSION_UP and client.acknowledged:
                if client.stopped:
                    break
                client.close(now)
                continue
            port.settimeout(0.1)
            try:
                client.receive(port.recv(4096), time.monotonic())
            except OSError:  # nothing came, or the daemon does not listen yet
                continue
    assert client.state is State.SESSION_UP
    assert client.acknowledged
    named = [step.message.name for step in client.tracker.steps if step.expected and isinstance(step.message, ControlMessage)]
    assert [name for name in named if name != "ZLB"][:6] == HANDSHAKE
