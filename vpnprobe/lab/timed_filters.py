"""Filters of a lab that come and go at their times, counted from the moment at which the client's first TCP connection is up."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.errors import CannotRun
from vpnprobe.lab.nftables import TimedRules

POLL_S: Final = 0.01
Nft = Callable[[str, str], str]
"""Runs nft on a host with a text for its standard input (`nft -f -`), and gives what it prints."""
Counted = Callable[[str, str], int]
"""How many packets the filters of a table on a host acted on."""


@dataclass(slots=True)
class TimedFilters:
    """Runs in a thread of its own between `begin` and `end`."""

    rules: Sequence[TimedRules]
    nft: Nft
    counted: Counted
    connected: Callable[[], bool]
    """Whether the client has a TCP connection."""
    acted: Counter[str] = field(default_factory=Counter)
    """By host: packets that filters acted on which are gone."""
    problem: str = ""
    """Why a filter could not be planted, one line; empty: all could."""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        if self.rules:
            self._thread = threading.Thread(target=self._play, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Those that are still there stay."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _play(self) -> None:
        try:
            while not self.connected():
                if self._over.wait(POLL_S):
                    return
        except OSError as problem:
            self.problem = str(problem)
            return
        began = time.monotonic()
        moments = [(rules.from_s, rules, True) for rules in self.rules]
        moments += [(rules.to_s, rules, False) for rules in self.rules if rules.to_s is not None]
        for at, rules, comes in sorted(moments, key=lambda moment: moment[0]):
            if self._over.wait(max(0.0, began + at - time.monotonic())):
                return
            try:
                self._comes(rules) if comes else self._goes(rules)
            except CannotRun as problem:
                self.problem = str(problem)
                return

    def _comes(self, rules: TimedRules) -> None:
        self.nft(rules.host, rules.text)

    def _goes(self, rules: TimedRules) -> None:
        self.acted[rules.host] += self.counted(rules.host, rules.table)
        self.nft(rules.host, f"delete table ip {rules.table}\n")
