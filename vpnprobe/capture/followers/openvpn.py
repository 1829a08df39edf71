"""OpenVPN in captures, over UDP and TCP: the tracker of `vpnprobe.conversations.openvpn` on whatever begins like a client's hard reset.

Many other protocols have a first byte that is an opcode of OpenVPN. So a conversation is taken for one only where it begins with a reset of
the exact form that plain, tls-auth, tls-crypt or tls-crypt-v2 clients send, or, of data alone, on its registered port.
"""

from collections.abc import Iterable
from typing import Final

from vpnprobe.capture.followers.base import TALKS_LIMIT, Ask, End, Spot, Talk, ends_of, pair, seems_stepped, spot
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import Chunk, Connection
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import OpenvpnTracker, State, StreamClosed
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.messages import describe
from vpnprobe.evidence.questions import openvpn_reset
from vpnprobe.evidence.sightings import Question
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.openvpn import PORT, ControlPacket, Opcode, Packet, peek, split_frames

PLAIN_RESET_BYTES: Final = 14
TLS_CRYPT_RESET_BYTES: Final = 54
WRAPPED_KEY_LEAST_BYTES: Final = 100
"""A V3 reset ends with the client's wrapped key, a few hundred bytes, whose last two bytes are its length."""
V3_RESET_BYTES: Final = range(PLAIN_RESET_BYTES, 101)
"""Of a V3 reset without the wrapped key."""
WITHOUT_HMAC_BYTES: Final = 22
"""Of a tls-auth reset; its HMAC comes to that."""
HMAC_BYTES: Final = frozenset((16, 20, 28, 32, 48, 64))
FIRST_PACKET_ID: Final = b"\x00\x00\x00\x01"
"""Of the replay protection."""
MIDSTREAM_LEAST: Final = 3
"""Data packets alone are taken for OpenVPN from so many on."""
DATA_OPCODES: Final = frozenset((Opcode.DATA_V1, Opcode.DATA_V2))


def is_client_reset(packet: bytes) -> bool:
    """Whether a packet (without a TCP length) has the form of a client's hard reset."""
    try:
        opcode, key_id, _ = peek(packet)
    except DecodeError:
        return False
    if key_id != 0:
        return False
    size = len(packet)
    if opcode in (Opcode.HARD_RESET_CLIENT_V2, Opcode.HARD_RESET_CLIENT_V1):
        if size == PLAIN_RESET_BYTES:
            return packet[9:] == bytes(5)
        if size == TLS_CRYPT_RESET_BYTES and packet[9:13] == FIRST_PACKET_ID:
            return True
        return size - WITHOUT_HMAC_BYTES in HMAC_BYTES and packet[-5:] == bytes(5)
    wrapped_key = int.from_bytes(packet[-2:], "big")
    return opcode is Opcode.HARD_RESET_CLIENT_V3 and wrapped_key >= WRAPPED_KEY_LEAST_BYTES and size - wrapped_key in V3_RESET_BYTES


def looks_like_openvpn_tcp(chunk: bytes) -> bool:
    """Whether a stream that begins with `chunk` begins with a client's reset."""
    length = int.from_bytes(chunk[:2], "big")
    return len(chunk) >= 2 + length and is_client_reset(chunk[2 : 2 + length])


def _ask(transport: Transport) -> Ask:
    def question(port: int) -> Question:
        return openvpn_reset(transport, port)

    return question


class _Session:
    """One conversation."""

    def __init__(self, client: End, server: End, transport: Transport) -> None:
        name = "openvpn-udp" if transport is Transport.UDP else "openvpn-tcp"
        self.talk = Talk(name, transport, client, server)
        self.client = client
        self.tracker = OpenvpnTracker()
        self._ask = _ask(transport)
        self._seen: set[tuple[Sender, str, bool]] = set()

    def sender(self, end: End) -> Sender:
        return Sender.INITIATOR if end == self.client else Sender.RESPONDER

    def spots(self, frame: Frame, end: End, packets: Iterable[Packet | StreamClosed], at: float) -> Iterable[Spot]:
        """One spot for the first of each kind of message from each end."""
        for packet in packets:
            name, _ = describe(packet)
            kind = (self.sender(end), name, seems_stepped(frame))
            if kind not in self._seen:
                self._seen.add(kind)
                key = self.tracker.key or (packet.session_id.hex() if isinstance(packet, ControlPacket) else "")
                from_client = end == self.client if self.talk.client is not None else None
                yield spot(frame, self._ask, key, name, from_client=from_client, at=at, sender=end, receiver=self.talk.other(end))

    def summary(self) -> ConversationSummary:
        detail = {"session_id": self.tracker.key} if self.tracker.key else {}
        return self.talk.summary(self.tracker.state.value, detail)


class TcpSession(_Session):
    """OpenVPN on one TCP connection."""

    def __init__(self, client: End, server: End) -> None:
        super().__init__(client, server, Transport.TCP)
        self.talk.client = client
        self._closed = False
        self._rest: dict[End, bytes] = {client: b"", server: b""}

    def take(self, frame: Frame, chunk: Chunk) -> Iterable[Spot]:
        for packet in self._packets(chunk):
            seen = self.tracker.saw_datagram(self.sender(chunk.sender), packet, now=chunk.at)
            if not isinstance(seen, DecodeError):
                yield from self.spots(frame, chunk.sender, (seen,), chunk.at)

    def _packets(self, chunk: Chunk) -> list[bytes]:
        """The packets that a chunk completes. Behind a gap in the capture the next packet most likely begins with its segment."""
        before = b"" if chunk.after_gap else self._rest[chunk.sender]
        try:
            packets, self._rest[chunk.sender] = split_frames(before + chunk.data)
        except DecodeError:
            self._rest[chunk.sender] = b""
            return []
        return packets

    def ended(self, frame: Frame, connection: Connection) -> Iterable[Spot]:
        """A server that closes without a byte after the client's reset has refused it."""
        server = self.talk.other(self.client)
        closed = connection.directions[(server[0], server[1] or 0)]
        if self._closed or not closed.finished or closed.payload_bytes or self.tracker.state is not State.CLIENT_RESET:
            return ()
        self._closed = True
        self.tracker.saw(Sender.RESPONDER, StreamClosed(), now=frame.at)
        return self.spots(frame, server, (StreamClosed(),), frame.at)


class UdpFollower:
    """All OpenVPN over UDP of a capture."""

    def __init__(self) -> None:
        self._sessions: dict[object, _Session] = {}

    def take(self, frame: Frame, payload: bytes) -> Iterable[Spot]:
        """Nothing where the datagram is of no conversation that begins like OpenVPN."""
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        session = self._sessions.get(slot)
        if session is None:
            session = self._begins(source, destination, payload)
            if session is None or len(self._sessions) >= TALKS_LIMIT:
                return ()
            self._sessions[slot] = session
        packet = session.tracker.saw_datagram(session.sender(source), payload, now=frame.at)
        if isinstance(packet, DecodeError):
            return ()
        session.talk.count(frame, source)
        return session.spots(frame, source, (packet,), frame.at)

    def _begins(self, source: End, destination: End, payload: bytes) -> _Session | None:
        if is_client_reset(payload):
            session = _Session(source, destination, Transport.UDP)
            session.talk.client = source
            return session
        if PORT in (source[1], destination[1]) and _is_data(payload):
            client = source if destination[1] == PORT else destination
            return _Session(client, destination if client == source else source, Transport.UDP)
        return None

    def follows(self, frame: Frame) -> bool:
        """Whether the frame belongs to a conversation that is followed."""
        return pair(*ends_of(frame)) in self._sessions

    def summaries(self) -> Iterable[ConversationSummary]:
        for session in self._sessions.values():
            enough = sum(session.talk.counts.values()) >= MIDSTREAM_LEAST
            if session.talk.client is not None or enough:
                yield session.summary()


def _is_data(payload: bytes) -> bool:
    try:
        return peek(payload)[0] in DATA_OPCODES and len(payload) >= 24
    except DecodeError:
        return False
