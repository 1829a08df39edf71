"""ISAKMP header, payload chain and UDP 4500: round trips, totality, broken chains, and scapy's reading of ours."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.isakmp import (
    ENCRYPTION_FLAG,
    HEADER,
    NAT_KEEPALIVE,
    Attribute,
    IsakmpHeader,
    IsakmpMessage,
    MalformedPayloads,
    Notification,
    Payload,
    UdpEncapsulated,
    encode_sub_chain,
    sub_chain,
    unwrap,
    with_marker,
)

U8, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)
SPI = st.binary(min_size=8, max_size=8).filter(any)
IN_CLEAR = st.lists(
    st.builds(Payload, st.integers(1, 255).filter(lambda kind: kind not in (46, 53)), st.binary(max_size=30), st.booleans()), max_size=5
).map(tuple)
SK = st.builds(Payload, st.sampled_from([46, 53]), st.binary(max_size=30), st.booleans())
VERSION_2 = st.one_of(
    st.builds(IsakmpMessage, SPI, SPI, U8, IN_CLEAR, U8, U32, st.integers(2, 15), st.integers(0, 15)),
    st.builds(
        lambda spi, exchange, payloads, sk, inner: IsakmpMessage(spi, spi, exchange, (*payloads, sk), major_version=2, inner_payload=inner),
        SPI,
        U8,
        IN_CLEAR,
        SK,
        U8,
    ),
)
VERSION_1 = st.one_of(
    st.builds(IsakmpMessage, SPI, SPI, U8, IN_CLEAR, U8.map(lambda flags: flags & ~ENCRYPTION_FLAG), U32),
    st.builds(
        lambda spi, exchange, inner, encrypted: IsakmpMessage(
            spi, spi, exchange, flags=ENCRYPTION_FLAG, encrypted=encrypted, inner_payload=inner
        ),
        SPI,
        U8,
        U8,
        st.binary(max_size=40),
    ),
)
ATTRIBUTES = st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), U16 | st.binary(max_size=10)), max_size=4)


def attempt(data: bytes) -> IsakmpMessage | DecodeError:
    try:
        return IsakmpMessage.decode(data)
    except DecodeError as error:
        return error


@given(VERSION_1 | VERSION_2)
def test_what_is_encoded_is_decoded_again(message: IsakmpMessage) -> None:
    assert IsakmpMessage.decode(message.encode()) == message


@given(st.binary(max_size=100))
def test_any_bytes_give_a_message_or_a_decode_error(data: bytes) -> None:
    message = attempt(data)
    if isinstance(message, DecodeError):
        assert message.offset <= len(data)
    else:
        assert IsakmpMessage.decode(message.encode()) == message


@given(st.integers(0, 63), st.binary(max_size=60))
def test_any_body_after_a_header_gives_a_message_or_a_decode_error(next_payload: int, body: bytes) -> None:
    head = b"initiate" + bytes(8) + bytes([next_payload, 0x20, 34, 8]) + bytes(4) + (HEADER + len(body)).to_bytes(4, "big")
    message = attempt(head + body)
    if isinstance(message, DecodeError):
        assert isinstance(message, MalformedPayloads)
        assert message.header == IsakmpHeader.decode(head)
    else:
        assert IsakmpMessage.decode(message.encode()) == message


@given(VERSION_1 | VERSION_2, st.integers(0, 200))
def test_a_message_cut_short_raises(message: IsakmpMessage, cut: int) -> None:
    data = message.encode()
    with pytest.raises(DecodeError):
        IsakmpMessage.decode(data[: min(cut, len(data) - 1)])


def test_bytes_beyond_the_length_are_ignored() -> None:
    message = IsakmpMessage(b"initiate", bytes(8), 2, (Payload(1, b"sa"),))
    assert IsakmpMessage.decode(message.encode() + b"padding") == message
    assert message.key == b"initiate".hex()
    assert message.bodies(1) == [b"sa"]
    assert message.bodies(2) == []


@pytest.mark.parametrize(
    ("spi", "next_payload", "length", "body", "field"),
    [
        (bytes(8), 0, HEADER, b"", "Initiator SPI"),
        (b"initiate", 0, HEADER - 1, b"", "Length"),
        (b"initiate", 0, HEADER + 1, b"", "Length"),
        (b"initiate", 1, HEADER + 4, b"\x00\x00\x00\x03", "Payload Length"),
        (b"initiate", 1, HEADER + 4, b"\x00\x00\x00\x05", "Payload"),
        (b"initiate", 0, HEADER + 4, bytes(4), "Next Payload"),
        (b"initiate", 1, HEADER + 4, b"\x01\x00\x00\x04", "Next Payload"),
    ],
)
def test_a_broken_message_keeps_its_header(spi: bytes, next_payload: int, length: int, body: bytes, field: str) -> None:
    data = spi + bytes(8) + bytes([next_payload, 0x10, 2, 0]) + bytes(4) + length.to_bytes(4, "big") + body
    with pytest.raises(MalformedPayloads) as caught:
        IsakmpMessage.decode(data)
    assert caught.value.field == field
    assert caught.value.header.next_payload == next_payload


@given(ATTRIBUTES)
def test_attributes_are_decoded_again(attributes: list[Attribute]) -> None:
    data = b"".join(attribute.encode() for attribute in attributes)
    assert list(Attribute.read_all(Cursor(data))) == attributes


def test_an_attribute_is_a_number_in_either_format() -> None:
    assert Attribute(12, 28800).number == Attribute(12, (28800).to_bytes(4, "big")).number == 28800


@given(st.builds(Notification, U16, st.binary(max_size=20), U8, st.binary(max_size=20)))
def test_notifications_are_decoded_again(notification: Notification) -> None:
    assert Notification.read(Cursor(notification.encode())) == notification


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=5))
def test_substructures_are_decoded_again(bodies: list[bytes]) -> None:
    parts = sub_chain(Cursor(encode_sub_chain(bodies, more=3)), "Transform")
    assert [part.rest() for part in parts] == bodies


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\x00\x00\x03", "is less than 4"),
        (b"\x00\x00\x00\x04x", "is the last, 1 bytes are left"),
        (b"\x03\x00\x00\x04", "needs 1 bytes"),
    ],
)
def test_broken_substructures_raise(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        sub_chain(Cursor(data), "Transform")


def test_what_port_4500_carries() -> None:
    assert unwrap(with_marker(b"message")) == (UdpEncapsulated.IKE, b"message")
    assert unwrap(b"\x01\x02\x03\x04rest") == (UdpEncapsulated.ESP, b"\x01\x02\x03\x04rest")
    assert unwrap(NAT_KEEPALIVE) == (UdpEncapsulated.NAT_KEEPALIVE, NAT_KEEPALIVE)
    for short in (b"", b"\xfe", b"\xff\xff\xff"):
        with pytest.raises(DecodeError, match="non-ESP marker"):
            unwrap(short)


def test_scapy_reads_our_chain_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_VendorID
    message = IsakmpMessage(b"initiate", b"answerer", 2, (Payload(13, b"one"), Payload(13, b"two")), message_id=7)
    theirs = ISAKMP(message.encode())
    assert (theirs.init_cookie, theirs.resp_cookie, theirs.exch_type, theirs.id) == (b"initiate", b"answerer", 2, 7)
    assert theirs.length == len(message.encode())
    assert [bytes(theirs.getlayer(ISAKMP_payload_VendorID, index).VendorID) for index in (1, 2)] == [b"one", b"two"]
