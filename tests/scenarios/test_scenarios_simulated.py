"""Every built-in scenario in the simulated network: what it expects comes out, the document is valid, and the run's captures agree."""

import json
from importlib.resources import files

import jsonschema
import pytest
from provision_support import OF_SCENARIOS
from scenario_support import LEFT_OUT, SEEDS, Played, alike, simulated, simulated_with

from vpnprobe.lab.expectation import Expectation, shortfalls
from vpnprobe.lab.scenario import load, names
from vpnprobe.observations.schema import Protocol

SCHEMA = json.loads(files("vpnprobe.observations").joinpath("result.schema.json").read_text())


@pytest.fixture(scope="module", params=names())
def scenario(request: pytest.FixtureRequest) -> str:
    """One after another, so that each is played once for all that is asked of it."""
    return str(request.param)


@pytest.fixture
def played(scenario: str) -> Played:
    return simulated(scenario)


@pytest.fixture
def expectation(scenario: str) -> Expectation:
    return load(scenario).expectation


def test_what_the_scenario_expects_comes_out(played: Played, expectation: Expectation) -> None:
    assert shortfalls(played.document, played.status, expectation) == []


def test_the_document_is_valid(played: Played) -> None:
    document = played.document
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    identifiers = [observation["id"] for observation in document["observations"]]
    assert len(identifiers) == len(set(identifiers))
    named = {name for verdict in document["verdicts"] for reason in verdict["because"] for name in reason["observations"]}
    assert named <= set(identifiers)


def test_the_captures_of_a_run_come_to_its_verdicts(played: Played, expectation: Expectation) -> None:
    lossy = expectation.lossy
    assert alike(played.offline(), lossy=lossy) == alike(played.feasibility, lossy=lossy)


def test_a_scenario_expects_one_verdict_of_each_protocol(expectation: Expectation) -> None:
    """So whatever plays it comes to the same: the simulated network, namespaces, and the captures of either."""
    assert set(expectation.verdicts) == set(Protocol)
    assert all(len(allowed) == 1 or expectation.lossy for allowed in expectation.verdicts.values())


def test_what_is_recommended_of_openvpn_is_set_up_for_real(played: Played, expectation: Expectation) -> None:
    """By tests/real/test_real_provision_scenarios.py, for each of these. Where packets are lost by chance, the port is chance too."""
    advice = played.document["recommendation"]
    if advice is None or not advice["protocol"].startswith("openvpn"):
        return
    wrap = advice["settings"]["wrap"]
    if expectation.lossy and not expectation.port:
        assert (advice["protocol"], wrap) in {(protocol, known) for protocol, _, known in OF_SCENARIOS}
    else:
        assert (advice["protocol"], advice["port"], wrap) in OF_SCENARIOS


def test_names_and_expectations_do_not_reach_the_network(scenario: str) -> None:
    told = repr(load(scenario).topology)
    assert scenario not in told
    assert "feasible" not in told


def seeds(name: str) -> range:
    """Of those that namespaces play, and of those whose chance matters."""
    default = range(2, 3) if name not in LEFT_OUT or (load(name).expectation.lossy) else range(0)
    return SEEDS.get(name, default)


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in names() for seed in seeds(name)])
def test_whatever_the_seed(name: str, seed: int) -> None:
    document, status = simulated_with(name, seed)
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert shortfalls(document, status, load(name).expectation) == []
