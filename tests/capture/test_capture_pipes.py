"""Standard input, pipes and devices: read as files are, with a limit on silence."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from capture_packets import pcap, udp, written

from vpnprobe.capture import pipes
from vpnprobe.capture.reading import CaptureInput, read_capture
from vpnprobe.cli import run_command
from vpnprobe.errors import ExitStatus, UsageError

PACKETS = [udp(bytes([number]) * 20, 5000, 1194, identification=number) for number in range(1, 4)]
SEED = Path(__file__).parents[2] / "pcaps" / "seed-client.pcap"


@contextmanager
def pipe_with(folder: Path, data: bytes, *, kept_open: threading.Event | None = None) -> Iterator[Path]:
    """A named pipe into which somebody writes; with `kept_open`, it is closed only once that is set."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            stream.write(data)
            if kept_open is not None:
                kept_open.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield pipe
    finally:
        if kept_open is not None:
            kept_open.set()
        writer.join()


def stalled(folder: Path, data: bytes) -> CaptureInput:
    with pipe_with(folder, data, kept_open=threading.Event()) as pipe:
        return read_capture(pipe)


@pytest.mark.parametrize("cut", [0, 7])
def test_what_came_before_a_stall_is_kept(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it stops between two records or within one."""
    monkeypatch.setattr(pipes, "STALL_S", 0.1)
    whole = pcap(PACKETS)
    found = stalled(tmp_path, whole[: len(whole) - cut])
    assert (found.packets, found.readable) == (3 if cut == 0 else 2, False)
    assert found.problem is not None
    assert f"{found.packets} packets were read, then input" in found.problem
    assert "nothing more came for 0.1 s" in found.problem


def test_a_stalled_text_is_read_as_far_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "STALL_S", 0.1)
    found = stalled(tmp_path, SEED.with_suffix(".txt").read_bytes())
    assert (found.packets, found.readable) == (28, False)
    assert "nothing more came" in str(found.problem)


def test_who_ends_a_capture_that_is_under_way_sees_what_it_holds() -> None:
    """As with Ctrl-C, which the program that captures gets too."""
    command = [sys.executable, "-m", "vpnprobe", "analyze", "--json", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SEED.read_bytes())
        deadline = time.monotonic() + 30
        while fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)) != bytes(4) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # It was taken, and is looked at; then more is waited for.
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()
        assert process.wait(30) == 0
    [capture] = json.loads(told)["run"]["captures"]
    assert (capture["packets"], capture["readable"]) == (28, False)
    assert "interrupted" in capture["problem"]


def test_first_bytes_that_come_one_by_one_are_recognised(tmp_path: Path) -> None:
    import gzip

    data = gzip.compress(pcap(PACKETS))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for at in range(4):
                stream.write(data[at : at + 1])
                time.sleep(0.02)
            stream.write(data[4:])

    writer = threading.Thread(target=write)
    writer.start()
    found = read_capture(pipe)
    writer.join()
    assert (found.packets, found.readable, found.problem) == (3, True, None)


def test_a_pipe_is_opened_once(tmp_path: Path) -> None:
    with pipe_with(tmp_path, SEED.read_bytes()) as pipe:
        assert read_capture(pipe).packets == 28


def analysed(name: str, stdin: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vpnprobe", "analyze", name, "--json"]
    return subprocess.run(command, stdin=stdin, capture_output=True, timeout=60, check=False)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
def test_standard_input_is_read_whatever_it_is(name: str, kind: str) -> None:
    if kind == "file":
        with SEED.open("rb") as stdin:
            done = analysed(name, stdin)
    elif kind == "pipe":
        read_end, write_end = os.pipe()
        os.write(write_end, SEED.read_bytes())
        os.close(write_end)
        with os.fdopen(read_end) as stdin:
            done = analysed(name, stdin)
    else:
        near, far = socket.socketpair()
        with near:
            far.sendall(SEED.read_bytes())
            far.close()
            done = analysed(name, near)
    assert done.returncode == 0, done.stderr
    (capture,) = json.loads(done.stdout)["run"]["captures"]
    assert (capture["file"], capture["packets"], capture["readable"]) == ("/dev/stdin", 28, True)


def test_standard_input_from_which_nothing_comes_is_told_in_one_line() -> None:
    read_end, write_end = os.pipe()
    began = time.monotonic()
    with os.fdopen(read_end) as stdin:
        done = analysed("-", stdin)
    os.close(write_end)
    assert done.returncode == ExitStatus.UNREADABLE
    assert done.stderr.decode() == "error: /dev/stdin: gave nothing in 5 s: start what writes to it first, or name a file\n"
    assert time.monotonic() - began < 30


def test_what_can_be_read_only_once_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for named in (["-", "-"], ["--client", "-", "--server", "/dev/stdin"], [str(tmp_path / "pipe")] * 2):
        assert run_command(["analyze", *named]) == ExitStatus.USAGE
        assert "is named twice" in capsys.readouterr().err
    pipes.require_read_once([SEED, SEED, tmp_path, tmp_path, tmp_path / "none", tmp_path / "none", tmp_path / "pipe"])


def test_a_file_of_that_name_is_read_where_its_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, pcap(PACKETS), "-")
    monkeypatch.chdir(tmp_path)
    assert run_command(["analyze", "./-", "--json"]) == 0


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(UsageError, match="is a socket"):
            read_capture(tmp_path / "socket")
    if Path("/proc/self/mem").exists():
        with pytest.raises(UsageError, match="cannot be read: input/output error"):
            read_capture(Path("/proc/self/mem"))
