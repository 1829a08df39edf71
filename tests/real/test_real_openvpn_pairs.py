"""Pairs of an OpenVPN server and a profile, drawn by a seed: what vpnprobe says of them is what the real client experiences.

`benchmarks/openvpn_pairs.py` tries a hundred of them, and prints what docs/openvpn.md says.
"""

from collections.abc import Iterator

import pytest
from openvpn_pair_runs import Judged, judged
from openvpn_pairs import KINDS, draw

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Feasibility

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn", "ping")]
PAIRS, SEED, AT_ONCE = 24, 6, 4


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Judged]]:
    try:
        yield judged(draw(PAIRS, SEED), tmp_path_factory.mktemp("pairs"), at_once=AT_ONCE)
    except CannotRun as lack:
        if lack.status is ExitStatus.MISSING:
            pytest.skip(str(lack))
        raise


def test_a_seed_draws_the_same_pairs_again_and_every_kind_comes_before_one_comes_again() -> None:
    first, again = draw(len(KINDS), 1), draw(len(KINDS), 1)
    assert first == again
    assert {pair.kind for pair in first} == set(KINDS)
    assert draw(len(KINDS), 2) != first


@pytest.mark.parametrize("place", range(PAIRS))
def test_the_verdict_is_what_the_real_client_experiences(found: list[Judged], place: int) -> None:
    one = found[place]
    told = f"{one.pair}: the real client: {one.real}; vpnprobe: {one.feasibility} {one.names}\n{one.real.log[-1500:]}"
    assert one.agrees or one.is_open, told
    assert not one.is_wrong, told
    nothing_works = one.feasibility is Feasibility.INFEASIBLE
    assert one.status == (ExitStatus.NOTHING_WORKS if nothing_works else ExitStatus.FINISHED)
    assert one.headline.tone == {"infeasible": "bad", "unknown": "mute", "degraded": "fair", "feasible": "good"}[one.feasibility]
    if not one.real.works:
        assert one.leads in one.names, told


def test_causes_are_named(found: list[Judged]) -> None:
    failing = [one for one in found if one.is_failure]
    unnamed = [(one.pair.kind, one.names) for one in failing if not one.is_named]
    assert len(unnamed) <= 1, unnamed
