"""What the followers of all protocols share: captured messages and the interfaces.

A `CapturedMessage` becomes a packet record once client, server and vantage are known. A `Flow` (`followers.flows`) counts the frames of one
conversation and becomes its summary. Both are bounded in number: a capture of a scan must not fill the memory.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from vpnprobe.capture.followers.flows import Flow, HostPort, Moved
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire.nonce import Purpose

FLOWS_LIMIT: Final = 50_000
"""Most conversations of one protocol that are followed in one capture."""
SMALL_TTL: Final = 32
FOLLOWS: Final = "follows"
"""Name in the detail of a data packet: the session of the packet of the other direction that it seems to answer."""
MIDSTREAM: Final = "midstream"
"""Name in the detail of a data packet of a session whose beginning the capture does not hold."""
BY_SIZES: Final = "A guess: only the sizes of its packets are known, and they are those of {}'s messages."
"""What is told of a conversation that nothing but sizes shows; takes the protocol's name."""
BY_PORT: Final = "A guess: no bytes of its packets are known, only their sizes and their port, which is {}'s."
"""The same where the port is what shows it."""
CheckOfPort = Callable[[int], Check]
"""The check that a packet belongs to, by the server's port."""


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """One packet or message on the wire."""

    number: int
    """Of its frame."""
    at: float
    source: HostPort
    destination: HostPort
    check_of: CheckOfPort
    key: str
    message: str = ""
    size: int = 0
    ttl: int | None = None
    identification: int | None = None
    protocol: int = 0
    """IP protocol number."""
    detail: Mapping[str, int | str] = field(default_factory=dict)
    from_client: bool | None = None
    """Whether the message itself shows its sender to be the client (True) or the server (False); None: it does not."""
    own_key: str = ""
    """The key that counts instead where the capture is of a run of ours, which uses every such nonce once; empty: `key` does."""
    recurs: bool = False
    """Whether `key` may come again in another attempt, so that it does not show two captures to be of the same one."""
    own: bool = False
    """Whether this is a payload of ours."""
    purpose: Purpose = Purpose.REACH
    """What such a payload says that it is for."""
    proved: bool = False
    """Whether it came to the other end, as that end shows by what it says next: what only this tells of it is known from that."""


def captured(
    frame: Frame,
    check_of: CheckOfPort,
    key: str,
    message: str = "",
    *,
    detail: Mapping[str, int | str] | None = None,
    from_client: bool | None = None,
    sender: HostPort | None = None,
    receiver: HostPort | None = None,
    at: float | None = None,
    own_key: str = "",
    recurs: bool = False,
    own: bool = False,
    purpose: Purpose = Purpose.REACH,
) -> CapturedMessage:
    """What a frame shows, or a message that `frame` completes; `sender` and `receiver` where those are not the frame's own."""
    source_port, destination_port = frame.ports
    return CapturedMessage(
        number=frame.number,
        at=frame.at if at is None else at,
        source=sender or (frame.source, source_port),
        destination=receiver or (frame.destination, destination_port),
        check_of=check_of,
        key=key,
        message=message,
        size=frame.length,
        ttl=frame.ttl,
        identification=frame.identification,
        protocol=frame.protocol,
        detail=detail or {},
        from_client=from_client,
        own_key=own_key,
        recurs=recurs,
        own=own,
        purpose=purpose,
    )


def seems_ttl_limited(frame: Frame) -> bool:
    """Whether the TTL is so small that the packet may be a copy which was meant to expire on the way."""
    return frame.ttl is not None and frame.ttl <= SMALL_TTL


def always(check: Check) -> CheckOfPort:
    """The same check whatever the port."""
    return lambda _port: check


class PacketFollower:
    """Follows all conversations of one protocol that are not in TCP. What a protocol does not have gives nothing."""

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        """What a frame shows whose IP protocol is the follower's own."""
        return ()

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """What a UDP datagram shows; None: it is none of this protocol. `length`: bytes of the payload on the wire.

        A follower may come to know a datagram for its own only when its conversation is known, so each is offered in the order of the list.
        """
        return None

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        """What the size of a UDP datagram shows of which no byte is known, as of most in printed traces. `length`: of its payload."""
        return ()

    def summaries(self) -> Iterable[ConversationSummary]:
        """The conversations so far."""
        return ()

    def moved(self) -> Iterable[Moved]:
        """Conversations an end of which went on from another address or port."""
        return ()

    def receipts(self) -> Iterable[int]:
        """Numbers of frames that are proved to have come to the other end, by what that said later."""
        return ()

    def clientless(self) -> Iterable[Flow]:
        """Flows in which nothing shows who the client is, since either end may speak first: what passes beside them may tell."""
        return ()


class SizedStream(Protocol):
    """Follows one TCP connection of which lengths alone are known."""

    flow: Flow

    @property
    def may_be(self) -> bool:
        """Whether its first segment may be of the protocol."""
        ...

    def take_unseen(self, frame: Frame, sender: HostPort, length: int) -> Iterable[CapturedMessage]:
        """What a segment shows. `length`: of its payload."""
        ...

    def summary(self) -> ConversationSummary | None:
        """The conversation so far, as a guess; None: it is none of this protocol."""
        ...


BeginSizedStream = Callable[[HostPort, HostPort, int], SizedStream]
"""Makes the follower of a connection by sender, receiver and length of its first segment that carries something."""


class StreamFollower(Protocol):
    """Follows one TCP connection of a protocol."""

    flow: Flow

    def take(self, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        """What a chunk shows. `frame`: the one that completed it."""
        ...

    def after(self, frame: Frame, connection: TcpConnection) -> Iterable[CapturedMessage]:
        """What a frame shows besides its data: the end of the connection."""
        ...

    def receipts(self) -> Iterable[int]:
        """Numbers of frames that completed messages which are proved to have come to the other end."""
        ...

    def summary(self) -> ConversationSummary | None:
        """The conversation so far; None: it is none of this protocol after all."""
        ...


BeginStream = Callable[[TcpConnection, TcpEnd, int, bytes], StreamFollower]
"""Makes the follower of a connection, of the end whose bytes show the protocol, the number of the frame that does, and these bytes."""


def ends_of(frame: Frame) -> tuple[HostPort, HostPort]:
    """Sender and receiver with their ports."""
    source_port, destination_port = frame.ports
    return (frame.source, source_port), (frame.destination, destination_port)


def pair(first: HostPort, second: HostPort) -> tuple[HostPort, HostPort]:
    """The same for both directions."""
    return (first, second) if (first[0], first[1] or 0) <= (second[0], second[1] or 0) else (second, first)
