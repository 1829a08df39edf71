"""Connection attempts of two ends: one is the same at both, whatever a NAT makes of its port, and no other is taken for it."""

from dataclasses import replace

import pytest
from evidence_support import C2S, CLEAR, CLIENT, RECEIVED, SENT, SERVER, ends, facts_with, seen

from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import SEQUENCE, SYN, SYN_ACK, port_key, unattributed, under_clients_keys
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, Refusal, RefusalKind
from vpnprobe.observations.schema import Observation, Outcome

TCP = checks.tcp_reach(1723)
NUMBERS = {40001: 111, 40002: 222, 40003: 333, 40004: 444}
"""The client's ports, and the initial sequence numbers of the attempts from them."""
NAT = PathFacts(background=CLEAR, client_address="192.168.0.2", client_seen_as="192.0.2.1")
NO_NAT = replace(NAT, client_seen_as="192.168.0.2")


def tried(*, numbered: bool = True) -> list[PacketRecord]:
    """The client's attempts as its socket and, where it sees the wire, its capture record them."""
    rows = []
    for port, number in NUMBERS.items():
        rows += seen(CLIENT, SENT, TCP, [port_key(port)], message=SYN)
        rows += seen(CLIENT, SENT, TCP, [port_key(port)], message=SYN, at=0.001, detail={SEQUENCE: number}) if numbered else []
    return rows


def came(ports: dict[int, int], *, numbered: bool = True) -> list[PacketRecord]:
    """What the server's wire shows: from port to sequence number; each is answered."""
    rows = []
    for port, number in ports.items():
        detail: dict[str, int | str] = {SEQUENCE: number} if numbered else {}
        rows += seen(SERVER, RECEIVED, TCP, [port_key(port)], message=SYN, at=0.01, detail=detail)
        rows += seen(SERVER, SENT, TCP, [port_key(port)], message=SYN_ACK, at=0.01, detail=detail)
    return rows


def reach(rows: list[PacketRecord], facts: PathFacts, *, sees: bool = True, refusals: list[Refusal] | None = None) -> Observation:
    client, server = ends(rows, sees=sees, refusals=refusals or [])
    return next(o for o in judge(client, server, facts) if o.check == "reach")


TRANSLATED = {1024 + place: number for place, number in enumerate(NUMBERS.values())}


def test_syn_acks_that_are_lost_behind_a_nat_are_lost_on_the_way_back() -> None:
    found = reach([*tried(), *came(TRANSLATED)], NAT)
    assert (found.outcome, found.detail["lost_direction"], found.detail["arrived_at_server"]) == (Outcome.BLOCKED, "s2c", 4)


def test_syns_that_are_lost_behind_a_nat_are_lost_on_the_way_there() -> None:
    found = reach(tried(), NAT)
    assert (found.outcome, found.detail["lost_direction"], found.detail["arrived_at_server"]) == (Outcome.BLOCKED, "c2s", 0)


@pytest.mark.parametrize(("client", "server"), [(False, True), (True, False), (False, False)])
def test_where_an_end_does_not_know_the_numbers_nothing_is_said_of_the_direction_behind_a_nat(client: bool, server: bool) -> None:
    found = reach([*tried(numbered=client), *came(TRANSLATED, numbered=server)], NAT)
    assert found.outcome is Outcome.BLOCKED
    assert not {"lost_direction", "arrived_at_server"} & set(found.detail)


@pytest.mark.parametrize(("client", "server"), [(False, True), (True, False), (False, False)])
def test_without_a_nat_the_port_is_enough(client: bool, server: bool) -> None:
    found = reach([*tried(numbered=client), *came(NUMBERS, numbered=server)], NO_NAT)
    assert (found.detail["lost_direction"], found.detail["arrived_at_server"]) == ("s2c", 4)


def test_a_firewall_that_draws_sequence_numbers_anew_leaves_the_port() -> None:
    found = reach([*tried(), *came({port: number + 9 for port, number in NUMBERS.items()})], NO_NAT)
    assert (found.detail["lost_direction"], found.detail["arrived_at_server"]) == ("s2c", 4)


def test_a_server_that_does_not_see_the_wire_cannot_tell_a_lost_syn_from_a_lost_syn_ack() -> None:
    """Its socket is told of a connection once the whole handshake is over."""
    found = reach(tried(), NO_NAT, sees=False)
    assert found.outcome is Outcome.BLOCKED
    assert not {"lost_direction", "arrived_at_server"} & set(found.detail)


def test_the_socket_that_was_accepted_goes_with_the_syn_of_its_port_that_is_nearest_in_time() -> None:
    """A NAT uses a port again: the second connection from it is another attempt."""
    first, second = (seen(SERVER, RECEIVED, TCP, ["port-1024"], message=SYN, at=at, detail={SEQUENCE: n}) for at, n in ((1, 111), (9, 222)))
    accepted = seen(SERVER, RECEIVED, TCP, ["port-1024"], message=SYN, at=1.01)
    answered = seen(SERVER, SENT, TCP, ["port-1024"], message=SYN_ACK, at=9.01)
    client, server = ends([*tried(), *first, *second, *accepted, *answered])
    keys = [s.key for s in under_clients_keys(client, server).packet_records]
    assert keys == ["port-40001", "port-40002", "port-40001", "port-40002"]


def test_a_strangers_attempt_from_the_port_of_one_of_ours_is_not_ours() -> None:
    rows = [*tried(), *came({1024: 111, 40002: 999})]
    found = reach(rows, NAT)
    assert found.detail["arrived_at_server"] == 1
    client, server = ends(rows)
    assert {s.key for s in under_clients_keys(client, server).packet_records} == {"port-40001", "000003e7"}


def test_an_attempt_that_the_clients_capture_missed_keeps_its_port() -> None:
    rows = [*tried(), *seen(CLIENT, SENT, TCP, [port_key(40005)], message=SYN), *came({1024: 111, 40005: 555})]
    assert reach(rows, NO_NAT).detail["arrived_at_server"] == 2


def test_a_stepped_copy_that_arrives_is_known_as_one_and_is_no_attempt() -> None:
    copy = seen(CLIENT, SENT, TCP, ["port-33000"], message=SYN, ttl_limited=True, ttl=4, detail={SEQUENCE: 777})
    rows = [*tried(), *copy, *came({1030: 777})]
    client, server = ends(rows)
    renamed = under_clients_keys(client, server)
    assert {s.key for s in renamed.packet_records} == {"port-33000"}
    assert reach(rows, NAT).detail["lost_direction"] == "c2s"
    # The copies' numbers are known without seeing the wire; they say nothing of the attempts.
    assert "lost_direction" not in reach([*tried(numbered=False), *copy, *came({1030: 777, **TRANSLATED})], NAT).detail


def test_a_refusal_from_somebody_on_the_way_is_not_read_out_of_syns_that_may_be_ours() -> None:
    refusal = Refusal(TCP, C2S, RefusalKind.RST, None, "port-40001")
    assert reach(tried(), NAT, refusals=[refusal]).detail["by_router"] is True
    assert "by_router" not in reach([*tried(numbered=False), *came(TRANSLATED)], NAT, refusals=[refusal]).detail


def test_records_without_sequence_numbers_stay_as_they_are() -> None:
    client, server = ends([*tried(numbered=False), *came(NUMBERS, numbered=False)])
    assert under_clients_keys(client, server) is server
    assert under_clients_keys(client, EndRecord()) == EndRecord()


def test_what_is_no_attempt_keeps_its_key() -> None:
    payload = seen(SERVER, RECEIVED, TCP, ["port-1024"], message="payload")
    client, server = ends([*tried(), *came(TRANSLATED), *payload])
    assert under_clients_keys(client, server).packet_records[-1].key == "port-1024"


def test_two_captures_have_nothing_to_attribute() -> None:
    """They know every attempt by its sequence number."""
    client, server = ends([*seen(CLIENT, SENT, TCP, ["0000006f"], message=SYN), *seen(SERVER, RECEIVED, TCP, ["000000de"], message=SYN)])
    assert not unattributed(TCP, client, server, facts_with())
