"""A whole `vpnprobe run` in namespaces, beside nmap on the same ports in the same network: -sS, -sU and -sO one after the other. Root."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vpnprobe.conversations.registry import usual_ports
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.scenario import load

RUNS = 3
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


def nmap_run(lab: Lab, address: str) -> float:
    """Wall time of the three scans together."""
    began = time.perf_counter()
    for scan in (["-sS", "-p", TCP_PORTS], ["-sU", "-p", UDP_PORTS], ["-sO", "-p", "47,50"]):
        subprocess.run(
            [*lab.exec_prefix("client"), "nmap", "-n", "-Pn", *scan, address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    return time.perf_counter() - began


def main() -> None:
    nmap = shutil.which("nmap")
    for name in ("clean", "seed"):
        topology = load(name).topology
        rows = []
        for _ in range(RUNS):
            with Lab(topology, "vpbench") as lab, tempfile.TemporaryDirectory() as folder:
                address = str(topology.server_address)
                whole_s, run_s, verdicts = vpnprobe_run(lab, address, Path(folder))
                rows.append((whole_s, run_s, nmap_run(lab, address) if nmap else float("nan")))
        whole, own, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name}: vpnprobe run {own:.2f} s ({whole:.2f} s with its start), nmap -sS, -sU, -sO {theirs:.2f} s (medians of {RUNS})")
        print(f"  verdicts: {', '.join(f'{protocol} {feasibility}' for protocol, feasibility in verdicts.items())}")


if __name__ == "__main__":
    main()
