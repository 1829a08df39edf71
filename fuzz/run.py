#!/usr/bin/env python3
"""A coverage-guided fuzzer over what reads the words of a peer, a profile or a capture. `make fuzz` runs it.

    python fuzz/run.py                                          every target, 60 seconds each
    python fuzz/run.py wireguard_session --seconds 600          one target; its corpus is in vpnprobe-results/fuzz/NAME and grows
    python fuzz/run.py wireguard_session FILE...                plays inputs again, such as a crash that was found; needs no atheris

A target is a function from bytes to nothing, in one module; what it begins with comes from the function of the same name in another. An
input that raises what it may not, takes longer than 20 seconds or fills 1 GiB is kept in vpnprobe-results/fuzz as
NAME-crash-..., NAME-timeout-... or NAME-oom-...: mend what it shows, and make it an example in the tests.
Needs atheris (`pip install -e '.[fuzz]'`); where it is not to be had, one line says so and the status is 0.
"""

import argparse
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "vpnprobe-results" / "fuzz"


@dataclass(frozen=True, slots=True)
class Target:
    """One function that is fuzzed."""

    module: str
    function: str
    seeds: str
    """The module whose function of the same name has the inputs to begin with."""
    longest: int
    """The most bytes of an input."""


TARGETS: Final = {
    "openvpn_packets": Target("openvpn_decoding", "packets", "openvpn_seeds", 4096),
    "openvpn_wraps": Target("openvpn_decoding", "wraps", "openvpn_seeds", 2048),
    "openvpn_keying": Target("openvpn_decoding", "keying", "openvpn_seeds", 4096),
    "openvpn_messages": Target("openvpn_decoding", "messages", "openvpn_seeds", 4096),
    "openvpn_data_channel": Target("openvpn_decoding", "data_channel", "openvpn_seeds", 2048),
    "openvpn_keys": Target("openvpn_decoding", "keys", "openvpn_seeds", 4096),
    "openvpn_profile": Target("openvpn_decoding", "profile", "openvpn_seeds", 8192),
    "openvpn_session": Target("openvpn_talking", "session", "openvpn_seeds", 1024),
    "wireguard_messages": Target("wireguard_decoding", "messages", "wireguard_seeds", 2048),
    "wireguard_handshake": Target("wireguard_decoding", "handshake", "wireguard_seeds", 512),
    "wireguard_data": Target("wireguard_decoding", "data", "wireguard_seeds", 1024),
    "wireguard_session": Target("wireguard_talking", "session", "wireguard_seeds", 1024),
    "captured": Target("capture_reading", "captured", "capture_seeds", 16384),
    "capture": Target("capture_reading", "capture", "capture_seeds", 65536),
    "text": Target("capture_reading", "text", "capture_seeds", 16384),
}
"""In the order in which they are run."""
SLOW_S: Final = 20
MOST_MIB: Final = 1024

for needed in ("tests", "tests/conversations", "tests/profiles", "tests/capture"):
    sys.path.append(str(ROOT / needed))


def target_named(name: str) -> Callable[[bytes], None]:
    target = TARGETS[name]
    found: Callable[[bytes], None] = getattr(importlib.import_module(target.module), target.function)
    return found


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def seed(name: str, folder: Path) -> list[bytes]:
    """Writes the target's seeds into a folder, and returns them. They are made anew each time, and kept apart from what was found."""
    target = TARGETS[name]
    seeds = list(getattr(importlib.import_module(target.seeds), target.function)())
    for data in seeds:
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    return seeds


def fuzz_one(name: str, seconds: int) -> None:
    """Runs one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["vpnprobe"]):
        target = target_named(name)
    corpus, seeds = RESULTS / name, Path(mkdtemp(prefix="vpnprobe-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seed(name, seeds):
        # Whatever is imported late or made once is made now.
        target(data)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={TARGETS[name].longest}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MOST_MIB}",
        f"-artifact_prefix={RESULTS}/{name}-",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], target)
    atheris.Fuzz()


def fuzz_each(names: list[str], seconds: int) -> int:
    """Runs targets one after the other, each in a process of its own; one line for each. Returns how many found something."""
    found = 0
    for name in names:
        command = [sys.executable, __file__, name, "--seconds", str(seconds), "--here"]
        RESULTS.mkdir(parents=True, exist_ok=True)
        log = RESULTS / f"{name}.log"
        # libFuzzer leaves its process without tidying up: what the target makes is in a folder of this one.
        with log.open("wb") as file, TemporaryDirectory(prefix="vpnprobe-fuzz-") as folder:
            own = {**os.environ, "TMPDIR": folder}
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False, env=own)
        said = log.read_text(errors="replace").splitlines()
        counts = dict(line.removeprefix("stat::").split(":", 1) for line in said if line.startswith("stat::") and ":" in line[6:])
        runs, rate = (counts.get(key, "?").strip() for key in ("number_of_executed_units", "average_exec_per_sec"))
        result = "nothing found" if done.returncode == 0 else f"FOUND SOMETHING: {log.relative_to(ROOT)}"
        print(f"{name}: {runs} runs, {rate} a second: {result}", flush=True)
        found += done.returncode != 0
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes vpnprobe's OpenVPN and WireGuard, its profile reader and its captures.")
    parser.add_argument("target", nargs="?", choices=["all", *TARGETS], default="all")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to play again instead")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.files:
        for path in arguments.files:
            target_named(arguments.target)(path.read_bytes())
        return 0
    if not has_atheris():
        print("atheris is not installed, and nothing was fuzzed by coverage: pip install -e '.[fuzz]'")
        return 0
    if arguments.here:
        fuzz_one(arguments.target, arguments.seconds)
        return 0
    return min(1, fuzz_each(list(TARGETS) if arguments.target == "all" else [arguments.target], arguments.seconds))


if __name__ == "__main__":
    sys.exit(main())
