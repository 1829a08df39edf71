"""The `[expect]` table of a scenario file, and what a result document falls short of it.

An expectation is never shown to a network, a probe or a rule: it is read beside the topology and used only after a run is over.
Names and meanings of verdicts, outcomes and causes are those of `vpnprobe.observations.schema`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vpnprobe.lab.tables import Table
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Outcome, Protocol, Transport

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExpectedObservation:
    """A wish about the observations that fit `probe` and `check`, and `direction`, `transport` and `port` where these are given."""

    probe: str
    check: str
    direction: Direction | None = None
    transport: Transport | None = None
    port: int | None = None
    outcome: tuple[Outcome, ...] = ()
    """Any of these; empty: any at all."""
    cause: tuple[Cause, ...] = ()
    last_address: tuple[str, ...] = ()
    """The last hop that the packets reach is one of these addresses."""
    max_error_bound: float | None = None
    lost_direction: Direction | None = None
    """The direction that the observation's detail names."""
    any: bool = False
    """One fitting observation is enough; otherwise all must be as wished."""

    def about(self) -> str:
        """Which observations: `gre/passthrough/c2s`."""
        parts = (self.probe, self.check, self.direction, self.transport, self.port)
        return "/".join(str(part) for part in parts if part is not None)

    def fits(self, row: Row) -> bool:
        """Whether the wish is about this observation; one that was skipped says nothing, unless it names the cause that is wished."""
        wanted = {"probe": self.probe, "check": self.check, "direction": self.direction, "transport": self.transport, "port": self.port}
        says_something = row["outcome"] != Outcome.SKIPPED or (Outcome.SKIPPED in self.outcome and row.get("cause") in self.cause)
        return says_something and all(row.get(key) == value for key, value in wanted.items() if value is not None)

    def granted_by(self, row: Row) -> bool:
        bound = row.get("error_bound")
        return (
            (not self.outcome or row["outcome"] in self.outcome)
            and (not self.cause or row.get("cause") in self.cause)
            and (not self.last_address or _last_address(row) in self.last_address)
            and (self.max_error_bound is None or (bound is not None and bound <= self.max_error_bound))
            and (self.lost_direction is None or row.get("detail", {}).get("lost_direction") == self.lost_direction)
        )

    def wish(self) -> str:
        parts = [", ".join(words) for words in (self.outcome, self.cause) if words]
        parts += [f"last seen at {' or '.join(self.last_address)}"] if self.last_address else []
        parts += [f"error bound at most {self.max_error_bound:g}"] if self.max_error_bound is not None else []
        parts += [f"lost {self.lost_direction}"] if self.lost_direction is not None else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a run in a scenario must come to. Empty and None: no wish."""

    verdicts: Mapping[Protocol, tuple[Feasibility, ...]] = field(default_factory=lambda: MappingProxyType({}))
    recommended: tuple[Protocol, ...] = ()
    port: tuple[int, ...] = ()
    """The recommended port is one of these."""
    observations: tuple[ExpectedObservation, ...] = ()
    settings: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    """A recommended setting's lowest and highest value."""
    status: int | None = None
    """Exit status of `vpnprobe run`."""
    max_seconds: float | None = None
    lossy: bool = False
    """Feasible and degraded count alike where two runs are compared."""
    arguments: tuple[str, ...] = ()
    """Further arguments of `vpnprobe run`."""


def read_expectation(table: Table) -> Expectation:
    verdicts, settings = table.table("verdicts"), table.table("settings")
    expectation = Expectation(
        verdicts=MappingProxyType({_protocol(verdicts, key): verdicts.members(key, Feasibility) for key in verdicts.keys()}),  # noqa: SIM118
        recommended=table.members("recommended", Protocol),
        port=table.wholes("port", low=1, high=65535),
        observations=tuple(_observation(entry) for entry in table.tables("observations")),
        settings=MappingProxyType({key: settings.range(key) for key in settings.keys()}),  # noqa: SIM118
        status=table.whole("status", 0, low=0, high=255) if table.has("status") else None,
        max_seconds=table.number("max_seconds", 0, low=0, high=3600) if table.has("max_seconds") else None,
        lossy=table.flag("lossy"),
        arguments=table.texts("arguments"),
    )
    table.done()
    return expectation


def _protocol(table: Table, key: str) -> Protocol:
    if key not in list(Protocol):
        table.fail(key, f"no protocol is called so, only {', '.join(Protocol)}")
    return Protocol(key)


def _observation(table: Table) -> ExpectedObservation:
    wish = ExpectedObservation(
        probe=table.text("probe"),
        check=table.text("check"),
        direction=table.member("direction", Direction),
        transport=table.member("transport", Transport),
        port=table.whole("port", 0, low=1, high=65535) if table.has("port") else None,
        outcome=table.members("outcome", Outcome),
        cause=table.members("cause", Cause),
        last_address=table.texts("last_address"),
        max_error_bound=table.number("max_error_bound", 1, low=0, high=1) if table.has("max_error_bound") else None,
        lost_direction=table.member("lost_direction", Direction),
        any=table.flag("any"),
    )
    table.done()
    for key in ("probe", "check"):
        if not table.has(key):
            table.fail(key, "is missing")
    return wish


def shortfalls(result: Mapping[str, Any], status: int, expectation: Expectation) -> list[str]:
    """Where a result document (as JSON gives it) and the run's exit status fall short of the expectation, a line each; empty: nowhere."""
    return [
        *_of_status(status, expectation),
        *_of_verdicts(result["verdicts"], expectation),
        *_of_recommendation(result["recommendation"] or {}, expectation),
        *_of_observations(result["observations"], expectation),
        *_of_duration(result["run"]["duration_s"], expectation),
    ]


def _of_status(status: int, expectation: Expectation) -> Iterator[str]:
    if expectation.status is not None and status != expectation.status:
        yield f"exit status: {status} instead of {expectation.status}"


def _of_verdicts(verdicts: Sequence[Row], expectation: Expectation) -> Iterator[str]:
    found = {verdict["protocol"]: verdict["feasibility"] for verdict in verdicts}
    for protocol, allowed in expectation.verdicts.items():
        feasibility = found.get(protocol, "without a verdict")
        if feasibility not in allowed:
            yield f"{protocol}: {feasibility} instead of {' or '.join(allowed)}"


def _of_recommendation(recommendation: Row, expectation: Expectation) -> Iterator[str]:
    for key, allowed in (("protocol", expectation.recommended), ("port", expectation.port)):
        found = recommendation.get(key)
        if allowed and found not in allowed:
            yield f"recommended {key}: {found} instead of {' or '.join(map(str, allowed))}"
    for name, (low, high) in expectation.settings.items():
        value = (recommendation.get("settings") or {}).get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            yield f"setting {name}: {value!r} instead of {low:g} to {high:g}"


def _of_observations(rows: Sequence[Row], expectation: Expectation) -> Iterator[str]:
    for wish in expectation.observations:
        fitting = [row for row in rows if wish.fits(row)]
        if not fitting:
            yield f"{wish.about()}: not observed"
            continue
        granted = [wish.granted_by(row) for row in fitting]
        if not (any(granted) if wish.any else all(granted)):
            yield f"{wish.about()}: {' | '.join(_in_words(row) for row in fitting)} instead of {wish.wish()}"


def _of_duration(duration_s: float, expectation: Expectation) -> Iterator[str]:
    if expectation.max_seconds is not None and duration_s > expectation.max_seconds:
        yield f"duration: {duration_s:.1f} s, more than {expectation.max_seconds:g} s"


def _last_address(row: Row) -> str | None:
    address: str | None = (row.get("location") or {}).get("last_address")
    return address


def _in_words(row: Row) -> str:
    parts = [str(row["outcome"]), str(row.get("cause") or "no cause")]
    parts += [f"last seen at {_last_address(row)}"] if _last_address(row) else []
    parts += [f"error bound {row['error_bound']:g}"] if row.get("error_bound") is not None else []
    parts += [f"lost {row['detail']['lost_direction']}"] if row.get("detail", {}).get("lost_direction") else []
    return ", ".join(parts)
