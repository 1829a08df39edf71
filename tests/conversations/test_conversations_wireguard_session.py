"""WireGuard between two ends of ours: handshake, data both ways, renewal, cookies, keepalives, and what a hostile peer says."""

from dataclasses import replace

import pytest
from wireguard_support import AT_CLIENT, AT_SERVER, INDEX, UNIX_TIME, Pair, initiator, responder

from vpnprobe.conversations.tunnel_echo import echo_request
from vpnprobe.conversations.wireguard import KnownData, State
from vpnprobe.conversations.wireguard_ends import INITIATOR_TUNNEL, RESPONDER_TUNNEL
from vpnprobe.conversations.wireguard_session import (
    COOKIE_S,
    DATA_SIZES,
    KEEPALIVE_S,
    MOST_UNREADABLE,
    REJECT_AFTER_S,
    REKEY_AFTER_S,
    REKEY_TIMEOUT_S,
    WireguardEnd,
)
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import CookieReply, HandshakeInitiation, HandshakeResponse, TransportData, decode_wireguard
from vpnprobe.wire.wireguard_noise import NO_MAC, initiation, tai64n


def problems(end: WireguardEnd) -> list[str]:
    return [str(step.message) for step in end.tracker.steps if isinstance(step.message, DecodeError)]


class TestWhole:
    def test_a_tunnel_comes_up_and_data_goes_both_ways(self) -> None:
        pair = Pair().run()
        for end, asked in ((pair.client, 6), (pair.server, 12)):
            assert end.tracker.state is State.DATA_BOTH_WAYS
            assert end.run.all_answered
            assert end.requests_answered == asked
            assert (end.unreadable, end.answered, end.failed) == (0, True, False)
            assert all(end.reached(check) for check in ("handshake", "data"))
        assert pair.client.key == pair.server.key == INDEX.hex()
        assert pair.sizes(pair.client)[:1] == [148]
        assert pair.sizes(pair.server)[:1] == [92]

    def test_packets_have_the_sizes_that_they_are_said_to_have(self) -> None:
        pair = Pair(initiator(echoes=6), responder(echoes=0)).run()
        sizes = [len(data) + 28 for end, data in pair.said if end is pair.client and data[0] == 4][:6]
        assert sizes[0] == DATA_SIZES[-1]
        assert all(size in range(wanted - 15, wanted + 1) for size, wanted in zip(sizes, DATA_SIZES[::-1], strict=True))

    def test_answers_name_the_message_that_they_answer(self) -> None:
        pair = Pair(server=responder(echoes=0)).run()
        data = [step.message for step in pair.client.events() if isinstance(step.message, KnownData)]
        answers = sorted(message.answers for message in data if message.answers)
        assert answers == sorted(request.carried_by or "" for request in pair.client.run.requests.values())
        assert len(answers) == 12

    def test_ciphertext_is_not_kept(self) -> None:
        pair = Pair().run()
        assert {len(step.message.packet) for step in pair.client.tracker.steps if isinstance(step.message, TransportData)} == {0}

    def test_without_echoes_a_keepalive_confirms_the_keys(self) -> None:
        pair = Pair(initiator(echoes=0), responder(echoes=2)).run()
        assert pair.server.keepalives_received >= 1
        assert pair.client.requests_answered == 2

    def test_who_answers_sends_nothing_before_it_has_got_something(self) -> None:
        server = responder()
        client = initiator()
        client.start(0.0)
        server.receive(client.data_to_send(0.0)[0], 0.0)
        assert [len(data) for data in server.data_to_send(0.0)] == [92]
        assert server.send_payload(b"early", 0.0) is None
        assert server.room(128) is None
        server.run.begin(0.0)
        server.handle_timer(0.0)
        assert server.data_to_send(0.0) == []

    def test_data_is_answered_by_a_keepalive_where_nothing_else_is_sent(self) -> None:
        pair = Pair(initiator(echoes=0), responder(echoes=0)).run()
        foreign = echo_request(INITIATOR_TUNNEL, RESPONDER_TUNNEL, identifier=1, sequence=1, size=60).replace(b"\x08", b"\x0d")
        assert pair.client.send_payload(foreign, pair.now)
        before = pair.client.keepalives_received
        pair.run(until=pair.now + KEEPALIVE_S + 1)
        assert pair.client.keepalives_received == before + 1


class TestTimers:
    def test_an_initiation_is_repeated_with_a_time_and_a_key_of_its_own(self) -> None:
        pair = Pair(lost=lambda _, data: data[0] == 1).run(until=4 * REKEY_TIMEOUT_S)
        said = [decode_wireguard(data) for _, data in pair.said]
        assert len(said) == 5
        assert all(isinstance(message, HandshakeInitiation) for message in said)
        assert {message.sender_index for message in said if isinstance(message, HandshakeInitiation)} == {int.from_bytes(INDEX, "big")}
        assert len({message.ephemeral for message in said if isinstance(message, HandshakeInitiation)}) == 5

    def test_it_is_given_up(self) -> None:
        pair = Pair(lost=lambda *_: True).run(until=600.0)
        assert len(pair.said) == 18
        assert pair.next_timer() is None
        assert pair.client.answered is False
        pair.client._begin(pair.now)
        pair.client._begin(pair.now)
        assert len(pair.client.data_to_send(pair.now)) == 1

    def test_who_began_renews_the_keys(self) -> None:
        pair = Pair(initiator(echoes=1), responder(echoes=0)).run()
        pair.now = REKEY_AFTER_S + 1
        assert pair.client.send_payload(b"", pair.now)
        pair.deliver()
        assert [data[0] for _, data in pair.said][-4:] == [1, 4, 2, 4]
        assert pair.client.send_payload(b"", pair.now)
        pair.deliver()
        indices = {message.receiver_index for _, data in pair.said if isinstance(message := decode_wireguard(data), TransportData)}
        assert len(indices) >= 3
        assert (pair.client.unreadable, pair.server.unreadable) == (0, 0)

    def test_a_session_that_is_nearly_over_is_renewed_when_data_comes(self) -> None:
        pair = Pair(initiator(echoes=0), responder(echoes=0)).run()
        pair.now = REJECT_AFTER_S - 1
        assert pair.server.send_payload(b"", pair.now)
        pair.deliver()
        assert [data[0] for _, data in pair.said][-4:] == [4, 1, 2, 4]

    def test_data_that_nothing_answers_begins_a_new_handshake(self) -> None:
        """After KEEPALIVE_S and REKEY_TIMEOUT_S (section 6.5): the peer may have lost its keys."""
        pair = Pair(initiator(echoes=0), responder(echoes=0), lost=lambda _, data: len(data) == 48).run()
        pair.now = 1.0
        assert pair.client.send_payload(bytes(16), pair.now)
        assert pair.client.send_payload(bytes(16), pair.now + 1)
        pair.run(until=1 + KEEPALIVE_S + REKEY_TIMEOUT_S - 0.1)
        assert [data[0] for _, data in pair.said][-2:] == [4, 4]
        pair.run(until=1 + KEEPALIVE_S + REKEY_TIMEOUT_S)
        assert [data[0] for _, data in pair.said][-3:] == [1, 2, 4]

    def test_old_keys_are_not_used(self) -> None:
        pair = Pair(initiator(echoes=0), responder(echoes=0)).run()
        (late,) = [message for end, data in pair.said if end is pair.client and data[0] == 4 for message in [data]]
        pair.now = REJECT_AFTER_S + 1
        assert pair.server.send_payload(b"", pair.now) is None
        pair.server.receive(late, pair.now)
        assert problems(pair.server) == ["receiver index at offset 4: is of no session that is in use"]
        pair.deliver()
        assert [(end is pair.server, data[0]) for end, data in pair.said][-3:] == [(True, 1), (False, 2), (True, 4)]


class TestCrossing:
    """Both ends begin a handshake at the same moment: each answers the other's before its own is complete."""

    @pytest.mark.parametrize("at", [None, 3.0], ids=["first", "renewal"])
    @pytest.mark.parametrize("wants_cookie", [False, True], ids=["plain", "cookie"])
    def test_data_passes_both_ways(self, at: float | None, wants_cookie: bool) -> None:
        pair = Pair(initiator(echoes=0), responder(echoes=0, wants_cookie=wants_cookie))
        if at is not None:
            pair.run(until=REKEY_TIMEOUT_S + at)
        pair.cross().run(until=pair.now + REKEY_TIMEOUT_S + 1)
        for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
            before = other.keepalives_received
            assert end.send_payload(b"", pair.now)
            pair.deliver()
            assert other.keepalives_received == before + 1
        assert (pair.client.unreadable, pair.server.unreadable) == (0, 0)

    def test_the_end_that_is_done_last_may_use_its_own_keys(self) -> None:
        """What one end sends under the keys of its own handshake arrives, and so does the answer under the other's."""
        pair = Pair(initiator(echoes=1), responder(echoes=1)).cross().run()
        assert pair.client.run.all_answered
        assert pair.server.run.all_answered


class TestCookies:
    def test_an_end_under_load_wants_its_cookie_first(self) -> None:
        server = responder(wants_cookie=True)
        pair = Pair(server=server).run(until=REKEY_TIMEOUT_S + 3)
        assert [data[0] for _, data in pair.said[:4]] == [1, 3, 1, 2]
        assert (pair.client.cookies_received, server.cookies_sent) == (1, 1)
        assert pair.client.run.all_answered

    def test_a_cookie_is_used_as_long_as_it_is_good(self) -> None:
        pair = Pair(server=responder(wants_cookie=True))
        pair.deliver()
        assert pair.client.answered
        assert isinstance(decode_wireguard(pair.said[1][1]), CookieReply)
        pair.client.handle_timer(REKEY_TIMEOUT_S)
        pair.client.handle_timer(COOKIE_S + REKEY_TIMEOUT_S)
        said = [decode_wireguard(data) for data in pair.client.data_to_send(0.0)]
        macs = [message.mac2 for message in said if isinstance(message, HandshakeInitiation)]
        assert [mac == NO_MAC for mac in macs] == [False, True]

    def test_a_cookie_that_answers_an_earlier_initiation_is_taken(self) -> None:
        pair = Pair(server=responder(wants_cookie=True), lost=lambda end, _: end is pair.server)
        pair.deliver()
        pair.client.handle_timer(REKEY_TIMEOUT_S)
        pair.client.receive(pair.said[1][1], REKEY_TIMEOUT_S)
        assert (pair.client.cookies_received, pair.client.unreadable) == (1, 0)

    def test_who_does_not_know_the_public_key_gets_none(self) -> None:
        server = responder(wants_cookie=True)
        client = initiator()
        client.start(0.0)
        (first,) = client.data_to_send(0.0)
        server.receive(first[:116] + bytes([first[116] ^ 1]) + first[117:], 0.0)
        assert problems(server) == ["mac1 at offset 116: is not for our public key"]
        assert (server.data_to_send(0.0), server.cookies_sent) == ([], 0)


class TestHostile:
    def test_what_is_no_message(self) -> None:
        pair = Pair().run()
        for data in (b"", b"\x04", b"\x09" + bytes(40), bytes(148), b"GET / HTTP/1.1"):
            pair.client.receive(data, pair.now)
        assert pair.client.unreadable == 5
        assert pair.client.data_to_send(pair.now) == []

    def test_an_initiation_that_comes_again(self) -> None:
        pair = Pair().run()
        pair.server.receive(pair.said[0][1], pair.now)
        assert problems(pair.server) == ["timestamp at offset 88: is not later than that of the last initiation"]
        assert pair.server.data_to_send(pair.now) == []

    def test_a_stranger_gets_no_answer(self) -> None:
        stranger = replace(AT_CLIENT, private=bytes(range(32)))
        pair = Pair(initiator(identity=stranger)).run()
        assert [len(data) for _, data in pair.said] == [148]
        assert problems(pair.server) == ["static at offset 40: is a key that is not known here"]

    def test_another_preshared_key_shows_at_the_initiator(self) -> None:
        pair = Pair(initiator(identity=replace(AT_CLIENT, preshared=bytes(32)))).run()
        assert problems(pair.client) == ["empty at offset 0: does not open: the keys are others, or the message was changed"]
        assert not pair.client.answered

    def test_answers_that_nobody_asked_for(self) -> None:
        pair = Pair().run()
        answer, cookie = pair.said[1][1], CookieReply(7, bytes(24), bytes(32)).encode()
        for data in (answer, cookie):
            pair.client.receive(data, pair.now)
        assert [problem.partition(" at")[0] for problem in problems(pair.client)] == ["receiver index"] * 2

    def test_data_that_comes_again_or_was_changed(self) -> None:
        pair = Pair().run()
        data = next(data for end, data in pair.said if end is pair.client and data[0] == 4)
        pair.server.receive(data, pair.now)
        pair.server.receive(data[:-1] + bytes([data[-1] ^ 1]), pair.now)
        pair.server.receive(data[:4] + bytes(4) + data[8:], pair.now)
        assert [problem.partition(" at")[0] for problem in problems(pair.server)] == ["counter", "authentication tag", "receiver index"]

    def test_unreadable_messages_are_counted_up_to_a_bound(self) -> None:
        client = initiator()
        client.unreadable = MOST_UNREADABLE
        client.receive(b"", 0.0)
        assert client.unreadable == MOST_UNREADABLE

    def test_handshakes_without_end_keep_no_more_than_a_few_keys(self) -> None:
        pair = Pair().run()
        for number in range(50):
            time = tai64n(UNIX_TIME + 100 + number)
            message, _ = initiation(AT_CLIENT, ephemeral=bytes([number + 1]) * 32, index=number, timestamp=time)
            pair.server.receive(message.encode(), pair.now)
            assert isinstance(decode_wireguard(pair.server.data_to_send(pair.now)[0]), HandshakeResponse)
        assert len(pair.server._keypairs) == 2
        assert pair.client.send_payload(b"", pair.now)
        pair.deliver()
        assert pair.server.unreadable == 0


@pytest.mark.parametrize("identity", [AT_CLIENT, AT_SERVER])
def test_keys_are_not_shown(identity: object) -> None:
    assert "private" not in repr(identity)
    assert "preshared" not in repr(identity)
