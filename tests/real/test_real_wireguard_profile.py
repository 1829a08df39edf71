"""`--profile wg.conf` against the real wireguard-go: what works, what fails and by which name, and the user's own tunnel beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from conftest import started
from real_support import PATIENCE_S, Ran, run, serving

from vpnprobe.errors import ExitStatus
from vpnprobe.lab.daemons import Daemon
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.wireguard_peers import PeerConfig, wireguard_peer
from vpnprobe.transports.topology import CLIENT
from vpnprobe.wire.wireguard_noise import NO_PRESHARED_KEY, key_text, public_key

pytestmark = [pytest.mark.root, pytest.mark.real]

PORT = 51820
OURS, THEIRS, ANOTHERS = (IPv4Address(f"10.95.3.{number}") for number in (2, 1, 9))
OUR_KEY, THEIR_KEY, PRESHARED, STRANGER = (os.urandom(32) for _ in range(4))
SERVER_CONFIG = PeerConfig(THEIR_KEY, public_key(OUR_KEY), THEIRS, OURS, PORT, PRESHARED)
PARTS = (("handshake", "both"), ("data", "c2s"), ("data", "s2c"))
HANDSHAKE, DATA_C2S, DATA_S2C = (f"wireguard-{name}-profile-udp-{PORT}-{way}" for name, way in PARTS)
REFUSED = """
import socket, sys, time
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        socket.create_connection((sys.argv[1], 9), timeout=0.5).close()
    except ConnectionRefusedError:
        sys.exit(0)
    except OSError:
        pass
sys.exit(1)
"""


def profile(lab: Lab, folder: Path, *, server: bytes = THEIR_KEY, preshared: bytes = PRESHARED, name: str = "office.conf") -> Path:
    file = folder / name
    lines = ["[Interface]", f"PrivateKey = {key_text(OUR_KEY)}", f"Address = {OURS}/24", "PostUp = touch /nowhere/at/all  # not run"]
    lines += ["[Peer]", f"PublicKey = {key_text(public_key(server))}", f"AllowedIPs = {THEIRS}/32"]
    lines += [f"PresharedKey = {key_text(preshared)}"] if preshared != NO_PRESHARED_KEY else []
    file.write_text("\n".join([*lines, f"Endpoint = {lab.topology.server_address}:{PORT}"]))
    return file


@pytest.fixture
def server(clean_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with started(wireguard_peer(clean_lab, request.param if hasattr(request, "param") else SERVER_CONFIG)) as daemon:
        yield daemon


def alone(lab: Lab, folder: Path, file: Path, *options: str, prefix: tuple[str, ...] = ()) -> Ran:
    return run(lab, folder, "--solo", "--profile", str(file), *options, prefix=prefix, peer=False)


def failures(found: Ran) -> set[str]:
    return {row["detail"]["failure"] for row in found.document["observations"] if "failure" in row["detail"]}


def test_a_profile_that_works(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    found = alone(clean_lab, tmp_path, profile(clean_lab, tmp_path))
    assert (found.outcome(HANDSHAKE), found.outcome(DATA_C2S), found.outcome(DATA_S2C)) == ("pass", "pass", "pass")
    assert (found.row(DATA_C2S)["sent"], found.row(DATA_C2S)["received"]) == (102, 102)
    assert found.row(HANDSHAKE)["detail"]["answers_in_tunnel"] == str(THEIRS)
    assert found.feasibility == {"wireguard": "feasible"}
    assert failures(found) == set()
    assert found.document["recommendation"]["protocol"] == "wireguard"
    assert "PostUp is a command of the profile, and none is run" in found.errors
    assert "where its tunnel is up on another machine, a test takes its place" in found.errors


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"preshared": STRANGER}, "wrong-preshared-key"),
        ({"preshared": NO_PRESHARED_KEY}, "wrong-preshared-key"),
        ({"server": STRANGER}, "silent"),
    ],
    ids=["another preshared key", "no preshared key", "another server's key"],
)
def test_keys_that_do_not_fit(clean_lab: Lab, server: Daemon, tmp_path: Path, changed: dict[str, bytes], name: str) -> None:
    found = alone(clean_lab, tmp_path, profile(clean_lab, tmp_path, **changed))  # type: ignore[arg-type]
    assert failures(found) == {name}
    # The server answers, and not with these keys; of silence nothing is known.
    assert found.feasibility == {"wireguard": "unknown" if name == "silent" else "infeasible"}


@pytest.mark.parametrize("server", [replace(SERVER_CONFIG, peer=public_key(STRANGER))], indirect=True)
def test_a_server_that_does_not_know_us(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    """Alone it is silence; with an agent beside the server it is shown that the path is not what stops it."""
    file = profile(clean_lab, tmp_path)
    silent = alone(clean_lab, tmp_path, file)
    assert failures(silent) == {"silent"}
    assert key_text(public_key(OUR_KEY)) in silent.because("wireguard")
    with serving(clean_lab, tmp_path) as token:
        found = run(clean_lab, tmp_path, "--profile", str(file), "--only", "wireguard", "--token-file", str(token))
    assert failures(found) == {"arrives-unanswered"}
    plain = found.row(f"wireguard-handshake-udp-{PORT}-both")
    assert plain["detail"]["arrived_at_server"] == plain["sent"]
    # On another port it works, with keys of the run.
    assert found.feasibility == {"wireguard": "feasible"}
    assert "The path is not what stops it" in found.because("wireguard")


@pytest.mark.parametrize("server", [replace(SERVER_CONFIG, peer_address=ANOTHERS)], indirect=True)
def test_a_server_that_allows_another_address_shows_by_its_keepalive_that_data_came(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    found = alone(clean_lab, tmp_path, profile(clean_lab, tmp_path))
    assert found.outcome(HANDSHAKE) == "pass"
    assert failures(found) == {"data-unanswered"}
    assert "`AllowedIPs` for this peer hold this profile's `Address`" in found.because("wireguard")


def test_beside_an_agent_it_works_too(clean_lab: Lab, server: Daemon, tmp_path: Path) -> None:
    with serving(clean_lab, tmp_path) as token:
        found = run(clean_lab, tmp_path, "--profile", str(profile(clean_lab, tmp_path)), "--only", "wireguard", "--token-file", str(token))
    assert (found.outcome(HANDSHAKE), found.outcome(DATA_C2S), found.outcome(DATA_S2C)) == ("pass", "pass", "pass")
    assert found.outcome(f"wireguard-handshake-udp-{PORT}-both") == "no-answer"
    assert found.feasibility == {"wireguard": "feasible"}


class TestTheUsersOwnTunnel:
    @pytest.fixture
    def tunnel(self, clean_lab: Lab, server: Daemon) -> Iterator[tuple[str, ...]]:
        """The same identity, up on the client's host; what runs a command there."""
        remote = f"{clean_lab.topology.server_address}:{PORT}"
        own = PeerConfig(OUR_KEY, public_key(THEIR_KEY), OURS, THEIRS, 51999, PRESHARED, endpoint=remote, keepalive_s=1)
        with started(wireguard_peer(clean_lab, own, host=CLIENT)) as daemon:
            (first,) = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
            yield ("nsenter", f"--target={first}", "--net", "--mount", "--pid", "--root")

    @staticmethod
    def answers(prefix: tuple[str, ...], *, within_s: int) -> bool:
        """Whether the server's host refuses a TCP connection through the tunnel in time."""
        command = [*prefix, sys.executable, "-c", REFUSED, str(THEIRS), str(within_s)]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S).returncode == 0

    def test_it_is_not_interrupted_without_leave(self, clean_lab: Lab, tunnel: tuple[str, ...], tmp_path: Path) -> None:
        assert self.answers(tunnel, within_s=10)
        found = alone(clean_lab, tmp_path, profile(clean_lab, tmp_path), prefix=tunnel)
        assert (found.status, found.output) == (ExitStatus.USAGE, "")
        assert "interface tunnel with this profile's key is up" in found.errors
        assert "give --take-over" in found.errors
        assert self.answers(tunnel, within_s=2)

    def test_with_leave_it_is_and_comes_back(self, clean_lab: Lab, tunnel: tuple[str, ...], tmp_path: Path) -> None:
        assert self.answers(tunnel, within_s=10)
        found = alone(clean_lab, tmp_path, profile(clean_lab, tmp_path), "--take-over", prefix=tunnel)
        assert found.feasibility == {"wireguard": "feasible"}
        assert "interface tunnel with this profile's key is up, and the test takes its place" in found.errors
        # Its own initiation is later than ours, so that the server takes it.
        assert self.answers(tunnel, within_s=40)
