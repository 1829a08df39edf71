"""What an end's own firewall takes in part: it arrived as far as the path goes, and nothing that it stops is judged as the path."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from evidence_support import C2S, S2C, ends, facts_with, keys, trip
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import kept_kind
from vpnprobe.evidence.taken import NOTHING_TAKEN, Taken, TakenPackets, Unnamed, read_taken, read_unnamed, taken_row, unnamed_row
from vpnprobe.firewall.mending import Mends
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default

UDP = checks.udp_reach(1194)
RESET, HANDSHAKE = checks.openvpn_reset(Transport.UDP, 1194), checks.openvpn_handshake(Transport.UDP, 1194)
DATA = checks.openvpn_data(Transport.UDP, 1194)
PART = Taken(Transport.UDP, 1194, 8, 30, 42, 84)
ASKED, ANSWERED = "P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"


def as_taken(records: Sequence[PacketRecord], vantage: Vantage = Vantage.SERVER) -> tuple[PacketRecord, ...]:
    """What left, as the end that it came to would have got it."""
    return tuple(replace(s, vantage=vantage, movement=Movement.RECEIVED) for s in records if s.movement is Movement.SENT)


def judged(
    records: Sequence[PacketRecord], *, server: TakenPackets = NOTHING_TAKEN, client: TakenPackets = NOTHING_TAKEN, **known: object
) -> dict[str, Observation]:
    at_client, at_server = ends(list(records))
    found = judge(replace(at_client, taken=client), replace(at_server, taken=server), replace(facts_with(), **known))  # type: ignore[arg-type]
    return {row.id: row for row in found}


def test_what_was_taken_is_no_loss_of_the_paths() -> None:
    lost = trip(UDP, C2S, keys(8, start=50), [])
    records = trip(UDP, C2S, keys(20), keys(20)) + lost
    assert judged(records)["udp-reach-udp-1194-c2s"].outcome is Outcome.DEGRADED
    found = judged(records, server=TakenPackets((PART,), as_taken(lost)))
    row = found["udp-reach-udp-1194-c2s"]
    assert (row.outcome, row.sent, row.received) == (Outcome.PASS, 28, 28)
    told = found["path-own-firewall-udp-c2s"]
    assert (told.outcome, told.cause, told.detail["host"]) == (Outcome.SKIPPED, Cause.HOST_FIREWALL, "server")
    assert (told.detail["taken"], told.detail["came"], told.detail["ports"]) == (8, 30, [1194])


def test_the_rest_of_what_is_lost_is_the_paths_all_the_same() -> None:
    lost = trip(UDP, C2S, keys(16, start=50), [])
    records = trip(UDP, C2S, keys(20), keys(20)) + lost
    row = judged(records, server=TakenPackets((PART,), as_taken(lost)[:8]))["udp-reach-udp-1194-c2s"]
    assert (row.outcome, row.cause, row.sent, row.received) == (Outcome.DEGRADED, Cause.LOSS, 36, 28)


def test_few_that_are_not_told_arrived_as_well() -> None:
    lost = trip(UDP, C2S, keys(3, start=50), [])
    found = judged(trip(UDP, C2S, keys(20), keys(20)) + lost, server=TakenPackets((), as_taken(lost)))
    assert found["udp-reach-udp-1194-c2s"].outcome is Outcome.PASS
    assert "path-own-firewall-udp-c2s" not in found


def test_a_kind_of_which_all_is_taken_is_open() -> None:
    session = [f"k{OF_SESSION}{number}" for number in range(8)]
    lost = trip(DATA, C2S, session, [], message="P_DATA_V2")
    records = trip(UDP, C2S, keys(20), keys(20)) + lost
    found = judged(records, server=TakenPackets((PART,), as_taken(lost)))
    row = found["openvpn-data-udp-1194-c2s"]
    assert (row.outcome, row.cause, row.detail["host"]) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, "server")
    assert found["udp-reach-udp-1194-c2s"].outcome is Outcome.PASS


@pytest.mark.parametrize("named", [True, False])
def test_a_conversation_of_which_messages_are_taken_is_open(named: bool) -> None:
    passing = trip(checks.udp_reach(443), C2S, keys(40, start=90), keys(40, start=90))
    opened = trip(RESET, C2S, keys(9), keys(9), message=ASKED) + trip(RESET, S2C, keys(9), keys(9), message=ANSWERED)
    lost = trip(HANDSHAKE, C2S, keys(9), [], message="P_CONTROL_V1[1]")
    packets = as_taken(lost) if named else ()
    unnamed = () if named else (Unnamed("00", 1.0),)
    assert judged(passing + opened + lost)["openvpn-handshake-udp-1194-both"].outcome is Outcome.BLOCKED
    found = judged(passing + opened + lost, server=TakenPackets((PART,), packets, unnamed))
    row = found["openvpn-handshake-udp-1194-both"]
    assert (row.outcome, row.cause, row.error_bound) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, None)
    assert row.detail["lost_direction"] == "c2s"
    assert "lost_message" not in row.detail
    assert found["openvpn-reset-udp-1194-both"].outcome is Outcome.PASS


@pytest.mark.parametrize(("unnamed", "outcome"), [((), Outcome.BLOCKED), ((Unnamed("00", 1.0),), Outcome.NO_ANSWER)])
def test_one_that_the_path_loses_besides_is_blocked(unnamed: tuple[Unnamed, ...], outcome: Outcome) -> None:
    """Unless what nobody can name may be what is missing."""
    passing = trip(checks.udp_reach(443), C2S, keys(40, start=90), keys(40, start=90))
    opened = trip(RESET, C2S, keys(9), keys(5), message=ASKED) + trip(RESET, S2C, keys(5), keys(5), message=ANSWERED)
    taken = as_taken(trip(RESET, C2S, keys(4, start=5), [], message=ASKED))
    lost = trip(HANDSHAKE, C2S, keys(9), [], message="P_CONTROL_V1[1]")
    found = judged(passing + opened + lost, server=TakenPackets((PART,), taken, unnamed))
    row = found["openvpn-handshake-udp-1194-both"]
    assert row.outcome is outcome
    assert row.detail.get("lost_message") == ("P_CONTROL_V1[1]" if outcome is Outcome.BLOCKED else None)


def test_one_of_which_nothing_is_taken_is_judged_as_ever() -> None:
    passing = trip(checks.udp_reach(443), C2S, keys(40, start=90), keys(40, start=90))
    opened = trip(RESET, C2S, keys(9), keys(9), message=ASKED) + trip(RESET, S2C, keys(9), keys(9), message=ANSWERED)
    lost = trip(HANDSHAKE, C2S, keys(9), [], message="P_CONTROL_V1[1]")
    others = as_taken(trip(UDP, C2S, keys(4, start=50), []))
    passing += trip(UDP, C2S, keys(9), keys(9))
    found = judged(passing + opened + lost, server=TakenPackets((PART,), others))
    assert found["openvpn-handshake-udp-1194-both"].outcome is Outcome.BLOCKED


def test_an_answer_that_the_client_s_own_firewall_takes_is_none() -> None:
    asked = trip(RESET, C2S, keys(9), keys(9), message=ASKED)
    answers = trip(RESET, S2C, keys(9), [], message=ANSWERED)
    taken = TakenPackets((PART,), as_taken(answers, Vantage.CLIENT))
    row = judged(asked + answers, client=taken)["openvpn-reset-udp-1194-both"]
    assert (row.outcome, row.cause, row.received) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, 0)
    assert "from the server's port 1194" in row.detail["reason"]


def test_streams_that_stall_where_segments_are_taken_are_open() -> None:
    stream = checks.openvpn_data(Transport.TCP, 443)
    sessions = [[f"{name}{OF_SESSION}{number}" for number in range(6)] for name in "abcdefgh"]
    records = [row for one in sessions for row in trip(stream, C2S, one, one[:2], message="P_DATA_V2")]
    part = Taken(Transport.TCP, 443, 8, 30, 900, 84)
    row = judged(records, server=TakenPackets((part,)))["openvpn-data-tcp-443-c2s"]
    assert (row.outcome, row.cause) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL)
    nothing = [row for one in sessions for row in trip(stream, C2S, one, [], message="P_DATA_V2")]
    row = judged(nothing, server=TakenPackets((part,)))["openvpn-data-tcp-443-c2s"]
    assert (row.outcome, row.cause) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL)


@pytest.mark.parametrize("way", [C2S, S2C])
def test_one_sentence_says_whose_firewall_takes_how_many_and_how_to_mend_it(way: Direction) -> None:
    host = "server" if way is C2S else "client"
    parts = (PART, replace(PART, port=53), Taken(Transport.GRE, None, 5, 9, 900, 60))
    lines = {kept_kind(host, checks.udp_reach(port), leaving=False, in_part=True): (f"ufw allow {port}/udp",) for port in (53, 1194)}
    found = judged([], **{host: TakenPackets(parts)}, firewalls={host: Mends("ufw", lines)})  # type: ignore[arg-type]
    decision = decide(list(found.values()), rules=load_default(), ports=(1194,), control_port=7117)
    about_gre, about_udp = (warning for warning in decision.warnings if "own firewall" in warning)
    where = "to ports 53, 1194" if host == "server" else "from the server's ports 53, 1194"
    assert f"the {host}'s own firewall (ufw) takes 16 of 60 UDP packets {where} that come to it, and lets in others like them" in about_udp
    assert f"(on the {host}, `ufw allow 53/udp` and `ufw allow 1194/udp` lets it through)" in about_udp
    assert "takes 5 of 9 GRE packets that come to it: all of them have 900 bytes or more, and none of more than 60 is let in" in about_gre


slots = st.tuples(st.sampled_from([Transport.UDP, Transport.TCP]), st.integers(0, 65535)) | st.tuples(
    st.sampled_from([Transport.GRE, Transport.ESP]), st.none()
)
counts = st.tuples(st.integers(1, 1 << 20), st.integers(1, 1 << 20)).map(sorted)
takens = st.builds(lambda slot, count, sizes: Taken(*slot, *count, *sizes), slots, counts, st.tuples(*[st.integers(0, 65535)] * 2))


@given(takens)
def test_what_was_taken_comes_back_as_it_was(one: Taken) -> None:
    assert read_taken(taken_row(one)) == one


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        ["udp", 1, 2, 3, 4],
        ["udp", 70000, 2, 3, 4, 5],
        ["udp", 1, -2, 3, 4, 5],
        ["xyz", 1, 2, 3, 4, 5],
        ["udp", 1, 3, 2, 4, 5],
        ["udp", 1, 0, 2, 4, 5],
        ["udp", 1, 2, 3, 4, 1 << 20],
        ["udp", None, 2, 3, 4, 5],
        ["gre", 1, 2, 3, 4, 5],
        ["icmp", None, 2, 3, 4, 5],
    ],
)
def test_anything_else_is_a_decode_error(row: object) -> None:
    with pytest.raises(DecodeError):
        read_taken(row)


@pytest.mark.parametrize("row", [None, ["aa"], ["aa", "soon"], ["aa", True], ["aa", -1], [7, 1.0]])
def test_so_is_what_is_no_digest_at_a_time(row: object) -> None:
    assert read_unnamed(unnamed_row(Unnamed("aa", 1.5))) == Unnamed("aa", 1.5)
    with pytest.raises(DecodeError):
        read_unnamed(row)
