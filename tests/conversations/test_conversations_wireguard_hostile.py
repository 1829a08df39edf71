"""WireGuard peers that mean harm: any bytes, changed and replayed messages in any state raise nothing, fill nothing and end nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wireguard_support import AT_CLIENT, AT_SERVER, UNIX_TIME, Pair, assert_bounded, initiator, responder

from vpnprobe.conversations.wireguard_session import REJECT_AFTER_S, REKEY_TIMEOUT_S, WireguardEnd
from vpnprobe.wire.wireguard import MESSAGES, CookieReply, HandshakeInitiation, MessageType, TransportData, decode_wireguard
from vpnprobe.wire.wireguard_noise import MAC, cookie_reply, initiation, mac1, public_key, tai64n

STATES: dict[str, Callable[[], Pair]] = {
    "idle": lambda: Pair(lost=lambda *_: True),
    "initiated": lambda: _delivered(lambda _, data: data[0] == MessageType.HANDSHAKE_INITIATION),
    "answered": lambda: _delivered(lambda _, data: data[0] == MessageType.HANDSHAKE_RESPONSE),
    "cookie": lambda: _delivered(lambda *_: False, wants_cookie=True),
    "up": lambda: Pair(initiator(echoes=2), responder(echoes=2)).run(),
    "crossed": lambda: Pair(initiator(echoes=2), responder(echoes=2)).run().cross().run(),
    "renewing": lambda: _renewing(),
    "expired": lambda: Pair(initiator(echoes=2), responder(echoes=2)).run().run(until=REJECT_AFTER_S + 5),
}
"""How a pair comes to each."""
ANY_STATE = st.sampled_from(sorted(STATES))


def _delivered(lost: Callable[[WireguardEnd, bytes], bool], *, wants_cookie: bool = False) -> Pair:
    pair = Pair(initiator(echoes=2), responder(echoes=2, wants_cookie=wants_cookie), lost=lost)
    pair.deliver()
    return pair


def _renewing() -> Pair:
    pair = STATES["up"]()
    pair.client._begin(pair.now)
    pair.client.data_to_send(pair.now)
    return pair


SESSIONS = [data for wants_cookie in (False, True) for _, data in Pair(server=responder(wants_cookie=wants_cookie)).run(until=8.0).said]


@st.composite
def datagrams(draw: st.DrawFn) -> Callable[[Pair, WireguardEnd], bytes]:
    """Anything, mostly what comes near to a message: of another session of the same keys, or of this one, from either end."""
    kind, chosen, place, value = (draw(st.integers(0, 255)) for _ in range(4))
    raw = draw(st.binary(max_size=160))

    def made(pair: Pair, end: WireguardEnd) -> bytes:
        known = [data for _, data in pair.said] if kind & 1 and pair.said else SESSIONS
        data = known[chosen % len(known)]
        match kind >> 1 & 3:
            case 0:
                return raw if kind & 8 else bytes([kind >> 4 & 3, 0, 0, 0]) + raw
            case 1:
                return data
            case 2:
                return data[: place % len(data)] + bytes([data[place % len(data)] ^ value]) + data[place % len(data) + 1 :]
            case _:
                return _signed(data, end, value)

    return made


def _signed(data: bytes, end: WireguardEnd, value: int) -> bytes:
    """Of a handshake, with another ephemeral key and the mac1 that fits again."""
    message = decode_wireguard(data)
    if isinstance(message, TransportData | CookieReply):
        return data
    changed = replace(message, ephemeral=bytes([value]) * 32)
    return replace(changed, mac1=mac1(changed, public_key(end.identity.private))).encode()


def assert_comes_up(pair: Pair) -> None:
    """A fresh handshake brings the tunnel up, whatever was before."""
    pair._lost = lambda *_: False
    pair.run(until=pair.now + 1000.0)
    pair.client._begin(pair.now)
    pair.run(until=pair.now + 2 * REKEY_TIMEOUT_S)
    for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
        before = other.keepalives_received
        assert end.send_payload(b"", pair.now)
        pair.deliver()
        assert other.keepalives_received > before


@given(ANY_STATE, st.booleans(), st.lists(st.tuples(datagrams(), st.integers(0, 200)), max_size=12))
def test_any_messages_in_any_state(state: str, at_client: bool, script: list[tuple[Callable[[Pair, WireguardEnd], bytes], int]]) -> None:
    pair = STATES[state]()
    end: WireguardEnd = pair.client if at_client else pair.server
    for made, pause in script:
        end.receive(made(pair, end), pair.now)
        pair.now += pause / 10
        end.handle_timer(pair.now)
        assert len(end.data_to_send(pair.now)) <= 4
        assert_bounded(end)
    assert_comes_up(pair)


@pytest.mark.parametrize("state", ["up", "crossed", "renewing", "expired"])
def test_a_whole_session_that_comes_again_changes_nothing(state: str) -> None:
    """To either end: what its peer said before, and what it said itself."""
    pair = STATES[state]()
    for end in (pair.client, pair.server):
        end.data_to_send(pair.now)
        keys = list(end._keypairs)
        for _, data in pair.said:
            end.receive(data, pair.now)
        assert end._keypairs == keys
        assert all(data[0] != MessageType.HANDSHAKE_RESPONSE for data in end.data_to_send(pair.now))
    assert_comes_up(pair)


@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize("kind", MESSAGES)
def test_what_no_key_made_gets_no_answer(state: str, kind: MessageType) -> None:
    """A message of each kind with any fields: its form is right and nothing else."""
    pair = STATES[state]()
    data = next(data for data in SESSIONS if data[0] == kind)
    for end in (pair.client, pair.server):
        end.data_to_send(pair.now)
        before, unreadable = end.tracker.state, end.unreadable
        end.receive(data[:4] + bytes(len(data) - 4), pair.now)
        assert (end.tracker.state, end.unreadable) == (before, unreadable + 1)
        assert end.data_to_send(pair.now) == []


@pytest.mark.parametrize("state", sorted(STATES))
def test_floods_of_genuine_messages_fill_nothing(state: str) -> None:
    pair = STATES[state]()
    for end, identity in ((pair.client, AT_SERVER), (pair.server, AT_CLIENT)):
        for number in range(100):
            time = tai64n(UNIX_TIME + pair.now + number / 100)
            message, _ = initiation(identity, ephemeral=bytes([number + 1]) * 32, index=number, timestamp=time)
            end.receive(message.encode(), pair.now)
            if end._attempts:
                sent, own = end._attempts[-1].message, public_key(identity.private)
                end.receive(cookie_reply(sent, own, cookie=bytes([number]) * MAC, nonce=bytes(24)).encode(), pair.now)
            assert_bounded(end)
            assert len(end.data_to_send(pair.now)) <= 2
    assert_comes_up(pair)


def test_a_forged_cookie_does_not_keep_the_tunnel_down() -> None:
    """Whoever knows the responder's public key can make one: the responder's own replaces it."""
    pair = Pair(server=responder(wants_cookie=True), lost=lambda *_: True)
    pair.deliver()
    sent = decode_wireguard(pair.said[0][1])
    assert isinstance(sent, HandshakeInitiation)
    pair.client.receive(cookie_reply(sent, AT_CLIENT.peer, cookie=bytes(MAC), nonce=bytes(24)).encode(), pair.now)
    assert pair.client.cookies_received == 1
    assert_comes_up(pair)
