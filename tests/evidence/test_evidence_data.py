"""OpenVPN's handshake and data in two records: what passes, what is limited, what is cut, and where a conversation stopped."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, facts_with, judged, keys, trip

from vpnprobe.conversations.openvpn import data_suffix
from vpnprobe.evidence import checks
from vpnprobe.evidence.departures import Departure, asked_for
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.data import large_ones_in_doubt
from vpnprobe.evidence.judging.data_runs import DataRun
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_counts import Count
from vpnprobe.evidence.packet_records import PacketRecord, Vantage
from vpnprobe.evidence.records import PathFacts, Refusal, RefusalKind
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

TCP, UDP = Transport.TCP, Transport.UDP
SIZES = (128, 576, 1200, 1400, 1450, 1492)
CARRIER = {UDP: 28, TCP: 54}
Passes = Callable[[int, int], bool]
"""From the place in the session (from 0) and the outer size to whether the packet comes."""


def packets(
    transport: Transport = UDP,
    way: Direction = C2S,
    *,
    count: int = 24,
    sessions: int = 1,
    passes: Passes = lambda place, size: True,
    wrap: str = "",
    first: int = 1,
    sizes: Sequence[int] = SIZES,
) -> list[PacketRecord]:
    """Sessions that send `count` packets each, the sizes in turn."""
    check = checks.openvpn_data(transport, 1194, wrap)
    sender, receiver = (CLIENT, SERVER) if way is C2S else (SERVER, CLIENT)
    found = []
    for session in range(first, first + sessions):
        for place in range(count):
            outer = sizes[place % len(sizes)]
            key, at = f"{session:016x}" + data_suffix(0, place + 1), session + place * 0.003
            size = outer - CARRIER[transport]
            found.append(PacketRecord(sender, SENT, at, check, key, "P_DATA_V2", size))
            if passes(place, outer):
                found.append(PacketRecord(receiver, RECEIVED, at + 0.001, check, key, "P_DATA_V2", size))
    return found


def row_of(rows: Sequence[PacketRecord], way: Direction = C2S, facts: PathFacts | None = None, *, recorded: bool = True) -> Observation:
    check = rows[0].check
    return judged(rows, facts, recorded=recorded)[identifier(check, way)]


def short(row: Observation) -> tuple[Outcome, Cause | None]:
    return row.outcome, row.cause


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("way", [C2S, S2C])
def test_data_that_all_comes_passes_and_tells_its_sizes(transport: Transport, way: Direction) -> None:
    row = row_of(packets(transport, way), way)
    assert (row.outcome, row.sent, row.received) == (Outcome.PASS, 24, 24)
    furthest = {"longest_packets": 24, "longest_s": 0.069, "largest_passed": max(SIZES)}
    assert row.detail == {"sessions": 1, "by_size": {str(size): [4, 4] for size in SIZES}, **furthest, "proof": "peer"}


def test_many_sizes_are_told_as_ranges() -> None:
    row = row_of(packets(count=40, sizes=range(100, 1600, 50)))
    assert list(row.detail["by_size"]) == ["1-128", "129-576", "577-1200", "1201-1400", "1401-1450", "1451-1500", "over 1500"]
    assert sum(sent for sent, _ in row.detail["by_size"].values()) == 40


def test_sizes_that_are_not_known_are_left_out() -> None:
    rows = [replace(row, size=0) for row in packets()]
    assert row_of(rows).detail == {"sessions": 1, "by_size": {}, "longest_packets": 24, "longest_s": 0.069, "proof": "peer"}


@pytest.mark.parametrize(("lost", "expected"), [({5}, (Outcome.PASS, None)), ({5, 11}, (Outcome.DEGRADED, Cause.LOSS))])
def test_scattered_loss(lost: set[int], expected: tuple[Outcome, Cause | None]) -> None:
    row = row_of(packets(passes=lambda place, _: place not in lost))
    assert short(row) == expected
    assert row.received == 24 - len(lost)


def test_large_packets_that_all_vanish_are_a_limit_on_size() -> None:
    row = row_of(packets(passes=lambda _, size: size <= 1400))
    assert short(row) == (Outcome.DEGRADED, Cause.SIZE)
    assert (row.detail["largest_passing"], row.detail["smallest_lost"]) == (1400, 1450)
    assert row.error_bound is not None
    assert row.error_bound <= 1e-6


def test_a_few_large_packets_that_vanish_prove_nothing() -> None:
    row = row_of(packets(count=7, passes=lambda _, size: size <= 1400))
    assert short(row) == (Outcome.DEGRADED, Cause.UNKNOWN)
    assert "largest_passing" not in row.detail


def test_large_packets_prove_nothing_on_a_path_that_loses_as_much() -> None:
    lossy = facts_with(background={C2S: Background(400, 600)})
    row = row_of(packets(count=7, passes=lambda _, size: size <= 1400), facts=lossy)
    assert short(row) == (Outcome.DEGRADED, Cause.LOSS)
    many = row_of(packets(count=60, passes=lambda _, size: size <= 1400), facts=lossy)
    assert short(many)[1] is not Cause.LOSS, "so many of one size alone are not lost by chance there either"


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_session_that_ends_after_some_packets_is_cut(sessions: int) -> None:
    row = row_of(packets(sessions=sessions, passes=lambda place, _: place < 10))
    assert short(row) == (Outcome.BLOCKED, Cause.PACKETS)
    assert row.detail["cut_after"] == 10
    assert row.received == 10 * sessions


def test_a_session_that_got_beyond_shows_that_there_is_no_cut() -> None:
    rows = [*packets(passes=lambda place, _: place < 10), *packets(first=2)]
    assert short(row_of(rows)) == (Outcome.DEGRADED, Cause.UNKNOWN), "what ended the first one is not known"


def test_a_session_that_is_too_short_says_nothing_of_a_cut() -> None:
    rows = [*packets(passes=lambda place, _: place < 10), *packets(first=2, count=6)]
    row = row_of(rows)
    assert (short(row), row.detail["cut_after"]) == ((Outcome.BLOCKED, Cause.PACKETS), 10)


def test_too_few_packets_behind_the_last_one_are_no_cut() -> None:
    assert row_of(packets(passes=lambda place, _: place < 17)).cause is Cause.LOSS, "an outage may have begun then"
    assert row_of(packets(sessions=2, passes=lambda place, _: place < 17)).cause is Cause.UNKNOWN, "chance does not lose ends alone"


def test_what_is_lost_anywhere_is_loss() -> None:
    assert row_of(packets(passes=lambda place, _: place not in (5, 9, 23))).cause is Cause.LOSS


def cut_at(way: Direction, place: int) -> list[PacketRecord]:
    return packets(TCP, way, count=40, sessions=9, passes=lambda number, _: number < place)


@pytest.mark.parametrize(("there", "back", "follower"), [(20, 30, S2C), (30, 20, C2S)])
def test_a_stream_that_stalls_one_way_stalls_the_other_too(there: int, back: int, follower: Direction) -> None:
    """What carries its acknowledgments ends first."""
    rows = [*cut_at(C2S, there), *cut_at(S2C, back)]
    assert [row_of(rows, way).cause for way in (C2S, S2C)] == [Cause.PACKETS] * 2, "it is not known how long packets take"
    rows += [one for way in (C2S, S2C) for one in trip(checks.GRE_BARE, way, keys(4, start=len(way)), keys(4, start=len(way)))]
    found = {way: row_of(rows, way) for way in (C2S, S2C)}
    cut = S2C if follower is C2S else C2S
    assert short(found[cut]) == (Outcome.BLOCKED, Cause.PACKETS)
    assert short(found[follower]) == (Outcome.NO_ANSWER, None)
    assert "acknowledgments" in found[follower].detail["reason"]
    assert "cut_after" not in found[follower].detail


def test_where_neither_way_shows_to_end_first_both_are_cut() -> None:
    rows = [*cut_at(C2S, 20), *packets(TCP, S2C, count=40, sessions=5, passes=lambda number, _: number < 19)]
    rows += packets(TCP, S2C, count=40, sessions=4, first=6, passes=lambda number, _: number < 21)
    rows += [one for way in (C2S, S2C) for one in trip(checks.GRE_BARE, way, keys(4, start=len(way)), keys(4, start=len(way)))]
    assert [row_of(rows, way).cause for way in (C2S, S2C)] == [Cause.PACKETS] * 2


def test_a_cut_behind_a_limit_on_size_is_a_cut() -> None:
    row = row_of(packets(count=48, passes=lambda place, size: place < 20 and size <= 1400))
    assert (short(row), row.detail["cut_after"]) == ((Outcome.BLOCKED, Cause.PACKETS), 14)


@pytest.mark.parametrize(
    ("transport", "count", "sessions", "expected"),
    [(UDP, 24, 1, Outcome.BLOCKED), (UDP, 3, 1, Outcome.NO_ANSWER), (TCP, 24, 3, Outcome.NO_ANSWER), (TCP, 24, 4, Outcome.BLOCKED)],
)
def test_data_of_which_nothing_comes(transport: Transport, count: int, sessions: int, expected: Outcome) -> None:
    row = row_of(packets(transport, count=count, sessions=sessions, passes=lambda *_: False))
    assert (row.outcome, row.received) == (expected, 0)


@pytest.mark.parametrize(
    ("sessions", "stops", "expected"),
    [
        (4, lambda place, _: place < 10, (Outcome.BLOCKED, Cause.PACKETS)),
        (4, lambda place, _: place < 3, (Outcome.NO_ANSWER, None)),
        (3, lambda place, _: place < 10, (Outcome.NO_ANSWER, None)),
    ],
)
def test_streams_that_stall(sessions: int, stops: Passes, expected: tuple[Outcome, Cause | None]) -> None:
    row = row_of(packets(TCP, sessions=sessions, passes=stops))
    assert short(row) == expected
    if expected[1] is Cause.PACKETS:
        assert row.detail["cut_after"] == 10


LARGE_FIRST, LARGE_LAST = (1400, 128), (128, 128, 128, 576, 576, 576, 1400)


@pytest.mark.parametrize(
    ("sizes", "expected"), [(LARGE_LAST, (Outcome.DEGRADED, Cause.SIZE)), ((128, 576, 1400), (Outcome.NO_ANSWER, None))]
)
def test_streams_that_stall_at_what_is_large_wherever_it_stands(sizes: Sequence[int], expected: tuple[Outcome, Cause | None]) -> None:
    """Where it stands at one place in all sessions they may have been cut there."""
    rows = [
        row
        for first, one in ((1, (128, 576, 1400)), (9, sizes))
        for row in packets(TCP, sessions=3, first=first, sizes=one, passes=lambda place, _, one=one: place < one.index(1400))
    ]
    row = row_of(rows)
    assert short(row) == expected
    if expected[1] is Cause.SIZE:
        assert (row.detail["largest_passing"], row.detail["smallest_lost"]) == (576, 1400)


def test_streams_that_are_cut_at_what_is_large_in_some_and_small_in_others_are_cut() -> None:
    small = (128, 576, 1400), (128, 128, 128, 576, 1400)
    rows = [
        row
        for first, one in zip((1, 9), small, strict=True)
        for row in packets(TCP, sessions=3, first=first, sizes=one, passes=lambda place, _: place < 2)
    ]
    assert short(row_of(rows)) == (Outcome.BLOCKED, Cause.PACKETS)


def test_nothing_behind_what_is_large_is_no_limit_on_size_over_udp() -> None:
    """A cut looks so too, where sizes rise: something small has to come behind."""
    rising = packets(sessions=6, count=6, passes=lambda place, _: place < 3)
    assert row_of(rising).cause is Cause.UNKNOWN
    falling = packets(sessions=6, count=6, first=20, sizes=SIZES[::-1], passes=lambda _, size: size <= 1200)
    assert short(row_of(falling)) == (Outcome.DEGRADED, Cause.SIZE)


def test_few_of_many_that_are_all_too_large_are_no_pass() -> None:
    """Four of two hundred: chance loses other sizes too."""
    rows = packets(count=200, sizes=(128,)) + packets(first=9, count=4, sizes=(1400,), passes=lambda *_: False)
    row = row_of(rows)
    assert short(row) == (Outcome.DEGRADED, Cause.UNKNOWN)
    assert (row.detail["largest_passing"], row.detail["smallest_lost"]) == (128, 1400)
    assert row_of(rows[:-1]).outcome is Outcome.PASS, "three may be chance"


def test_a_cut_before_which_what_is_largest_came_is_none_on_size() -> None:
    row = row_of(packets(sessions=2, count=24, sizes=SIZES[::-1], passes=lambda place, _: place < 2))
    assert (short(row), row.detail["cut_after"]) == ((Outcome.BLOCKED, Cause.PACKETS), 2)


@pytest.mark.parametrize(("complete", "expected"), [(1, Outcome.NO_ANSWER), (3, Outcome.NO_ANSWER), (4, Outcome.PASS), (9, Outcome.PASS)])
def test_streams_pass_where_as_many_complete_as_stall(complete: int, expected: Outcome) -> None:
    rows = [*packets(TCP, sessions=4, passes=lambda place, _: place < 10), *packets(TCP, first=9, sessions=complete)]
    assert short(row_of(rows)) == (expected, None)


def test_short_streams_that_pass_say_nothing_of_long_ones_of_which_nothing_comes() -> None:
    """What counts packets counts acknowledgments too: on a long path none of the answers comes before the end."""
    rows = [*packets(TCP, count=60, sessions=5, passes=lambda *_: False), *packets(TCP, first=9, count=6, sessions=5)]
    assert short(row_of(rows)) == (Outcome.NO_ANSWER, None)


@pytest.mark.parametrize(
    ("count", "came", "expected"), [(12, 12, Cause.PACKETS), (16, 16, Cause.PACKETS), (24, 12, Cause.PACKETS), (22, 22, Cause.UNKNOWN)]
)
def test_a_session_as_long_may_get_a_little_further_than_those_that_are_cut(count: int, came: int, expected: Cause) -> None:
    rows = [*packets(sessions=3, passes=lambda place, _: place < 10), *packets(first=9, count=count, passes=lambda place, _: place < came)]
    row = row_of(rows)
    assert row.cause is expected
    assert expected is Cause.UNKNOWN or row.detail["cut_after"] == came


def test_what_was_under_way_when_a_stream_was_closed_is_no_loss() -> None:
    """TCP repeats what is lost: "41 of 44 arrived" is nothing that it does."""
    rows = [*packets(TCP, sessions=3), *packets(TCP, first=9, sessions=1, passes=lambda place, _: place < 10)]
    row = row_of(rows)
    assert row.outcome is Outcome.PASS
    assert row.sent == row.received
    assert all(left == came for left, came in row.detail["by_size"].values())


def test_stalls_prove_nothing_without_a_background() -> None:
    rows = packets(TCP, sessions=4, passes=lambda place, _: place < 10)
    assert short(row_of(rows, facts=facts_with(background={}))) == (Outcome.NO_ANSWER, None)


def test_losses_by_size_are_no_loss_of_the_path() -> None:
    silent = trip(checks.udp_reach(443), C2S, [f"{number:024x}" for number in range(8)], [])
    rows = judged([*packets(count=240, passes=lambda _, size: size <= 1400), *silent])
    assert rows["udp-reach-udp-443-c2s"].outcome is Outcome.BLOCKED


def answered(count: int, *, size_limit: int = 1500) -> list[PacketRecord]:
    """Echo requests of the client alone, and the answers that came; the server keeps no record."""
    check = checks.openvpn_data(UDP, 1194, "profile")
    found = []
    for row in packets(count=count):
        sent = replace(row, check=check)
        if row.movement is SENT:
            found.append(sent)
        elif row.size + 28 <= size_limit:
            number = int(row.key.rpartition(".")[2], 16)
            key = row.key.partition(".")[0] + data_suffix(0, 1000 + number)
            found.append(replace(sent, vantage=Vantage.CLIENT, key=key, detail={"answers": f"0.{number:x}"}))
    return found


def test_answers_prove_without_an_agent_at_the_server() -> None:
    rows = judged(answered(24), facts_with(background={}), recorded=False)
    there, back = rows["openvpn-data-profile-udp-1194-c2s"], rows["openvpn-data-profile-udp-1194-s2c"]
    assert (there.outcome, there.received, back.outcome, back.received) == (Outcome.PASS, 24, Outcome.PASS, 24)
    assert (there.detail["profile"], there.detail["round_trip"]) == (True, True)
    assert "round_trip" not in back.detail
    assert (there.sent, there.detail["proof"], back.sent, back.detail["proof"]) == (24, "answered", None, "peer")
    assert (there.detail["by_size"]["128"], back.detail["by_size"]["128"]) == ([4, 4], [None, 4])


def test_large_requests_without_answers_are_a_limit_of_the_round_trip() -> None:
    rows = judged(answered(102, size_limit=1400), facts_with(background={}), recorded=False)
    row = rows["openvpn-data-profile-udp-1194-c2s"]
    assert (short(row), row.detail["largest_passing"]) == ((Outcome.DEGRADED, Cause.SIZE), 1400)


def test_no_answer_at_all_proves_nothing_without_an_agent_at_the_server() -> None:
    row = row_of(packets(passes=lambda *_: False), recorded=False)
    assert short(row) == (Outcome.NO_ANSWER, None)
    assert (row.sent, row.received, row.detail["by_size"]["128"]) == (24, None, [4, None])


def test_the_order_is_that_of_the_sender() -> None:
    count = Count({"a.0.2": 2.0, "a.0.1": 1.0}, {"a.0.1": 1.5}, {"a.0.1": 100, "a.0.2": 200})
    (session,) = DataRun.of(count, stream=False).sessions
    assert [(packet.size, packet.came) for packet in session] == [(128, True), (228, False)]


# The handshake.

KEYS = [f"{number:016x}" for number in range(1, 9)]


def handshake(*messages: tuple[Direction, str, int], wrap: str = "") -> list[PacketRecord]:
    """Messages in their order: direction, name, and at how many of eight sessions they come."""
    check = checks.openvpn_handshake(UDP, 1194, wrap)
    return [
        one
        for place, (way, name, came) in enumerate(messages)
        for one in trip(check, way, KEYS, KEYS[:came], message=name, at=float(place))
    ]


def reset(wrap: str = "") -> list[PacketRecord]:
    check = checks.openvpn_reset(UDP, 1194, wrap)
    return [
        *trip(check, C2S, KEYS, KEYS, message="P_CONTROL_HARD_RESET_CLIENT_V2"),
        *trip(check, S2C, KEYS, KEYS, message="P_CONTROL_HARD_RESET_SERVER_V2"),
    ]


def test_a_handshake_passes_with_the_servers_key_message() -> None:
    rows = judged([*reset(), *handshake((C2S, "P_CONTROL_V1[1]", 8), (S2C, "P_CONTROL_V1[1]", 8), (S2C, "key-method-2", 1))])
    assert rows["openvpn-handshake-udp-1194-both"].outcome is Outcome.PASS


@pytest.mark.parametrize("wrap", ["", "tls-crypt"])
@pytest.mark.parametrize(
    ("messages", "lost"),
    [
        ([(C2S, "P_CONTROL_V1[1]", 0)], ("c2s", "P_CONTROL_V1[1]")),
        ([(C2S, "P_CONTROL_V1[1]", 8), (S2C, "P_CONTROL_V1[1]", 8), (S2C, "P_CONTROL_V1[2]", 0)], ("s2c", "P_CONTROL_V1[2]")),
    ],
)
def test_a_handshake_stops_at_the_first_part_that_never_comes(
    wrap: str, messages: list[tuple[Direction, str, int]], lost: tuple[str, str]
) -> None:
    rows = judged([*reset(wrap), *handshake(*messages, wrap=wrap)])
    row = rows[identifier(checks.openvpn_handshake(UDP, 1194, wrap), Direction.BOTH)]
    assert short(row) == (Outcome.BLOCKED, Cause.PAYLOAD)
    assert (row.detail["lost_direction"], row.detail["lost_message"], row.detail["lost_bytes"]) == (*lost, 14 + CARRIER[UDP])
    assert row.detail.get("wrap", "") == wrap
    assert any(name.startswith("openvpn-reset") for name in row.detail["compared_with"])


def test_a_handshake_whose_parts_all_come_and_that_does_not_end_is_unanswered() -> None:
    rows = judged([*reset(), *handshake((C2S, "P_CONTROL_V1[1]", 8))])
    assert rows["openvpn-handshake-udp-1194-both"].outcome is Outcome.NO_ANSWER


def test_a_reset_of_the_connection_is_of_the_step_that_it_ends() -> None:
    asked = replace(handshake((C2S, "P_CONTROL_V1[1]", 0))[0])
    refusal = Refusal(checks.openvpn_reset(UDP, 1194), C2S, RefusalKind.RST, "10.0.0.1")
    row = judged([*reset(), asked], refusals=[refusal])["openvpn-handshake-udp-1194-both"]
    assert (row.outcome, row.detail["by"]) == (Outcome.REFUSED, "10.0.0.1")


@pytest.mark.parametrize(("wrap", "before"), [("", True), ("tls-crypt", False)])
def test_blocked_data_is_filtered_for_what_it_says_where_the_same_sessions_began(wrap: str, before: bool) -> None:
    rows = judged([*reset(wrap), *packets(passes=lambda *_: False)])
    row = rows["openvpn-data-udp-1194-c2s"]
    assert short(row) == (Outcome.BLOCKED, Cause.PAYLOAD if before else Cause.UNKNOWN)


def test_a_cut_that_is_not_shown_is_no_loss() -> None:
    lossy = facts_with(background={C2S: Background(400, 100)})
    row = row_of(packets(passes=lambda place, _: place < 10), facts=lossy)
    assert short(row) == (Outcome.NO_ANSWER, None)
    assert row.error_bound is not None
    assert row.error_bound > 1e-6


def test_a_long_run_of_which_nothing_comes_is_cut_where_a_short_one_passes() -> None:
    """Packets of both directions may be counted: those of the other one come first."""
    row = row_of([*packets(sessions=2, passes=lambda *_: False), *packets(first=9, count=6)])
    assert (short(row), row.detail["cut_after"]) == ((Outcome.BLOCKED, Cause.PACKETS), 6)


def test_what_was_sent_to_ask_about_a_limit_is_the_evidence_of_it() -> None:
    lost = [Departure(0.1), Departure(0.2, 3), Departure(0.3, 4)]
    assert asked_for(lost, 50, by_time=True) == (lost[1:], 1)
    assert asked_for(lost[:1], 50, by_time=True) == (lost[:1], 50)
    assert asked_for(lost[:1], 50, by_time=False) == ([], 1)


@pytest.mark.parametrize(
    ("passes", "transport", "doubt"),
    [
        (lambda _, size: size <= 1200, UDP, True),
        (lambda _, size: size < 1492, UDP, True),
        (lambda place, _: place != 5, UDP, False),
        (lambda _, size: size != 1200, UDP, False),
        (lambda *_: True, UDP, False),
        (lambda _, size: size <= 1200, TCP, False),
    ],
)
def test_large_packets_of_which_a_few_are_missing_are_in_doubt(passes: Passes, transport: Transport, doubt: bool) -> None:
    rows = packets(transport, count=12, passes=passes)
    judgement = Judge(*ends(rows, sees=True), facts_with(), times=False)
    count = judgement.counts(rows[0].check).total(C2S)
    assert large_ones_in_doubt(rows[0].check, count) is doubt
