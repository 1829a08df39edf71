"""What the headers of ISAKMP show of who sent a message, what messages are called, and what the wire shows of them."""

from collections.abc import Callable

import pytest

from vpnprobe.conversations import ikev1, ikev2
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.isakmp import IsakmpObserver, bare, header_sender
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ikev1 import decode_ikev1
from vpnprobe.wire.ikev2 import decode_ikev2
from vpnprobe.wire.isakmp import (
    INITIATOR_FLAG,
    NAT_KEEPALIVE,
    NO_SPI,
    RESPONSE_FLAG,
    IsakmpHeader,
    IsakmpMessage,
    Payload,
    with_marker,
)

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER


@pytest.mark.parametrize(
    ("version", "exchange", "flags", "responder_spi", "next_payload", "sender"),
    [
        (2, 34, INITIATOR_FLAG, NO_SPI, 33, CLIENT),
        (2, 34, RESPONSE_FLAG, NO_SPI, 41, SERVER),
        (2, 35, 0, b"answerer", 46, CLIENT),  # the flag was forgotten, but only an initiator asks for this
        (2, 43, INITIATOR_FLAG | RESPONSE_FLAG, b"answerer", 46, SERVER),
        (2, 37, INITIATOR_FLAG | RESPONSE_FLAG, b"answerer", 46, CLIENT),
        (2, 36, 0, b"answerer", 46, SERVER),
        (1, 2, 0, NO_SPI, 1, CLIENT),
        (1, 2, 0, NO_SPI, 13, CLIENT),
        (1, 4, 0, b"answerer", 1, SERVER),
        (1, 2, 0, b"answerer", 4, None),
        (1, 5, 0, NO_SPI, 11, None),
        (1, 32, 1, b"answerer", 8, None),
    ],
)
def test_who_sent_it(version: int, exchange: int, flags: int, responder_spi: bytes, next_payload: int, sender: Sender | None) -> None:
    header = IsakmpHeader(b"initiate", responder_spi, next_payload, version, 0, exchange, flags, 0, 28)
    assert header_sender(header) is sender


def test_the_message_behind_the_marker() -> None:
    assert bare(b"message", non_esp_marker=False) == b"message"
    assert bare(with_marker(b"message"), non_esp_marker=True) == b"message"
    with pytest.raises(DecodeError, match="nat-keepalive"):
        bare(NAT_KEEPALIVE, non_esp_marker=True)


def isakmp(version: int, exchange: int, *payloads: int, answers: bool = False) -> IsakmpMessage:
    """A decoded message, in clear."""
    spi, flags = (b"answerer", RESPONSE_FLAG if version == 2 else 0) if answers else (NO_SPI, INITIATOR_FLAG if version == 2 else 0)
    chain = tuple(Payload(kind, b"") for kind in payloads)
    message = IsakmpMessage(b"initiate", spi, exchange, chain, flags, major_version=version)
    return (decode_ikev2 if version == 2 else decode_ikev1)(message.encode())


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (isakmp(1, 2, 1), "main"),
        (isakmp(1, 2, 1, answers=True), "main-answer"),
        (isakmp(1, 2, 4, 10, answers=True), "main-keys"),
        (isakmp(1, 4, 1), "aggressive"),
        (isakmp(1, 4, 1, answers=True), "aggressive-answer"),
        (isakmp(1, 5, 11), "notify"),
        (isakmp(1, 5, 11, answers=True), "notify"),
        (isakmp(1, 6, 14), "other"),
        (isakmp(2, 34, 33), "sa_init"),
        (isakmp(2, 34, 33, answers=True), "sa_init-answer"),
        (isakmp(2, 34, 41, answers=True), "notify"),
        (isakmp(2, 35, 46), "auth"),
        (isakmp(2, 35, 46, answers=True), "auth"),
        (isakmp(2, 37, 46), "informational"),
        (isakmp(2, 36, 46), "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ike_has_no_names_but_exchange_and_answer(message: IsakmpMessage, name: str) -> None:
    protocol = ikev2 if message.major_version == 2 else ikev1
    assert protocol.describe(message) == (name, {"exchange_type": message.exchange_type})


def test_what_is_no_message_of_theirs_is_called_by_its_kind() -> None:
    assert ikev1.describe(object()) == ikev2.describe(object()) == ("object", {})


@pytest.mark.parametrize("marker", [False, True], ids=["500", "4500"])
@pytest.mark.parametrize(
    ("observer", "message", "seen"),
    [
        (ikev1.observer, isakmp(1, 2, 1), ("ikev1-main", b"initiate".hex(), "main")),
        (ikev1.observer, isakmp(1, 2, 1, answers=True), ("ikev1-main", b"initiate".hex(), "main-answer")),
        (ikev2.observer, isakmp(2, 34, 33), ("ikev2-init", b"initiate".hex(), "sa_init")),
        (ikev2.observer, isakmp(2, 34, 41, answers=True), ("ikev2-init", b"initiate".hex(), "notify")),
        (ikev1.observer, isakmp(2, 34, 33), None),
        (ikev2.observer, isakmp(1, 2, 1), None),
    ],
    ids=range(6),
)
def test_what_the_wire_shows(
    observer: Callable[..., IsakmpObserver], message: IsakmpMessage, seen: tuple[str, str, str] | None, marker: bool
) -> None:
    """Of the observer's own version, and behind the marker where one is due."""
    watching, data = observer(non_esp_marker=marker), message.encode()
    told = [row[:3] for row in watching.saw(CLIENT, with_marker(data) if marker else data)]
    assert told == ([] if seen is None else [seen])
    assert list(watching.saw(CLIENT, data if marker else with_marker(data))) == []
    assert list(watching.saw(SERVER, data[:-1])) == list(watching.saw(SERVER, b"")) == list(watching.closed(SERVER)) == []
