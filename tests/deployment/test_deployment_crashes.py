"""Killed after each line of the journal and at random moments, and power cuts: the server is what it was. `crashes.py` does many more."""

import os
import random

import crashes
import pytest

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces")]
NAME = f"vpcr{os.getpid()}"


@pytest.mark.parametrize("entry", range(1, crashes.ENTRIES + 1))
def test_killed_after_each_line_of_the_journal(entry: int) -> None:
    with crashes.server(NAME) as one:
        crashes.killed_after_entry(one, entry, ("watchdog", "command", "boot")[entry % 3])


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_a_random_moment(seed: int) -> None:
    chance = random.Random(seed)
    with crashes.server(NAME) as one:
        crashes.killed_after(one, chance.uniform(0, 0.8), chance.choice(("watchdog", "command", "boot")))


def test_power_cuts_of_which_only_what_was_synced_remains() -> None:
    for at in range(3, crashes.operations(NAME), 13):
        with crashes.server(NAME) as one:
            assert crashes.cut(one, at)


@pytest.mark.parametrize("seed", range(6))
def test_power_cuts_of_which_some_of_the_rest_remains(seed: int) -> None:
    with crashes.server(NAME) as one:
        crashes.cut(one, random.Random(seed).randrange(150), luck=seed)


def test_power_cuts_while_it_is_taken_back() -> None:
    for at in range(0, crashes.operations(NAME, "--roll-back"), 9):
        with crashes.server(NAME) as one:
            assert crashes.cut_undoing(one, at)
