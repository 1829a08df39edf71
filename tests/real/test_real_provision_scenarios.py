"""Every OpenVPN that a built-in scenario recommends, and each other wrap: planned, applied, proved, updated, proved, taken back.

What a scenario recommends comes from the result itself; that no scenario recommends another set-up than these is shown beside the
simulated scenarios.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from provision_support import OF_SCENARIOS, SERVER_ADDRESS, World, recommended, world
from real_support import PATIENCE_S, PROGRAM

from vpnprobe.errors import CannotRun
from vpnprobe.lab.namespaces import require_tools
from vpnprobe.observations.document import decode
from vpnprobe.observations.schema import Result

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]

HERE = ("--here", "--host", SERVER_ADDRESS)
"""The simulated network has other addresses."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with world(tmp_path, f"vprs-{os.getpid()}") as found:
        yield found


@pytest.mark.parametrize("setup", OF_SCENARIOS, ids=lambda setup: " ".join(map(str, setup)))
def test_what_a_scenario_recommends(here: World, setup: tuple[str, int, str]) -> None:
    result = played(OF_SCENARIOS[setup], here.folder)
    advice = result.recommendation
    assert advice is not None
    assert (advice.protocol, advice.port, advice.settings["wrap"]) == setup
    proved_updated_and_gone(here, result)


@pytest.mark.parametrize("wrap", ["tls-crypt", "tls-auth"])
def test_the_other_wraps(here: World, wrap: str) -> None:
    proved_updated_and_gone(here, recommended("openvpn-udp", 1194, wrap=wrap))


def proved_updated_and_gone(here: World, result: Result) -> None:
    before = here.state()
    here.plan(result, *HERE, "--client", "first")
    assert here.state() == before
    here.apply("--confirm-within", "60s")
    proved(here, here.folder / "plan/clients/first.ovpn")
    here.provision("confirm")
    confirmed = here.state()
    advice = result.recommendation
    assert advice is not None
    listeners = (f"{advice.protocol.removeprefix('openvpn-')}:{advice.port}", "tcp:8443")
    words = [word for listener in listeners for word in ("--listen", listener)]
    here.plan(result, *HERE, "--client", "second", *words, name="more")
    here.apply("--confirm-within", "60s", name="more")
    proved(here, here.folder / "more/clients/second.ovpn")
    proved(here, here.folder / "plan/clients/first.ovpn")
    here.provision("rollback")
    assert here.state() == confirmed
    here.provision("rollback")
    assert here.state() == before


def proved(here: World, profile: Path) -> None:
    """On a loaded machine it may not be known (packets came too fast to be looked at): then it is tried again."""
    for _ in range(3):
        proof = here.verify(profile, "--for", "3s")
        assert proof["leaks"] == []
        if proof["verdict"] != "not-proved":
            break
    wanting = [one["sentence"] for one in proof["proofs"] if one["core"] and one["outcome"] != "shown"]
    assert (proof["status"], proof["verdict"], wanting) == (0, "proved", [])


def played(scenario: str, folder: Path) -> Result:
    """The result of a built-in scenario in the simulated network."""
    words = [*PROGRAM, "demo", "--scenario", scenario, "--quiet", "--json", "-o", str(folder / "demo")]
    return decode(subprocess.run(words, capture_output=True, check=False, timeout=PATIENCE_S).stdout)
