"""Sightings, refusals and traces as control messages: plain lists, checked when they come in.

What comes in is from the peer, which may be broken or hostile: anything that does not fit raises DecodeError.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.records import Refusal, RefusalKind, Trace
from vpnprobe.evidence.sightings import Movement, Question, Sighting, Vantage
from vpnprobe.observations.schema import Direction, Transport

T = TypeVar("T")
Row = list[Any]


def question_row(question: Question) -> Row:
    return [question.probe, question.check, question.transport.value, question.port, question.form]


def read_question(row: Sequence[Any]) -> Question:
    probe, check, transport, port, form = row
    return Question(str(probe), str(check), Transport(transport), None if port is None else int(port), str(form))


def sighting_row(sighting: Sighting) -> Row:
    return [
        sighting.vantage.value,
        sighting.movement.value,
        round(sighting.at, 6),
        question_row(sighting.question),
        sighting.key,
        sighting.message,
        sighting.size,
        sighting.ttl,
        sighting.stepped,
        sighting.peer,
        dict(sighting.detail),
    ]


def read_sighting(row: Sequence[Any]) -> Sighting:
    vantage, movement, at, question, key, message, size, ttl, stepped, peer, detail = row
    return Sighting(
        Vantage(vantage),
        Movement(movement),
        float(at),
        read_question(question),
        str(key),
        str(message),
        int(size),
        None if ttl is None else _ttl(ttl),
        bool(stepped),
        None if peer is None else (str(peer[0]), None if peer[1] is None else int(peer[1])),
        {str(name): value if isinstance(value, int) else str(value) for name, value in detail.items()},
    )


def _ttl(value: int) -> int:
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is no TTL")
    return int(value)


def refusal_row(refusal: Refusal) -> Row:
    return [question_row(refusal.question), refusal.direction.value, refusal.kind.value, refusal.by, refusal.key]


def read_refusal(row: Sequence[Any]) -> Refusal:
    question, direction, kind, by, key = row
    return Refusal(read_question(question), Direction(direction), RefusalKind(kind), None if by is None else str(by), str(key))


def trace_row(trace: Trace) -> Row:
    return [question_row(trace.question), trace.direction.value, [[ttl, address] for ttl, address in trace.hops.items()], trace.reached]


def read_trace(row: Sequence[Any]) -> Trace:
    question, direction, hops, reached = row
    answered = {int(ttl): None if address is None else str(address) for ttl, address in hops}
    return Trace(read_question(question), Direction(direction), answered, None if reached is None else int(reached))


def read_all(rows: object, read: Callable[[Sequence[Any]], T]) -> list[T]:
    """Every row of a list. Raises DecodeError where one does not fit."""
    if not isinstance(rows, list):
        raise DecodeError("rows", 0, "is not a list")
    result = []
    for number, row in enumerate(rows):
        try:
            result.append(read(row))
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            raise DecodeError("row", number, f"does not fit: {error}") from None
    return result
