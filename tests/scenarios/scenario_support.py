"""Plays scenarios: in the simulated network, and in namespaces with the installed program, as a user would."""

import atexit
import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.cli import run_command
from vpnprobe.cli.finishing import result_of, status_of
from vpnprobe.conversations.registry import usual_ports
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.scenario import load
from vpnprobe.observations.document import encode
from vpnprobe.observations.schema import Mode
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import SERVER

SEEDS: Final[Mapping[str, range]] = {"lossy": range(2, 7), "clean": range(2, 5), "seed": range(2, 5)}
"""Beyond the first: chance shows where there is loss."""
FEW_PORTS: Final = (*usual_ports()[:2], usual_ports()[-1])
"""Enough to see what chance does to a port, and to the next one."""
CONTROL_PORT: Final = 7117
PATIENCE_S: Final = 120
LEFT_OUT: Final = frozenset(
    {
        "adsl",
        "balanced-one-dead",
        "balanced-one-lossy",
        "burst-loss",
        "burst-loss-one-way",
        "burst-loss-seconds",
        "clock-ahead",
        "clock-jumps",
        "duplicates",
        "firewall-before-server",
        "gre-policed",
        "gre-prohibited",
        "host-firewall-output",
        "host-firewall-prerouting",
        "host-firewall-stateful-server",
        "icmp-unlimited",
        "ipsec-blocked",
        "delay-varies",
        "l2tp-port-blocked",
        "long-chain",
        "lossy-one-way",
        "nat-double",
        "nat-endpoint-independent",
        "nat-short-memory",
        "outage-at-the-server",
        "outages-again",
        "port-443-alone",
        "port-taken-pptp",
        "reordering",
        "satellite",
        "server-nat-tcp-ports",
        "server-nat-without-gre",
        "short-queue",
        "slow-line",
        "mtu-black-hole",
        "small-mtu-fragments-dropped",
        "tcp-merged",
        "tcp-split",
        "two-filters",
        "way-back",
        "way-back-longer",
    }
)
"""Scenarios that `make test` simulates alone: they are slow, need netem, or show once more what others show."""
KNOWN_WRONG_IN_NAMESPACES: Final[Mapping[str, str]] = {}
"""Scenarios that real TCP makes harder than the simulated one."""


@dataclass(frozen=True)
class Played:
    """A finished run."""

    document: Mapping[str, Any]
    status: int
    folder: Path

    @property
    def feasibility(self) -> dict[str, str]:
        return verdicts(self.document)

    def offline(self) -> dict[str, str]:
        """What the two captures of the run come to."""
        ends = ["--client", str(self.folder / "client.pcap"), "--server", str(self.folder / "server.pcap")]
        return verdicts(json.loads(in_process("analyze", *ends, "--json")[1]))


def verdicts(document: Mapping[str, Any]) -> dict[str, str]:
    return {verdict["protocol"]: verdict["feasibility"] for verdict in document["verdicts"]}


def alike(found: Mapping[str, str], *, lossy: bool) -> dict[str, str]:
    """Under planted loss feasible and degraded count alike."""
    return {protocol: "feasible" if lossy and feasibility == "degraded" else feasibility for protocol, feasibility in found.items()}


def vpnprobe(*arguments: str, inside: list[str]) -> subprocess.CompletedProcess[str]:
    command = [*inside, sys.executable, "-m", "vpnprobe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def in_process(*arguments: str) -> tuple[int, str]:
    """Exit status and standard output of a command line that says nothing else; no new process has to load the program for it."""
    told, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained):
        status = run_command(list(arguments))
    assert complained.getvalue() == ""
    return status, told.getvalue()


@functools.cache
def simulated(name: str) -> Played:
    """`vpnprobe demo`; once for all tests, since the same seed gives the same run."""
    folder = Path(tempfile.mkdtemp(prefix="scenario-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    status, document = in_process("demo", "--scenario", name, "--json", "--quiet", "-o", str(folder))
    return Played(json.loads(document), status, folder)


def simulated_with(name: str, seed: int) -> tuple[dict[str, Any], int]:
    """Document and exit status of the same with another seed, without a process of its own."""
    measured, took_s = measure_simulated(
        load(name).topology, seed=seed, settings=Settings(FEW_PORTS, control_port=CONTROL_PORT), tell=lambda _: None
    )
    ports = (*FEW_PORTS, CONTROL_PORT)
    decision = decide(measured.observations, rules=load_default(), ports=ports, control_port=CONTROL_PORT)
    result = result_of(
        decision,
        measured.observations,
        mode=Mode.SIMULATED,
        started=datetime.now(UTC),
        duration_s=took_s,
        name=name,
        client=measured.client,
        server=measured.server,
        complete=measured.complete,
    )
    return json.loads(encode(result)), int(status_of(result.verdicts))


@contextlib.contextmanager
def serving(lab: Lab, token: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`vpnprobe serve` on the lab's server, once it accepts clients."""
    command = [*lab.exec_prefix("server"), sys.executable, "-m", "vpnprobe", "serve", "--token-file", str(token), *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready")
        yield server
    finally:
        server.terminate()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


def in_namespaces(name: str, folder: Path, *, prefix: str) -> tuple[Played, dict[str, int]]:
    """The run, and how many packets each filter acted on, by host."""
    topology = load(name).topology
    with Lab(topology, prefix) as lab:
        token = folder / "token"
        with serving(lab, token):
            peer = ["--peer", str(topology.public_address(SERVER)), "--token-file", str(token)]
            with lab.running():
                done = vpnprobe("run", *peer, "--json", "--quiet", "-o", str(folder / "out"), inside=lab.exec_prefix("client"))
        acted = {host: lab.acted(host) for host in topology.hosts()}
    assert done.stdout, done.stderr
    return Played(json.loads(done.stdout), done.returncode, folder / "out"), acted
