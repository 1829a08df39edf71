"""How soon data flows through an OpenVPN tunnel, beside the real client at the same real server, in every wrap over UDP and TCP. Root.

Time is from the session's first packet (the reset; over TCP the SYN) to the first data packet that comes back, both read from captures at
the client. The real client's first data packet back answers a ping of its own tunnel's kernel, sent as soon as the route is there; ours
answers its first echo request. The two connect in turn. And: how many of our echo requests are answered.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

from tunnel_timing import capturing, frames_of, ping_until_answered

from vpnprobe.capture.frames import Frame
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_servers import RunningServer, ServerConfig, Wrapping, openvpn_client, openvpn_servers
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.openvpn_profile_test import ECHOES
from vpnprobe.transports.topology import CLIENT, Topology
from vpnprobe.wire.openvpn import OPCODE_SHIFT, Opcode

RUNS = 5
FIRST_PORT = 23000
DATA = (Opcode.DATA_V1, Opcode.DATA_V2)
FLOOR_RATIO, FLOOR_ANSWERED = 2.0, 0.99


def connect_ms(file: Path, config: ServerConfig) -> float:
    """From the first packet to the first data packet that came back."""
    frames = frames_of(file)
    back = (frame for frame in frames if frame.ports[0] == config.port)
    first = next(frame.at for frame in back if begins_with_data(frame, config.transport))
    return 1000 * (first - frames[0].at)


def begins_with_data(frame: Frame, transport: Transport) -> bool:
    """Over TCP, whether any packet in the segment is data: several may come in one."""
    if transport is Transport.UDP:
        return frame.udp is not None and frame.udp.payload[:1] != b"" and frame.udp.payload[0] >> OPCODE_SHIFT in DATA
    rest = frame.tcp.payload if frame.tcp is not None else b""
    while len(rest) > 2:
        if rest[2] >> OPCODE_SHIFT in DATA:
            return True
        rest = rest[2 + int.from_bytes(rest[:2], "big") :]
    return False


def ours(lab: Lab, server: RunningServer, folder: Path) -> tuple[float, float]:
    """Milliseconds, and the share of echo requests that were answered: of `vpnprobe run` as a program, a fresh one each time."""
    file, profile = folder / "ours.pcap", folder / "ours.ovpn"
    profile.write_text(server.client_profile())
    program = str(Path(sys.executable).parent / "vpnprobe")
    options = ["--solo", "--profile", str(profile), "--json", "--quiet", "-o", str(folder / "out")]
    with capturing(lab, server.config.port, file):
        done = subprocess.run([*lab.exec_prefix(CLIENT), program, "run", *options], capture_output=True, text=True, check=False)
    rows = {row["id"]: row for row in json.loads(done.stdout)["observations"]}
    asked = rows[f"openvpn-data-profile-{server.config.transport}-{server.config.port}-c2s"]
    shutil.rmtree(folder / "out")
    return connect_ms(file, server.config), asked["received"] / ECHOES


def theirs(lab: Lab, server: RunningServer, folder: Path) -> float:
    """The real client; its kernel pings the server through the tunnel as soon as there is a way."""
    file = folder / "theirs.pcap"
    with capturing(lab, server.config.port, file), openvpn_client(lab, server.client_profile(), folder=folder):
        ping_until_answered(lab, IPv4Address(server.gateway))
    return connect_ms(file, server.config)


def main() -> None:
    if shutil.which("openvpn", path=os.environ.get("PATH", "") + ":/usr/sbin") is None or shutil.which("tcpdump") is None:
        print("openvpn_connect: needs openvpn and tcpdump: skipped")
        return
    kinds = [(transport, wrapping) for transport in (Transport.UDP, Transport.TCP) for wrapping in Wrapping]
    configs = [ServerConfig(transport, FIRST_PORT + number, wrapping) for number, (transport, wrapping) in enumerate(kinds)]
    worst, least = 0.0, 1.0
    with (
        Lab(Topology(routers=3), f"vpbench-{os.getpid()}") as lab,
        openvpn_servers(lab, configs) as servers,
        tempfile.TemporaryDirectory() as name,
    ):
        for server in servers:
            runs = [(*ours(lab, server, Path(name)), theirs(lab, server, Path(name))) for _ in range(RUNS)]
            own_ms, real_ms = (statistics.median(column) for column in list(zip(*runs, strict=True))[::2])
            answered = min(run[1] for run in runs)
            worst, least = max(worst, own_ms / real_ms), min(least, answered)
            config = server.config
            print(
                f"OpenVPN over {config.transport}, {config.wrapping}: first data back after {own_ms:.0f} ms, the real client's after "
                f"{real_ms:.0f} ms, ratio {own_ms / real_ms:.2f} (medians of {RUNS}); {answered:.0%} of {ECHOES} echo requests answered"
            )
    print(f"  worst ratio {worst:.2f} (at most {FLOOR_RATIO:g}), fewest echo requests answered {least:.0%} (at least {FLOOR_ANSWERED:.0%})")
    if worst > FLOOR_RATIO or least < FLOOR_ANSWERED:
        sys.exit("OpenVPN: below the floor")


if __name__ == "__main__":
    main()
