"""Packet records by hand: what one end sent and what of it came at the other, in few words."""

from collections.abc import Iterable, Sequence

from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction, Observation, Transport

C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH
CLIENT, SERVER = Vantage.CLIENT, Vantage.SERVER
SENT, RECEIVED = Movement.SENT, Movement.RECEIVED
CLEAR = {C2S: Background(0, 2000), S2C: Background(0, 2000)}
"""A background without loss, long enough to prove a block with four packets."""


def keys(count: int, *, start: int = 0) -> list[str]:
    """`count` nonces."""
    return [f"{number:024x}" for number in range(start + 1, start + count + 1)]


def seen(
    vantage: Vantage,
    movement: Movement,
    check: Check,
    names: Iterable[str],
    *,
    message: str = "",
    at: float = 0.0,
    step_s: float = 0.01,
    ttl_limited: bool = False,
    ttl: int | None = None,
    detail: dict[str, int | str] | None = None,
) -> list[PacketRecord]:
    """One packet record a key, `step_s` apart."""
    return [
        PacketRecord(vantage, movement, at + number * step_s, check, key, message, 14, ttl, ttl_limited, None, detail or {})
        for number, key in enumerate(names)
    ]


def trip(
    check: Check, way: Direction, sent: Sequence[str], came: Sequence[str], *, message: str = "", at: float = 0.0
) -> list[PacketRecord]:
    """What the sender's and the receiver's record say of packets in one direction."""
    sender, receiver = (CLIENT, SERVER) if way is C2S else (SERVER, CLIENT)
    return [
        *seen(sender, SENT, check, sent, message=message, at=at),
        *seen(receiver, RECEIVED, check, came, message=message, at=at + 0.001),
    ]


def ends(
    packet_records: Iterable[PacketRecord], *, refusals: Sequence[Refusal] = (), recorded: bool = True, sees: bool = False
) -> tuple[EndRecord, EndRecord]:
    """The two records; `refusals` go to the end that sent the refused packet."""
    rows = list(packet_records)
    return (
        EndRecord(
            tuple(s for s in rows if s.vantage is CLIENT), tuple(r for r in refusals if r.direction is not S2C), sees_closed_ports=sees
        ),
        EndRecord(
            tuple(s for s in rows if s.vantage is SERVER),
            tuple(r for r in refusals if r.direction is S2C),
            recorded=recorded,
            sees_closed_ports=sees,
        ),
    )


def facts_with(
    *,
    ports: dict[tuple[Transport, int], PortState] | None = None,
    background: dict[Direction, Background] | None = None,
    joined: bool = True,
) -> PathFacts:
    return PathFacts(ports=ports or {}, background=CLEAR if background is None else background, joined=joined)


def judged(
    packet_records: Iterable[PacketRecord],
    facts: PathFacts | None = None,
    *,
    refusals: Sequence[Refusal] = (),
    recorded: bool = True,
    sees: bool = False,
) -> dict[str, Observation]:
    """The observations by their ids."""
    client, server = ends(packet_records, refusals=refusals, recorded=recorded, sees=sees)
    found = judge(client, server, facts_with() if facts is None else facts)
    assert len({observation.id for observation in found}) == len(found)
    return {observation.id: observation for observation in found}
