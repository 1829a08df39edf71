"""PPTP's control connection in captures: its states, its keys, and streams that are not whole."""

from collections.abc import Callable, Iterable, Sequence

import pytest

from vpnprobe.conversations.contract import Sender, Step
from vpnprobe.conversations.pptp import TRANSITIONS, PptpTracker, State, find_message, host_name, key_of
from vpnprobe.conversations.pptp_ends import Initiator
from vpnprobe.wire import pptp

NONCE = "0123456789abcdef"
Cut = Callable[[bytes], Iterable[bytes]]
Change = Callable[[pptp.ControlMessage], pptp.ControlMessage | None]


def names(steps: Sequence[Step]) -> list[str]:
    return [getattr(step.message, "NAME", type(step.message).__name__) for step in steps]


@pytest.mark.parametrize("name", ["", "local", "vpnprobe-", "vpnprobe-XYZ", "vpnprobe-AB", "xvpnprobe-ab"])
def test_foreign_host_names_have_no_key(name: str) -> None:
    assert key_of(pptp.StartControlConnectionRequest(host_name=name.encode())) == ""
    assert Initiator(name, 1).key == ""


def test_only_the_request_carries_the_key() -> None:
    assert key_of(pptp.StartControlConnectionRequest(host_name=host_name("ab12").encode())) == "ab12"
    assert key_of(pptp.StartControlConnectionReply(host_name=host_name("ab12").encode())) == ""


@pytest.mark.parametrize("kind", [kind for kind in pptp.MESSAGES if kind is not pptp.StartControlConnectionRequest])
@pytest.mark.parametrize("sender", list(Sender))
def test_a_capture_that_begins_in_the_middle(sender: Sender, kind: type[pptp.ControlMessage]) -> None:
    tap = PptpTracker()
    message = kind.decode(pptp._HEADER.pack(kind.size(), 1, pptp.MAGIC_COOKIE, kind.TYPE, 0) + bytes(kind.BODY.size))
    assert tap.saw(sender, message, now=0.0)
    assert tap.state is State.MIDSTREAM
    tap.saw(Sender.RESPONDER, pptp.OutgoingCallReply(0, 0), now=0.0)
    assert tap.state is State.MIDSTREAM


def test_an_incoming_call() -> None:
    """Section 3.2.4: the PAC asks, the PNS answers, the PAC says that it is connected."""
    tap = PptpTracker()
    tap.saw(Sender.INITIATOR, pptp.StartControlConnectionRequest(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.StartControlConnectionReply(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.IncomingCallRequest(5), now=0.0)
    tap.saw(Sender.INITIATOR, pptp.IncomingCallReply(6, 5), now=0.0)
    before = tap.state
    tap.saw(Sender.RESPONDER, pptp.IncomingCallConnected(6), now=0.0)
    assert (before, tap.state) == (State.CONTROL_UP, State.CALL_UP)
    assert all(step.expected for step in tap.steps)


def test_an_incoming_call_that_is_refused() -> None:
    tap = PptpTracker()
    tap.saw(Sender.INITIATOR, pptp.StartControlConnectionRequest(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.StartControlConnectionReply(), now=0.0)
    tap.saw(Sender.INITIATOR, pptp.IncomingCallReply(6, 5, result_code=2), now=0.0)
    assert tap.state is State.CALL_REJECTED


def test_no_row_of_the_table_leads_back() -> None:
    rank = {state: place for place, state in enumerate(State)}
    assert [row for row, following in TRANSITIONS.items() if rank[following] < rank[row[0]]] == []


def test_the_states_are_the_published_stages() -> None:
    published = "sccrq-unanswered control-rejected control-up ocrq-unanswered call-rejected call-up midstream-control"
    assert [state.value for state in State] == ["idle", *published.split()]


def test_behind_a_gap_the_stream_goes_on_with_the_next_message() -> None:
    tracker = PptpTracker()
    tracker.saw_chunk(Sender.INITIATOR, pptp.StartControlConnectionRequest().encode(), now=0.0)
    tracker.saw_chunk(Sender.RESPONDER, pptp.StartControlConnectionReply().encode(), now=0.0)
    request = pptp.OutgoingCallRequest(call_id=7)
    assert tracker.saw_chunk(Sender.INITIATOR, b"the rest of something", now=0.0, gap=9) == []
    assert tracker.saw_chunk(Sender.INITIATOR, request.encode(), now=0.0) == [request]
    assert not tracker.broken
    assert tracker.state is State.CALL_REQUESTED


@pytest.mark.parametrize(("seen", "expected"), [(17, State.CALL_REQUESTED), (18, State.CALL_UP)])
def test_a_cut_message_counts_where_all_that_moves_the_table_was_seen(seen: int, expected: State) -> None:
    tracker = PptpTracker()
    tracker.saw_chunk(Sender.INITIATOR, pptp.StartControlConnectionRequest().encode()[:42], now=0.0, missing=156 - 42)
    tracker.saw_chunk(Sender.RESPONDER, pptp.StartControlConnectionReply().encode()[:42], now=0.0, missing=156 - 42)
    tracker.saw_chunk(Sender.INITIATOR, pptp.OutgoingCallRequest(call_id=7).encode(), now=0.0)
    tracker.saw_chunk(Sender.RESPONDER, pptp.OutgoingCallReply(9, 7).encode()[:seen], now=0.0, missing=32 - seen)
    assert tracker.state is expected


def test_a_message_is_found_within_a_stretch_by_its_head() -> None:
    echo = pptp.EchoRequest(7).encode()
    assert find_message(b"lost" + echo) == (True, 4)
    assert find_message(b"lost" + echo[:8]) == (True, 4)
    no_length, no_type = b"\xff\xff" + echo[2:], echo[:2] + b"\0\7" + echo[4:]
    assert find_message(b"lost" + no_length + no_type + echo) == (True, 36)
    assert find_message(no_length) == (False, len(no_length) - 7)
    assert find_message(echo[:7]) == (False, 0)
    tracker = PptpTracker()
    assert tracker.saw_chunk(Sender.INITIATOR, b"the end of one", now=0.0, gap=1) == []
    found = [tracker.saw_chunk(Sender.INITIATOR, (echo * 3)[at : at + 5], now=0.0) for at in range(0, 48, 5)]
    assert [message for messages in found for message in messages] == [pptp.EchoRequest(7)] * 3
