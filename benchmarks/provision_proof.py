"""How soon a result has become a tunnel that is proved from the client: plan, apply, verify, with the installed OpenVPN. Root.

Between two namespaces with a router between. The result is that of the built-in scenario `clean`; leaks are watched for three seconds,
which are part of the time. Each round begins with a server that has nothing and ends with it taken back.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

RUNS = 5
WATCHED = "3s"
CEILING_S = 15.0
PROGRAM = (sys.executable, "-P", "-m", "vpnprobe")


def timed(command: Sequence[str]) -> tuple[float, str]:
    """Seconds, and what it printed. Raises SystemExit where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}: {done.stdout.strip()} {done.stderr.strip()}")
    return time.perf_counter() - began, done.stdout


def proved(lab: Lab, result: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds of plan, apply and verify."""
    root, plan = folder / "root", folder / "plan"
    (root / "etc").mkdir(parents=True)
    server = [*lab.exec_prefix(SERVER), *PROGRAM, "provision"]
    words = ["-o", str(plan), "--client", "one", "--here", "--host", str(lab.topology.server_address), "--root", str(root)]
    planned, _ = timed([*server, "plan", str(result), *words])
    applied, _ = timed([*server, "apply", str(plan), "--confirm-within", "60s", "--root", str(root)])
    try:
        client = [*lab.exec_prefix(CLIENT), *PROGRAM, "provision", "verify", "--for", WATCHED, "--json"]
        verified, printed = timed([*client, "--profile", str(plan / "clients/one.ovpn")])
        if json.loads(printed)["verdict"] != "proved":
            raise SystemExit(f"the tunnel is not proved: {printed}")
    finally:
        timed([*server, "rollback", "--root", str(root)])
    return planned, applied, verified


def route_onwards(lab: Lab) -> None:
    """A default route at both ends instead of one to each other: a network that has a route of its own is not led through the tunnel."""
    for host, other in ((SERVER, lab.topology.client_address), (CLIENT, lab.topology.server_address)):
        _, way = timed([*lab.exec_prefix(host), "ip", "-json", "route", "get", str(other)])
        gateway = json.loads(way)[0]["gateway"]
        timed([*lab.exec_prefix(host), "ip", "route", "flush", "via", gateway])
        timed([*lab.exec_prefix(host), "ip", "route", "add", "default", "via", gateway])


def told(times_s: Sequence[float]) -> str:
    return f"{statistics.median(times_s):.2f} s ({min(times_s):.2f} to {max(times_s):.2f})"


def main() -> None:
    if shutil.which("openvpn", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        print("provision_proof: needs openvpn: skipped")
        return
    with Lab(Topology(routers=1), f"vpbench-{os.getpid()}") as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        route_onwards(lab)
        timed([*PROGRAM, "demo", "--scenario", "clean", "--quiet", "-o", str(folder / "result")])
        rounds = [proved(lab, folder / "result", folder / str(number)) for number in range(RUNS)]
    planned, applied, verified = zip(*rounds, strict=True)
    print(
        f"From a result to a proved OpenVPN: {told([sum(times) for times in rounds])}, at most {CEILING_S:g} s: plan {told(planned)}, "
        f"apply {told(applied)}, verify for {WATCHED} {told(verified)} (medians of {RUNS}, least and most)"
    )


if __name__ == "__main__":
    main()
