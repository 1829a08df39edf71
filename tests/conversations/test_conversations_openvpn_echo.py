"""What goes through the tunnel: echo requests of several sizes, paced, their answers, and floods of other ends' requests."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvpn_support import completed, make_client, make_pair, make_server, saying

from vpnprobe.conversations.openvpn_echo import (
    HOPS,
    INNER_HEADERS,
    MOST_ECHOES,
    OUTER_SIZES,
    SPACING_S,
    STREAM_SIZES,
    EchoRun,
    echo_reply,
    echo_request,
    read_echo,
)
from vpnprobe.conversations.openvpn_ends import CLIENT_TUNNEL, SERVER_TUNNEL, ClientOffer
from vpnprobe.wire.icmp import EchoReply, EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.openvpn import DataV2
from vpnprobe.wire.openvpn_data import PING, Compression

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
    assert sent == [(number, OUTER_SIZES[number % 6]) for number in range(8)]
    assert now == pytest.approx(5.0 + 7 * SPACING_S)
    assert run.all_sent
    assert not run.all_answered


def test_a_driver_that_comes_late_sends_one_after_another() -> None:
    run = EchoRun(1, 3)
    run.begin(5.0)
    assert run.next(9.0) == (0, 128)
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


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("stream", [False, True])
def test_packets_have_the_sizes_that_they_are_said_to_have(stream: bool, compression: Compression) -> None:
    option = {Compression.STUB: "compress", Compression.STUB_V2: "compress stub-v2", Compression.LZO_NO: "comp-lzo no"}.get(compression)
    option = option or "topology subnet"
    asked = saying(
        stream=stream, says=f"PUSH_REPLY,ifconfig 10.255.238.2,route-gateway 10.255.238.1,peer-id 7,cipher AES-256-GCM,{option}\0".encode()
    )
    assert asked.client.compression is compression
    assert asked.client.run.all_sent
    carrier = 54 if stream else 28
    assert {step.size + carrier for step in asked.client.events() if isinstance(step.message, DataV2)} == set(
        STREAM_SIZES if stream else OUTER_SIZES
    )


def test_answers_name_the_packet_that_they_answer() -> None:
    pair = completed()
    answers = [step.message.answers for step in pair.client.events() if isinstance(step.message, DataV2) and step.message.answers]
    assert sorted(answers) == sorted(request.carried_by or "" for request in pair.client.run.requests.values())


def test_nothing_is_sent_before_there_are_keys() -> None:
    for end in (make_client(), make_server()):
        end.start(0.0)
        end.run.begin(0.0)
        end.handle_timer(0.0)
        assert end.run.requests == {}
        assert end.send_payload(PING, 0.0) is None


def test_a_run_without_requests() -> None:
    pair = make_pair(offer=ClientOffer(echoes=0)).complete()
    assert pair.client.run.requests == {}
    assert pair.client.requests_answered == 12


def test_pings_and_other_payloads_are_no_echoes() -> None:
    pair = completed()
    foreign = echo_request(CLIENT_TUNNEL, SERVER_TUNNEL, identifier=1, sequence=500, size=100)
    echo = read_echo(foreign)
    assert echo is not None
    assert isinstance(echo[1], EchoRequest)
    unasked = echo_reply(echo[0], EchoRequest(pair.server.run.identifier, 500, b""))
    for payload in (PING, PING, b"junk", b"", echo_reply(echo[0], echo[1]), unasked):
        assert pair.client.send_payload(payload, pair.now)
    pair.run()
    assert pair.server.pings_received == 2
    assert pair.server.unreadable == 0
    assert pair.server.requests_answered == 12
    assert pair.server.run.requests.keys() == set(range(12))


def test_a_flood_of_requests_is_answered_up_to_a_bound() -> None:
    pair = completed()
    pair.server.requests_answered = MOST_ECHOES - 1
    for sequence in range(5):
        request = echo_request(CLIENT_TUNNEL, SERVER_TUNNEL, identifier=1, sequence=sequence, size=60)
        assert pair.client.send_payload(request, pair.now)
    pair.run()
    assert pair.server.requests_answered == MOST_ECHOES
    sent = [step for step in pair.server.events() if isinstance(step.message, DataV2) and step.sender is pair.server.SENDER]
    assert len(sent) == 12 + 12 + 1
