"""WireGuard's messages: the round trip, and that only what has their form is taken for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import (
    MESSAGES,
    SIZES,
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    MessageType,
    TransportData,
    WireguardMessage,
    decode_wireguard,
)

INDEX = st.integers(0, 2**32 - 1)


def size(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


ANY: st.SearchStrategy[WireguardMessage] = st.one_of(
    st.builds(HandshakeInitiation, INDEX, size(32), size(48), size(28), size(16), size(16)),
    st.builds(HandshakeResponse, INDEX, INDEX, size(32), size(16), size(16), size(16)),
    st.builds(CookieReply, INDEX, size(24), size(32)),
    st.builds(TransportData, INDEX, st.integers(0, 2**64 - 1), st.integers(16, 150).flatmap(size)),
)
INITIATION = HandshakeInitiation(0x01020304, bytes(32), bytes(48), bytes(28), b"m" * 16, bytes(16))


@given(ANY)
def test_round_trip(message: WireguardMessage) -> None:
    data = message.encode()
    assert decode_wireguard(data) == message
    assert data[:4] == bytes((message.TYPE, 0, 0, 0))
    assert SIZES.get(message.TYPE, len(data)) == len(data)


def test_numbers_are_little_endian() -> None:
    assert INITIATION.encode()[4:8] == bytes((4, 3, 2, 1))
    assert TransportData(1, 2, bytes(16)).encode()[:16] == b"\x04\0\0\0\x01\0\0\0\x02" + bytes(7)


@pytest.mark.parametrize("kind", MessageType)
def test_every_message_has_the_name_that_wireshark_gives_it(kind: MessageType) -> None:
    assert MESSAGES[kind].NAME.replace(" ", "_").upper() == kind.name


@pytest.mark.parametrize(
    ("data", "field", "offset"),
    [
        (b"", "type", 0),
        (b"\x05" + bytes(147), "type", 0),
        (b"\0" + bytes(147), "type", 0),
        (b"\x01\0\0", "reserved", 1),
        (b"\x01\0\x01\0" + bytes(144), "reserved", 1),
        (INITIATION.encode()[:-1], "size", 147),
        (INITIATION.encode() + b"\0", "size", 149),
        (b"\x02\0\0\0" + bytes(144), "size", 148),
        (b"\x04\0\0\0" + bytes(12), "size", 16),
        (b"\x04\0\0\0" + bytes(27), "size", 31),
    ],
)
def test_what_has_another_form_is_refused_by_field_and_offset(data: bytes, field: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_wireguard(data)
    assert (caught.value.field, caught.value.offset) == (field, offset)


def test_a_message_of_another_type() -> None:
    with pytest.raises(DecodeError, match="not 2"):
        HandshakeResponse.decode(INITIATION.encode())


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    try:
        message = decode_wireguard(data)
    except DecodeError:
        return
    assert message.encode() == data
