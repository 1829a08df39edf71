"""A whole `vpnprobe run` in namespaces, beside what tells a part of it in the same network, one tool after the other. Root.

nmap on the same ports (-sS, -sU, -sO), ike-scan, traceroute with IP protocol 47, and the real openvpn client at a real server, until a ping
through its tunnel is answered. What is not installed is told and left out.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from tunnel_timing import ping_until_answered

from vpnprobe.conversations.registry import usual_ports
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_servers import ServerConfig, openvpn_client, openvpn_servers
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport

RUNS = 3
OPENVPN_PORT = 1195
TCP_PORTS = ",".join(map(str, (1723, *usual_ports())))
UDP_PORTS = ",".join(map(str, (500, 4500, 1701, *usual_ports())))


def vpnprobe_run(lab: Lab, address: str, folder: Path) -> tuple[float, float, dict[str, str]]:
    """Wall time of the client process, seconds that the run itself tells, and its verdicts."""
    program = str(Path(sys.executable).parent / "vpnprobe")
    token = folder / "token"
    server = subprocess.Popen(
        [*lab.exec_prefix("server"), program, "serve", "--token-file", str(token)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready")
        began = time.perf_counter()
        options = ["--peer", address, "--token-file", str(token), "--json", "--quiet", "-o", str(folder / "out")]
        done = subprocess.run([*lab.exec_prefix("client"), program, "run", *options], capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        result = json.loads(done.stdout)
        return took, result["run"]["duration_s"], {v["protocol"]: v["feasibility"] for v in result["verdicts"]}
    finally:
        server.terminate()
        server.wait(10)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def command(lab: Lab, *words: str) -> None:
    """What it says does not matter here, nor whether it is content."""
    quiet = subprocess.DEVNULL
    subprocess.run([*lab.exec_prefix("client"), *words], stdout=quiet, stderr=quiet, check=False)


def nmap(lab: Lab, address: str, _: Path) -> float:
    scans: Sequence[Sequence[str]] = (["-sS", "-p", TCP_PORTS], ["-sU", "-p", UDP_PORTS], ["-sO", "-p", "47,50"])
    return timed(lambda: [command(lab, "nmap", "-n", "-Pn", *scan, address) for scan in scans])


def ike_scan(lab: Lab, address: str, _: Path) -> float:
    return timed(lambda: [command(lab, "ike-scan", *version, address) for version in ([], ["--ikev2"])])


def traceroute(lab: Lab, address: str, _: Path) -> float:
    return timed(lambda: command(lab, "traceroute", "-n", "-w", "1", "-P", "47", address))


def through_a_tunnel(lab: Lab, address: str) -> bool:
    done = subprocess.run([*lab.exec_prefix("client"), "ip", "route", "get", address], capture_output=True, text=True, check=False)
    return " dev tun" in done.stdout


def openvpn(lab: Lab, _: str, folder: Path) -> float:
    def connected() -> None:
        with openvpn_client(lab, server.client_profile(), folder=folder):
            while not through_a_tunnel(lab, server.gateway):  # The server's end answers outside of it too.
                time.sleep(0.01)
            ping_until_answered(lab, IPv4Address(server.gateway))

    with openvpn_servers(lab, [ServerConfig(Transport.UDP, OPENVPN_PORT)]) as [server]:
        return timed(connected)


TOOLS: dict[str, tuple[str, Callable[[Lab, str, Path], float]]] = {
    "nmap": ("nmap -sS, -sU, -sO", nmap),
    "ike-scan": ("ike-scan", ike_scan),
    "traceroute": ("traceroute -P 47", traceroute),
    "openvpn": ("openvpn", openvpn),
}


def main() -> None:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    tools = {name: tool for name, tool in TOOLS.items() if shutil.which(name)}
    if missing := TOOLS.keys() - tools:
        print(f"against_other_tools: not installed, left out: {', '.join(sorted(missing))}")
    for name in ("clean", "seed"):
        topology = load(name).topology
        own: list[tuple[float, float]] = []
        others: dict[str, list[float]] = {words: [] for words, _ in tools.values()}
        for _ in range(RUNS):
            with Lab(topology, "vpbench") as lab, tempfile.TemporaryDirectory() as folder:
                address = str(topology.server_address)
                whole_s, run_s, verdicts = vpnprobe_run(lab, address, Path(folder))
                own.append((whole_s, run_s))
                for words, tool in tools.values():
                    others[words].append(tool(lab, address, Path(folder)))
        whole_s, run_s = (statistics.median(column) for column in zip(*own, strict=True))
        took = {words: statistics.median(times) for words, times in others.items()}
        told = ", ".join(f"{words} {seconds:.2f} s" for words, seconds in took.items())
        print(f"{name}: vpnprobe run {run_s:.2f} s ({whole_s:.2f} s with its start) (medians of {RUNS})")
        print(f"  one after the other {sum(took.values()):.2f} s: {told}")
        print(f"  verdicts: {', '.join(f'{protocol} {feasibility}' for protocol, feasibility in verdicts.items())}")


if __name__ == "__main__":
    main()
