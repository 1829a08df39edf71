"""openvpn as it is run: what it is given and how, and what comes of it. A program stands in for it that tells what it was given."""

import asyncio
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path

import jsonschema
import pytest

from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.deployment.real_client.options import QUIET, first_options, is_kept
from vpnprobe.deployment.real_client.trying import Installed, RealClientTrial, find_real_client
from vpnprobe.deployment.verification.process import Secrets, TunnelProcess, find_openvpn
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.one_remote import with_one_remote
from vpnprobe.profiles.ovpn import read_profile
from vpnprobe.transports.stack import Address

LOGS = Path(__file__).parents[1] / "data" / "openvpn-logs"
MATERIAL = make_session_keys(os.urandom)
PASSWORD = "open sesame!"
STAND_IN = f"""\
#!{sys.executable} -I
import json, os, socket, sys
if "--version" in sys.argv:
    print("OpenVPN 2.6.99_git [git:x] x86_64 [SSL (OpenSSL)]")
    sys.exit(1)
folder = os.path.dirname(os.path.abspath(__file__))
given = {{"arguments": sys.argv[1:], "text": sys.stdin.read(), "said": [], "environment": sorted(os.environ)}}
log = os.path.join(folder, "log")
lines = open(log).read().splitlines()
if os.path.exists(log + "-2"):
    os.replace(log + "-2", log)
path = sys.argv[sys.argv.index("--management") + 1]
end = socket.socket(socket.AF_UNIX)
end.connect(path)
stream = end.makefile("rw")
def say(line):
    stream.write(line + "\\n")
    stream.flush()
say(">HOLD:Waiting for hold release:0")
say(">PASSWORD:Need 'Auth' username/password")
for line in stream:
    given["said"].append(line.strip())
    if line.startswith("password"):
        for one in lines:
            say(">LOG:1700000000,I," + one)
        say(">STATE:1700000000," + ("CONNECTED,SUCCESS" if "Completed" in lines[-1] else "RECONNECTING,x") + ",,,,,,")
    if line.startswith("signal"):
        break
with open(os.path.join(folder, "given"), "a") as out:
    out.write(json.dumps(given) + "\\n")
"""


def trial(folder: Path, log: Sequence[str], *, extra: str = "") -> RealClientTrial:
    (folder / "log").write_text("\n".join(log) + "\n")
    program = folder / "openvpn"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    pems = (
        ("ca", MATERIAL.server.identity.certificate_pem),
        ("cert", MATERIAL.identity.certificate_pem),
        ("key", MATERIAL.identity.key_pem),
    )
    blocks = "".join(f"<{tag}>\n{pem.decode()}</{tag}>\n" for tag, pem in pems)
    profile = folder / "some.ovpn"
    profile.write_text(f"client\ndev tun\nauth-user-pass\ndaemon\n{extra}remote 192.0.2.1 1194 udp\nremote 192.0.2.2 443 tcp\n{blocks}")

    async def resolve(host: str, family: str) -> Sequence[Address]:
        return [ip_address(host)]

    test = ProfileTest(read_profile(profile), resolve, "me", PASSWORD)
    return RealClientTrial(Installed(str(program), "2.6.99", (2, 6)), test, lambda _: None)


def own(outcome: Outcome, transport: Transport = Transport.UDP, port: int = 1194, **detail: object) -> list[Observation]:
    return [
        Observation(
            id=f"{check}-{transport}",
            probe="openvpn",
            check=check,
            direction=Direction.BOTH,
            transport=transport,
            outcome=outcome,
            port=port,
            detail={"profile": True, **detail},
        )
        for check in ("reset", "handshake")
    ]


def log_of(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


def test_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPNPROBE_TOKEN", "a token")
    tried = trial(tmp_path, log_of("2.6-whole-udp")[:-3])
    asyncio.run(tried.run(own(Outcome.PASS)))
    udp, tcp = (json.loads(line) for line in (tmp_path / "given").read_text().splitlines())
    goodbye = ["--pull-filter", "ignore", "explicit-exit-notify", "--explicit-exit-notify", "1"]
    assert udp["arguments"][:9] == ["--cd", str(tmp_path), *goodbye, "--config", "stdin"]
    assert shlex.join(udp["arguments"]).endswith("--dev null --ifconfig-noexec --route-noexec --script-security 0")
    assert "--explicit-exit-notify" not in tcp["arguments"]
    for given, remote, other in ((udp, "192.0.2.1", "192.0.2.2"), (tcp, "192.0.2.2", "192.0.2.1")):
        assert PASSWORD not in shlex.join(given["arguments"])
        assert f'password "Auth" "{PASSWORD}"' in given["said"]
        assert remote in given["text"]
        assert other not in given["text"]
        assert "BEGIN PRIVATE KEY" in given["text"]
        lines = given["text"].splitlines()
        assert lines[:4] == ["client", "", "auth-user-pass", ""]
        assert "VPNPROBE_TOKEN" not in given["environment"]
        assert "PATH" in given["environment"]
        assert "signal SIGTERM" in given["said"]


def test_the_document_and_the_rows(tmp_path: Path) -> None:
    tried = trial(tmp_path, [*log_of("2.6-whole-udp")[:-3], f"Initialization Sequence Completed {PASSWORD}"])
    asyncio.run(tried.run([*own(Outcome.PASS), *own(Outcome.NO_ANSWER, Transport.TCP, 443, failure="silent", remote="2")]))
    document = tried.document()
    schema = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
    jsonschema.validate(document, {"$ref": "#/$defs/real_client", "$defs": schema["$defs"]})
    assert PASSWORD not in json.dumps(document)
    assert (document["comparison"], [one["comparison"] for one in document["remotes"]]) == ("differs", ["agrees", "differs"])
    assert document["left_out"] == [{"line": 2, "option": "dev"}, {"line": 4, "option": "daemon"}]
    assert document["protocols"] == ["openvpn-udp", "openvpn-tcp"]
    first, second = tried.observations()
    assert (first.id, first.outcome, first.detail["profile"]) == ("openvpn-real-client-profile-udp-1194-both", Outcome.PASS, True)
    assert (second.id, second.detail["remote"]) == ("openvpn-real-client-profile-2-tcp-443-both", "2")
    assert (second.detail["comparison"], second.detail["protocol"]) == ("differs", "openvpn-tcp")
    assert tried.took_s > 0


@pytest.mark.parametrize(
    ("log", "outcome", "by"),
    [
        ("2.6-certificate-expired", Outcome.REFUSED, "client"),
        ("2.6-credentials-refused", Outcome.REFUSED, "peer"),
        ("2.6-silent", Outcome.NO_ANSWER, None),
    ],
)
def test_who_refuses(tmp_path: Path, log: str, outcome: Outcome, by: str | None) -> None:
    tried = trial(tmp_path, log_of(log))
    asyncio.run(tried.run([]))
    row = tried.observations()[0]
    assert (row.outcome, row.detail.get("by")) == (outcome, by)
    assert row.detail["comparison"] == "open"


SILENT = ("2.6-silent", "2.6-silent")
COMES = ("2.6-silent", "2.6-whole-udp")


@pytest.mark.parametrize(
    ("logs", "mine", "received", "runs", "comparison"),
    [
        (SILENT, Outcome.PASS, 10, 2, "differs"),
        (SILENT, Outcome.PASS, 7, 2, "open"),
        (COMES, Outcome.PASS, 7, 2, "agrees"),
        (SILENT, Outcome.NO_ANSWER, 7, 1, "agrees"),
    ],
    ids=["differs", "the path loses packets", "the second time it comes up", "nobody is there"],
)
def test_silence_is_tried_again_where_the_server_is_there(
    tmp_path: Path, logs: tuple[str, str], mine: Outcome, received: int, runs: int, comparison: str
) -> None:
    tried = trial(tmp_path, log_of(logs[0]))
    (tmp_path / "log-2").write_text("\n".join(log_of(logs[1])[:-3] if "whole" in logs[1] else log_of(logs[1])))
    tried.profile_test = replace(tried.profile_test, profile=replace(tried.profile_test.profile, remotes=tried.profile_test.remotes[:1]))
    rows = own(mine, **({} if mine is Outcome.PASS else {"failure": "silent"}))
    echoes = replace(rows[0], id="echoes", check="data", direction=Direction.C2S, outcome=Outcome.PASS, sent=10, received=received)
    asyncio.run(tried.run([*rows, echoes]))
    assert len((tmp_path / "given").read_text().splitlines()) == runs
    assert tried.comparison == comparison, tried.tried[0].finding


def test_through_a_proxy_nothing_is_run(tmp_path: Path) -> None:
    tried = trial(tmp_path, log_of("2.6-silent"), extra="http-proxy 192.0.2.9 8080 /etc/passwd\n")
    asyncio.run(tried.run(own(Outcome.SKIPPED, failure="not-supported")))
    assert not (tmp_path / "given").exists()
    (udp, tcp) = tried.document()["remotes"]
    assert (udp["came_up"], udp["comparison"], tcp["came_up"]) == (None, "open", None)
    assert "line 5, http-proxy: openvpn would tell the proxy" in udp["finding"]
    schema = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
    jsonschema.validate(tried.document(), {"$ref": "#/$defs/real_client", "$defs": schema["$defs"]})
    assert tried.observations()[0].outcome is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("login", "why"),
    [
        (("S" * 1008 + "verb 11 #", PASSWORD), "the user name is 1017 bytes long"),
        (("me", "x" * 300), "the password is 300 bytes long"),
        (("me", "SECRET\tword"), "the password has a control character in it"),
    ],
)
def test_a_login_that_would_be_a_command_is_not_handed_over(tmp_path: Path, login: tuple[str, str], why: str) -> None:
    tried = trial(tmp_path, log_of("2.6-silent"))
    tried.profile_test = replace(tried.profile_test, username=login[0], password=login[1])
    asyncio.run(tried.run(own(Outcome.PASS)))
    assert not (tmp_path / "given").exists()
    assert tried.comparison == "open"
    assert [why in one.finding.sentence for one in tried.tried] == [True, True]
    assert "SECRET" not in json.dumps(tried.document())


def test_a_user_name_without_a_password_is_a_secret(tmp_path: Path) -> None:
    tried = trial(tmp_path, [*log_of("2.6-silent"), "NOTE: token-of-mine"])
    tried.profile_test = replace(tried.profile_test, username="token-of-mine", password="")
    tried.profile_test = replace(tried.profile_test, passphrase="x")
    asyncio.run(tried.run([]))
    assert "token-of-mine" not in json.dumps(tried.document())


@pytest.mark.skipif(shutil.which("openvpn") is None, reason="openvpn is not installed")
def test_openvpn_does_not_outlive_us_for_a_goodbye(tmp_path: Path) -> None:
    """Its management connection closes at once, as where vpnprobe is killed; the server never answers."""
    trial(tmp_path, [])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        block = f"<connection>\nremote 127.0.0.1 {silent.getsockname()[1]} udp\nexplicit-exit-notify 9999\n</connection>\n"
        profile = tmp_path / "some.ovpn"
        profile.write_text(f"client\ndev tun\npull-filter accept explicit-exit-notify\n{block}{profile.read_text().partition('tcp')[2]}")
        text = with_one_remote(read := read_profile(profile), read.remotes[0], keeps=is_kept).text.encode()
        process = TunnelProcess(
            find_openvpn(), profile, Secrets(), attempts=1, text=text, options=QUIET, first=first_options((2, 6), Transport.UDP)
        )

        async def main() -> tuple[float, bool]:
            async with process:
                while not any("link remote" in line for line in process.lines):
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.3)
                assert process._writer is not None
                process._writer.close()
                began = time.monotonic()
                while not process.has_ended or process._process is None or process._process.poll() is None:
                    await asyncio.sleep(0.02)
                    if time.monotonic() - began > 8:
                        return 8, False
                return time.monotonic() - began, True

        took, ended = asyncio.run(asyncio.wait_for(main(), 30))
    assert ended, took


def test_a_profile_that_openvpn_would_read_otherwise_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the line is 512 bytes long"):
        trial(tmp_path, ["x"], extra=f"<crl-verify>\n{'A' * 255}</crl-verify>{'x' * 244}\nplugin /x/evil.so\n</crl-verify>\n")


def test_the_profile_is_read_once(tmp_path: Path) -> None:
    tried = trial(tmp_path, log_of("2.6-silent"))
    (tmp_path / "some.ovpn").write_text("plugin /x/evil.so\n")
    asyncio.run(tried.run(own(Outcome.PASS)))
    assert "plugin" not in (tmp_path / "given").read_text()


def test_what_was_tried_stays_where_it_is_interrupted(tmp_path: Path) -> None:
    tried = trial(tmp_path, log_of("2.6-whole-udp")[:-3])

    async def interrupted() -> None:
        trying = asyncio.get_running_loop().create_task(tried.run([]))
        while not tried.tried:
            await asyncio.sleep(0.01)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying

    asyncio.run(interrupted())
    assert len(tried.document()["remotes"]) == 1


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vpnprobe.deployment.verification.process.find_program", lambda _: None)
    with pytest.raises(CannotRun, match="openvpn is not installed: sudo apt install openvpn") as lack:
        find_real_client()
    assert lack.value.status is ExitStatus.MISSING


def test_what_it_says_of_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Up to 2.5 `--version` ends with status 1."""
    program = tmp_path / "openvpn"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr("vpnprobe.deployment.verification.process.find_program", lambda _: str(program))
    assert find_real_client() == Installed(str(program), "2.6.99_git", (2, 6))
    program.write_text("#!/bin/sh\necho something else\n")
    assert find_real_client() == Installed(str(program), "", None)
    assert find_real_client().name == "openvpn"
