"""What an end of an OpenVPN session says: control packets of its negotiations, wrapped and numbered, and data packets.

Whatever an end has to say is put in the outbox by `_flush`, which follows everything that comes or falls due. Nothing grows by what the
peer does: beyond the window packets wait, and where too many wait the session has failed.
"""

import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vpnprobe.conversations.contract import ConversationEnd, Sender
from vpnprobe.conversations.openvpn import OpenvpnTracker, data_name
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_negotiation import Negotiation, Stage, Wrapping
from vpnprobe.conversations.openvpn_reliable import Reliability
from vpnprobe.conversations.openvpn_tls import TlsFailed
from vpnprobe.wire.openvpn import AckV1, ControlPacket, ControlV1, DataV1, DataV2, Reliable, SoftResetV1, decode_openvpn, frame
from vpnprobe.wire.openvpn_data import Compression, DataChannel, packet_number
from vpnprobe.wire.openvpn_framing import Framing
from vpnprobe.wire.openvpn_keying import KeySource
from vpnprobe.wire.openvpn_wrap import Wrapper

CONTROL_PAYLOAD: Final = 1100
"""Bytes of the TLS stream in one control packet: with every wrap it stays within OpenVPN's `max-packet-size`, 1250."""
RETRANSMIT_AFTER_S: Final = 1.0
DATA_HEAD: Final = 8
"""Bytes of a data packet up to its packet ID, of either version."""
PACKET_ID_BITS: Final = 32
MOST_WAITING: Final = 256
"""Control packets that may wait for a place in the window: the longest chain of certificates needs fewer."""
KEPT_STEPS: Final = 8_000


class SendingEnd(ConversationEnd[OpenvpnTracker], ABC):
    """The half of one end that speaks, and what it knows."""

    def __init__(
        self,
        *,
        session_id: bytes,
        stream: bool,
        wrapping: Wrapping,
        context: ssl.SSLContext,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        retransmit_after_s: float = RETRANSMIT_AFTER_S,
    ) -> None:
        """`session_id`: ours, 8 random bytes; `unix_time_at_zero`: Unix time when the caller's clock shows 0."""
        super().__init__(OpenvpnTracker(kept_steps=KEPT_STEPS))
        self.session_id = session_id
        self.stream = stream
        self.wrapping = wrapping
        self.wrapper: Wrapper = wrapping.wrapper(server=self.SENDER is Sender.RESPONDER)
        self.remote_session_id: bytes | None = None
        self.stage = Stage.IDLE
        self.failure: Failure | None = None
        """The first; None: none so far."""
        self.peer_closed = False
        self.bytes_received = 0
        self.unreadable = 0
        """Packets whose HMAC does not fit our key, or that cannot be read otherwise."""
        self.renegotiations_asked = 0
        self.pings_received = 0
        self.options_replies = 0
        """Answers to OPTIONS_REQUEST: data goes both ways, whoever answers echo requests."""
        self.peer_id: int | None = None
        self.framing = Framing()
        self.framing_seen: tuple[Compression, bool] | None = None
        """How the peer's first data packet that shows it is framed, and whether with a fragment header; None: none has."""
        self.largest_control_bytes = 0
        self.largest_control_received = 0
        """Bytes of the largest control packet of the peer's that could be read, without what carries it."""
        self.progress = 0
        """Grows with what comes for the first time and leads on: repetitions do not count."""
        self._context = context
        self._entropy = entropy
        self._unix_time_at_zero = unix_time_at_zero
        self._retransmit_after_s = retransmit_after_s
        self._negotiations: dict[int, Negotiation] = {}
        self._begun: Counter[int] = Counter()
        """How many negotiations were begun, by key ID."""
        self._first = b""
        """What came first, as far as its opcode."""
        self._acknowledged_by: bytes | None = None
        """The session that acknowledged a packet of ours; None: none did."""

    def renegotiate(self, now: float) -> bool:
        """Begins a negotiation of new keys by a soft reset; False: the last one has no keys yet, and nothing is begun."""
        if self._newest is None or self._newest.channel is None:
            return False
        self._renew(self._newest)
        self._flush(now)
        return True

    @abstractmethod
    def _all_acknowledged(self, negotiation: Negotiation, now: float) -> None:
        """The peer has everything that we said in a negotiation whose keys are made."""

    def _renew(self, newest: Negotiation) -> None:
        """Begins the next negotiation. Two live: this one, and the one whose keys are in use until then."""
        self._negotiations = {newest.key_id: newest}
        self._begin_negotiation(newest.next_key_id).reliability.queue(SoftResetV1)

    @property
    def _newest(self) -> Negotiation | None:
        return next(reversed(self._negotiations.values()), None)

    def _begin_negotiation(self, key_id: int) -> Negotiation:
        reliability = Reliability(stream=self.stream, retransmit_after_s=self._retransmit_after_s)
        pre_master = self._entropy(48) if self.SENDER is Sender.INITIATOR else b""
        own = KeySource(pre_master, self._entropy(32), self._entropy(32))
        self._negotiations[key_id] = negotiation = Negotiation(key_id, reliability, own, turn=self._begun[key_id])
        self._begun[key_id] += 1
        return negotiation

    def _flush(self, now: float) -> None:
        """Puts everything that is to leave into the outbox."""
        for negotiation in list(self._negotiations.values()):
            self._pack_tls(negotiation)
            for kind, number, payload in negotiation.reliability.to_send(now):
                acks = negotiation.reliability.acknowledgments(with_payload=True)
                self._send_control(kind, negotiation.key_id, Reliable(acks, self.remote_session_id if acks else None, number, payload), now)
            while negotiation.reliability.has_acknowledgments:
                acks = negotiation.reliability.acknowledgments(with_payload=False)
                self._send_control(AckV1, negotiation.key_id, Reliable(acks, self.remote_session_id, None), now)
            if negotiation.channel is not None and negotiation.reliability.all_acknowledged:
                self._all_acknowledged(negotiation, now)

    def _pack_tls(self, negotiation: Negotiation) -> None:
        """Cuts what TLS has to say into control packets."""
        waiting = negotiation.tls.to_send() if negotiation.tls is not None else b""
        while waiting:
            room, kind = self._room_and_kind(negotiation)
            negotiation.reliability.queue(kind, waiting[:room])
            waiting = waiting[room:]
        if negotiation.reliability.waiting > MOST_WAITING:
            self._fail(FailureCode.TLS_BROKEN, f"the peer leaves more than {MOST_WAITING} packets unacknowledged")

    def _room_and_kind(self, negotiation: Negotiation) -> tuple[int, type[ControlPacket]]:
        """Bytes of the TLS stream that the next control packet takes, and what it is."""
        return CONTROL_PAYLOAD, ControlV1

    def _send_control(self, kind: type[ControlPacket], key_id: int, layer: Reliable, now: float) -> None:
        head = bytes([kind.opcode << 3 | key_id]) + self.session_id
        data = self.wrapper.wrap(head, layer.encode(), unix_time=int(now + self._unix_time_at_zero))
        packet = kind(self.session_id, data[len(head) :], key_id)
        data = self._with_wrapped_key(packet, data)
        self._saw(self.SENDER, packet, layer, now, len(data))
        self._emit(data)

    def _with_wrapped_key(self, packet: ControlPacket, data: bytes) -> bytes:
        """The packet as it goes out; a tls-crypt-v2 client adds its wrapped key to some."""
        return data

    def _emit(self, data: bytes) -> None:
        self.largest_control_bytes = max(self.largest_control_bytes, len(data))
        self._outbox.append(frame(data) if self.stream else data)

    def send_payload(self, payload: bytes, now: float) -> str | None:
        """Sends one tunnel packet and returns the name of the last that carries it (`data_name`); None: there are no keys yet."""
        negotiation = self._in_use
        if negotiation is None or negotiation.channel is None:
            return None
        for part in self.framing.add(payload, channel=negotiation.channel.overhead):
            data = negotiation.channel.seal(part)
            self._outbox.append(frame(data) if self.stream else data)
        self._saw_data(self.SENDER, data, now, negotiation.turn)  # Parts of one packet are one trial.
        return data_name(negotiation.key_id, _number(data, negotiation.turn))

    @property
    def channel(self) -> DataChannel | None:
        """The newest whose keys the peer has too, to send under; None: there is none yet."""
        return self._in_use.channel if self._in_use is not None else None

    @property
    def _in_use(self) -> Negotiation | None:
        return next((negotiation for negotiation in reversed(self._negotiations.values()) if negotiation.in_use), None)

    def _saw(self, sender: Sender, packet: ControlPacket, layer: Reliable, now: float, size: int) -> None:
        self.tracker.saw(sender, replace(packet, body=b"", number=layer.packet_id), now=now, size=size)

    def _saw_data(self, sender: Sender, data: bytes, now: float, turn: int, *, answers: str | None = None) -> None:
        """Keeps the head alone: what follows the packet ID is long, and nobody reads it again."""
        packet = decode_openvpn(data[:DATA_HEAD])
        assert isinstance(packet, DataV1 | DataV2)
        self.tracker.saw(sender, replace(packet, number=_number(data, turn), answers=answers), now=now, size=len(data))

    def _say(self, negotiation: Negotiation, plain: bytes, *, last: bool = False) -> None:
        """Says something inside TLS, where that can still be. `last`: also once the session has failed."""
        try:
            if negotiation.tls is not None and (last or self.failure is None):
                negotiation.tls.write(plain)
        except TlsFailed as failed:
            self._fail(failed.failure.code, failed.failure.detail)

    def _reach(self, stage: Stage) -> None:
        self.stage = max(self.stage, stage)

    def _fail(self, code: FailureCode, detail: str = "") -> None:
        """The first failure stays."""
        if self.failure is None:
            self.failure = Failure(code, detail)


def _number(data: bytes, turn: int) -> int | None:
    """The packet ID, which begins anew with each negotiation, above it how often the key ID served before."""
    number = packet_number(data)
    return None if number is None else turn << PACKET_ID_BITS | number
