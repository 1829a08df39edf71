"""Whether a program listens at an address, as /proc/net shows it: examples, and real sockets of this machine."""

import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from running_support import FakeProc

from vpnprobe.endpoint.listeners import listens_tcp, listens_unix

PROC = Path("/proc")
PORT = 7505


def tcp_line(address: bytes, port: int, state: str = "0A") -> str:
    words = [int.from_bytes(address[at : at + 4], sys.byteorder) for at in range(0, len(address), 4)]
    return f"   0: {''.join(f'{word:08X}' for word in words)}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1"


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@pytest.mark.parametrize(
    ("listener", "host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("::1", "localhost", True),
        ("::1", "127.0.0.1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "127.0.0.1", True),
        ("::", "::", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "0.0.0.0", False),
        # Of another machine (RFC 5737): what listens at all addresses does not listen at this one.
        ("0.0.0.0", "192.0.2.1", False),
        ("127.0.0.1", "vpn.example.net", False),
        ("127.0.0.1", "tunnel", False),
    ],
)
def test_tcp(tmp_path: Path, listener: str, host: str, expected: bool) -> None:
    proc = FakeProc(tmp_path)
    proc.table("tcp6" if ":" in listener else "tcp", tcp_line(packed(listener), PORT))
    assert listens_tcp(host, PORT, proc=tmp_path) is expected
    assert not listens_tcp(host, PORT + 1, proc=tmp_path)


def test_a_connection_is_no_listener(tmp_path: Path) -> None:
    FakeProc(tmp_path).table("tcp", tcp_line(packed("127.0.0.1"), PORT, "01"), "", "short line")
    assert not listens_tcp("127.0.0.1", PORT, proc=tmp_path)


@pytest.mark.parametrize(
    ("bound", "path", "expected"),
    [
        ("/run/ovpn/a b.sock", "/run/ovpn/a b.sock", True),
        ("/run/ovpn/a.sock", "/run/ovpn/../ovpn/a.sock", True),
        ("/home/anna/a.sock", "a.sock", True),
        ("a.sock", "a.sock", True),
        ("/run/ovpn/a.sock", "a.sock", False),
        ("@/run/ovpn/a.sock", "/run/ovpn/a.sock", False),
    ],
)
def test_unix(tmp_path: Path, bound: str, path: str, expected: bool) -> None:
    line = "0000000000000000: 00000002 00000000 {} 0001 01 41 " + bound
    proc = FakeProc(tmp_path)
    proc.table("unix", "0000000000000000: 00000002 00000000 00010000 0001 01 40", line.format("00010000"))
    assert listens_unix(path, Path("/home/anna"), proc=tmp_path) is expected
    proc.table("unix", line.format("00000000"))
    assert not listens_unix(path, Path("/home/anna"), proc=tmp_path)


def test_where_no_table_is(tmp_path: Path) -> None:
    assert not listens_tcp("127.0.0.1", PORT, proc=tmp_path)
    assert not listens_unix("/run/a.sock", tmp_path, proc=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_real_port(address: str) -> None:
    with socket.socket() as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
        assert not listens_tcp("127.0.0.1", port, proc=PROC)
        sock.listen()
        assert listens_tcp("127.0.0.1", port, proc=PROC)
        assert listens_tcp("localhost", port, proc=PROC)
    assert not listens_tcp("127.0.0.1", port, proc=PROC)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc")
def test_a_real_unix_socket() -> None:
    with TemporaryDirectory(prefix="vpnprobe-") as name, socket.socket(socket.AF_UNIX) as sock:
        folder = Path(name)
        sock.bind(f"{name}/management.sock")
        (folder / "link").symlink_to(folder)
        sock.listen()
        assert listens_unix(f"{name}/management.sock", Path("/"), proc=PROC)
        assert listens_unix("link/management.sock", folder, proc=PROC)
        assert not listens_unix(f"{name}/other.sock", Path("/"), proc=PROC)
