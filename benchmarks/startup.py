"""How long `vpnprobe --help` takes, beside `python -c "import click"` in the same environment: the two in turn, medians and their ratio."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15


def seconds(command: list[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    programs = Path(sys.executable).parent
    ours, theirs = [str(programs / "vpnprobe"), "--help"], [sys.executable, "-c", "import click"]
    seconds(ours)
    seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(RUNS)]
    help_s, click_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    print(f"startup: vpnprobe --help {1000 * help_s:.0f} ms, import click {1000 * click_s:.0f} ms, ratio {ratio:.2f} ({RUNS} pairs)")


if __name__ == "__main__":
    main()
