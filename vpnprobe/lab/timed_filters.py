"""What happens in a lab at its times: filters that come and go, programs that stand still.

Times count from the moment at which the client's first TCP connection is up.
"""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from vpnprobe.errors import CannotRun
from vpnprobe.lab.nftables import TimedRules
from vpnprobe.transports.topology import Stall

POLL_S: Final = 0.01
Nft = Callable[[str, str], str]
"""Runs nft on a host with a text for its standard input (`nft -f -`), and gives what it prints."""
Counted = Callable[[str, str], int]
"""How many packets the filters of a table on a host acted on."""
Stop = Callable[[str, bool], None]
"""Stops the programs of a host (True) or lets them go on."""


def _stop_nothing(host: str, stopped: bool) -> None:
    """Where no program stands still."""


@dataclass(slots=True)
class TimedFilters:
    """Runs in a thread of its own between `begin` and `end`."""

    rules: Sequence[TimedRules]
    nft: Nft
    counted: Counted
    connected: Callable[[], bool]
    """Whether the client has a TCP connection."""
    stalls: Sequence[Stall] = ()
    stop: Stop = _stop_nothing
    acted: Counter[str] = field(default_factory=Counter)
    """By host: packets that filters acted on which are gone."""
    problem: str = ""
    """Why a filter could not be planted, one line; empty: all could."""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        if self.rules or self.stalls:
            self._thread = threading.Thread(target=self._play, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Filters that are still there stay; programs go on."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _play(self) -> None:
        try:
            while not self.connected():
                if self._over.wait(POLL_S):
                    return
            self._play_from(time.monotonic())
        except (CannotRun, OSError) as problem:
            self.problem = str(problem)
        finally:
            for host in {stall.at for stall in self.stalls}:
                self.stop(host, False)

    def _play_from(self, began: float) -> None:
        for at, happens in heapq.merge(*self._stories(), key=lambda moment: moment[0]):
            if self._over.wait(max(0.0, began + at - time.monotonic())):
                return
            happens()

    def _stories(self) -> Iterator[Iterator[tuple[float, Callable[[], None]]]]:
        """What happens when, seconds, of each filter and each stall, in its order."""
        for rules in self.rules:
            going = [(rules.to_s, partial(self._goes, rules))] if rules.to_s is not None else []
            yield iter([(rules.from_s, partial(self._comes, rules)), *going])
        for stall in self.stalls:
            yield _moments(stall, self.stop)

    def _comes(self, rules: TimedRules) -> None:
        self.nft(rules.host, rules.text)

    def _goes(self, rules: TimedRules) -> None:
        self.acted[rules.host] += self.counted(rules.host, rules.table)
        self.nft(rules.host, f"delete table ip {rules.table}\n")


def _moments(stall: Stall, stop: Stop) -> Iterator[tuple[float, Callable[[], None]]]:
    for number in count() if stall.every_s is not None else range(1):
        later_s = number * (stall.every_s or 0.0)
        yield stall.from_s + later_s, partial(stop, stall.at, True)
        yield stall.to_s + later_s, partial(stop, stall.at, False)
