"""Whether an interface with a key is up: by what `wg` prints, what control sockets answer, and what sysfs shows."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vpnprobe.endpoint import wireguard_running
from vpnprobe.endpoint.running_tunnels import RunningTunnel
from vpnprobe.endpoint.wireguard_running import search_wireguard
from vpnprobe.errors import CannotRun
from vpnprobe.wire import wireguard_noise
from vpnprobe.wire.wireguard_noise import key_text

PRIVATE = bytes(range(32))
KEY = wireguard_noise.public_key(PRIVATE)
OTHER = bytes(reversed(range(32)))
FILE = Path("/home/anna/wg0.conf")
UP, DOWN = "0x10d1", "0x90"
SURE = "interface {} with this profile's key"
OF_THIS_NAME = "interface wg0, which has this profile's name and a key that cannot be read (that takes root and the program wg)"
UNREAD = "interface {}, whose key cannot be read (that takes root and the program wg)"


class Machine:
    """A root folder with what a search looks at, and programs that it finds first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/class/net").mkdir(parents=True)
        (root / "bin").mkdir()
        self.wg("exit 1")

    def interface(self, name: str, *, kernel: bool = True, flags: str = UP) -> None:
        folder = self.root / "sys/class/net" / name
        folder.mkdir()
        (folder / "flags").write_text(f"{flags}\n")
        (folder / "uevent").write_text(("DEVTYPE=wireguard\n" if kernel else "") + f"INTERFACE={name}\nIFINDEX=7\n")

    def wg(self, *script: str) -> None:
        program = self.root / "bin/wg"
        program.write_text("\n".join(["#!/bin/sh", *script, ""]))
        program.chmod(0o755)

    def wg_prints(self, *lines: str, status: int = 0) -> None:
        self.wg('[ "$*" = "show all public-key" ] || exit 9', *(f"echo '{line}'" for line in lines), f"exit {status}")

    @contextmanager
    def control_socket(self, name: str, answer: bytes | None) -> Iterator[None]:
        """Answers once; None: takes connections and says nothing."""
        folder = self.root / "var/run/wireguard"
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / f"{name}.sock"))
            listener.listen()
            thread = threading.Thread(target=answer_once, args=(listener, answer))
            thread.start()
            try:
                yield
            finally:
                if thread.is_alive():
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def found(self, *, key: bytes = KEY, file: Path = FILE) -> tuple[list[str], list[str]]:
        search = search_wireguard(key, file, root=self.root)
        return [tunnel.what for tunnel in search.tunnels], list(search.untold)


def answer_once(listener: socket.socket, answer: bytes | None) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    # Whoever asked may have left before the end.
    with connection, suppress(ConnectionError):
        if connection.recv(100) == b"get=1\n\n" and answer is not None:
            for start in range(0, len(answer), 50):
                connection.sendall(answer[start : start + 50])
        else:
            connection.recv(100)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    # Paths of sockets have 107 bytes at most.
    with TemporaryDirectory(prefix="vpnprobe-wg-") as name:
        monkeypatch.setenv("PATH", f"{name}/bin:/usr/bin:/bin")
        yield Machine(Path(name))


def test_the_key_that_wg_prints_is_sure_whatever_the_name(machine: Machine) -> None:
    machine.interface("office")
    machine.interface("wg0")
    machine.wg_prints(f"office\t{key_text(KEY)}", f"wg0\t{key_text(OTHER)}")
    assert machine.found() == ([SURE.format("office")], [])


@pytest.mark.parametrize("flags", [UP, DOWN])
def test_an_interface_that_is_down_is_none(machine: Machine, flags: str) -> None:
    machine.interface("wg0", flags=flags)
    machine.wg_prints(f"wg0\t{key_text(KEY)}")
    assert machine.found() == ([SURE.format("wg0")] if flags == UP else [], [])


def test_what_wg_prints_before_it_fails_counts(machine: Machine) -> None:
    machine.interface("office")
    machine.interface("other")
    machine.wg_prints(f"office\t{key_text(KEY)}", status=1)
    assert machine.found() == ([SURE.format("office")], [UNREAD.format("other")])


def test_an_interface_without_a_key_is_none(machine: Machine) -> None:
    machine.interface("wg0")
    machine.wg_prints("wg0\t(none)", "no line of its own", f"wg1\t{key_text(KEY)[:-4]}")
    assert machine.found() == ([], [])


def test_where_keys_cannot_be_read_the_name_of_the_file_counts(machine: Machine) -> None:
    for name in ("wg0", "wg1"):
        machine.interface(name)
    machine.interface("wg2", flags=DOWN)
    machine.interface("eth0", kernel=False)
    assert machine.found() == ([OF_THIS_NAME], [UNREAD.format("wg1")])
    assert machine.found(file=Path("eth0.conf")) == ([], [UNREAD.format("wg0"), UNREAD.format("wg1")])


def test_a_wg_that_hangs_is_not_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguard_running, "TOOL_S", 0.1)
    machine.interface("wg0")
    machine.wg("exec sleep 60")
    began = time.monotonic()
    assert machine.found() == ([OF_THIS_NAME], [])
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "answer",
    [
        f"private_key={PRIVATE.hex()}\nlisten_port=51820\npublic_key={OTHER.hex()}\nerrno=0\n\n",
        f"own_public_key={KEY.hex()}\nlisten_port=51820\nerrno=0\n\n",
    ],
    ids=["wireguard-go", "BoringTun"],
)
@pytest.mark.parametrize("by_wg", [[], ["wg7\t(none)"]], ids=["without wg", "wg tells no key"])
def test_a_control_socket_tells_the_key(machine: Machine, answer: str, by_wg: list[str]) -> None:
    machine.interface("wg7", kernel=False)
    machine.wg_prints(*by_wg)
    with machine.control_socket("wg7", answer.encode()):
        assert machine.found() == ([SURE.format("wg7")], [])
    with machine.control_socket("other", answer.encode()):
        assert machine.found(key=OTHER) == ([], [])


def test_an_interface_that_does_not_show_here_and_answers_is_up_elsewhere(machine: Machine) -> None:
    with machine.control_socket("wg7", f"private_key={PRIVATE.hex()}\nerrno=0\n\n".encode()):
        assert machine.found() == ([SURE.format("wg7")], [])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"errno=0\n\n",
        b"private_key=\nerrno=0\n\n",
        b"private_key=00ff\nerrno=0\n\n",
        f"private_key={PRIVATE.hex()}".encode(),
        f"listen_port=1\npublic_key={KEY.hex()}\nerrno=0\n\n".encode(),
        b"\xff\x00=\n" * 30_000,
    ],
    ids=["closed", "not set up", "empty", "short", "cut off", "a peer's", "endless"],
)
def test_what_tells_no_key_is_no_match(machine: Machine, answer: bytes) -> None:
    machine.interface("wg0", kernel=False)
    with machine.control_socket("wg0", answer):
        assert machine.found() == ([], [])


def test_a_socket_that_says_nothing_is_not_waited_for(machine: Machine) -> None:
    machine.interface("wg0", kernel=False)
    machine.interface("wg1", kernel=False)
    with machine.control_socket("wg0", None), machine.control_socket("wg1", None):
        assert machine.found() == ([OF_THIS_NAME], [UNREAD.format("wg1")])


def test_a_socket_that_was_left_behind_is_nothing(machine: Machine) -> None:
    machine.interface("wg0", kernel=False)
    with machine.control_socket("wg0", None):
        pass
    assert machine.found() == ([], [])


def test_without_cryptography_the_key_is_not_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(private: bytes) -> bytes:
        raise CannotRun(wireguard_noise.LACKING)

    monkeypatch.setattr(wireguard_noise, "public_key", lacking)
    machine.interface("wg0", kernel=False)
    with machine.control_socket("wg0", f"private_key={PRIVATE.hex()}\nerrno=0\n\n".encode()):
        assert machine.found() == ([OF_THIS_NAME], [])


def test_names_cannot_rewrite_a_terminal(machine: Machine) -> None:
    machine.interface("wg\x1b[2J")
    machine.wg_prints(f"wg\x1b[2J\t{key_text(KEY)}")
    assert machine.found() == ([SURE.format("wg?[2J")], [])


def test_a_system_that_shows_nothing(machine: Machine) -> None:
    os.rmdir(machine.root / "sys/class/net")
    assert machine.found() == ([], [])
    machine.wg_prints(f"utun4\t{key_text(KEY)}")
    assert machine.found() == ([SURE.format("utun4")], [])
    # This machine itself: no interface of anybody has a key that was made just now.
    assert RunningTunnel(SURE.format("wg0")) not in search_wireguard(os.urandom(32), Path("no-such-interface.conf")).tunnels
