"""Connections that do not come up, and how that is told."""

import pytest
from capture_packets import decoded, tcp

from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire.ip import TcpFlag

SYN = tcp(sequence=1000, flags=TcpFlag.SYN)
SYN_ACK = tcp(sequence=5000, acknowledgment=1001, flags=TcpFlag.SYN | TcpFlag.ACK, back=True)
ACK = tcp(sequence=1001, acknowledgment=5001)
RST = tcp(sequence=0, acknowledgment=1001, flags=TcpFlag.RST | TcpFlag.ACK, back=True)


def found(*packets: bytes) -> list[ConversationSummary]:
    return [one for one in decoded(packets).conversations() if one.protocol == "tcp"]


@pytest.mark.parametrize(
    ("packets", "stage", "fact"),
    [
        ((SYN, SYN, SYN), "syn-unanswered", "syn-unanswered"),
        ((SYN, SYN_ACK, SYN_ACK, SYN_ACK), "syn-ack-repeated", "syn-ack-repeated"),
        ((SYN, RST), "syn-refused", "reset"),
    ],
)
def test_what_stopped_it(packets: tuple[bytes, ...], stage: str, fact: str) -> None:
    [one] = found(*packets)
    assert (one.stage, one.detail["of"], one.detail["facts"][0]["fact"]) == (stage, "pptp", fact)


def test_one_that_goes_on_unseen_came_up() -> None:
    """The other direction takes another way."""
    assert found(SYN, ACK) == []


def test_one_that_comes_up_is_no_conversation_of_its_own() -> None:
    assert found(SYN, SYN_ACK, ACK) == []
    assert found(SYN, SYN_ACK, SYN_ACK, ACK) == []


def test_other_ports_are_nobodys() -> None:
    assert found(tcp(sequence=1, flags=TcpFlag.SYN, server_port=8080)) == []
