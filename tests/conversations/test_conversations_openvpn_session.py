"""Both ends at once: what they record, keys that change under traffic, replays, key IDs that nobody has, and clocks."""

import pytest
from openvpn_support import C_ID, S_ID, completed, control, make_pair, reached

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import KeysAgreed, State
from vpnprobe.conversations.openvpn_ends import CLIENT_TUNNEL, SERVER_TUNNEL
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.tunnel_echo import echo_request
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import AckV1, ControlV1, DataV2, HardResetClientV2, HardResetServerV2, Reliable, SoftResetV1

PAYLOAD = echo_request(CLIENT_TUNNEL, SERVER_TUNNEL, identifier=1, sequence=1, size=100)


def test_both_record_the_same_session() -> None:
    pair = completed()
    client, server = list(pair.client.events()), list(pair.server.events())
    assert pair.client.events() == pair.server.events() == []
    assert [type(step.message) for step in client[:2]] == [HardResetClientV2, HardResetServerV2]
    for steps in (client, server):
        assert all(step.expected for step in steps)
        assert sum(isinstance(step.message, DataV2) for step in steps) == 48
    assert [step.sender for step in client if isinstance(step.message, KeysAgreed)] == [Sender.RESPONDER]
    sizes = {(step.sender, step.message.number): step.size for step in client if isinstance(step.message, DataV2)}
    assert sizes == {(step.sender, step.message.number): step.size for step in server if isinstance(step.message, DataV2)}
    # Bodies are not kept.
    assert all(step.message.body == b"" for step in client if isinstance(step.message, ControlV1))


def test_the_old_keys_serve_until_the_new_ones_are_there() -> None:
    pair = completed()
    pair.change = lambda end, data: None if data[0] & 7 == 1 and end is pair.server else data
    assert pair.client.renegotiate(pair.now)
    pair.run(seconds=5.0)
    for end in (pair.client, pair.server):
        assert end.send_payload(PAYLOAD, pair.now) == "0.19"
        assert end.channel is not None
        assert end.channel.key_id == 0
    pair.run(seconds=0.5)
    assert pair.client.requests_answered == pair.server.requests_answered == 13
    late = []

    def hold(end: object, data: bytes) -> bytes | None:
        if data[0] == 9 << 3:
            late.append(data)
            return None
        return data

    pair.change = hold
    pair.client.send_payload(PAYLOAD, pair.now)
    pair.run()
    assert pair.client.channel is not None
    assert pair.client.channel.key_id == 1
    pair.client.send_payload(PAYLOAD, pair.now)
    pair.run()
    assert pair.server.requests_answered == 14
    # What was under way under the old ones is read after that.
    assert len(late) == 1
    pair.server.receive(late[0], pair.now)
    assert pair.server.requests_answered == 15
    assert pair.server.unreadable == 0


def test_a_replayed_data_packet_is_not_read_twice() -> None:
    pair = completed()
    pair.client.send_payload(PAYLOAD, pair.now)
    [data] = pair.client.data_to_send(pair.now)
    for _ in range(3):
        pair.server.receive(data, pair.now)
    assert pair.server.requests_answered == 13
    assert pair.server.unreadable == 2
    assert len(pair.server.data_to_send(pair.now)) == 1
    error = pair.server.tracker.steps[-1].message
    assert isinstance(error, DecodeError)
    assert error.field == "packet ID"


def test_a_changed_data_packet_is_not_read() -> None:
    pair = completed()
    pair.client.send_payload(PAYLOAD, pair.now)
    [data] = pair.client.data_to_send(pair.now)
    for at in range(len(data)):
        pair.server.receive(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], pair.now)
        pair.server.receive(data[:at], pair.now)
    assert pair.server.requests_answered == 12
    assert pair.server.unreadable == 2 * len(data)
    assert pair.server.data_to_send(pair.now) == []


def test_replayed_control_packets_are_acknowledged_and_nothing_more() -> None:
    pair = completed()
    control_packets = [data for end, data in pair.sent if end is pair.client and data[0] >> 3 not in (5, 9)]
    steps = pair.server.stage, pair.server.channel
    for data in control_packets:
        pair.server.receive(data, pair.now)
        [answer] = pair.server.data_to_send(pair.now)
        assert answer[0] >> 3 == AckV1.opcode
    assert (pair.server.stage, pair.server.channel) == steps
    assert pair.server.failure is None
    assert pair.server.unreadable == 0


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.RESET, Stage.KEYS, Stage.DATA])
def test_data_under_key_ids_that_nobody_has(stage: Stage) -> None:
    client = reached(stage).client
    before = client.unreadable
    for key_id in range(1, 8):
        for opcode in (6, 9):
            client.receive(bytes([opcode << 3 | key_id]) + bytes(60), 999.0)
    assert client.unreadable == before + 14
    assert client.stage is stage


def test_packets_of_another_session_are_not_taken() -> None:
    pair = completed()
    pair.client.receive(control(ControlV1, Reliable((), None, 5, b"x"), session_id=b"another!"), pair.now)
    pair.client.receive(control(AckV1, Reliable((5,), b"another!", None)), pair.now)
    pair.client.receive(control(AckV1, Reliable((5,), C_ID, None), session_id=b"another!"), pair.now)
    assert pair.client.unreadable == 3
    # Of a negotiation that is not there.
    pair.client.receive(control(ControlV1, Reliable((), None, 5, b"x"), key_id=3), pair.now)
    assert pair.client.unreadable == 3
    assert pair.client.data_to_send(pair.now) == []
    assert pair.client.failure is None


def test_a_soft_reset_before_there_are_keys_begins_nothing() -> None:
    for stage in (Stage.ANSWERED, Stage.TLS_UP, Stage.KEYS):
        client = reached(stage).client
        client.receive(control(SoftResetV1, Reliable(), key_id=1), 999.0)
        assert client.renegotiations_asked == 0
        assert list(client._negotiations) == [0]


def test_time_that_goes_back_a_hair() -> None:
    pair = make_pair().start()
    for _ in range(400):
        for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
            pair.now += 0.01
            for data in end.data_to_send(pair.now):
                other.receive(data, pair.now - 1e-7)
                other.handle_timer(pair.now - 2e-7)
            end.handle_timer(pair.now)
            end.handle_timer(pair.now - 1e-3)
    assert pair.client.run.all_answered
    assert pair.server.run.all_answered
    assert pair.client.state is State.DATA_BOTH_WAYS
    assert pair.client.remote_session_id == S_ID
