"""One probe packet, or one message of a conversation, as one end saw it leave or come.

Packet records are what the two agents exchange over the control channel and what a capture is decoded into. The join is by `check` (what
is being asked) and `key` (the nonce): a packet record at the server whose key the client never sent counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vpnprobe.evidence.checks import Check
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.nonce import Purpose

__all__ = ["BLOCK", "NUMBERS", "Check", "Movement", "PacketRecord", "Vantage"]

BLOCK: Final = "block"
"""In the detail of what left at a moment drawn within a block: the number of that block."""
NUMBERS: Final = frozenset(
    {BLOCK, "call_id", "exchange_type", "initial_sequence", "peer_call_id", "result_code", "tunnel_id", "unexpected"}
)
"""What is a number in the detail of a packet record, by name; anything else may be a text too."""


class Vantage(StrEnum):
    """Which end saw it."""

    CLIENT = "client"
    SERVER = "server"


class Movement(StrEnum):
    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class PacketRecord:
    """One packet or message at one end."""

    vantage: Vantage
    movement: Movement
    at: float
    """Seconds: since the run began at that end (live), or Unix time (offline)."""
    check: Check
    key: str
    """The nonce: of the packet (our payload, SPI and number, LCP magic number) or of the conversation (session ID, SPI, host name)."""
    message: str = ""
    """The message's name in the standard (SCCRQ, P_ACK_V1, ...); empty for a plain probe payload."""
    size: int = 0
    """Bytes of the IP payload's own payload (UDP payload, GRE packet, ...)."""
    ttl: int | None = None
    """IP TTL as sent or as it arrived; None: not known."""
    ttl_limited: bool = False
    """A copy sent with a TTL too small to arrive, to find a place: no trial of the path, and no loss."""
    peer: tuple[str, int | None] | None = None
    """Address and port of the other end as seen from here (a NAT shows itself as a difference)."""
    detail: Mapping[str, int | str] = field(default_factory=dict)
    """Numbers in the message that matter to a join: call_id, peer_call_id, result_code, notify, ..."""
    purpose: Purpose = Purpose.REACH
    """What our own payload in it says that it is for; of packets without one REACH, and TRACE where its sender limited the TTL."""
    local: tuple[str, int | None] | None = None
    """Address and port of this end itself, as it has them; None: not known. Held against the other end's `peer` it shows NATs."""

    @property
    def direction(self) -> Direction:
        from_client = (self.vantage is Vantage.CLIENT) == (self.movement is Movement.SENT)
        return Direction.C2S if from_client else Direction.S2C
