"""Pairs of `openvpn_pairs` in one lab: the real client first, with a tunnel device and pings through it, then `vpnprobe run --profile`.

All servers run side by side, each at a port of its own, and the router's rules go by port. The clients share an identity: all real ones
have ended before vpnprobe begins.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from openvpn_pairs import SUSPICIONS, Pair

from vpnprobe.errors import CannotRun
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Algorithm, Authority, WrapKeys
from vpnprobe.lab.openvpn_servers import COMPLETED, RunningServer, openvpn_client, openvpn_servers
from vpnprobe.observations.document import read
from vpnprobe.observations.schema import Feasibility, Reason, Result
from vpnprobe.report.headlines import Headline, headline
from vpnprobe.report.story import next_steps
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

ROUTER: Final = "r1"
CLIENTS_AT_ONCE: Final = 16
CLIENT_DEADLINE_S: Final = 30.0
RUN_DEADLINE_S: Final = 90.0
HANDSHAKE_S: Final = 8
"""What the real client has for one: its own default is a minute."""
IMPATIENT: Final = ("--hand-window", str(HANDSHAKE_S), "--connect-timeout", str(HANDSHAKE_S), "--connect-retry-max", "1")
SMALL, LARGE = 56, 1300
PROGRAM: Final = (sys.executable, "-P", "-m", "vpnprobe")
WORKING: Final = (Feasibility.FEASIBLE, Feasibility.DEGRADED)
NOT_SUPPORTED: Final = "not-supported"
OPEN: Final = frozenset({"silent", "closed-at-once", "tls-silent", "tls-stalled", "keys-unanswered", "no-push-reply", "data-dead"})
"""Names that say where it stops and leave open why: never wrong, but for the suspicion that may stand beside `keys-unanswered`."""
ALL_SUSPICIONS: Final = frozenset({*SUSPICIONS.values(), "password there may hang"})


@dataclass(frozen=True)
class Experience:
    """What the real client had of a pair."""

    came_up: bool
    small: bool
    """Whether small pings came back through the tunnel."""
    large: bool
    log: str

    @property
    def works(self) -> bool:
        return self.small

    def __str__(self) -> str:
        return "works" if self.large else "works for small packets" if self.small else "no data" if self.came_up else "no session"


@dataclass(frozen=True)
class Judged:
    """A pair, what the real client had of it, and what vpnprobe says."""

    pair: Pair
    real: Experience
    result: Result
    status: int
    printed: str
    took_s: float
    """The whole command, from its start to its end."""
    server_log: str

    @cached_property
    def feasibility(self) -> Feasibility:
        """The best of the verdicts: a profile may have remotes over both transports."""
        found = {verdict.feasibility for verdict in self.result.verdicts}
        return next(one for one in (*WORKING, Feasibility.UNKNOWN, Feasibility.INFEASIBLE) if one in found)

    @cached_property
    def names(self) -> list[str]:
        """Of failures, in the order of the reasons."""
        reasons = (reason for verdict in self.result.verdicts for reason in verdict.because)
        return list(dict.fromkeys(reason.rule.removeprefix("failure.") for reason in reasons if reason.rule.startswith("failure.")))

    @property
    def leads(self) -> str:
        """The name of the failure that is the first reason; empty: another reason is."""
        rule = self._first.rule if self._first is not None else ""
        return rule.removeprefix("failure.") if rule.startswith("failure.") else ""

    @property
    def _first(self) -> Reason | None:
        because = next(verdict.because for verdict in self.result.verdicts if verdict.feasibility is self.feasibility)
        return because[0] if because else None

    @cached_property
    def suspicions(self) -> frozenset[str]:
        """Those that are told anywhere among the reasons."""
        told = [reason.text for verdict in self.result.verdicts for reason in verdict.because if reason.rule == "failure.keys-unanswered"]
        return frozenset(words for words in ALL_SUSPICIONS if any(words in text for text in told))

    @property
    def settled(self) -> bool:
        return self.feasibility is Feasibility.INFEASIBLE

    @cached_property
    def headline(self) -> Headline:
        return headline(self.result)

    @cached_property
    def next_steps(self) -> tuple[str, ...]:
        return next_steps(self.result)

    @property
    def is_open(self) -> bool:
        """Whether vpnprobe says that it cannot do this, and leaves it open."""
        return self.feasibility is Feasibility.UNKNOWN and NOT_SUPPORTED in self.names

    @property
    def agrees(self) -> bool:
        """Whether the verdict is what the real client experiences."""
        return (self.feasibility in WORKING) == self.real.works

    @property
    def is_failure(self) -> bool:
        """Whether the real client fails, and this is judged."""
        return not self.real.works and not self.is_open

    @property
    def is_named(self) -> bool:
        """Whether the cause of a failure is named, or is what is suspected first."""
        suspected = self.leads == "keys-unanswered" and self.suspicions == {self.pair.suspicion}
        return self.leads in self.pair.causes or suspected

    @property
    def is_wrong(self) -> bool:
        """Whether a cause is named or suspected that is not there."""
        return bool(set(self.names) - self.pair.causes - self.pair.also - OPEN - {NOT_SUPPORTED} or self.suspicions - {self.pair.suspicion})


def judged(pairs: Sequence[Pair], folder: Path, *, at_once: int, server: str = "") -> list[Judged]:
    """All of them, in order. Raises CannotRun where something is not installed. `server`: the program of another release."""
    # Keys are made once in a process: before several threads want them.
    for algorithm in Algorithm:
        Authority.make(folder / "pki" / algorithm.value, algorithm)
    with _running(pairs, server) as (lab, servers):
        other_keys = WrapKeys.make("openvpn", folder / "other-keys")
        folders = [folder / str(pair.port) for pair in pairs]
        for pair, server, own in zip(pairs, servers, folders, strict=True):
            own.mkdir()
            (own / "profile.ovpn").write_text(pair.text(server, other_keys))
        with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
            real = list(pool.map(lambda one: _real_client(lab, *one), zip(servers, folders, strict=True)))
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda one: _vpnprobe(lab, *one), zip(pairs, servers, real, folders, strict=True)))


@contextmanager
def _running(pairs: Sequence[Pair], server: str) -> Iterator[tuple[Lab, Sequence[RunningServer]]]:
    with (
        Lab(Topology(routers=1), f"vprl-pairs-{os.getpid()}") as lab,
        openvpn_servers(lab, [pair.config for pair in pairs], server=server) as servers,
    ):
        _plant(lab, pairs, servers)
        yield lab, servers


def _plant(lab: Lab, pairs: Sequence[Pair], servers: Sequence[RunningServer]) -> None:
    rules = [f"{pair.transport} {end} {pair.port} {rule}" for pair in pairs for rule in pair.rules for end in ("sport", "dport")]
    _nft(lab, ROUTER, "forward", rules)
    tunnels = [f"ip daddr {server.gateway} {pair.tunnel_rules}" for pair, server in zip(pairs, servers, strict=True) if pair.tunnel_rules]
    _nft(lab, SERVER, "input", tunnels)


def _nft(lab: Lab, host: str, hook: str, rules: Sequence[str]) -> None:
    lines = [f"type filter hook {hook} priority 0; policy accept;", *rules]
    text = "\n".join(["table ip vpnprobe_pairs {", " chain planted {", *(f"  {line}" for line in lines), " }", "}", ""])
    subprocess.run([*lab.exec_prefix(host), "nft", "-f", "-"], input=text, text=True, check=True, timeout=20)


def _real_client(lab: Lab, server: RunningServer, folder: Path) -> Experience:
    text = (folder / "profile.ovpn").read_text()
    with openvpn_client(lab, text, folder=folder, extra=IMPATIENT) as client:
        try:
            client.wait_for(COMPLETED, deadline_s=CLIENT_DEADLINE_S)
        except CannotRun:
            return Experience(False, False, False, client.log)
        small = _pings(lab, server.gateway, SMALL)
        return Experience(True, small, small and _pings(lab, server.gateway, LARGE), client.log)


def _pings(lab: Lab, address: str, size: int) -> bool:
    """Whether one of some came back."""
    command = [*lab.exec_prefix(CLIENT), "ping", "-n", "-q", "-c", "3", "-i", "0.3", "-W", "1", "-s", str(size), address]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def _vpnprobe(lab: Lab, pair: Pair, server: RunningServer, real: Experience, folder: Path) -> Judged:
    out = folder / "result"
    command = [*lab.exec_prefix(CLIENT), *PROGRAM, "run", "--solo", "--profile", str(folder / "profile.ovpn"), "-o", str(out)]
    began = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=RUN_DEADLINE_S,
        env={**os.environ, "VPNPROBE_DEBUG": "", "COLUMNS": "160"},
    )  # fmt: skip
    took_s = time.monotonic() - began
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr, done.stderr
    return Judged(pair, real, read(out), done.returncode, done.stdout, took_s, server.log)
