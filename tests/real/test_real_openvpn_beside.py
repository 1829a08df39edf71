"""`--with-openvpn`: the real client beside vpnprobe's own try, with the same profile, against real servers, and nothing else is changed."""

import asyncio
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from real_support import PROGRAM, WITHOUT_ROOT, Ran, anybodys_folder, run

from vpnprobe.deployment.real_client.trying import RealClientTrial, find_real_client
from vpnprobe.endpoint.processes import Process, processes
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Flaw
from vpnprobe.lab.openvpn_servers import USER_NAME, WRONG_PASSWORD, RunningServer, ServerConfig, Wrapping, openvpn_servers
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.profiles.lexing import quoted
from vpnprobe.profiles.ovpn import read_profile
from vpnprobe.transports.stack import Address
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
    assert "OpenVPN over UDP works by vpnprobe&#39;s own try; openvpn" in title
    assert "stopped: Pushed option rejected by filter" in title
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


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that leaves a file beside itself as soon as it is loaded."""
    if shutil.which("cc") is None:
        pytest.skip("needs cc")
    folder = tmp_path_factory.mktemp("library")
    code = f'#include <stdio.h>\n__attribute__((constructor)) static void loaded(void) {{ fopen("{folder}/loaded", "w"); }}\n'
    (folder / "evil.c").write_text(code)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(folder / "evil.so"), str(folder / "evil.c")], check=True)
    return folder / "evil.so"


HOSTILE = {
    "providers": "providers {library}",
    "providers-beside": "providers default {library}",
    "show-pkcs11-ids": "show-pkcs11-ids {library}",
    "pkcs11-providers": "pkcs11-providers {library}",
    "engine": "engine {library}",
    "plugin": "plugin {library}",
    "memstats": "memstats {folder}/precious",
    "setenv-opt": "--setenv opt plugin {library}",
    "setenv-opt-quoted": "\"setenv\" 'opt' log {folder}/precious",
    "dashes": "--log {folder}/precious",
    "config": "config {folder}/other",
    "ignore-unknown-option": "ignore-unknown-option plugin\nplugin {library}",
    "forward-compatible": "setenv FORWARD_COMPATIBLE 1\nplugin {library}",
    "status": "status {folder}/precious 1",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_stranger_s_profile_loads_and_writes_nothing(
    clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, library: Path, case: str
) -> None:
    loaded = library.parent / "loaded"
    loaded.unlink(missing_ok=True)
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "other").write_text(f"plugin {library}\n")
    line = HOSTILE[case].format(library=library, folder=tmp_path)
    ran = beside(clean_lab, tmp_path, f"{servers['udp'].client_profile()}\n{line}\n")
    assert told(ran)["remotes"][0]["came_up"], told(ran)["remotes"][0]
    assert line.split()[-2 if case == "status" else -1] not in ran.output.replace(str(tmp_path / "client.ovpn"), "")
    assert not loaded.exists()
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("tag", ["ca", "wg", "connection", "crl-verify"])
def test_a_block_that_openvpn_would_end_sooner_is_refused(
    clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path, library: Path, tag: str
) -> None:
    (library.parent / "loaded").unlink(missing_ok=True)
    text = servers["udp"].client_profile()
    line = f"{'A' * 255}</{tag}>{'x' * (255 - len(tag) - 3)}plugin {library}\n"
    text = text.replace("<ca>\n", f"<ca>\n{line}") if tag == "ca" else f"{text}<{tag}>\n{line}</{tag}>\n"
    profile = tmp_path / "client.ovpn"
    profile.write_text(text)
    ran = subprocess.run(
        [
            *clean_lab.exec_prefix(CLIENT),
            *PROGRAM,
            "run",
            "--solo",
            "--profile",
            str(profile),
            "--with-openvpn",
            "-o",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 6
    *_, error = ran.stderr.splitlines()
    assert error.startswith("error: ")
    assert "bytes long, and " in error.lower()
    assert not (library.parent / "loaded").exists()
    assert not (tmp_path / "out").exists()


WORDS = [
    "two words",
    "it's",
    'a"b',
    "back\\slash",
    "'q'",
    'it\'s "both" \\',
    "#hash",
    ";semi",
    "a#b",
    "ü\u00a0x",
    "--dash",
    "<ca>",
    "</ca>",
    "x\\",
]


def test_openvpn_reads_a_quoted_word_as_it_was() -> None:
    """It names an option that it does not know, behind `setenv opt`."""
    if shutil.which("openvpn") is None:
        pytest.skip("needs openvpn")
    text = "".join(f"setenv opt {quoted(word)} end\n" for word in WORDS)
    done = subprocess.run(["openvpn", "--config", "stdin"], input=text, capture_output=True, text=True, check=False, timeout=20)
    assert re.findall(r"in stdin:\d+: (.*) \(2\.\d+", done.stdout) == WORDS


def test_files_are_opened_by_vpnprobe_alone(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    """The profile names its files; openvpn gets blocks, and comes up though the folder that it is started in has no such files."""
    text, files = servers["tls-auth"].client_profile(), []
    for tag in ("ca", "cert", "key", "tls-auth"):
        before, rest = text.split(f"<{tag}>\n")
        content, behind = rest.split(f"</{tag}>\n")
        (tmp_path / f"{tag}.pem").write_text(content)
        files.append(f"{tag}.pem")
        text = f"{before}{tag} {tag}.pem\n{behind}"
    ran = beside(clean_lab, tmp_path, text)
    assert told(ran)["remotes"][0]["came_up"], told(ran)["remotes"][0]
    assert told(ran)["comparison"] == "agrees"
    assert not [line for line in told(ran)["remotes"][0]["log"] if any(name in line for name in files)]


def losing(listening: socket.socket, server: tuple[str, int], lost: int) -> None:
    """Carries datagrams to the server and back until its socket is closed, without the first so many to the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onwards, suppress(OSError, ValueError):
        onwards.connect(server)
        client: Any = None
        while True:
            for ready in select.select([listening, onwards], [], [], 0.2)[0]:
                if ready is onwards:
                    listening.sendto(onwards.recv(2048), client)
                    continue
                datagram, client = listening.recvfrom(2048)
                lost -= 1
                if lost < 0:
                    onwards.send(datagram)


def test_three_lost_packets_are_waited_for(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    """openvpn sends again after 2, 6 and 14 s, and says nothing new meanwhile."""
    profile = tmp_path / "client.ovpn"

    async def resolve(host: str, _: str) -> list[Address]:
        return [ip_address(host)]

    with clean_lab.inside(CLIENT), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        text = servers["udp"].client_profile(remote=f"127.0.0.1 {relay.getsockname()[1]} udp")
        profile.write_text(text)
        carrying = Thread(target=losing, args=(relay, servers["udp"].endpoint, 3))
        carrying.start()
        tried = RealClientTrial(find_real_client(), ProfileTest(read_profile(profile), resolve), lambda _: None)
        try:
            asyncio.run(tried.run([]))
        finally:
            relay.close()
            carrying.join()
    (remote,) = tried.document()["remotes"]
    assert remote["came_up"], remote
    assert remote["took_s"] > 13


def test_through_a_proxy_openvpn_is_not_run(clean_lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    (tmp_path / "login").write_text("me\nsecret\n")
    text = f"{servers['tcp'].client_profile()}\nhttp-proxy {clean_lab.topology.server_address} 8080 {tmp_path}/login\n"
    ran = beside(clean_lab, tmp_path, text)
    (remote,) = told(ran)["remotes"]
    assert (remote["came_up"], remote["comparison"], remote["log"]) == (None, "open", [])
    assert "http-proxy: openvpn would tell the proxy" in remote["finding"]


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
