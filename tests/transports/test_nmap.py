"""nmap through its helper process, on loopback."""

import asyncio
import contextlib
import shutil
import socket
import sys
from pathlib import Path

import pytest
from system_support import LEFT, RIGHT, RIGHT_ADDRESS, joined_namespaces, may_make_namespaces, rules, within

from vpnprobe.errors import UsageError
from vpnprobe.transports import nmap
from vpnprobe.transports.nmap import NmapPort, scan
from vpnprobe.transports.nmap_helper import arguments_for

needs_nmap = pytest.mark.skipif(shutil.which("nmap") is None, reason="needs nmap")


@needs_nmap
def test_an_open_and_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        here, gone = listening.getsockname()[1], bound.getsockname()[1]
        found = asyncio.run(scan("127.0.0.1", [here, gone], [], deadline_s=30))
    assert found is not None
    assert {(entry.port, entry.state) for entry in found} == {(here, "open"), (gone, "closed")}
    assert all(entry.transport == "tcp" and entry.reason for entry in found)


def with_argument(text: str) -> list[str]:
    """The command lines of running programs that hold the text."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line and "nmap" in line]


@needs_nmap
@pytest.mark.root
@pytest.mark.skipif(not may_make_namespaces(), reason="needs root, ip and nft for network namespaces")
def test_the_deadline_ends_helper_and_nmap() -> None:
    async def main() -> bool:
        scanning = asyncio.ensure_future(scan(str(RIGHT_ADDRESS), [], range(29000, 30000), deadline_s=1))
        seen = False
        while not scanning.done():
            seen = seen or bool(with_argument(",U:29999"))
            await asyncio.wait({scanning}, timeout=0.02)
        assert scanning.result() == []
        return seen

    with joined_namespaces():
        rules(RIGHT, "table inet t {\nchain c {\ntype filter hook input priority 0\nudp dport 29000-29999 drop\n}\n}\n")
        assert within(LEFT, main).result(10)
    assert with_argument(",U:29999") == []


@needs_nmap
def test_many_ports_in_one_state_are_all_named() -> None:
    with contextlib.ExitStack() as stack:
        closed = []
        for _ in range(40):
            bound = stack.enter_context(socket.socket())
            bound.bind(("127.0.0.1", 0))
            closed.append(bound.getsockname()[1])
        found = asyncio.run(scan("127.0.0.1", closed, [], deadline_s=30))
    assert found is not None
    assert [entry.port for entry in found] == sorted(closed)


def test_no_ports_need_no_scan() -> None:
    assert asyncio.run(scan("127.0.0.1", [], [], deadline_s=30)) in ([], None)


def test_without_nmap_there_is_no_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    helper = "import json, sys, vpnprobe.transports.nmap_helper as helper, nmap\n"
    helper += "scanner = nmap.PortScanner\n"
    helper += "nmap.PortScanner = lambda: scanner(nmap_search_path=('nmap',))\n"
    helper += "sys.exit(helper.main())"

    async def main() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", helper, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(nmap._request("127.0.0.1", [1], []))
        return output

    assert nmap._answer(asyncio.run(main())) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1 --script=evil", "-iL/etc/passwd", "10.0.0.0/8", ""])
def test_only_an_address_reaches_nmap(host: str) -> None:
    with pytest.raises(UsageError, match="IP addresses only"):
        asyncio.run(scan(host, [1], [], deadline_s=1))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_only_a_port_reaches_nmap(port: int) -> None:
    with pytest.raises(UsageError, match="1 to 65535"):
        asyncio.run(scan("127.0.0.1", [], [port], deadline_s=1))


@pytest.mark.parametrize("output", [b"", b"null", b"{}", b'{"error": "x"}', b'{"ports": [{"port": 1}]}', b"\xff"])
def test_a_helper_that_failed_says_nothing(output: bytes) -> None:
    assert nmap._answer(output) == []


def test_the_helpers_answer_is_read() -> None:
    answer = b'{"ports": [{"transport": "udp", "port": 500, "state": "open|filtered", "reason": "no-response"}]}'
    assert nmap._answer(answer) == [NmapPort("udp", 500, "open|filtered", "no-response")]


@pytest.mark.parametrize(
    ("version", "tcp", "udp", "privileged", "expected"),
    [
        (4, True, True, True, {"-sS", "-sU"}),
        (4, True, False, False, {"-sT"}),
        (6, True, False, True, {"-6", "-sS"}),
    ],
)
def test_nmaps_options(version: int, tcp: bool, udp: bool, privileged: bool, expected: set[str]) -> None:
    options = set(arguments_for(version, tcp=tcp, udp=udp, privileged=privileged).split())
    assert {"-n", "-Pn"} <= options
    assert {option for option in options if option.startswith(("-s", "-6"))} == expected
