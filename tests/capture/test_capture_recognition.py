"""Protocols in TCP are known from any segmentation, from the middle of a stream, and from what a snap length left."""

import os
from functools import cache
from pathlib import Path

import pytest
from capture_packets import CLIENT, connection, decoded, tcp
from derived_captures import Packet, from_the_middle, in_segments, one_direction, packets_of, retransmitted, snapped, stages
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.followers import recognition
from vpnprobe.wire.ip import TcpFlag
from vpnprobe.wire.openvpn import ControlV1, DataV1, DataV2, HardResetClientV2, HardResetClientV3, Reliable, frame
from vpnprobe.wire.pptp import EchoRequest, StartControlConnectionRequest

DATA = Path(__file__).parent.parent / "data"
TCP = ("lab/openvpn-tcp-plain-client.pcap", "lab/openvpn-tcp-tlscrypt-client.pcap", "pptp-real-client.pcap")


@cache
def capture(name: str) -> tuple[Packet, ...]:
    return tuple(packets_of(DATA / name))


def whole(name: str) -> list[tuple[str, str, str]]:
    found = stages(capture(name))
    assert found[-1][2] in ("data-both-ways", "call-up")
    return found


@pytest.mark.parametrize("name", TCP)
@pytest.mark.parametrize("size", [1, 2, 9, 100])
def test_segments_of_one_size(name: str, size: int) -> None:
    assert stages(in_segments(capture(name), lambda: size)) == whole(name)


@pytest.mark.parametrize("name", TCP)
def test_segments_of_any_sizes(name: str) -> None:
    expected = whole(name)

    @given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
    def holds(sizes: list[int]) -> None:
        turn = iter(range(1 << 20))
        assert stages(in_segments(capture(name), lambda: sizes[next(turn) % len(sizes)])) == expected

    holds()


@pytest.mark.parametrize("name", TCP)
@pytest.mark.parametrize("size", [7, 33, 400])
def test_retransmissions_with_other_boundaries(name: str, size: int) -> None:
    assert stages(retransmitted(capture(name), size)) == whole(name)


@pytest.mark.parametrize("name", TCP)
def test_what_a_snap_length_left_of_segments(name: str) -> None:
    assert stages(snapped(capture(name), 96)) == whole(name)


@pytest.mark.parametrize("size", [1, 9, 5000])
def test_a_stream_of_openvpn_from_its_middle(size: int) -> None:
    packets = from_the_middle(capture(TCP[1]), 0.6)
    client, stage = whole(TCP[1])[0][1:]
    assert stages(in_segments(packets, lambda: size)) == [("openvpn-tcp", client, f"midstream-{stage}")]


def test_a_stream_of_pptp_from_its_middle_on_any_port() -> None:
    echo = EchoRequest(7).encode()
    (found,) = decoded(
        tcp(sequence=100 + at, payload=(echo[3:] + echo * 2)[at : at + 5], server_port=9999) for at in range(0, 45, 5)
    ).conversations()
    assert (found.protocol, found.stage, found.detail["client_known"]) == ("pptp", "midstream-control", False)


def test_one_direction_of_a_stream() -> None:
    packets = capture(TCP[0])
    client, server = ("10.61.0.2", "10.61.9.2")
    for address in (client, server):
        ((protocol, found, stage),) = stages(one_direction(packets, address))
        assert (protocol, found, stage) == ("openvpn-tcp", whole(TCP[0])[0][1], "data-one-way")


def in_one_connection(payload: bytes, *, size: int = 4000) -> list[tuple[str, str]]:
    parts = [(False, payload[at : at + size]) for at in range(0, len(payload), size)]
    return [(summary.protocol, summary.stage) for summary in decoded(connection(parts, server_port=443)).conversations()]


def from_its_middle(payload: bytes, *, size: int = 1400) -> list[str]:
    packets = [tcp(sequence=77 + at, payload=payload[at : at + size], server_port=443) for at in range(0, len(payload), size)]
    return [summary.stage for summary in decoded(packets).conversations()]


def test_a_long_reset_in_tiny_segments() -> None:
    wrapped = os.urandom(60) + os.urandom(700) + (702).to_bytes(2, "big")
    reset = frame(HardResetClientV3(os.urandom(8), wrapped).encode())
    assert in_one_connection(reset, size=1) == [("openvpn-tcp", "client-reset-unanswered")]
    assert in_one_connection(reset[:-1], size=3) == []


def test_data_that_has_only_its_first_byte_in_common() -> None:
    cbc = b"".join(frame(DataV1(os.urandom(100)).encode()) for _ in range(6))
    assert from_its_middle(cbc[30:], size=11) == ["midstream-data-one-way"]
    assert from_its_middle(cbc[30:400], size=11) == []
    renegotiation = [ControlV1.plain(b"\7" * 8, Reliable((), None, number, bytes(50)), key_id=1) for number in range(4)]
    assert from_its_middle(b"".join(frame(one.encode()) for one in renegotiation)[9:]) == ["control-one-way"]


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50))
def test_other_streams_are_none(content: bytes, size: int) -> None:
    if content[:1] > b"\5":
        assert in_one_connection(content, size=size) == []
    assert from_its_middle(b"GET / HTTP/1.1\r\n" + content, size=size) == []


def test_what_is_given_up_lets_go_of_what_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "WAITING_LIMIT_BYTES", 5000)
    reset = frame(HardResetClientV2.plain(os.urandom(8), Reliable()).encode())
    opened = tcp(sequence=1000, flags=TcpFlag.SYN, server_port=443)
    halves = [tcp(sequence=1001 + at, payload=reset[at : at + 1], server_port=443) for at in range(len(reset))]
    assert decoded([opened, *halves]).conversations() == []
    assert in_one_connection(reset * 2) == [("openvpn-tcp", "client-reset-unanswered")]
    many = [tcp(sequence=5, payload=frame(DataV2(3, bytes(1000)).encode())[40:], port=2000 + n, server_port=443) for n in range(20)]
    assert decoded(many).conversations() == []


def test_the_same_ports_again_while_the_protocol_is_not_known() -> None:
    whole_reset = frame(HardResetClientV2.plain(b"\1" * 8, Reliable()).encode())
    again = [tcp(sequence=9000, flags=TcpFlag.SYN), tcp(sequence=9001, payload=StartControlConnectionRequest().encode())]
    first = [tcp(sequence=1, flags=TcpFlag.SYN, server_port=443), tcp(sequence=2, payload=whole_reset[:5], server_port=443)]
    second = [tcp(sequence=70, flags=TcpFlag.SYN, server_port=443), tcp(sequence=71, payload=whole_reset, server_port=443)]
    found = decoded([*again, *first, *second]).conversations()
    assert [(one.protocol, one.stage) for one in found] == [("pptp", "sccrq-unanswered"), ("openvpn-tcp", "client-reset-unanswered")]
    assert found[1].client.address == str(CLIENT)
