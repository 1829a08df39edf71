"""The real transports between two hosts: refusals by a firewall, loss, several addresses, bridges, a path that swallows large packets."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_support import (
    LEFT,
    LEFT_ADDRESS,
    PATIENCE_S,
    RIGHT,
    RIGHT_ADDRESS,
    RIGHT_SECOND,
    inside,
    joined_namespaces,
    may_make_namespaces,
    rules,
    soon,
    within,
)

from vpnprobe.agents.token import server_token
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Datagram, Endpoint, TcpStream
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.tls import TlsStream, connect_tls, listen_tls, server_context

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not may_make_namespaces(), reason="needs root, ip and nft for network namespaces"),
]
PORT = 7000


@pytest.fixture(scope="module", autouse=True)
def _network() -> Iterator[None]:
    with joined_namespaces():
        yield


@pytest.fixture(autouse=True)
def _no_rules() -> Iterator[None]:
    yield
    rules(LEFT, "")
    rules(RIGHT, "")


def input_rule(rule: str) -> str:
    return f"table inet t {{\nchain c {{\ntype filter hook input priority 0\n{rule}\n}}\n}}\n"


async def failure() -> ConnectFailure:
    with pytest.raises(ConnectError) as caught:
        await SystemStack().connect(Endpoint(RIGHT_ADDRESS, PORT), deadline_s=0.4)
    return caught.value.failure


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", ConnectFailure.REFUSED),
        ("tcp dport 7000 reject with tcp reset", ConnectFailure.REFUSED),
        ("tcp dport 7000 reject with icmp port-unreachable", ConnectFailure.UNREACHABLE),
        ("tcp dport 7000 reject with icmp admin-prohibited", ConnectFailure.UNREACHABLE),
        ("tcp dport 7000 reject with icmp host-unreachable", ConnectFailure.UNREACHABLE),
        ("tcp dport 7000 drop", ConnectFailure.TIMED_OUT),
    ],
)
def test_what_answers_a_syn_decides_the_failure(rule: str, expected: ConnectFailure) -> None:
    rules(RIGHT, input_rule(rule))
    assert within(LEFT, failure).result(PATIENCE_S) is expected


def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    ready, done = threading.Event(), threading.Event()

    async def answer() -> None:
        port = await SystemStack().udp(lambda datagram: port.send(b"answer", datagram.source), port=PORT)
        ready.set()
        await asyncio.to_thread(done.wait, PATIENCE_S)
        port.close()

    async def ask() -> Endpoint:
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        port = await SystemStack().udp(got.put_nowait)
        port.send(b"question", Endpoint(RIGHT_SECOND, PORT))
        source = (await soon(got.get())).source
        port.close()
        return source

    server = within(RIGHT, answer)
    assert ready.wait(PATIENCE_S)
    source = within(LEFT, ask).result(PATIENCE_S)
    done.set()
    server.result(PATIENCE_S)
    assert source == Endpoint(RIGHT_SECOND, PORT)


def test_lost_segments_are_counted() -> None:
    rules(RIGHT, input_rule("tcp flags & (syn | psh) == psh numgen inc mod 5 == 2 drop"))
    ready = threading.Event()

    async def sink() -> None:
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        listener = await SystemStack().listen(accepted.put_nowait, port=PORT)
        ready.set()
        stream = await soon(accepted.get())
        while chunk := await stream.receive():
            await stream.send(chunk)
        await stream.close()
        listener.close()

    async def source() -> tuple[int, int] | None:
        stream = await SystemStack().connect(Endpoint(RIGHT_ADDRESS, PORT), deadline_s=2)
        for _ in range(10):
            await stream.send(b"x")
            await soon(stream.receive())
        segments = stream.segments()
        await stream.close()
        return segments

    server = within(RIGHT, sink)
    assert ready.wait(PATIENCE_S)
    segments = within(LEFT, source).result(4 * PATIENCE_S)
    server.result(PATIENCE_S)
    assert segments is not None
    sent, again = segments
    assert again >= 2
    assert sent >= 11 + again


def test_tls_works_where_large_packets_vanish(tmp_path: Path) -> None:
    for name in (LEFT, RIGHT):
        rules(name, input_rule("meta length > 700 drop"))
    token, pem_path = server_token(tmp_path / "token")
    ready = threading.Event()

    async def serve() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = await listen_tls(accepted.put_nowait, port=PORT, context=server_context(pem_path))
        ready.set()
        stream = await soon(accepted.get())
        stream.admit()
        while chunk := await stream.receive():
            await stream.send(chunk)
        await stream.close()
        listener.close()

    async def ask() -> int:
        stream = await connect_tls(Endpoint(RIGHT_ADDRESS, PORT), token.fingerprint, source=LEFT_ADDRESS, deadline_s=PATIENCE_S)
        await stream.send(bytes(20_000))
        received = 0
        while received < 20_000:
            received += len(await soon(stream.receive()))
        await stream.close()
        return received

    server = within(RIGHT, serve)
    assert ready.wait(PATIENCE_S)
    assert within(LEFT, ask).result(3 * PATIENCE_S) == 20_000
    server.result(PATIENCE_S)


LISTENER = """
import asyncio, json, sys
from ipaddress import ip_address
from vpnprobe.transports.system import SystemStack

async def main():
    host, seen, got = SystemStack(), [], asyncio.Event()
    capture = host.capture(ip_address("10.80.0.1"), seen.append)
    def arrived(datagram):
        port.send(b"answer", datagram.source)
        got.set()
    port = await host.udp(arrived, port=7000)
    print("ready", flush=True)
    await asyncio.wait_for(got.wait(), 5)
    capture.close()
    port.close()
    print(json.dumps([packet.outgoing for packet in seen if packet.data[9] == 17]))

asyncio.run(main())
"""


def test_a_packet_through_a_bridge_counts_once() -> None:
    inside(RIGHT, "ip", "link", "add", "vpsysbr", "type", "bridge")
    inside(RIGHT, "ip", "link", "set", "vpsysbr", "up")
    inside(RIGHT, "ip", "address", "add", "10.80.0.2/24", "dev", "vpsysbr")
    inside(LEFT, "ip", "link", "add", "vpsys1", "type", "veth", "peer", "name", "vpsys1", "netns", RIGHT)
    inside(LEFT, "ip", "address", "add", "10.80.0.1/24", "dev", "vpsys1")
    inside(RIGHT, "ip", "link", "set", "vpsys1", "master", "vpsysbr")
    for name in (LEFT, RIGHT):
        inside(name, "ip", "link", "set", "vpsys1", "up")

    async def ask() -> bytes:
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        port = await SystemStack().udp(got.put_nowait)
        port.send(b"question", Endpoint(LEFT_ADDRESS.__class__("10.80.0.2"), PORT))
        data = (await soon(got.get())).data
        port.close()
        return data

    command = ["ip", "netns", "exec", RIGHT, sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        assert within(LEFT, ask).result(PATIENCE_S) == b"answer"
        outgoing = json.loads(listener.stdout.readline())
    assert sorted(outgoing) == [False, True]


WATCH = """
import asyncio, json, time
from vpnprobe.transports.system.watching import watch_device, watch_leaving

async def main():
    seen = {"device": [], "leaving": []}

    def watched(name):
        def came(packet):
            if packet.ethertype == 0x0800 and packet.data[9] == 1:
                seen[name].append((packet.device, packet.outgoing))
        return came

    watches = [watch_device(watched("device"), "vpsys2", unix_time=time.time), watch_leaving(watched("leaving"), unix_time=time.time)]
    ping = await asyncio.create_subprocess_exec("ping", "-c", "1", "-W", "1", "10.81.0.1", stdout=asyncio.subprocess.DEVNULL)
    await ping.wait()
    for watch in watches:
        watch.close()
    print(json.dumps(seen))

asyncio.run(main())
"""


@pytest.mark.requires("ping")
def test_a_watch_over_one_device_sees_it_though_it_is_a_port_of_another() -> None:
    inside(RIGHT, "ip", "link", "add", "vpsysbr2", "type", "bridge")
    inside(RIGHT, "ip", "link", "set", "vpsysbr2", "up")
    inside(RIGHT, "ip", "address", "add", "10.81.0.2/24", "dev", "vpsysbr2")
    inside(LEFT, "ip", "link", "add", "vpsys2", "type", "veth", "peer", "name", "vpsys2", "netns", RIGHT)
    inside(LEFT, "ip", "address", "add", "10.81.0.1/24", "dev", "vpsys2")
    inside(RIGHT, "ip", "link", "set", "vpsys2", "master", "vpsysbr2")
    for name in (LEFT, RIGHT):
        inside(name, "ip", "link", "set", "vpsys2", "up")
    seen = json.loads(inside(RIGHT, sys.executable, "-c", WATCH))
    assert seen["device"] == [["vpsys2", True], ["vpsys2", False]]
    assert seen["leaving"] == [["vpsysbr2", True]]  # Of all devices a packet counts once.
