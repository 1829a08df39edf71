"""NATs at either side, by protocol, and helpers that rewrite Call IDs."""

from dataclasses import replace

import pytest
from evidence_support import C2S, CLEAR, CLIENT, RECEIVED, SENT, SERVER, keys, seen, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Cause, Observation, Outcome, Transport

HERE, OUTSIDE, PUBLIC, THERE = "192.168.0.2", "192.0.2.7", "198.51.100.1", "10.0.0.9"
PATH = PathFacts(background=CLEAR, client_address=HERE, client_seen_as=HERE, server_address=PUBLIC)
ESP, UDP_500, UDP_53 = checks.ESP, checks.udp_reach(500), checks.udp_reach(53)


def packet(check: Check, key: str, *, local: int | None, seen_as: tuple[str, int | None], at: str | None = None) -> list[PacketRecord]:
    """One packet of the client's as both ends have it."""
    (left,), (came,) = seen(CLIENT, SENT, check, [key]), seen(SERVER, RECEIVED, check, [key])
    return [
        replace(left, local=None if local is None else (HERE, local), peer=(PUBLIC, check.port)),
        replace(came, local=None if at is None else (at, check.port), peer=seen_as),
    ]


def told(rows: list[PacketRecord], facts: PathFacts = PATH) -> dict[str, Observation]:
    client, server = (EndRecord(tuple(r for r in rows if r.vantage is end)) for end in (CLIENT, SERVER))
    return {o.id: o for o in judge(client, server, facts) if o.probe == "nat"}


def test_a_nat_at_the_client() -> None:
    found = told(packet(UDP_500, "a", local=4000, seen_as=(OUTSIDE, 1024)))["nat-mapping-client-side-udp-both"]
    assert (found.outcome, found.cause) == (Outcome.DEGRADED, Cause.NAT)
    assert found.detail == {"form": "client-side", "address": HERE, "seen_as": OUTSIDE, "translated": True, "ports": "rewritten"}


def test_no_nat_at_the_client() -> None:
    found = told(packet(UDP_500, "a", local=4000, seen_as=(HERE, 4000)))["nat-mapping-client-side-udp-both"]
    assert (found.outcome, found.cause) == (Outcome.PASS, None)
    assert found.detail == {"form": "client-side", "address": HERE, "seen_as": HERE, "translated": False, "ports": "kept"}


@pytest.mark.parametrize(("second", "mapping"), [(1024, "endpoint-independent"), (1025, "endpoint-dependent")])
def test_one_port_that_sends_to_two(second: int, mapping: str) -> None:
    rows = [*packet(UDP_500, "a", local=4000, seen_as=(OUTSIDE, 1024)), *packet(UDP_53, "b", local=4000, seen_as=(OUTSIDE, second))]
    assert told(rows)["nat-mapping-client-side-udp-both"].detail["mapping"] == mapping


def test_two_ports_that_send_to_one_each_show_no_mapping() -> None:
    rows = [*packet(UDP_500, "a", local=4000, seen_as=(OUTSIDE, 4000)), *packet(UDP_53, "b", local=4001, seen_as=(OUTSIDE, 4001))]
    assert "mapping" not in told(rows)["nat-mapping-client-side-udp-both"].detail


def test_protocols_without_ports_have_addresses_alone() -> None:
    found = told(packet(ESP, "a", local=None, seen_as=(OUTSIDE, 0)))["nat-mapping-client-side-esp-both"]
    assert found.detail == {"form": "client-side", "address": HERE, "seen_as": OUTSIDE, "translated": True}


def test_each_protocol_by_itself() -> None:
    rows = [*packet(ESP, "a", local=None, seen_as=(OUTSIDE, 0)), *packet(UDP_500, "b", local=4000, seen_as=(HERE, 4000))]
    assert {name: o.outcome for name, o in told(rows).items()} == {
        "nat-mapping-client-side-esp-both": Outcome.DEGRADED,
        "nat-mapping-client-side-udp-both": Outcome.PASS,
    }


def test_a_nat_at_the_server_by_what_it_says_of_itself() -> None:
    facts = replace(PATH, server_own_addresses={Transport.UDP: THERE})
    assert facts.server_nat
    found = told(packet(UDP_500, "a", local=4000, seen_as=(HERE, 4000)), facts)["nat-mapping-server-side-udp-both"]
    assert (found.outcome, found.cause) == (Outcome.DEGRADED, Cause.NAT)
    assert found.detail == {"form": "server-side", "address": THERE, "seen_as": PUBLIC, "translated": True}


def test_a_nat_at_the_server_by_its_capture() -> None:
    found = told(packet(ESP, "a", local=None, seen_as=(HERE, 0), at=THERE))["nat-mapping-server-side-esp-both"]
    assert found.detail["translated"] is True


def test_no_nat_at_the_server() -> None:
    facts = replace(PATH, server_own_addresses={Transport.UDP: PUBLIC})
    assert facts.server_nat is False
    assert told(packet(UDP_500, "a", local=4000, seen_as=(HERE, 4000)), facts)["nat-mapping-server-side-udp-both"].outcome is Outcome.PASS


def test_where_no_packet_is_known_at_both_ends_the_addresses_say_it() -> None:
    facts = replace(PATH, client_seen_as=OUTSIDE, server_own_addresses={Transport.TCP: THERE})
    assert {name: o.detail["translated"] for name, o in told([], facts).items()} == {
        "nat-mapping-client-side-ip-both": True,
        "nat-mapping-server-side-ip-both": True,
    }


@pytest.mark.parametrize("facts", [PathFacts(), replace(PATH, client_seen_as=None), replace(PATH, client_address=None)])
def test_whether_there_is_a_nat_is_not_known(facts: PathFacts) -> None:
    assert facts.nat is None
    assert facts.server_nat is None
    assert told([], facts) == {}


def test_captures_of_two_attempts_say_nothing_of_single_packets() -> None:
    found = told(packet(UDP_500, "a", local=4000, seen_as=(OUTSIDE, 1)), replace(PATH, joined=False))
    assert {name: o.detail["translated"] for name, o in found.items()} == {"nat-mapping-client-side-ip-both": False}


def call(*, asked: tuple[int, int], granted: tuple[int, int]) -> list[PacketRecord]:
    """The client's Call ID as it left and as it came, in the request and in the reply."""
    control = checks.PPTP_CONTROL
    return [
        *seen(CLIENT, SENT, control, ["k"], message="OCRQ", detail={"call_id": asked[0]}),
        *seen(SERVER, RECEIVED, control, ["k"], message="OCRQ", detail={"call_id": asked[1]}),
        *seen(SERVER, SENT, control, ["k"], message="OCRP", detail={"call_id": 9, "peer_call_id": granted[0]}),
        *seen(CLIENT, RECEIVED, control, ["k"], message="OCRP", detail={"call_id": 9, "peer_call_id": granted[1]}),
    ]


def test_a_helper_that_rewrites_call_ids() -> None:
    found = told(call(asked=(7, 40000), granted=(40000, 7)))["nat-alg-tcp-1723-both"]
    assert (found.outcome, found.cause, found.detail["of"]) == (Outcome.PASS, None, "pptp/control")
    assert found.detail["rewritten"] == [
        {"message": "OCRQ", "direction": "c2s", "name": "call_id", "sent": 7, "received": 40000},
        {"message": "OCRP", "direction": "s2c", "name": "peer_call_id", "sent": 40000, "received": 7},
    ]


def test_call_ids_that_stay_as_they_are() -> None:
    assert told(call(asked=(7, 7), granted=(7, 7)))["nat-alg-tcp-1723-both"].detail["rewritten"] == []


def test_without_a_call_nothing_is_said_of_helpers() -> None:
    assert not any(name.startswith("nat-alg") for name in told(trip(UDP_500, C2S, keys(2), keys(2))))
