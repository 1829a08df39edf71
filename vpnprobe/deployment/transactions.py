"""What has been applied to a server: confirmed, taken back, told.

What changes something does so under the journal's lock, after what is overdue has been taken back.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from vpnprobe.deployment import supervise
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.hooks import Hooks, Stage, hooks_of
from vpnprobe.deployment.journal import Journal, folder_of, opened, transactions_of
from vpnprobe.deployment.rollback import Transaction, other_namespace
from vpnprobe.deployment.settings import RUN
from vpnprobe.deployment.taking_back import all_waiting, due, live, take_back_with_hooks
from vpnprobe.deployment.undoing import run
from vpnprobe.deployment.watchdog import end_watchdog
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

Tell = Callable[[str], None]


def recover(journal: Journal, tell: Tell, hooks: Hooks | None = None) -> list[Transaction]:
    """Takes back what was left half done or was not confirmed in time; gives it.

    Raises CannotRun (status UNWRITABLE) where something cannot be put back, UsageError (status REFUSED) in another network namespace.
    """
    found = due(journal.transactions())
    if found:
        _check_namespace(found)
        tell(f"taken back first, since it was not finished or not confirmed: {', '.join(one.begin['summary'] for one in found)}")
        put_back(journal, found, tell, hooks)
    return found


def put_back(
    journal: Journal, found: list[Transaction], tell: Tell, hooks: Hooks | None = None, *, leave: bool = False, asked: bool = False
) -> None:
    """`asked`: pre-rollback hooks have run. Raises CannotRun (status UNWRITABLE) where something could not be; all the rest is."""
    short = take_back_with_hooks(journal.folder, journal.root, found, tell, hooks=hooks, leave=leave, asked=asked)
    for line in short:
        tell(f"could not be put back: {line}")
    if short:
        more = f" (and {len(short) - 1} more)" if len(short) > 1 else ""
        what_next = "put it right and run vpnprobe provision rollback again"
        raise CannotRun(f"not all could be put back: {short[0]}{more}; {what_next}", status=ExitStatus.UNWRITABLE)
    for one in found:
        end_watchdog(one.marks.get("complete", {}).get("watchdog", ()))


def _check_namespace(found: list[Transaction]) -> None:
    if elsewhere := other_namespace(found):
        raise UsageError(f"it was applied in another network namespace: run this behind {elsewhere}", status=ExitStatus.REFUSED)


def confirm(root: Path, tell: Tell, *, hooks: Hooks | None = None) -> str:
    """What is waiting stays. Gives its summary. Raises UsageError: nothing waits (REFUSED), or the time had run out (PUT_BACK)."""
    root = root.resolve()
    with opened(root) as journal:
        recover(journal, tell, hooks)
        transactions = journal.transactions()
        found = all_waiting(transactions)
        if not found:
            raise _nothing_waits(transactions)
        # In their order: a change that has joined a plan never outlives it.
        for one in found:
            try:
                journal.confirmed(one.number)
            except OSError as problem:
                why = f"the journal cannot be written ({problem.strerror}): it is not confirmed, and will be taken back"
                raise CannotRun(why, status=ExitStatus.UNWRITABLE) from None
            end_watchdog(one.marks["complete"].get("watchdog", ()))
        return str(found[0].begin["summary"])


def _nothing_waits(transactions: list[Transaction]) -> UsageError:
    last = next((one for one in reversed(transactions) if one.begin["confirm_within_s"] is not None), None)
    if last is not None and last.taken_back and "confirmed" not in last.marks:
        when = last.marks["rolled-back"]["at"]
        return UsageError(f"too late: it was taken back at {when}; apply the plan again", status=ExitStatus.PUT_BACK)
    return UsageError("nothing waits to be confirmed: see vpnprobe provision status", status=ExitStatus.REFUSED)


def give_up(root: Path, tell: Tell, number: int, *, hooks: Hooks | None = None) -> None:
    """Takes back one transaction that waits, and what has joined it; what is confirmed, or taken back already, stays as it is.

    Raises CannotRun (status UNWRITABLE) where not all could be put back. Hooks are told of it, and cannot refuse.
    """
    root = root.resolve()
    with opened(root) as journal:
        found = [one for one in journal.transactions() if one.number >= number and not one.taken_back and not one.confirmed]
        if found:
            put_back(journal, found, tell, hooks)


def roll_back(root: Path, tell: Tell, *, hooks: Hooks | None = None, leave: bool = False) -> tuple[str, ...]:
    """Takes back what is not confirmed; where all is confirmed, everything. Gives the summaries, newest first; empty: nothing was applied.

    Raises UsageError (status REFUSED) where a pre-rollback hook says no, CannotRun (status UNWRITABLE) where not all could be put back.
    `leave`: what cannot be put back is given up, and not tried again.
    """
    root = root.resolve()
    if not folder_of(root).is_dir():
        return ()
    with opened(root) as journal:
        found = live(journal.transactions())
        found = [one for one in found if not one.confirmed] or found
        if not found:
            return ()
        _check_namespace(found)
        if asked := not due(found):
            chosen = hooks_of(root) if hooks is None else hooks
            chosen.ask(Stage.PRE_ROLLBACK, journal.plan(found[-1].number).decode("utf-8", "replace"), tell)
        put_back(journal, found, tell, hooks, leave=leave, asked=asked)
        return tuple(str(one.begin["summary"]) for one in reversed(found))


class State(StrEnum):
    """Of a transaction."""

    UNDER_WAY = "under-way"
    """It is being applied, or was left half done: then the next command takes it back."""
    WAITS = "waits"
    """For confirmation."""
    OVERDUE = "overdue"
    """It was not confirmed in time, and is about to be taken back."""
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionStatus:
    """One, as the journal tells of it."""

    number: int
    summary: str
    at: str
    """When it was begun: RFC 3339, UTC."""
    state: State
    left_s: float | None
    """Until when it has to be confirmed; None where it does not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of a server."""

    transactions: tuple[TransactionStatus, ...]
    """Oldest first, those that were taken back too."""
    plan: Mapping[str, Any] | None
    """The newest plan that is applied and has settings, as JSON; None: nothing is applied."""
    daemons: Mapping[str, bool]
    """Processes that shall run, and whether they do."""
    units: Mapping[str, bool]
    """Systemd's units that shall run, and whether they do."""

    @property
    def waits_s(self) -> float | None:
        """Seconds in which the newest may still be confirmed; None: none waits."""
        return next((one.left_s for one in reversed(self.transactions) if one.state is State.WAITS), None)


def status(root: Path) -> Status:
    """Changes nothing and takes no lock. Raises UsageError, CannotRun where the journal cannot be read."""
    root = root.resolve()
    folder = folder_of(root)
    transactions = transactions_of(folder)
    plans = [plan for one in live(transactions) if (plan := _plan(folder, one.number)) is not None]
    steps = [step for plan in plans for step in plan.get("steps", ())]
    names = _kept({"daemon": True, "no-daemon": False}, "name", steps)
    units = _kept({"unit": True, "no-unit": False}, "unit", [step for step in steps if step.get("start", True)])
    return Status(
        transactions=tuple(map(_status_of, transactions)),
        plan=next((plan for plan in reversed(plans) if plan.get("settings")), None),
        daemons={name: supervise.running(inside(root, RUN), name) is not None for name in names},
        units={unit: _unit_runs(unit) for unit in units},
    )


def _kept(kinds: Mapping[str, bool], key: str, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the steps, taken in their order, leave running. `kinds`: whether a step of a kind starts it or ends it."""
    found = {step[key]: kinds[step["kind"]] for step in steps if step["kind"] in kinds}
    return [name for name, runs in found.items() if runs]


def _status_of(one: Transaction) -> TransactionStatus:
    left_s = None
    if one.taken_back:
        state = State.ROLLED_BACK
    elif one.confirmed:
        state = State.CONFIRMED
    elif "complete" not in one.marks or "rolling-back" in one.marks:
        state = State.UNDER_WAY
    elif one.left_s > 0:
        state, left_s = State.WAITS, one.left_s
    else:
        state = State.OVERDUE
    return TransactionStatus(number=one.number, summary=one.begin["summary"], at=one.begin["at"], state=state, left_s=left_s)


def _plan(folder: Path, number: int) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / f"plans/{number}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _unit_runs(unit: str) -> bool:
    try:
        return run({"argv": ["systemctl", "is-active", "--quiet", unit]}).returncode == 0
    except OSError:
        return False
