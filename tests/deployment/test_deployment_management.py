"""The management interface: what it answers is read, whatever it is, within a bounded time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.management import Load, Management, Session, cut_off, decode_load, decode_sessions, quoted
from vpnprobe.errors import CannotRun, UsageError

GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
STATUS = """\
TITLE\tOpenVPN 2.6.14
TIME\t2026-03-01 12:00:00\t1772366400
HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\tBytes Sent\tConnected Since\
\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher
CLIENT_LIST\tanna\t10.0.0.2:40000\t10.99.0.2\t\t2611\t2440\t2026-03-01 11:00:00\t1772362800\tUNDEF\t7\t0\tAES-256-GCM
HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\tLast Ref (time_t)
ROUTING_TABLE\t10.99.0.2\tanna\t10.0.0.2:40000\t2026-03-01 11:00:00\t1772362800
GLOBAL_STATS\tMax bcast/mcast queue length\t0
"""
ANNA = Session(name="anna", real_address="10.0.0.2:40000", virtual_address="10.99.0.2", received=2611, sent=2440, since=1772362800, id=7)


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


def test_who_is_connected(tmp_path: Path) -> None:
    answer = b">CLIENT:ESTABLISHED\r\n" + STATUS.replace("\n", "\r\n").encode() + b"END\r\n"
    with answering(tmp_path, {b"status 3": answer}) as (path, commands), Management(path) as management:
        assert management.sessions() == (ANNA,)
    assert commands == [b"status 3", b"quit"]


def test_load(tmp_path: Path) -> None:
    answer = b"SUCCESS: nclients=1,bytesin=2611,bytesout=2512\r\n"
    with answering(tmp_path, {b"load-stats": answer}) as (path, _), Management(path) as management:
        assert management.load() == Load(clients=1, received=2611, sent=2512)


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
    answers = {b'kill "anna"': b"ERROR: no\r\n", b"status 3": b"ERROR: command not allowed\r\n"}
    with answering(tmp_path, answers) as (path, _), Management(path) as management:
        with pytest.raises(CannotRun, match="does not cut the sessions of anna: 'ERROR: no'"):
            management.kill("anna")
        with pytest.raises(CannotRun, match="the server refuses 'status 3'"):
            management.sessions()


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
    with answering(tmp_path, {b"load-stats": b"x" * (5 * 1024 * 1024)}) as (path, _):
        management = Management(path, deadline_s=10)
        management.__enter__()
        with pytest.raises(CannotRun, match="says too much"):
            management.load()
        management.__exit__(None, None, None)


def test_words_of_commands() -> None:
    assert quoted("anna") == '"anna"'
    assert quoted('a"b\\c d') == '"a\\"b\\\\c d"'
    for name in ("a\nstatus", "a\rb", "a\0", "\x7f"):
        with pytest.raises(UsageError, match="no common name"):
            quoted(name)


@given(st.lists(st.text(max_size=60) | st.sampled_from(STATUS.splitlines()), max_size=8))
def test_any_lines_are_sessions_or_refused(lines: list[str]) -> None:
    try:
        found = list(decode_sessions(lines))
    except CannotRun as refused:
        assert "no OpenVPN 2.6" in str(refused)
    else:
        assert len(found) == sum(line.split("\t")[0] == "CLIENT_LIST" for line in lines)


@given(st.text())
def test_any_line_is_a_load_or_refused(line: str) -> None:
    try:
        found = decode_load(line)
    except CannotRun as refused:
        assert str(refused).isprintable()
    else:
        assert min(found.clients, found.received, found.sent) >= 0
