"""Draws that are measured in virtual time and compared with the truth, one after another or in several processes.

What comes of a draw depends on it alone, and results are taken in the order of the draws, so that the number of processes changes nothing.
"""

import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context
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

AHEAD: Final = 8
"""Draws for each process that are under way or wait: some take many times as long as others."""


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
    before = set(active_children())
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent) as pool:
        try:
            # Not `pool.map`: what it cancels then, the pool cannot mark as broken, and says so in a traceback.
            waiting = deque(pool.submit(judge_draw, one) for one in islice(drawn, AHEAD * processes))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(judge_draw, one) for one in islice(drawn, 1))
        except BaseException:  # Interrupted, or nobody asks for more: a draw may take minutes.
            for worker in set(active_children()) - before:
                worker.kill()
            raise


def _leave_interrupts_to_the_parent() -> None:
    """What ends the whole group of processes, as a terminal's Ctrl-C does, is for the one that gathers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
