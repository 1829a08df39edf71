"""`vpnprobe serve` and `vpnprobe run` as programs in a lab's namespaces, and what came of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest

from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import CLIENT, SERVER

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
PROGRAM = (sys.executable, "-P", "-m", "vpnprobe")
PATIENCE_S = 90.0
TRIES = 3
"""Of a run whose result says that this machine was busy: what it set aside for that is not what a test is about."""
NOBODY = "65534"
READING = "-all,+dac_read_search"
"""Capabilities of a user who may read this installation wherever it lies (a root folder may be closed to others), and no more."""
WITHOUT_ROOT = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *(f"--inh-caps={READING}", f"--ambient-caps={READING}", f"--bounding-set={READING}"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """A run that ended."""

    status: int
    output: str
    errors: str
    folder: Path

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.output)
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
        return document

    @property
    def feasibility(self) -> dict[str, str]:
        return {verdict["protocol"]: verdict["feasibility"] for verdict in self.document["verdicts"]}

    def because(self, protocol: str) -> str:
        """All reasons of a verdict."""
        verdict = next(verdict for verdict in self.document["verdicts"] if verdict["protocol"] == protocol)
        return " ".join(reason["text"] for reason in verdict["because"])

    def row(self, name: str) -> Row:
        """The observation of that id."""
        found = [row for row in self.document["observations"] if row["id"] == name]
        assert len(found) == 1, f"{name} is not among {sorted(row['id'] for row in self.document['observations'])}"
        return dict(found[0])

    def outcome(self, name: str) -> str:
        return str(self.row(name)["outcome"])

    def messages(self, name: str) -> dict[tuple[str, str], tuple[int, int]]:
        """By message and direction: sent and received."""
        rows = self.row(name)["detail"]["messages"]
        return {(row["message"], row["direction"]): (row["sent"], row["received"]) for row in rows}

    def offline(self) -> dict[str, str]:
        """The feasibility that the run's own captures come to, for the protocols that it asked about."""
        ends = [f"--{end}={self.folder / end}.pcap" for end in ("client", "server") if (self.folder / f"{end}.pcap").exists()]
        done = subprocess.run([*PROGRAM, "analyze", *ends, "--json"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        found = {verdict["protocol"]: verdict["feasibility"] for verdict in json.loads(done.stdout)["verdicts"]}
        return {protocol: found[protocol] for protocol in self.feasibility}


@contextmanager
def serving(lab: Lab, folder: Path, *, prefix: Sequence[str] = ()) -> Iterator[Path]:
    """The server agent in the server's namespace; its token file."""
    token = folder / "token"
    command = [*lab.exec_prefix(SERVER), *prefix, *PROGRAM, "serve", "--token-file", str(token)]
    with (folder / "serve.log").open("w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("ready"), (folder / "serve.log").read_text()
            yield token
        finally:
            process.terminate()
            assert process.wait(10) == 0
    assert "Traceback" not in (folder / "serve.log").read_text()


def run(
    lab: Lab, folder: Path, *options: str, prefix: Sequence[str] = (), environment: dict[str, str] | None = None, peer: bool = True
) -> Ran:
    """A run from the client's namespace, against the server unless `--peer` says otherwise; `peer`: False, a profile says against whom.

    Done again where its result says that an end was late, as it asks for.
    """
    for _ in range(TRIES - 1):
        ran = _run(lab, folder, *options, prefix=prefix, environment=environment, peer=peer)
        if '"path-late-' not in ran.output:
            return ran
    return _run(lab, folder, *options, prefix=prefix, environment=environment, peer=peer)


def _run(lab: Lab, folder: Path, *options: str, prefix: Sequence[str], environment: dict[str, str] | None, peer: bool) -> Ran:
    out = folder / "result"
    shutil.rmtree(out, ignore_errors=True)
    whom = () if "--peer" in options or not peer else ("--peer", str(lab.topology.server_address))
    command = [*lab.exec_prefix(CLIENT), *prefix, *PROGRAM, "run", *whom, "--json", "-o", str(out), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, "VPNPROBE_DEBUG": "", **(environment or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr, out)


@contextmanager
def anybodys_folder() -> Iterator[Path]:
    """A temporary folder that users without privilege may write to; a skip where they cannot even run vpnprobe."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    if subprocess.run([*WITHOUT_ROOT, *PROGRAM, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("a user without privilege may not read this installation")
    with TemporaryDirectory(prefix="vpnprobe-nobody-") as name:
        os.chmod(name, 0o777)
        yield Path(name)
