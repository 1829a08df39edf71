"""Other programs that have ports: they answer what they answer, and go on in the background."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vpnprobe.errors import CannotRun
from vpnprobe.lab.other_programs import TCP, is_other_program, server_of, start_other_programs
from vpnprobe.transports.topology import TakenPort, Topology

UDP = 17
PATIENCE_S = 20.0


@contextmanager
def serving(protocol: int, answer: bytes) -> Iterator[tuple[str, int]]:
    """Where one is, on a port that is free."""
    with server_of(TakenPort("server", protocol, 0, answer)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_address[1]  # type: ignore[attr-defined]
            yield "127.0.0.1", port
        finally:
            server.shutdown()
            thread.join()


def test_over_udp_it_answers_each_datagram() -> None:
    with serving(UDP, b"no") as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        for _ in range(2):
            client.sendto(b"x", there)
            assert client.recv(100) == b"no"


def test_over_tcp_it_answers_the_first_data_and_stays() -> None:
    with serving(TCP, b"220 mail") as there, socket.create_connection(there, timeout=PATIENCE_S) as client:
        client.sendall(b"x")
        assert client.recv(100) == b"220 mail"
        client.sendall(b"y")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_without_an_answer_it_is_silent(protocol: int) -> None:
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    with serving(protocol, b"") as there, socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(0.3)
        client.connect(there)
        client.send(b"x")
        with pytest.raises(TimeoutError):
            client.recv(100)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("", 0))
        return int(opened.getsockname()[1])


def test_a_port_that_cannot_be_had_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("", 0))
        port = opened.getsockname()[1]
        with pytest.raises(CannotRun, match=f"the lab cannot open port {port} on server"):
            start_other_programs(Topology(taken_ports=(TakenPort("server", UDP, port),)), lambda _: [])


def test_what_is_started_goes_on_and_is_known() -> None:
    port = free_port()
    start_other_programs(Topology(taken_ports=(TakenPort("server", UDP, port, b"mine"),)), lambda _: [])
    found = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_other_program(int(pid))]
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.sendto(b"x", ("127.0.0.1", port))
            assert client.recv(100) == b"mine"
        assert len(found) == 1
    finally:
        for pid in found:
            os.kill(pid, signal.SIGKILL)


def test_other_processes_are_none_of_them() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not is_other_program(os.getpid())
    assert not is_other_program(done.pid)
