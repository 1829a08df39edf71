"""A pair of WireGuard ends in memory and virtual time; what is lost is up to a function."""

import random
from collections.abc import Callable
from typing import Final

from wireguard_under_load import LoadedResponder

from vpnprobe.conversations.tunnel_echo import MOST_ECHOES
from vpnprobe.conversations.wireguard_ends import Initiator, Responder
from vpnprobe.conversations.wireguard_session import MOST_UNREADABLE, WireguardEnd
from vpnprobe.wire.wireguard_noise import Identity, public_key

UNIX_TIME: Final = 1_800_000_000.0
INDEX: Final = b"\x01\x02\x03\x04"
_ENTROPY: Final = random.Random(5).randbytes
CLIENT_KEY, SERVER_KEY, PRESHARED = _ENTROPY(32), _ENTROPY(32), _ENTROPY(32)
AT_CLIENT: Final = Identity(CLIENT_KEY, public_key(SERVER_KEY), PRESHARED)
AT_SERVER: Final = Identity(SERVER_KEY, public_key(CLIENT_KEY), PRESHARED)
Lost = Callable[[WireguardEnd, bytes], bool]
"""Whether a datagram of that sender is lost."""


def initiator(*, identity: Identity = AT_CLIENT, echoes: int = 12, seed: int = 1, index: bytes = INDEX) -> Initiator:
    return Initiator(identity, index=index, entropy=random.Random(seed).randbytes, unix_time_at_zero=UNIX_TIME, echoes=echoes)


def responder(*, identity: Identity = AT_SERVER, echoes: int = 6, wants_cookie: bool = False) -> LoadedResponder:
    return LoadedResponder(
        identity, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME, echoes=echoes, wants_cookie=wants_cookie
    )


def assert_bounded(end: WireguardEnd) -> None:
    """What a peer says has made nothing grow."""
    assert len(end._keypairs) <= 2
    assert len(end.tracker.steps) <= end.tracker.KEPT_STEPS
    assert len(end.run.requests) <= end.run.count
    assert end.requests_answered <= MOST_ECHOES
    assert end.unreadable <= MOST_UNREADABLE


class Pair:
    """Both ends, and what went between them."""

    def __init__(self, client: Initiator | None = None, server: Responder | None = None, *, lost: Lost = lambda *_: False) -> None:
        self.client = client or initiator()
        self.server = server or responder()
        self.now = 0.0
        self.said: list[tuple[WireguardEnd, bytes]] = []
        self._lost = lost
        self.client.start(self.now)
        self.server.start(self.now)

    def deliver(self) -> None:
        """Until neither has anything to say at this moment."""
        while any(self._say(one, other) for one, other in ((self.client, self.server), (self.server, self.client))):
            pass

    def cross(self) -> "Pair":
        """Each end begins a handshake before it hears of the other's."""
        for end in (self.client, self.server):
            end._begin(self.now)
        waiting = [(one, other, one.data_to_send(self.now)) for one, other in ((self.client, self.server), (self.server, self.client))]
        for sender, receiver, said in waiting:
            for data in said:
                self._carry(sender, receiver, data)
        return self

    def _say(self, sender: WireguardEnd, receiver: WireguardEnd) -> bool:
        waiting = sender.data_to_send(self.now)
        for data in waiting:
            self._carry(sender, receiver, data)
        return bool(waiting)

    def _carry(self, sender: WireguardEnd, receiver: WireguardEnd, data: bytes) -> None:
        self.said.append((sender, data))
        if not self._lost(sender, data):
            receiver.receive(data, self.now)

    def run(self, *, until: float = 3.0) -> "Pair":
        """All that falls due up to then."""
        self.deliver()
        while (due := self.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.client.handle_timer(self.now)
            self.server.handle_timer(self.now)
            self.deliver()
        self.now = max(self.now, until)
        return self

    def next_timer(self) -> float | None:
        timers = (self.client.next_timer(), self.server.next_timer())
        return min((timer for timer in timers if timer is not None), default=None)

    def sizes(self, sender: WireguardEnd) -> list[int]:
        return [len(data) for one, data in self.said if one is sender]
