"""Fuzz target: both ends of the conversation. The bytes are a script of what the path, the clock and a peer that has the keys do.

The first byte chooses stream, wrap, the two ends' ciphers, and whether the tunnel is up at the start. Then each step is a byte, the upper
bit of which names the end that it is about and the lower four the step, and the step's own bytes. Nothing may be raised, nothing may
grow, and timers pass.
"""

from collections import deque
from functools import cache
from ssl import SSLContext
from typing import Final

from openvpn_support import (
    C_ID,
    CIPHERS,
    S_ID,
    WRAPS,
    ClientOffer,
    Pair,
    SayingServer,
    good_client_context,
    good_server_context,
    is_data,
    make_pair,
)
from test_conversations_openvpn_hostile import assert_bounded

from vpnprobe.conversations.openvpn_session import SessionEnd
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import frame

MOST_STEPS: Final = 150
MOST_FLYING: Final = 300
MOST_SENT_AT_ONCE: Final = 1 << 20
"""Bytes that an end may say to one thing that happened."""
ROUNDS: Final = 60
IDS: Final = (C_ID, S_ID)
WITH_NAME: Final = ClientOffer(ciphers=(Cipher.CHACHA20_POLY1305,), username="user", password="password")


@cache
def _contexts() -> tuple[SSLContext, SSLContext]:
    return good_client_context(), good_server_context()


def fresh(wrap: str, *, stream: bool, offer: ClientOffer | None = None, ciphers: tuple[Cipher, ...] = CIPHERS) -> Pair:
    return make_pair(stream=stream, wrap=wrap, contexts=_contexts(), offer=offer, ciphers=ciphers, server_kind=SayingServer)


@cache
def recorded(wrap: str, stream: bool) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What the client and the server of a whole session sent, unframed."""
    pair = fresh(wrap, stream=stream).complete()
    assert pair.client.run.all_answered
    said: dict[bool, list[bytes]] = {False: [], True: []}
    for end, data in pair.sent:
        said[end is pair.server].append(data[2:] if stream else data)
    return tuple(said[False]), tuple(said[True])


class Script:
    """The bytes, of which there are always more: zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    @property
    def over(self) -> bool:
        return self.offset >= len(self.data)

    def byte(self) -> int:
        self.offset += 1
        return self.data[self.offset - 1] if self.offset <= len(self.data) else 0

    def some(self) -> bytes:
        """As many bytes as the next one says."""
        count = self.byte()
        taken = self.data[self.offset : self.offset + count]
        self.offset += count
        return taken


class Play:
    """A pair, what is under way to each end, and the script."""

    def __init__(self, data: bytes) -> None:
        self.script = Script(data)
        first = self.script.byte()
        self.stream, self.wrap = bool(first & 1), WRAPS[(first >> 1 & 7) % len(WRAPS)]
        ciphers = (Cipher.AES_128_GCM,) if first & 0x20 else CIPHERS
        pair = fresh(self.wrap, stream=self.stream, offer=WITH_NAME if first & 0x10 else None, ciphers=ciphers)
        self.client, self.server = pair.client, pair.server
        self.ends: tuple[SessionEnd, SessionEnd] = (pair.client, pair.server)
        self.flying: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        """To each end."""
        self.now = 100.0
        for end in self.ends:
            end.start(self.now)
        self.collect()
        if first & 0x80:
            self.settle()

    def collect(self) -> None:
        for index, end in enumerate(self.ends):
            said = end.data_to_send(self.now)
            assert sum(map(len, said)) <= MOST_SENT_AT_ONCE
            assert_bounded(end)
            self.flying[1 - index].extend(said)
            while len(self.flying[1 - index]) > MOST_FLYING:
                self.flying[1 - index].popleft()

    def arrives(self, index: int, data: bytes) -> None:
        self.ends[index].receive(data, self.now)
        self.collect()

    def timers(self) -> None:
        for end in self.ends:
            for _ in range(ROUNDS):
                if (timer := end.next_timer()) is None or timer > self.now:
                    break
                end.handle_timer(self.now)
            else:
                raise AssertionError(f"a timer that does not pass: {timer} at {self.now}")
        self.collect()

    def settle(self) -> None:
        for _ in range(ROUNDS):
            self.now += 0.01
            for index in (0, 1):
                for _ in range(len(self.flying[index])):
                    self.arrives(index, self.flying[index].popleft())
            self.timers()
            if not any(self.flying):
                break

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            if self.script.over:
                break
            self.step()
        self.settle()
        for end in self.ends:
            end.events()
            end.closed_by_peer(self.now)
            end.stalled()
        self.now += 1000.0
        self.timers()

    def step(self) -> None:
        what = self.script.byte()
        index, script = what >> 7, self.script
        end, other, flying = self.ends[index], self.ends[1 - index], self.flying[index]
        match what & 15:
            case 0:
                self.settle()
            case 1 if flying:
                self.arrives(index, flying.popleft())
            case 2 if flying:
                flying.popleft()
            case 3 if flying:
                for _ in range(2):
                    self.arrives(index, flying[0])
            case 4 if flying:
                self.arrives(index, self.changed(flying.popleft()))
            case 5 if flying:
                self.arrives(index, flying.pop())
            case 6:
                self.arrives(index, script.some())
            case 7:
                said = recorded(self.wrap, self.stream)[1 - index]
                self.arrives(index, self.framed(self.changed(said[script.byte() % len(said)])))
            case 8 | 9:
                head = bytes([script.byte()]) + IDS[1 - index]
                self.arrives(index, self.framed(other.wrapper.wrap(head, script.some(), unix_time=1)))
            case 10:
                self.now += script.byte() / 4
                self.timers()
            case 11:
                negotiation = other._newest
                if negotiation is not None and negotiation.tls is not None and negotiation.tls.up:
                    other._say(negotiation, script.some() * (1 + script.byte() ** 2 // 64))
                    other._flush(self.now)
            case 12:
                other.send_payload(script.some(), self.now)
            case 13:
                end.renegotiate(self.now)
            case 14:
                self.cut(index, 1 + script.byte())
            case 15:
                self.odd(index)
        self.collect()

    def odd(self, index: int) -> None:
        """What happens seldom: words of the server's own, an end of the connection, a goodbye, a look at what happened."""
        end, client, server = self.ends[index], self.client, self.server
        assert isinstance(server, SayingServer)
        match self.script.byte() & 7:
            case 0:
                server.keys = self.script.some()
            case 1:
                server.says = self.script.some()
            case 2:
                end.closed_by_peer(self.now)
            case 3:
                client.goodbye(self.now)
            case _:
                end.events()
                end.stalled()
                repr((end.key, end.state, end.broken, client.gateway, client.tls_version, client.certificate_acknowledged))

    def cut(self, index: int, size: int) -> None:
        """All that is under way, in chunks of a stream; of datagrams the front of each."""
        whole = list(self.flying[index])
        self.flying[index].clear()
        if not self.stream:
            for data in whole:
                self.arrives(index, data[:size])
            return
        data = b"".join(whole)[:20_000]
        for at in range(0, len(data), max(size, len(data) // 100 or 1)):
            self.arrives(index, data[at : at + max(size, len(data) // 100 or 1)])

    def changed(self, data: bytes) -> bytes:
        """Nothing, or one byte, or the length, as three bytes of the script say."""
        at, value, how = self.script.byte(), self.script.byte(), self.script.byte()
        if is_data(data) or not data or how == 0:
            return data
        at = (at | how << 8 & 0x700) % len(data)
        return (data[:at] + bytes([data[at] ^ value]) + data[at + 1 :], data[:at], data + bytes([value]) * at)[how % 3]

    def framed(self, data: bytes) -> bytes:
        return frame(data[:65535]) if self.stream else data


def session(data: bytes) -> None:
    """A script, played."""
    Play(data).run()
