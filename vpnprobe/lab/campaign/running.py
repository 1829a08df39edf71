"""Draws that are measured in virtual time and compared with the truth, one after another or in several processes.

What comes of a draw depends on it alone, and results are taken in the order of the draws, so that the number of processes changes nothing.
"""

import signal
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Final

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.conversations.registry import usual_ports
from vpnprobe.errors import CannotRun
from vpnprobe.lab.campaign.comparing import compare_rows
from vpnprobe.lab.campaign.comparing_verdicts import compare_verdicts
from vpnprobe.lab.campaign.draw import Draw, draw
from vpnprobe.lab.campaign.findings import Comparison, Wrong
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import Topology

_NO_INTERRUPTS: Final = (signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Judged:
    """A draw, and what its run said beside the truth."""

    draw: Draw
    comparison: Comparison


def judge_draw(drawn: Draw) -> Judged:
    return Judged(drawn, judge_topology(drawn.topology, drawn.seed))


def judge_topology(topology: Topology, seed: int) -> Comparison:
    """Runs both agents in the topology, as `vpnprobe demo` does, and compares what comes out with the truth."""
    comparison = Comparison()
    ports = (*usual_ports(), CONTROL_PORT)
    try:
        measured, _ = measure_simulated(topology, seed=seed, settings=Settings(usual_ports(), control_port=CONTROL_PORT), tell=_ignore)
        decision = decide(measured.observations, rules=load_default(), ports=ports, control_port=CONTROL_PORT)
    except CannotRun as error:
        comparison.wrong(Wrong.INCOMPLETE, "run", str(error), "the control connection passes")
        return comparison
    except Exception:  # Whatever it is, it is a fault to be told, and the other draws go on.
        comparison.wrong(Wrong.ERROR, "run", traceback.format_exc().splitlines()[-1], "no run ends so")
        return comparison
    if not measured.complete:
        comparison.wrong(Wrong.INCOMPLETE, "run", measured.problem, "nothing interrupts it")
    compare_rows(comparison, topology, measured.observations)
    compare_verdicts(comparison, topology, decision.verdicts, decision.recommendation, candidates=usual_ports(), control_port=CONTROL_PORT)
    return comparison


def _ignore(_: str) -> None:
    """Progress of a single run."""


def campaign(seed: int, numbers: Iterable[int], *, processes: int) -> Iterator[Judged]:
    """The draws of these numbers, in this order."""
    drawn = map(partial(draw, seed), numbers)
    if processes == 1:
        yield from map(judge_draw, drawn)
        return
    # A terminal's Ctrl-C comes to all of them, and is for the one that gathers.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=signal.signal, initargs=_NO_INTERRUPTS) as pool:
        yield from pool.map(judge_draw, drawn)
