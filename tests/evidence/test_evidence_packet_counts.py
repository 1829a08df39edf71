"""Counting: what was sent, what of it came, and what counts for nothing."""

from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, keys, seen, trip
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_counts import Count, CountedRecords, PacketCounts, answered_key, background, count_packets, round_trip_ms
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Transport
from vpnprobe.wire.nonce import PURPOSES_OF_REACH, Purpose

ASKED = [checks.GRE_BARE, checks.ESP, checks.udp_reach(53), checks.PPTP_CONTROL, checks.PPTP_LCP]
OPENVPN = checks.openvpn_reset(Transport.UDP, 1194)


def of(rows: list[PacketRecord], check: Check, *, joined: bool = True, trusted: frozenset[Check] = frozenset()) -> PacketCounts:
    client, server = ends(rows)
    return count_packets(client, server, joined=joined, trusted=trusted).get(check, PacketCounts())


def test_what_left_and_what_came() -> None:
    count = of(trip(checks.GRE_BARE, C2S, keys(6), keys(4)), checks.GRE_BARE).total(C2S)
    assert (len(count.sent), len(count.received), count.lost) == (6, 4, 2)
    assert count.background() == Background(2, 4)


def test_copies_with_the_same_key_count_once() -> None:
    rows = trip(checks.ESP, C2S, keys(3) * 2, keys(2) * 4)
    count = of(rows, checks.ESP).total(C2S)
    assert (len(count.sent), len(count.received)) == (3, 2)


def test_a_copy_counts_at_the_time_of_the_first() -> None:
    rows = [*seen(CLIENT, SENT, checks.ESP, ["a"], at=1.0), *seen(CLIENT, SENT, checks.ESP, ["a"], at=5.0)]
    assert of(rows, checks.ESP).total(C2S).sent == {"a": 1.0}


def test_stepped_copies_are_no_trials_and_no_loss() -> None:
    rows = [
        *trip(checks.GRE_BARE, C2S, keys(2), keys(2)),
        *seen(CLIENT, SENT, checks.GRE_BARE, keys(9, start=50), ttl_limited=True, ttl=3),
    ]
    count = of(rows, checks.GRE_BARE).total(C2S)
    assert (len(count.sent), count.lost) == (2, 0)


def test_a_stepped_copy_that_arrives_counts_for_nothing_either() -> None:
    """Its arrival is read by the trace, not by the count."""
    rows = [*seen(CLIENT, SENT, checks.GRE_BARE, ["x"], ttl_limited=True), *seen(SERVER, RECEIVED, checks.GRE_BARE, ["x"])]
    count = of(rows, checks.GRE_BARE).total(C2S)
    assert (len(count.sent), len(count.received)) == (0, 0)


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("purpose", set(Purpose) - PURPOSES_OF_REACH)
def test_what_is_sent_for_another_question_is_never_counted_as_reach(purpose: Purpose, joined: bool) -> None:
    """Whether or not the other end's record, which alone has the TTL that it was sent with, is joined."""
    rows = [replace(row, purpose=purpose) for row in trip(checks.udp_reach(53), C2S, keys(6), keys(6))]
    assert not of(rows, checks.udp_reach(53), joined=joined).counts
    plain = trip(checks.udp_reach(53), C2S, keys(3, start=20), [])
    count = of([*rows, *plain], checks.udp_reach(53), joined=joined).total(C2S)
    assert (len(count.sent), len(count.received)) == (3, 0)


def test_a_copy_that_the_receiver_alone_has_is_known_by_what_it_says() -> None:
    """Two captures that cannot be joined: the receiving end sees an ordinary TTL, and a payload that says what it is for."""
    arrived = [replace(row, purpose=Purpose.TRACE) for row in seen(SERVER, RECEIVED, checks.GRE_BARE, keys(2), ttl=1)]
    rows = [*seen(CLIENT, SENT, checks.GRE_BARE, keys(4, start=9)), *arrived]
    assert of(rows, checks.GRE_BARE, joined=False).total(C2S).received == {}


def test_a_decoy_is_a_control_of_the_same_question_and_counts() -> None:
    rows = [replace(row, purpose=Purpose.DECOY) for row in trip(checks.udp_reach(53), C2S, keys(6), keys(5))]
    count = of(rows, checks.udp_reach(53)).total(C2S)
    assert (len(count.sent), len(count.received)) == (6, 5)


@given(st.sampled_from(ASKED), st.lists(st.text("abcdef0123456789", min_size=1, max_size=24), max_size=8), st.sampled_from(["", "SCCRQ"]))
def test_a_row_of_the_server_with_a_foreign_key_counts_for_nothing(check: Check, foreign: list[str], message: str) -> None:
    ours = keys(3)
    rows = trip(check, C2S, ours, ours[:2], message=message)
    stranger = seen(SERVER, RECEIVED, check, [key for key in foreign if key not in ours], message=message)
    assert of(rows, check) == of([*rows, *stranger], check)


def test_a_foreign_row_does_not_even_name_its_check() -> None:
    client, server = ends(seen(SERVER, RECEIVED, checks.PPTP_CONTROL, ["scanner"], message="SCCRQ"))
    assert checks.PPTP_CONTROL not in count_packets(client, server, joined=True)


def test_a_conversation_that_the_client_never_began_is_none_of_ours() -> None:
    scanner = seen(SERVER, SENT, checks.PPTP_CONTROL, ["scanner"], message="SCCRP")
    client, server = ends(scanner)
    assert count_packets(client, server, joined=True) == {}
    assert count_packets(client, server, joined=False)[checks.PPTP_CONTROL].count(S2C, "SCCRP").sent


def test_captures_of_two_attempts_are_counted_without_a_join() -> None:
    rows = trip(checks.GRE_IN_CALL, C2S, keys(3), keys(2, start=20))
    assert len(of(rows, checks.GRE_IN_CALL, joined=False).total(C2S).received) == 2
    assert len(of(rows, checks.GRE_IN_CALL, joined=True).total(C2S).received) == 0


def test_what_a_trusted_program_sends_needs_no_record_of_it() -> None:
    rows = seen(CLIENT, RECEIVED, checks.GRE_IN_CALL, keys(2))
    trusted = frozenset({checks.GRE_IN_CALL})
    assert len(of(rows, checks.GRE_IN_CALL, trusted=trusted).total(S2C).received) == 2
    assert len(of(rows, checks.GRE_IN_CALL).total(S2C).received) == 0


def test_trust_is_for_the_way_back_alone() -> None:
    rows = seen(SERVER, RECEIVED, checks.GRE_IN_CALL, keys(2))
    assert len(of(rows, checks.GRE_IN_CALL, trusted=frozenset({checks.GRE_IN_CALL})).total(C2S).received) == 0


def test_an_answer_is_known_by_the_key_that_the_client_chose() -> None:
    rows = [
        *seen(CLIENT, SENT, OPENVPN, ["s"], message="P_CONTROL_HARD_RESET_CLIENT_V2"),
        *seen(CLIENT, RECEIVED, OPENVPN, ["s"], message="P_CONTROL_HARD_RESET_SERVER_V2"),
    ]
    assert of(rows, OPENVPN).count(S2C, "P_CONTROL_HARD_RESET_SERVER_V2").received


def test_a_payload_that_the_server_did_not_send_is_no_answer() -> None:
    """Reflected by somebody on the way: the server's record has no such packet."""
    check = checks.udp_reach(53)
    rows = [*seen(CLIENT, SENT, check, ["n"]), *seen(CLIENT, RECEIVED, check, ["n"])]
    assert not of(rows, check).total(S2C).received


def test_without_an_agent_an_answer_is_known_by_the_key_alone() -> None:
    check = checks.udp_reach(53)
    client, server = ends([*seen(CLIENT, SENT, check, ["n"]), *seen(CLIENT, RECEIVED, check, ["n"])], recorded=False)
    assert count_packets(client, server, joined=True)[check].total(S2C).received


def test_an_acknowledged_request_came_whoever_kept_a_record() -> None:
    rows = [
        *seen(CLIENT, SENT, checks.PPTP_LCP, ["m1", "m2"], message="Configure-Request"),
        *seen(CLIENT, RECEIVED, checks.PPTP_LCP, ["m1", "other"], message="Configure-Ack", at=0.5),
    ]
    count = of(rows, checks.PPTP_LCP, trusted=frozenset({checks.PPTP_LCP})).count(C2S, "Configure-Request")
    assert count.received == {"m1": 0.5}


def test_where_nobody_records_what_comes_only_what_is_answered_is_a_trial() -> None:
    """Nothing answers an answer: whether it came nobody knows there, and it is not lost for that."""
    rows = [
        *seen(CLIENT, SENT, checks.PPTP_LCP, ["m1", "m2"], message="Configure-Request"),
        *seen(CLIENT, RECEIVED, checks.PPTP_LCP, ["m1"], message="Configure-Ack", at=0.5),
        *seen(CLIENT, RECEIVED, checks.PPTP_LCP, ["s1", "s2"], message="Configure-Request"),
        *seen(CLIENT, SENT, checks.PPTP_LCP, ["s1", "s2"], message="Configure-Ack"),
        *seen(SERVER, RECEIVED, checks.PPTP_LCP, ["s2"], message="Configure-Ack"),
    ]
    counted = of(rows, checks.PPTP_LCP, trusted=frozenset({checks.PPTP_LCP}))
    assert set(counted.total(C2S).sent) == {"m1", "m2", "s1", "s2"}
    found = counted.provable(C2S)
    assert (set(found.sent), set(found.received)) == ({"m1", "m2", "s2"}, {"m1", "s2"})
    assert counted.provable(S2C) == counted.total(S2C)


def test_what_was_counted_before_is_brought_up_to_date() -> None:
    """Whatever is recorded next, and in whichever order: the counts are those of a count afresh."""
    rows = [
        *trip(checks.ESP, C2S, keys(3), keys(2)),
        *trip(OPENVPN, C2S, ["s1"], ["s1", "another's"], message="P_CONTROL_HARD_RESET_CLIENT_V2"),
        *seen(SERVER, SENT, OPENVPN, ["s1"], message="P_CONTROL_HARD_RESET_SERVER_V2"),
        *trip(checks.PPTP_LCP, S2C, ["m1", "m2"], ["m1"], message="Configure-Request"),
    ]
    for order in (rows, rows[::-1]):
        before: dict[Check, CountedRecords] = {}
        for number in range(1, len(order) + 1):
            client, server = ends(order[:number])
            assert count_packets(client, server, joined=True, before=before) == count_packets(client, server, joined=True)
    client, server = ends(rows)
    trusted = frozenset({checks.ESP})
    again = count_packets(client, server, joined=False, trusted=trusted, before=before)
    assert again == count_packets(client, server, joined=False, trusted=trusted)


def test_what_one_judgement_leaves_out_the_next_has_again() -> None:
    client, server = ends(trip(checks.ESP, C2S, keys(3), keys(2)))
    before: dict[Check, CountedRecords] = {}
    for _ in range(2):
        counted = count_packets(client, server, joined=True, before=before)[checks.ESP]
        assert counted.total(C2S).lost == 1
        counted.counts[C2S, ""].sent.clear()


def test_background_is_of_what_passes_in_that_direction() -> None:
    rows = [
        *trip(checks.ESP, C2S, keys(6), keys(5)),
        *trip(checks.udp_reach(53), C2S, keys(4), keys(4)),
        *trip(checks.GRE_BARE, C2S, keys(9), []),
        *trip(checks.GRE_BARE, S2C, keys(7), keys(1)),
    ]
    client, server = ends(rows)
    packet_counts = count_packets(client, server, joined=True)
    assert background(packet_counts.values(), C2S) == Background(1, 9)
    assert background(packet_counts.values(), S2C) == Background(6, 1)
    assert background([], C2S) == Background()


def test_a_round_trip_is_the_median_of_the_pairs() -> None:
    there = Count(sent={"a": 1.0, "b": 2.0, "c": 3.0, "late": 9.0})
    back = Count(received={"a": 1.01, "b": 2.03, "c": 3.02, "late": 8.0, "unknown": 5.0})
    assert round_trip_ms(there, back) == pytest.approx(20.0)
    assert round_trip_ms(there, Count(received={"A": 1.5}), answers={"A": "a"}) == 500.0
    assert round_trip_ms(there, Count()) is None


def test_more_than_was_sent_is_no_negative_loss() -> None:
    """A capture that began in the middle."""
    assert Count(sent={"a": 0.0}, received={"a": 0.0, "b": 0.1}).lost == 0


def test_an_end_that_sent_nothing_is_nobodys_loss() -> None:
    assert Count(sent={"a": 0.0}).background() == Background()


def test_a_message_that_the_protocols_table_does_not_have_counts_for_nothing() -> None:
    """A newer server may name one that this end could not recognise: it is not lost for that."""
    reset = checks.openvpn_reset(Transport.UDP, 1194)
    newer = seen(SERVER, SENT, reset, keys(8), message="P_CONTROL_HARD_RESET_SERVER_V9")
    asked = seen(CLIENT, SENT, reset, keys(8), message="P_CONTROL_HARD_RESET_CLIENT_V2")
    assert of([*asked, *newer], reset) == of(asked, reset)
    handshake = checks.openvpn_handshake(Transport.UDP, 1194)
    parts = [
        *seen(CLIENT, SENT, handshake, keys(1), message="P_CONTROL_V1[1]"),
        *seen(SERVER, SENT, handshake, keys(1), message="P_CONTROL_V1[7]"),
    ]
    assert of(parts, handshake).count(S2C, "P_CONTROL_V1[7]").sent


def test_an_answer_to_what_is_no_number_proves_nothing() -> None:
    data = checks.openvpn_data(Transport.UDP, 1194)
    rows = [*seen(CLIENT, SENT, data, ["s.0.1"]), *seen(CLIENT, RECEIVED, data, ["s.0.9"], message="P_DATA_V2", detail={"answers": "1"})]
    assert not of(rows, data).total(C2S).received


@pytest.mark.parametrize(("key", "asked"), [("0" * 8 + "z" * 16, "0" * 8 + "z" * 16), ("short", "short")])
def test_a_key_of_another_form_is_its_own(key: str, asked: str) -> None:
    assert answered_key(key) == asked
