"""WireGuard by the sizes of its messages alone, as printed traces and captures of headers show them.

An initiation has 148 bytes and its response 92, which no data message has (whitepaper section 5.4): those have 32 and a multiple of 16, up
to the tunnel's MTU. So a conversation is known where an answer of 92 bytes follows 148 within the time after which an initiation is
repeated, and then data of its initiator, which has to send some first; or where 148 bytes are sent again and again that far apart, and
nothing else. What begins in the middle is not known. Nothing tells its data messages apart, so that nothing is counted of them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import BY_SIZES, CapturedMessage, captured
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import WireguardTracker, answers_of, describe, index_of
from vpnprobe.conversations.wireguard_session import REKEY_TIMEOUT_S
from vpnprobe.evidence.checks import wireguard_handshake
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.wireguard import (
    BLOCK,
    EMPTY_DATA,
    SIZES,
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    MessageType,
    TransportData,
    WireguardMessage,
)

REPEATED_LEAST: Final = 3
"""Initiations, and their answers, are taken for WireGuard from so many on."""
REPEATED_AFTER_S: Final = (REKEY_TIMEOUT_S - 0.1, REKEY_TIMEOUT_S + 1.0)
"""Between two of them: peers add up to a third of a second, and a text has the time at which the packet was captured."""
LARGE: Final = 1000
"""Bytes from which on a data message may be as long as the MTU makes it."""
ATTEMPTS_LIMIT: Final = 2000
"""Most initiations of one conversation that are kept."""


class SizedConversation:
    """One pair of addresses and ports of which sizes alone are known."""

    def __init__(self, source: HostPort, destination: HostPort) -> None:
        self.flow = Flow("wireguard", Transport.UDP, source, destination)
        self.flow.client = source
        self.known = False
        self._tracker = WireguardTracker(kept_steps=0)
        self._account = Account(keepalive_bytes=EMPTY_DATA)
        self._asked: dict[HostPort, float] = {}
        """When each end has sent its last initiation that is not answered."""
        self._answered: HostPort | None = None
        """Whose initiation the last message has answered."""
        self._attempts = 0
        self._evenly = 1
        """Initiations one after the other as far apart as they are repeated, and their answers; 0: something else was sent."""
        self._held: list[CapturedMessage] = []
        """Messages of handshakes, until it is known to be WireGuard."""

    def take(self, frame: Frame, source: HostPort, length: int) -> Iterable[CapturedMessage]:
        message = self._message(source, length, frame.at)
        answered, self._answered = self._answered, None
        if message is None or (isinstance(message, TransportData) and not self.known and answered != source):
            self._evenly = 0
            return ()
        sender = Sender.INITIATOR if source == self.flow.client else Sender.RESPONDER
        before = self._tracker.state
        self._tracker.saw(sender, message, now=frame.at)
        moved_on, data = self._tracker.state is not before, isinstance(message, TransportData)
        self._account.saw(
            sender,
            describe(message)[0],
            frame,
            size=length,
            moved_on=moved_on,
            data=data,
            key=index_of(message),
            answers=answers_of(message),
        )
        if isinstance(message, HandshakeInitiation):
            self._begins(source, frame.at)
        elif isinstance(message, HandshakeResponse):
            self._answered = self.flow.other(source)
            self._evenly += bool(self._evenly)
            del self._asked[self._answered]
        elif isinstance(message, TransportData):
            self.known = True
        if not isinstance(message, TransportData) and self._attempts <= ATTEMPTS_LIMIT:
            self._hold(frame, source, message)
        if not self.known:
            return ()
        found, self._held = self._held, []
        return found

    def _message(self, source: HostPort, length: int, at: float) -> WireguardMessage | None:
        """A message of the kind that the size tells; None: none of WireGuard's that may come then."""
        asked = self._asked.get(self.flow.other(source))
        awaited = asked is not None and 0 <= at - asked <= REPEATED_AFTER_S[1]
        if length == SIZES[MessageType.HANDSHAKE_INITIATION]:
            return HandshakeInitiation(0, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16))
        if length == SIZES[MessageType.HANDSHAKE_RESPONSE]:
            return HandshakeResponse(0, 0, bytes(32), bytes(16), bytes(16), bytes(16)) if awaited else None
        if length == SIZES[MessageType.COOKIE_REPLY] and awaited:
            return CookieReply(0, bytes(24), bytes(32))
        is_data = length >= LARGE or (length >= EMPTY_DATA and (length - EMPTY_DATA) % BLOCK == 0)
        return TransportData(0, 0, bytes(BLOCK)) if is_data else None

    def _begins(self, source: HostPort, at: float) -> None:
        apart = at - self._asked.get(source, at - REPEATED_AFTER_S[1])
        if apart < REPEATED_AFTER_S[0] or not self._evenly:
            self._evenly = 0
        elif self._attempts:
            self._evenly = self._evenly + 1 if apart <= REPEATED_AFTER_S[1] else 1
        self._asked[source] = at
        self._attempts += 1
        self.known = self.known or self._evenly >= REPEATED_LEAST

    def _hold(self, frame: Frame, source: HostPort, message: WireguardMessage) -> None:
        """Attempts are numbered, in the place of the index that real ones have."""
        found = captured(frame, wireguard_handshake, f"{self._attempts:08x}", describe(message)[0], recurs=True)
        self._held.append(replace(found, size=frame.length - 8, from_client=source == self.flow.client))

    def summary(self) -> ConversationSummary:
        return self.flow.summary(self._tracker.stage, {"guessed_from": "sizes"}, [BY_SIZES.format("WireGuard")], account=self._account)


def sized_session(source: HostPort, destination: HostPort, length: int) -> SizedConversation | None:
    """A session that may begin so; None: it begins with something else."""
    return SizedConversation(source, destination) if length == SIZES[MessageType.HANDSHAKE_INITIATION] else None
