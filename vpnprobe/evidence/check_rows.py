"""Checks, and what a host's own firewall keeps, as plain lists: over the control channel, and in the note of a run's captures.

What comes in is from a peer or a stranger's file. It is held against the table of checks: a row about a check that the table does not have
raises UnknownCheck, whatever else does not fit DecodeError.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import COUNTED, SPECS
from vpnprobe.evidence.packet_records import Check
from vpnprobe.firewall.mending import Kept, Mends
from vpnprobe.observations.schema import Transport

LONGEST_TEXT: Final = 512
"""Characters of a key, a name, an address."""
MOST_COMMANDS: Final = 16
"""More do not let one kind of packets through."""
COMMAND: Final = re.compile(r"(nft (add|insert) rule|ip6?tables(-nft|-legacy)?|ufw|firewall-cmd) [\w .:=/'{}-]+")
"""What a host may say that lets packets through: somebody will run it."""

Row = list[Any]


class UnknownCheck(DecodeError):
    """A row about a check that this version does not have: of a newer peer, and no mistake of it."""

    def __init__(self, name: str) -> None:
        super().__init__("check", 0, f"{name} is none that this version knows")
        self.name = name
        """Probe and name, with a slash between them."""


def check_row(check: Check) -> Row:
    """The IP version stands in it where it is not 4: older peers know no other."""
    row = [check.probe, check.name, check.transport.value, check.port, check.variant]
    return row if check.family == 4 else [*row, check.family]


def read_check(row: object) -> Check:
    """Raises UnknownCheck where the table of checks has no such line, and DecodeError where it is no check at all."""
    fields = fields_of(row, "check", 5, 6)
    probe, name = text_of(fields[0], "probe"), text_of(fields[1], "check")
    spec = SPECS.get((probe, name))
    if spec is None:
        raise UnknownCheck(f"{probe}/{name}")
    transport = one_of(Transport, fields[2], "transport")
    port = None if fields[3] is None else whole_number(fields[3], "port", 1, 65535)
    has_ports = transport in (Transport.TCP, Transport.UDP)
    lacks_port = port is None and has_ports and spec.kind in COUNTED
    if (spec.transports and transport not in spec.transports) or lacks_port or (port is not None and not has_ports):
        where = "without a port" if port is None else f"port {port}"
        raise DecodeError("check", 0, f"{probe}/{name} is not asked over {transport} {where}")
    family = fields[5] if len(fields) == 6 else 4
    if isinstance(family, bool) or family not in (4, 6):
        raise DecodeError("family", 0, "is no IP version")
    return Check(probe, name, transport, port, text_of(fields[4], "variant"), int(family))


def kept_row(kept: Kept) -> Row:
    """Of the server's own firewall alone: it is asked about nothing else."""
    row = [kept.leaving, kept.protocol, kept.port, kept.version]
    return [*row, True] if kept.in_part else row


def read_kept(row: object) -> Kept:
    """Raises DecodeError and nothing else."""
    leaving, protocol, port, version, *rest = fields_of(row, "kept", 4, 5)
    if not isinstance(leaving, bool) or rest not in ([], [True]):
        raise DecodeError("leaving", 0, "is neither true nor false")
    number = None if port is None else whole_number(port, "port", 1, 65535)
    return Kept(
        leaving, one_of(Transport, protocol, "protocol").value, number, version=whole_number(version, "version", 4, 6), in_part=bool(rest)
    )


def read_mends(kept: Sequence[Kept], manager: object, commands: object) -> Mends:
    """What the server's answer says of each kind that was asked about. Raises DecodeError and nothing else."""
    if not isinstance(commands, list) or len(commands) != len(kept):
        raise DecodeError("commands", 0, "are not as many as was asked about")
    found = {
        one: tuple(_command(line) for line in fields_of(lines, "commands", *range(MOST_COMMANDS)))
        for one, lines in zip(kept, commands, strict=True)
    }
    return Mends(text_of(manager, "manager"), {one: lines for one, lines in found.items() if lines})


def fields_of(row: object, name: str, *lengths: int) -> list[Any]:
    if not isinstance(row, list) or len(row) not in lengths:
        raise DecodeError(name, 0, f"is no list of {' or '.join(map(str, lengths))}")
    return row


def text_of(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise DecodeError(name, 0, f"is no text of at most {LONGEST_TEXT} characters")
    return value


def whole_number(value: object, name: str, low: int, high: int) -> int:
    # A truth is a number to Python, and none of ours.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DecodeError(name, 0, f"is no whole number from {low} to {high}")
    return value


def number(value: object, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DecodeError(name, 0, f"is no number from {low:g} to {high:g}")
    return float(value)


def _command(value: object) -> str:
    line = text_of(value, "command")
    if not COMMAND.fullmatch(line):
        raise DecodeError("command", 0, "is none that lets packets through a firewall")
    return line


E = TypeVar("E", bound=StrEnum)


def one_of(closed_set: type[E], value: object, name: str) -> E:
    try:
        return closed_set(text_of(value, name))
    except ValueError:
        raise DecodeError(name, 0, "is none that this version knows") from None
