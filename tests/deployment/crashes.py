"""Applies a plan many times, and kills it or cuts its power: afterwards the server must be what it was. By hand, as root:

    python tests/deployment/crashes.py [--kills 200] [--cuts STEP] [--lucky 100]

Kills after each line of the journal, kills at random moments, and power cuts before each STEPth operation on files; each with its recovery
by the watchdog, by the next command or by rollback.py. The tests do a few of each.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployment_support import Server, namespace, wait_for
from power import put_in_place

from vpnprobe.deployment import supervise
from vpnprobe.deployment.rollback import read_journal

PROGRAM = Path(__file__).with_name("deployment_support.py")
ENTRIES = 20
"""Lines of the journal that the whole plan writes."""
RECOVER = """
import sys
from pathlib import Path
from vpnprobe.deployment.journal import opened
from vpnprobe.deployment.transactions import recover
with opened(Path(sys.argv[1])) as journal:
    recover(journal, print)
"""


@contextmanager
def server(name: str) -> Iterator[Server]:
    """Fresh, in a namespace of its own."""
    with tempfile.TemporaryDirectory() as scratch, namespace(name):
        one = Server(Path(scratch) / "root", name)
        one.fill()
        one.boot()
        try:
            yield one
        finally:
            supervise.stop(one.root / "run/vpnprobe", "server")


def program(one: Server, *options: object) -> "subprocess.Popen[str]":
    words = ["ip", "netns", "exec", one.namespace, sys.executable, str(PROGRAM), str(one.root), *map(str, options)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def recover(one: Server, by: str) -> None:
    """By whom what was left half done is taken back."""
    match by:
        case "watchdog":
            wait_for(lambda: nothing_left(one))
        case "command":
            done = one.command(sys.executable, "-c", RECOVER, one.root)
            assert done.returncode == 0, done.stderr
        case _:
            if (one.journal / "rollback.py").exists():
                done = one.command(sys.executable, "-I", one.journal / "rollback.py", "--unconfirmed")
                assert done.returncode == 0, done.stderr
    if by != "watchdog":
        assert nothing_left(one)


def nothing_left(one: Server) -> bool:
    return all(transaction.taken_back or transaction.confirmed for transaction in read_journal(one.journal))


def same(before: dict[str, object], after: dict[str, object]) -> None:
    differ = {part: (before[part], after[part]) for part in before if before[part] != after[part]}
    assert not differ, differ


def killed_after_entry(one: Server, entry: int, by: str) -> None:
    before = one.state()
    process = program(one, "--die-after-entry", entry, *([] if by == "watchdog" else ["--no-watchdog"]), "--confirm-within", 600)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -9, said
    if len(read_journal(one.journal)[-1].marks) and "complete" in read_journal(one.journal)[-1].marks:
        assert one.command(sys.executable, one.journal / "rollback.py", "--unconfirmed").returncode == 0
    else:
        recover(one, by)
    same(before, one.state())


def killed_after(one: Server, seconds: float, by: str) -> bool:
    """Whether it was killed in the middle: else it was complete already, and is taken back as such."""
    before = one.state()
    process = program(one, *([] if by == "watchdog" else ["--no-watchdog"]), "--confirm-within", 600)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)
    transactions = read_journal(one.journal)
    complete = bool(transactions) and "complete" in transactions[-1].marks
    if complete:
        assert one.command(sys.executable, one.journal / "rollback.py", "--unconfirmed").returncode == 0
    elif transactions:
        recover(one, by)
    same(before, one.state())
    return not complete


def cut(one: Server, at: int, *, luck: int = -1) -> bool:
    """Whether the power was cut: else the plan has fewer operations."""
    before = one.state()
    process = program(one, "--cut-at", at, "--no-watchdog", "--confirm-within", 600, "--luck", luck)
    _, said = process.communicate(timeout=120)
    supervise.stop(one.root / "run/vpnprobe", "server")
    if process.returncode == 0:
        return False
    assert process.returncode == 99, said
    put_in_place(one.root)
    one.boot()
    recover(one, "boot")
    same(before, one.state())
    return True


def cut_undoing(one: Server, at: int) -> bool:
    """Whether the power was cut while it was taken back: else that has fewer operations. Taken up again at boot, it comes to the same."""
    before = one.state()
    process = program(one, "--roll-back", "--cut-at", at, "--no-watchdog")
    _, said = process.communicate(timeout=120)
    supervise.stop(one.root / "run/vpnprobe", "server")
    if process.returncode == 0:
        return False
    assert process.returncode == 99, said
    put_in_place(one.root)
    one.boot()
    begun = any("rolling-back" in transaction.marks for transaction in read_journal(one.journal))
    done = one.command(sys.executable, "-I", one.journal / "rollback.py", *(["--unconfirmed"] if begun else []))
    assert done.returncode == 0, done.stderr
    same(before, one.state())
    return True


def operations(name: str, *options: str) -> int:
    """How many operations on files the whole plan has, or taking it back."""
    with server(name) as one:
        out, said = program(one, *options, "--cut-at", 1 << 30, "--no-watchdog").communicate(timeout=120)
        assert out, said
        return int(out.splitlines()[-1])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="at random moments (default 200)")
    parser.add_argument("--cuts", type=int, default=1, help="a power cut before each operation of this distance (default 1: all)")
    parser.add_argument("--lucky", type=int, default=100, help="power cuts after which some of the rest remains (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="vpcrash", help="of the network namespace")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    for by in ("watchdog", "command", "boot"):
        for entry in range(1, ENTRIES + 1):
            with server(options.name) as one:
                killed_after_entry(one, entry, by)
        print(f"killed after each of {ENTRIES} lines of the journal, recovered by {by}: as before", flush=True)
    amid = 0
    for _ in range(options.kills):
        with server(options.name) as one:
            amid += killed_after(one, chance.uniform(0, 1.0), chance.choice(("watchdog", "command", "boot")))
    print(f"killed at {options.kills} random moments, {amid} of them in the middle: as before", flush=True)
    total = operations(options.name)
    count = 0
    for at in range(0, total, options.cuts):
        with server(options.name) as one:
            count += cut(one, at)
    print(f"power cut before {count} of {total} operations, only what was synced remains: as before", flush=True)
    undone = operations(options.name, "--roll-back")
    count = 0
    for at in range(0, undone, options.cuts):
        with server(options.name) as one:
            count += cut_undoing(one, at)
    print(f"power cut before {count} of {undone} operations that take it back: as before", flush=True)
    for number in range(options.lucky):
        with server(options.name) as one:
            cut(one, chance.randrange(total), luck=number)
    print(f"power cut {options.lucky} times, some of the rest remains: as before", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
