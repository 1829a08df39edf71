"""The server agent as the probes see it: what it may be asked to send, and what it tells. The agents implement it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

from vpnprobe.endpoint.probe_packets import Suspect
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, TtlTrace
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction, Transport


class Job(StrEnum):
    """Packets that the server agent is asked to send."""

    BARE_GRE = "gre-bare"
    IN_CALL_GRE = "gre-in-call"
    ESP = "esp"
    UDP = "udp"
    ESP_IN_UDP = "esp-in-udp"
    UNSOLICITED = "udp-unsolicited"
    """To ports of the client's that have sent nothing."""
    DATA = "data"
    """In the newest conversation at a UDP port: one more echo request through its tunnel."""


ONE_FLOW: Final = frozenset({Job.BARE_GRE, Job.IN_CALL_GRE, Job.ESP})
"""Nothing in them tells flows apart that all devices look at."""


class Peer(Protocol):
    """The server agent, as the probes see it."""

    @property
    def rtt_s(self) -> float:
        """Round-trip time of the control channel, seconds; the least that was measured."""
        ...

    @property
    def answers_in_s(self) -> float:
        """How long it takes to answer now, nearly always, seconds: the way there and back, and what it has else to do."""
        ...

    @property
    def refreshed_at(self) -> float:
        """When the record was asked for that is known here, on the client's clock; minus infinity: not yet."""
        ...

    def clock(self, began: float) -> tuple[float, float] | None:
        """How far the times in its record are ahead of those since `began` here, and how far that may be out, seconds; None: not known."""
        ...

    @property
    def no_raw(self) -> str:
        """Why it can neither send nor see GRE and ESP; empty: it can."""
        ...

    async def send(
        self,
        job: Job,
        *,
        count: int,
        spacing_s: float,
        port: int = 0,
        to: Sequence[tuple[str, int]] = (),
        call_id: int = 0,
        key: str = "",
        beside: int | None = None,
        sizes: Sequence[int] = (),
    ) -> None:
        """Has the server send fresh packets; returns when they have left.

        `to`: where to, in turn, for UDP where nothing came from the client. `call_id`: the server's, of the call to send in. `key`: of the
        conversation to send in. `beside`: the number of the request, by which prompts name it: it returns at once, and one packet leaves
        for each prompt that comes. `sizes`: of the IP packets in their order, bytes; 0, or none told: as small as they are by themselves.
        """
        ...

    async def refresh(self) -> EndRecord:
        """The server's whole record as it stands."""
        ...

    def own_addresses(self, target: str) -> Mapping[Transport, str]:
        """By protocol: the server's own address at which what is sent to `target` comes to it, as far as it is known."""
        ...

    def background(self) -> Mapping[Direction, Background]:
        """Loss of the control channel's own segments, by direction, as it stands."""
        ...

    @property
    def control_ports(self) -> tuple[int, int] | None:
        """Ports of the control connection here and there; None: it is none of this host's sockets."""
        ...

    async def trace(
        self, passing: Check, suspects: Sequence[Suspect], *, highest_ttl: int, loss: Background, starved: bool
    ) -> list[TtlTrace]:
        """TTL-limited copies from the server: of what passes and of each suspect. Empty: it cannot.

        `loss`: of what is answered. `starved`: routers have refused it, and may have few answers left.
        """
        ...
