"""`--with-openvpn`: the real client beside vpnprobe's own try, with the same profile, against real servers, and nothing else is changed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_support import PROGRAM, WITHOUT_ROOT, Ran, anybodys_folder, run

from vpnprobe.endpoint.processes import Process, processes
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Flaw
from vpnprobe.lab.openvpn_servers import USER_NAME, WRONG_PASSWORD, RunningServer, ServerConfig, Wrapping, openvpn_servers
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT

pytestmark = [pytest.mark.root, pytest.mark.real]
UDP, TCP = Transport.UDP, Transport.TCP
SERVERS = {
    "udp": ServerConfig(UDP, 23001),
    "tcp": ServerConfig(TCP, 23002),
    "password": ServerConfig(UDP, 23003, user_password=True),
    "tls-auth": ServerConfig(UDP, 23004, wrapping=Wrapping.TLS_AUTH_SHA256),
    "tls-crypt": ServerConfig(UDP, 23005, wrapping=Wrapping.TLS_CRYPT),
    "other-authority": ServerConfig(UDP, 23006, flaw=Flaw.OTHER_AUTHORITY),
}
STEPS = ["start", "connect", "reset", "certificate", "keys", "login", "push", "up", "data"]
STATE = (
    ("ip", "-json", "address"),
    ("ip", "-json", "-details", "link"),
    ("ip", "-json", "route", "show", "table", "all"),
    ("ip", "-json", "rule"),
)


@pytest.fixture(scope="module")
def servers(clean_lab: Lab) -> Iterator[dict[str, RunningServer]]:
    if shutil.which("openvpn") is None:
        pytest.skip("needs openvpn")
    with openvpn_servers(clean_lab, list(SERVERS.values())) as running:
        yield dict(zip(SERVERS, running, strict=True))


def beside(lab: Lab, folder: Path, text: str, *options: str, prefix: tuple[str, ...] = ()) -> Ran:
    profile = folder / "client.ovpn"
    profile.write_text(text)
    return run(lab, folder, "--solo", "--profile", str(profile), "--with-openvpn", *options, prefix=prefix, peer=False)


def told(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = ran.document["run"]["client"]["real_client"]
    return found


def came(ran: Ran, side: str, number: int = 0) -> dict[str, str]:
    """By step."""
    return {step["step"]: step[side]["came"] for step in told(ran)["remotes"][number]["steps"]}


def state_of(lab: Lab) -> list[str]:
    prefix = lab.exec_prefix(CLIENT)
    found = [subprocess.run([*prefix, *command], capture_output=True, text=True, check=True).stdout for command in STATE]
    return [*found, Path("/etc/resolv.conf").read_text()]


@pytest.mark.parametrize("server", ["udp", "tcp", "password", "tls-auth", "tls-crypt"])
def test_both_come_up(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, server: str) -> None:
    ran = beside(clean_lab, tmp_path, servers[server].client_profile())
    assert ran.status == 0
    assert told(ran)["comparison"] == "agrees"
    assert told(ran)["version"]
    assert list(came(ran, "real")) == STEPS
    assert came(ran, "real") == {**dict.fromkeys(STEPS, "passed"), "data": "not-tried"}
    assert came(ran, "own") == dict.fromkeys(STEPS, "passed")
    transport, port = SERVERS[server].transport, SERVERS[server].port
    assert ran.outcome(f"openvpn-real-client-profile-{transport}-{port}-both") == "pass"
    page = (ran.folder / "report.html").read_text()
    assert "step by step" in page
    assert "Initialization Sequence Completed" in page
    assert "data was not tried by it" in page


def stopping(servers: dict[str, RunningServer]) -> dict[str, tuple[str, str, str]]:
    """By case: the profile, the step at which both stop, and openvpn's cause."""
    other = servers["tls-crypt"].client_profile().split("<tls-crypt>")
    key, rest = other[1].split("</tls-crypt>")
    lines = key.strip().splitlines()
    begin = next(number for number, line in enumerate(lines) if "BEGIN" in line)
    turned = "\n".join([*lines[: begin + 1], *reversed(lines[begin + 1 : -1]), lines[-1]])
    wrong_key = f"{other[0]}<tls-crypt>\n{turned}\n</tls-crypt>{rest}"
    return {
        "wrong-ca": (servers["other-authority"].client_profile(), "certificate", "certificate-wrong-ca"),
        "wrong-password": (
            servers["password"].client_profile(**{"auth-user-pass": f"{USER_NAME}\n{WRONG_PASSWORD}\n"}),
            "login",
            "credentials-refused",
        ),
        "wrong-tls-crypt-key": (wrong_key, "reset", "silent"),
        "silent": (servers["tls-auth"].client_profile(**{"tls-auth": None, "key-direction": None}), "reset", "silent"),
        "keysize": (servers["udp"].client_profile(keysize="256"), "start", "profile-refused"),
    }


@pytest.mark.parametrize("case", ["wrong-ca", "wrong-password", "wrong-tls-crypt-key", "silent", "keysize"])
def test_both_stop_at_the_same_step(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, case: str) -> None:
    profile, step, cause = stopping(servers)[case]
    ran = beside(clean_lab, tmp_path, profile)
    remote = told(ran)["remotes"][0]
    assert (remote["came_up"], remote["stopped_at"], remote["cause"]) == (False, step, cause)
    assert told(ran)["comparison"] == "agrees", remote["finding"]
    for side in ("real", "own"):
        assert came(ran, side)[step] == "failed"
        assert set(list(came(ran, side).values())[: STEPS.index(step)]) <= {"passed"}
    assert WRONG_PASSWORD not in ran.output
    assert WRONG_PASSWORD not in (ran.folder / "report.html").read_text()


def test_a_setting_of_one_end_alone_leaves_data_to_vpnprobe(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    ran = beside(clean_lab, tmp_path, servers["udp"].client_profile(comp_lzo=""))
    assert told(ran)["comparison"] == "agrees"
    assert came(ran, "real")["up"] == "passed"
    assert (came(ran, "real")["data"], came(ran, "own")["data"]) == ("not-tried", "failed")
    assert "settings-differ" in told(ran)["remotes"][0]["finding"]
    assert ran.feasibility["openvpn-udp"] != "feasible"


def test_a_difference_leads_the_report(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    """vpnprobe does not apply `pull-filter`, and openvpn ends for what it rejects."""
    profile = servers["udp"].client_profile(**{"pull-filter": "reject route-gateway"})
    ran = beside(clean_lab, tmp_path, profile)
    remote = told(ran)["remotes"][0]
    assert (told(ran)["comparison"], remote["came_up"], remote["stopped_at"]) == ("differs", False, "up")
    assert "rejected by filter" in remote["finding"]
    assert ran.feasibility["openvpn-udp"] == "feasible"
    assert "does not come up" in ran.because("openvpn-udp")
    title = (ran.folder / "report.html").read_text().partition("</h1>")[0].rpartition("<h1>")[2]
    assert "does not come up with this profile, and vpnprobe&#39;s own try does" in title
    again = subprocess.run([*PROGRAM, "rules", "explain", str(ran.folder)], capture_output=True, text=True, check=True)
    assert "The document says" not in again.stdout


def test_remotes_one_after_another(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    address = clean_lab.topology.server_address
    text = servers["udp"].client_profile(remote=f"{address} 3999 tcp-client")
    text += f"<connection>\nremote {address} 3999 tcp-client\n</connection>\n<connection>\nremote {address} 23001 udp\n</connection>\n"
    ran = beside(clean_lab, tmp_path, text)
    assert [(one["came_up"], one["comparison"]) for one in told(ran)["remotes"]] == [(False, "agrees"), (True, "agrees")]
    assert told(ran)["remotes"][0]["cause"] == "port-refused"
    assert ran.row("openvpn-real-client-profile-2-udp-23001-both")["detail"]["remote"] == "2"


@pytest.mark.parametrize("privileged", [True, False], ids=["root", "nobody"])
def test_nothing_of_the_host_is_changed(clean_lab: Lab, servers: dict[str, RunningServer], privileged: bool) -> None:
    """Whatever the profile wants: programs, files, another user, a device, routes."""
    with anybodys_folder() as folder:
        (folder / "program").write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
        (folder / "program").chmod(0o755)
        wanted = f"""
            daemon
            log {folder}/log
            status {folder}/status 1
            writepid {folder}/pid
            user nobody
            chroot {folder}
            script-security 2
            up {folder}/program
            route-up {folder}/program
            tls-verify {folder}/program
            plugin {folder}/no-such-plugin.so
            management 127.0.0.1 7505
            dev tun77
            route 192.0.2.0 255.255.255.0
            redirect-gateway def1
            verb 0
        """
        before, present = state_of(clean_lab), {path.name for path in folder.iterdir()} | {"client.ovpn", "result"}
        text = servers["udp"].client_profile() + "\n".join(line.strip() for line in wanted.splitlines()) + "\n"
        ran = beside(clean_lab, folder, text, prefix=() if privileged else WITHOUT_ROOT)
        assert told(ran)["remotes"][0]["came_up"], told(ran)["remotes"][0]
        left_out = {one["option"] for one in told(ran)["left_out"]}
        assert {"daemon", "log", "status", "writepid", "user", "chroot", "up", "route-up", "tls-verify", "plugin", "dev"} <= left_out
        assert "route" not in left_out
        assert state_of(clean_lab) == before
        assert {path.name for path in folder.iterdir()} == present
        assert not started_by(folder)


def started_by(folder: Path) -> list[Process]:
    """Clients whose profile lies in that folder."""
    found = processes(Path("/proc"), {"openvpn"}, time.monotonic() + 10)
    return [one for one in found if "--management-client" in one.arguments and str(folder) in one.arguments]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_openvpn_ends_with_vpnprobe(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, number: signal.Signals) -> None:
    profile = tmp_path / "client.ovpn"
    profile.write_text(servers["tls-auth"].client_profile(**{"tls-auth": None, "key-direction": None}))
    command = [*clean_lab.exec_prefix(CLIENT), *PROGRAM, "run", "--solo", "--profile", str(profile), "--with-openvpn", "--json"]
    (tmp_path / "t").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "t")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, "-o", str(tmp_path / "out")], env=environment, **quiet) as process:
        until = time.monotonic() + 60
        while not started_by(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)
        assert started_by(tmp_path)
        process.send_signal(number)
        status = process.wait(20)
    while started_by(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not started_by(tmp_path)
    if number is signal.SIGINT:
        assert status == 130
        assert not list((tmp_path / "t").iterdir())
        assert (tmp_path / "out" / "result.json").exists()
