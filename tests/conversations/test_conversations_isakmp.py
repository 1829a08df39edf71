"""What the headers of ISAKMP show of who sent a message."""

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.isakmp import bare, header_sender
from vpnprobe.errors import DecodeError
from vpnprobe.wire.isakmp import INITIATOR_FLAG, NAT_KEEPALIVE, NO_SPI, RESPONSE_FLAG, IsakmpHeader, with_marker

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
