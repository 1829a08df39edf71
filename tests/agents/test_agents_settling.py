"""What was under way at a run's end counts for nothing, whoever ended it."""

import math

import pytest

from vpnprobe.agents.settling import settled
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord

UDP = checks.udp_reach(1194)
TIMES = (1.0, 7.0, 8.5, 9.95, 10.5)


def left(vantage: Vantage, ahead_s: float = 0.0) -> EndRecord:
    return EndRecord(tuple(PacketRecord(vantage, Movement.SENT, at + ahead_s, UDP, str(at)) for at in TIMES))


@pytest.mark.parametrize(
    ("refreshed_at", "ended_at", "lost", "kept"),
    [
        (10.0, None, False, (1.0, 7.0, 8.5)),
        (10.0, None, True, (1.0, 7.0, 8.5)),
        (10.6, 9.0, False, (1.0, 7.0)),
        (-math.inf, None, True, ()),
        (None, None, False, TIMES),
        (None, 9.0, False, (1.0, 7.0)),
    ],
    ids=["ordinary end", "server lost", "interrupted", "server lost before it told anything", "alone", "alone and interrupted"],
)
def test_what_left_too_late_is_left_out(refreshed_at: float | None, ended_at: float | None, lost: bool, kept: tuple[float, ...]) -> None:
    client, server = settled(
        left(Vantage.CLIENT),
        left(Vantage.SERVER, 100.0),
        settle_s=0.1,
        flight_s=0.1,
        refreshed_at=refreshed_at,
        ended_at=ended_at,
        lost=lost,
        ahead_s=100.0,
    )
    assert tuple(float(one.key) for one in client.packet_records) == kept
    assert tuple(float(one.key) for one in server.packet_records) == kept


def test_what_came_came() -> None:
    came = EndRecord(tuple(PacketRecord(Vantage.SERVER, Movement.RECEIVED, at, UDP, str(at)) for at in TIMES))
    client, _ = settled(left(Vantage.CLIENT), came, settle_s=0.1, flight_s=0.1, refreshed_at=10.0, ended_at=None, lost=False, ahead_s=0.0)
    assert len(client.packet_records) == len(TIMES)


def test_a_slow_end_leaves_out_no_more_of_a_run_that_came_to_its_end() -> None:
    """Otherwise what a path loses would be left out with it, and only what passes would count."""
    client, _ = settled(
        left(Vantage.CLIENT), EndRecord(), settle_s=5.0, flight_s=0.1, refreshed_at=10.0, ended_at=None, lost=False, ahead_s=0.0
    )
    assert [float(one.key) for one in client.packet_records] == [1.0, 7.0, 8.5]
