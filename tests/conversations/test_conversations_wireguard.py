"""WireGuard's table as a tracker rides it: stages, renewals, captures that begin in the middle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import TABLE, State, WireguardTracker, answers_of, describe, index_of, key_of, opener, opening, placed
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import CookieReply, HandshakeInitiation, HandshakeResponse, TransportData, WireguardMessage

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
INITIATION = HandshakeInitiation(0xABCD, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16))
RESPONSE = HandshakeResponse(0x1234, 0xABCD, bytes(32), bytes(16), bytes(16), bytes(16))
COOKIE = CookieReply(0xABCD, bytes(24), bytes(32))
DATA = TransportData(0x1234, 0, bytes(16))
Said = tuple[Sender, WireguardMessage]


def followed(*said: Said) -> WireguardTracker:
    tracker = WireguardTracker()
    for sender, message in said:
        assert tracker.saw_datagram(sender, message.encode(), now=1.0) == message
    return tracker


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([], State.IDLE),
        ([(SERVER, COOKIE)], State.IDLE),
        ([(CLIENT, INITIATION)], State.INITIATED),
        ([(CLIENT, INITIATION), (SERVER, COOKIE), (CLIENT, INITIATION)], State.INITIATED),
        ([(CLIENT, INITIATION), (SERVER, INITIATION), (CLIENT, RESPONSE)], State.HANDSHAKE_COMPLETE),
        ([(CLIENT, INITIATION), (SERVER, RESPONSE)], State.HANDSHAKE_COMPLETE),
        ([(SERVER, RESPONSE)], State.HANDSHAKE_COMPLETE),
        ([(CLIENT, INITIATION), (SERVER, RESPONSE), (CLIENT, DATA), (CLIENT, DATA)], State.DATA_ONE_WAY),
        ([(CLIENT, INITIATION), (CLIENT, DATA)], State.DATA_ONE_WAY),
        ([(CLIENT, INITIATION), (SERVER, RESPONSE), (CLIENT, DATA), (SERVER, DATA)], State.DATA_BOTH_WAYS),
        ([(CLIENT, INITIATION), (SERVER, RESPONSE), (CLIENT, DATA), (SERVER, DATA), (SERVER, INITIATION)], State.DATA_BOTH_WAYS),
        ([(CLIENT, DATA), (CLIENT, DATA)], State.MIDSTREAM_DATA_ONE_WAY),
        ([(CLIENT, DATA), (SERVER, DATA), (CLIENT, DATA)], State.MIDSTREAM_DATA_BOTH_WAYS),
        ([(CLIENT, DATA), (SERVER, INITIATION)], State.DATA_ONE_WAY),
        ([(CLIENT, DATA), (SERVER, RESPONSE), (SERVER, DATA)], State.DATA_BOTH_WAYS),
        ([(CLIENT, DATA), (SERVER, DATA), (SERVER, INITIATION)], State.DATA_BOTH_WAYS),
    ],
)
def test_stages(said: list[Said], state: State) -> None:
    tracker = followed(*said)
    assert tracker.state is state
    assert all(step.expected for step in tracker.steps)


def test_a_tunnel_is_known_by_the_index_of_its_first_initiation() -> None:
    other = HandshakeInitiation(0x99, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16))
    assert followed((SERVER, RESPONSE)).key == ""
    assert followed((CLIENT, INITIATION), (SERVER, other)).key == opening(INITIATION.encode()) == "0000abcd"
    assert opening(DATA.encode()) == opening(b"") == ""


def test_who_opened_the_tunnel() -> None:
    assert [opener(message, SERVER) for message in (INITIATION, RESPONSE, COOKIE, DATA)] == [SERVER, CLIENT, None, None]


def test_what_cannot_be_read_is_recorded_and_leads_nowhere() -> None:
    tracker = WireguardTracker()
    assert isinstance(tracker.saw_datagram(CLIENT, b"\x01 no", now=2.0), DecodeError)
    assert [(step.at, step.expected) for step in tracker.steps] == [(2.0, False)]
    assert tracker.state is State.IDLE
    assert WireguardTracker(kept_steps=0).saw(CLIENT, INITIATION, now=0.0)


@given(st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.sampled_from([INITIATION, RESPONSE, COOKIE, DATA])), max_size=12))
def test_every_message_is_expected_in_every_state_that_it_can_meet(said: list[Said]) -> None:
    assert all(step.expected for step in followed(*said).steps)


def test_what_a_message_is_called_and_bears_on() -> None:
    assert [describe(message) for message in (INITIATION, DATA)] == [("Handshake Initiation", {}), ("Transport Data", {})]
    assert placed(RESPONSE) == ("handshake", "")
    assert placed(TransportData(0x1234, 255, bytes(16))) == ("data", ".00001234.ff")


def test_the_table_knows_what_a_probe_is_to_reach() -> None:
    assert TABLE.goal_messages("handshake") == {"Handshake Response", "Transport Data"}
    assert TABLE.goal_messages("data") == {"Transport Data"}
    assert followed((CLIENT, INITIATION), (SERVER, RESPONSE)).reached("handshake")
    assert not followed((CLIENT, INITIATION), (SERVER, RESPONSE), (CLIENT, DATA)).reached("data")


def test_what_both_ends_captures_know_a_message_by() -> None:
    """Wherever they begin, and whichever of several attempts it is that succeeds."""
    assert [key_of(message) for message in (INITIATION, COOKIE, RESPONSE)] == ["0000abcd"] * 3
    assert key_of(TransportData(0x1234, 26, bytes(16))) == "00001234.1a"


@pytest.mark.parametrize(
    ("message", "index", "answers"),
    [
        (HandshakeInitiation(0x11, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)), "00000011", ""),
        (HandshakeResponse(0x22, 0x11, bytes(32), bytes(16), bytes(16), bytes(16)), "00000011", "Handshake Initiation"),
        (CookieReply(0x11, bytes(24), bytes(32)), "00000011", "Handshake Initiation"),
        (TransportData(0x11, 0, bytes(16)), "", ""),
        (DecodeError("type", 0, "is none"), "", ""),
    ],
)
def test_what_a_message_answers_and_of_which_handshake(message: WireguardMessage | DecodeError, index: str, answers: str) -> None:
    assert (index_of(message), answers_of(message)) == (index, answers)
