"""What one end of a run knew of its own host and its capture does not show: the note that the run's captures carry.

What came to the wire and to no socket, what was sent and never left, who has which port, what lets through what the host's own firewall
keeps, which sessions asked about a limit on rate and what they showed, and how far streams of ours came. A comment of the capture file, in
JSON behind MARK; a file without one is read as any other.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.check_rows import (
    check_row,
    fields_of,
    kept_row,
    number,
    one_of,
    read_check,
    read_kept,
    read_mends,
    text_of,
    whole_number,
)
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.decoy_streams import TURNS, DecoyStream
from vpnprobe.evidence.judging.taken import arrived
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.rates import RateLimit
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState
from vpnprobe.evidence.taken import NOTHING_TAKEN, TakenPackets, read_taken, taken_row
from vpnprobe.firewall.mending import NOTHING, Mends
from vpnprobe.observations.schema import Direction, Transport

MARK: Final = "vpnprobe/1 "
"""What such a comment begins with."""
MOST_ROWS: Final = 4096
MOST_RATE: Final = 1e9
"""Packets a second."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Of one end."""

    dropped_on_input: frozenset[Check] = frozenset()
    dropped_on_output: frozenset[Check] = frozenset()
    taken: TakenPackets = NOTHING_TAKEN
    """Of what is taken by name only messages of conversations: of the rest the capture shows that it came."""
    firewall: Mends = NOTHING
    ports: Mapping[tuple[Transport, int], PortState] = field(default_factory=dict)
    """Of the server; empty at the client."""
    programs: Mapping[tuple[Transport, int], str] = field(default_factory=dict)
    trains: frozenset[str] = frozenset()
    """Keys of the sessions that filled a limit on purpose: what they lost says nothing else. Empty at the server."""
    decoy_streams: Mapping[int, tuple[DecoyStream, ...]] = field(default_factory=dict)
    """By port: how far streams of ours came there. Empty at the server."""
    rate_limits: Mapping[tuple[Check, Direction], RateLimit] = field(default_factory=dict)
    """What those sessions showed. Empty at the server."""

    @property
    def worth_a_note(self) -> bool:
        """Whether a reader of the capture would come to something else without it."""
        others = any(state is not PortState.OURS for state in self.ports.values())
        kept = self.dropped_on_input or self.dropped_on_output or self.taken.parts or self.firewall.commands
        return bool(kept or others or self.trains or self.decoy_streams or self.rate_limits)

    def added_to(self, record: EndRecord) -> EndRecord:
        """The record of this end's capture with what the capture does not show."""
        return replace(record, dropped_on_input=self.dropped_on_input, dropped_on_output=self.dropped_on_output, taken=self.taken)

    def told(self, facts: PathFacts, host: str) -> PathFacts:
        """The facts with what this end, `client` or `server`, knew."""
        firewalls = {**facts.firewalls, host: self.firewall}
        ports, programs = {**facts.ports, **self.ports}, {**facts.programs, **self.programs}
        streams = {**facts.decoy_streams, **self.decoy_streams}
        trains, limits = facts.trains | self.trains, {**facts.rate_limits, **self.rate_limits}
        facts = replace(facts, trains=trains, decoy_streams=streams, rate_limits=limits)
        return replace(facts, ports=ports, programs=programs, firewalls=firewalls)


def of_end(host: str, record: EndRecord, facts: PathFacts) -> Circumstances:
    """Those of one end of a run, `client` or `server`."""
    firewall, record = facts.firewalls.get(host, NOTHING), arrived(record)
    said = tuple(one for one in record.taken.packets if kind_of(one.check) is Kind.CONVERSATION)[:MOST_ROWS]
    kept = (record.dropped_on_input, record.dropped_on_output, replace(record.taken, packets=said), firewall)
    if host == "client":
        return Circumstances(*kept, trains=facts.trains, decoy_streams=facts.decoy_streams, rate_limits=facts.rate_limits)
    return Circumstances(*kept, facts.ports, facts.programs)


def note(circumstances: Circumstances) -> str:
    """The comment; empty: there is nothing to tell."""
    if not circumstances.worth_a_note:
        return ""
    kept = list(circumstances.firewall.commands)
    told = {
        "dropped_on_input": sorted(map(check_row, circumstances.dropped_on_input), key=repr),
        "dropped_on_output": sorted(map(check_row, circumstances.dropped_on_output), key=repr),
        "taken": [taken_row(part) for part in circumstances.taken.parts],
        "taken_messages": [[s.vantage.value, check_row(s.check), s.key, s.message] for s in circumstances.taken.packets],
        "firewall": circumstances.firewall.manager,
        "at_server": any(one.at_server for one in kept),
        "kept": [kept_row(one) for one in kept],
        "commands": [list(circumstances.firewall.commands[one]) for one in kept],
        "ports": [[transport.value, port, state.value] for (transport, port), state in circumstances.ports.items()],
        "programs": [[transport.value, port, name] for (transport, port), name in circumstances.programs.items()],
        "trains": sorted(circumstances.trains),
        "decoy_streams": [[port, one.answered, one.closed] for port, some in circumstances.decoy_streams.items() for one in some],
        "rate_limits": [
            [check_row(check), way.value, one.packets_per_s, one.tried_per_s, one.error_bound]
            for (check, way), one in circumstances.rate_limits.items()
        ],
    }
    return MARK + json.dumps(told, separators=(",", ":"))


def read_note(comment: str) -> Circumstances | None:
    """None: it is no such comment, or one that does not fit. Anybody may have written it."""
    if not comment.startswith(MARK):
        return None
    try:
        told = json.loads(comment.removeprefix(MARK))
        if not isinstance(told, dict):
            return None
        at_server = told.get("at_server") is True
        kept = [replace(read_kept(row), at_server=at_server) for row in _rows(told, "kept")]
        return Circumstances(
            frozenset(map(read_check, _rows(told, "dropped_on_input"))),
            frozenset(map(read_check, _rows(told, "dropped_on_output"))),
            TakenPackets(
                tuple(map(read_taken, _rows({"taken": [], **told}, "taken"))),
                tuple(map(_taken_message, _rows({"taken_messages": [], **told}, "taken_messages"))),
            ),
            read_mends(kept, told.get("firewall"), told.get("commands")),
            {_port(row): one_of(PortState, row[2], "state") for row in _rows(told, "ports")},
            {_port(row): text_of(row[2], "program") for row in _rows(told, "programs")},
            frozenset(text_of(key, "train") for key in _rows({"trains": [], **told}, "trains")),
            _decoy_streams(_rows({"decoy_streams": [], **told}, "decoy_streams")),
            dict(map(_rate_limit, _rows({"rate_limits": [], **told}, "rate_limits"))),
        )
    except (DecodeError, ValueError, RecursionError):
        return None


def _rows(told: Mapping[str, Any], name: str) -> list[Any]:
    rows = told.get(name)
    if not isinstance(rows, list) or len(rows) > MOST_ROWS:
        raise DecodeError(name, 0, "is no list, or too long")
    return rows


def _decoy_streams(rows: Iterable[object]) -> dict[int, tuple[DecoyStream, ...]]:
    found: dict[int, tuple[DecoyStream, ...]] = {}
    for row in rows:
        port, answered, closed = fields_of(row, "decoy stream", 3)
        number = whole_number(port, "port", 1, 65535)
        found[number] = (*found.get(number, ()), DecoyStream(whole_number(answered, "turns", 0, len(TURNS)), closed is True))
    return found


def _rate_limit(row: object) -> tuple[tuple[Check, Direction], RateLimit]:
    check, way, *told = fields_of(row, "rate limit", 5)
    passes, tried, bound = (number(one, "rate limit", 0.0, most) for one, most in zip(told, (MOST_RATE, MOST_RATE, 1.0), strict=True))
    return (read_check(check), one_of(Direction, way, "direction")), RateLimit(passes, tried, bound)


def _taken_message(row: object) -> PacketRecord:
    end, check, key, message = fields_of(row, "taken message", 4)
    key, message = text_of(key, "key"), text_of(message, "message")
    return PacketRecord(one_of(Vantage, end, "end"), Movement.RECEIVED, 0.0, read_check(check), key, message)


def _port(row: object) -> tuple[Transport, int]:
    transport, port, _ = fields_of(row, "port", 3)
    return one_of(Transport, transport, "transport"), whole_number(port, "port", 1, 65535)
