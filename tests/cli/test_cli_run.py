"""`vpnprobe run` on loopback: what is asked for by option, what is written where, and each wrong input's one line and status."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vpnprobe.errors import ExitStatus

PROGRAM = (sys.executable, "-P", "-m", "vpnprobe")
SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
PATIENCE_S = 60
FOLDER = {"result.json", "report.html", "observations.csv"}


@dataclass(frozen=True)
class Ran:
    status: int
    output: str
    errors: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.output)
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
        return document

    @property
    def error(self) -> str:
        """The one error line; progress stands before it."""
        lines = [line for line in self.errors.splitlines() if not line.startswith(("probing ", "tracing "))]
        assert len(lines) == 1, self.errors
        assert lines[0].startswith("error: ")
        return lines[0]


@dataclass(frozen=True)
class Server:
    port: int
    token: Path


def run(*options: str, cwd: Path, **environment: str) -> Ran:
    """In a folder of its own, with an empty home."""
    home = {"XDG_CONFIG_HOME": str(cwd / "config"), "VPNPROBE_TOKEN": "", "VPNPROBE_DEBUG": ""}
    done = subprocess.run(
        [*PROGRAM, "run", *options],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **home, **environment},
        check=False,
        timeout=PATIENCE_S,
    )
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("serve"), free_port()
    command = [*PROGRAM, "serve", "--listen", "127.0.0.1", "--control-port", str(port), "--token-file", str(folder / "token")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        yield Server(port, folder / "token")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def paired(server: Server, cwd: Path, *options: str) -> Ran:
    where = ("--peer", "127.0.0.1", "--control-port", str(server.port), "--token-file", str(server.token))
    return run(*where, *options, cwd=cwd)


def probes_of(ran: Ran) -> set[str]:
    """Those of the run's own; nmap's second opinion is there only if it was fast enough."""
    rows = (row for row in ran.document["observations"] if row["check"] != "nmap")
    return {row["probe"] for row in rows if row["probe"] not in ("nat", "path")}


def test_json_goes_to_standard_output_and_progress_elsewhere(server: Server, tmp_path: Path) -> None:
    ran = paired(server, tmp_path, "--only", "openvpn", "--json", "-o", "out")
    assert ran.status == 0
    assert ran.document == json.loads((tmp_path / "out" / "result.json").read_text())
    assert ran.errors.startswith("probing 127.0.0.1 with openvpn")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= FOLDER


def test_quiet_says_nothing_but_the_verdict(server: Server, tmp_path: Path) -> None:
    ran = paired(server, tmp_path, "--only", "openvpn-udp", "--quiet", "-o", "out")
    assert (ran.status, ran.errors) == (0, "")
    assert "OpenVPN over UDP" in ran.output
    assert ran.output.endswith("Report: out/report.html\n")


def test_a_folder_that_is_there_is_written_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text("old")
    (tmp_path / "out" / "mine.txt").write_text("kept")
    assert paired(server, tmp_path, "--only", "openvpn-udp", "-o", "out").status == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["complete"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "probes", "protocols"),
    [
        (["--only", "l2tp"], {"l2tp", "udp"}, ["l2tp"]),
        (["--only", "openvpn-tcp,l2tp"], {"l2tp", "udp", "openvpn", "tcp"}, ["l2tp", "openvpn-tcp"]),
        (["--only", "ike"], {"ike"}, ["l2tp-ipsec"]),
        (["--only", "l2tp", "--skip", "udp"], {"l2tp"}, ["l2tp"]),
        (["--skip", "pptp,l2tp-ipsec,wireguard", "--skip", "openvpn-udp,openvpn-tcp"], {"l2tp", "udp"}, ["l2tp"]),
    ],
)
def test_names_of_protocols_and_probes(
    server: Server, tmp_path: Path, options: Sequence[str], probes: set[str], protocols: list[str]
) -> None:
    ran = paired(server, tmp_path, *options, "--json")
    # What the control connection tells of TCP's loss is there whatever is asked for.
    assert probes_of(ran) - {"quality"} == probes
    assert [verdict["protocol"] for verdict in ran.document["verdicts"]] == protocols


def test_further_ports_are_candidates(server: Server, tmp_path: Path) -> None:
    further = sorted({free_port(), free_port()})
    ran = paired(server, tmp_path, "--only", "openvpn-udp", *(f"--port={port}" for port in further), "--json")
    seen = {row["port"] for row in ran.document["observations"] if row["probe"] == "openvpn"}
    assert seen >= {1194, 443, *further}


def test_the_control_port_is_a_candidate_over_udp_alone(server: Server, tmp_path: Path) -> None:
    ran = paired(server, tmp_path, "--only", "openvpn", f"--port={server.port}", "--json")
    assert {row["transport"] for row in ran.document["observations"] if row["port"] == server.port} == {"udp"}


def test_the_result_goes_to_a_folder_of_its_own(server: Server, tmp_path: Path) -> None:
    assert paired(server, tmp_path, "--only", "l2tp").status == 0
    (folder,) = (tmp_path / "vpnprobe-results").iterdir()
    assert folder.name.endswith("Z-127.0.0.1")


def test_the_token_of_the_environment_and_of_the_home(server: Server, tmp_path: Path) -> None:
    where = ("--peer", "127.0.0.1", "--control-port", str(server.port), "--only", "l2tp", "--json")
    assert run(*where, cwd=tmp_path, VPNPROBE_TOKEN=server.token.read_text().strip()).status == 0
    home = tmp_path / "config" / "vpnprobe"
    home.mkdir(parents=True)
    shutil.copy(server.token, home / "token-127.0.0.1")
    assert run(*where, cwd=tmp_path).status == 0


# ------------------------------------------------------------------------------------------------------------ wrong input


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--only", "pptpp"], ExitStatus.USAGE, "did you mean pptp?"),
        (["--only", "grre"], ExitStatus.USAGE, "did you mean gre?"),
        (["--skip", "carrier-pigeon"], ExitStatus.USAGE, "known are pptp, l2tp"),
        (["--only", "pptp", "--skip", "pptp,gre,tcp"], ExitStatus.USAGE, "leave nothing to probe"),
        (["--error-bound", "0"], ExitStatus.USAGE, "'--error-bound'"),
        (["--error-bound", "0.5"], ExitStatus.USAGE, "'--error-bound'"),
        (["--port", "0"], ExitStatus.USAGE, "'--port'"),
        (["--port", "70000"], ExitStatus.USAGE, "'--port'"),
        (["--port", "9999", "--port", "500"], ExitStatus.USAGE, "--port 500 is the port of another VPN protocol"),
        (["--port", "1723"], ExitStatus.USAGE, "--port 1723 is the port of another VPN protocol"),
        (["--prefer", "sped"], ExitStatus.USAGE, "did you mean 'speed'?"),
        (["--client-os", "windos"], ExitStatus.USAGE, "did you mean 'windows'?"),
        (["--consider", "wireguardd"], ExitStatus.USAGE, "is not known"),
        (["--preset", "old"], ExitStatus.USAGE, "known are modern, classic"),
        (["--rules", "typo.toml"], ExitStatus.UNREADABLE, "typo.toml: rule.pptp-gre: unknown key 'neeed': did you mean 'need'?"),
        (["--rules", "broken.toml"], ExitStatus.UNREADABLE, "broken.toml: not TOML"),
        (["--rules", "nothere.toml"], ExitStatus.UNREADABLE, "nothere.toml: cannot be read"),
        (["--jsn"], ExitStatus.USAGE, "No such option"),
    ],
)
def test_what_is_asked_for_is_checked_before_anything_is_sent(
    tmp_path: Path, options: Sequence[str], status: ExitStatus, said: str
) -> None:
    """No peer is needed to find it out."""
    (tmp_path / "typo.toml").write_text('schema = "vpnprobe.rules/1"\n[rule.pptp-gre]\nneeed = "required"\n')
    (tmp_path / "broken.toml").write_text("[[[")
    ran = run("--peer", "192.0.2.1", *options, cwd=tmp_path)
    assert ran.status == status
    assert said in ran.error
    assert ran.output == ""
    assert not (tmp_path / "vpnprobe-results").exists()


@pytest.mark.parametrize(
    ("peer", "status", "said"),
    [
        ([], ExitStatus.USAGE, "name the peer: --peer HOST"),
        (["--peer", "no-such-host.invalid"], ExitStatus.NO_PEER, "the host 'no-such-host.invalid' is not known"),
        (["--peer", "a b"], ExitStatus.NO_PEER, "the host 'a b' is not known"),
        (["--peer", "no-such-host.invalid", "--solo"], ExitStatus.NO_PEER, "is not known"),
        (["--peer", "::1"], ExitStatus.NO_PEER, "no IPv4 address"),
        (["--peer", "ssh://"], ExitStatus.USAGE, "is not of the form ssh://[USER@]HOST[:PORT]"),
        (["--peer", "ssh://-oProxyCommand=true"], ExitStatus.USAGE, "is not of the form"),
        (["--peer", "ssh://127.0.0.1", "--solo"], ExitStatus.USAGE, "--solo needs no agent"),
    ],
)
def test_who_is_asked(tmp_path: Path, peer: Sequence[str], status: ExitStatus, said: str) -> None:
    (tmp_path / "token").write_text("vpnprobe1:" + "0" * 64 + ":" + "0" * 64)
    ran = run(*peer, cwd=tmp_path)
    assert ran.status == status
    assert said in ran.error


def test_without_a_token_the_line_to_copy_is_told(server: Server, tmp_path: Path) -> None:
    ran = run("--peer", "127.0.0.1", "--control-port", str(server.port), cwd=tmp_path)
    assert ran.status == ExitStatus.NO_PEER
    assert "scp -p 127.0.0.1:.config/vpnprobe/token " in ran.error
    assert "token-127.0.0.1" in ran.error


def test_a_token_that_others_may_read(server: Server, tmp_path: Path) -> None:
    shutil.copy(server.token, tmp_path / "token")
    (tmp_path / "token").chmod(0o644)
    ran = run("--peer", "127.0.0.1", "--control-port", str(server.port), "--token-file", "token", cwd=tmp_path)
    assert ran.status == ExitStatus.USAGE
    assert "chmod 600 token" in ran.error


@pytest.mark.parametrize("content", [b"", b"not a token\n", b"\xff\xfe\x00" * 50])
def test_a_file_that_is_no_token(server: Server, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    (tmp_path / "token").chmod(0o600)
    ran = run("--peer", "127.0.0.1", "--control-port", str(server.port), "--token-file", "token", cwd=tmp_path)
    assert ran.status == ExitStatus.UNREADABLE
    assert "token" in ran.error


def test_the_secret_of_another_server(server: Server, tmp_path: Path) -> None:
    """The right certificate, the wrong secret: nothing is answered."""
    head, secret, fingerprint = server.token.read_text().strip().split(":")
    other = "".join(reversed(secret))
    (tmp_path / "token").write_text(f"{head}:{other}:{fingerprint}\n")
    (tmp_path / "token").chmod(0o600)
    ran = run("--peer", "127.0.0.1", "--control-port", str(server.port), "--token-file", "token", cwd=tmp_path)
    assert ran.status == ExitStatus.NO_PEER
    assert "token" in ran.error


def test_nobody_listens_on_the_control_port(server: Server, tmp_path: Path) -> None:
    port = free_port()
    ran = run("--peer", "127.0.0.1", "--control-port", str(port), "--token-file", str(server.token), cwd=tmp_path)
    assert ran.status == ExitStatus.NO_PEER
    assert f"127.0.0.1:{port} refuses the control connection" in ran.error


@contextmanager
def saying(greet: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something else that listens; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)

        def serve() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    greet(stream)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


def http(stream: socket.socket) -> None:
    stream.recv(4096)
    stream.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def ssh(stream: socket.socket) -> None:
    stream.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def hangs_up(stream: socket.socket) -> None:
    return


@pytest.mark.parametrize("greet", [http, ssh, hangs_up])
def test_something_else_listens_there(server: Server, tmp_path: Path, greet: Callable[[socket.socket], None]) -> None:
    with saying(greet) as port:
        ran = run("--peer", "127.0.0.1", "--control-port", str(port), "--token-file", str(server.token), cwd=tmp_path)
    assert ran.status == ExitStatus.NO_PEER
    assert f"127.0.0.1:{port}" in ran.error


# ---------------------------------------------------------------------------------------------------- nowhere to write to


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_costs_nobody_the_verdict(server: Server, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = paired(server, tmp_path, "--only", "l2tp", "-o", place)
    assert ran.status == ExitStatus.UNWRITABLE
    assert f"cannot write {place}" in ran.error
    assert "-o" in ran.error
    assert "L2TP" in ran.output


@pytest.mark.root
@pytest.mark.parametrize("room", ["4k", "24k"])
def test_a_full_disk_costs_nobody_the_verdict(server: Server, tmp_path: Path, room: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", str(small)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems may not be mounted here")
    try:
        ran = paired(server, tmp_path, "--only", "l2tp", "--json", "-o", "small/out")
        assert ran.status == ExitStatus.UNWRITABLE
        assert "no space left on device" in ran.error
        assert ran.document["complete"]
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
