"""What only one end of a conversation can know, as a fact for the judge.

Counting packets shows where a conversation stopped; that a certificate had expired, which words a server refused with, or which cipher was
agreed on, was read inside TLS by the end that was there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.evidence.packet_records import Check


@dataclass(frozen=True, slots=True)
class NamedFailure:
    """One failure by name, or what there is to tell of a success."""

    check: Check
    code: str = ""
    """Empty: nothing failed. Otherwise a name that the rules know (`[failure.NAME]`)."""
    said: str = ""
    """The words of the peer, of the library, or the numbers; empty: the code says it all."""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    """Further details, by name."""


NAME_NOT_RESOLVED: Final = "name-not-resolved"
DATA_DEAD: Final = "data-dead"
LARGE_DEAD: Final = "data-large-dead"
DATA_CUT: Final = "data-cut"
DATA_INTERRUPTED: Final = "data-interrupted"
DATA_UNANSWERED: Final = "data-unanswered"
"""The tunnel carries data both ways, and nobody answers echo requests in it."""
PORT_REFUSED: Final = "port-refused"
UNREACHABLE: Final = "unreachable"
"""No route, no TCP connection, or an ICMP error other than a refused port."""
SILENT: Final = "silent"
ANSWERED_FROM_ELSEWHERE: Final = "answered-from-elsewhere"
NOT_SUPPORTED: Final = "not-supported"
"""What vpnprobe itself cannot do: nothing follows for the server or the path."""
PROFILE_REFUSED: Final = "profile-refused"
"""The protocol's own program does not start with this profile."""
BY_CLIENT: Final = frozenset({"push-refused", PROFILE_REFUSED})
CERTIFICATES: Final = "certificate-"
"""How the names of what a client finds wrong with a server's certificate begin."""
BY_SETTINGS: Final = frozenset({"settings-differ"})
"""Both ends say that they disagree on what has to be the same: data that does not pass is no silence then."""
HARMLESS: Final = frozenset({"", "renegotiation-asked", ANSWERED_FROM_ELSEWHERE, DATA_INTERRUPTED})
"""Names of what does not stop anything."""
