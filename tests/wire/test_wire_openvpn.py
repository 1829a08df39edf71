"""OpenVPN packets: round trips, totality, the sizes of real resets, and the TCP framing fed byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import (
    CONTROL_PACKETS,
    MOST_ACKS,
    AckV1,
    ControlPacket,
    ControlV1,
    DataV1,
    DataV2,
    HardResetClientV2,
    HardResetServerV2,
    Opcode,
    Packet,
    Reliable,
    decode_openvpn,
    frame,
    peek,
    split_frames,
)

SESSION = st.binary(min_size=8, max_size=8)
U32 = st.integers(0, 2**32 - 1)
KEY_ID = st.integers(0, 7)
CONTROL = st.builds(
    lambda kind, *fields: kind(*fields), st.sampled_from(list(CONTROL_PACKETS.values())), SESSION, st.binary(max_size=60), KEY_ID
)
PACKETS = (
    CONTROL
    | st.builds(DataV1, st.binary(max_size=60), KEY_ID)
    | st.builds(DataV2, st.integers(0, 2**24 - 1), st.binary(max_size=60), KEY_ID)
)
ACKED = st.builds(Reliable, st.lists(U32, min_size=1, max_size=MOST_ACKS).map(tuple), SESSION, st.none() | U32, st.just(b"")) | st.builds(
    Reliable, st.just(()), st.none(), U32, st.binary(max_size=40)
)


def attempt(data: bytes) -> Packet | DecodeError:
    try:
        return decode_openvpn(data)
    except DecodeError as error:
        return error


@given(PACKETS)
def test_what_is_encoded_is_decoded_again(packet: Packet) -> None:
    assert decode_openvpn(packet.encode()) == packet


@given(ACKED)
def test_the_reliability_layer_is_decoded_again(layer: Reliable) -> None:
    assert Reliable.read(Cursor(layer.encode()), has_packet_id=layer.packet_id is not None) == layer


@given(st.binary(max_size=60))
def test_any_bytes_give_a_packet_or_a_decode_error(data: bytes) -> None:
    packet = attempt(data)
    if isinstance(packet, DecodeError):
        assert packet.offset <= len(data)
        return
    assert packet.encode() == data
    if isinstance(packet, ControlPacket):
        remote = packet.remote_session_id()
        assert remote is None or len(remote) == 8


def test_plain_resets_have_the_sizes_of_real_ones() -> None:
    client = HardResetClientV2.plain(b"c" * 8, Reliable())
    server = HardResetServerV2.plain(b"s" * 8, Reliable((0,), client.session_id))
    assert client.encode() == bytes.fromhex("38") + b"c" * 8 + bytes(5)
    assert (len(client.encode()), len(server.encode())) == (14, 26)
    assert server.remote_session_id() == client.session_id
    assert client.remote_session_id() is None


def test_a_wrapped_reset_is_not_read_as_plain() -> None:
    wrapped = HardResetClientV2(b"c" * 8, bytes(20) + bytes(13))
    with pytest.raises(DecodeError, match="has none when plain"):
        wrapped.reliable()
    crowded = HardResetServerV2(b"c" * 8, b"\xff" * 45)
    with pytest.raises(DecodeError, match="ack count"):
        crowded.reliable()
    assert crowded.remote_session_id() is None


def test_offsets_are_those_of_the_packet() -> None:
    with pytest.raises(DecodeError) as caught:
        HardResetClientV2(b"c" * 8, b"\x00\x00").reliable()
    assert (caught.value.field, caught.value.offset) == ("packet ID", 10)
    with pytest.raises(DecodeError) as caught:
        HardResetClientV2(b"c" * 8, bytes(6)).reliable()
    assert (caught.value.field, caught.value.offset) == ("payload", 14)


def test_an_acknowledgment_has_no_packet_id_and_a_control_packet_has_payload() -> None:
    ack = AckV1.plain(b"c" * 8, Reliable((3, 4), b"s" * 8, None))
    assert ack.reliable() == Reliable((3, 4), b"s" * 8, None)
    control = ControlV1.plain(b"c" * 8, Reliable(packet_id=1, payload=b"\x16\x03\x01"), key_id=2)
    assert control.reliable().payload == b"\x16\x03\x01"
    assert control.encode()[0] == 0x22


@pytest.mark.parametrize("opcode", [0, 12, 31])
def test_an_unknown_opcode_is_named(opcode: int) -> None:
    with pytest.raises(DecodeError, match=f"opcode at offset 0: {opcode} is not known"):
        peek(bytes([opcode << 3]))


@pytest.mark.parametrize("opcode", list(Opcode))
def test_peek_gives_what_stands_in_clear(opcode: Opcode) -> None:
    data = bytes([opcode << 3 | 5]) + b"12345678" + b"anything"
    assert peek(data) == (opcode, 5, b"12345678" if opcode in CONTROL_PACKETS else None)


def test_a_short_packet_names_its_field() -> None:
    for data, field in ((b"", "opcode"), (b"\x38short", "session ID"), (b"\x48\x00", "peer ID")):
        with pytest.raises(DecodeError) as caught:
            decode_openvpn(data)
        assert caught.value.field == field


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=6), st.binary(max_size=1))
def test_a_stream_dripped_byte_by_byte_gives_the_same_packets(packets: list[bytes], begun: bytes) -> None:
    stream = b"".join(map(frame, packets)) + begun
    got: list[bytes] = []
    buffer = b""
    for byte in stream:
        found, buffer = split_frames(buffer + bytes([byte]))
        got += found
    assert got == packets
    assert buffer == begun
    assert split_frames(stream) == (packets, begun)


def test_a_length_of_zero_breaks_the_stream_after_what_came_before() -> None:
    found, rest = split_frames(frame(b"whole") + bytes(2) + b"more")
    assert (found, rest) == ([b"whole"], bytes(2) + b"more")
    with pytest.raises(DecodeError, match="packet length at offset 0: is 0"):
        split_frames(rest)
