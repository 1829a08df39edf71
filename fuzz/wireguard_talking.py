"""Fuzz target: both ends of a WireGuard tunnel. The bytes are a script of what the path, the clock and peers that have keys do.

The first byte chooses whether the responder wants its cookie first, whether the preshared keys are the same, how many echo requests the
ends send, whether both ends begin the last handshake, and whether the tunnel is up at the start. Then each step is a byte, the upper bit of
which names the end that it is about and the lower four the step, and the step's own bytes. What is refused gets no answer, and
neither does who does not know an end's public key; after all that a fresh handshake brings the tunnel up, where the keys allow it.
"""

from collections import deque
from dataclasses import replace
from functools import cache
from typing import ClassVar, Final

from playing import Play, Script
from wireguard_support import AT_CLIENT, AT_SERVER, UNIX_TIME, Pair, assert_bounded, initiator, responder

from vpnprobe.conversations.wireguard_session import REKEY_TIMEOUT_S, WireguardEnd
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import HandshakeInitiation, HandshakeResponse, decode_wireguard
from vpnprobe.wire.wireguard_noise import MAC, cookie_reply, initiation, mac1, public_key, read_initiation, response, tai64n

IDENTITIES: Final = (AT_CLIENT, AT_SERVER)
MOST_KEPT: Final = 200
"""Datagrams of the play that may come again."""
HIGHEST: Final = 2**63


@cache
def recorded(wants_cookie: bool) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What the initiator and the responder of a whole session said."""
    pair = Pair(server=responder(wants_cookie=wants_cookie)).run(until=12.0)
    assert pair.client.run.all_answered
    client, server = (tuple(data for end, data in pair.said if end is one) for one in (pair.client, pair.server))
    return client, server


class WireguardPlay(Play[WireguardEnd]):
    """An initiator and a responder."""

    MOST_SENT_AT_ONCE: ClassVar[int] = 6 * 1452
    """An answer, a handshake's message, and what fell due."""

    def __init__(self, data: bytes) -> None:
        script = Script(data)
        first = script.byte()
        self.wants_cookie = bool(first & 1)
        client = replace(AT_CLIENT, preshared=bytes(32)) if first & 2 else AT_CLIENT
        self.can_come_up, self.both_begin = not first & 2, bool(first & 0x10)
        echoes = (0, 2, 12, 40)[first >> 2 & 3]
        self.kept: deque[bytes] = deque(maxlen=MOST_KEPT)
        ends = (initiator(identity=client, echoes=echoes), responder(echoes=echoes // 2, wants_cookie=self.wants_cookie))
        super().__init__(script, ends, settled=bool(first & 0x80))

    def assert_bounded(self, end: WireguardEnd) -> None:
        assert_bounded(end)

    def collect(self) -> None:
        before = [len(flying) for flying in self.flying]
        super().collect()
        for flying, known in zip(self.flying, before, strict=True):
            self.kept.extend(list(flying)[known:])

    def arrives(self, index: int, data: bytes) -> None:
        self.collect()
        end, flying = self.ends[index], self.flying[1 - index]
        said, unreadable = len(flying), end.unreadable
        super().arrives(index, data)
        if end.unreadable > unreadable or not self._has_mac1(end, data):
            assert len(flying) == said, f"an answer to what is refused: {data.hex()}"

    def _has_mac1(self, end: WireguardEnd, data: bytes) -> bool:
        """Whether its sender shows to know the end's public key, where it has to."""
        try:
            message = decode_wireguard(data)
        except DecodeError:
            return False
        if isinstance(message, HandshakeInitiation | HandshakeResponse):
            return message.mac1 == mac1(message, public_key(end.identity.private))
        return True

    def run(self) -> None:
        super().run()
        for end in self.ends:
            end.events()
            repr((end.key, end.answered, end.failed, end.tracker.stage))
        if self.can_come_up:
            self.assert_comes_up()

    def assert_comes_up(self) -> None:
        """Whatever was before, a handshake makes keys that carry data both ways."""
        self.now += 1000.0
        self.timers()
        self.settle()
        self.now += REKEY_TIMEOUT_S
        for end in self.ends[: 1 + self.both_begin]:
            end._begin(self.now)
        for _ in range(2):  # Its first initiation may be answered by a cookie, which the next one has.
            self.collect()
            self.settle()
            self.now += REKEY_TIMEOUT_S
            self.timers()
        self.settle()
        for index, end in enumerate(self.ends):
            other = self.ends[1 - index]
            before = other.keepalives_received
            assert end.send_payload(b"", self.now) is not None
            self.collect()
            self.settle()
            assert other.keepalives_received > before, "after a fresh handshake data does not pass"

    def does(self, what: int, index: int) -> None:
        end, other, script = self.ends[index], self.ends[1 - index], self.script
        match what:
            case 7:
                said = recorded(self.wants_cookie)[1 - index]
                self.arrives(index, self.changed(said[script.byte() % len(said)]))
            case 8 if self.kept:
                # To whichever end: what it said itself may come back to it.
                self.arrives(index, self.changed(self.kept[-1 - script.byte() % len(self.kept)]))
            case 9:
                self.arrives(index, self._with_mac1(end, self.changed(self._initiation(index))))
            case 11:
                other.send_payload(script.some(), self.now)
            case 12:
                end._begin(self.now)
            case 13 if end._attempts:
                self.arrives(index, self._with_mac1(end, self.changed(self._answer(index))))
            case 14:
                self.now += script.byte()
                self.timers()
            case 15 if other._in_use is not None:
                session = other._in_use.session
                session.sent = min(HIGHEST, session.sent + (1 << script.byte() % 64))

    def _initiation(self, index: int) -> bytes:
        """A genuine one of the other end's, with a time about now: another end with the same keys."""
        chosen = self.script.byte()
        time = tai64n(UNIX_TIME + self.now + chosen / 16)
        return initiation(IDENTITIES[1 - index], ephemeral=bytes([chosen + 1 & 0xFF] * 32), index=chosen, timestamp=time)[0].encode()

    def _answer(self, index: int) -> bytes:
        """To what the end has begun: a response of somebody who has the keys, or a cookie."""
        attempts, chosen = self.ends[index]._attempts, self.script.byte()
        attempt = attempts[self.script.byte() % len(attempts)]
        identity = IDENTITIES[1 - index]
        if chosen & 1:
            return cookie_reply(attempt.message, public_key(identity.private), cookie=bytes([chosen] * MAC), nonce=bytes(24)).encode()
        read = read_initiation(attempt.message, identity.private)
        preshared = self.ends[index].identity.preshared
        return response(read, preshared, ephemeral=bytes([chosen + 1] * 32), index=chosen)[0].encode()

    def _with_mac1(self, end: WireguardEnd, data: bytes) -> bytes:
        """The mac1 is made to fit again, as the script says."""
        if not self.script.byte() & 1:
            return data
        try:
            message = decode_wireguard(data)
        except DecodeError:
            return data
        if isinstance(message, HandshakeInitiation | HandshakeResponse):
            return replace(message, mac1=mac1(message, public_key(end.identity.private))).encode()
        return data


def session(data: bytes) -> None:
    """A script, played."""
    WireguardPlay(data).run()
