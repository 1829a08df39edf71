"""A protocol's own program beside vpnprobe's own try with the same profile, as a result document tells of it (`run.client.real_client`).

A document may be a stranger's: what does not have the form that it should is passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.observations.schema import Feasibility, Result
from vpnprobe.report.words import Mark, protocol_name, visible

WORKS: Final = (Feasibility.FEASIBLE, Feasibility.DEGRADED)
DIFFERS: Final = "differs"
AGREES: Final = "agrees"
LONGEST_LOG: Final = 200
MOST_REMOTES: Final = 16
MARKS: Final[Mapping[str, Mark]] = {
    "passed": Mark("✓", "passed", "good"),
    "failed": Mark("✕", "stopped here", "bad"),
    "not-reached": Mark("-", "not reached", "mute"),
    "not-tried": Mark("-", "not tried", "mute"),
}


@dataclass(frozen=True, slots=True)
class SideOfStep:
    """One step of one of the two."""

    mark: Mark
    words: tuple[str, ...]
    at: str
    """When, in seconds from its start; empty: not known."""


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of both."""

    name: str
    real: SideOfStep
    own: SideOfStep


@dataclass(frozen=True, slots=True)
class RemoteBeside:
    """One remote of the profile."""

    where: str
    came_up: bool | None
    """The program; None: it was not tried to an end."""
    stopped: str
    """By what, or where; empty: it is not known, or it came up."""
    comparison: str
    finding: str
    steps: tuple[StepLine, ...]
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RealClient:
    """All remotes."""

    program: str
    """With its version."""
    comparison: str
    """`agrees`, `differs` or `open`."""
    protocols: frozenset[str]
    options: tuple[str, ...]
    """What was added to the profile."""
    left_out: tuple[str, ...]
    remotes: tuple[RemoteBeside, ...]
    not_tried: tuple[str, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """What leads the report: where they differ that, else all there is to tell."""
        differing = [one.finding for one in self.remotes if one.comparison == DIFFERS]
        return tuple(dict.fromkeys(differing or [one.finding for one in self.remotes]))

    @property
    def stopped(self) -> str:
        """Why it did, as the end of a clause; empty: it is not known."""
        told = dict.fromkeys(one.stopped for one in self.remotes if one.came_up is False and one.stopped)
        return f": {'; '.join(told)}" if told else ""

    @property
    def came_up(self) -> bool | None:
        """Whether it came up with any remote; None: none was tried to an end."""
        told = [one.came_up for one in self.remotes if one.came_up is not None]
        return any(told) if told else None

    @property
    def tone(self) -> str:
        return "bad" if self.comparison == DIFFERS else "mute" if self.comparison == AGREES else "fair"

    @property
    def how(self) -> str:
        """How it was run, and what that leaves open."""
        if not self.remotes:
            return f"{self.program} was to run with the same profile, and came to no end: nothing is told of it."
        added = "; ".join(dict.fromkeys(self.options))
        without = f" Left out of the profile for this: {', '.join(self.left_out)}." if self.left_out else ""
        rest = f" No time was left for {', '.join(self.not_tried)}." if self.not_tried else ""
        return (
            f"{self.program} ran with the same profile after vpnprobe's own try, without a tunnel device, addresses and routes ({added}). "
            f"Its last step is that it is initialised: data was not tried by it.{without}{rest}"
        )


def real_client(result: Result) -> RealClient | None:
    """None: no program was tried beside."""
    told = (result.run.client or {}).get("real_client")
    if not isinstance(told, Mapping):
        return None
    program = visible(" ".join(filter(None, (_text(told.get("program")), _text(told.get("version"))))))
    left_out = tuple(f"{_text(one.get('option'))} (line {_text(one.get('line'))})" for one in _mappings(told.get("left_out")))
    return RealClient(
        program or "the program",
        _text(told.get("comparison")),
        frozenset(_texts(told.get("protocols"))),
        _texts(told.get("options")),
        left_out,
        tuple(_remote(one) for one in _mappings(told.get("remotes"))[:MOST_REMOTES]),
        _texts(told.get("not_tried")),
    )


def leading_words(result: Result) -> tuple[str, str, str] | None:
    """Tone, sentence and reason of the headline where the run was about its profile alone, and the two do not say the same.

    None: what the program came to does not lead.
    """
    beside = real_client(result)
    about_more = beside is not None and any(verdict.protocol not in beside.protocols for verdict in result.verdicts)
    if beside is None or about_more or beside.comparison == AGREES or beside.came_up is None:
        return None
    works, why = any(verdict.feasibility in WORKS for verdict in result.verdicts), " ".join(beside.findings)
    if beside.came_up and not works:
        own = "does not" if beside.comparison == DIFFERS else "says nothing of it"
        return "fair", f"{beside.program} comes up with this profile, and vpnprobe's own try {own}", why
    if works and not beside.came_up:
        names = [protocol_name(one.protocol) for one in result.verdicts if one.feasibility in WORKS]
        own = f"{' and '.join(names)} {'works' if len(names) == 1 else 'work'} by vpnprobe's own try"
        return "fair", f"{own}; {beside.program} stopped{beside.stopped}", why
    if not beside.came_up and beside.comparison != DIFFERS:
        return "bad", f"{beside.program} does not come up with this profile", why
    return None


def _remote(told: Mapping[str, Any]) -> RemoteBeside:
    came_up = told.get("came_up")
    return RemoteBeside(
        _text(told.get("remote")),
        came_up if isinstance(came_up, bool) else None,
        "" if came_up is True else _stopped(told),
        _text(told.get("comparison")),
        _text(told.get("finding")),
        tuple(StepLine(_text(one.get("name")), _side(one.get("real")), _side(one.get("own"))) for one in _mappings(told.get("steps"))),
        _texts(told.get("log"))[:LONGEST_LOG],
    )


def _stopped(told: Mapping[str, Any]) -> str:
    """The name of what stopped it; without one the first sentence of its words where it stopped, or that step's name."""
    step = next((one for one in _mappings(told.get("steps")) if one.get("step") == told.get("stopped_at")), {})
    real = step.get("real")
    words = _texts(real.get("words")) if isinstance(real, Mapping) else ()
    sentence = words[-1].partition(". ")[0].rstrip(".") if words else ""
    return _text(told.get("cause")) or sentence or _text(step.get("name"))


def _side(told: object) -> SideOfStep:
    if not isinstance(told, Mapping):
        return SideOfStep(MARKS["not-tried"], (), "")
    at = told.get("at_s")
    mark = MARKS.get(_text(told.get("came")), MARKS["not-tried"])
    return SideOfStep(mark, _texts(told.get("words")), f"{at:.3f} s" if isinstance(at, int | float) else "")


def _text(told: object) -> str:
    return visible(told) if isinstance(told, str | int) else ""


def _texts(told: object) -> tuple[str, ...]:
    return tuple(visible(one) for one in _listed(told) if isinstance(one, str))


def _mappings(told: object) -> list[Mapping[str, Any]]:
    return [one for one in _listed(told) if isinstance(one, Mapping)]


def _listed(told: object) -> Sequence[object]:
    return told if isinstance(told, list | tuple) else ()
