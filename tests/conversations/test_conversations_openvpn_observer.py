"""OpenVPN as the wire shows it to somebody without keys: over datagrams and over streams, whole, cut, broken and closed."""

from collections.abc import Iterable

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.openvpn_observer import OpenvpnObserver
from vpnprobe.wire.openvpn import AckV1, ControlV1, DataV2, HardResetClientV2, HardResetServerV2, Packet, Reliable, frame

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
C_ID, S_ID = b"clientid", b"serverid"
KEY = C_ID.hex()
RESET = HardResetClientV2.plain(C_ID, Reliable())
ANSWER = HardResetServerV2.plain(S_ID, Reliable((0,), C_ID))
ACK = AckV1.plain(C_ID, Reliable((0,), S_ID, None))
SAID: list[tuple[Sender, Packet]] = [(CLIENT, RESET), (SERVER, ANSWER), (CLIENT, ACK)]
EXCHANGE = [("reset", KEY, packet.name) for _, packet in SAID]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])


def seen(messages: Iterable[MessageSeen]) -> list[tuple[str, str, str]]:
    return [message[:3] for message in messages]


@BOTH
def test_control_packets_of_either_end_have_the_clients_session(stream: bool) -> None:
    observer = OpenvpnObserver(stream=stream)
    told = [observer.saw(sender, frame(packet.encode()) if stream else packet.encode()) for sender, packet in SAID]
    assert [row for messages in told for row in seen(messages)] == EXCHANGE


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_a_stream_in_pieces(cut: int) -> None:
    observer, told = OpenvpnObserver(stream=True), []
    for sender, packet in SAID:
        data = frame(packet.encode())
        for start in range(0, len(data), cut):
            told += seen(observer.saw(sender, data[start : start + cut]))
    assert told == EXCHANGE


def test_a_stream_of_which_a_part_was_not_seen_goes_on_where_a_packet_begins() -> None:
    observer = OpenvpnObserver(stream=True)
    assert seen(observer.saw(CLIENT, frame(RESET.encode())[:1])) == []
    assert seen(observer.saw(CLIENT, frame(ACK.encode()), gap=15)) == EXCHANGE[2:]


@pytest.mark.parametrize(
    ("sender", "packet"),
    [
        (SERVER, HardResetServerV2(S_ID, b"\xff" * 30)),
        (SERVER, ControlV1.plain(S_ID, Reliable((), None, 1))),
        (CLIENT, DataV2(0, b"sealed")),
    ],
    ids=["wrapped", "acknowledges-nothing", "data"],
)
@BOTH
def test_what_shows_no_clients_session_is_left_out(sender: Sender, packet: Packet, stream: bool) -> None:
    data = packet.encode()
    assert seen(OpenvpnObserver(stream=stream).saw(sender, frame(data) if stream else data)) == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x38", b"hello"])
@BOTH
def test_what_cannot_be_read_shows_nothing(data: bytes, stream: bool) -> None:
    assert seen(OpenvpnObserver(stream=stream).saw(CLIENT, data)) == []


def test_a_stream_that_is_broken_shows_nothing_more() -> None:
    observer = OpenvpnObserver(stream=True)
    assert seen(observer.saw(CLIENT, frame(RESET.encode()) + bytes(2))) == EXCHANGE[:1]
    assert seen(observer.saw(CLIENT, frame(ACK.encode()))) == []
    assert seen(observer.saw(SERVER, frame(ANSWER.encode()))) == EXCHANGE[1:2]


def test_a_packet_in_an_intact_stream_that_cannot_be_read_is_passed_over() -> None:
    assert seen(OpenvpnObserver(stream=True).saw(CLIENT, frame(b"\xff junk") + frame(RESET.encode()))) == EXCHANGE[:1]


@pytest.mark.parametrize(("sender", "after_reset", "refused"), [(SERVER, True, True), (SERVER, False, False), (CLIENT, True, False)])
def test_a_server_that_closes_refuses_the_reset_before(sender: Sender, after_reset: bool, refused: bool) -> None:
    observer = OpenvpnObserver(stream=True)
    if after_reset:
        list(observer.saw(CLIENT, frame(RESET.encode())))
    assert seen(observer.closed(sender)) == ([("reset", KEY, "FIN")] if refused else [])
