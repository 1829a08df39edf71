"""Two clocks: how far they are apart is estimated, and what a judgement says does not depend on it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
from evidence_support import C2S, CLEAR, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, keys, seen, trip
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents import client as client_agent
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.evidence import checks
from vpnprobe.evidence.clocks import ClockOffset, clock_offset, on_one_clock
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_counts import count_packets
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Direction, Observation, Transport
from vpnprobe.probes.settings import Settings

UDP = checks.udp_reach(443)
HANDSHAKE = checks.openvpn_handshake(Transport.UDP, 1194)
SHIFTS = (-7.0, 7.0, 3600.0)
SCENARIOS = ("openvpn-cut", "openvpn-dpi", "seed", "nat-without-alg", "syn-acks-lost-behind-nat", "lossy")


def ahead(record: EndRecord, seconds: float) -> EndRecord:
    """The same record by a clock that is ahead."""
    moved = tuple(replace(row, at=round(row.at + seconds, 6)) for row in record.packet_records)
    return replace(record, packet_records=moved)


def exchanged(*, there_s: float, back_s: float, ahead_s: float, check: checks.Check = UDP, message: str = "") -> list[PacketRecord]:
    """A few packets each way with the delays given, between clocks that are apart; others take longer."""
    rows: list[PacketRecord] = []
    for number, more in enumerate((0.3, 0.0, 0.1)):
        sent, answered = keys(2, start=10 * number)
        at = float(number)
        rows += seen(CLIENT, SENT, check, [sent], at=at, message=message)
        rows += seen(SERVER, RECEIVED, check, [sent], at=at + there_s + more + ahead_s, message=message)
        rows += seen(SERVER, SENT, check, [answered], at=at + 0.5 + ahead_s, message=message)
        rows += seen(CLIENT, RECEIVED, check, [answered], at=at + 0.5 + back_s + more, message=message)
    return rows


class TestOffset:
    @given(st.floats(-1e6, 1e6), st.floats(0, 1), st.floats(0, 1))
    def test_the_true_offset_is_within_the_uncertainty(self, ahead_s: float, there_s: float, back_s: float) -> None:
        found = clock_offset(*ends(exchanged(there_s=there_s, back_s=back_s, ahead_s=ahead_s)))
        assert found is not None
        assert abs(found.offset_s - ahead_s) <= found.uncertainty_s + 1e-5
        assert found.uncertainty_s == pytest.approx((there_s + back_s) / 2, abs=1e-5)

    def test_where_both_ways_take_as_long_it_is_exact(self) -> None:
        found = clock_offset(*ends(exchanged(there_s=0.02, back_s=0.02, ahead_s=7.0)))
        assert found == ClockOffset(7.0, 0.02)

    @pytest.mark.parametrize("way", [C2S, S2C])
    def test_one_direction_alone_does_not_tell_it(self, way: Direction) -> None:
        assert clock_offset(*ends(trip(UDP, way, keys(4), keys(4)))) is None

    def test_packets_that_only_one_end_has_do_not_tell_it(self) -> None:
        rows = [*seen(CLIENT, SENT, UDP, keys(4)), *seen(SERVER, RECEIVED, UDP, keys(4, start=50)), *trip(UDP, S2C, keys(2), keys(2))]
        assert clock_offset(*ends(rows)) is None

    def test_messages_tell_it_where_no_payload_of_ours_does(self) -> None:
        rows = exchanged(there_s=0.01, back_s=0.01, ahead_s=-3.0, check=HANDSHAKE, message="P_CONTROL_V1[1]")
        assert clock_offset(*ends(rows)) == ClockOffset(-3.0, 0.01)

    def test_payloads_of_ours_are_believed_before_messages(self) -> None:
        """What another program says is noted when it is seen, which may be after it came."""
        late = exchanged(there_s=0.01, back_s=-0.04, ahead_s=5.0, check=HANDSHAKE, message="P_CONTROL_V1[1]")
        assert clock_offset(*ends([*late, *exchanged(there_s=0.01, back_s=0.01, ahead_s=5.0)])) == ClockOffset(5.0, 0.01)

    def test_keys_that_begin_anew_and_ports_do_not_tell_it(self) -> None:
        gre = exchanged(there_s=0.01, back_s=0.01, ahead_s=5.0, check=checks.GRE_IN_CALL)
        foreign = [replace(row, key=f"00000000-{row.key[-8:]}") for row in gre]
        tcp = exchanged(there_s=0.01, back_s=0.01, ahead_s=5.0, check=checks.tcp_reach(443), message="SYN")
        ports = [replace(row, key=f"port-{row.key[-4:]}") for row in tcp]
        assert clock_offset(*ends([*foreign, *ports])) is None

    def test_a_clock_that_was_set_meanwhile_has_no_offset(self) -> None:
        """Answers come long before their questions then."""
        assert clock_offset(*ends(exchanged(there_s=0.01, back_s=-2.0, ahead_s=0.0))) is None


class TestOneClock:
    def test_the_servers_times_become_the_clients(self) -> None:
        client, server = ends(exchanged(there_s=0.01, back_s=0.01, ahead_s=7.0))
        aligned, facts = on_one_clock(client, server, PathFacts())
        assert (facts.clock_offset_s, facts.clock_uncertainty_s) == (7.0, 0.01)
        counted = count_packets(client, aligned, joined=True)[UDP]
        first = client.packet_records[0].key
        assert (counted.total(C2S).sent[first], counted.total(C2S).received[first]) == (0.0, pytest.approx(0.31))
        assert list(counted.total(S2C).sent.values()) == pytest.approx([0.5, 1.5, 2.5])

    def test_an_offset_that_is_known_is_taken(self) -> None:
        client, server = ends(trip(UDP, C2S, keys(2), keys(2)))
        aligned, facts = on_one_clock(client, server, PathFacts(clock_offset_s=1.0))
        assert (aligned.ahead_s, facts.clock_offset_s) == (1.0, 1.0)

    def test_two_attempts_have_no_offset(self) -> None:
        client, server = ends(exchanged(there_s=0.01, back_s=0.01, ahead_s=7.0))
        aligned, facts = on_one_clock(client, server, PathFacts(joined=False))
        assert aligned is server
        assert facts.clock_offset_s is None


def stopped(*, first: str) -> list[PacketRecord]:
    """A handshake that stops: one message of each end never comes, one of them two seconds before the other."""
    begun = [
        *trip(HANDSHAKE, C2S, keys(6), keys(6), message="P_CONTROL_V1[1]", at=0.0),
        *trip(HANDSHAKE, S2C, keys(6), keys(6), message="P_CONTROL_V1[0]", at=1.0),
    ]
    c2s_at, s2c_at = (2.0, 4.0) if first == "c2s" else (4.0, 2.0)
    return [
        *begun,
        *trip(HANDSHAKE, C2S, keys(6), [], message="P_CONTROL_V1[2]", at=c2s_at),
        *trip(HANDSHAKE, S2C, keys(6), [], message="P_CONTROL_V1[1]", at=s2c_at),
    ]


def lost_direction(client: EndRecord, server: EndRecord, *, joined: bool = True) -> str:
    found = judge(client, server, PathFacts(background=CLEAR, joined=joined))
    return str(next(o for o in found if o.check == "handshake").detail["lost_direction"])


@pytest.mark.parametrize("seconds", [0.0, *SHIFTS])
@pytest.mark.parametrize("first", ["c2s", "s2c"])
def test_a_clock_that_is_off_does_not_swap_the_lost_direction(first: str, seconds: float) -> None:
    client, server = ends(stopped(first=first))
    assert lost_direction(client, ahead(server, seconds)) == first


@pytest.mark.parametrize("seconds", [0.0, *SHIFTS])
def test_where_the_clocks_cannot_be_compared_the_clients_messages_come_first(seconds: float) -> None:
    client, server = ends(stopped(first="s2c"))
    assert lost_direction(client, ahead(server, seconds), joined=False) == "c2s"


@cache
def judged_in(scenario: str) -> tuple[EndRecord, EndRecord, PathFacts]:
    """What the last judgement of a simulated run was made of."""
    taken: list[tuple[EndRecord, EndRecord, PathFacts]] = []

    def noting(client: EndRecord, server: EndRecord, facts: PathFacts) -> list[Observation]:
        taken.append((client, server, facts))
        return judge(client, server, facts)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client_agent, "judge", noting)
        measure_simulated(load(scenario).topology, seed=2, settings=Settings((1194,)), tell=lambda _: None)
    return taken[-1]


def shifts() -> Iterator[float]:
    yield from SHIFTS


def facts_ahead(facts: PathFacts, seconds: float) -> PathFacts:
    """What would be known if the server's clock were ahead: the control channel's word on it moves too, and the records tell the rest."""
    offset_s, uncertainty_s = facts.control_clock or (0.0, 0.0)
    return replace(facts, clock_offset_s=None, clock_uncertainty_s=None, control_clock=(offset_s + seconds, uncertainty_s))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_comes_to_the_same_whatever_the_servers_clock_says(scenario: str) -> None:
    client, server, facts = judged_in(scenario)
    found = judge(client, server, facts)
    assert found
    for seconds in shifts():
        assert judge(client, ahead(server, seconds), facts_ahead(facts, seconds)) == found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_runs_records_tell_the_offset(scenario: str) -> None:
    client, server, _ = judged_in(scenario)
    plain, moved = clock_offset(client, server), clock_offset(client, ahead(server, 7.0))
    assert plain is not None
    assert moved is not None
    assert moved.offset_s - plain.offset_s == pytest.approx(7.0, abs=1e-5)
    assert abs(plain.offset_s) < 0.1
