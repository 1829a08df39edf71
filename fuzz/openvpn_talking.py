"""Fuzz target: both ends of the conversation. The bytes are a script of what the path, the clock and a peer that has the keys do.

The first byte chooses stream, wrap, the two ends' ciphers, and whether the tunnel is up at the start. Then each step is a byte, the upper
bit of which names the end that it is about and the lower four the step, and the step's own bytes.
"""

from functools import cache
from ssl import SSLContext
from typing import ClassVar, Final

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
from playing import Play, Script
from test_conversations_openvpn_hostile import assert_bounded

from vpnprobe.conversations.openvpn_session import SessionEnd
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import frame

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


class OpenvpnPlay(Play[SessionEnd]):
    """A client and a server."""

    MOST_SENT_AT_ONCE: ClassVar[int] = 1 << 20

    def __init__(self, data: bytes) -> None:
        script = Script(data)
        first = script.byte()
        self.stream, self.wrap = bool(first & 1), WRAPS[(first >> 1 & 7) % len(WRAPS)]
        ciphers = (Cipher.AES_128_GCM,) if first & 0x20 else CIPHERS
        pair = fresh(self.wrap, stream=self.stream, offer=WITH_NAME if first & 0x10 else None, ciphers=ciphers)
        self.client, self.server = pair.client, pair.server
        super().__init__(script, (pair.client, pair.server), settled=bool(first & 0x80))

    def assert_bounded(self, end: SessionEnd) -> None:
        assert_bounded(end)

    def run(self) -> None:
        super().run()
        for end in self.ends:
            end.events()
            end.closed_by_peer(self.now)
            end.stalled()
        self.now += 1000.0
        self.timers()

    def does(self, what: int, index: int) -> None:
        end, other, script = self.ends[index], self.ends[1 - index], self.script
        match what:
            case 7:
                said = recorded(self.wrap, self.stream)[1 - index]
                self.arrives(index, self.framed(self.changed(said[script.byte() % len(said)])))
            case 8 | 9:
                head = bytes([script.byte()]) + IDS[1 - index]
                self.arrives(index, self.framed(other.wrapper.wrap(head, script.some(), unix_time=1)))
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
        """Data packets stay as they are: those are the target data_channel's."""
        told = super().changed(data)
        return data if is_data(data) else told

    def framed(self, data: bytes) -> bytes:
        return frame(data[:65535]) if self.stream else data


def session(data: bytes) -> None:
    """A script, played."""
    OpenvpnPlay(data).run()
