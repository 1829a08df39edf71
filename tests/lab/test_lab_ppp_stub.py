"""The PPP peer in user space: framing, negotiation, and that no bytes upset it."""

import os
import select
import struct
import subprocess
import sys
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.lab import ppp_stub
from vpnprobe.lab.ppp_stub import IPCP, LCP, Code, Option, Peer, addresses, encoded, fcs, options, packet, serve, stuffed, unstuffed

MAGIC = b"\x01\x02\x03\x04"
LOCAL, REMOTE = bytes([10, 98, 0, 1]), bytes([10, 98, 0, 10])


def peer() -> Peer:
    return Peer(LOCAL, REMOTE, MAGIC)


def fields(frame: bytes) -> tuple[int, int, int, list[Option]]:
    protocol, code, identifier, _ = struct.unpack(">HBBH", frame[2:8])
    return protocol, code, identifier, list(options(frame[8:]))


def test_the_fcs_of_a_known_frame() -> None:
    # CRC-16/X-25, whose check value over these nine digits is 906e.
    assert fcs(b"123456789") ^ 0xFFFF == 0x906E


@given(st.binary(min_size=1, max_size=200))
def test_a_frame_survives_the_line(frame: bytes) -> None:
    line = stuffed(frame)
    assert line[0] == line[-1] == 0x7E
    assert not any(byte < 0x20 or byte == 0x7E for byte in line[1:-1])
    assert unstuffed(line[1:-1]) == frame


@given(st.binary(min_size=1, max_size=50), st.integers(0, 7))
def test_a_damaged_frame_is_no_frame(frame: bytes, bit: int) -> None:
    line = bytearray(stuffed(frame)[1:-1])
    line[0] ^= 1 << bit
    assert unstuffed(bytes(line)) != frame


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_frames_are_answered_with_frames_or_not_at_all(frames: list[bytes]) -> None:
    one = peer()
    for frame in frames:
        for answer in one.receive(frame) + one.receive(packet(LCP, 1, 1, frame)):
            assert answer.startswith(b"\xff\x03")


def test_it_asks_for_lcp_until_it_is_acknowledged_and_gives_up_after_ten() -> None:
    one = peer()
    sent = [one.requests() for _ in range(11)]
    assert [len(frames) for frames in sent] == [1] * 10 + [0]
    assert fields(sent[0][0]) == (LCP, Code.CONFIGURE_REQUEST, 1, [(1, b"\x05\x78"), (5, MAGIC)])


def test_two_of_them_open_lcp_and_ipcp() -> None:
    server, client = peer(), Peer(REMOTE, LOCAL, b"\5\6\7\x08")
    to_client, to_server = server.requests(), client.requests()
    for _ in range(8):
        to_server += [answer for frame in to_client for answer in client.receive(frame)]
        to_client = [answer for frame in to_server for answer in server.receive(frame)]
        to_server = []
    assert [server.layers[LCP].opened, server.layers[IPCP].opened] == [True, True]
    assert [client.layers[LCP].opened, client.layers[IPCP].opened] == [True, True]


def test_an_unknown_option_is_rejected_and_the_rest_acknowledged_later() -> None:
    one = peer()
    asked = [(1, b"\x05\x00"), (3, b"\xc2\x23\x81")]
    assert fields(one.receive(packet(LCP, Code.CONFIGURE_REQUEST, 7, encoded(asked)))[0]) == (LCP, Code.CONFIGURE_REJECT, 7, asked[1:])
    answer = one.receive(packet(LCP, Code.CONFIGURE_REQUEST, 8, encoded(asked[:1])))
    assert [fields(frame) for frame in answer] == [(LCP, Code.CONFIGURE_ACK, 8, asked[:1])]


def test_an_option_of_its_own_that_is_rejected_is_left_out_and_one_refused_is_changed() -> None:
    one = peer()
    one.requests()
    again = one.receive(packet(LCP, Code.CONFIGURE_REJECT, 1, encoded([(1, b"\x05\x78")])))
    assert fields(again[0]) == (LCP, Code.CONFIGURE_REQUEST, 2, [(5, MAGIC)])
    again = one.receive(packet(LCP, Code.CONFIGURE_NAK, 2, encoded([(5, b"\xaa" * 4)])))
    assert fields(again[0]) == (LCP, Code.CONFIGURE_REQUEST, 3, [(5, b"\xaa" * 4)])


def test_an_answer_to_another_request_is_ignored() -> None:
    one = peer()
    one.requests()
    assert one.receive(packet(LCP, Code.CONFIGURE_ACK, 9)) == []
    assert not one.layers[LCP].ours_acknowledged


def test_a_client_without_an_address_is_given_one() -> None:
    answer = peer().receive(packet(IPCP, Code.CONFIGURE_REQUEST, 3, encoded([(3, bytes(4))])))
    assert [fields(frame) for frame in answer] == [(IPCP, Code.CONFIGURE_NAK, 3, [(3, REMOTE)])]


def test_an_echo_comes_back_with_its_own_magic_number() -> None:
    assert peer().receive(packet(LCP, Code.ECHO_REQUEST, 5, b"\x09\x09\x09\x09hello")) == [
        packet(LCP, Code.ECHO_REPLY, 5, MAGIC + b"hello")
    ]


def test_an_unknown_protocol_is_rejected_and_data_is_dropped() -> None:
    ipv6cp = packet(0x8057, 1, 4, b"abcd")
    assert peer().receive(ipv6cp) == [packet(LCP, Code.PROTOCOL_REJECT, 4, ipv6cp[2:])]
    assert peer().receive(b"\xff\x03\x00\x21" + bytes(20)) == []


def test_an_unknown_code_is_rejected_whole() -> None:
    assert peer().receive(packet(LCP, 99, 4, b"abcd")) == [packet(LCP, Code.CODE_REJECT, 4, b"\x63\x04\x00\x08abcd")]


def test_it_ends_when_it_is_told_to() -> None:
    one = peer()
    assert one.receive(packet(LCP, Code.TERMINATE_REQUEST, 6)) == [packet(LCP, Code.TERMINATE_ACK, 6)]
    assert one.ended


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(["local", "115200", "10.98.0.1:10.98.0.10", "ipparam", "10.78.0.1"], (LOCAL, REMOTE)), (["passive"], (bytes(4), bytes(4)))],
)
def test_the_addresses_are_found_among_the_arguments_of_pppd(arguments: list[str], found: tuple[bytes, bytes]) -> None:
    assert addresses(arguments) == found


def test_on_a_terminal_it_asks_answers_and_ends_when_told_to() -> None:
    line, terminal = os.openpty()
    try:
        tty.setraw(terminal)
        request = packet(LCP, Code.CONFIGURE_REQUEST, 7, encoded([(5, b"abcd")]))
        damaged = b"\x7e" + stuffed(request)[1:-2] + b"\x7e"
        os.write(line, damaged + stuffed(request) + stuffed(packet(LCP, Code.TERMINATE_REQUEST, 8)))
        serve(terminal, peer())
        heard = b""
        while heard.count(b"\x7e") < 6 and select.select([line], [], [], 10)[0]:
            heard += os.read(line, 4096)
    finally:
        os.close(line)
        os.close(terminal)
    frames = [frame for part in heard.split(b"\x7e") if (frame := unstuffed(part)) is not None]
    assert [fields(frame)[:3] for frame in frames] == [
        (LCP, Code.CONFIGURE_REQUEST, 1),
        (LCP, Code.CONFIGURE_ACK, 7),
        (LCP, Code.TERMINATE_ACK, 8),
    ]


def test_when_the_line_hangs_up_the_program_ends_without_complaint() -> None:
    line, terminal = os.openpty()
    program = [sys.executable, "-I", ppp_stub.__file__, "10.98.0.1:10.98.0.10"]
    with subprocess.Popen(program, stdin=terminal, stderr=subprocess.PIPE) as running:
        os.close(terminal)
        assert select.select([line], [], [], 10)[0], "it never asked"
        os.close(line)
        assert running.stderr is not None
        assert (running.wait(10), running.stderr.read()) == (0, b"")
