"""Packet records, refusals and traces as control messages: plain lists, checked when they come in.

What comes in is from the peer, which may be broken, hostile, or newer. It is held against the table of checks: a row about a check that the
table does not have is set aside and told (`read_known`), anything else that does not fit raises DecodeError.
"""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.check_rows import LONGEST_TEXT, Row, UnknownCheck, check_row, fields_of, one_of, read_check, text_of, whole_number
from vpnprobe.evidence.lateness import Lateness
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_records import NUMBERS, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.nonce import Purpose

FEW_ROWS: Final = 100
MOST_UNPACKED_BYTES: Final = 16 << 20
MOST_DETAILS: Final = 32
MOST_UNKNOWN: Final = 100
"""Names of checks that are kept of those that this version does not have."""
HIGHEST_PURPOSE: Final = max(Purpose)
LARGEST: Final = (1 << 64) - 1
"""Of a number in a detail."""
MOST_BYTES: Final = 1 << 24
"""Of one message: streams have some that no packet could hold."""
MOST_HOPS: Final = 255
LATEST_S: Final = 1e11
"""Unix time of the year 5138."""

T = TypeVar("T")


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
        {name: value[:LONGEST_TEXT] if isinstance(value, str) else value for name, value in packet_record.detail.items()},
        packet_record.purpose.value,
    ]


def read_packet_record(row: object) -> PacketRecord:
    """Raises UnknownCheck and DecodeError, and nothing else."""
    vantage, movement, at, check, key, message, size, ttl, ttl_limited, peer, detail, purpose = fields_of(row, "row", 12)
    asked = read_check(check)
    if not isinstance(ttl_limited, bool):
        raise DecodeError("ttl_limited", 0, "is neither true nor false")
    return PacketRecord(
        one_of(Vantage, vantage, "vantage"),
        one_of(Movement, movement, "movement"),
        _moment(at),
        asked,
        text_of(key, "key"),
        text_of(message, "message"),
        whole_number(size, "size", 0, MOST_BYTES),
        None if ttl is None else whole_number(ttl, "ttl", 0, 255),
        ttl_limited,
        None if peer is None else _endpoint(peer),
        _detail(detail),
        _purpose(purpose),
    )


def _purpose(value: object) -> Purpose:
    number = whole_number(value, "purpose", 0, HIGHEST_PURPOSE)
    try:
        return Purpose(number)
    except ValueError:
        return Purpose.OTHER  # Of a newer peer: it counts for nothing, as in the payload itself.


def _endpoint(row: object) -> tuple[str, int | None]:
    address, port = fields_of(row, "peer", 2)
    return text_of(address, "address"), None if port is None else whole_number(port, "port", 0, 65535)


def _detail(found: object) -> dict[str, int | str]:
    """At most MOST_DETAILS numbers and texts; what is a number by its name must be one."""
    if not isinstance(found, dict) or len(found) > MOST_DETAILS:
        raise DecodeError("detail", 0, "is no table, or one with too much in it")
    return {text_of(name, "detail"): _detail_value(name, value) for name, value in found.items()}


def _detail_value(name: str, value: object) -> int | str:
    if name in NUMBERS or not isinstance(value, str):
        return whole_number(value, name, -LARGEST, LARGEST)
    return text_of(value, name)


def refusal_row(refusal: Refusal) -> Row:
    return [check_row(refusal.check), refusal.direction.value, refusal.kind.value, refusal.by, refusal.key]


def read_refusal(row: object) -> Refusal:
    """Raises UnknownCheck and DecodeError, and nothing else."""
    check, direction, kind, by, key = fields_of(row, "refusal", 5)
    asked = read_check(check)
    source = None if by is None else text_of(by, "by")
    return Refusal(asked, one_of(Direction, direction, "direction"), one_of(RefusalKind, kind, "kind"), source, text_of(key, "key"))


def lateness_row(lateness: Lateness) -> Row:
    return [round(lateness.from_s, 6), round(lateness.to_s, 6)]


def read_lateness(row: object) -> Lateness:
    """Raises DecodeError, and nothing else."""
    return Lateness(*_from_to(row, "lateness"))


def queue_row(queue: OwnQueue) -> Row:
    return [round(queue.from_s, 6), round(queue.to_s, 6)]


def read_queue(row: object) -> OwnQueue:
    """Raises DecodeError, and nothing else."""
    return OwnQueue(*_from_to(row, "queue"))


def _from_to(row: object, name: str) -> tuple[float, float]:
    began, ended = (_moment(field) for field in fields_of(row, name, 2))
    if ended < began:
        raise DecodeError(name, 0, "ends before it begins")
    return began, ended


def trace_row(trace: TtlTrace) -> Row:
    hops, refused = ([[ttl, address] for ttl, address in found.items()] for found in (trace.hops, trace.refused))
    return [check_row(trace.check), trace.direction.value, hops, trace.reached, trace.passes, sorted(trace.silent), refused]


def read_trace(row: object) -> TtlTrace:
    """Raises UnknownCheck and DecodeError, and nothing else."""
    check, direction, hops, reached, passes, silent, refused = fields_of(row, "trace", 7)
    if not isinstance(passes, bool):
        raise DecodeError("passes", 0, "is neither true nor false")
    return TtlTrace(
        read_check(check),
        one_of(Direction, direction, "direction"),
        {_ttl(ttl): None if address is None else text_of(address, "address") for ttl, address in _hops(hops)},
        None if reached is None else _ttl(reached),
        passes,
        frozenset(_ttl(ttl) for ttl in list_of(silent, "silent")),
        {_ttl(ttl): text_of(address, "address") for ttl, address in _hops(refused)},
    )


def _hops(rows: object) -> list[list[Any]]:
    return [fields_of(row, "hop", 2) for row in list_of(rows, "hops")]


def list_of(rows: object, name: str) -> list[Any]:
    """A list of no more than MOST_HOPS. Raises DecodeError, and nothing else."""
    if not isinstance(rows, list) or len(rows) > MOST_HOPS:
        raise DecodeError(name, 0, "are no list, or too many")
    return rows


def _ttl(value: object) -> int:
    return whole_number(value, "ttl", 0, MOST_HOPS)


def read_opened(row: object) -> tuple[Transport, float]:
    """A protocol, and seconds. Raises DecodeError, and nothing else."""
    protocol, age_s = fields_of(row, "opened", 2)
    return one_of(Transport, protocol, "transport"), _moment(age_s)


def read_addresses(found: object) -> dict[Transport, list[str]]:
    """Addresses by protocol. Raises DecodeError, and nothing else."""
    if not isinstance(found, dict) or len(found) > len(Transport):
        raise DecodeError("addresses", 0, "are no table, or too many")
    return {
        one_of(Transport, name, "transport"): [text_of(address, "address") for address in list_of(some, "addresses")]
        for name, some in found.items()
    }


def _moment(value: object) -> float:
    """Seconds; `not <=` refuses what is not a number too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LATEST_S:
        raise DecodeError("at", 0, "is no time in seconds")
    return float(value)


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


def read_known(rows: object, read: Callable[[Any], T], unknown: set[str]) -> list[T | None]:
    """Every row of a list in its place. None: it is about a check that this version does not have, whose name is added to `unknown`.

    Raises DecodeError where one does not fit.
    """

    def known(row: object) -> T | None:
        try:
            return read(row)
        except UnknownCheck as newer:
            if len(unknown) < MOST_UNKNOWN:
                unknown.add(newer.name)
            return None

    return read_all(rows, known)


def read_all(rows: object, read: Callable[[Any], T]) -> list[T]:
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
