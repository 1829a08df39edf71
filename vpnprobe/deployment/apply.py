"""Applies a plan: all of it or nothing. Each step is journalled, with what takes it back, before it is taken.

Nothing is begun before everything is checked. Where a step fails, what was done goes back at once; where this program is killed, its
watchdog takes it back; after a power cut the boot unit or the next command does. A plan that is applied already changes nothing.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vpnprobe.deployment.checks import Precondition, check_before, check_host, length_before, pending_steps, refused
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.effects import StepFailed, is_done, is_pending, on_server, take, undos
from vpnprobe.deployment.encoding import json_text
from vpnprobe.deployment.hooks import HookFailed, Hooks, Stage, hooks_of
from vpnprobe.deployment.journal import Journal, opened, unwritable
from vpnprobe.deployment.rollback import Transaction
from vpnprobe.deployment.steps import AnyStep, MakeDirectory, Plan, RunCommand, WriteFile
from vpnprobe.deployment.taking_back import live, waiting
from vpnprobe.deployment.transactions import confirm, put_back, recover, roll_back, status
from vpnprobe.deployment.undoing import MARK
from vpnprobe.deployment.watchdog import Watchdog, start_watchdog
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

__all__ = ["Applied", "apply_plan", "confirm", "roll_back", "status"]

JOINS_BEFORE_S: Final = 0.5
"""So much earlier than the plan that it joins a change is taken back: what came later goes first."""
FAILURES: Final = (StepFailed, HookFailed, OSError, subprocess.SubprocessError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply has come to."""

    transaction: int | None
    """Its number; None: everything was there already, and nothing was changed."""
    taken: tuple[str, ...]
    """Ids of the steps that were taken, in their order."""
    waits_s: float | None
    """Seconds in which it has to be confirmed (`confirm`); None: it stays without."""


def apply_plan(
    plan: Plan,
    *,
    root: Path = Path("/"),
    confirm_within_s: float | None = None,
    hooks: Hooks | None = None,
    tell: Callable[[str], None] = lambda line: None,
    preconditions: Sequence[Precondition] = (),
    joins: bool = False,
) -> Applied:
    """Takes all steps of a plan that are not done already.

    `joins`: it may be taken while another plan waits to be confirmed. Where nothing was confirmed before that, it is confirmed or taken
    back with it. A server that was there before would go on letting in what was issued meanwhile, and let in again what was revoked: so a
    change of its keys then stays by itself, or is refused where the plan has written the same files or the change needs more than files.
    `hooks` None: those of the system and the user. `preconditions` are asked when there is something to do. Raises UsageError (REFUSED:
    something is in the way) and CannotRun (MISSING, UNWRITABLE), after which nothing is changed, and CannotRun (PUT_BACK): everything
    was put back.
    """
    root, said = root.resolve(), _quiet(tell)
    chosen = hooks_of(root) if hooks is None else hooks
    check_host(plan, root)
    with opened(root) as journal:
        recover(journal, said, None if joins else chosen)
        unconfirmed = waiting(journal.transactions())
        pending = pending_steps(plan, root)
        if not pending:
            return Applied(transaction=None, taken=(), waits_s=None if unconfirmed is None else unconfirmed.left_s)
        if unconfirmed is not None:
            stays, left_s = any(one.confirmed for one in live(journal.transactions())), unconfirmed.left_s - JOINS_BEFORE_S
            if not joins or left_s <= 0 or (stays and not _is_apart(pending, unconfirmed, root)):
                summary = unconfirmed.begin["summary"]
                raise refused(f"{summary!r} waits to be confirmed: vpnprobe provision confirm, or rollback, before anything else")
            confirm_within_s = None if stays else left_s
        check_before(pending, root, preconditions, said)
        chosen.ask(Stage.PRE_APPLY, json_text(plan), said)
        return _Applying(journal, plan, chosen, said).run(pending, confirm_within_s)


def _is_apart(pending: Sequence[AnyStep], other: Transaction, root: Path) -> bool:
    """Whether steps write files alone, none of which a transaction has written: then it can be taken back without them."""
    written = {undo["path"] for step in other.steps for undo in step["undo"] if undo["do"] == "file"}
    files = [step for step in pending if not isinstance(step, MakeDirectory)]
    return all(isinstance(step, WriteFile) and on_server(root, inside(root, step.path)) not in written for step in files)


def _quiet(tell: Callable[[str], None]) -> Callable[[str], None]:
    """A terminal that has gone does not stop an apply in its middle."""

    def told(line: str) -> None:
        with suppress(OSError, ValueError):
            tell(line)

    return told


class _Applying:
    """One transaction, under the lock."""

    def __init__(self, journal: Journal, plan: Plan, hooks: Hooks, tell: Callable[[str], None]) -> None:
        self.journal, self.plan, self.hooks, self.tell = journal, plan, hooks, tell
        self.taken: list[str] = []
        self.changed: set[str] = set()

    def run(self, pending: Sequence[AnyStep], confirm_within_s: float | None) -> Applied:
        watchdog = start_watchdog(self.journal.folder, self.journal.root)
        try:
            number = self._begin(pending, confirm_within_s)
            try:
                self._take_all(number, watchdog)
                self.hooks.run(Stage.POST_APPLY, json_text(self.plan), self.tell, after_each=watchdog.alive)
                self._complete(number, confirm_within_s, watchdog)
            except BaseException as problem:
                self._put_back(number, problem)
                raise
        finally:
            watchdog.release()
        return Applied(transaction=number, taken=tuple(self.taken), waits_s=confirm_within_s)

    def _begin(self, pending: Sequence[AnyStep], confirm_within_s: float | None) -> int:
        reserve_bytes = sum(length_before(step, self.journal.root) for step in pending)
        plan = json_text(self.plan).encode()
        try:
            return self.journal.begin(summary=self.plan.summary, confirm_within_s=confirm_within_s, plan=plan, reserve_bytes=reserve_bytes)
        except OSError as problem:
            raise unwritable(self.journal.folder, problem) from None

    def _take_all(self, number: int, watchdog: Watchdog) -> None:
        environment = {MARK: f"{self.journal.folder}:{number}"}
        for place, step in enumerate(self.plan.steps):
            # Asked again in its turn: an earlier step may have done it, or undone it.
            if not is_pending(step, self.journal.root, self.changed):
                continue
            try:
                self._take(number, place, step, environment, watchdog)
            except FAILURES as problem:
                raise StepFailed(f"{step.id}: {_why(problem)}") from problem
            watchdog.alive()
        self._prove(watchdog)

    def _prove(self, watchdog: Watchdog) -> None:
        """That all is as it shall be at the end: a step may have undone an earlier one."""
        for step in self.plan.steps:
            asked = not isinstance(step, RunCommand) or step.done_when is not None
            if asked and not is_done(step, self.journal.root, ()):
                raise StepFailed(f"{step.id}: it was done, and is not as it shall be")
            watchdog.alive()

    def _take(self, number: int, place: int, step: AnyStep, environment: Mapping[str, str], watchdog: Watchdog) -> None:
        root, temporary = self.journal.root, f".vpnprobe-{number}-{place}"
        undo = undos(step, root, save=lambda content: self.journal.save(number, place, content), temporary=temporary)
        self.journal.step(number, place, name=step.id, why=step.why, undo=undo)
        self.tell(step.why)
        watchdog.alive()
        take(step, root, temporary=temporary, environment=environment)
        self.journal.done(number, place)
        self.taken.append(step.id)

    def _complete(self, number: int, confirm_within_s: float | None, watchdog: Watchdog) -> None:
        deadline = None if confirm_within_s is None else time.clock_gettime(time.CLOCK_BOOTTIME) + confirm_within_s
        self.journal.complete(number, deadline, watchdog.identity)

    def _put_back(self, number: int, problem: BaseException) -> None:
        """Raises CannotRun, unless `problem` is no failure of a step: then it is the caller's."""
        why = "it was interrupted" if isinstance(problem, KeyboardInterrupt) else _why(problem)
        self.tell(f"{why}: everything is put back")
        mine: list[Transaction] = [one for one in self.journal.transactions() if one.number == number]
        put_back(self.journal, mine, self.tell, self.hooks)
        if isinstance(problem, (*FAILURES, KeyboardInterrupt, UsageError, CannotRun)):
            raise CannotRun(f"{why}; everything has been put back", status=ExitStatus.PUT_BACK) from None


def _why(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return f"{os.fspath(problem.filename)}: {problem.strerror}" if isinstance(problem.filename, str | Path) else problem.strerror
    return str(problem) or type(problem).__name__
