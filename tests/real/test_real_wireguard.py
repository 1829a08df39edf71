"""WireGuard against the real one, wireguard-go: as server for our initiator, as client of our responder, and beside a run."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from conftest import started
from real_support import run, serving
from wireguard_under_load import LoadedResponder

from vpnprobe.capture.reading import CaptureInput, read_capture
from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.conversations.wireguard_session import DATA_SIZES, WireguardEnd
from vpnprobe.lab.daemons import Daemon
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.wireguard_peers import PeerConfig, listen_at, wireguard_peer
from vpnprobe.transports.topology import CLIENT, SERVER
from vpnprobe.wire.wireguard import HandshakeResponse, TransportData
from vpnprobe.wire.wireguard_noise import NO_PRESHARED_KEY, Identity, public_key

pytestmark = [pytest.mark.root, pytest.mark.real]

PORT = 51820
OURS, THEIRS = IPv4Address("10.95.0.2"), IPv4Address("10.95.0.1")
OUR_KEY, THEIR_KEY, PRESHARED = os.urandom(32), os.urandom(32), os.urandom(32)
PATIENCE_S = 30.0


def identity(preshared: bytes = PRESHARED) -> Identity:
    return Identity(OUR_KEY, public_key(THEIR_KEY), preshared)


def config(preshared: bytes = PRESHARED, **changes: object) -> PeerConfig:
    known = PeerConfig(THEIR_KEY, public_key(OUR_KEY), THEIRS, OURS, PORT, preshared)
    return replace(known, **changes)  # type: ignore[arg-type]


def unix_time_at_zero() -> float:
    return time.time() - time.monotonic()


@pytest.fixture
def server(clean_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with started(wireguard_peer(clean_lab, request.param if hasattr(request, "param") else config())) as daemon:
        yield daemon


@dataclass
class Carried(asyncio.DatagramProtocol):
    """One end at a UDP port, for as long as it is wanted."""

    end: WireguardEnd
    remote: tuple[str, int] | None = None
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]
        self.end.start(time.monotonic())
        self.carry_on()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.remote = addr
        self.end.receive(data, time.monotonic())
        self.carry_on()

    def carry_on(self) -> None:
        for data in self.end.data_to_send(time.monotonic()):
            self.transport.sendto(data, self.remote)
        if self.timer is not None:
            self.timer.cancel()
        due = self.end.next_timer()
        self.timer = None if due is None else asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self.due, due)

    def due(self, due: float) -> None:
        self.end.handle_timer(max(due, time.monotonic()))
        self.carry_on()


def carried(lab: Lab, end: WireguardEnd, *, until: Callable[[], bool], port: int = 0, remote: tuple[str, int] | None = None) -> None:
    """Runs an end of ours on the client's host until it is enough, or PATIENCE_S are over."""

    async def main() -> None:
        protocol = Carried(end, remote)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: protocol, local_addr=(str(lab.topology.client_address), port)
        )
        deadline = time.monotonic() + PATIENCE_S
        while not until() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if protocol.timer is not None:
            protocol.timer.cancel()
        transport.close()

    with lab.inside(CLIENT):
        asyncio.run(main())


def initiator(preshared: bytes = PRESHARED, *, echoes: int = 100) -> Initiator:
    return Initiator(
        identity(preshared),
        index=os.urandom(4),
        entropy=os.urandom,
        unix_time_at_zero=unix_time_at_zero(),
        tunnel=(OURS, THEIRS),
        echoes=echoes,
        retransmit_after_s=1.0,
    )


def at_server(lab: Lab) -> tuple[str, int]:
    return (str(lab.topology.server_address), PORT)


@pytest.mark.parametrize(
    ("server", "preshared"),
    [(config(), PRESHARED), (config(NO_PRESHARED_KEY), NO_PRESHARED_KEY)],
    indirect=["server"],
    ids=["preshared", "none"],
)
def test_our_initiator_sends_data_through_the_real_server(clean_lab: Lab, server: Daemon, preshared: bytes) -> None:
    end = initiator(preshared)
    carried(clean_lab, end, until=lambda: end.run.all_answered, remote=at_server(clean_lab))
    assert sum(request.answered_at is not None for request in end.run.requests.values()) == 100
    assert end.unreadable == 0
    assert max(step.size for step in end.tracker.steps) + 28 == DATA_SIZES[-1]


def test_keys_are_renewed_while_data_flows(clean_lab: Lab, server: Daemon) -> None:
    end = initiator()

    def renewed() -> bool:
        answered = sum(request.answered_at is not None for request in end.run.requests.values())
        if answered >= 30 and not handshakes(2):
            end._begin(time.monotonic())
        return end.run.all_answered and handshakes(2)

    def handshakes(count: int) -> bool:
        return sum(isinstance(step.message, HandshakeResponse) for step in end.tracker.steps) >= count

    carried(clean_lab, end, until=renewed, remote=at_server(clean_lab))
    assert handshakes(2)
    assert end.run.all_answered
    assert len({step.message.receiver_index for step in end.tracker.steps if isinstance(step.message, TransportData)}) == 4
    assert end.unreadable == 0


def test_a_second_handshake_is_no_replay(clean_lab: Lab, server: Daemon) -> None:
    end = initiator(echoes=6)
    carried(clean_lab, end, until=lambda: end.run.all_answered, remote=at_server(clean_lab))
    # At once: its time is later all the same.
    again = initiator(echoes=6)
    carried(clean_lab, again, until=lambda: again.run.all_answered, remote=at_server(clean_lab))
    assert again.run.all_answered


@pytest.mark.parametrize("preshared", [NO_PRESHARED_KEY], ids=["another"])
def test_another_preshared_key_is_told_by_the_answer(clean_lab: Lab, server: Daemon, preshared: bytes) -> None:
    end = initiator(preshared)
    carried(clean_lab, end, until=lambda: end.unreadable > 0, remote=at_server(clean_lab))
    assert any("empty" in str(step.message) for step in end.tracker.steps)
    assert not end.answered


def test_the_real_server_answers_no_stranger(clean_lab: Lab, server: Daemon) -> None:
    began = time.monotonic()
    end = Initiator(
        replace(identity(), private=os.urandom(32)),
        index=os.urandom(4),
        entropy=os.urandom,
        unix_time_at_zero=unix_time_at_zero(),
        retransmit_after_s=0.2,
    )
    carried(clean_lab, end, until=lambda: time.monotonic() > began + 1, remote=at_server(clean_lab))
    assert end.bytes_received == 0
    assert len(end.tracker.steps) > 2


@pytest.mark.parametrize("wants_cookie", [False, True], ids=["plain", "cookie"])
def test_the_real_client_sends_data_through_our_responder(clean_lab: Lab, wants_cookie: bool) -> None:
    end = LoadedResponder(
        identity(),
        entropy=os.urandom,
        unix_time_at_zero=unix_time_at_zero(),
        tunnel=(OURS, THEIRS),
        echoes=100,
        wants_cookie=wants_cookie,
    )
    port = 51900 + wants_cookie
    remote = config(endpoint=f"{clean_lab.topology.client_address}:{port}", keepalive_s=1)
    with started(wireguard_peer(clean_lab, remote, host=SERVER)):
        carried(clean_lab, end, until=lambda: end.run.all_answered, port=port)
    assert sum(request.answered_at is not None for request in end.run.requests.values()) == 100
    assert end.cookies_sent == int(wants_cookie)


@contextmanager
def captured(lab: Lab, host: str, file: Path) -> Iterator[Callable[[], CaptureInput]]:
    """tcpdump on a host; what it has written so far."""
    program = shutil.which("tcpdump", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("tcpdump is missing")
    command = [*lab.exec_prefix(host), program, "-i", "any", "-Z", "root", "--immediate-mode", "-U", "-w", str(file), "udp"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert soon(lambda: file.exists() and file.stat().st_size > 0)
        yield lambda: read_capture(file)
    finally:
        process.terminate()
        process.wait()


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not (reached := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return reached


def test_a_real_client_that_moves_to_another_port_is_one_conversation_in_a_capture(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    client = PeerConfig(OUR_KEY, public_key(THEIR_KEY), OURS, THEIRS, 40001, PRESHARED, f"{clean_lab.topology.server_address}:{PORT}", 1)
    with captured(clean_lab, SERVER, tmp_path / "server.pcap") as so_far, started(wireguard_peer(clean_lab, client, host=CLIENT)):

        def has_sent(count: int) -> bool:
            return any(one.frames_c2s >= count for one in so_far().traces[0].decoder.conversations())

        assert soon(lambda: has_sent(4))
        listen_at(clean_lab, 40002, host=CLIENT)
        before = so_far().packets
        assert soon(lambda: so_far().packets >= before + 2)
        (tunnel,) = so_far().traces[0].decoder.conversations()
    assert (tunnel.client.port, tunnel.detail["initiation"]) == (40001, 1)
    assert [(row["end"], row["port"]) for row in tunnel.detail["roamed"]] == [("client", 40002)]


def test_beside_a_real_server_its_port_is_left_alone_and_another_is_tried(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    with serving(clean_lab, tmp_path) as token:
        found = run(clean_lab, tmp_path, "--only", "wireguard", "--port", "5000", "--token-file", str(token))
    rows = [row for row in found.document["observations"] if row["probe"] == "wireguard"]
    skipped = [row for row in rows if row["outcome"] == "skipped"]
    assert {row["port"] for row in skipped} == {PORT}
    assert all("answers nobody whose key it does not know" in row["detail"]["reason"] for row in skipped)
    assert {row["outcome"] for row in rows if row["port"] == 5000} == {"pass"}
    assert found.feasibility == {"wireguard": "feasible"}
    assert "port 5000" in found.because("wireguard")
