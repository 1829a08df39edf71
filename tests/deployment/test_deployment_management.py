"""The management interface: what it answers is read, whatever it is, within a bounded time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from vpnprobe.deployment.management import Management, cut_off, quoted
from vpnprobe.errors import CannotRun, UsageError

GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"


@contextmanager
def answering(folder: Path, answers: dict[bytes, bytes], greeting: bytes = GREETING) -> Iterator[tuple[Path, list[bytes]]]:
    """A real socket behind which these answers are given, and the commands that came."""
    path, commands = folder / "socket", list[bytes]()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        connection, _ = listening.accept()
        # The client may go before it has read all.
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            connection.sendall(greeting)
            for line in lines:
                commands.append(line.rstrip())
                if line.startswith(b"quit"):
                    return
                connection.sendall(answers[line.rstrip()])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path, commands
    finally:
        thread.join(5)
        listening.close()


def test_sessions_are_cut(tmp_path: Path) -> None:
    answers = {
        b'kill "anna"': b"SUCCESS: common name 'anna' found, 2 client(s) killed\r\n",
        b'kill "1234"': b"SUCCESS: common name '1234' found, 1 client(s) killed\r\n",
        b'kill "bert"': b"ERROR: common name 'bert' not found\r\n",
    }
    with answering(tmp_path, answers) as (path, commands):
        assert cut_off(path, ["anna", "1234", "bert"]) == 3
    assert commands == [*answers, b"quit"]


def test_refusals(tmp_path: Path) -> None:
    with (
        answering(tmp_path, {b'kill "anna"': b">LOG:1\r\nERROR: no\r\n"}) as (path, _),
        Management(path) as management,
        pytest.raises(CannotRun, match="does not cut the sessions of anna: 'ERROR: no'"),
    ):
        management.kill("anna")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot be reached: .*is the server running"), Management(tmp_path / "none"):
        pass


def test_closed_at_once(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    thread = threading.Thread(target=lambda: listening.accept()[0].close())
    thread.start()
    with pytest.raises(CannotRun, match="was closed: only root may use it"), Management(tmp_path / "socket"):
        pass
    thread.join()
    listening.close()


def test_silence_is_bounded(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        with pytest.raises(CannotRun, match="another program may be using it"), Management(tmp_path / "socket", deadline_s=0.2):
            pass


def test_an_answer_without_end_is_bounded(tmp_path: Path) -> None:
    with answering(tmp_path, {b'kill "anna"': b"x" * (5 * 1024 * 1024)}) as (path, _):
        management = Management(path, deadline_s=10)
        management.__enter__()
        with pytest.raises(CannotRun, match="says too much"):
            management.kill("anna")
        management.__exit__(None, None, None)


def test_words_of_commands() -> None:
    assert quoted("anna") == '"anna"'
    assert quoted('a"b\\c d') == '"a\\"b\\\\c d"'
    for name in ("a\nstatus", "a\rb", "a\0", "\x7f"):
        with pytest.raises(UsageError, match="no common name"):
            quoted(name)
