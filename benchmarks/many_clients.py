"""Many `vpnprobe run` at once against one server agent, on a clean path in namespaces: how many are told something wrong. Root.

First all clients behind one address, as behind a NAT, then each with an address of its own. On a path that drops nothing no protocol is
infeasible and nothing is blocked, however busy the machine is. Usage: many_clients.py [CLIENTS]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CLIENTS = 12
PREFIX = "vpmany"
PATIENCE_S = 300
PROGRAM = (sys.executable, "-m", "vpnprobe")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""As users have it: what Python has compiled once it need not compile again."""
SERVER_ADDRESS = "10.79.0.2"


@dataclass(frozen=True)
class Told:
    """What one client was told."""

    took_s: float
    status: int
    feasibility: dict[str, str]
    """By protocol; empty: there was no result."""
    wrong_rows: tuple[str, ...]
    """That are blocked, though nothing is."""
    late: int
    """Rows that tell of an end that was late."""
    error: str


def inside(name: str) -> list[str]:
    return ["ip", "netns", "exec", f"{PREFIX}-{name}"]


def ip(*arguments: str, on: str | None = None) -> None:
    subprocess.run([*(inside(on) if on is not None else []), "ip", *arguments], check=True)


@contextmanager
def network(names: Sequence[str]) -> Iterator[None]:
    """The server and these clients, each behind one router."""
    hosts = ("server", *names)
    with ExitStack() as stack:
        for name in ("router", *hosts):
            ip("netns", "add", f"{PREFIX}-{name}")
            stack.callback(ip, "netns", "delete", f"{PREFIX}-{name}")
            ip("link", "set", "lo", "up", on=name)
        subprocess.run([*inside("router"), "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        for number, name in enumerate(hosts):
            there, address = f"to{number}", f"10.79.{number}"
            ip("link", "add", there, "netns", f"{PREFIX}-router", "type", "veth", "peer", "name", "eth0", "netns", f"{PREFIX}-{name}")
            for host, device, own in (("router", there, f"{address}.1"), (name, "eth0", f"{address}.2")):
                ip("address", "add", f"{own}/24", "dev", device, on=host)
                ip("link", "set", device, "up", on=host)
            ip("route", "add", "default", "via", f"{address}.1", on=name)
        yield


def clients_at_once(names: Sequence[str], folder: Path) -> list[Told]:
    """One run at each of these hosts, begun together."""
    token = folder / "token"
    server = subprocess.Popen(
        [*inside("server"), *PROGRAM, "serve", "--token-file", str(token)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready")
        running = [(time.perf_counter(), client(name, folder / str(number), token)) for number, name in enumerate(names)]
        return [ended(began, process) for began, process in running]
    finally:
        server.terminate()
        server.wait(30)


def client(name: str, out: Path, token: Path) -> "subprocess.Popen[str]":
    command = [*inside(name), *PROGRAM, "run", "--peer", SERVER_ADDRESS, "--token-file", str(token), "--json", "--quiet", "-o", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True)


def ended(began: float, process: "subprocess.Popen[str]") -> Told:
    out, error = process.communicate(timeout=PATIENCE_S)
    took_s = time.perf_counter() - began
    if not out:
        return Told(took_s, process.returncode, {}, (), 0, error.strip())
    result = json.loads(out)
    rows = result["observations"]
    return Told(
        result["run"]["duration_s"],
        process.returncode,
        {verdict["protocol"]: verdict["feasibility"] for verdict in result["verdicts"]},
        tuple(row["id"] for row in rows if row["outcome"] == "blocked"),
        sum((row["probe"], row["check"]) == ("path", "late") for row in rows),
        error.strip(),
    )


def tell(how: str, told: Sequence[Told]) -> None:
    times = [one.took_s for one in told]
    print(f"{len(told)} clients at once, {how}: runs of {min(times):.1f} to {max(times):.1f} s, median {statistics.median(times):.1f}")
    infeasible = Counter(protocol for one in told for protocol, word in one.feasibility.items() if word == "infeasible")
    blocked = Counter(row for one in told for row in one.wrong_rows)
    print(f"  wrong 'infeasible': {infeasible.total()} {dict(infeasible) or ''}")
    print(f"  wrong 'blocked': {blocked.total()} {dict(blocked) or ''}")
    verdicts = Counter(word for one in told for word in one.feasibility.values())
    print(f"  verdicts: {', '.join(f'{count} {word}' for word, count in verdicts.most_common())}")
    print(f"  clients that were told of lateness: {sum(one.late > 0 for one in told)}")
    for one in told:
        if one.status or one.error:
            print(f"  status {one.status}: {one.error}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    one, own = ["client1"] * count, [f"client{number}" for number in range(1, count + 1)]
    for how, names in (("behind one address", one), ("each with an address of its own", own)):
        with network(sorted(set(names))), tempfile.TemporaryDirectory() as folder:
            tell(how, clients_at_once(names, Path(folder)))


if __name__ == "__main__":
    main()
