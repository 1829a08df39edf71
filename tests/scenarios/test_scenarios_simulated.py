"""Every built-in scenario in the simulated network: what it expects comes out, the document is valid, and the run's captures agree."""

import json
from importlib.resources import files

import jsonschema
import pytest
from scenario_support import SEEDS, alike, simulated, simulated_with

from vpnprobe.lab.expectation import shortfalls
from vpnprobe.lab.scenario import load, names

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())


@pytest.mark.parametrize("name", names())
def test_what_the_scenario_expects_comes_out(name: str) -> None:
    played = simulated(name)
    assert shortfalls(played.document, played.status, load(name).expectation) == []


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in names() for seed in SEEDS.get(name, range(2, 3))])
def test_whatever_the_seed(name: str, seed: int) -> None:
    document, status = simulated_with(name, seed)
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert shortfalls(document, status, load(name).expectation) == []


@pytest.mark.parametrize("name", names())
def test_the_document_is_valid(name: str) -> None:
    document = simulated(name).document
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    identifiers = [observation["id"] for observation in document["observations"]]
    assert len(identifiers) == len(set(identifiers))
    named = {name for verdict in document["verdicts"] for reason in verdict["because"] for name in reason["observations"]}
    assert named <= set(identifiers)


@pytest.mark.parametrize("name", names())
def test_the_captures_of_a_run_come_to_its_verdicts(name: str) -> None:
    played = simulated(name)
    lossy = load(name).expectation.lossy
    assert alike(played.offline(), lossy=lossy) == alike(played.feasibility, lossy=lossy)


@pytest.mark.parametrize("name", names())
def test_names_and_expectations_do_not_reach_the_network(name: str) -> None:
    told = repr(load(name).topology)
    assert name not in told
    assert "feasible" not in told
