"""The server agent as the probes see it: what it may be asked to send, and what it tells. The agents implement it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

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
        beside: int | None = None,
    ) -> None:
        """Has the server send fresh packets; returns when they have left.

        `to`: where to, in turn, for UDP where nothing came from the client. `call_id`: the server's, of the call to send in. `beside`: the
        number of the request, by which prompts name it: it returns at once, and one packet leaves for each prompt that comes.
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

    async def trace(self, check: Check, *, highest_ttl: int) -> TtlTrace | None:
        """TTL-limited copies of one kind of packet from the server; None: it cannot."""
        ...
