"""Sizes of further packets: in turn at first, and half of the size in doubt where large ones are missing."""

import pytest
from test_probes_context import Peer, path_with

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.endpoint.pacer import PACKET_BYTES
from vpnprobe.evidence.checks import ESP, ICMP_ECHO
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.sizes import USUAL, in_turn, ready_in, sizes_for
from vpnprobe.transports.simulated import run_virtual
from vpnprobe.transports.topology import Filter, Link, Topology

C2S = Direction.C2S


def with_esp(lost: tuple[int, ...], came: tuple[int, ...]) -> ProbeContext:
    """A path on which ESP packets of these sizes (bytes of IP packets) were lost and came."""
    peer = Peer()
    context = path_with(peer)
    for number, size in enumerate((*lost, *came)):
        key = f"{number:024x}"
        context.recorder.sent(ESP, key, size=size - 20)
        if number >= len(lost):
            peer.rows.append(PacketRecord(Vantage.SERVER, Movement.RECEIVED, 0.0, ESP, key, size=size - 20))
    context.server_record = EndRecord(tuple(peer.rows))
    return context


def test_sizes_take_turns_the_largest_first() -> None:
    assert in_turn((576, 1400), 7) == [1400, 576, USUAL, 1400, 576, USUAL, 1400]
    assert in_turn((), 3) == [USUAL] * 3


def test_on_a_slow_line_few_are_large() -> None:
    assert in_turn((576, 1400), 6, slow=True) == [1400, USUAL, USUAL] * 2
    assert in_turn((), 2, slow=True) == [USUAL] * 2


def sizes(count: int, *, check: Check = ESP, beside: bool, lost: tuple[int, ...] = (), came: tuple[int, ...] = ()) -> list[int]:
    async def main() -> list[int]:
        return sizes_for(with_esp(lost, came), check, C2S, count, beside=beside)

    return run_virtual(main())


def test_at_first_a_kind_has_the_sizes_that_it_is_tried_in() -> None:
    assert sizes(3, beside=False) == [1400, 576, USUAL]
    assert sizes(3, check=ICMP_ECHO, beside=False) == [USUAL] * 3


def test_beside_controls_all_are_small_unless_a_size_is_in_doubt() -> None:
    assert sizes(3, beside=True) == [USUAL] * 3
    assert sizes(3, beside=True, lost=(1400, 84), came=(576, 84)) == [USUAL] * 3


def test_half_of_them_have_the_size_in_doubt_in_random_order() -> None:
    async def main() -> list[list[int]]:
        context = with_esp((1400, 1400), (576, 84))
        return [sizes_for(context, ESP, C2S, 9, beside=True) for _ in range(5)]

    some = run_virtual(main())
    assert all(sorted(sizes) == [USUAL] * 4 + [1400] * 5 for sizes in some)
    assert len({tuple(sizes) for sizes in some}) > 1


def test_each_that_is_made_ready_is_of_the_next_size_and_waits_for_the_line() -> None:
    async def main() -> tuple[list[int], list[int]]:
        context, sent, charged = path_with(Peer()), list[int](), list[int]()

        async def admit(size: int, *_: object) -> None:
            charged.append(size)

        context.pacer.admit = admit  # type: ignore[method-assign, assignment]
        made = ready_in(context, (1400, USUAL), sent.append)
        for _ in range(2):
            _, send_one = await made()
            send_one()
        return sent, charged

    assert run_virtual(main()) == ([1400, USUAL], [1400 - PACKET_BYTES])


def found_in(topology: Topology, probes: frozenset[str]) -> dict[str, Observation]:
    measured, _ = measure_simulated(topology, seed=1, settings=Settings((1194,), probes), tell=lambda _: None)
    return {row.id: row for row in measured.observations}


@pytest.mark.parametrize("ways", [("c2s",), ("s2c",), ("c2s", "s2c")], ids="-".join)
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_esp_in_udp_is_limited_in_the_direction_in_which_it_is(ways: tuple[str, ...], loss: float) -> None:
    """What the server answers is as large as what came there: where that is limited too, it sends larger ones by itself."""
    filters = tuple(Filter("r1", protocol=17, ports=(4500,), direction=way, longer_than=600) for way in ways)
    rows = found_in(Topology(routers=1, links=(Link(0.01, loss=loss), Link(0.01)), filters=filters), frozenset({"ike", "udp"}))
    for way in ("c2s", "s2c"):
        row = rows[f"ike-esp-in-udp-udp-4500-{way}"]
        assert (row.cause is Cause.SIZE) is (way in ways), row
        assert row.detail["largest_passed"] == (576 if way in ways else 1400)
        if way in ways:
            assert (row.outcome, row.detail["smallest_lost"]) == (Outcome.DEGRADED, 1400)
            assert row.error_bound is not None
            assert row.error_bound <= 1e-6


@pytest.mark.parametrize("rate_bit_s", [512_000, 1_085_292])
def test_a_limit_is_shown_on_a_narrow_line_too(rate_bit_s: int) -> None:
    """What was lost where the probes' own bytes were queued counts for nothing, and that is known at the end alone."""
    filters = (Filter("r1", protocol=47, direction="s2c", longer_than=81),)
    rows = found_in(
        Topology(routers=1, links=(Link(0.01, rate_bit_s=rate_bit_s), Link(0.01)), filters=filters), frozenset({"gre", "pptp", "udp"})
    )
    row = rows["gre-passthrough-in-call-gre-s2c"]
    assert (row.outcome, row.cause, row.detail["largest_passing"]) == (Outcome.DEGRADED, Cause.SIZE, 50)
    assert row.detail["smallest_lost"] == 576
