"""What an end's own firewall takes of the packets that come to it, though it lets others of their kind in: by size, by chance, by rate.

It came to the host, so for the path it arrived; and it never came to the program there, so no program's silence about it says anything.
Pure.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.check_rows import fields_of, one_of, text_of, whole_number
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.observations.schema import Transport

Slot = tuple[Transport, int | None]
"""Protocol, and the server's port; None: the protocol has none."""
WITH_PORTS: Final = (Transport.UDP, Transport.TCP)
WITHOUT_PORTS: Final = (Transport.GRE, Transport.ESP)
MOST_BYTES: Final = 1 << 16
MOST_PACKETS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Taken:
    """Of the packets of one protocol, and with ports of one port of the server's, that came to one end."""

    transport: Transport
    port: int | None
    """The server's; None: the protocol has none."""
    taken: int
    """Came to the host and not to the program."""
    came: int
    """Came to the host."""
    smallest_taken: int
    """Bytes of the IP packet."""
    largest_let_in: int
    """Bytes of the IP packet; 0: none was let in."""

    @property
    def slot(self) -> Slot:
        return self.transport, self.port


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A datagram that was taken, of which only the end that sent it knows what it was."""

    digest: str
    at: float
    """Seconds, as in packet records."""


@dataclass(frozen=True, slots=True)
class TakenPackets:
    """All that was taken at one end."""

    parts: tuple[Taken, ...] = ()
    """How many of which: where there are enough to be told."""
    packets: tuple[PacketRecord, ...] = ()
    """What is known by name: as if the end had got it."""
    unnamed: tuple[Unnamed, ...] = ()

    def messages(self, check: Check) -> frozenset[tuple[str, str]]:
        """Message and key of what was taken of a check."""
        return frozenset((s.message, s.key) for s in self.packets if s.check == check)

    def of(self, slots: Collection[Slot]) -> Taken | None:
        """Of one of these protocols and ports; None: nothing was taken of them, or hardly anything."""
        return next((part for part in self.parts if part.slot in slots), None)


NOTHING_TAKEN: Final = TakenPackets()


def taken_row(one: Taken) -> list[Any]:
    return [one.transport.value, one.port, one.taken, one.came, one.smallest_taken, one.largest_let_in]


def read_taken(row: object) -> Taken:
    """Raises DecodeError, and nothing else."""
    transport, port, *counts = fields_of(row, "taken", 6)
    came = whole_number(counts[1], "came", 1, MOST_PACKETS)
    taken = whole_number(counts[0], "taken", 1, came)
    smallest, largest = (whole_number(size, "size", 0, MOST_BYTES) for size in counts[2:])
    protocol = one_of(Transport, transport, "transport")
    if protocol not in (WITHOUT_PORTS if port is None else WITH_PORTS):
        raise DecodeError("port", 0, f"does not go with {protocol}")
    asked = None if port is None else whole_number(port, "port", 0, 65535)
    return Taken(protocol, asked, taken, came, smallest, largest)


def unnamed_row(one: Unnamed) -> list[Any]:
    return [one.digest, round(one.at, 6)]


def read_unnamed(row: object) -> Unnamed:
    """Raises DecodeError, and nothing else."""
    digest, at = fields_of(row, "unnamed", 2)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e11:
        raise DecodeError("unnamed", 0, "is at no time")
    return Unnamed(text_of(digest, "digest"), float(at))
