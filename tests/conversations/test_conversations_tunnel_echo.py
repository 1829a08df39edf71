"""Echo requests through a tunnel: paced runs of several sizes, and their answers."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.tunnel_echo import (
    HOPS,
    INNER_HEADERS,
    OUTER_SIZES,
    SPACING_S,
    STREAM_SIZES,
    STREAM_TURNS,
    EchoRun,
    echo_reply,
    echo_request,
    read_echo,
)
from vpnprobe.wire.icmp import EchoReply, EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

HERE, THERE = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


def test_a_run_is_paced_and_its_sizes_come_in_turn() -> None:
    run = EchoRun(1, 8)
    assert run.next(5.0) is None
    assert not run.all_sent
    run.begin(5.0)
    sent, now = [], 5.0
    while run.due is not None:
        now = run.due
        assert run.next(now - 0.001) is None
        sent.append(run.next(now))
    assert sent == [(number, OUTER_SIZES[::-1][number % 6]) for number in range(8)]
    assert now == pytest.approx(5.0 + 7 * SPACING_S)
    assert run.all_sent
    assert not run.all_answered


def test_a_driver_that_comes_late_sends_one_after_another() -> None:
    run = EchoRun(1, 3)
    run.begin(5.0)
    assert run.next(9.0) == (0, OUTER_SIZES[-1])
    assert run.next(9.0) is None
    assert run.due == pytest.approx(9.0 + SPACING_S)
    # A clock that goes back a hair sends nothing twice.
    assert run.next(9.0 - 1e-6) is None


def test_a_run_of_none_is_over_at_once() -> None:
    run = EchoRun(1, 0)
    run.begin(5.0)
    assert run.due is None
    assert run.all_answered


def test_the_first_answer_counts() -> None:
    run = EchoRun(1, 1)
    run.begin(5.0)
    run.next(5.0)
    assert run.answered(0, 6.0)
    assert run.answered(0, 7.0)
    assert run.requests[0].answered_at == 6.0
    assert not run.answered(1, 7.0)
    assert run.all_answered


@pytest.mark.parametrize("size", [0, INNER_HEADERS, 100, 1400])
def test_requests_and_replies(size: int) -> None:
    request = echo_request(HERE, THERE, identifier=7, sequence=9, size=size)
    assert len(request) == max(size, INNER_HEADERS)
    read = read_echo(request)
    assert read is not None
    packet, message = read
    assert isinstance(message, EchoRequest)
    assert (message.identifier, message.sequence) == (7, 9)
    answer = read_echo(echo_reply(packet, message))
    assert answer is not None
    assert answer[0].source == THERE
    assert answer[0].destination == HERE
    assert answer[0].ttl == HOPS
    assert answer[1] == EchoReply(7, 9, message.data)


def test_another_packet_is_no_echo() -> None:
    udp = IPv4Packet(HERE, THERE, IpProtocol.UDP, HOPS, 1, bytes(8)).encode()
    broken = IPv4Packet(HERE, THERE, IpProtocol.ICMP, HOPS, 1, b"").encode()
    unreachable = IPv4Packet(HERE, THERE, IpProtocol.ICMP, HOPS, 1, bytes([13]) + bytes(19)).encode()
    for payload in (b"", b"junk", udp, broken, unreachable, bytes.fromhex("60") + bytes(39)):
        assert read_echo(payload) is None


@given(st.binary(max_size=100))
def test_any_payload_is_an_echo_or_none(payload: bytes) -> None:
    read_echo(payload)


def test_an_order_of_its_own_is_one_turn() -> None:
    run = EchoRun(7, 9, sizes=(128, 1400), turn=(128, 128, 1400), full_turns=2)
    run.begin(0.0)
    sizes = [asked[1] for number in range(9) if (asked := run.next(float(number))) is not None]
    assert sizes == [128, 128, 1400, 128, 128, 1400, 128, 128, 128]


def test_streams_have_their_first_large_packet_at_several_places() -> None:
    assert len({turn.index(max(turn)) for turn in STREAM_TURNS}) == len(STREAM_TURNS)
    assert {frozenset(turn) for turn in STREAM_TURNS} == {frozenset(STREAM_SIZES)}


def test_a_run_goes_on_with_requests_of_the_first_size() -> None:
    run = EchoRun(7, 2)
    run.begin(0.0)
    assert [run.next(0.1 * number) for number in range(3)] == [(0, OUTER_SIZES[-1]), (1, OUTER_SIZES[-2]), None]
    run.one_more(1.0)
    assert not run.all_sent
    assert run.next(1.0) == (2, OUTER_SIZES[0])
    assert run.all_sent


def test_a_run_that_is_silent_at_its_end() -> None:
    run = EchoRun(7, 8, sizes=(128,))
    assert not run.silent_at_its_end(3), "nothing was asked"
    run.begin(0.0)
    for number in range(8):
        run.next(float(number))
    assert run.silent_at_its_end(3), "nothing was answered"
    run.answered(4, 9.0)
    assert run.silent_at_its_end(3)
    assert not run.silent_at_its_end(4)


def test_sizes_of_which_none_is_answered_are_no_silence() -> None:
    run = EchoRun(7, 12, sizes=(128, 1400))
    run.begin(0.0)
    for number in range(12):
        run.next(float(number))
        if number % 2:
            run.answered(number, number + 0.1)
    assert not run.silent_at_its_end(3)


def test_what_is_asked_further_is_of_the_size_in_question() -> None:
    run = EchoRun(7, 6, sizes=(128, 576, 1400))
    run.begin(0.0)
    for number in range(6):
        run.next(float(number))
        if number % 3 > 0 and number < 5:
            run.answered(number, number + 0.1)
    assert run.too_large() == 1400
    run.one_more(9.0)
    assert run.next(9.0) == (6, 1400)
    run.answered(6, 9.1)
    assert run.too_large() is None
    run.one_more(10.0)
    assert run.next(10.0) == (7, 128)


def test_one_large_request_that_is_lost_puts_no_size_into_question() -> None:
    run = EchoRun(7, 2, sizes=(128, 1400))
    run.begin(0.0)
    for number in range(2):
        run.next(float(number))
    assert run.too_large() is None, "nothing is answered at all"
    run.answered(1, 1.0)
    assert run.too_large() is None
