"""What has to be taken back without anybody asking, and taking it back with the administrator's hooks before and after.

A hook that fails does not stop what has to be taken back by itself: it is told. (rollback.py alone, in an emergency, runs none.)
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from vpnprobe.deployment.hooks import HookFailed, Hooks, Stage, hooks_of
from vpnprobe.deployment.pki_forgotten import forgotten, known_certificates
from vpnprobe.deployment.rollback import Transaction, take_back

Tell = Callable[[str], None]


def due(transactions: Sequence[Transaction]) -> list[Transaction]:
    """Under the lock: left half done, half taken back, or not confirmed in time; and what is not confirmed and came after it.

    What came later stands on what was there before: it goes first, or its files would be taken for somebody else's.
    """
    waits = [one for one in transactions if not one.taken_back and not one.confirmed]
    first = min((one.number for one in waits if one.left_s <= 0), default=None)
    return [one for one in waits if first is not None and one.number >= first]


def live(transactions: Sequence[Transaction]) -> list[Transaction]:
    """Not taken back."""
    return [one for one in transactions if not one.taken_back]


def all_waiting(transactions: Sequence[Transaction]) -> list[Transaction]:
    """Those that may still be confirmed: a plan, and changes that have joined it."""
    return [one for one in transactions if not one.taken_back and not one.confirmed and one.left_s > 0]


def waiting(transactions: Sequence[Transaction]) -> Transaction | None:
    """The plan that may still be confirmed."""
    return next(iter(all_waiting(transactions)), None)


def take_back_with_hooks(
    folder: Path,
    root: Path,
    transactions: Sequence[Transaction],
    tell: Tell,
    *,
    hooks: Hooks | None = None,
    leave: bool = False,
    asked: bool = False,
) -> list[str]:
    """Under the lock; `asked`: pre-rollback hooks have run. Gives what could not be put back, a line each."""
    chosen = hooks_of(root) if hooks is None else hooks
    plan = _plan(folder, transactions)
    if not asked:
        _try_hooks(chosen, Stage.PRE_ROLLBACK, plan, tell)
    known = known_certificates(root)
    short = take_back(folder, root, transactions, tell, leave=leave)
    for line in forgotten(known, root):
        tell(line)
    _try_hooks(chosen, Stage.POST_ROLLBACK, plan, tell)
    return short


def _try_hooks(hooks: Hooks, stage: Stage, plan: str, tell: Tell) -> None:
    try:
        hooks.run(stage, plan, tell)
    except (HookFailed, OSError) as problem:
        tell(f"{problem}; it is taken back all the same")


def _plan(folder: Path, transactions: Sequence[Transaction]) -> str:
    """Of the newest one; empty: it is gone."""
    newest = max((one.number for one in transactions), default=0)
    try:
        return (folder / f"plans/{newest}.json").read_text("utf-8")
    except OSError:
        return ""
