"""OpenVPN in captures, over UDP and TCP: the tracker of `vpnprobe.conversations.openvpn` on whatever begins like a client's hard reset.

The wrap follows from the form of that reset. A part of the TLS stream is told by its packet ID where nothing wraps it; that the client has
got the server's key method 2 message, which is encrypted, shows in its first data packet.

Many other protocols have a first byte that is an opcode of OpenVPN. So a conversation is taken for one only where it begins with a reset of
the exact form that plain, tls-auth, tls-crypt or tls-crypt-v2 ends send (`openvpn_forms`), or, of data alone, on its registered port. Over
TCP it is known in the middle of a stream too, by packets that follow each other (`vpnprobe.conversations.openvpn_places`).
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final, Self

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, PacketFollower, captured, ends_of, pair, seems_ttl_limited
from vpnprobe.capture.followers.data_packets import DataPackets
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.followers.openvpn_forms import (
    FIRST_PACKET_ID,
    PLAIN_RESET_BYTES,
    SERVER_PLAIN_BYTES,
    TLS_CRYPT_RESET_BYTES,
    begins_openvpn_tcp,
    is_client_reset,
    is_of_client,
    is_server_reset,
)
from vpnprobe.capture.followers.openvpn_sizes import sized_session
from vpnprobe.capture.followers.sized import SizedConversations
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.numbering import NUMBERED_LIMIT
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import KeysAgreed, OpenvpnTracker, State, StreamClosed, data_suffix, describe, placed
from vpnprobe.conversations.stream_framing import FILLED_BYTES
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import openvpn_reset
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.openvpn import (
    PORT,
    SESSION_ID,
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

MIDSTREAM_LEAST: Final = 3
"""Data packets alone are taken for OpenVPN from so many on."""
PING_BYTES: Final = 40
"""Of the whole packet, with an AEAD cipher: what is larger carries something."""
KINDS_LIMIT: Final = 2000
"""Most messages of a conversation that are told apart."""
UNKNOWN_SESSION: Final = "0" * 16
"""In place of a session ID that the capture does not hold."""
DATA_OPCODES: Final = frozenset((Opcode.DATA_V1, Opcode.DATA_V2))


def wrap_of(reset: HardResetClientV1 | HardResetClientV2 | HardResetClientV3) -> str:
    """What the client's control channel is wrapped in, by the form of its reset, as checks have it; empty: nothing."""
    if isinstance(reset, HardResetClientV3):
        return Wrap.TLS_CRYPT_V2.value
    match len(reset.encode()):
        case size if size == PLAIN_RESET_BYTES:
            return ""
        case size if size == TLS_CRYPT_RESET_BYTES and reset.body[:4] == FIRST_PACKET_ID:
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
        self.account = Account(keepalive_bytes=PING_BYTES)
        self._wrap = ""
        self._key = ""
        self._numbered: dict[tuple[HostPort, int], int] = {}
        """Frames of plain packets of the reliability layer, by sender and packet ID."""
        self._proved: set[int] = set()
        """Those of them that were acknowledged."""
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

    def saw(self, frame: Frame, end: HostPort, packet: bytes, at: float, *, size: int) -> Packet | None:
        """What a packet is, and what that says of the conversation; None: it cannot be read. `size`: its bytes on the wire."""
        sender, before = self.sender(end), self.tracker.state
        found = self.tracker.saw_datagram(sender, packet, now=at)
        if isinstance(found, DecodeError):
            return None
        is_data = isinstance(found, DataV1 | DataV2)
        # The server's data needs none of the client's.
        proves = not is_data or sender is Sender.INITIATOR
        part = isinstance(found, ControlV1)
        number = _number(found) if isinstance(found, ControlV1) and not self._wrap else None
        name, _ = describe(replace(found, number=number) if isinstance(found, ControlV1) else found)
        moved_on = self.tracker.state is not before
        self.account.saw(
            sender, name, frame, size=size, moved_on=moved_on, at=at, proves=proves, data=is_data, many=part and number is None
        )
        if isinstance(found, ControlPacket) and not self._wrap:
            self._acknowledge(frame.number, end, found)
        return found

    def _acknowledge(self, number: int, end: HostPort, packet: ControlPacket) -> None:
        """Notes which packets of the reliability layer a plain one acknowledges, and under which number it will be acknowledged."""
        try:
            layer = packet.reliable()
        except DecodeError:
            return
        for packet_id in layer.acks:
            came = self._numbered.get((self.flow.other(end), packet_id))
            if came is not None:
                self._proved.add(came)
        if layer.packet_id is not None and len(self._numbered) < KINDS_LIMIT:
            self._numbered.setdefault((end, layer.packet_id), number)

    def _begins(self, reset: HardResetClientV1 | HardResetClientV2 | HardResetClientV3) -> None:
        key = reset.session_id.hex()
        if key != self._key:
            self._key, self._wrap, self._data = key, wrap_of(reset), DataPackets(begun=True)

    def _captured_data(self, frame: Frame, end: HostPort, packet: DataV1 | DataV2, at: float, size: int) -> Iterable[CapturedMessage]:
        if self.flow.client is not None and end == self.client:
            # It can only have keys from the server's key method 2 message.
            yield from (replace(one, proved=True) for one in self._first(frame, self.flow.other(end), KeysAgreed(), at))
        counted = packet_number(packet.encode())
        self.flow.numbered(end, (self._key, packet.key_id), counted, frame)
        number = counted or 0
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

    def receipts(self) -> Iterable[int]:
        """As of `PacketFollower`."""
        return {*self.account.receipts(), *self._proved}

    def summary(self) -> ConversationSummary:
        detail = {"session_id": self.tracker.key} if self.tracker.key else {}
        self.account.refused = self.tracker.refused
        return self.flow.summary(self.tracker.stage, detail, account=self.account)


class OpenvpnConnection(OpenvpnConversation):
    """OpenVPN on one TCP connection."""

    def __init__(self, client: HostPort, server: HostPort, *, known: bool) -> None:
        """`known`: whether it is known who the client is; else `client` is a guess."""
        super().__init__(client, server, Transport.TCP)
        self.flow.client = client if known else None
        self._closed = False

    @classmethod
    def begun(cls, connection: TcpConnection, sender: TcpEnd, _number: int, head: bytes) -> Self:
        """The follower of a connection. Who opened it is the client; else a reset shows it, or the registered port."""
        if connection.opener is not None:
            client, known = connection.opener, True
        elif begins_openvpn_tcp(head, FILLED_BYTES):
            client, known = sender if is_of_client(head) else connection.other(sender), True
        else:
            of_server = [end for end in connection.ends if end[1] == PORT]
            client = connection.other(of_server[0] if len(of_server) == 1 else min(connection.ends, key=lambda end: end[1]))
            known = len(of_server) == 1
        return cls(client, connection.other(client), known=known)

    def take(self, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        sender = self.sender(chunk.sender)
        for packet in self.tracker.frames(sender, chunk.data, now=chunk.at, gap=chunk.gap, missing=chunk.missing):
            seen = self.saw(frame, chunk.sender, packet, chunk.at, size=len(packet))
            if seen is not None:
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
        self._clients: set[HostPort] = set()
        """Who has sent a reset, from where."""
        self._asked: set[bytes] = set()
        """Session IDs of clients whose first packet was seen."""
        self._sized = SizedConversations(sized_session)

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        source, destination = ends_of(frame)
        return self._sized.take(frame, length) if pair(source, destination) not in self._sessions else ()

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        session = self._sessions.get(slot)
        if session is None:
            session = self._begins(source, destination, payload, length)
            if session is None or len(self._sessions) >= FLOWS_LIMIT:
                return None
            self._sessions[slot] = session
            session.flow.counts_numbers = len(self._sessions) <= NUMBERED_LIMIT
        packet = session.saw(frame, source, payload, frame.at, size=length)
        if packet is None:
            return ()
        session.flow.count(frame, source)
        return session.captured_messages(frame, source, packet, frame.at, size=length)

    def _begins(self, source: HostPort, destination: HostPort, payload: bytes, length: int) -> OpenvpnConversation | None:
        if is_client_reset(payload, length - len(payload)):
            if len(self._asked) < FLOWS_LIMIT:
                self._asked.add(payload[1 : 1 + SESSION_ID])
                self._clients.add(source)
            return self._opened(source, destination)
        if is_server_reset(payload, length - len(payload)):
            # Between other addresses than its request it is of the same conversation, seen before and behind a NAT; to the very client
            # that asked somebody else it is an answer from elsewhere.
            behind = length == SERVER_PLAIN_BYTES and payload[-4 - SESSION_ID : -4] in self._asked and destination not in self._clients
            return None if behind else self._opened(destination, source)
        if PORT in (source[1], destination[1]) and _is_data(payload):
            client = source if destination[1] == PORT else destination
            return OpenvpnConversation(client, destination if client == source else source, Transport.UDP)
        return None

    def receipts(self) -> Iterable[int]:
        return (number for session in self._sessions.values() for number in session.receipts())

    @staticmethod
    def _opened(client: HostPort, server: HostPort) -> OpenvpnConversation:
        session = OpenvpnConversation(client, server, Transport.UDP)
        session.flow.client = client
        return session

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
