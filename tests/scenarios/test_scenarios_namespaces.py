"""Every built-in scenario in network namespaces, with the program as a user runs it: what it expects comes out, and offline the same.

Each scenario expects a verdict of every protocol, and the simulated network is held to the same, so both come to the same verdicts.
"""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from scenario_support import alike, in_namespaces

from vpnprobe.errors import CannotRun
from vpnprobe.lab.expectation import shortfalls
from vpnprobe.lab.scenario import load, names

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces")]

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())
FILES = {"result.json", "report.html", "observations.csv", "client.pcap", "server.pcap"}


@pytest.mark.parametrize("name", names())
def test_a_scenario_gives_what_it_expects_and_offline_the_same(name: str, tmp_path: Path, requires: Callable[..., None]) -> None:
    expectation, topology = load(name).expectation, load(name).topology
    try:
        played, acted = in_namespaces(name, tmp_path, prefix=f"vpsc-{os.getpid()}")
    except CannotRun as lack:
        if "netem" not in str(lack):
            raise
        requires("netem", why=str(lack))
    jsonschema.validate(played.document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert shortfalls(played.document, played.status, expectation) == []
    assert {file.name for file in played.folder.iterdir()} == FILES
    planted = {planted.at for planted in topology.filters} | {nat.at for nat in topology.nats}
    assert all(acted[host] for host in planted), f"a filter that acted on nothing proves nothing: {acted}"
    live = alike(played.feasibility, lossy=expectation.lossy)
    assert alike(played.offline(), lossy=expectation.lossy) == live
