"""Clients of the real openvpn that run with a profile's own identity, started in the ways that there are."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from real_support import PROGRAM, WITHOUT_ROOT, anybodys_folder

from vpnprobe.endpoint.openvpn_running import search_openvpn
from vpnprobe.errors import ExitStatus
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Algorithm, Authority
from vpnprobe.lab.openvpn_servers import COMPLETED, ServerConfig, openvpn_client, openvpn_servers
from vpnprobe.profiles.ovpn import read_profile
from vpnprobe.transports.topology import CLIENT

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]

PATIENCE_S = 30.0
SEARCH = """
import json, sys
from pathlib import Path
from vpnprobe.endpoint.openvpn_running import search_openvpn
from vpnprobe.profiles.ovpn import read_profile
found = search_openvpn(read_profile(Path(sys.argv[1])))
print(json.dumps([[tunnel.what for tunnel in found.tunnels], found.untold]))
"""


class Office:
    """A folder with a profile whose server cannot be reached, and with copies of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "office"
        self.folder.mkdir(mode=0o755)
        authority = Authority.make(folder / "authority", Algorithm.EC)
        for name, data in {
            "ca.crt": authority.pem,
            "client.crt": authority.client().certificate_pem,
            "client.key": authority.client().key_pem,
            "other.crt": authority.server().certificate_pem,
            "other.key": authority.server().key_pem,
        }.items():
            (self.folder / name).write_bytes(data)
        text = "client\nremote 127.0.0.1 9\ndev null\nca ca.crt\ncert client.crt\nkey client.key\n"
        self.profile, self.copy, self.other = (self.folder / name for name in ("office.ovpn", "copy.ovpn", "other.ovpn"))
        self.profile.write_text(text)
        self.copy.write_text(text.replace("127.0.0.1", "127.0.0.2"))
        self.other.write_text(text.replace("client.", "other."))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@contextmanager
def client(lab: Lab, folder: Path, *arguments: str) -> Iterator[int]:
    """openvpn on the client's host; the number of the process that has taken its command line and waits for a server."""
    log, written = folder / "log", folder / "pid"
    command = [*lab.exec_prefix(CLIENT), "openvpn", *arguments]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    daemon = "--daemon" in arguments
    pid = process.pid
    try:
        if daemon:
            assert process.wait(PATIENCE_S) == 0, log.read_text()
            wait_for(lambda: written.exists() and written.read_text().endswith("\n"))
            pid = int(written.read_text())
        wait_for(lambda: os.path.basename(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]) == b"openvpn")
        # What it says once its options are read; a daemon has left its folder then.
        wait_for(lambda: "Need hold release" in log.read_text() or "UDPv4 link remote" in log.read_text())
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 15)
        process.wait()
        wait_for(lambda: not Path(f"/proc/{pid}").exists())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def told(profile: Path, pid: int) -> list[str]:
    """Of this process; others may run on the machine."""
    return [
        tunnel.what for tunnel in search_openvpn(read_profile(profile)).tunnels if f"process {pid} " in f"{tunnel.what} ".replace(",", " ")
    ]


def searched(profile: Path, prefix: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    command = [*prefix, sys.executable, "-P", "-W", "error", "-c", SEARCH, str(profile)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    tunnels, untold = json.loads(done.stdout)
    return tunnels, untold


def test_a_client_that_is_connected_and_not_its_server(clean_lab: Lab, tmp_path: Path) -> None:
    with openvpn_servers(clean_lab, [ServerConfig(port=1297)]) as (server,):
        with openvpn_client(clean_lab, server.client_profile(), folder=tmp_path) as running:
            running.wait_for(COMPLETED, deadline_s=PATIENCE_S)
            profile = tmp_path / "client.ovpn"
            copy = tmp_path / "copy.ovpn"
            copy.write_text(profile.read_text())
            pid = running.process.pid
            assert told(profile, pid) == [f"the openvpn process {pid} with this profile ({profile})"]
            assert told(copy, pid) == [f"the openvpn process {pid} with this profile's certificate ({profile})"]
            assert told(profile, server.pid) == []
        assert told(profile, pid) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("office.ovpn",), "office.ovpn"),
        (("--verb", "3", "--config", "./office.ovpn"), "./office.ovpn"),
        (("--cd", "{}", "--config", "office.ovpn"), "office.ovpn"),
        (("--daemon", "--log", "log", "--writepid", "pid", "--cd", "{}", "--config", "office.ovpn"), "office.ovpn"),
        (("--daemon", "--log", "log", "--writepid", "pid", "--config", "{}/office.ovpn"), "{}/office.ovpn"),
    ],
    ids=["one word", "an option", "its folder named", "a daemon, its folder named", "a daemon, a whole name"],
)
def test_the_same_profile(clean_lab: Lab, office: Office, arguments: tuple[str, ...], named: str) -> None:
    place = str(office.folder)
    with client(clean_lab, office.folder, *(argument.format(place) for argument in arguments)) as pid:
        shown = named.format(place)
        assert told(office.profile, pid) == [f"the openvpn process {pid} with this profile ({shown})"]
        # A daemon's profile is found where its folder is; what stands in it begins there too.
        if shown == "office.ovpn":
            assert told(office.copy, pid) == [f"the openvpn process {pid} with this profile's certificate (office.ovpn)"]
        assert told(office.other, pid) == []


def test_a_daemon_that_has_left_its_folder_is_known_by_its_name(clean_lab: Lab, office: Office) -> None:
    with client(clean_lab, office.folder, "--daemon", "--log", "log", "--writepid", "pid", "--config", "office.ovpn") as pid:
        named = f"the openvpn process {pid}, whose profile has this one's name and cannot be read (office.ovpn)"
        assert told(office.profile, pid) == [named]
        assert told(office.copy, pid) == []
        assert f"the openvpn process {pid}, whose profile cannot be read (office.ovpn)" in searched(office.copy)[1]


def test_as_network_manager_starts_it(clean_lab: Lab, office: Office) -> None:
    files = (
        f"--{option}={office.folder / name}".split("=")
        for option, name in (("cert", "client.crt"), ("key", "client.key"), ("ca", "ca.crt"))
    )
    arguments = ["--remote", "127.0.0.3", "9", "udp", "--nobind", "--dev", "null", *(word for pair in files for word in pair)]
    arguments += ["--management", f"{office.folder}/nm-openvpn-0c21", "unix", "--management-hold", "--verb", "3", "--client"]
    with client(clean_lab, office.folder, *arguments) as pid:
        assert told(office.profile, pid) == [f"the openvpn process {pid} with this profile's certificate (NetworkManager)"]
        assert told(office.other, pid) == []


def test_without_root_a_relative_name_counts(clean_lab: Lab) -> None:
    with anybodys_folder() as folder:
        office = Office(folder)
        with client(clean_lab, office.folder, "office.ovpn") as pid:
            tunnels, _ = searched(office.profile, WITHOUT_ROOT)
            assert f"the openvpn process {pid}, whose profile has this one's name and cannot be read (office.ovpn)" in tunnels
            assert f"the openvpn process {pid}, whose profile cannot be read (office.ovpn)" in searched(office.copy, WITHOUT_ROOT)[1]
        with client(clean_lab, office.folder, "--config", str(office.profile)) as pid:
            tunnels, _ = searched(office.profile, WITHOUT_ROOT)
            assert f"the openvpn process {pid} with this profile ({office.profile})" in tunnels


@pytest.mark.parametrize("address", ["127.0.0.1 7505", "management.sock unix"])
def test_a_client_that_listens_for_its_manager_is_not_disturbed(clean_lab: Lab, office: Office, address: str) -> None:
    """With `management-signal` it would begin anew if somebody connected there and left."""
    for profile in (office.profile, office.other):
        profile.write_text(f"{profile.read_text()}management {address}\nmanagement-signal\n")
    here = clean_lab.exec_prefix(CLIENT)
    with client(clean_lab, office.folder, "office.ovpn"):
        tunnels, _ = searched(office.other, here)
        where = address.replace("127.0.0.1 7505", "127.0.0.1:7505").removesuffix(" unix")
        assert f"a program that listens at the profile's management address {where}" in tunnels
        assert "Client connected" not in (office.folder / "log").read_text()
    assert not any("management address" in what for what in searched(office.other, here)[0])


def test_a_test_of_the_profile_is_refused_without_leave(clean_lab: Lab, office: Office) -> None:
    """Whatever runs beside it on this machine: the client is found, and nothing is sent."""
    command = [*clean_lab.exec_prefix(CLIENT), *PROGRAM, "run", "--solo", "--profile", str(office.profile), "--json", "-o"]
    with client(clean_lab, office.folder, "--config", office.profile.name) as pid:
        refused = ran([*command, str(office.folder / "refused")])
        assert (refused.returncode, refused.stdout) == (ExitStatus.USAGE, "")
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert f"the openvpn process {pid} with this profile ({office.profile.name})" in line
        assert "give --take-over" in line
        taken = ran([*command, str(office.folder / "taken"), "--take-over"])
        assert json.loads(taken.stdout)["complete"] is True
        assert f"the openvpn process {pid} with this profile ({office.profile.name})" in taken.stderr


def ran(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
