"""Every built-in scenario in the simulated network: what it expects comes out, the document is valid, and the run's captures agree."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from scenario_support import SIMULATED_SEEDS, alike, simulated

from vpnprobe.lab.expectation import shortfalls
from vpnprobe.lab.scenario import load, names

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())


@pytest.mark.parametrize("name", names())
def test_what_the_scenario_expects_comes_out(name: str, tmp_path: Path) -> None:
    for seed in SIMULATED_SEEDS.get(name, (1,)):
        played = simulated(name, tmp_path / str(seed), seed=seed)
        assert shortfalls(played.document, played.status, load(name).expectation) == [], f"seed {seed}"


@pytest.mark.parametrize("name", names())
def test_the_document_is_valid(name: str, tmp_path: Path) -> None:
    document = simulated(name, tmp_path).document
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    identifiers = [observation["id"] for observation in document["observations"]]
    assert len(identifiers) == len(set(identifiers))
    named = {name for verdict in document["verdicts"] for reason in verdict["because"] for name in reason["observations"]}
    assert named <= set(identifiers)


@pytest.mark.parametrize("name", names())
def test_the_captures_of_a_run_come_to_its_verdicts(name: str, tmp_path: Path) -> None:
    played = simulated(name, tmp_path)
    lossy = load(name).expectation.lossy
    assert alike(played.offline(), lossy=lossy) == alike(played.feasibility, lossy=lossy)


@pytest.mark.parametrize("name", names())
def test_names_and_expectations_do_not_reach_the_network(name: str) -> None:
    told = repr(load(name).topology)
    assert name not in told
    assert "feasible" not in told
