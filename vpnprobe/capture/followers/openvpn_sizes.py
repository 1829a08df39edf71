"""OpenVPN by the sizes of its packets and its port alone, as printed traces and captures of headers show them: a guess, and told as one.

A client's hard reset has one of a few sizes: 14 bytes, with tls-auth as many more as its HMAC and 8, with tls-crypt 54; the server's answer
has 12 more, for what it acknowledges. So a conversation is known where a reset is answered so, on whatever port, or is sent to OpenVPN's
own. Nothing tells data from the rest of a handshake by size, so data is told only once more packets went each way than handshakes have. On
OpenVPN's own port what begins in the middle is taken for data.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import BY_SIZES, CapturedMessage, captured
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import OpenvpnTracker, describe
from vpnprobe.conversations.stream_framing import LENGTH_BYTES
from vpnprobe.evidence.checks import openvpn_reset
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.openvpn import PORT, AckV1, ControlV1, DataV2, HardResetClientV2, HardResetServerV2, Packet
from vpnprobe.wire.openvpn_wrap import Wrap

PLAIN_RESET_BYTES: Final = 14
TLS_CRYPT_RESET_BYTES: Final = 54
WITHOUT_HMAC_BYTES: Final = 22
"""Of a tls-auth reset; its HMAC comes to that."""
HMAC_BYTES: Final = frozenset((16, 20, 28, 32, 48, 64))
RESET_BYTES: Final = frozenset((PLAIN_RESET_BYTES, TLS_CRYPT_RESET_BYTES, *(WITHOUT_HMAC_BYTES + size for size in HMAC_BYTES)))
ACKNOWLEDGED_BYTES: Final = 12
"""By so many is the server's reset longer: one packet ID, and the client's session ID."""
V3_RESET_LEAST: Final = 150
"""A reset of tls-crypt-v2 carries the client's wrapped key; the server answers as with tls-crypt."""
NEGOTIATION_BYTES: Final = 6
"""By so many is an answer longer that asks for the wrapped key once more (`EARLY_NEG_FLAGS`)."""
ACK_BYTES: Final = range(22, 51, 4)
"""P_ACK_V1 with one to eight packet IDs, as far as nothing wraps it."""
ANSWER_WITHIN_S: Final = 60.0
"""A client gives up after that time (`hand-window`)."""
HANDSHAKE_MOST: Final = 40
"""Packets of one end; no handshake has so many."""
MIDSTREAM_LEAST: Final = 3
DATA_LEAST: Final = 24
"""Bytes of the shortest data packet."""
NOT_OURS: Final = 148
"""Bytes of the first message of another protocol that is found on any port; no first packet of OpenVPN's is as long."""
REPEATED_AFTER_S: Final = 1.0
"""No end repeats a packet sooner that is not acknowledged (it begins with 2 s); what comes sooner and is as long is another one."""
_SESSION: Final = bytes(8)


class SizedConversation:
    """One pair of addresses and ports of which sizes alone are known."""

    def __init__(self, source: HostPort, destination: HostPort, transport: Transport, size: int) -> None:
        name = "openvpn-udp" if transport is Transport.UDP else "openvpn-tcp"
        self.flow = Flow(name, transport, source, destination)
        self.on_port = PORT in (source[1], destination[1])
        self.begins = destination[1] != source[1] and source[1] != PORT and (size in RESET_BYTES or size >= V3_RESET_LEAST)
        """Whether its first packet may be a reset."""
        self.client = source if source[1] != PORT else destination
        self._transport = transport
        self._reset = size
        self._asked_at: float | None = None
        self._answered = False
        self._gone_on = False
        """Whether the client has said something else since it was answered."""
        self._tracker = OpenvpnTracker(kept_steps=0)
        self._account = Account()
        self._sent = {source: 0, destination: 0}
        self._parts: dict[HostPort, tuple[int, int, float]] = {}
        """The last part of the handshake that each end sent: its size, the number that it got, and when it came."""
        self._held: list[CapturedMessage] = []
        self._told: set[str] = set()
        """Messages that have been given out, by name: one of each."""

    @property
    def known(self) -> bool:
        if self._answered:
            return True
        certain = self._reset in RESET_BYTES or self._sent[self.client] > 1
        return self.on_port and (certain if self.begins else sum(self._sent.values()) >= MIDSTREAM_LEAST)

    def take(self, frame: Frame, source: HostPort, size: int) -> Iterable[CapturedMessage]:
        """What a packet of that size shows. `size`: without the length that stands before it in TCP."""
        self._sent[source] += 1
        message = self._message(source, size, frame.at)
        if message is None:
            return ()
        sender = Sender.INITIATOR if source == self.client else Sender.RESPONDER
        before = self._tracker.state
        self._tracker.saw(sender, message, now=frame.at)
        moved_on, is_data = self._tracker.state is not before, isinstance(message, DataV2)
        self._account.saw(sender, describe(message)[0], frame, size=size, moved_on=moved_on, proves=not is_data, data=is_data)
        if isinstance(message, HardResetClientV2 | HardResetServerV2):
            self._hold(frame, source, message)
        if not self.known:
            return ()
        if self.begins:
            self.flow.client = self.client
        found, self._held = self._held, []
        return found

    def _message(self, source: HostPort, size: int, at: float) -> Packet | None:
        """A packet of the kind that the size tells; None: it tells none."""
        if not self.begins:
            return DataV2(0, b"") if size >= DATA_LEAST else None
        if source == self.client and not self._gone_on and size == self._reset:
            self._asked_at = at
            return HardResetClientV2(_SESSION, bytes(5))
        asked = self._asked_at is not None and 0 <= at - self._asked_at <= ANSWER_WITHIN_S
        if source != self.client and not self._gone_on and asked and size in (self._answer, self._answer + NEGOTIATION_BYTES):
            self._answered = True
            return HardResetServerV2(_SESSION, bytes(5))
        if not self._answered:
            return None
        self._gone_on = self._gone_on or source == self.client
        if min(self._sent.values()) > HANDSHAKE_MOST and size >= DATA_LEAST:
            return DataV2(0, b"")
        if size - (self._answer - PLAIN_RESET_BYTES - ACKNOWLEDGED_BYTES) in ACK_BYTES:
            return AckV1(_SESSION, b"")
        return ControlV1(_SESSION, b"", number=self._part(source, size, at))

    def _part(self, source: HostPort, size: int, at: float) -> int:
        """A number for a part of the handshake: a new one, but for what is as long as the one before and late enough to repeat it."""
        before, number, last_at = self._parts.get(source, (0, 0, at))
        if size != before or at - last_at < REPEATED_AFTER_S:
            number = self._sent[source] - 1
        self._parts[source] = size, number, at
        return number

    @property
    def _answer(self) -> int:
        """Bytes of the server's reset."""
        return (self._reset if self._reset in RESET_BYTES else TLS_CRYPT_RESET_BYTES) + ACKNOWLEDGED_BYTES

    def _hold(self, frame: Frame, source: HostPort, message: Packet) -> None:
        """One message of each kind, until it is known to be OpenVPN."""
        name, _ = describe(message)
        if name in self._told:
            return
        self._told.add(name)
        check_of = partial(_check_of, self._transport, self._wrap)
        found = captured(frame, check_of, self._key, name, from_client=source == self.client, recurs=True)
        self._held.append(replace(found, source=source, destination=self.flow.other(source)))

    @property
    def _key(self) -> str:
        """In the place of the session ID, which is not known: the ports, which are another attempt's just as well."""
        return f"{self.client[1] or 0:08x}"

    @property
    def _wrap(self) -> str:
        """What the control channel is wrapped in, as far as the size of its reset tells."""
        if self._reset == PLAIN_RESET_BYTES:
            return ""
        if self._reset not in RESET_BYTES:
            return Wrap.TLS_CRYPT_V2.value
        return Wrap.TLS_CRYPT.value if self._reset == TLS_CRYPT_RESET_BYTES else Wrap.TLS_AUTH.value

    def summary(self) -> ConversationSummary:
        return self.flow.summary(self._tracker.stage, {"guessed_from": "sizes"}, [BY_SIZES.format("OpenVPN")], account=self._account)


def _check_of(transport: Transport, wrap: str, port: int) -> Check:
    return openvpn_reset(transport, port, wrap)


def sized_session(source: HostPort, destination: HostPort, size: int) -> SizedConversation | None:
    """A session over UDP that may begin so; None: its first packet is none of OpenVPN's."""
    session = SizedConversation(source, destination, Transport.UDP, size)
    return session if session.begins or (session.on_port and size != NOT_OURS) else None


class SizedConnection:
    """One TCP connection: each segment that carries something is taken for one packet, as it is while a session is set up."""

    def __init__(self, source: HostPort, destination: HostPort, size: int) -> None:
        self._conversation = SizedConversation(source, destination, Transport.TCP, size - LENGTH_BYTES)
        self.flow = self._conversation.flow

    @property
    def may_be(self) -> bool:
        return self._conversation.begins or self._conversation.on_port

    def take_unseen(self, frame: Frame, sender: HostPort, length: int) -> Iterable[CapturedMessage]:
        """What a segment shows of which the length alone is known."""
        return self._conversation.take(frame, sender, length - LENGTH_BYTES)

    def summary(self) -> ConversationSummary | None:
        return self._conversation.summary() if self._conversation.known else None
