"""Starting the server agent through ssh: what is parsed, what goes over, and a real sshd on loopback."""

import asyncio
import contextlib
import getpass
import io
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from system_support import LOOPBACK, soon

import vpnprobe
from vpnprobe import __version__
from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.transports import ssh
from vpnprobe.transports.bundle import FIRST_STAGE, PARTS, archive_of, transmission
from vpnprobe.transports.ssh import Greeting, RemoteAgent, SshTarget, ssh_error, start_agent
from vpnprobe.transports.stack import ConnectError, Endpoint, TcpStream

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
PATIENCE_S = 20.0

ECHO = """
import os, sys
def main():
    os.write(1, b"agent %d.%d" % sys.version_info[:2] + b"\\n")
    while chunk := os.read(0, 65536):
        os.write(1, chunk)
    return 0
"""


def archive_with(remote: str) -> bytes:
    """This program with another `agents/remote.py`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive_of(Path(vpnprobe.__file__).parent))) as real, zipfile.ZipFile(buffer, "w") as changed:
        for name in real.namelist():
            if name != "vpnprobe/agents/remote.py":
                changed.writestr(name, real.read(name))
        changed.writestr("vpnprobe/agents/remote.py", remote)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://vpn.example", SshTarget("vpn.example")),
        ("ssh://vpn.example/", SshTarget("vpn.example")),
        ("ssh://root@vpn.example:2222", SshTarget("vpn.example", "root", 2222)),
        ("ssh://192.0.2.1", SshTarget("192.0.2.1")),
        ("ssh://[2001:db8::1]:22", SshTarget("2001:db8::1", None, 22)),
        ("ssh://me@[fe80::1%eth0]", SshTarget("fe80::1%eth0", "me")),
        ("ssh://first.last@my_alias-1", SshTarget("my_alias-1", "first.last")),
    ],
)
def test_targets(text: str, expected: SshTarget) -> None:
    assert SshTarget.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "vpn.example",
        "ssh://",
        "ssh://-oProxyCommand=evil",
        "ssh://-l@host",
        "ssh://@host",
        "ssh://host name",
        "ssh://host;id",
        "ssh://$(id)",
        "ssh://host:0",
        "ssh://host:65536",
        "ssh://host:",
        "ssh://host:22x",
        "ssh://[::1",
        "ssh://[::1]22",
        "ssh://[not-an-address:]",
        "ssh://host\n",
        "ssh://host/path",
    ],
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        SshTarget.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text().map(lambda text: f"ssh://{text}"))
def test_a_target_never_gives_ssh_an_option(text: str) -> None:
    with contextlib.suppress(UsageError):
        arguments = SshTarget.parse(text).arguments
        assert arguments[-2] == "--"
        assert all(not value.startswith("-") for value in arguments[1:-2:2])


@given(st.text())
def test_any_line_is_a_greeting_or_noise(line: str) -> None:
    found = Greeting.decode(line)
    assert found is None or isinstance(found, Greeting)


def test_greetings() -> None:
    ends = (Endpoint(ip_address("192.0.2.1"), 5000), Endpoint(ip_address("2001:db8::2"), 22))
    line = "vpnprobe-ssh installed=0.1.0 python=python3 connection=192.0.2.1 5000 2001:db8::2 22\r\n"
    assert Greeting.decode(line) == Greeting("0.1.0", "python3", ends)
    assert Greeting.decode("vpnprobe-ssh installed=none python=none connection=none") == Greeting(None, None, None)
    assert Greeting.decode("Welcome!") is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ssh: Could not resolve hostname nowhere: Name or service not known", "the host vpn.example is not known"),
        ("me@vpn.example: Permission denied (publickey,password).", "refused the login"),
        ("Host key verification failed.", "host key"),
        ("ssh: connect to host vpn.example port 22: Connection refused", "nothing listens for ssh"),
        ("ssh: connect to host vpn.example port 22: Connection timed out", "does not answer"),
        ("ssh: connect to host vpn.example port 22: No route to host", "no route"),
        ("Bad configuration option: x", "Bad configuration option: x"),
    ],
)
def test_what_ssh_says_becomes_one_line(said: str, expected: str) -> None:
    error = ssh_error(SshTarget("vpn.example", "me", 2222), 255, [said])
    assert expected in str(error)
    assert "\n" not in str(error)
    assert error.status is ExitStatus.NO_PEER
    assert "exit status 7" in str(ssh_error(SshTarget("vpn.example"), 7, []))


def test_the_remote_command_survives_single_quotes_of_any_shell() -> None:
    assert not set("'!\n") & set(ssh._REMOTE)
    assert not set("\"'$`\\!\n") & set(FIRST_STAGE)


def test_the_archive_is_the_same_each_time_and_holds_no_heavy_part() -> None:
    root = Path(vpnprobe.__file__).parent
    content = archive_of(root)
    assert content == archive_of(root)
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert {"vpnprobe/__init__.py", "vpnprobe/errors.py", "vpnprobe/transports/system/stack.py", "vpnprobe/agents/token.py"} <= set(names)
    assert {name.split("/")[1] for name in names} <= {*PARTS, "__init__.py"}
    assert len(names) == len(set(names))


STANDARD_LIBRARY_ONLY = """
import os, sys
def main():
    import vpnprobe.agents.token, vpnprobe.transports.system, vpnprobe.transports.tls, vpnprobe.evidence.packet_records
    foreign = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"vpnprobe", "__main__"}
    os.write(1, repr((sorted(foreign), vpnprobe.__file__.split("/vpnprobe/")[0], os.read(0, 100))).encode())
    return 3
"""


@pytest.mark.parametrize("memory", [True, False])
def test_the_program_arrives_through_a_stream_and_needs_nothing_else(memory: bool, tmp_path: Path) -> None:
    hidden = "" if memory else "import os; del os.memfd_create; "
    # Without site-packages, in an empty folder; what follows the archive on the stream is the program's own input.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", hidden + FIRST_STAGE],
        input=transmission(archive_with(STANDARD_LIBRARY_ONLY)) + b"first bytes of the control protocol",
        env={"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, b"")
    foreign, place, rest = eval(done.stdout)
    assert foreign == []
    assert place.startswith("/proc/self/fd/") if memory else place.endswith("vpnprobe.zip")
    assert rest == b"first bytes of the control protocol"
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_ends_too_early_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", FIRST_STAGE], input=transmission(archive_with(ECHO))[:5000], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [b"vpnprobe: the connection ended before the program had arrived"]


@dataclass(frozen=True)
class Sshd:
    """A server on loopback; each key finds another remote environment."""

    folder: Path
    port: int

    def options(self, key: str, *more: str) -> tuple[str, ...]:
        return ("-F", str(self.folder / "client_config"), "-i", str(self.folder / key), *more)

    async def start(self, key: str, *more: str, archive: bytes | None = None) -> RemoteAgent:
        target = SshTarget.parse(f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}")
        return await asyncio.wait_for(start_agent(target, options=self.options(key, *more), archive=archive), PATIENCE_S)


KEYS = ("plain", "with_vpnprobe", "with_other_vpnprobe", "without_python", "unknown")


def write_tools(folder: Path) -> dict[str, str]:
    """The environment that each key's line in authorized_keys sets."""
    for name, version in (("same", __version__), ("other", "0.0.0")):
        program = folder / name / ".local" / "bin" / "vpnprobe"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "vpnprobe, version {version}" && exit\necho "agent $*"\nexec cat\n')
        program.chmod(0o755)
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "sed", "cat"):
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return {
        "plain": "",
        "with_vpnprobe": f'environment="HOME={folder}/same" ',
        "with_other_vpnprobe": f'environment="HOME={folder}/other" ',
        "without_python": f'environment="PATH={tools}" ',
    }


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("needs ssh and sshd")
    folder = tmp_path_factory.mktemp("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for key in ("host", *KEYS):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    environments = write_tools(folder)
    lines = [environments[key] + (folder / f"{key}.pub").read_text() for key in KEYS if key in environments]
    (folder / "authorized_keys").write_text("".join(lines))
    (folder / "authorized_keys").chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPermitUserEnvironment yes\nPidFile none\n"
    )
    known = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    (folder / "client_config").write_text(
        f"Host *\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\nUserKnownHostsFile {folder}/known_hosts\nLogLevel ERROR\n"
    )
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"listening" not in (line := process.stderr.readline()):
            assert line, "sshd did not start"
        yield Sshd(folder, port)
        process.terminate()
        process.stderr.read()


async def echoed(agent: RemoteAgent) -> tuple[bytes, bytes]:
    """The agent's first line, and what came back of what was sent."""
    stream: TcpStream = agent.stream
    line = await soon(agent.stream.line(1000))
    await stream.send(bytes(range(256)) * 400)
    back = b""
    while len(back) < 256 * 400:
        chunk = await soon(stream.receive())
        assert chunk
        back += chunk
    await stream.close()
    return line, back


def test_the_program_is_sent_where_none_is_installed(sshd: Sshd) -> None:
    async def main() -> None:
        agent = await sshd.start("plain", archive=archive_with(ECHO))
        assert agent.way == "sent"
        assert agent.address == agent.seen_address == agent.client_address == LOOPBACK
        assert agent.stream.remote == Endpoint(LOOPBACK, sshd.port)
        assert agent.stream.local.address == LOOPBACK
        assert agent.stream.segments() is None
        line, back = await echoed(agent)
        assert line.startswith(b"agent 3.")
        assert back == bytes(range(256)) * 400

    asyncio.run(main())


def test_an_installed_vpnprobe_of_the_same_version_is_used(sshd: Sshd) -> None:
    async def main() -> None:
        agent = await sshd.start("with_vpnprobe")
        assert agent.way == "installed"
        line, back = await echoed(agent)
        assert line == b"agent serve --stdio\n"
        assert back == bytes(range(256)) * 400

    asyncio.run(main())


def test_an_installed_vpnprobe_of_another_version_is_not_used(sshd: Sshd) -> None:
    async def main() -> None:
        agent = await sshd.start("with_other_vpnprobe", archive=archive_with(ECHO))
        assert agent.way == "sent"
        await agent.stream.close()

    asyncio.run(main())


def test_the_end_of_the_agent_is_the_end_of_the_stream(sshd: Sshd) -> None:
    leaving = "import sys\ndef main():\n    sys.exit('vpnprobe: no more')\n"

    async def main() -> None:
        agent = await sshd.start("plain", archive=archive_with(leaving))
        assert await soon(agent.stream.receive()) == b""
        assert await agent.stream.exit_status() == 1
        assert agent.stream.complaints[-1] == "vpnprobe: no more"
        with pytest.raises(ConnectError):
            await agent.stream.send(bytes(8 << 20))
        await agent.stream.close()

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("python3", path="/usr/local/bin:/usr/sbin:/sbin") is not None, reason="python3 cannot be hidden here")
def test_a_host_without_python_is_one_line(sshd: Sshd) -> None:
    with pytest.raises(CannotRun, match=r"has no python3 of 3\.11 or later: install it there") as caught:
        asyncio.run(sshd.start("without_python"))
    assert caught.value.status is ExitStatus.NO_PEER


def test_a_refused_login_is_one_line(sshd: Sshd) -> None:
    with pytest.raises(CannotRun, match="refused the login") as caught:
        asyncio.run(sshd.start("unknown"))
    assert caught.value.status is ExitStatus.NO_PEER


def test_an_unknown_host_key_is_one_line(sshd: Sshd) -> None:
    with pytest.raises(CannotRun, match="host key of"):
        asyncio.run(sshd.start("plain", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=/dev/null"))


def test_a_closed_port_and_an_unknown_host_are_one_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = SshTarget("127.0.0.1", port=bound.getsockname()[1])
        with pytest.raises(CannotRun, match="nothing listens for ssh"):
            asyncio.run(start_agent(target, options=("-F", "none")))
    with pytest.raises(CannotRun, match="is not known"):
        asyncio.run(start_agent(SshTarget("no-such-host.invalid"), options=("-F", "none")))


def test_without_ssh_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match="openssh-client") as caught:
        asyncio.run(start_agent(SshTarget("vpn.example")))
    assert caught.value.status is ExitStatus.MISSING


@pytest.mark.parametrize(
    ("named", "seen", "expected"),
    [
        (["192.0.2.1"], "192.0.2.1", "192.0.2.1"),
        (["192.0.2.1", "2001:db8::1"], "2001:db8::1", "2001:db8::1"),
        (["203.0.113.5"], "10.0.0.5", "203.0.113.5"),
        ([], "10.0.0.5", "10.0.0.5"),
        (["203.0.113.5"], None, "203.0.113.5"),
    ],
)
def test_which_address_is_probed(monkeypatch: pytest.MonkeyPatch, named: list[str], seen: str | None, expected: str) -> None:
    async def resolved(target: SshTarget, options: tuple[str, ...]) -> list[object]:
        return [ip_address(one) for one in named]

    monkeypatch.setattr(ssh, "_named_addresses", resolved)
    ends = None if seen is None else (Endpoint(LOOPBACK, 1), Endpoint(ip_address(seen), 22))
    found = asyncio.run(ssh._address(SshTarget("vpn.example"), Greeting(None, None, ends), ()))
    assert found == ip_address(expected)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 64 + ".example"])
def test_an_address_that_nobody_knows_is_one_line(name: str) -> None:
    with pytest.raises(CannotRun, match="use --peer ssh://ADDRESS"):
        asyncio.run(ssh._address(SshTarget(name), Greeting(None, None, None), ("-F", "none")))
