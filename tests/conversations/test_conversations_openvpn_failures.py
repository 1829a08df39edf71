"""How a session fails by name, in each state: no answer, a closed connection, garbage, and what is not to be read."""

from pathlib import Path

import pytest
from openvpn_support import (
    C_ID,
    OTHER_KEY,
    S_ID,
    STAGES,
    STATIC_KEY,
    control,
    make_client,
    make_pair,
    make_server,
    reached,
    saying,
)

import vpnprobe
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage, Wrapping
from vpnprobe.wire.openvpn import AckV1, ControlV1, HardResetServerV1, Reliable, frame
from vpnprobe.wire.openvpn_wrap import Wrap

EITHER = pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])
UNANSWERED = {
    Stage.IDLE: FailureCode.SILENT,
    Stage.RESET: FailureCode.SILENT,
    Stage.ANSWERED: FailureCode.TLS_SILENT,
    Stage.TLS_BEGUN: FailureCode.TLS_STALLED,
    Stage.TLS_UP: FailureCode.KEYS_UNANSWERED,
    Stage.KEYS: FailureCode.NO_PUSH_REPLY,
}


def test_each_name_is_given_to_something() -> None:
    sources = [path.read_text() for path in Path(vpnprobe.__file__).parent.rglob("*.py")]
    assert [code for code in FailureCode if not any(f"FailureCode.{code.name}" in source for source in sources)] == []


@EITHER
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_not_answered(stage: Stage, stream: bool) -> None:
    client = reached(stage, stream=stream).client
    assert client.failure is None
    assert client.stalled() == (Failure(UNANSWERED[stage]) if stage in UNANSWERED else None)
    assert client.next_timer() is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_that_is_closed(stage: Stage) -> None:
    client = reached(stage, stream=True).client
    client.closed_by_peer(999.0)
    assert client.peer_closed
    expected = FailureCode.CLOSED_AT_ONCE if client.bytes_received == 0 else FailureCode.CLOSED_BY_PEER
    assert client.failure == (None if stage is Stage.DATA else Failure(expected))
    assert (expected is FailureCode.CLOSED_AT_ONCE) == (stage <= Stage.RESET)


def test_a_connection_that_is_closed_at_once() -> None:
    client = make_client(stream=True)
    client.start(0.0)
    client.closed_by_peer(0.1)
    assert client.failure == client.stalled() == Failure(FailureCode.CLOSED_AT_ONCE)


def test_a_connection_that_is_closed_in_the_middle_of_a_packet() -> None:
    for data in (b"\x00", b"\x00\x1a", b"\x00\x1a\x40", b"\x00\x1a\x40abc"):
        client = make_client(stream=True)
        client.start(0.0)
        client.receive(data, 0.1)
        assert client.stalled() == Failure(FailureCode.SILENT)
        client.closed_by_peer(0.2)
        assert client.failure == Failure(FailureCode.CLOSED_BY_PEER)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", bytes.fromhex("15030300020228")])
def test_another_service_on_tcp(answer: bytes) -> None:
    client = make_client(stream=True)
    client.start(0.0)
    for at in range(len(answer)):
        client.receive(answer[at : at + 1], 0.1)
    assert client.stalled() == Failure(FailureCode.NOT_OPENVPN)
    client.closed_by_peer(0.2)
    assert client.failure == Failure(FailureCode.NOT_OPENVPN)


def test_another_service_on_udp() -> None:
    client = make_client()
    client.start(0.0)
    client.receive(b"", 0.1)
    assert client.stalled() == Failure(FailureCode.ANSWER_UNREADABLE, "packets that could not be read: 1")
    client.receive(b"\x00\x01", 0.1)
    client.receive(b"\x40" + bytes(25), 0.1)
    assert client.stalled() == Failure(FailureCode.NOT_OPENVPN)
    assert client.failure is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_stream_that_is_no_openvpn(stage: Stage) -> None:
    client = reached(stage, stream=True).client
    client.receive(bytes(10), 999.0)
    assert client.failure is not None
    assert client.failure.code is FailureCode.NOT_OPENVPN
    assert client.failure.detail
    # Nothing is read any more.
    client.receive(bytes(100_000), 999.0)
    assert client.tracker.framings[client.SENDER.other].waiting_bytes == 0


@pytest.mark.parametrize("stage", STAGES)
def test_garbage_datagrams_are_counted_and_change_nothing(stage: Stage) -> None:
    client = reached(stage).client
    before = client.unreadable
    for data in (b"", b"\xff", b"\x40", b"\x30", b"\x48\x00", b"\x4f" + bytes(60), control(HardResetServerV1, Reliable())):
        client.receive(data, 999.0)
    assert client.unreadable == before + 7
    assert client.stage is stage
    assert client.failure is None
    assert client.data_to_send(999.0) == []


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage > Stage.RESET])
def test_garbage_in_the_tls_stream_ends_the_session(stage: Stage) -> None:
    client = reached(stage).client
    expected = client._negotiations[0].reliability._next_in
    client.receive(control(ControlV1, Reliable((), None, expected, b"no record at all" * 60)), 999.0)
    assert client.failure is not None
    assert client.failure.code is FailureCode.TLS_BROKEN
    # What comes now is acknowledged and not looked at.
    client.receive(control(ControlV1, Reliable((), None, expected + 1, b"more")), 999.0)
    assert client.stalled() == client.failure


@pytest.mark.parametrize("stage", [Stage.ANSWERED, Stage.TLS_BEGUN])
def test_half_a_record(stage: Stage) -> None:
    client = reached(stage).client
    expected = client._negotiations[0].reliability._next_in
    if stage is Stage.ANSWERED:
        client.receive(control(ControlV1, Reliable((), None, expected, bytes.fromhex("160303 0200 02"))), 999.0)
    assert client.failure is None
    assert client.stalled() == Failure(FailureCode.TLS_STALLED)


@EITHER
def test_answers_under_another_key(stream: bool) -> None:
    client = make_client(stream=stream, wrapping=Wrapping(Wrap.TLS_AUTH, STATIC_KEY))
    server = make_server(stream=stream, wrapping=Wrapping(Wrap.TLS_AUTH, OTHER_KEY))
    client.start(0.0)
    for data in client.data_to_send(0.0):
        server.receive(data, 0.1)
    assert server.stalled() == Failure(FailureCode.ANSWER_UNREADABLE, "packets that could not be read: 1")
    assert server.data_to_send(0.1) == []
    # A server whose other direction has our key.
    server = make_server(stream=stream, wrapping=Wrapping(Wrap.TLS_AUTH, OTHER_KEY))
    server.wrapper.in_key = client.wrapper.out_key  # type: ignore[attr-defined]
    client.start(0.2)
    for data in client.data_to_send(0.2):
        server.receive(data, 0.3)
    for data in server.data_to_send(0.3):
        client.receive(data, 0.4)
    assert client.stalled() == Failure(FailureCode.ANSWER_UNREADABLE, "packets that could not be read: 1")
    client.closed_by_peer(0.5)
    assert client.failure == Failure(FailureCode.ANSWER_UNREADABLE)


@pytest.mark.parametrize(
    "keys", [b"HTTP/1.1 200 OK", bytes(4) + b"\x01" + bytes(64), bytes(5) + b"\x02", bytes(4) + b"\x02" + bytes(64) + b"\xff\xff"]
)
def test_no_key_message_inside_tls(keys: bytes) -> None:
    pair = saying(keys=keys)
    assert pair.client.failure is not None
    assert pair.client.failure.code is FailureCode.KEYS_UNREADABLE
    assert pair.client.failure.detail
    assert pair.client.stage is Stage.TLS_UP


def test_half_a_key_message() -> None:
    pair = saying(keys=bytes(4) + b"\x02" + bytes(10))
    assert pair.client.stalled() == Failure(FailureCode.KEYS_UNANSWERED)


@pytest.mark.parametrize("stage", [Stage.TLS_UP, Stage.KEYS, Stage.CONFIGURED, Stage.DATA])
def test_the_end_of_tls_is_the_end_of_the_session(stage: Stage) -> None:
    pair = reached(stage)
    tls = pair.server._negotiations[0].tls
    assert tls is not None
    with pytest.raises(OSError, match="did not complete"):
        tls._tls.unwrap()
    pair.server.handle_timer(pair.now)
    pair.run()
    assert pair.client.failure == Failure(FailureCode.CLOSED_BY_PEER, "the peer ended TLS")


def test_the_first_failure_stays() -> None:
    pair = saying(says=b"HALT\0RESTART\0")
    pair.client.closed_by_peer(pair.now)
    assert pair.client.failure == Failure(FailureCode.HALTED)


def test_a_session_without_failure() -> None:
    pair = make_pair().complete()
    assert pair.client.stalled() is None
    assert pair.server.stalled() is None


def test_packets_before_any_reset_are_nobodys() -> None:
    client = make_client()
    client.start(0.0)
    client.data_to_send(0.0)
    client.receive(control(ControlV1, Reliable((), None, 0, b"x")), 0.1)
    client.receive(control(AckV1, Reliable((0,), b"another!", None)), 0.1)
    server = make_server()
    server.receive(control(ControlV1, Reliable((), None, 0, b"x"), session_id=C_ID), 0.1)
    server.receive(control(AckV1, Reliable((0,), S_ID, None), session_id=C_ID), 0.1)
    assert client.unreadable == 2
    assert server.unreadable == 1
    assert client.data_to_send(0.2) == server.data_to_send(0.2) == []


def test_a_frame_of_the_stream_is_one_packet() -> None:
    client = make_client(stream=True)
    client.start(0.0)
    client.receive(frame(b"\x40") + frame(b"\x40"), 0.1)
    assert client.unreadable == 2
    assert client.stalled() == Failure(FailureCode.ANSWER_UNREADABLE, "packets that could not be read: 2")


def test_tls_that_is_ended_within_the_handshake() -> None:
    client = reached(Stage.ANSWERED).client
    expected = client._negotiations[0].reliability._next_in
    close_notify = bytes.fromhex("15 0303 0002 0100")
    client.receive(control(ControlV1, Reliable((), None, expected, close_notify)), 999.0)
    assert client.failure == Failure(FailureCode.CLOSED_BY_PEER, "the peer ended TLS")
