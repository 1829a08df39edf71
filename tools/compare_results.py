#!/usr/bin/env python3
"""Holds two versions of vpnprobe against each other: the result documents of all built-in scenarios, simulated with fixed seeds.

    compare_results.py record FOLDER [--vpnprobe PROGRAM] [--seeds N]      writes one document a scenario and seed
    compare_results.py compare BEFORE AFTER                               prints what differs; status 1 where anything does

What a version may change without changing its word is left out: ids of the run, times, and figures that follow from the order of chance.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TOLD = ("outcome", "cause", "location", "sent", "received")
"""Of an observation."""


def record(folder: Path, program: str, seeds: int) -> int:
    listed = subprocess.run([program, "lab", "list"], capture_output=True, text=True, check=True).stdout
    names = sorted(line.split()[0] for line in listed.splitlines() if line.strip())
    folder.mkdir(parents=True, exist_ok=True)

    def one(task: tuple[str, int]) -> None:
        name, seed = task
        arguments = [program, "demo", "--scenario", name, "--seed", str(seed), "--json", "--quiet", "-o", str(folder / f"{name}-{seed}.d")]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        (folder / f"{name}-{seed}.json").write_text(done.stdout, "utf-8")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(name, seed) for name in names for seed in range(1, seeds + 1)]))
    return 0


def compare(before: Path, after: Path) -> int:
    files = sorted(path.name for path in before.glob("*.json"))
    different = 0
    for name in files:
        lines = list(differences(json.loads((before / name).read_text("utf-8")), json.loads((after / name).read_text("utf-8"))))
        if lines:
            different += 1
            print(name, *lines, sep="\n  ")
    print(f"{len(files) - different} of {len(files)} documents say the same")
    return 1 if different else 0


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Lines that say what is told otherwise."""
    rows = [{row["id"]: {name: row.get(name) for name in TOLD} for row in document["observations"]} for document in (before, after)]
    lines = [
        f"{name}: {rows[0].get(name)} -> {rows[1].get(name)}"
        for name in sorted(rows[0].keys() | rows[1].keys())
        if rows[0].get(name) != rows[1].get(name)
    ]
    verdicts = [
        {verdict["protocol"]: (verdict["feasibility"], verdict.get("port")) for verdict in document["verdicts"]}
        for document in (before, after)
    ]
    lines += [
        f"verdict of {name}: {verdicts[0].get(name)} -> {verdicts[1].get(name)}"
        for name in verdicts[0]
        if verdicts[0][name] != verdicts[1].get(name)
    ]
    told = [(document["recommendation"] or {}).get("protocol") for document in (before, after)]
    return lines + ([f"recommendation: {told[0]} -> {told[1]}"] if told[0] != told[1] else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--vpnprobe", default=".venv/bin/vpnprobe")
    recording.add_argument("--seeds", type=int, default=2)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    told = parser.parse_args()
    return record(told.folder, told.vpnprobe, told.seeds) if told.command == "record" else compare(told.before, told.after)


if __name__ == "__main__":
    sys.exit(main())
