"""Built-in scenarios in network namespaces, with the program as a user runs it: what they expect comes out, and offline the same.

`make test` plays those that are quick and between them show every mechanism that needs no netem; `make scenarios` plays all, and skips with
its reason what no kernel can show.

Each scenario expects a verdict of every protocol, and the simulated network is held to the same, so both come to the same verdicts.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import gettempdir
from typing import Final

import jsonschema
import pytest
from scenario_support import KNOWN_WRONG_IN_NAMESPACES, LEFT_OUT, alike, in_namespaces

from vpnprobe.errors import CannotRun
from vpnprobe.lab.expectation import shortfalls
from vpnprobe.lab.scenario import load, names

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces")]

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
FILES = {"result.json", "report.html", "observations.csv", "client.pcap", "server.pcap"}


MOST_PLAYED: Final = 3
OPPOSITES: Final = {("feasible", "infeasible"), ("infeasible", "feasible")}


EVERY: Final = bool(os.environ.get("VPNPROBE_EVERY_SCENARIO"))


@pytest.mark.parametrize("name", [name for name in names() if EVERY or name not in LEFT_OUT])
def test_a_scenario_gives_what_it_expects_and_offline_the_same(name: str, tmp_path: Path, requires: Callable[..., None]) -> None:
    """All hosts share a machine that may be loaded: then a run leaves something open and is played again, while no other scenario is.
    It never says the opposite.
    """
    scenario = load(name)
    if scenario.simulated_only:
        pytest.skip(f"{name}: {scenario.simulated_only}")
    known = KNOWN_WRONG_IN_NAMESPACES
    if name in known:
        pytest.xfail(known[name])
    for number in range(1, MOST_PLAYED + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        with turn(alone=number > 1):
            short = played_once(name, folder, requires)
        if not short:
            return
    assert short == []


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """While a scenario is played, beside others or alone, whatever process of the tests plays them."""
    with (Path(gettempdir()) / f"vpnprobe-tests-scenarios-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def played_once(name: str, folder: Path, requires: Callable[..., None]) -> list[str]:
    """What falls short, a line each; whatever a loaded machine is no excuse for is asserted."""
    expectation, topology = load(name).expectation, load(name).topology
    try:
        played, acted = in_namespaces(name, folder, prefix=f"vpsc-{os.getpid()}")
    except CannotRun as lack:
        if "netem" not in str(lack):
            raise
        requires("netem", why=str(lack))
    jsonschema.validate(played.document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert {file.name for file in played.folder.iterdir()} == FILES
    planted = {planted.at for planted in topology.filters} | {nat.at for nat in topology.nats}
    assert all(acted[host] for host in planted), f"a filter that acted on nothing proves nothing: {acted}"
    live, offline = (alike(found, lossy=expectation.lossy) for found in (played.feasibility, played.offline()))
    for protocol, allowed in expectation.verdicts.items():
        assert not {(str(one), played.feasibility[protocol]) for one in allowed} <= OPPOSITES, (protocol, played.feasibility)
    differing = [f"{protocol}: live {found}, offline {offline[protocol]}" for protocol, found in live.items() if offline[protocol] != found]
    return [*shortfalls(played.document, played.status, expectation), *differing]
