"""Packet records, refusals and traces as control messages: plain lists, checked when they come in.

What comes in is from the peer, which may be broken or hostile: anything that does not fit raises DecodeError.
"""

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.nonce import Purpose

FEW_ROWS: Final = 100
MOST_UNPACKED_BYTES: Final = 16 << 20

T = TypeVar("T")
Row = list[Any]


def check_row(check: Check) -> Row:
    return [check.probe, check.name, check.transport.value, check.port, check.variant]


def read_check(row: Sequence[Any]) -> Check:
    probe, check, transport, port, form = row
    return Check(str(probe), str(check), Transport(transport), None if port is None else int(port), str(form))


def packet_record_row(packet_record: PacketRecord) -> Row:
    return [
        packet_record.vantage.value,
        packet_record.movement.value,
        round(packet_record.at, 6),
        check_row(packet_record.check),
        packet_record.key,
        packet_record.message,
        packet_record.size,
        packet_record.ttl,
        packet_record.ttl_limited,
        packet_record.peer,
        dict(packet_record.detail),
        packet_record.purpose.value,
    ]


def read_packet_record(row: Sequence[Any]) -> PacketRecord:
    vantage, movement, at, check, key, message, size, ttl, ttl_limited, peer, detail, purpose = row
    return PacketRecord(
        Vantage(vantage),
        Movement(movement),
        float(at),
        read_check(check),
        str(key),
        str(message),
        int(size),
        None if ttl is None else _ttl(ttl),
        bool(ttl_limited),
        None if peer is None else (str(peer[0]), None if peer[1] is None else int(peer[1])),
        {str(name): value if isinstance(value, int) else str(value) for name, value in detail.items()},
        Purpose(purpose),
    )


def _ttl(value: int) -> int:
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is no TTL")
    return int(value)


def refusal_row(refusal: Refusal) -> Row:
    return [check_row(refusal.check), refusal.direction.value, refusal.kind.value, refusal.by, refusal.key]


def read_refusal(row: Sequence[Any]) -> Refusal:
    check, direction, kind, by, key = row
    return Refusal(read_check(check), Direction(direction), RefusalKind(kind), None if by is None else str(by), str(key))


def trace_row(trace: TtlTrace) -> Row:
    return [check_row(trace.check), trace.direction.value, [[ttl, address] for ttl, address in trace.hops.items()], trace.reached]


def read_trace(row: Sequence[Any]) -> TtlTrace:
    check, direction, hops, reached = row
    answered = {int(ttl): None if address is None else str(address) for ttl, address in hops}
    return TtlTrace(read_check(check), Direction(direction), answered, None if reached is None else int(reached))


def packed(rows: list[Row]) -> list[Row] | str:
    """Many rows as compressed text, since they repeat themselves: over a bad path each segment counts. Few stay as they are."""
    if len(rows) <= FEW_ROWS:
        return rows
    return base64.b64encode(zlib.compress(json.dumps(rows, separators=(",", ":")).encode())).decode()


def unpacked(rows: object) -> object:
    """The reverse of `packed`. Raises DecodeError where it cannot be read, or holds more than MOST_UNPACKED_BYTES."""
    if not isinstance(rows, str):
        return rows
    try:
        found: object = json.loads(inflated(base64.b64decode(rows, validate=True), most_bytes=MOST_UNPACKED_BYTES))
    except (ValueError, RecursionError) as error:
        raise DecodeError("rows", 0, f"cannot be unpacked: {error}") from None
    return found


def inflated(data: bytes, *, most_bytes: int) -> bytes:
    """The reverse of `zlib.compress`. Raises DecodeError where it cannot be, or gives more than `most_bytes`."""
    try:
        inflater = zlib.decompressobj()
        whole = inflater.decompress(data, most_bytes)
    except zlib.error as error:
        raise DecodeError("compressed data", 0, str(error)) from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise DecodeError("compressed data", len(whole), "is too much" if inflater.unconsumed_tail else "is cut short")
    return whole


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
