"""OpenVPN in captures, over UDP and TCP: the tracker of `vpnprobe.conversations.openvpn` on whatever begins like a client's hard reset.

The wrap follows from the form of that reset. A part of the TLS stream is told by its packet ID where nothing wraps it; that the client has
got the server's key method 2 message, which is encrypted, shows in its first data packet.

Many other protocols have a first byte that is an opcode of OpenVPN. So a conversation is taken for one only where it begins with a reset of
the exact form that plain, tls-auth, tls-crypt or tls-crypt-v2 clients send, or, of data alone, on its registered port.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final, Self

from vpnprobe.capture.followers.base import (
    FLOWS_LIMIT,
    CapturedMessage,
    Flow,
    HostPort,
    PacketFollower,
    captured,
    ends_of,
    pair,
    seems_ttl_limited,
)
from vpnprobe.capture.followers.data_packets import DataPackets
from vpnprobe.capture.followers.openvpn_sizes import (
    HMAC_BYTES,
    PLAIN_RESET_BYTES,
    TLS_CRYPT_RESET_BYTES,
    WITHOUT_HMAC_BYTES,
    SizedConversations,
)
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import KeysAgreed, OpenvpnTracker, State, StreamClosed, data_suffix, describe, placed
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import openvpn_reset
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.openvpn import (
    PORT,
    ControlPacket,
    ControlV1,
    DataV1,
    DataV2,
    HardResetClientV1,
    HardResetClientV2,
    HardResetClientV3,
    Opcode,
    Packet,
    peek,
)
from vpnprobe.wire.openvpn_data import packet_number
from vpnprobe.wire.openvpn_wrap import Wrap

WRAPPED_KEY_LEAST_BYTES: Final = 100
"""A V3 reset ends with the client's wrapped key, a few hundred bytes, whose last two bytes are its length."""
V3_RESET_BYTES: Final = range(PLAIN_RESET_BYTES, 101)
"""Of a V3 reset without the wrapped key."""
FIRST_PACKET_ID: Final = b"\x00\x00\x00\x01"
"""Of the replay protection."""
MIDSTREAM_LEAST: Final = 3
"""Data packets alone are taken for OpenVPN from so many on."""
PING_BYTES: Final = 40
"""Of the whole packet, with an AEAD cipher: what is larger carries something."""
KINDS_LIMIT: Final = 2000
"""Most messages of a conversation that are told apart."""
UNKNOWN_SESSION: Final = "0" * 16
"""In place of a session ID that the capture does not hold."""
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


def wrap_of(reset: HardResetClientV1 | HardResetClientV2 | HardResetClientV3) -> str:
    """What the client's control channel is wrapped in, by the form of its reset, as checks have it; empty: nothing."""
    if isinstance(reset, HardResetClientV3):
        return Wrap.TLS_CRYPT_V2.value
    match len(reset.encode()):
        case 14:
            return ""
        case 54 if reset.body[:4] == FIRST_PACKET_ID:
            return Wrap.TLS_CRYPT.value
        case _:
            return Wrap.TLS_AUTH.value


def _check_of(message: object, transport: Transport, wrap: str, port: int) -> Check:
    return openvpn_reset(transport, port, wrap)._replace(name=placed(message)[0])


class OpenvpnConversation:
    """One conversation, or one after another between the same two ports."""

    def __init__(self, client: HostPort, server: HostPort, transport: Transport) -> None:
        name = "openvpn-udp" if transport is Transport.UDP else "openvpn-tcp"
        self.flow = Flow(name, transport, client, server)
        self.client = client
        self.tracker = OpenvpnTracker(kept_steps=0)
        self._transport = transport
        self._wrap = ""
        self._key = ""
        self._data = DataPackets(begun=False)
        self._seen: set[tuple[str, Sender, str, bool]] = set()

    def sender(self, end: HostPort) -> Sender:
        return Sender.INITIATOR if end == self.client else Sender.RESPONDER

    def captured_messages(
        self, frame: Frame, end: HostPort, packet: Packet | StreamClosed, at: float, *, size: int = 0
    ) -> Iterable[CapturedMessage]:
        """One captured message for the first of each message from each end, and one for each data packet. `size`: bytes of the packet."""
        if isinstance(packet, HardResetClientV1 | HardResetClientV2 | HardResetClientV3):
            self._begins(packet)
        if isinstance(packet, DataV1 | DataV2):
            yield from self._captured_data(frame, end, packet, at, size)
        elif isinstance(packet, ControlV1) and not self._wrap:
            yield from self._first(frame, end, replace(packet, number=_number(packet)), at)
        else:
            yield from self._first(frame, end, packet, at)

    def _begins(self, reset: HardResetClientV1 | HardResetClientV2 | HardResetClientV3) -> None:
        key = reset.session_id.hex()
        if key != self._key:
            self._key, self._wrap, self._data = key, wrap_of(reset), DataPackets(begun=True)

    def _captured_data(self, frame: Frame, end: HostPort, packet: DataV1 | DataV2, at: float, size: int) -> Iterable[CapturedMessage]:
        if self.flow.client is not None and end == self.client:
            # It can only have keys from the server's key method 2 message.
            yield from self._first(frame, self.flow.other(end), KeysAgreed(), at)
        number = packet_number(packet.encode()) or 0
        key = self._session_key(packet) + data_suffix(packet.key_id, number)
        detail = self._data.take(self.sender(end), number=number, key=key, carries=size > PING_BYTES, at=at)
        if detail is not None:
            yield replace(self._captured(frame, end, packet, at), key=key, size=size, detail=detail)

    def _first(self, frame: Frame, end: HostPort, message: Packet | StreamClosed | KeysAgreed, at: float) -> Iterable[CapturedMessage]:
        found = self._captured(frame, end, message, at)
        kind = (found.key, self.sender(end), found.message, seems_ttl_limited(frame))
        if kind not in self._seen and len(self._seen) < KINDS_LIMIT:
            self._seen.add(kind)
            yield found

    def _captured(self, frame: Frame, end: HostPort, message: Packet | StreamClosed | KeysAgreed, at: float) -> CapturedMessage:
        name, _ = describe(message)
        from_client = end == self.client if self.flow.client is not None else None
        check_of = partial(_check_of, message, self._transport, self._wrap)
        key = self._session_key(message)
        return captured(frame, check_of, key, name, from_client=from_client, at=at, sender=end, receiver=self.flow.other(end))

    def _session_key(self, message: object) -> str:
        """The client's session ID, as far as the capture shows it."""
        own = message.session_id.hex() if isinstance(message, ControlPacket) else UNKNOWN_SESSION
        return self._key or self.tracker.key or own

    def summary(self) -> ConversationSummary:
        detail = {"session_id": self.tracker.key} if self.tracker.key else {}
        return self.flow.summary(self.tracker.stage, detail)


class OpenvpnConnection(OpenvpnConversation):
    """OpenVPN on one TCP connection."""

    def __init__(self, client: HostPort, server: HostPort) -> None:
        super().__init__(client, server, Transport.TCP)
        self.flow.client = client
        self._closed = False

    @classmethod
    def begun(cls, connection: TcpConnection, sender: TcpEnd, _number: int) -> Self:
        """The follower of a connection whose first bytes are a client's reset."""
        return cls(sender, connection.other(sender))

    def take(self, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        sender = self.sender(chunk.sender)
        for packet in self.tracker.frames(sender, chunk.data, now=chunk.at, gap=chunk.gap, missing=chunk.missing):
            seen = self.tracker.saw_datagram(sender, packet, now=chunk.at)
            if not isinstance(seen, DecodeError):
                yield from self.captured_messages(frame, chunk.sender, seen, chunk.at, size=len(packet))

    def after(self, frame: Frame, connection: TcpConnection) -> Iterable[CapturedMessage]:
        """A server that closes without a byte after the client's reset has refused it."""
        if self._closed or self.tracker.state is not State.CLIENT_RESET:
            return ()
        server = self.flow.other(self.client)
        closed = connection.directions[(server[0], server[1] or 0)]
        if not closed.finished or closed.payload_bytes:
            return ()
        self._closed = True
        self.tracker.saw(Sender.RESPONDER, StreamClosed(), now=frame.at)
        return self.captured_messages(frame, server, StreamClosed(), frame.at)


class OpenvpnUdpFollower(PacketFollower):
    """All OpenVPN over UDP of a capture."""

    def __init__(self) -> None:
        self._sessions: dict[object, OpenvpnConversation] = {}
        self._sized = SizedConversations()

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        source, destination = ends_of(frame)
        return self._sized.take(frame, length) if pair(source, destination) not in self._sessions else ()

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        session = self._sessions.get(slot)
        if session is None:
            session = self._begins(source, destination, payload)
            if session is None or len(self._sessions) >= FLOWS_LIMIT:
                return None
            self._sessions[slot] = session
        packet = session.tracker.saw_datagram(session.sender(source), payload, now=frame.at)
        if isinstance(packet, DecodeError):
            return ()
        session.flow.count(frame, source)
        return session.captured_messages(frame, source, packet, frame.at, size=length)

    def _begins(self, source: HostPort, destination: HostPort, payload: bytes) -> OpenvpnConversation | None:
        if is_client_reset(payload):
            session = OpenvpnConversation(source, destination, Transport.UDP)
            session.flow.client = source
            return session
        if PORT in (source[1], destination[1]) and _is_data(payload):
            client = source if destination[1] == PORT else destination
            return OpenvpnConversation(client, destination if client == source else source, Transport.UDP)
        return None

    def summaries(self) -> Iterable[ConversationSummary]:
        for session in self._sessions.values():
            enough = sum(session.flow.counts.values()) >= MIDSTREAM_LEAST
            if session.flow.client is not None or enough:
                yield session.summary()
        yield from self._sized.summaries()


def _number(packet: ControlV1) -> int | None:
    try:
        return packet.reliable().packet_id
    except DecodeError:
        return None


def _is_data(payload: bytes) -> bool:
    try:
        return peek(payload)[0] in DATA_OPCODES and len(payload) >= 24
    except DecodeError:
        return False
