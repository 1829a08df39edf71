"""The client of a profile: who answers echo requests is found out, a slow path does not confuse it, and it tells what came."""

import random
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from wireguard_support import AT_CLIENT, AT_SERVER, INDEX, UNIX_TIME, Lost, Pair
from wireguard_under_load import LoadedResponder

from vpnprobe.conversations.tunnel_echo import echo_reply, read_echo
from vpnprobe.conversations.wireguard import KnownData, State
from vpnprobe.conversations.wireguard_client import (
    LOOK_AGAIN_S,
    MOST_LOOKS,
    MOST_OTHERS,
    RETRANSMIT_AFTER_S,
    UNANSWERED_ECHOES,
    TunnelSettings,
    WireguardClient,
)
from vpnprobe.conversations.wireguard_ends import Responder
from vpnprobe.conversations.wireguard_session import KEEPALIVE_S, REKEY_TIMEOUT_S, WireguardEnd
from vpnprobe.wire.icmp import EchoReply, EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.wireguard import HandshakeInitiation, HandshakeResponse, TransportData, decode_wireguard

OWN, GATEWAY, RESOLVER, NOBODY = (IPv4Address(f"10.8.0.{number}") for number in (2, 1, 53, 99))
DATA, INITIATION = 4, 1


class Network(Responder):
    """A server with somebody behind it at some addresses."""

    there: Sequence[IPv4Address] = (GATEWAY,)

    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address]:
        return GATEWAY, OWN

    def echo_came(self, payload: bytes, now: float) -> None:
        echo = read_echo(payload)
        if echo is not None and (echo[0].destination in self.there or isinstance(echo[1], EchoReply)):
            super().echo_came(payload, now)


def client(
    *asked: IPv4Address, own: IPv4Address | None = OWN, echoes: int = 12, sizes: Sequence[int] = (128, 576, 1340)
) -> WireguardClient:
    settings = TunnelSettings(own, asked, sizes, echoes)
    return WireguardClient(AT_CLIENT, settings, index=INDEX, entropy=random.Random(1).randbytes, unix_time_at_zero=UNIX_TIME)


def pair(end: WireguardClient, *there: IPv4Address, lost: Lost = lambda *_: False, echoes: int = 0) -> Pair:
    server = Network(AT_SERVER, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=echoes)
    server.there = there
    return Pair(end, server, lost=lost)


class TestWhoIsAsked:
    @pytest.mark.parametrize("asked", [(GATEWAY,), (NOBODY, GATEWAY), (RESOLVER, NOBODY, GATEWAY)])
    def test_who_answers_is_found(self, asked: tuple[IPv4Address, ...]) -> None:
        end = client(*asked)
        pair(end, GATEWAY).run()
        assert (end.found, end.run.all_answered, len(end.run.requests)) == (GATEWAY, True, 12)
        assert end.tracker.state is State.DATA_BOTH_WAYS

    def test_what_looks_for_somebody_is_no_trial(self) -> None:
        end = client(NOBODY, GATEWAY)
        pair(end, GATEWAY).run()
        sent = [step for step in end.events() if step.sender is end.SENDER and isinstance(step.message, KnownData)]
        assert len(sent) == 12

    def test_sizes_are_those_of_the_tunnel(self) -> None:
        end = client(GATEWAY)
        both = pair(end, GATEWAY).run()
        sizes = {len(data) + 28 for sender, data in both.said if sender is end and data[0] == DATA}
        assert max(sizes) == 1340

    def test_the_first_is_asked_where_nobody_answers(self) -> None:
        end = client(GATEWAY, RESOLVER, echoes=102)
        pair(end).run(until=MOST_LOOKS * LOOK_AGAIN_S + 10)
        assert (end.found, len(end.run.requests)) == (None, UNANSWERED_ECHOES)
        assert end.tunnel_ends() == (OWN, GATEWAY)
        assert end.data_received == end.keepalives_received

    def test_a_servers_keepalive_shows_that_data_came(self) -> None:
        end = client(GATEWAY)
        pair(end).run(until=KEEPALIVE_S + 1)
        assert (end.keepalives_received, end.data_received) == (1, 1)
        assert not any(request.answered_at for request in end.run.requests.values())

    def test_lost_looks_are_repeated(self) -> None:
        looks: list[bytes] = []

        def lost(sender: WireguardEnd, data: bytes) -> bool:
            looks.extend([data] if sender is end and data[0] == DATA else [])
            return 0 < len(looks) < 3

        end = client(GATEWAY)
        pair(end, GATEWAY, lost=lost).run()
        assert end.found == GATEWAY
        assert end.run.all_answered

    @pytest.mark.parametrize("end", [client(GATEWAY, own=None), client()])
    def test_without_addresses_the_session_is_confirmed_all_the_same(self, end: WireguardClient) -> None:
        both = pair(end, GATEWAY).run()
        assert (end.can_ask, end.tunnel_ends(), end.run.requests) == (False, None, {})
        assert both.server.keepalives_received == 1

    def test_requests_of_the_server_are_answered(self) -> None:
        end = client(GATEWAY)
        both = pair(end, GATEWAY, echoes=6).run()
        assert both.server.run.all_answered

    def test_foreign_answers_find_nobody(self) -> None:
        """Echo replies of other programs, or from addresses that were not asked."""
        end = client(NOBODY)
        pair(end, GATEWAY, echoes=3).run(until=1.0)
        assert end.found is None


class TestOtherSessions:
    @staticmethod
    def data(index: int) -> bytes:
        return TransportData(index, 0, bytes(32)).encode()

    def test_data_for_a_newer_session_of_the_server_shows_another_device(self) -> None:
        end = client(GATEWAY)
        pair(end, GATEWAY).run()
        for _ in range(3):
            end.receive(self.data(0x0A0B0C0D), 1.0)
        assert end.for_others == 3

    def test_before_ours_is_confirmed_it_may_be_for_the_one_before(self) -> None:
        end = client(GATEWAY)
        end.start(0.0)
        end.receive(self.data(0x0A0B0C0D), 0.1)
        assert end.for_others == 0

    def test_our_own_packets_that_come_back_and_noise_show_nobody(self) -> None:
        end = client(GATEWAY)
        both = pair(end, GATEWAY).run()
        for sender, data in both.said:
            if sender is end:
                end.receive(data, 1.0)
        assert end.for_others == 0
        for index in range(2 * MOST_OTHERS):
            end.receive(self.data(index), 1.0)
        assert end.for_others == 1

    def test_of_many_sessions_the_first_go_on_being_counted(self) -> None:
        end = client(GATEWAY)
        pair(end, GATEWAY).run()
        for _ in range(3):
            for index in range(2 * MOST_OTHERS):
                end.receive(self.data(index), 1.0)
        assert end.for_others == 3

    def test_what_does_not_come_from_the_server_shows_nobody(self) -> None:
        end = client(GATEWAY)
        pair(end, GATEWAY).run()
        end.from_peer = False
        end.receive(self.data(0x0A0B0C0D), 1.0)
        assert end.for_others == 0

    def test_a_reply_to_no_look_of_ours_says_nothing_of_the_round_trip(self) -> None:
        end = client(GATEWAY)
        both = pair(end)
        both.run(until=0.1)
        payload = echo_reply(IPv4Packet(OWN, GATEWAY, IpProtocol.ICMP, 64, 0, b""), EchoRequest(end.run.identifier ^ 1, 9999, b""))
        both.server.send_payload(payload, both.now)
        for data in both.server.data_to_send(both.now):
            end.receive(data, both.now)
        assert (end.found, end.run.round_trip_s) == (GATEWAY, 0.0)


class TestPresharedKey:
    def test_a_response_that_is_for_our_key_and_does_not_open(self) -> None:
        end = client(GATEWAY)
        other = replace(AT_SERVER, preshared=bytes(range(32)))
        server = Network(other, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=0)
        Pair(end, server).run(until=0.5)
        assert (end.response_unopened, end.up) == (True, False)

    def test_noise_in_place_of_a_response_says_nothing_of_keys(self) -> None:
        end = client(GATEWAY)
        end.start(0.0)
        response = HandshakeResponse(1, int.from_bytes(INDEX, "big"), bytes(32), bytes(16), bytes(16), bytes(16))
        end.receive(response.encode(), 0.1)
        assert (end.response_unopened, end.unreadable) == (False, 1)


class TestLater:
    def test_a_renewed_session_is_confirmed_and_nobody_is_looked_for_again(self) -> None:
        end = client(GATEWAY)
        both = pair(end, GATEWAY).run()
        end._begin(both.now)
        both.run()
        assert both.server.keepalives_received == 1
        assert len(end.run.requests) == 12
        assert end.found == GATEWAY


class TestSlowPaths:
    def test_a_round_trip_that_is_longer_than_the_repetition(self) -> None:
        """The response to an earlier initiation shows a slow peer: the answer to the newest is waited for, since the peer has its keys."""
        end = client(GATEWAY)
        server = Network(AT_SERVER, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=0)
        end.start(0.0)
        initiations = [end.data_to_send(0.0)[0]]
        now = 0.0
        for _ in range(2):
            now = end.next_timer() or 0.0
            end.handle_timer(now)
            initiations += end.data_to_send(now)
        assert now == 2 * RETRANSMIT_AFTER_S
        assert len({type(decode_wireguard(data)) for data in initiations}) == 1
        responses = []
        for data in initiations:
            server.receive(data, now)
            responses += server.data_to_send(now)
        assert len(responses) == 3
        end.receive(responses[0], now + 0.1)
        assert (end.reached("handshake"), end.up) == (True, False)
        assert end.unreadable == 0
        assert not end.data_to_send(now + 0.1)
        assert end.next_timer() == now + 0.1 + REKEY_TIMEOUT_S
        end.receive(responses[1], now + 0.15)
        assert end.next_timer() == now + 0.1 + REKEY_TIMEOUT_S
        end.receive(responses[2], now + 0.2)
        for data in end.data_to_send(now + 0.2):
            server.receive(data, now + 0.3)
        assert end.up
        assert server.data_received == 1

    def test_repetition_goes_on_where_the_newest_is_lost(self) -> None:
        end = client(GATEWAY)
        counted: list[bytes] = []

        def lost(sender: WireguardEnd, data: bytes) -> bool:
            counted.extend([data] if data[0] == INITIATION else [])
            return data[0] == INITIATION and len(counted) < 4

        pair(end, GATEWAY, lost=lost).run(until=6.0)
        assert all(isinstance(decode_wireguard(data), HandshakeInitiation) for data in counted)
        assert end.run.all_answered


def test_a_cookie_is_no_word_that_only_the_server_can_have_said() -> None:
    end = client(GATEWAY, echoes=0)
    under_load = LoadedResponder(AT_SERVER, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=0, wants_cookie=True)
    both = Pair(end, under_load)
    both.deliver()
    assert (end.opened, end.cookies_received, end.authenticated) == (1, 1, 0)
    both.run(until=RETRANSMIT_AFTER_S + 0.5)
    assert end.reached("handshake")
    assert end.authenticated == end.opened - 1 > 0


def test_a_response_of_another_preshared_key_is_told_from_what_is_not_for_us() -> None:
    end = client(GATEWAY)
    other = Responder(replace(AT_SERVER, preshared=bytes(32)), entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=0)
    both = Pair(end, other)
    both.deliver()
    assert (end.response_unopened, end.opened) == (True, 0)
    stranger = client(GATEWAY)
    stranger.start(0.0)
    stranger.data_to_send(0.0)
    (response,) = [data for sender, data in both.said if sender is other]
    changed = bytearray(response)
    changed[-20] ^= 1  # Of mac1: it is for nobody's public key.
    stranger.receive(bytes(changed), 0.0)
    assert (stranger.response_unopened, stranger.unreadable) == (False, 1)
