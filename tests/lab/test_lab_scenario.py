"""Scenario files: the built-in ones load, and nothing of what must come out can reach a network."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.lab.scenario import Expectation, load, names, read, stripped
from vpnprobe.observations.schema import Feasibility, Protocol
from vpnprobe.transports.topology import Topology


def text_of(name: str) -> str:
    return (files("vpnprobe.lab") / "scenarios" / f"{name}.toml").read_text("utf-8")


def test_the_built_in_scenarios_are_many_and_in_order() -> None:
    assert len(names()) >= 60
    assert list(names()) == sorted(names())
    assert {"seed", "clean"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_built_in_scenario_has_a_line_a_network_and_a_wish(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert scenario.description.endswith(".")
    assert "\n" not in scenario.description
    assert scenario.expectation.verdicts
    assert scenario.expectation.status is not None
    assert scenario.topology == Topology() if name == "clean" else scenario.topology != Topology()


@pytest.mark.parametrize("name", names())
def test_a_network_is_the_same_whatever_the_file_expects_and_is_called(name: str) -> None:
    document = tomllib.loads(text_of(name))
    bare = stripped(text_of(name))
    assert bare == document["topology"]
    assert not {"expect", "description", "name"} & bare.keys()
    start = text_of(name).index("[topology]")
    end = text_of(name).index("[expect]")
    renamed = read(text_of(name)[start:end], name="other", source="other.toml")
    assert renamed.topology == load(name).topology
    assert renamed.expectation == Expectation()


@pytest.mark.parametrize("name", names())
def test_the_network_holds_no_word_of_the_expectation(name: str) -> None:
    scenario = load(name)
    for word in (scenario.name, scenario.description, *Feasibility, *Protocol):
        assert repr(str(word)) not in repr(scenario.topology)


def test_the_seed() -> None:
    scenario = load("seed")
    assert scenario.expectation.verdicts[Protocol.PPTP] == (Feasibility.INFEASIBLE,)
    assert [(planted.at, planted.protocol, planted.direction) for planted in scenario.topology.filters] == [("r2", 47, None)]


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("description = 'mine'\n[topology]\nrouters = 1\n[expect]\nlossy = true\narguments = ['--skip', 'esp']\n")
    scenario = load(path)
    assert (scenario.name, scenario.description, scenario.topology) == ("mine", "mine", Topology(routers=1))
    assert scenario.expectation == Expectation(lossy=True, arguments=("--skip", "esp"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description = 3", "mine.toml: description: is 3, must be a text"),
        ("topology = 3", "mine.toml: topology: is 3, must be a table"),
        ("expected = {}", "mine.toml: expected: unknown key; did you mean 'expect'?"),
        ("[topology]\nfilters = [{ at = 'r7' }]", "mine.toml: topology.filters[0].at: there is no 'r7' here"),
        ("[expect]\nstatus = 'x'", "mine.toml: expect.status: is 'x', must be a whole number"),
        ("[topology", "mine.toml: not TOML: "),
    ],
)
def test_a_file_with_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert message in str(caught.value)
    assert caught.value.status is ExitStatus.UNREADABLE


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as caught:
        load(tmp_path / "none.toml")
    assert caught.value.status is ExitStatus.UNREADABLE
    (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match=r"not UTF-8 text \(byte 5\)"):
        load(tmp_path / "bytes.toml")


def test_a_name_that_nothing_has_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="there is no scenario 'sed'; did you mean 'seed'") as caught:
        load("sed")
    assert caught.value.status is ExitStatus.USAGE
