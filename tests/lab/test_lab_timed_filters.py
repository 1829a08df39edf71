"""Filters that come and go: at their times after the client is connected, counted also when they are gone."""

import threading
import time

from vpnprobe.errors import CannotRun
from vpnprobe.lab.nftables import TimedRules
from vpnprobe.lab.timed_filters import TimedFilters
from vpnprobe.transports.topology import Stall

COMES = TimedRules("r1", "one", "table ip one {}\n", 0.0, 0.05)
STAYS = TimedRules("r2", "two", "table ip two {}\n", 0.02, None)


class Host:
    def __init__(self, *, fails: bool = False) -> None:
        self.given: list[tuple[str, str]] = []
        self.connected = threading.Event()
        self.fails = fails

    def nft(self, host: str, text: str) -> str:
        if self.fails:
            raise CannotRun("no nft here")
        self.given.append((host, text))
        return ""

    def filters(self, *rules: TimedRules) -> TimedFilters:
        return TimedFilters(rules, self.nft, lambda _host, _table: 7, self.connected.is_set)


def wait_for(host: Host, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(host.given) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def test_in_their_order_once_the_client_is_connected() -> None:
    host = Host()
    timed = host.filters(STAYS, COMES)
    timed.begin()
    time.sleep(0.1)
    assert host.given == []
    host.connected.set()
    wait_for(host, 3)
    timed.end()
    assert host.given == [("r1", COMES.text), ("r2", STAYS.text), ("r1", "delete table ip one\n")]
    assert dict(timed.acted) == {"r1": 7}
    assert timed.problem == ""


def test_a_run_that_ends_before_ends_them() -> None:
    host = Host()
    timed = host.filters(COMES)
    timed.begin()
    timed.end()
    assert host.given == []


def test_what_cannot_be_planted_is_told() -> None:
    host = Host(fails=True)
    timed = host.filters(COMES)
    host.connected.set()
    timed.begin()
    deadline = time.monotonic() + 20
    while not timed.problem and time.monotonic() < deadline:
        time.sleep(0.005)
    timed.end()
    assert timed.problem == "no nft here"


def test_without_any_nothing_runs() -> None:
    before = threading.active_count()
    timed = Host().filters()
    timed.begin()
    assert threading.active_count() == before
    timed.end()


def stalled(*stalls: Stall) -> tuple[TimedFilters, list[tuple[str, bool]], Host]:
    host = Host()
    told: list[tuple[str, bool]] = []
    timed = TimedFilters(
        (), host.nft, lambda _host, _table: 0, host.connected.is_set, stalls=stalls, stop=lambda end, stopped: told.append((end, stopped))
    )
    return timed, told, host


def test_programs_stand_still_and_go_on() -> None:
    timed, told, host = stalled(Stall("server", 0.0, 0.02), Stall("client", 0.03, 0.04))
    timed.begin()
    assert told == []
    host.connected.set()
    deadline = time.monotonic() + 20
    while len(told) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    timed.end()
    assert told[:4] == [("server", True), ("server", False), ("client", True), ("client", False)]


def test_again_and_again_until_the_run_ends_and_then_they_run() -> None:
    timed, told, host = stalled(Stall("server", 0.0, 0.01, every_s=0.02))
    host.connected.set()
    timed.begin()
    deadline = time.monotonic() + 20
    while len(told) < 7 and time.monotonic() < deadline:
        time.sleep(0.005)
    timed.end()
    assert told[:6] == [("server", True), ("server", False)] * 3
    assert told[-1] == ("server", False)
