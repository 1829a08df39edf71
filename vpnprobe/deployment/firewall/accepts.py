"""Accepts that a firewall lacks: which kinds of packets, in which chain, before which rule. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from vpnprobe.deployment.firewall.needs import FirewallNeeds, Opening, openings
from vpnprobe.deployment.steps import Command
from vpnprobe.firewall.model import OURS, Place, Table, needed_accepts

VERSIONS: Final = (4, 6)


@dataclass(frozen=True, slots=True)
class Accept:
    """One rule that is to be put in."""

    table: Table
    place: Place
    opening: Opening


def accepts(tables: Iterable[Table], needs: FirewallNeeds) -> list[Accept]:
    """All that a set of tables lacks; at each place one a kind of packets, though both IP versions need it."""
    found: dict[tuple[str, str, Place, str], Accept] = {}
    for table in tables:
        for version in VERSIONS:
            for opening in openings(needs, version):
                for place in needed_accepts(table, opening.packets):
                    found.setdefault((table.family, table.name, place, opening.nft()), Accept(table, place, opening))
    return list(found.values())


def tag(needs: FirewallNeeds) -> str:
    """What the comments on all rules of these needs begin with, and the names of our tables end with: other needs have another."""
    return OURS + sha256(repr(needs).encode()).hexdigest()[:8]


def count_is(listing: str, comment: str, count: int) -> Command:
    """Succeeds where as many rules bear a comment. `listing`: a command without anything to quote."""
    return Command(("sh", "-c", f'test "$({listing} | grep -Fwc -e "$1")" -eq "$2"', "sh", comment, str(count)))


def is_there(listing: str, comment: str) -> Command:
    """Succeeds where a rule bears a comment."""
    return Command(("sh", "-c", f'{listing} | grep -Fwq -e "$1"', "sh", comment))
