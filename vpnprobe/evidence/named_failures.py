"""What only one end of a conversation can know, put beside the observations of the checks that it bears on.

Counting packets shows where a conversation stopped; that a certificate had expired, which words a server refused with, or which cipher was
agreed on, was read inside TLS by the end that was there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome


@dataclass(frozen=True, slots=True)
class NamedFailure:
    """One failure by name, or what there is to tell of a success."""

    check: Check
    code: str = ""
    """Empty: nothing failed. Otherwise a `FailureCode`, or `data-dead`, `data-large-dead`, `data-cut`, `renegotiation-asked`."""
    said: str = ""
    """The words of the peer, of the library, or the numbers; empty: the code says it all."""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    """Further details, by name."""


LARGE_DEAD: Final = "data-large-dead"
HARMLESS: Final = frozenset({"", "renegotiation-asked"})
"""Names of what does not stop anything."""


def with_named_failures(observations: Sequence[Observation], named: Iterable[NamedFailure]) -> list[Observation]:
    """The observations with `failure` and `said` in the detail of those that a name belongs to.

    A conversation that reached its goal and was refused afterwards (a wrong password) is `refused`.
    """
    result = list(observations)
    for name in named:
        for number, observation in enumerate(result):
            if asks(observation, name.check):
                result[number] = _with_named_failure(observation, name)
    return result


def asks(observation: Observation, check: Check) -> bool:
    """Whether an observation answers a check, in whatever direction."""
    return observation.id in {identifier(check, way) for way in Direction}


def _with_named_failure(observation: Observation, name: NamedFailure) -> Observation:
    detail: dict[str, Any] = {**observation.detail, **name.facts}
    if name.code:
        detail |= {"failure": name.code, **({"said": name.said} if name.said else {})}
    named = replace(observation, detail=detail)
    if observation.outcome is not Outcome.PASS or name.code in HARMLESS:
        return named
    if observation.check != "data":
        return replace(named, outcome=Outcome.REFUSED, detail={"by": "peer", **detail})
    if name.code == LARGE_DEAD:
        return replace(named, outcome=Outcome.DEGRADED, cause=Cause.SIZE)
    # Some of it came, and then no more: with nobody to ask at the other end that is a silence.
    return replace(named, outcome=Outcome.NO_ANSWER)
