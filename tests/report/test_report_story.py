"""The order and the sentences of the report."""

from dataclasses import replace

import pytest
from result_samples import BOTH, C2S, GRE, S2C, SAMPLES, TCP, UDP, clean_result, seed_result, solo_result

from vpnprobe.observations.schema import Cause, Feasibility, Location, Mode, Observation, Outcome, Transport
from vpnprobe.report.headlines import headline
from vpnprobe.report.story import Count, exchanges, listed, next_steps, place_words, second_opinions, skipped, vanishings


def test_packets_vanish_between_two_hops_in_each_direction() -> None:
    there, back = vanishings(seed_result())
    assert there.sentence == (
        "GRE, client → server: reaches 10.78.1.2 (hop 2), not the next one, 10.78.2.2. Cause: a filter on the IP protocol."
    )
    assert back.direction is S2C
    assert back.observations == ("gre-passthrough-bare-s2c", "gre-passthrough-in-call-s2c", "pptp-lcp-in-call-s2c")
    assert vanishings(clean_result()) == ()


def blocked(**fields: object) -> Observation:
    return replace(Observation("x", "tcp", "reach", BOTH, TCP, Outcome.BLOCKED, port=80), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (None, ""),
        (Location(0, None), "leaves its sender"),
        (Location(0, None, "10.0.0.1"), "leaves its sender and does not reach the first hop, 10.0.0.1"),
        (Location(3, None), "reaches hop 3, nothing beyond it"),
        (Location(3, "10.0.0.3"), "reaches 10.0.0.3 (hop 3), nothing beyond it"),
    ],
)
def test_places_are_pairs_of_hops(location: Location | None, words: str) -> None:
    assert place_words(blocked(location=location)) == words


def test_a_row_of_both_ways_vanishes_in_the_direction_that_was_measured() -> None:
    row = blocked(location=Location(1, "10.0.0.1"), detail={"lost_direction": "s2c"})
    assert vanishings(replace(seed_result(), observations=(row,)))[0].direction is S2C


def test_a_closed_port_is_no_place_where_packets_vanish() -> None:
    row = blocked(outcome=Outcome.REFUSED, cause=Cause.NO_LISTENER, location=Location(1, "10.0.0.1"))
    assert vanishings(replace(seed_result(), observations=(row,))) == ()


def test_ports_that_came_out_the_same_share_a_line() -> None:
    lines = {line.question: line for line in exchanges(seed_result())}
    assert lines["UDP ports 53, 80, 443, 500, 1194, 1701, 4500, 8443, 51194"].counts == {C2S: Count(8, 8), S2C: Count(8, 8)}
    assert lines["GRE passthrough, inside a real call"].counts[S2C] == Count(14, 0)
    assert not any("nmap" in question or "trace" in question for question in lines)


def test_a_port_that_came_out_otherwise_has_its_own_line() -> None:
    result = seed_result()
    rows = tuple(replace(row, received=3) if row.id == "udp-reach-53-c2s" else row for row in result.observations)
    lines = {line.question: line.counts for line in exchanges(replace(result, observations=rows))}
    assert lines["UDP port 53"] == {C2S: Count(8, 3), S2C: Count(8, 8)}
    assert "UDP ports 80, 443, 500, 1194, 1701, 4500, 8443, 51194" in lines
    assert next(iter(lines)) == "UDP port 53"
    assert "IKEv1 main mode, UDP ports 500, 4500" in lines


@pytest.mark.parametrize(
    ("count", "percent"), [(Count(0, 0), 0), (Count(8, 4), 50), (Count(4, 9), 100), (Count(8, None), None), (Count(None, 3), None)]
)
def test_shares_stay_within_bounds(count: Count, percent: int | None) -> None:
    assert count.percent == percent


def test_what_nobody_counted_is_not_told_as_lost() -> None:
    result = seed_result()
    rows = [replace(row, received=None) if row.id == "udp-reach-53-c2s" else row for row in result.observations]
    rows = [replace(row, sent=None) if row.id == "udp-reach-80-s2c" else row for row in rows]
    lines = {line.question: line for line in exchanges(replace(result, observations=tuple(rows)))}
    assert lines["UDP port 53"].counts == {C2S: Count(8, None), S2C: Count(8, 8)}
    assert not lines["UDP port 53"].lossy
    assert lines["UDP port 80"].counts[S2C].words("arrived") == "8 arrived, not known of how many"


def opinion(state: str, outcome: Outcome | None, *, port: int | None = 80) -> tuple[str, bool]:
    transport = TCP if port else GRE
    nmap = Observation("n", "tcp", "nmap", C2S, transport, Outcome.PASS, port=port, detail={"state": state})
    ours = [Observation("o", "tcp", "reach" if port else "passthrough", C2S, transport, outcome, port=port)] if outcome else []
    (found,) = second_opinions(replace(seed_result(), observations=(nmap, *ours)))
    return found.note, found.differs


@pytest.mark.parametrize(
    ("state", "outcome", "words", "differs"),
    [
        ("open", Outcome.PASS, "They agree", False),
        ("open", Outcome.BLOCKED, "They differ", True),
        ("filtered", Outcome.PASS, "They differ", True),
        ("closed", Outcome.PASS, "listened while we probed", True),
        ("open|filtered", Outcome.PASS, "cannot tell", False),
        ("open", None, "nothing of ours", False),
        ("open", Outcome.SKIPPED, "nothing of ours", False),
    ],
)
def test_nmap_and_the_evidence_are_compared(state: str, outcome: Outcome | None, words: str, differs: bool) -> None:
    note, found = opinion(state, outcome)
    assert words in note
    assert found is differs


def test_nmap_is_no_evidence_for_gre() -> None:
    assert opinion("open|filtered", Outcome.BLOCKED, port=None) == ("No evidence either way for GRE.", False)
    by_number = [one for one in second_opinions(seed_result()) if one.row.transport is GRE]
    assert by_number[0].evidence == "blocked client → server; blocked server → client"


def test_skips_are_grouped_by_reason() -> None:
    assert skipped(solo_result()) == (
        ("no raw-ip capability: run as root", ("GRE passthrough",)),
        ("the socket was closed by the system", ("ESP passthrough",)),
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [("offline", "vpnprobe run --peer"), ("solo", "start `vpnprobe serve`"), ("solo", "CAP_NET_RAW"), ("incomplete", "Run it again")],
)
def test_what_is_open_has_a_next_step(name: str, words: str) -> None:
    assert any(words in step for step in next_steps(SAMPLES[name]()))


def test_what_is_settled_has_none_but_its_setting_up() -> None:
    assert next_steps(seed_result()) == ()
    (step,) = next_steps(clean_result())
    assert "`vpnprobe provision plan RESULT -o plan`" in step
    run = replace(clean_result().run, mode=Mode.SOLO)
    assert not any("provision" in step for step in next_steps(replace(clean_result(), run=run)))


def test_whose_own_firewall_to_open_is_told_by_host() -> None:
    row = Observation("x", "gre", "passthrough", C2S, GRE, Outcome.NO_ANSWER, cause=Cause.HOST_FIREWALL)
    rows = (replace(row, detail={"host": "server"}), replace(row, id="y", probe="esp", transport=Transport.ESP, detail={"host": "client"}))
    steps = next_steps(replace(clean_result(), observations=rows))
    assert [step.split(" for ")[0] for step in steps[:2]] == ["Open the client's own firewall", "Open the server's own firewall"]
    assert "ESP" in steps[0]
    assert "GRE" in steps[1]
    assert ["forwards" in step for step in steps[:2]] == [False, True]


def kept(port: int, command: str) -> Observation:
    detail = {"host": "server", "firewall": "ufw", "mend": [command]}
    return Observation(f"udp-{port}", "udp", "reach", C2S, UDP, Outcome.NO_ANSWER, port, cause=Cause.HOST_FIREWALL, detail=detail)


def test_the_commands_that_open_it_come_first_of_all_steps_those_of_judged_ports_before_others() -> None:
    rows = (kept(53, "ufw allow 53/udp"), kept(1194, "ufw allow 1194/udp"))
    steps = next_steps(replace(clean_result(), observations=rows))
    whose = "The server's own firewall (ufw) keeps UDP ports 53, 1194, and the path does not."
    assert steps[0] == f"{whose} On the server, as root: `ufw allow 1194/udp` (and likewise for the others)."
    alone = next_steps(replace(clean_result(), observations=rows[:1]))
    assert alone[0].endswith("as root: `ufw allow 53/udp`.")


def test_a_firewall_that_keeps_everything_is_the_headline() -> None:
    result = clean_result()
    unknown = tuple(replace(verdict, feasibility=Feasibility.UNKNOWN) for verdict in result.verdicts)
    found = headline(replace(result, recommendation=None, verdicts=unknown, observations=(kept(1194, "ufw allow 1194/udp"),)))
    assert (found.tone, found.sentence) == ("mute", "The server's own firewall is in the way")
    assert "`ufw allow 1194/udp`" in found.reason


def test_lists_read_as_lists() -> None:
    assert [listed(names) for names in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == ["", "A", "A and B", "A, B and C"]
    assert UDP.value == "udp"
