"""What timing a tunnel takes, whichever protocol it is: a capture at the client, and pings of the client's kernel until one is answered."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from vpnprobe.capture.files import read_packets
from vpnprobe.capture.frames import Frame, frame_of
from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import CLIENT
from vpnprobe.wire.icmp import EchoRequest

PATIENCE_S = 15.0
ANSWER_EVERY_S = 0.002
"""How often it is looked for an answer."""


@contextlib.contextmanager
def capturing(lab: Lab, port: int, file: Path) -> Iterator[None]:
    """tcpdump at the client, of one port."""
    command = [
        *lab.exec_prefix(CLIENT),
        "tcpdump",
        "--immediate-mode",
        "-U",
        "-Z",
        "root",
        "-i",
        "to-server",
        "-w",
        str(file),
        f"port {port}",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while "listening on" not in process.stderr.readline():
            assert process.poll() is None, "tcpdump does not start"
        yield
    finally:
        time.sleep(0.1)
        process.terminate()
        process.wait(10)
        process.stderr.close()


def frames_of(file: Path) -> list[Frame]:
    with read_packets(file) as packets:
        return [frame for frame in map(frame_of, packets) if frame is not None]


def ping_until_answered(lab: Lab, address: IPv4Address, *, every_s: float = ANSWER_EVERY_S) -> None:
    """The client's kernel pings an address in the tunnel. `every_s`: between two pings."""
    with lab.inside(CLIENT):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    identifier = os.urandom(2)
    deadline = time.monotonic() + PATIENCE_S
    with opened:
        opened.settimeout(every_s)
        sequence = 0
        while time.monotonic() < deadline:
            sequence += 1
            with contextlib.suppress(OSError):  # No route: the tunnel is not up yet.
                opened.sendto(EchoRequest(int.from_bytes(identifier, "big"), sequence & 0xFFFF, b"").encode(), (str(address), 0))
            with contextlib.suppress(TimeoutError):
                packet = opened.recv(2000)
                if packet[20] == 0 and packet[24:26] == identifier:
                    return
            time.sleep(ANSWER_EVERY_S)
    raise SystemExit(f"the real client's tunnel to {address} carries nothing")
