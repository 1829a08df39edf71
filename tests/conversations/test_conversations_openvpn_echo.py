"""What goes through an OpenVPN tunnel: echo requests of several sizes, their answers, and floods of other ends' requests."""

import pytest
from openvpn_support import completed, make_client, make_pair, make_server, saying

from vpnprobe.conversations.openvpn_ends import CLIENT_TUNNEL, SERVER_TUNNEL, ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.tunnel_echo import MOST_ECHOES, OUTER_SIZES, STREAM_SIZES, echo_reply, echo_request, read_echo
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.openvpn import DataV2
from vpnprobe.wire.openvpn_data import PING, Compression


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("stream", [False, True])
def test_packets_have_the_sizes_that_they_are_said_to_have(stream: bool, compression: Compression) -> None:
    option = {Compression.STUB: "compress", Compression.STUB_V2: "compress stub-v2", Compression.LZO_NO: "comp-lzo no"}.get(compression)
    option = option or "topology subnet"
    asked = saying(
        stream=stream, says=f"PUSH_REPLY,ifconfig 10.255.238.2,route-gateway 10.255.238.1,peer-id 7,cipher AES-256-GCM,{option}\0".encode()
    )
    assert asked.client.framing.compression is compression
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


def test_whether_the_server_has_answered_and_whether_more_can_come() -> None:
    silent, done, refused = make_client(), completed().client, completed().client
    refused.receive(b"", 1.0)
    refused.failure = Failure(FailureCode.HALTED)
    assert [(end.answered, end.failed) for end in (silent, done, refused)] == [(False, False), (True, False), (True, True)]
    assert [end.answered for end in (make_server(), completed().server)] == [False, True]


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


@pytest.mark.parametrize(
    ("largest", "came", "doubt"),
    [(1200, 3, True), (1400, 4, True), (1200, 2, False), (1450, 5, False), (1492, 12, False), (None, 0, False)],
)
def test_a_peer_whose_large_requests_alone_do_not_come_is_in_doubt(largest: int | None, came: int, doubt: bool) -> None:
    """A single size, or a few that are missing anyhow, may be chance; nothing at all is another matter."""
    client = completed().client
    assert not client.hears_small_requests_alone(), "all came"
    client.largest_request, client.requests_answered = (client.room(largest) or 0) if largest else 0, came
    assert client.hears_small_requests_alone() is doubt
