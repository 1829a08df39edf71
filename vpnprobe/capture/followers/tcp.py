"""TCP connections in captures: how each came up, and the VPN protocols within.

Every SYN, SYN-ACK and RST is a captured message of its port's reach. A connection is read on while its first bytes may still be of a VPN
protocol; the segments of others are counted and dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.followers.base import CapturedMessage, captured
from vpnprobe.capture.followers.base import End as FlowEnd
from vpnprobe.capture.followers.openvpn import TcpSession, looks_like_openvpn_tcp
from vpnprobe.capture.followers.pptp import ControlConnection, looks_like_pptp
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import Chunk, Connection, End, connection_key
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire import fingerprint
from vpnprobe.wire.ip import TcpFlag
from vpnprobe.wire.pptp import PORT as PPTP_PORT

RESET: Final = "RST"
"""The message of a captured message that is a refusal of a SYN."""
CONNECTIONS_LIMIT: Final = 50_000
"""Most connections that are remembered in one capture."""


@dataclass(slots=True)
class _Followed:
    connection: Connection
    frames: dict[FlowEnd, int] = field(default_factory=dict)
    """Counted before the protocol is known."""
    first: Frame | None = None
    last: Frame | None = None
    pptp: ControlConnection | None = None
    openvpn: TcpSession | None = None
    given_up: bool = False
    """The first bytes were seen and are of no VPN protocol."""


class TcpFollower:
    """All TCP of a capture."""

    def __init__(self) -> None:
        self._followed: dict[object, _Followed] = {}
        self._finished: list[_Followed] = []

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        segment, slot = frame.tcp, connection_key(frame)
        if segment is None or slot is None:
            return
        followed = self._followed.get(slot)
        begins = segment.has(TcpFlag.SYN) and not segment.has(TcpFlag.ACK)
        if followed is not None and begins and self._is_another(followed, frame):
            self._finished.append(followed)
            followed = None
        if followed is None:
            if len(self._followed) + len(self._finished) >= CONNECTIONS_LIMIT:
                return
            followed = self._followed[slot] = _Followed(Connection(frame))
        yield from self._handshake(followed, frame)
        yield from self._content(followed, frame)

    def _is_another(self, followed: _Followed, frame: Frame) -> bool:
        """Whether a SYN reuses the ports of an earlier connection, rather than repeats its SYN."""
        sender: End = (frame.source, frame.ports[0] or 0)
        first = followed.connection.directions[sender].first_sequence
        assert frame.tcp is not None
        return first is not None and first != frame.tcp.sequence

    def _handshake(self, followed: _Followed, frame: Frame) -> Iterable[CapturedMessage]:
        segment = frame.tcp
        assert segment is not None
        if (initial := fingerprint.initial_sequence(segment)) is not None:
            message = "SYN-ACK" if segment.has(TcpFlag.ACK) else "SYN"
            yield captured(frame, tcp_reach, fingerprint.attempt(initial), message, from_client=message == "SYN")
        elif segment.has(TcpFlag.RST) and followed.connection.opener is not None:
            opener = followed.connection.directions[followed.connection.opener]
            server = followed.connection.directions[followed.connection.other(opener.sender)]
            from_server = (frame.source, segment.source_port) == server.sender
            if from_server and server.first_sequence is None and opener.first_sequence is not None:
                yield captured(frame, tcp_reach, fingerprint.attempt(opener.first_sequence), RESET, from_client=False)

    def _content(self, followed: _Followed, frame: Frame) -> Iterable[CapturedMessage]:
        if followed.given_up:
            return
        sender: End = (frame.source, frame.ports[0] or 0)
        flow = followed.pptp.flow if followed.pptp else followed.openvpn.flow if followed.openvpn else None
        if flow is not None:
            flow.count(frame, sender)
        else:
            followed.frames[sender] = followed.frames.get(sender, 0) + 1
            followed.first = followed.first or frame
            followed.last = frame
        for chunk in followed.connection.take(frame):
            yield from self._chunk(followed, frame, chunk)
        if followed.openvpn is not None:
            yield from followed.openvpn.ended(frame, followed.connection)

    def _chunk(self, followed: _Followed, frame: Frame, chunk: Chunk) -> Iterable[CapturedMessage]:
        if followed.pptp is None and followed.openvpn is None:
            yield from self._recognise(followed, frame, chunk)
        if followed.pptp is not None:
            yield from followed.pptp.take(frame, chunk)
        elif followed.openvpn is not None:
            yield from followed.openvpn.take(frame, chunk)

    def _recognise(self, followed: _Followed, frame: Frame, chunk: Chunk) -> Iterable[CapturedMessage]:
        connection = followed.connection
        if looks_like_pptp(chunk.data) or any(port == PPTP_PORT for _, port in connection.ends):
            followed.pptp = self._control_connection(followed, frame)
            followed.pptp.flow.adopt(followed.frames, followed.first)
        elif looks_like_openvpn_tcp(chunk.data):
            followed.openvpn = TcpSession(chunk.sender, connection.other(chunk.sender))
            followed.openvpn.flow.adopt(followed.frames, followed.first)
        elif (ours := identify.nonce(tcp_reach(chunk.sender[1]), chunk.data)) is not None:
            yield captured(frame, tcp_reach, ours.key, "payload", at=chunk.at, from_client=chunk.sender == connection.opener, own=True)
        else:
            followed.given_up = True

    def _control_connection(self, followed: _Followed, frame: Frame) -> ControlConnection:
        connection = followed.connection
        opener = connection.opener
        first = connection.directions[opener].first_sequence if opener is not None else None
        fallback = fingerprint.attempt(first) if first is not None else f"from-{frame.number}"
        return ControlConnection(*connection.ends, opener=opener, fallback_key=fallback)

    def summaries(self) -> Iterable[ConversationSummary]:
        for followed in (*self._finished, *self._followed.values()):
            if followed.pptp is not None and followed.pptp.seen:
                yield followed.pptp.summary()
            elif followed.openvpn is not None:
                yield followed.openvpn.summary()
            elif not followed.given_up and any(port == PPTP_PORT for _, port in followed.connection.ends):
                yield from self._silent(followed)

    def _silent(self, followed: _Followed) -> Iterable[ConversationSummary]:
        """A connection on port 1723 that came up and shows no control message: they were all before the capture."""
        if followed.connection.opener is None and followed.first is not None:
            connection = self._control_connection(followed, followed.first)
            connection.flow.adopt(followed.frames, followed.first, followed.last)
            yield connection.summary()
