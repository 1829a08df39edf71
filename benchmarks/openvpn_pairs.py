"""Tries pairs of an OpenVPN server and a profile with the real client and with vpnprobe, and prints the tables of docs/openvpn.md.

Run by hand as root: `.venv/bin/python benchmarks/openvpn_pairs.py [--pairs N] [--seed N] [--server PROGRAM]`. The exit status is 0 where
all verdicts are what the real client experiences, no cause is a wrong one, and 95 of 100 that fail are named.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "real"))

from openvpn_pair_runs import Judged, judged
from openvpn_pairs import draw

LEAST_NAMED = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="", metavar="PROGRAM", help="an openvpn of another release, for the servers")
    parser.add_argument("--at-once", type=int, default=2, help="runs of vpnprobe")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = judged(draw(wanted.pairs, wanted.seed), Path(folder), at_once=wanted.at_once, server=wanted.server)
    print("| pair | drawn on | the real client | verdict | name |")
    print("| --- | --- | --- | --- | --- |")
    for one in sorted(found, key=lambda one: (one.real.works, one.pair.kind)):
        pair = one.pair
        base = f"{pair.transport}, {pair.wrapping}, {pair.algorithm}{', password' if pair.user_password else ''}"
        names = ", ".join([*one.names, *(f"suspected: {words}" for words in sorted(one.suspicions))])
        print(f"| {pair.kind} | {base} | {one.real} | {one.feasibility}{mark(one)} | {names} |")
    return summed(found)


def mark(one: Judged) -> str:
    if one.is_open:
        return ""
    if not one.agrees:
        return " (OTHERWISE)"
    return " (WRONG NAME)" if one.is_wrong else " (not named)" if one.is_failure and not one.is_named else ""


def summed(found: Sequence[Judged]) -> int:
    """Prints the figures; the exit status."""
    left_open = [one for one in found if one.is_open]
    decided = [one for one in found if not one.is_open]
    failing = [one for one in decided if one.is_failure]
    named = sum(one.is_named for one in failing)
    agreeing, wrong = sum(one.agrees for one in decided), sum(one.is_wrong for one in found)
    kept = [one for one in left_open if one.real.works]
    print()
    print(f"- Verdict as the real client has it: {agreeing} of {len(decided)}.")
    print(f"- Left open as not supported by vpnprobe: {len(left_open)}; the real client works in {len(kept)} of them.")
    print(f"- Of {len(failing)} that fail: infeasible {sum(one.settled for one in failing)}, the rest not known.")
    print(f"- Cause of a failure named: {named} of {len(failing)}; a wrong one: {wrong}.")
    for title, some in (("that work", [one for one in decided if one.real.works]), ("that fail", failing)):
        for what, times in (
            ("The whole command", {one.took_s: one for one in some}),
            ("Of these the run", {one.result.run.duration_s: one for one in some}),
        ):
            if times:
                slowest = times[max(times)].pair
                at_most = f"{max(times):.1f} at most ({slowest.kind}, {slowest.transport})"
                print(f"- {what}, seconds, {len(some)} {title}: {min(times):.1f} at least, {median(times):.1f} in the middle, {at_most}.")
    return 0 if agreeing == len(decided) and not wrong and named >= LEAST_NAMED * len(failing) else 1


if __name__ == "__main__":
    sys.exit(main())
