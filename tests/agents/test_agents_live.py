"""Both agents as real processes in namespaces: hostile paths, many clients, signals, and a peer that is killed."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_support import PATIENCE_S, client, document_of, feasibility_of, outcomes_of, serving, start

from vpnprobe.agents.client import ClientRun, Measured
from vpnprobe.agents.pairing import CONTROL_PORT, connector, credentials
from vpnprobe.agents.token import read_token
from vpnprobe.errors import ExitStatus
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.stack import Endpoint
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces")]
ALL_FEASIBLE = dict.fromkeys(["pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "openvpn-tcp", "wireguard"], "feasible")
FILES = {"result.json", "report.html", "observations.csv", "client.pcap", "server.pcap"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(Topology(routers=1), f"vpag-{os.getpid()}") as built:
        yield built


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_serve_ends_cleanly(self, lab: Lab, token: Path, number: signal.Signals) -> None:
        with serving(lab, token) as server:
            server.signal(number)
            assert server.end(within_s=10) == 0
            assert not server.traceback, "\n".join(server.err)

    def test_serve_ends_cleanly_with_a_client_under_way(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token) as server:
            running = client(lab, token, tmp_path / "out")
            running.wait_for("probing")
            server.signal(signal.SIGTERM)
            assert server.end(within_s=10) == 0
            assert not server.traceback, "\n".join(server.err)
            assert running.end() == ExitStatus.NO_PEER

    def test_once(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token, "--once") as server:
            assert client(lab, token, tmp_path / "out").end() == 0
            assert server.end(within_s=10) == 0

    def test_ready_as_json(self, lab: Lab, token: Path) -> None:
        with serving(lab, token, "--json") as server:
            assert '"event": "ready"' in server.out[0]

    def test_a_port_that_is_taken(self, lab: Lab, token: Path) -> None:
        with serving(lab, token):
            second = start(lab, SERVER, "serve", "--token-file", token)
            assert second.end() == ExitStatus.MISSING
            assert len(second.errors) == len(second.err) == 1
            assert str(CONTROL_PORT) in second.errors[0]


class TestRuns:
    def test_all_passes_and_all_is_written(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token) as server:
            running = client(lab, token, tmp_path / "out")
            assert running.end() == 0
            assert not running.errors
            assert not running.traceback
            assert not server.traceback, "\n".join(server.err)
        document = document_of(tmp_path / "out")
        assert document["complete"] is True
        assert feasibility_of(document) == ALL_FEASIBLE
        assert {path.name for path in (tmp_path / "out").iterdir()} == FILES

    def test_two_at_once(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token):
            both = [client(lab, token, tmp_path / f"out{number}") for number in range(2)]
            assert [running.end() for running in both] == [0, 0]
        for number in range(2):
            document = document_of(tmp_path / f"out{number}")
            assert feasibility_of(document) == ALL_FEASIBLE
            assert {outcome for row, outcome in outcomes_of(document).items() if not row.startswith("path-late")} == {"pass"}

    def test_twenty_at_once(self, lab: Lab, token: Path) -> None:
        async def one(number: int) -> Measured:
            stack = SystemStack()
            address = lab.topology.server_address
            proven, some = read_token(token), Settings((1194,), frozenset({"tcp", "udp", "gre", "pptp"}))
            connect = connector(stack, Endpoint(address, CONTROL_PORT), proven)
            try:
                return await ClientRun(stack, address, some, connect, lambda _: None, credentials(proven)).measure()
            finally:
                stack.close()

        async def twenty() -> list[Measured]:
            return list(await asyncio.gather(*map(one, range(20))))

        with serving(lab, token) as server, lab.inside(CLIENT):
            everything = asyncio.run(asyncio.wait_for(twenty(), 2 * PATIENCE_S))
            assert not server.traceback, "\n".join(server.err)
        for found in everything:
            assert found.complete, found.problem
            rows = [o for o in found.observations if o.check != "late"]  # A machine that is busy with twenty is no failure.
            worst = [(o.id, o.outcome, o.detail) for o in rows if o.outcome not in (Outcome.PASS, Outcome.DEGRADED)]
            assert worst == []


class TestPaths:
    def test_where_large_packets_vanish(self, token: Path, tmp_path: Path) -> None:
        with Lab(Topology(routers=2, filters=(Filter(at="r1", longer_than=1400),)), f"vpag-hole-{os.getpid()}") as lab:
            assert not passes(lab, 1450)
            assert passes(lab, 1300)
            with serving(lab, token):
                running = client(lab, token, tmp_path / "out")
                assert running.end() == 0
        document = document_of(tmp_path / "out")
        assert document["complete"] is True
        assert feasibility_of(document) == {**ALL_FEASIBLE, "openvpn-udp": "degraded", "wireguard": "degraded"}
        large = [row for row in document["observations"] if row["check"] == "data" and row["cause"] == "size"]
        assert {(row["transport"], row["detail"]["largest_passing"]) for row in large} == {("udp", 1400), ("udp", 1388)}

    def test_behind_a_nat(self, token: Path, tmp_path: Path) -> None:
        from vpnprobe.lab.scenario import load

        with Lab(load("nat-without-alg").topology, f"vpag-nat-{os.getpid()}") as lab, serving(lab, token):
            assert client(lab, token, tmp_path / "out").end() == 0
        assert document_of(tmp_path / "out")["run"]["server"]["seen_as"] == "10.78.1.1"


def passes(lab: Lab, size: int) -> bool:
    """Whether a UDP packet of that many bytes in all gets from the client to the server."""
    with lab.inside(SERVER):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("", 9999))
        receiver.settimeout(0.3)
    with lab.inside(CLIENT):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.sendto(b"x" * (size - 28), (str(lab.topology.server_address), 9999))
    try:
        return bool(receiver.recv(2000))
    except TimeoutError:
        return False
    finally:
        receiver.close()
        sender.close()


class TestInterrupted:
    def test_a_peer_that_is_killed(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token) as server:
            running = client(lab, token, tmp_path / "out")
            running.wait_for("probing")
            server.signal(signal.SIGKILL)
            assert running.end() == ExitStatus.NO_PEER
        assert len(running.errors) == 1
        assert not running.traceback
        document = document_of(tmp_path / "out")
        assert document["complete"] is False
        # The dead peer's kernel refuses what still comes: that is no fact about the path.
        assert not {"blocked", "refused"} & set(outcomes_of(document).values())
        assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"server.pcap"}

    @pytest.mark.parametrize("at", ["probing", "tracing"])
    def test_ctrl_c(self, lab: Lab, token: Path, tmp_path: Path, at: str) -> None:
        with serving(lab, token):
            running = client(lab, token, tmp_path / "out")
            running.wait_for(at)
            running.signal(signal.SIGINT)
            assert running.end(within_s=15) == 130
        assert len(running.errors) == 1
        assert not running.traceback
        document = document_of(tmp_path / "out")
        assert document["complete"] is False
        assert not {"blocked", "refused"} & set(outcomes_of(document).values())

    def test_ctrl_c_before_anything_began(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        """Nobody answers on the control port, not even with a refusal."""
        with serving(lab, token) as server:
            server.signal(signal.SIGSTOP)
            running = client(lab, token, tmp_path / "out", "--control-port", str(CONTROL_PORT))
            try:
                # Its kernel takes the connection. Before that the program may not have begun, and while it loads a signal can be lost.
                deadline = time.monotonic() + 30
                while not lab.client_is_connected() and time.monotonic() < deadline:
                    time.sleep(0.02)
                with pytest.raises(TimeoutError):
                    wait_quietly(running.popen.pid, 0.5)
                running.signal(signal.SIGINT)
                assert running.end(within_s=10) == 130
            finally:
                server.signal(signal.SIGCONT)
        assert running.errors == ["error: interrupted"]
        assert not (tmp_path / "out").exists()


def wait_quietly(pid: int, seconds: float) -> None:
    """Raises TimeoutError where the process is still there after so long."""
    import select

    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            raise TimeoutError
    finally:
        os.close(descriptor)


class TestRefusals:
    def test_nobody_listens(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token):
            pass
        refused = client(lab, token, tmp_path / "out")
        assert refused.end() == ExitStatus.NO_PEER
        assert refused.err == refused.errors
        assert "refuses the control connection" in refused.errors[0]
        assert not (tmp_path / "out").exists()

    def test_a_token_of_another_server(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, tmp_path / "other", "--control-port", "7118"), serving(lab, token):
            refused = client(lab, tmp_path / "other", tmp_path / "out")
            assert refused.end() == ExitStatus.NO_PEER
        assert refused.err == refused.errors
        assert "not the one that the token names" in refused.errors[0]

    def test_a_wrong_secret(self, lab: Lab, token: Path, tmp_path: Path) -> None:
        with serving(lab, token):
            version, secret, fingerprint = token.read_text().strip().split(":")
            wrong = tmp_path / "wrong"
            wrong.write_text(f"{version}:{secret[::-1]}:{fingerprint}\n")
            wrong.chmod(0o600)
            refused = client(lab, wrong, tmp_path / "out")
            assert refused.end() == ExitStatus.NO_PEER
        assert refused.err == refused.errors
        assert len(refused.errors) == 1
        assert "token" in refused.errors[0]
