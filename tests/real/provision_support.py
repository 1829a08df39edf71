"""A client, a router, a server and a host behind it, in namespaces; a server's files below a folder; `vpnprobe provision` run there."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from real_support import PATIENCE_S, PROGRAM

from vpnprobe.observations.document import encode
from vpnprobe.observations.schema import Feasibility, Mode, Reason, Recommendation, Result, Run, Verdict

CLIENT_ADDRESS, SERVER_ADDRESS, WEB_ADDRESS = "10.79.0.2", "10.79.1.2", "10.79.2.2"
HOSTS: Final = ("client", "router", "server", "web")
LINKS: Final = (
    ("client", CLIENT_ADDRESS, "router", "10.79.0.1"),
    ("router", "10.79.1.1", "server", SERVER_ADDRESS),
    ("server", "10.79.2.1", "web", WEB_ADDRESS),
)
ROUTES: Final = (("client", "10.79.0.1"), ("server", "10.79.1.1"))
OF_SCENARIOS: Final = {
    ("openvpn-udp", 1194, "tls-crypt-v2"): "clean",
    ("openvpn-tcp", 1194, "tls-crypt-v2"): "udp-blocked",
    ("openvpn-tcp", 443, "none"): "host-firewall-rejects",
    ("openvpn-udp", 443, "none"): "port-1194-blocked",
    ("openvpn-udp", 443, "tls-crypt-v2"): "port-taken",
    ("openvpn-udp", 7117, "none"): "control-port-alone",
}
"""Protocol, port and wrap that built-in scenarios recommend, and one scenario that does."""
COMPLETED: Final = "Initialization Sequence Completed"


def recommended(protocol: str = "openvpn-udp", port: int = 1194, **settings: object) -> Result:
    """A result that recommends it."""
    verdict = Verdict(protocol, Feasibility.FEASIBLE, (Reason("r", "It works."),), port)
    advice = Recommendation(protocol, (protocol,), ("it works",), port, {"port": port, **settings})
    ends = {"client": {"address": CLIENT_ADDRESS}, "server": {"address": SERVER_ADDRESS}}
    return Result(Run("a", Mode.PAIRED, "2026-11-29T00:00:00Z", 1.0, "0", **ends), (), (verdict,), advice)


@dataclass
class Done:
    """A command that ended."""

    status: int
    output: str
    errors: str


@dataclass
class World:
    """The four hosts."""

    folder: Path
    prefix: str
    firewall: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def inside(self, host: str, *command: object, input: str = "", check: bool = True) -> Done:
        whole = ["ip", "netns", "exec", f"{self.prefix}-{host}", *map(str, command)]
        done = subprocess.run(whole, capture_output=True, text=True, input=input, check=False, timeout=PATIENCE_S)
        assert "Traceback" not in done.stderr, done.stderr
        if check:
            assert done.returncode == 0, f"{whole}: {done.stderr}{done.stdout}"
        return Done(done.returncode, done.stdout, done.stderr)

    def build(self) -> None:
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc/hostname").write_text("server\n")
        for host in HOSTS:
            _ip("netns", "add", f"{self.prefix}-{host}")
            _ip("-n", f"{self.prefix}-{host}", "link", "set", "lo", "up")
        for left, left_address, right, right_address in LINKS:
            ends = (f"{self.prefix}-{left}", f"{self.prefix}-{right}")
            _ip("link", "add", f"to-{right}", "netns", ends[0], "type", "veth", "peer", "name", f"to-{left}", "netns", ends[1])
            for end, device, address in zip(ends, (f"to-{right}", f"to-{left}"), (left_address, right_address), strict=True):
                _ip("-n", end, "addr", "add", f"{address}/24", "dev", device)
                _ip("-n", end, "link", "set", device, "up")
        for host, via in ROUTES:
            _ip("-n", f"{self.prefix}-{host}", "route", "add", "default", "via", via)
        self.inside("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        if self.firewall:
            self.inside("server", "nft", "-f", "-", input=self.firewall)

    def clear(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        for host in HOSTS:
            listed = subprocess.run(["ip", "netns", "pids", f"{self.prefix}-{host}"], capture_output=True, text=True, check=False)
            for pid in listed.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{host}"], capture_output=True, check=False)

    def state(self) -> dict[str, Any]:
        """What must be the same before and after."""
        ruleset = re.sub(r"counter packets \d+ bytes \d+", "counter", self.inside("server", "nft", "list", "ruleset").output)
        forwarding = self.inside("server", "sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").output
        kept = (path for path in sorted(self.root.rglob("*")) if "var" not in path.relative_to(self.root).parts)
        files = {str(path): (oct(path.lstat().st_mode), path.lstat().st_uid, _digest(path, self.root / "run")) for path in kept}
        return {"ruleset": ruleset, "forwarding": forwarding, "files": files}

    def provision(self, *words: object, check: bool = True) -> Done:
        return self.inside("server", *PROGRAM, "provision", *words, "--root", self.root, check=check)

    def plan(self, result: Result, *options: object, check: bool = True, name: str = "plan") -> Done:
        (self.folder / "result.json").write_bytes(encode(result))
        return self.provision("plan", self.folder / "result.json", "-o", self.folder / name, *options, check=check)

    def apply(self, *options: object, check: bool = True, name: str = "plan") -> Done:
        return self.provision("apply", self.folder / name, *options, check=check)

    def profile(self, name: str, *options: object) -> Path:
        file = self.folder / f"{name}.ovpn"
        self.provision("client", "add", name, "-o", file, *options)
        return file

    def verify(self, profile: Path, *options: str) -> dict[str, Any]:
        done = self.inside("client", *PROGRAM, "provision", "verify", "--profile", profile, "--json", *options, check=False)
        return {"status": done.status, **json.loads(done.output)}

    def connects(self, profile: Path, *, within_s: float = 10.0) -> bool:
        """Whether the real client gets an answer of the host behind the server."""
        log = self.folder / f"client-{len(self.running)}.log"
        command = ["ip", "netns", "exec", f"{self.prefix}-client", "openvpn", "--config", str(profile), "--verb", "3"]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        with log.open("wb") as out:
            client = subprocess.Popen([*command, "--connect-retry-max", "1"], stdout=out, stderr=out, env=environment)
        self.running.append(client)
        deadline = time.monotonic() + within_s
        try:
            while COMPLETED not in log.read_text(errors="replace"):
                if time.monotonic() > deadline or client.poll() is not None:
                    return False
                time.sleep(0.05)
            return self.inside("client", "ping", "-c", "2", "-i", "0.2", "-W", "2", WEB_ADDRESS, check=False).status == 0
        finally:
            client.terminate()
            client.wait(10)


@contextmanager
def world(folder: Path, prefix: str, *, firewall: str = "") -> Iterator[World]:
    made = World(folder, prefix, firewall)
    try:
        made.build()
        yield made
    finally:
        made.clear()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)


def _digest(path: Path, run: Path) -> str:
    """Below /run stand numbers of processes, which are others each time."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_relative_to(run) else ""


def lines(text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if line]
