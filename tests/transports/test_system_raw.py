"""Raw IP and capture on loopback, where the privilege is there; what happens without it."""

import asyncio
import os
import struct
import subprocess
import sys

import pytest
from system_support import LOOPBACK, LOOPBACK6, needs_raw, soon, stack

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.stack import Capability, Datagram, Endpoint, Packet
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.system.addresses import has_ipv6
from vpnprobe.transports.system.capturing import without_padding

GRE = 47


def gre_packet(payload: bytes, *, ttl: int) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 99, 0, ttl, GRE, 0, LOOPBACK.packed, LOOPBACK.packed) + payload


@needs_raw
def test_a_raw_socket_gives_the_payload_without_the_header() -> None:
    async def main() -> Datagram:
        host = stack()
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        port = host.raw(GRE, got.put_nowait)
        port.send(b"\0\0\0\0bare", LOOPBACK, ttl=9)
        datagram = await soon(got.get())
        port.close()
        return datagram

    datagram = asyncio.run(main())
    assert (datagram.data, datagram.source, datagram.ttl) == (b"\0\0\0\0bare", Endpoint(LOOPBACK, 0), 9)


@needs_raw
@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_a_raw_socket_of_ipv6() -> None:
    async def main() -> Datagram:
        host = stack()
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        port = host.raw(GRE, got.put_nowait, version=6)
        port.send(b"to another family", LOOPBACK)
        port.send(b"\0\0\0\0six", LOOPBACK6, ttl=11)
        datagram = await soon(got.get())
        port.close()
        return datagram

    datagram = asyncio.run(main())
    assert (datagram.data, datagram.source, datagram.ttl) == (b"\0\0\0\0six", Endpoint(LOOPBACK6, 0), 11)


@needs_raw
def test_a_whole_packet_goes_out_with_its_own_header() -> None:
    async def main() -> tuple[Datagram, list[Packet]]:
        host = SystemStack()
        packets: list[Packet] = []
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        capture = host.capture(LOOPBACK, packets.append)
        port = host.raw(GRE, got.put_nowait)
        host.send_packet(gre_packet(b"\0\0\0\0stepped", ttl=3))
        datagram = await soon(got.get())
        port.close()
        capture.close()
        host.close()
        return datagram, packets

    datagram, packets = asyncio.run(main())
    assert (datagram.data, datagram.ttl) == (b"\0\0\0\0stepped", 3)
    ours = [packet for packet in packets if packet.data[9] == GRE and packet.data.endswith(b"stepped")]
    assert sorted(packet.outgoing for packet in ours) == [False, True]
    assert {packet.data[4:6] for packet in ours} == {(99).to_bytes(2, "big")}


@needs_raw
def test_sending_a_packet_that_the_kernel_refuses_raises_nothing() -> None:
    host = SystemStack()
    host.send_packet(gre_packet(b"", ttl=3) + bytes(200_000))
    host.close()


@needs_raw
def test_a_capture_sees_the_peer_and_icmp_and_nothing_else() -> None:
    other = LOOPBACK.__class__("127.0.0.2")
    third = LOOPBACK.__class__("127.0.0.3")

    async def main() -> list[Packet]:
        host = stack()
        packets: list[Packet] = []
        refused: asyncio.Queue[Endpoint] = asyncio.Queue()
        capture = host.capture(other, packets.append)
        one = await host.udp(lambda datagram: None, address=third, on_refused=refused.put_nowait)
        one.send(b"to the peer", Endpoint(other, 9))
        one.send(b"to somebody else", Endpoint(third, one.local.port))
        await soon(refused.get())
        one.close()
        before = host.unix_time()
        capture.close()
        assert all(before - 5 < packet.at <= before for packet in packets)
        return packets

    packets = asyncio.run(main())
    bodies = [packet.data for packet in packets]
    assert any(body.endswith(b"to the peer") and body[9] == 17 for body in bodies)
    assert any(body[9] == 1 for body in bodies)
    assert not any(body.endswith(b"to somebody else") for body in bodies)


@needs_raw
def test_a_capture_counts_what_it_had_no_room_for() -> None:
    async def main() -> tuple[int, int]:
        host = SystemStack()
        packets: list[Packet] = []
        capture = host.capture(LOOPBACK, packets.append)
        capture._sock.setsockopt(1, 33, 4096)  # SO_RCVBUFFORCE: room for next to nothing
        port = await host.udp(lambda datagram: None, address=LOOPBACK)
        for _ in range(100):
            port.send(bytes(1000), Endpoint(LOOPBACK, port.local.port))
        port.close()
        capture.close()
        return capture.drops, len(packets)

    drops, kept = asyncio.run(main())
    assert drops > 0
    assert drops + kept == 200


@pytest.mark.parametrize(
    ("packet", "length"),
    [
        (gre_packet(b"abcd", ttl=1) + bytes(22), 24),
        (gre_packet(b"abcd", ttl=1), 24),
        (bytes([0x60, 0, 0, 0, 0, 4, 47, 1]) + bytes(32) + b"abcd" + bytes(10), 44),
        (b"short", 5),
    ],
)
def test_ethernet_padding_is_cut_off(packet: bytes, length: int) -> None:
    assert len(without_padding(packet)) == length


UNPRIVILEGED = """
import asyncio
from ipaddress import ip_address
from vpnprobe.errors import CannotRun
from vpnprobe.transports.system import SystemStack

async def main():
    host = SystemStack()
    print(sorted(host.capabilities))
    for attempt in (lambda: host.raw(47, print), lambda: host.send_packet(bytes(20)), lambda: host.capture(ip_address("127.0.0.1"), print)):
        try:
            attempt()
        except CannotRun as exc:
            print(int(exc.status), exc)

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give privileges up")
def test_without_privileges_each_lack_is_one_line_with_its_mend() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", UNPRIVILEGED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "[]"
    assert len(lines) == 4
    assert all(line.startswith(f"{int(ExitStatus.MISSING)} ") and "--cap-add=NET_RAW" in line for line in lines[1:])


def test_a_lack_is_told_from_another_by_its_words() -> None:
    from vpnprobe.transports.capabilities import lacking

    messages = {str(lacking(capability)) for capability in Capability}
    assert len(messages) == 3
    assert all("\n" not in message for message in messages)
    assert isinstance(lacking(Capability.RAW_IP), CannotRun)
