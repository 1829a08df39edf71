"""IKEv1: the security association and notifications, classes by exchange, and scapy's reading of our first message."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire import ikev1
from vpnprobe.wire.ikev1 import (
    OFFERED_TRANSFORMS,
    Exchange,
    Notify,
    PayloadType,
    Proposal,
    SecurityAssociation,
    Transform,
    VendorId,
    decode_ikev1,
    main_mode_reply,
    main_mode_request,
    notifications,
    notify_message,
    offered,
)
from vpnprobe.wire.isakmp import ENCRYPTION_FLAG, NO_SPI, Attribute, IsakmpMessage, Payload

U8, U16 = st.integers(0, 255), st.integers(0, 0xFFFF)
ATTRIBUTES = st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), U16 | st.binary(max_size=8)), max_size=4).map(tuple)
TRANSFORMS = st.lists(st.builds(Transform, U8, ATTRIBUTES, U8), min_size=1, max_size=4).map(tuple)
PROPOSALS = st.lists(st.builds(Proposal, U8, TRANSFORMS, U8, st.binary(max_size=8)), min_size=1, max_size=3).map(tuple)
INITIATOR, RESPONDER = b"initiate", b"answerer"


@given(st.builds(SecurityAssociation, PROPOSALS))
def test_a_security_association_is_decoded_again(sa: SecurityAssociation) -> None:
    assert SecurityAssociation.decode(sa.encode()) == sa


@given(st.binary(max_size=60))
def test_any_sa_body_gives_an_association_or_a_decode_error(body: bytes) -> None:
    for data in (body, bytes.fromhex("0000000100000001") + body):
        try:
            sa = SecurityAssociation.decode(data)
        except DecodeError:
            continue
        assert SecurityAssociation.decode(sa.encode()) == sa


@pytest.mark.parametrize(("doi", "situation", "field"), [(2, 1, "DOI"), (1, 2, "Situation")])
def test_another_doi_or_situation_is_named(doi: int, situation: int, field: str) -> None:
    with pytest.raises(DecodeError, match=field):
        SecurityAssociation.decode(doi.to_bytes(4, "big") + situation.to_bytes(4, "big"))


def test_the_request_offers_what_l2tp_servers_take() -> None:
    request = main_mode_request(INITIATOR)
    assert decode_ikev1(request.encode()) == request
    assert request.responder_spi == NO_SPI
    offers = {
        tuple(next((a.number for a in transform.attributes if a.type == kind), None) for kind in (1, 14, 2, 4, 3))
        for transform in offered(request).proposals[0].transforms
    }
    assert {(7, 256, 2, 14, 1), (7, 128, 2, 2, 1), (5, None, 2, 2, 1), (7, 256, 4, 14, 1)} <= offers
    assert request.bodies(PayloadType.VENDOR_ID)[0] == VendorId.NAT_T_RFC_3947


def test_the_reply_takes_the_first_transform() -> None:
    reply = main_mode_reply(main_mode_request(INITIATOR), RESPONDER)
    assert decode_ikev1(reply.encode()) == reply
    assert (reply.initiator_spi, reply.responder_spi) == (INITIATOR, RESPONDER)
    assert offered(reply).proposals[0].transforms == OFFERED_TRANSFORMS[:1]


def test_a_request_without_sa_cannot_be_answered() -> None:
    with pytest.raises(DecodeError, match="SA payload"):
        main_mode_reply(ikev1.MainModeSa(INITIATOR, NO_SPI, Exchange.MAIN), RESPONDER)


SA = Payload(PayloadType.SA, b"")
VENDOR = Payload(PayloadType.VENDOR_ID, b"")


@pytest.mark.parametrize(
    ("exchange", "flags", "payloads", "kind"),
    [
        (2, 0, (SA,), ikev1.MainModeSa),
        (2, 0, (VENDOR, SA), ikev1.MainModeSa),
        (2, 0, (VENDOR,), ikev1.MainModeKeys),
        (2, ENCRYPTION_FLAG, (), ikev1.MainModeAuth),
        (4, 0, (SA,), ikev1.AggressiveModeSa),
        (4, 0, (VENDOR,), ikev1.AggressiveModeAuth),
        (4, ENCRYPTION_FLAG, (), ikev1.AggressiveModeAuth),
        (5, 0, (VENDOR,), ikev1.Informational),
        (32, ENCRYPTION_FLAG, (), ikev1.QuickMode),
        (6, ENCRYPTION_FLAG, (), ikev1.OtherExchange),
        (243, 0, (), ikev1.OtherExchange),
    ],
)
def test_messages_are_classed_by_their_exchange(
    exchange: int, flags: int, payloads: tuple[Payload, ...], kind: type[IsakmpMessage]
) -> None:
    message = IsakmpMessage(INITIATOR, NO_SPI, exchange, payloads, flags)
    assert type(decode_ikev1(message.encode())) is kind


def test_another_version_is_refused() -> None:
    with pytest.raises(DecodeError, match="Version at offset 17: is 2, not 1"):
        decode_ikev1(IsakmpMessage(INITIATOR, NO_SPI, 34, major_version=2).encode())


def test_notifications_in_clear_are_read_and_broken_ones_left_out() -> None:
    message = notify_message(INITIATOR, RESPONDER, Notify.NO_PROPOSAL_CHOSEN, message_id=5)
    assert decode_ikev1(message.encode()) == message
    assert [notification.type for notification in notifications(message)] == [14]
    broken = ikev1.Informational(INITIATOR, RESPONDER, 5, (Payload(PayloadType.NOTIFICATION, b"\x00\x00"), *message.payloads))
    assert [notification.type for notification in notifications(broken)] == [14]


def test_scapy_reads_our_proposal_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_SA, ISAKMP_payload_Transform
    theirs = ISAKMP(main_mode_request(INITIATOR).encode())
    assert (theirs[ISAKMP_payload_SA].doi, theirs[ISAKMP_payload_SA].situation) == (1, 1)
    first = theirs[ISAKMP_payload_Transform]
    assert (first.transform_count, first.transform_id) == (1, 1)
    assert dict(attribute[:2] for attribute in first.transforms) == {
        "Encryption": "AES-CBC",
        "KeyLength": 256,
        "Hash": "SHA2-256",
        "GroupDesc": "2048MODPgr",
        "Authentication": "PSK",
        "LifeType": "Seconds",
        "LifeDuration": 28800,
    }
