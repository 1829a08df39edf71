"""Times that go backwards: what is put in order, what stays as the file has it, and what is said."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from derived_captures import Packet, named, packets_of
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture import time_order
from vpnprobe.capture.files import CapturedPacket
from vpnprobe.capture.reading import CaptureInput, read_capture
from vpnprobe.capture.time_order import TimeOrder
from vpnprobe.wire.ip import IPv4Packet

DATA = Path(__file__).parent.parent / "data"
CAPTURES = ["lab/l2tp-real-client.pcap", "lab/openvpn-udp-tlscrypt-client.pcap", "lab/ipsec-v2net-client.pcap", "pptp-real-client.pcap"]


def packet(number: int, at: float, interface: int = 0, *, of: int = 2) -> CapturedPacket:
    return CapturedPacket(number, at, b"x" * 10, 10, interface=interface, of_interfaces=of)


def in_order(packets: list[CapturedPacket]) -> tuple[list[int], TimeOrder]:
    order = TimeOrder()
    return [one.number for one in order(packets)], order


def block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def pcapng(packets: list[Packet], *, interfaces: int) -> bytes:
    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += block(1, struct.pack("<HHI", 101, 0, 0)) * interfaces
    for one in packets:
        ticks = round(one.at * 1e6)
        head = struct.pack("<IIIII", one.interface, ticks >> 32, ticks & 0xFFFFFFFF, len(one.data), len(one.data))
        data += block(6, head + one.data)
    return data


def read(folder: Path, packets: list[Packet], *, interfaces: int) -> CaptureInput:
    (folder / "some.pcapng").write_bytes(pcapng(packets, interfaces=interfaces))
    return read_capture(folder / "some.pcapng")


def conversations(capture: CaptureInput) -> list[tuple[str, str, str]]:
    return [named(one) for one in capture.traces[0].decoder.conversations()]


@pytest.mark.parametrize("name", CAPTURES)
def test_each_end_on_an_interface_of_its_own_one_after_the_other(name: str, tmp_path: Path) -> None:
    packets = packets_of(DATA / name)
    first = IPv4Packet.decode(packets[0].data).source
    of_ends = [replace(one, interface=int(IPv4Packet.decode(one.data).source != first)) for one in packets]
    apart = sorted(of_ends, key=lambda one: -one.interface)
    found = read(tmp_path, apart, interfaces=2)
    assert conversations(found) == conversations(read(tmp_path, packets, interfaces=1))
    assert found.problem is not None
    assert "times go backwards" in found.problem
    assert "the packets of its 2 interfaces were put in order of time" in found.problem


@pytest.mark.parametrize("name", CAPTURES)
def test_a_clock_that_is_set_back_leaves_the_order_of_the_file(name: str, tmp_path: Path) -> None:
    packets = packets_of(DATA / name)
    stepped = [replace(one, at=one.at - 60 * (number > len(packets) // 2)) for number, one in enumerate(packets)]
    found = read(tmp_path, stepped, interfaces=1)
    assert conversations(found) == conversations(read(tmp_path, packets, interfaces=1))
    assert found.problem is not None
    assert "its packets are taken in the order of the file" in found.problem


def test_packets_are_merged_across_interfaces_and_never_against_their_own_order() -> None:
    found, order = in_order([packet(1, 5.0), packet(2, 1.0, 1), packet(3, 2.0, 1), packet(4, 4.0), packet(5, 6.0, 1)])
    assert found == [2, 3, 1, 4, 5]
    assert order.told() == "its times go backwards once, by up to 4 s: the packets of its 2 interfaces were put in order of time"
    jittering, order = in_order([packet(1, 5.0), packet(2, 4.9995, 1)])
    assert (jittering, order.told()) == ([2, 1], None)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_order, "HELD_PACKETS", 2)
    found, order = in_order([packet(number, 10.0 - number, number % 2) for number in range(1, 6)])
    assert sorted(found) == [1, 2, 3, 4, 5]
    told = order.told()
    assert told is not None
    assert told.endswith("as far as that is possible in a file of this size")
    monkeypatch.setattr(time_order, "HELD_BYTES", 15)
    assert in_order([packet(1, 3.0), packet(2, 2.0, 1), packet(3, 1.0)])[0] == [2, 1, 3]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 2)), max_size=40), st.integers(1, 3))
def test_every_packet_comes_once_and_each_interface_in_its_order(rows: list[tuple[float, int]], interfaces: int) -> None:
    packets = [packet(number, at, which % interfaces, of=interfaces) for number, (at, which) in enumerate(rows)]
    found, _ = in_order(packets)
    assert sorted(found) == list(range(len(rows)))
    for which in range(interfaces):
        own = [number for number in found if packets[number].interface == which]
        assert own == sorted(own)
