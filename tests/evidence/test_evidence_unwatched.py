"""An end whose wire nobody watches: what its own firewall may keep is not called the path's, unless the place tells the two apart."""

from dataclasses import replace

import pytest

from vpnprobe.evidence.judging.unwatched import told_apart
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome, Transport

SERVER, CLIENT, ROUTER = "10.0.9.1", "10.0.0.1", "10.0.5.1"
FACTS = PathFacts(client_address=CLIENT, client_seen_as=CLIENT, server_address=SERVER)
WATCHED, UNWATCHED = EndRecord(sees_closed_ports=True), EndRecord()
LOST = Observation(
    id="udp-reach-udp-1701-c2s",
    probe="udp",
    check="reach",
    direction=Direction.C2S,
    transport=Transport.UDP,
    port=1701,
    outcome=Outcome.BLOCKED,
    cause=Cause.PORT,
    sent=20,
    received=0,
    error_bound=1e-9,
    detail={"compared_with": ["udp-reach-udp-53-c2s"]},
)
RST = replace(LOST, transport=Transport.TCP, direction=Direction.BOTH, outcome=Outcome.REFUSED, detail={"refusal": "rst", "by": None})


def found(row: Observation, *, client: EndRecord = WATCHED, server: EndRecord = UNWATCHED) -> Observation:
    return told_apart([row], client, server, FACTS)[0]


@pytest.mark.parametrize(
    "row",
    [
        LOST,
        RST,
        replace(LOST, cause=Cause.IP_PROTOCOL),
        replace(LOST, location=Location(3, ROUTER, None)),
        replace(LOST, location=Location(3, ROUTER, SERVER)),
        replace(LOST, direction=Direction.BOTH, check="control", probe="l2tp", detail={"lost_direction": "c2s"}),
        replace(LOST, direction=Direction.BOTH, check="control", probe="l2tp", detail={}),
    ],
)
def test_what_may_be_its_own_firewalls_got_no_answer(row: Observation) -> None:
    told = found(row)
    assert (told.outcome, told.cause, told.location, told.error_bound) == (Outcome.NO_ANSWER, None, None, None)
    assert (told.sent, told.received, told.detail["unwatched"]) == (20, 0, "server")
    assert "by the server's own firewall" in told.detail["reason"]
    assert "compared_with" not in told.detail


@pytest.mark.parametrize(
    "row",
    [
        replace(LOST, location=Location(2, "10.0.4.1", ROUTER)),
        replace(LOST, outcome=Outcome.REFUSED, detail={"by": ROUTER, "refusal": "prohibited"}),
        replace(LOST, outcome=Outcome.REFUSED, detail={"by": "peer"}),
        replace(LOST, cause=Cause.PAYLOAD),
        replace(LOST, cause=Cause.HOST_FIREWALL),
        replace(LOST, direction=Direction.S2C),
        replace(LOST, outcome=Outcome.PASS, cause=None),
    ],
)
def test_what_is_shown_to_be_otherwise_stands(row: Observation) -> None:
    assert found(row) == row


def test_an_end_that_sees_its_wire_or_has_no_record_is_in_no_doubt() -> None:
    assert found(LOST, server=WATCHED) == LOST
    assert found(LOST, server=EndRecord(recorded=False)) == LOST


def test_either_end_may_be_the_one() -> None:
    back = replace(LOST, direction=Direction.S2C)
    assert found(back, client=UNWATCHED, server=WATCHED).detail["unwatched"] == "client"
    assert found(LOST, client=UNWATCHED, server=WATCHED) == LOST
