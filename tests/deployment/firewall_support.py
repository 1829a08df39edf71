"""Four hosts in namespaces, by which firewalls are shown to let packets pass or not; and steps that are taken and taken back.

client - server - web, and `inside`, who stands where a VPN's client would: a veth pair takes the place of the tunnel. `web` has no route to
the pool, so that it answers only what the server has translated. A connection to the server's ssh port is held open throughout.
"""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, Self

from vpnprobe.deployment.firewall.needs import FirewallNeeds, Tunnel, TunnelIpv6
from vpnprobe.deployment.firewall.planning import firewall_steps
from vpnprobe.deployment.steps import AnyStep, Command, MakeDirectory, ManageUnit, RunCommand, Undo, UndoCommand, WriteFile
from vpnprobe.deployment.undoing import search_path
from vpnprobe.firewall.detect import detect
from vpnprobe.firewall.state import FirewallState
from vpnprobe.lab.namespaces import entered
from vpnprobe.observations.schema import Transport

HOSTS: Final = ("client", "server", "web", "inside")
SERVER, WEB, INSIDE = "10.79.0.1", "10.79.2.2", "10.8.0.2"
SERVER6, WEB6 = "fd79::1", "fd79:2::2"
LINKS: Final = (
    ("client", "to-server", "10.79.0.2/24", "fd79::2/64", "to-client", "10.79.0.1/24", "fd79::1/64"),
    ("web", "to-server", "10.79.2.2/24", "fd79:2::2/64", "to-web", "10.79.2.1/24", "fd79:2::1/64"),
    ("inside", "to-server", "10.8.0.2/24", "fd08::2/64", "vpn0", "10.8.0.1/24", "fd08::1/64"),
)
ROUTES: Final = (("inside", "10.8.0.1", "fd08::1"), ("server", "10.79.0.2", "fd79::2"), ("client", SERVER, SERVER6))
SSH, PORT = 22, 1194
POOL, POOL6 = IPv4Network("10.8.0.0/24"), IPv6Network("fd08::/64")
NEEDS: Final = FirewallNeeds(
    listeners=((Transport.UDP, PORT), (Transport.TCP, 8443)),
    tunnels=(Tunnel(device="vpn0", pool=POOL),),
    egress=("to-client",),
    egress6=("to-client",),
    control_ports=(SSH,),
)
NEEDS6: Final = FirewallNeeds(
    listeners=NEEDS.listeners,
    tunnels=(Tunnel(device="vpn0", pool=POOL, pool6=POOL6),),
    egress=("to-client",),
    egress6=("to-client",),
    ipv6=TunnelIpv6.NATED,
)


LISTENERS: Final = """
import selectors, socket, sys
datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagrams.bind(("::", int(sys.argv[1])))
ssh = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True)
ready = selectors.DefaultSelector()
ready.register(datagrams, selectors.EVENT_READ)
ready.register(ssh, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        try:
            if key.fileobj is datagrams:
                datagrams.sendto(*datagrams.recvfrom(100))
            elif key.fileobj is ssh:
                ready.register(ssh.accept()[0], selectors.EVENT_READ)
            elif got := key.fileobj.recv(100):
                key.fileobj.sendall(got)
            else:
                ready.unregister(key.fileobj)
        except OSError as error:  # what the firewall makes of an answer ends nothing
            print(error, file=sys.stderr)
"""
"""Sends back whatever comes."""


class Hosts:
    """The four of them. Firewalls are the server's."""

    def __init__(self, prefix: str, root: Path) -> None:
        self.prefix, self.root = prefix, root
        self._listeners: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._listeners is not None:
            self._listeners.kill()
            self._listeners.communicate()
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{host}"], capture_output=True, check=False)

    def _build(self) -> None:
        for host in HOSTS:
            run("ip", "netns", "add", f"{self.prefix}-{host}")
            run("ip", "-n", f"{self.prefix}-{host}", "link", "set", "lo", "up")
            # Nobody else has these addresses: they are not asked about for seconds before they may be used.
            run("ip", "netns", "exec", f"{self.prefix}-{host}", "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        for host, device, address, address6, other, other_address, other_address6 in LINKS:
            there, server = f"{self.prefix}-{host}", f"{self.prefix}-server"
            run("ip", "link", "add", device, "netns", there, "type", "veth", "peer", "name", other, "netns", server)
            ends = ((there, device, address, address6), (server, other, other_address, other_address6))
            for namespace, name, v4, v6 in ends:
                run("ip", "-n", namespace, "addr", "add", v4, "dev", name)
                run("ip", "-n", namespace, "addr", "add", v6, "dev", name, "nodad")
                run("ip", "-n", namespace, "link", "set", name, "up")
        for host, via, via6 in ROUTES:
            run("ip", "-n", f"{self.prefix}-{host}", "route", "add", "default", "via", via)
            run("ip", "-n", f"{self.prefix}-{host}", "-6", "route", "add", "default", "via", via6)
        self.server("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._listen()

    def _listen(self) -> None:
        words = ["ip", "netns", "exec", f"{self.prefix}-server", sys.executable, "-c", LISTENERS, str(PORT), str(SSH)]
        self._listeners = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._listeners.stdout is not None
        assert self._listeners.stdout.readline() == b"ready\n"

    def server(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """What a command prints in the server's namespace."""
        return run("ip", "netns", "exec", f"{self.prefix}-server", *command, stdin=stdin, check=check)

    def succeeds(self, command: Command) -> bool:
        """Whether it does, on the server."""
        done = subprocess.run(
            ["ip", "netns", "exec", f"{self.prefix}-server", *command.argv],
            input=command.stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def ssh(self) -> socket.socket:
        """A connection to the server's ssh port, from the client."""
        with entered(f"{self.prefix}-client"):
            return socket.create_connection((SERVER, SSH), timeout=20)

    def listener_answers(self, address: str = SERVER) -> bool:
        """Whether a datagram of the client comes to the listener and back."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with entered(f"{self.prefix}-client"), socket.socket(family, socket.SOCK_DGRAM) as one:
            one.settimeout(0.4)
            one.connect((address, PORT))
            for _ in range(3):  # the first of IPv6 may be lost while neighbours are found
                with suppress(OSError):
                    one.send(b"hello")
                    return one.recv(100) == b"hello"
            return False

    def reaches_web(self, address: str = WEB) -> bool:
        """Whether the tunnel's client gets an answer from the web host."""
        words = ["ip", "netns", "exec", f"{self.prefix}-inside", "ping", "-c", "1", "-W", "1", address]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def echoes_in_tunnel(self) -> bool:
        """Whether the server answers its client inside the tunnel."""
        return self.reaches_web("10.8.0.1")

    def detect(self) -> FirewallState:
        """What is found on the server."""
        with entered(f"{self.prefix}-server"):
            return detect(self.root)

    def steps(self, needs: FirewallNeeds = NEEDS) -> list[AnyStep]:
        """What is planned on the server."""
        return firewall_steps(self.detect(), needs, root=self.root)

    def rulesets(self) -> dict[str, str]:
        """Everything that filters, without counters, dates and handles; and the files."""
        listings = {"nft": self.server("nft", "list", "ruleset")}
        for program in ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"):
            listings[program] = "".join(line for line in self.server(program).splitlines(True) if not line.startswith("#"))
        for path in sorted(self.root.rglob("*")):
            listings[str(path)] = f"{path.stat().st_mode:o} {path.read_text() if path.is_file() else ''}"
        return {name: re.sub(r"packets \d+ bytes \d+|\[\d+:\d+\]", "", text) for name, text in listings.items()}

    def take(self, steps: Sequence[AnyStep]) -> list[Callable[[], None]]:
        """Takes steps as the engine would: checks first, then each that is not done. What takes them back, in its order."""
        for step in steps:
            if isinstance(step, RunCommand) and step.check is not None:
                self.server(*step.check.argv, stdin=step.check.stdin)
        undo: list[Callable[[], None]] = []
        for step in steps:
            undo = [*self._take(step), *undo]
        return undo

    def _take(self, step: AnyStep) -> list[Callable[[], None]]:
        match step:
            case RunCommand() if step.done_when is not None and self.succeeds(step.done_when):
                return []
            case RunCommand():
                self.server(*step.command.argv, stdin=step.command.stdin)
                assert step.done_when is None or self.succeeds(step.done_when)
                return [lambda: self.undo(step.undo)]
            case WriteFile():
                return [self._write(self.root / step.path[1:], step.content, step.mode)]
            case MakeDirectory():
                place = self.root / step.path[1:]
                place.mkdir(step.mode)
                return [lambda: place.rmdir() if place.exists() else None]
            case ManageUnit():
                return []
            case _:
                raise AssertionError(step)

    def _write(self, place: Path, content: bytes, mode: int) -> Callable[[], None]:
        before = place.read_bytes() if place.exists() else None
        place.write_bytes(content)
        if before is None:
            place.chmod(mode)
        return lambda: place.unlink(missing_ok=True) if before is None else void(place.write_bytes(before))

    def undo(self, undo: Sequence[Undo]) -> None:
        """Takes one step back."""
        for one in undo:
            if not isinstance(one, UndoCommand):
                self._delete_rules(one.comment)
            elif one.when is None or self.succeeds(one.when):
                self.server(*one.command.argv, stdin=one.command.stdin)

    def _delete_rules(self, comment: str) -> None:
        for entry in json.loads(self.server("nft", "-j", "list", "ruleset"))["nftables"]:
            rule = entry.get("rule", {})
            if rule.get("comment") == comment:
                self.server("nft", "delete", "rule", rule["family"], rule["table"], rule["chain"], "handle", str(rule["handle"]))


def void(_result: object) -> None:
    """Nothing."""


def run(*command: str, stdin: str = "", check: bool = True) -> str:
    """What it prints. Raises AssertionError with its complaint."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False, env={"PATH": search_path()})
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {done.stderr}{done.stdout}\n{stdin}"
    return done.stdout


@contextmanager
def held_open(hosts: Hosts) -> Iterator[Callable[[], bool]]:
    """A connection to the ssh port; whether it is alive, and a new one can be made."""

    def alive() -> bool:
        with hosts.ssh() as another:
            for one in (connection, another):
                one.sendall(b"still here")
                if one.recv(100) != b"still here":
                    return False
            return True

    with hosts.ssh() as connection:
        yield alive
