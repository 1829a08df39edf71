"""IKE and ESP in UDP by their ports and the order of their packets alone: a guess, and told as one.

IKEv2 has one exchange in clear, main mode of IKEv1 two before it moves to port 4500 and three where it does not (RFC 7296 section 1.2,
RFC 2409 section 5.1). So how often both ends speak on port 500 tells the version. On port 4500 the negotiation goes on with one exchange of
IKEv2, or with the last of main mode and three messages of quick mode; what comes after those is taken for ESP.
"""

from collections.abc import Iterable
from typing import Final

from vpnprobe.capture.account import FRAMES_TOLD, SINCE, Fact
from vpnprobe.capture.followers.base import BY_PORT, FLOWS_LIMIT, ends_of
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.isakmp import NAT_T_PORT

PORT: Final = 500
KEEPALIVE_BYTES: Final = 1
ESP_LEAST: Final = 2
"""Packets behind a negotiation from which on they are taken for ESP."""
ESP_ALONE: Final = 4
"""The same where no negotiation was seen."""
QUICK_MODE: Final = (1, 2)
"""Messages of the responder on port 4500: the last one of main mode, and with that of quick mode."""


class SizedNegotiation:
    """Two hosts."""

    def __init__(self, source: HostPort, destination: HostPort) -> None:
        self.client = source
        self._ike: Flow | None = None
        self._esp: Flow | None = None
        self._on_500 = {source[0]: 0, destination[0]: 0}
        self._on_4500 = {source[0]: 0, destination[0]: 0}
        self._ends = (source, destination)
        self._asked_bytes = 0
        """Size of the client's first message on port 4500."""
        self._waiting: list[Frame] = []
        """What the client has sent since the server said something: the first of it, and the last."""
        self._waiting_count = 0

    @property
    def _version(self) -> int:
        """As far as the messages on port 500 tell; 0: they do not."""
        asked, answered = self._on_500[self.client[0]], self._on_500[self._server]
        if asked >= 2 and answered >= 2:
            return 1
        return 2 if answered else 0

    @property
    def _server(self) -> str:
        return self._ends[1][0]

    def take(self, frame: Frame, source: HostPort, destination: HostPort, length: int) -> None:
        """Counts a datagram of which the size alone is known."""
        if PORT in (source[1], destination[1]):
            self._on_500[frame.source] = self._on_500.get(frame.source, 0) + 1
        elif length <= KEEPALIVE_BYTES:
            return
        elif not self._negotiates(frame.source, length):
            if self._esp is None:
                self._esp = Flow("esp-udp", Transport.UDP, source, destination)
            if source in self._esp.counts:
                self._esp.count(frame, source)
            return
        else:
            self._on_4500[frame.source] = self._on_4500.get(frame.source, 0) + 1
            self._asked_bytes = self._asked_bytes or length
        self._wait(frame)
        if self._ike is None:
            self._ike = Flow("ikev2", Transport.UDP, source, destination)
        same = next((end for end in self._ike.ends if end[0] == frame.source), None)
        if same is not None:
            self._ike.count(frame, same)

    def _wait(self, frame: Frame) -> None:
        if frame.source != self.client[0]:
            self._waiting, self._waiting_count = [], 0
            return
        self._waiting = [*self._waiting[: FRAMES_TOLD - 1], frame]
        self._waiting_count += 1

    def _negotiates(self, sender: str, length: int) -> bool:
        """Whether what comes on port 4500 is of the negotiation still."""
        sent = self._on_4500.get(sender, 0)
        if sent and length == self._asked_bytes and sender == self.client[0] and not self._on_4500[self._server]:
            return True  # It says the same again: nobody has answered there.
        match self._version, sender == self.client[0]:
            case 1, True:
                return sent < 1 + QUICK_MODE[1]
            case 1, False:
                return sent < QUICK_MODE[1]
            case 2, _:
                return sent < 1
        return False

    @property
    def _stage(self) -> tuple[str, str]:
        """Protocol and stage."""
        asked, answered = self._on_4500[self.client[0]], self._on_4500[self._server]
        if self._version == 1:
            if answered >= QUICK_MODE[1]:
                return "ikev1", "quick-mode-answered"
            return "ikev1", "main-complete" if answered or self._on_500[self._server] >= 3 else "main-answered"
        if self._version == 2:
            if answered:
                return "ikev2", "auth-answered"
            return "ikev2", "auth-request-unanswered" if asked else "sa_init-answered"
        return "isakmp-other", "other"

    def _facts(self) -> list[Fact]:
        """That the client's last message was not answered; empty: it was."""
        if not self._waiting:
            return []
        first, last = self._waiting[0], self._waiting[-1]
        return [
            {
                "fact": "unanswered",
                "by": "client",
                "to": "server",
                "message": "IKE_AUTH" if self._version == 2 else "message",
                "times": self._waiting_count,
                "seconds": round(max(0.0, last.at - first.at), 3),
                "bytes": first.length,
                "frames": [frame.number for frame in self._waiting],
                SINCE: last.at,
            }
        ]

    def summaries(self) -> Iterable[ConversationSummary]:
        """What it is taken for."""
        guessed = {"guessed_from": "ports"}
        if self._ike is not None:
            self._ike.protocol, stage = self._stage
            self._ike.client = next((end for end in self._ike.ends if end[0] == self.client[0]), None)
            told = {**guessed, "udp_4500": any(self._on_4500.values()), "facts": self._facts()}
            yield self._ike.summary(stage, told, [BY_PORT.format("IKE")])
        least = ESP_LEAST if self._ike is not None else ESP_ALONE
        if self._esp is not None and sum(self._esp.counts.values()) >= least:
            yield self._esp.summary(
                "both-ways" if self._esp.both_ways else "one-way", {**guessed, "spis": []}, [BY_PORT.format("ESP in UDP")]
            )


class SizedNegotiations:
    """All of a capture."""

    def __init__(self) -> None:
        self._by_hosts: dict[frozenset[str], SizedNegotiation] = {}

    def take(self, frame: Frame, length: int) -> None:
        """What a datagram of that size on port 500 or 4500 shows."""
        source, destination = ends_of(frame)
        hosts = frozenset((frame.source, frame.destination))
        if not {PORT, NAT_T_PORT} & {source[1], destination[1]} or len(hosts) < 2:
            return
        found = self._by_hosts.get(hosts)
        if found is None:
            if len(self._by_hosts) >= FLOWS_LIMIT:
                return
            found = self._by_hosts[hosts] = SizedNegotiation(source, destination)
        found.take(frame, source, destination, length)

    def summaries(self) -> Iterable[ConversationSummary]:
        """Of all hosts."""
        return (summary for one in self._by_hosts.values() for summary in one.summaries())
