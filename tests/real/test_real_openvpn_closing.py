"""What a real OpenVPN server's log says of sessions of one identity: one after another, each ended as soon as it is done."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_support import PROGRAM, run

from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_servers import RunningServer, ServerConfig, openvpn_servers
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT

pytestmark = [pytest.mark.root, pytest.mark.real]
UDP, TCP = Transport.UDP, Transport.TCP
PATIENCE_S = 20.0
SOON_S = 3.0
"""Shorter than any time-out of the server's."""
ENDED = {UDP: "SIGUSR1[soft,remote-exit] received, client-instance restarting", TCP: "client-instance restarting"}
"""A client that says that it leaves, and a connection that ends."""
ENDING = "CC-EEN exit message received by peer"
"""The same through the control channel alone."""
DISPLACED = "previous active sessions by this client to be dropped"
SERVERS = {
    "udp": ServerConfig(UDP, 22501, duplicate_names=False),
    "tcp": ServerConfig(TCP, 22502, duplicate_names=False),
    "push-refused": ServerConfig(
        UDP, 22503, duplicate_names=False, extra=("--comp-lzo", "yes", "--push", "comp-lzo yes", "--allow-compression", "yes")
    ),
    "cbc": ServerConfig(UDP, 22504, duplicate_names=False, data_ciphers=("AES-256-CBC",)),
}


@pytest.fixture(scope="module")
def servers(clean_lab: Lab) -> Iterator[dict[str, RunningServer]]:
    with openvpn_servers(clean_lab, list(SERVERS.values())) as running:
        yield dict(zip(SERVERS, running, strict=True))


def came(server: RunningServer) -> int:
    return len(re.findall(r"Peer Connection Initiated with", server.log))


def wait_for(server: RunningServer, text: str, count: int, within_s: float = SOON_S) -> None:
    until = time.monotonic() + within_s
    while server.log.count(text) < count:
        assert time.monotonic() < until, f"{text!r} {server.log.count(text)} times, not {count}: {server.log[-2000:]}"
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["udp", "tcp"])
def test_remotes_of_one_server_are_tried_one_after_another(
    clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, name: str
) -> None:
    server = servers[name]
    before, ended = came(server), server.log.count(ENDED[server.config.transport])
    remote = f"remote {server.endpoint[0]} {server.endpoint[1]}\n"
    (tmp_path / "client.ovpn").write_text(server.client_profile() + 2 * remote)
    ran = run(clean_lab, tmp_path, "--solo", "--profile", str(tmp_path / "client.ovpn"), peer=False)
    assert ran.feasibility == {f"openvpn-{name}": "feasible"}
    assert came(server) == before + 3
    wait_for(server, ENDED[server.config.transport], ended + 3)
    assert DISPLACED not in server.log


@pytest.mark.parametrize(("name", "failure"), [("push-refused", "push-refused"), ("cbc", "not-supported")])
def test_a_session_that_fails_once_tls_is_up_is_ended_too(
    clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, name: str, failure: str
) -> None:
    server = servers[name]
    ended = server.log.count(ENDING)
    (tmp_path / "client.ovpn").write_text(server.client_profile())
    ran = run(clean_lab, tmp_path, "--solo", "--profile", str(tmp_path / "client.ovpn"), peer=False)
    assert failure in {row["detail"].get("failure") for row in ran.document["observations"]}
    wait_for(server, ENDING, ended + 1)


@pytest.mark.parametrize("name", ["udp", "tcp"])
def test_a_run_that_is_interrupted_ends_its_session(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, name: str) -> None:
    server = servers[name]
    before, ended = came(server), server.log.count(ENDED[server.config.transport])
    # The framing is not the server's: what is waited for takes seconds.
    (tmp_path / "client.ovpn").write_text(server.client_profile(comp_lzo=""))
    command = [
        *clean_lab.exec_prefix(CLIENT),
        *PROGRAM,
        "run",
        "--solo",
        "--profile",
        str(tmp_path / "client.ovpn"),
        "-o",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "VPNPROBE_DEBUG": ""}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            until = time.monotonic() + PATIENCE_S
            while came(server) == before:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    wait_for(server, ENDED[server.config.transport], ended + 1)
