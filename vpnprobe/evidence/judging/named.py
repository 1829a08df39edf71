"""What one end has read inside a conversation, put beside the rows of its check: names of failures, the peer's words, a cipher."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from vpnprobe.evidence.checks import SPECS, Kind
from vpnprobe.evidence.named_failures import BY_CLIENT, BY_SETTINGS, CERTIFICATES, HARMLESS, LARGE_DEAD, NamedFailure
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome


def with_named_failures(observations: Sequence[Observation], named: Iterable[NamedFailure]) -> list[Observation]:
    """The observations with `failure` and `said` in the detail of those that a name belongs to.

    A conversation that reached its goal and was refused afterwards (a wrong password) is `refused`, and so is what the client itself
    refuses (`detail.by`): then nothing more can come of it.
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
    if name.code in BY_CLIENT or name.code.startswith(CERTIFICATES):
        return replace(named, outcome=Outcome.REFUSED, cause=None, detail={**detail, "by": "client"})
    if name.code in BY_SETTINGS and observation.outcome in (Outcome.PASS, Outcome.NO_ANSWER):
        return replace(named, outcome=Outcome.NO_ANSWER, detail={**detail, "by": "settings"})
    if observation.outcome is not Outcome.PASS or name.code in HARMLESS:
        return named
    if SPECS[observation.probe, observation.check].kind is not Kind.DATA:
        return replace(named, outcome=Outcome.REFUSED, detail={"by": "peer", **detail})
    if name.code == LARGE_DEAD:
        return replace(named, outcome=Outcome.DEGRADED, cause=Cause.SIZE)
    # Some of it came, and then no more: with nobody to ask at the other end that is a silence.
    return replace(named, outcome=Outcome.NO_ANSWER)
