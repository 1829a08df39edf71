"""IKEv2: IKE_SA_INIT and its answers, classes by exchange, and scapy's reading of our request."""

import hashlib
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire import ikev2
from vpnprobe.wire.ikev2 import (
    OFFERED,
    Group,
    KeyExchange,
    Notify,
    PayloadType,
    Proposal,
    SecurityAssociation,
    Transform,
    TransformType,
    choose,
    decode_ikev2,
    key_exchange,
    nat_detection_hash,
    notifications,
    offered,
    sa_init_rejection,
    sa_init_request,
    sa_init_response,
)
from vpnprobe.wire.isakmp import INITIATOR_FLAG, NO_SPI, RESPONSE_FLAG, Attribute, IsakmpMessage, Payload

U8, U16 = st.integers(0, 255), st.integers(0, 0xFFFF)
ATTRIBUTES = st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), U16 | st.binary(max_size=8)), max_size=2).map(tuple)
TRANSFORMS = st.lists(st.builds(Transform, U8, U16, ATTRIBUTES), min_size=1, max_size=5).map(tuple)
PROPOSALS = st.lists(st.builds(Proposal, U8, TRANSFORMS, U8, st.binary(max_size=8)), min_size=1, max_size=3).map(tuple)
INITIATOR, RESPONDER = b"initiate", b"answerer"
PUBLIC, NONCE = bytes(range(256)), b"n" * 32
HASHES = (b"s" * 20, b"d" * 20)


def request(**options: object) -> ikev2.SaInit:
    return sa_init_request(INITIATOR, public_value=PUBLIC, nonce=NONCE, **options)  # type: ignore[arg-type]


@given(st.builds(SecurityAssociation, PROPOSALS))
def test_a_security_association_is_decoded_again(sa: SecurityAssociation) -> None:
    assert SecurityAssociation.decode(sa.encode()) == sa


@given(st.binary(max_size=60))
def test_any_sa_body_gives_an_association_or_a_decode_error(body: bytes) -> None:
    try:
        sa = SecurityAssociation.decode(body)
    except DecodeError:
        return
    assert SecurityAssociation.decode(sa.encode()) == sa


@given(st.builds(KeyExchange, U16, st.binary(max_size=40)))
def test_a_key_exchange_is_decoded_again(ke: KeyExchange) -> None:
    assert KeyExchange.decode(ke.encode()) == ke


def test_the_request_is_what_rfc_7296_asks_for() -> None:
    message = request(nat_detection=HASHES)
    assert decode_ikev2(message.encode()) == message
    assert [payload.type for payload in message.payloads] == [33, 34, 40, 41, 41]
    assert (message.flags, message.responder_spi, message.message_id) == (INITIATOR_FLAG, NO_SPI, 0)
    assert key_exchange(message) == KeyExchange(14, PUBLIC)
    assert offered(message) == OFFERED
    assert [(n.type, n.data) for n in notifications(message)] == [(16388, HASHES[0]), (16389, HASHES[1])]


def test_a_cookie_goes_first() -> None:
    message = request(cookie=b"cookie")
    assert [payload.type for payload in message.payloads] == [41, 33, 34, 40]
    assert type(decode_ikev2(message.encode())) is ikev2.SaInit


def test_the_response_takes_one_transform_of_each_type_and_the_group_of_the_ke_payload() -> None:
    asked = sa_init_request(INITIATOR, public_value=bytes(32), nonce=NONCE, group=Group.CURVE25519)
    response = sa_init_response(asked, RESPONDER, public_value=bytes(32), nonce=NONCE, nat_detection=HASHES)
    assert decode_ikev2(response.encode()) == response
    (proposal,) = offered(response).proposals
    assert [(t.type, t.transform_id) for t in proposal.transforms] == [(1, 12), (2, 5), (3, 12), (4, 31)]
    assert key_exchange(response).group == 31
    assert (response.flags, response.responder_spi) == (RESPONSE_FLAG, RESPONDER)


def test_a_group_that_is_not_offered_leaves_the_first() -> None:
    (proposal,) = choose(OFFERED, group=99).proposals
    assert proposal.transforms[-1] == Transform(TransformType.KEY_EXCHANGE, Group.MODP_2048)


def test_a_request_without_sa_or_ke_cannot_be_answered() -> None:
    for payloads, missing in (((), "KEY_EXCHANGE payload"), ((Payload(34, KeyExchange(14, b"").encode()),), "SA payload")):
        bare = ikev2.SaInit(INITIATOR, NO_SPI, 34, payloads, INITIATOR_FLAG, major_version=2)
        with pytest.raises(DecodeError, match=missing):
            sa_init_response(bare, RESPONDER, public_value=b"", nonce=NONCE)


@pytest.mark.parametrize("notify", [Notify.NO_PROPOSAL_CHOSEN, Notify.INVALID_KE_PAYLOAD, Notify.COOKIE])
def test_a_rejection_is_told_from_a_choice(notify: Notify) -> None:
    message = decode_ikev2(sa_init_rejection(request(), notify, b"data").encode())
    assert type(message) is ikev2.SaInitRejection
    assert [(n.type, n.data) for n in notifications(message)] == [(notify, b"data")]


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [
        (34, ikev2.SaInit),
        (35, ikev2.Auth),
        (36, ikev2.OtherExchange),
        (37, ikev2.Informational),
        (43, ikev2.Intermediate),
        (200, ikev2.OtherExchange),
    ],
)
def test_messages_are_classed_by_their_exchange(exchange: int, kind: type[IsakmpMessage]) -> None:
    message = IsakmpMessage(INITIATOR, RESPONDER, exchange, (Payload(46, b"sealed"),), INITIATOR_FLAG, 1, 2, inner_payload=35)
    decoded = decode_ikev2(message.encode())
    assert type(decoded) is kind
    assert decoded.encode() == message.encode()


def test_another_version_is_refused() -> None:
    with pytest.raises(DecodeError, match="Version at offset 17: is 3, not 2"):
        decode_ikev2(IsakmpMessage(INITIATOR, NO_SPI, 34, major_version=3).encode())


def test_broken_notifications_are_left_out() -> None:
    message = ikev2.SaInitRejection(INITIATOR, NO_SPI, 34, (Payload(PayloadType.NOTIFY, b"\x00"),), RESPONSE_FLAG, major_version=2)
    assert notifications(message) == []


def test_nat_detection_is_the_hash_of_rfc_7296() -> None:
    expected = hashlib.sha1(INITIATOR + RESPONDER + bytes([10, 0, 0, 1]) + b"\x01\xf4").digest()
    assert nat_detection_hash(INITIATOR, RESPONDER, address=bytes([10, 0, 0, 1]), port=500) == expected


def test_scapy_reads_our_request_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.contrib.ikev2 import IKEv2, IKEv2_KE, IKEv2_Nonce, IKEv2_Notify, IKEv2_Transform
    theirs = IKEv2(request(nat_detection=HASHES).encode())
    assert (theirs.init_SPI, theirs.exch_type, int(theirs.version)) == (INITIATOR, 34, 0x20)
    first = theirs[IKEv2_Transform]
    assert (first.transform_type, first.transform_id, first.key_length) == (1, 12, 256)
    assert (theirs[IKEv2_KE].group, theirs[IKEv2_KE].ke) == (14, PUBLIC)
    assert theirs[IKEv2_Nonce].nonce == NONCE
    assert theirs[IKEv2_Notify].type == 16388
