"""OpenVPN's table and its tracker: the stages of captures, gaps in a stream, and what each message is called and bears on."""

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import (
    CIPHERTEXT_KEPT,
    KeysAgreed,
    OpenvpnTracker,
    State,
    StreamClosed,
    data_suffix,
    describe,
    head_bytes,
    placed,
)
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import (
    AckV1,
    ControlV1,
    ControlWkcV1,
    DataV1,
    DataV2,
    HardResetClientV1,
    HardResetClientV2,
    HardResetClientV3,
    HardResetServerV1,
    HardResetServerV2,
    Packet,
    Reliable,
    SoftResetV1,
    frame,
)

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
C_ID, S_ID = b"clientid", b"serverid"
RESET = HardResetClientV2.plain(C_ID, Reliable())
ANSWER = HardResetServerV2.plain(S_ID, Reliable((0,), C_ID))
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])


CONTROL_C, CONTROL_S = ControlV1(C_ID, b"wrapped"), ControlV1(S_ID, b"wrapped")
DATA = DataV2(0, b"sealed")


@pytest.mark.parametrize(
    ("packets", "state"),
    [
        ([(CLIENT, RESET)], State.CLIENT_RESET),
        ([(CLIENT, HardResetClientV1(C_ID, b"")), (SERVER, HardResetServerV1(S_ID, b""))], State.SERVER_RESET),
        ([(CLIENT, HardResetClientV3(C_ID, b"w")), (SERVER, HardResetServerV2(S_ID, b"w"))], State.SERVER_RESET),
        ([(SERVER, ANSWER)], State.SERVER_RESET),
        ([(CLIENT, RESET), (CLIENT, CONTROL_C), (CLIENT, CONTROL_C)], State.CONTROL_ONE_WAY),
        ([(CLIENT, RESET), (SERVER, ANSWER), (CLIENT, ControlWkcV1(C_ID, b"w"))], State.CONTROL_ONE_WAY),
        ([(SERVER, CONTROL_S), (SERVER, CONTROL_S)], State.CONTROL_ONE_WAY),
        ([(CLIENT, RESET), (SERVER, ANSWER), (SERVER, CONTROL_S), (CLIENT, CONTROL_C), (SERVER, CONTROL_S)], State.CONTROL_BOTH_WAYS),
        ([(CLIENT, RESET), (SERVER, ANSWER), (SERVER, DATA), (SERVER, DATA)], State.DATA_ONE_WAY),
        ([(CLIENT, CONTROL_C), (SERVER, CONTROL_S), (CLIENT, DATA), (CLIENT, CONTROL_C)], State.DATA_ONE_WAY),
        ([(CLIENT, RESET), (CLIENT, DATA), (SERVER, DataV1(b"x")), (CLIENT, DATA), (SERVER, SoftResetV1(S_ID, b""))], State.DATA_BOTH_WAYS),
        ([(SERVER, DATA), (SERVER, DATA)], State.MIDSTREAM_DATA_ONE_WAY),
        ([(SERVER, DATA), (CLIENT, DATA), (CLIENT, CONTROL_C), (SERVER, CONTROL_S), (CLIENT, DATA)], State.MIDSTREAM_DATA_BOTH_WAYS),
    ],
)
@BOTH
def test_captures_come_to_their_stage(packets: list[tuple[Sender, Packet]], state: State, stream: bool) -> None:
    tracker = OpenvpnTracker()
    for sender, packet in packets:
        if stream:
            assert tracker.saw_chunk(sender, frame(packet.encode()), now=0.0) == [packet]
        else:
            tracker.saw_datagram(sender, packet.encode(), now=0.0)
    assert tracker.state is state
    assert all(step.expected for step in tracker.steps)


def test_the_key_comes_from_either_end() -> None:
    tracker = OpenvpnTracker()
    tracker.saw_datagram(SERVER, HardResetServerV2(S_ID, b"\xff" * 30).encode(), now=0.0)
    assert tracker.key == ""
    tracker.saw_datagram(SERVER, ANSWER.encode(), now=0.0)
    assert tracker.key == C_ID.hex()


def test_after_a_gap_the_stream_goes_on_where_a_packet_begins() -> None:
    tracker = OpenvpnTracker()
    whole = frame(DATA.encode())
    tracker.saw_chunk(CLIENT, whole + whole[:1], now=0.0)
    assert tracker.saw_chunk(CLIENT, b"\x00\x09\xff the middle of a packet", now=0.0, gap=3) == []
    assert tracker.saw_chunk(CLIENT, bytes(2) + b"\x48 of no length", now=0.0) == []
    assert tracker.saw_chunk(CLIENT, whole, now=0.0) == [DATA]
    assert tracker.saw_chunk(SERVER, whole, now=0.0) == [DATA]
    assert tracker.state is State.MIDSTREAM_DATA_BOTH_WAYS


def test_a_packet_of_which_the_capture_holds_the_head_alone() -> None:
    tracker = OpenvpnTracker()
    whole = frame(DATA.encode())
    (packet,) = tracker.saw_chunk(CLIENT, whole[:6], now=0.0, missing=len(whole) - 6)
    assert isinstance(packet, type(DATA))
    assert tracker.saw_chunk(CLIENT, whole, now=0.0) == [DATA]


def test_what_cannot_be_read_in_an_intact_stream_is_recorded_and_passed_over() -> None:
    tracker = OpenvpnTracker()
    assert tracker.saw_chunk(CLIENT, frame(b"\xff junk") + frame(RESET.encode()), now=0.0) == [RESET]
    assert isinstance(tracker.steps[0].message, DecodeError)
    assert tracker.state is State.CLIENT_RESET


@pytest.mark.parametrize(
    ("message", "name", "detail"),
    [
        (RESET, "P_CONTROL_HARD_RESET_CLIENT_V2", {}),
        (CONTROL_C, "P_CONTROL_V1", {}),
        (ControlV1(C_ID, b"part of TLS", number=3), "P_CONTROL_V1[3]", {}),
        (ControlWkcV1(C_ID, b"part of TLS", number=1), "P_CONTROL_V1[1]", {}),
        (ControlWkcV1(C_ID, b"part of TLS"), "P_CONTROL_WKC_V1", {}),
        (DATA, "P_DATA_V2", {}),
        (DataV2(0, b"sealed", number=9, answers="0.7"), "P_DATA_V2", {"answers": "0.7"}),
        (DataV1(b"sealed"), "P_DATA_V1", {}),
        (StreamClosed(), "FIN", {}),
        (KeysAgreed(), "key-method-2", {}),
        (object(), "object", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_message_is_called(message: object, name: str, detail: dict[str, str]) -> None:
    """The parts of the TLS stream by their packet IDs, so that the one that never comes can be named."""
    assert describe(message) == (name, detail)


@pytest.mark.parametrize(
    ("message", "placement"),
    [
        (RESET, ("reset", "")),
        (AckV1(C_ID, b""), ("reset", "")),
        (StreamClosed(), ("reset", "")),
        (CONTROL_C, ("handshake", "")),
        (ControlWkcV1(C_ID, b"w"), ("handshake", "")),
        (SoftResetV1(C_ID, b""), ("handshake", "")),
        (KeysAgreed(), ("handshake", "")),
        (DataV1(b"sealed", key_id=2, number=0x1F), ("data", ".2.1f")),
        (DataV2(0, b"sealed", key_id=1, number=3), ("data", ".1.3")),
        (DATA, ("data", ".0.0")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_message_bears_on(message: object, placement: tuple[str, str]) -> None:
    assert placed(message) == placement


def test_data_packets_are_told_apart_by_key_and_number() -> None:
    assert [data_suffix(0, 255), data_suffix(7, None)] == [".0.ff", ".7.0"]


def test_of_data_the_head_tells_all() -> None:
    sealed = DataV2(0, bytes(500)).encode()
    assert [head_bytes(data) for data in (b"", b"\x48", sealed, RESET.encode())] == [0, 1, CIPHERTEXT_KEPT, len(RESET.encode())]
