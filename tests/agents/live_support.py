"""Both agents as processes: `vpnprobe serve` and `vpnprobe run` in the namespaces of a lab."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import jsonschema

from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import CLIENT, SERVER

PATIENCE_S = 60.0
VPNPROBE = (sys.executable, "-W", "error::ResourceWarning", "-m", "vpnprobe")
_VALIDATOR = jsonschema.Draft202012Validator(json.loads((files("vpnprobe.observations") / "result.schema.json").read_text("utf-8")))


@dataclass
class Process:
    """A command in a namespace, whose output is read as it comes."""

    popen: "subprocess.Popen[str]"
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    _lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    _readers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        for stream, kept in ((self.popen.stdout, self.out), (self.popen.stderr, self.err)):
            reader = threading.Thread(target=self._read, args=(stream, kept), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, stream: IO[str], kept: list[str]) -> None:
        with stream:
            for line in stream:
                kept.append(line.rstrip("\n"))
                self._lines.put(line)
        self._lines.put("")

    def wait_for(self, start: str) -> str:
        """The first line that starts so, on either stream; fails where the process ends before."""
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            if line.startswith(start):
                return line.rstrip("\n")
            assert line or self.popen.poll() is None, f"ended with {self.popen.returncode}: {self.err}"

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self, *, within_s: float = PATIENCE_S) -> int:
        """The exit status, once all output has been read."""
        status = self.popen.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        return status

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err if line.startswith("error:")]

    @property
    def traceback(self) -> bool:
        return any("Traceback" in line or "never retrieved" in line or "Exception" in line for line in self.err)


def start(
    lab: Lab | None, host: str, *arguments: str | Path, environment: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Process:
    """`vpnprobe ARGUMENTS` on a host of the lab; None: here."""
    prefix = lab.exec_prefix(host) if lab is not None else []
    command = [*prefix, *VPNPROBE, *map(str, arguments)]
    # `ip netns exec` replaces itself by the command, so that a signal to the process reaches it.
    popen = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        start_new_session=True,
    )
    return Process(popen)


@contextmanager
def serving(lab: Lab | None, token: Path, *arguments: str) -> Iterator[Process]:
    """A server agent that is ready."""
    process = start(lab, SERVER, "serve", "--token-file", token, *arguments)
    try:
        process.wait_for("{" if "--json" in arguments else "ready")
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
        process.end()


def client(lab: Lab, token: Path, folder: Path, *arguments: str) -> Process:
    """A client agent on its way."""
    return start(lab, CLIENT, "run", "--peer", str(lab.topology.server_address), "--token-file", token, "-o", folder, *arguments)


def document_of(folder: Path) -> dict[str, Any]:
    """The result document, which must be valid by its schema."""
    document: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    problems = [f"{error.json_path}: {error.message}" for error in _VALIDATOR.iter_errors(document)]
    assert problems == []
    return document


def outcomes_of(document: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["outcome"] for row in document["observations"] if row["check"] != "nmap"}


def feasibility_of(document: dict[str, Any]) -> dict[str, str]:
    return {verdict["protocol"]: verdict["feasibility"] for verdict in document["verdicts"]}


def names(rows: Sequence[str], outcome: str, found: dict[str, str]) -> list[str]:
    return [row for row in rows if found[row] == outcome]
