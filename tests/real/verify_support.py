"""A client, a router, a server and a web host beyond it, real OpenVPN servers with full and split tunnels, and `verify` as a program.

The web host has no route to the tunnels' pools: only the server's NAT lets it answer. All have IPv6 on their links; the client has no way
out over it until a test gives it one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_servers import RunningServer, ServerConfig, openvpn_servers
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

SCHEMA = json.loads((Path(__file__).parents[2] / "vpnprobe/deployment/verification/verification.schema.json").read_text())
CODE = """
import sys
import vpnprobe.cli as cli
from vpnprobe.cli.provision_verify import verify
others = cli.LazyGroup.get_command
cli.LazyGroup.get_command = lambda self, ctx, name: verify if name == "verify" else others(self, ctx, name)
sys.exit(cli.run_command(sys.argv[1:]))
"""
VERIFY = (sys.executable, "-P", "-c", CODE, "verify")
FOR = "2s"
PATIENCE_S = 60.0
ROUTER, SERVER_ADDRESS, WEB = "10.78.0.2", "10.78.1.2", "10.79.2.2"
ROUTER6 = "2001:db8:78::2"
DEVICE = "to-server"
MASQUERADE = "add rule ip beyond out ip saddr 10.80.0.0/12 masquerade"
NAT = f"add table ip beyond; add chain ip beyond out {{ type nat hook postrouting priority 100; }}; {MASQUERADE}"
FULL = ("--push", "redirect-gateway def1", "--push", "dhcp-option DNS 10.80.0.1")
FULL6 = (*FULL, "--push", "redirect-gateway ipv6", "--push", "block-ipv6", "--server-ipv6", "fd00:80::/64")
CONFIGS = {
    "full": ServerConfig(port=1194, extra=FULL),
    "tcp": ServerConfig(port=1194, transport=Transport.TCP, extra=FULL),
    "password": ServerConfig(port=1195, user_password=True, extra=FULL),
    "split": ServerConfig(port=1196, extra=("--push", "route 10.79.2.0 255.255.255.0")),
    "ipv6": ServerConfig(port=1197, extra=FULL6),
}


@dataclass(frozen=True)
class Verified:
    """What came of one verification."""

    status: int
    output: str
    errors: str
    took_s: float

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.output)
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
        return document

    def outcome(self, name: str) -> str:
        return str(self.proof(name)["outcome"])

    def proof(self, name: str) -> dict[str, Any]:
        (found,) = [proof for proof in self.document["proofs"] if proof["id"] == name]
        return dict(found)

    @property
    def failed(self) -> set[str]:
        return {proof["id"] for proof in self.document["proofs"] if proof["outcome"] == "failed"}

    @property
    def leaked_to(self) -> set[str]:
        return {leak["destination"] for leak in self.document["leaks"]}


class World:
    """The hosts, and their servers by name."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.web = f"{lab.prefix}-web"
        self.servers: dict[str, RunningServer] = {}

    def run(self, host: str, *words: str, check: bool = True) -> str:
        prefix = ["ip", "netns", "exec", self.web] if host == "web" else self.lab.exec_prefix(host)
        done = subprocess.run([*prefix, *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.stdout

    def profile(self, name: str, **overrides: str | None) -> Path:
        path = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.ovpn"
        path.write_text(self.servers[name].client_profile(**overrides))
        return path

    def state(self) -> list[str]:
        """Of the client: what must be as before."""
        lines = [self.run(CLIENT, "ip", *words) for words in (("route",), ("-6", "route"), ("rule",), ("-6", "rule"), ("-br", "addr"))]
        return sorted(line.strip() for text in lines for line in text.splitlines())

    def openvpn(self) -> list[int]:
        """Clients that run."""
        found = []
        for pid in self.lab.processes(CLIENT):
            with suppress(OSError):  # One that has ended since.
                found += [pid] if Path(f"/proc/{pid}/comm").read_text().strip() == "openvpn" else []
        return found

    def verify(
        self,
        profile: Path,
        *words: str,
        prefix: Sequence[str] = (),
        meanwhile: Callable[["subprocess.Popen[str]"], None] = lambda _: None,
        for_: str = FOR,
    ) -> Verified:
        began = time.monotonic()
        command = [*self.lab.exec_prefix(CLIENT), *prefix, *VERIFY, "--profile", str(profile), "--for", for_, "--json", *words]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                meanwhile(process)
                output, errors = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        assert "Traceback" not in errors, errors
        assert "internal error" not in errors, errors
        return Verified(process.returncode, output, errors, time.monotonic() - began)

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(line.startswith("tun") and "10." in line for line in self.run(CLIENT, "ip", "-br", "addr").splitlines()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @contextmanager
    def sending(self, code: str) -> Iterator[int]:
        """A program in Python on the client, and its number."""
        with subprocess.Popen([*self.lab.exec_prefix(CLIENT), sys.executable, "-c", code]) as process:
            try:
                yield process.pid
            finally:
                process.kill()

    @contextmanager
    def given(self, *commands: str) -> Iterator[None]:
        """On the client `ip ... add ...`, and `del` afterwards."""
        done = []
        try:
            for command in commands:
                self.run(CLIENT, "ip", *command.split())
                done.append(command)
            yield
        finally:
            for command in reversed(done):
                self.run(CLIENT, "ip", *command.replace(" add ", " del ").split(), check=False)

    @contextmanager
    def rules(self, host: str, table: str, *rules: str) -> Iterator[None]:
        """nftables rules in a table of their own."""
        self.run(host, "nft", "; ".join((f"add table ip {table}", *rules)))
        try:
            yield
        finally:
            self.run(host, "nft", f"delete table ip {table}")


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Up, with its servers."""
    with Lab(Topology(routers=1), f"vprl-verify-{os.getpid()}") as lab:
        here = World(lab, folder)
        try:
            _extend(here)
            with openvpn_servers(lab, list(CONFIGS.values())) as servers:
                here.servers = dict(zip(CONFIGS, servers, strict=True))
                yield here
        finally:
            subprocess.run(["ip", "netns", "del", here.web], check=False, capture_output=True)


def _extend(here: World) -> None:
    """Default routes, the web host, IPv6 on the client's link, and the server's NAT."""
    subprocess.run(["ip", "netns", "add", here.web], check=True)
    names = ("link", "add", "to-web", "type", "veth", "peer", "name", "to-server", "netns", here.web)
    here.run(SERVER, "ip", *names)
    for host, device, address in ((SERVER, "to-web", "10.79.2.1/24"), ("web", "to-server", f"{WEB}/24")):
        here.run(host, "ip", "addr", "add", address, "dev", device)
        here.run(host, "ip", "link", "set", device, "up")
    # A route of the lab that would lead around the tunnel.
    here.run(CLIENT, "ip", "route", "del", "10.78.1.0/24")
    here.run(CLIENT, "ip", "route", "add", "default", "via", ROUTER)
    here.run(SERVER, "ip", "route", "add", "default", "via", "10.78.1.1")
    here.run(CLIENT, "ip", "-6", "addr", "add", "2001:db8:78::1/64", "dev", DEVICE, "nodad")
    here.run("r1", "ip", "-6", "addr", "add", f"{ROUTER6}/64", "dev", "to-client", "nodad")
    here.run(SERVER, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    here.run(SERVER, "nft", NAT)
