"""L2TP: the stages of captures, what messages are called, and what the wire shows."""

import pytest
from l2tp_support import HANDSHAKE, LAC, LNS, initiator, responder

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp import L2tpObserver, L2tpTracker, State, data_name, describe, key_of, opening, placed
from vpnprobe.wire.l2tp import (
    ControlMessage,
    DataMessage,
    Hello,
    OtherControlMessage,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionNotification,
    ZeroLengthBody,
    tunnel_avps,
)

REQUEST = bytes.fromhex("ff03c0210107000a050601020304")
"""A Configure-Request in a PPP frame, with a Magic-Number alone."""


def test_an_sccrq_alone_opens_a_tunnel() -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    server.start(0.0)
    assert server.data_to_send(0.0) == []
    (request,) = client.data_to_send(0.0)
    assert opening(request) == "0123abcd"
    for other in (Hello(4, 0, 0, 0).encode(), DataMessage(4, 0, b"").encode(), b"junk"):
        assert opening(other) == ""


@pytest.mark.parametrize(
    ("host_name", "key"),
    [
        (b"vpnprobe-00ff", "00ff"),
        (b"vpnprobe-", "tunnel-0309"),
        (b"vpnprobe-00FG", "tunnel-0309"),
        (b"\xff\xfe", "tunnel-0309"),
    ],
)
def test_foreign_tunnels_are_known_by_their_tunnel_id(host_name: bytes, key: str) -> None:
    assert key_of(StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=host_name, assigned_tunnel_id=777))) == key


def test_an_sccrq_without_name_and_id_has_no_key() -> None:
    assert key_of(StartControlConnectionRequest(0, 0, 0, 0)) == ""


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([(LAC, Hello(1, 0, 0, 0))], State.MIDSTREAM_CONTROL),
        ([(LNS, StartControlConnectionReply(1, 0, 0, 0))], State.MIDSTREAM_CONTROL),
        ([(LNS, OtherControlMessage(1, 0, 0, 0, (), 7)), (LAC, ZeroLengthBody(1, 0, 0, 0))], State.MIDSTREAM_CONTROL),
        ([(LAC, DataMessage(1, 1, b""))], State.MIDSTREAM_DATA),
        ([(LAC, Hello(1, 0, 0, 0)), (LNS, DataMessage(1, 1, b"")), (LAC, Hello(1, 0, 0, 0))], State.MIDSTREAM_DATA),
        ([(LAC, Hello(1, 0, 0, 0)), (LAC, StartControlConnectionRequest(0, 0, 0, 0))], State.TUNNEL_REQUESTED),
    ],
)
def test_captures_may_begin_in_the_middle(messages: list[tuple[Sender, ControlMessage | DataMessage]], state: State) -> None:
    tracker = L2tpTracker()
    for sender, message in messages:
        tracker.saw_datagram(sender, message.encode(), now=0.0)
    assert tracker.state is state
    assert all(step.expected for step in tracker.steps)


def test_a_malformed_control_message_is_still_one() -> None:
    tracker = L2tpTracker()
    tracker.saw_datagram(LAC, bytes.fromhex("f0020202"), now=0.0)
    assert tracker.state is State.MIDSTREAM_CONTROL
    tracker = L2tpTracker()
    tracker.saw_datagram(LAC, b"junk", now=0.0)
    assert tracker.state is State.IDLE
    assert not tracker.steps[0].expected


@pytest.mark.parametrize(
    ("message", "described"),
    [
        (StartControlConnectionRequest(0, 0, 0, 0), ("SCCRQ", {"tunnel_id": 0})),
        (StopControlConnectionNotification(7, 0, 1, 1), ("StopCCN", {"tunnel_id": 7})),
        (ZeroLengthBody(9, 0, 1, 1), ("ZLB", {"tunnel_id": 9})),
        (DataMessage(1, 1, b""), ("data", {})),
        (DataMessage(1, 1, bytes.fromhex("ff030021") + bytes(20)), ("data", {})),
        (DataMessage(1, 1, REQUEST), ("Configure-Request", {})),
        (DataMessage(1, 1, bytes.fromhex("ff03c0210901000800000000")), ("data", {})),
        (object(), ("object", {})),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_a_message_is_called(message: object, described: tuple[str, dict[str, int]]) -> None:
    assert describe(message) == described


def test_what_the_wire_shows_of_tunnels_one_after_another() -> None:
    """A client's port may have been another tunnel's before."""
    observer, told = L2tpObserver(), []
    for nonce in ("0123abcd", "00ff"):
        client, server = initiator(nonce=nonce), responder()
        client.start(0.0)
        for _ in range(4):
            for sender, receiver in ((client, server), (server, client)):
                for data in sender.data_to_send(0.0):
                    receiver.receive(data, 0.0)
                    told += [(row.check, row.key, row.name) for row in observer.saw(sender.SENDER, data)]
    keys = [key for _, key, name in told if name == "SCCRQ"]
    assert keys == ["0123abcd", "00ff"]
    for nonce in keys:
        assert [name for check, key, name in told if (check, key) == ("control", nonce) and name != "ZLB"] == HANDSHAKE


def test_data_is_known_by_what_is_in_it() -> None:
    """Both ends and the wire have the same names for it, whatever the numbers in the header are."""
    assert data_name(DataMessage(1, 1, REQUEST)) == data_name(DataMessage(2, 3, REQUEST, has_length=True)) == "01020304"
    other = data_name(DataMessage(1, 1, b"some frame"))
    assert (len(other), other) == (16, data_name(DataMessage(2, 2, b"some frame")))
    assert placed(DataMessage(1, 1, REQUEST)) == ("data", ".01020304")
    assert placed(Hello(1, 0, 0, 0)) == placed(object()) == ("control", "")


def test_what_the_wire_shows_of_data_in_a_call() -> None:
    observer, told = L2tpObserver(), []
    client, server = initiator(requests=1), responder()
    client.start(0.0)
    for _ in range(4):
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(0.0):
                receiver.receive(data, 0.0)
                told += [(row.key, row.name) for row in observer.saw(sender.SENDER, data) if row.check == "data"]
    key = f"0123abcd.{client._lcp.key}"
    assert told == [(key, "Configure-Request"), (key, "Configure-Ack")]


@pytest.mark.parametrize("data", [b"", b"junk", Hello(4, 0, 0, 0).encode(), DataMessage(4, 0, b"").encode()])
def test_without_an_sccrq_the_wire_shows_nothing(data: bytes) -> None:
    observer = L2tpObserver()
    assert list(observer.saw(LAC, data)) == list(observer.saw(LNS, data)) == list(observer.closed(LNS)) == []
