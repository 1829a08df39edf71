"""Presets, wishes, clients, and what is recommended for which reasons."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from rules_rows import clean, openvpn, path, row, said, verdict

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Recommendation, Transport
from vpnprobe.rules import Decision, RuleSet, check_wishes, decide, load_default
from vpnprobe.rules.model import Criterion
from vpnprobe.rules.ranking import weights

TCP, UDP = Transport.TCP, Transport.UDP
BLOCKED = (Outcome.BLOCKED, Cause.UNKNOWN)
NO_OPENVPN = {"openvpn/reset": BLOCKED}
NO_IPSEC = {"ike/ikev1-main": BLOCKED}
ONLY_PPTP = NO_OPENVPN | NO_IPSEC | {"l2tp/control": BLOCKED}


def recommended(outcomes: Mapping[str, tuple[Outcome, Cause | None]], **wishes: object) -> Recommendation | None:
    return decide(path(outcomes), rules=load_default(), **wishes).recommendation  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcomes", "wishes", "protocol"),
    [
        ({}, {}, "openvpn-udp"),
        ({}, {"prefer": ["adaptability"]}, "openvpn-tcp"),
        ({}, {"prefer": ["ease"]}, "openvpn-udp"),
        ({}, {"prefer": ["no-security", "ease"]}, "pptp"),
        ({}, {"preset": "classic"}, "pptp"),
        ({}, {"preset": "classic", "prefer": ["security"]}, "openvpn-udp"),
        ({}, {"preset": "classic", "client_os": ["ios"]}, "l2tp-ipsec"),
        ({}, {"preset": "classic", "client_os": ["android"]}, "openvpn-udp"),
        ({"gre": BLOCKED}, {"preset": "classic"}, "l2tp-ipsec"),
        (NO_OPENVPN, {}, "l2tp-ipsec"),
        (NO_OPENVPN | NO_IPSEC, {}, "l2tp"),
        (NO_OPENVPN | NO_IPSEC, {"client_os": ["ios"]}, None),
        (ONLY_PPTP, {}, None),
        (ONLY_PPTP, {"prefer": ["ease"]}, None),
        (ONLY_PPTP, {"consider": ["pptp"]}, None),
        (ONLY_PPTP, {"prefer": ["no-security"]}, "pptp"),
        (ONLY_PPTP, {"prefer": ["no-security"], "client_os": ["macOS"]}, None),
    ],
)
def test_what_is_recommended(outcomes: Mapping[str, tuple[Outcome, Cause | None]], wishes: dict[str, object], protocol: str | None) -> None:
    found = recommended(outcomes, **wishes)
    assert (found.protocol if found else None) == protocol


def test_bare_l2tp_ranks_behind_encrypted_protocols_even_where_those_need_a_setting() -> None:
    outcomes = NO_IPSEC | {"openvpn/reset 1194": BLOCKED}
    found = recommended(outcomes)
    assert found is not None
    assert (found.protocol, found.port) == ("openvpn-udp", 443)
    assert found.ranking == ("openvpn-udp", "wireguard", "openvpn-tcp", "l2tp", "pptp")
    assert any("L2TP without IPsec ranks behind whatever its score: it has no sound encryption." in text for text in found.because)


def test_pptp_works_but_is_last_in_the_ranking_with_the_reason() -> None:
    found = recommended({})
    assert found is not None
    assert found.ranking == ("openvpn-udp", "wireguard", "openvpn-tcp", "l2tp-ipsec", "l2tp", "pptp")
    assert any(text.startswith("PPTP works, but is not recommended") and "MS-CHAPv2" in text for text in found.because)


def test_where_all_that_works_is_excluded_the_warnings_say_so() -> None:
    decision = decide(path(ONLY_PPTP), rules=load_default())
    assert decision.recommendation is None
    assert "PPTP works, but is not recommended" in decision.warnings[0]
    assert "works, do not use" in said(decision, "pptp")


def test_a_protocol_that_does_not_work_is_told_with_its_first_reason() -> None:
    found = recommended({"gre": BLOCKED})
    assert found is not None
    assert any(text.startswith("PPTP does not work: GRE (IP protocol 47)") for text in found.because)


def test_what_is_not_settled_is_a_warning() -> None:
    found = recommended({"l2tp/data": (Outcome.SKIPPED, None)})
    assert found is not None
    assert any(text.startswith("L2TP without IPsec is not settled: ") for text in found.warnings)


@pytest.mark.parametrize(("consider", "asked", "warned"), [((), (), False), (("wireguard",), (), True), ((), ("wireguard",), True)])
def test_what_nobody_waits_for_is_no_warning(consider: tuple[str, ...], asked: tuple[str, ...], warned: bool) -> None:
    rows = path({"wireguard/handshake": (Outcome.SKIPPED, None), "wireguard/data": (Outcome.SKIPPED, None)})
    warnings = decide(rows, rules=load_default(), consider=consider, asked=asked).warnings
    assert any(text.startswith("WireGuard is not settled: ") for text in warnings) is warned


@pytest.mark.parametrize(
    ("client_os", "note"),
    [((), "Microsoft deprecated L2TP"), (("windows",), "Microsoft deprecated L2TP"), (("macos",), None)],
)
def test_clients_that_are_deprecated_are_a_warning(client_os: tuple[str, ...], note: str | None) -> None:
    found = recommended(NO_OPENVPN, client_os=client_os)
    assert found is not None
    assert found.protocol == "l2tp-ipsec"
    assert any(note in text for text in found.warnings) if note else found.warnings == ()


def test_a_client_without_a_note_is_still_told() -> None:
    rules = load_default()
    profile = rules.profiles["openvpn-udp"]
    doubtful = {
        system: replace(client, support=rules.profiles["pptp"].clients[system].support) for system, client in profile.clients.items()
    }
    changed = replace(rules, profiles={**rules.profiles, "openvpn-udp": replace(profile, clients=doubtful)})
    found = decide(path({"openvpn/reset tcp": BLOCKED}), rules=changed, client_os=["windows"]).recommendation
    assert found is not None
    assert "On windows, support for OpenVPN over UDP is: deprecated." in found.warnings
    excluded = decide(clean(), rules=changed, client_os=["macos"]).recommendation
    assert excluded is not None
    assert excluded.protocol == "openvpn-tcp"
    assert "OpenVPN over UDP works, but is not recommended: There is no client on macos." in excluded.because


def test_an_operating_system_that_the_rules_do_not_know_excludes_nothing() -> None:
    rules = load_default()
    bare = {name: replace(profile, clients={}) for name, profile in rules.profiles.items()}
    found = decide(clean(), rules=replace(rules, profiles=bare), client_os=["ios"]).recommendation
    assert found is not None
    assert found.protocol == "openvpn-udp"


def not_a_candidate(name: str) -> RuleSet:
    rules = load_default()
    return replace(rules, profiles={**rules.profiles, name: replace(rules.profiles[name], candidate=False)})


def test_what_is_no_candidate_is_ranked_and_recommended_only_when_considered() -> None:
    rules = not_a_candidate("openvpn-udp")
    without, with_it = (decide(clean(), rules=rules, consider=names).recommendation for names in ((), ("openvpn-udp",)))
    assert without is not None
    assert with_it is not None
    assert (without.protocol, without.ranking[0]) == ("openvpn-tcp", "openvpn-udp")
    assert any("--consider openvpn-udp" in text for text in without.because)
    assert with_it.protocol == "openvpn-udp"


def test_scores_stand_on_what_works_and_nowhere_else() -> None:
    decision = decide(path({"gre": BLOCKED}), rules=load_default())
    scores = {one.protocol: one.score for one in decision.verdicts}
    assert scores["pptp"] is None
    assert all(score is not None and 0 <= score <= 1 for name, score in scores.items() if name != "pptp")


def test_a_deprecated_client_costs_score() -> None:
    plain, windows = (verdict(decide(clean(), rules=load_default(), client_os=names), "l2tp-ipsec").score for names in ((), ("windows",)))
    assert plain is not None
    assert windows is not None
    assert windows == pytest.approx(plain - 0.1)


def test_a_preferred_criterion_counts_as_much_as_all_others_together() -> None:
    counted = weights(check_wishes(load_default(), prefer=["speed"]))
    assert counted[Criterion.SPEED] == sum(weight for criterion, weight in counted.items() if criterion is not Criterion.SPEED)


def test_a_preferred_criterion_counts_even_where_all_others_are_set_aside() -> None:
    aside = [f"no-{criterion}" for criterion in Criterion if criterion is not Criterion.SPEED]
    counted = weights(check_wishes(load_default(), prefer=["speed", *aside]))
    assert {criterion for criterion, weight in counted.items() if weight} == {Criterion.SPEED}


def test_with_every_criterion_set_aside_the_order_of_the_rules_decides() -> None:
    found = recommended({}, prefer=[f"no-{criterion}" for criterion in Criterion])
    assert found is not None
    assert found.protocol == "pptp"


def test_the_wishes_are_named_in_the_reasons() -> None:
    found = recommended({}, prefer=["speed", "no-ease"])
    assert found is not None
    assert "with speed preferred and ease set aside" in found.because[1]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"preset": "moder"}, "preset 'moder' is not known: did you mean 'modern'?"),
        ({"prefer": ["sped"]}, "criterion 'sped' is not known: did you mean 'speed'?"),
        ({"prefer": ["no-sped"]}, "criterion 'sped' is not known: did you mean 'speed'?"),
        ({"prefer": ["speed", "no-speed"]}, "criterion 'speed' is both preferred and set aside: say one of them"),
        ({"client_os": ["win"]}, "client operating system 'win' is not known: did you mean 'windows'?"),
        ({"consider": ["openvpn"]}, "protocol to consider 'openvpn' is not known: did you mean 'openvpn-udp'?"),
        ({"consider": ["zzz"]}, "known are pptp, l2tp, l2tp-ipsec, openvpn-udp, openvpn-tcp"),
    ],
)
def test_wishes_that_are_not_known(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_wishes(load_default(), **wishes)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert caught.value.status is ExitStatus.USAGE


def test_seed_orders_hold_in_the_classic_table() -> None:
    scores = load_default().presets["classic"].scores

    def order(criterion: Criterion) -> list[str]:
        return sorted((name for name in scores if name != "l2tp"), key=lambda name: -scores[name][criterion])

    assert order(Criterion.EASE)[:2] == ["pptp", "l2tp-ipsec"]
    assert order(Criterion.SPEED) == ["pptp", "openvpn-udp", "l2tp-ipsec", "openvpn-tcp"]
    assert order(Criterion.SECURITY)[2:] == order(Criterion.STABILITY)[2:] == ["l2tp-ipsec", "pptp"]
    assert order(Criterion.ADAPTABILITY)[2:] == ["pptp", "l2tp-ipsec"]


def test_a_result_of_nothing_recommends_nothing() -> None:
    assert decide([], rules=load_default()).recommendation is None
    assert decide([row("path/trace", Transport.IP, Outcome.PASS)], rules=load_default()).recommendation is None


def settle(*rows: Observation) -> Decision:
    return decide(rows, rules=load_default())


def counted(rows: list[Observation], *, lost: int) -> list[Observation]:
    """The same data rows with their packets counted, of 100 each."""
    return [
        replace(
            row, sent=100, received=100 - lost, outcome=Outcome.DEGRADED if lost else row.outcome, cause=Cause.LOSS if lost else row.cause
        )
        if row.check == "data"
        else row
        for row in rows
    ]


def segments(lost: int) -> list[Observation]:
    return [
        replace(row("quality/loss", TCP, Outcome.PASS, direction=way), sent=100, received=100 - lost, value=lost / 100)
        for way in (Direction.C2S, Direction.S2C)
    ]


@pytest.mark.parametrize(
    ("udp_lost", "tcp_lost", "first"),
    [
        (75, 0, "openvpn-tcp"),
        (20, 20, "openvpn-udp"),
        (20, 0, "openvpn-tcp"),
        (5, 0, "openvpn-udp"),
        (0, 0, "openvpn-udp"),
        (75, 70, "openvpn-udp"),
    ],
)
def test_what_loses_packets_where_another_does_not_comes_after_it(udp_lost: int, tcp_lost: int, first: str) -> None:
    decision = settle(*counted(openvpn(UDP, 1194), lost=udp_lost), *openvpn(TCP, 1194), *segments(tcp_lost))
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == first
    said_why = [text for text in decision.recommendation.because if "of its packets" in text]
    assert bool(said_why) == (first == "openvpn-tcp")
    assert all(f"it loses {udp_lost} % of its packets, where {tcp_lost} % is the least" in text for text in said_why)


def test_where_the_loss_of_tcp_is_not_known_it_decides_nothing() -> None:
    decision = settle(*counted(openvpn(UDP, 1194), lost=30), *openvpn(TCP, 1194))
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "openvpn-udp"


@pytest.mark.parametrize(("usual", "other", "port"), [(60, 0, 443), (5, 0, 1194), (20, 25, 1194), (0, 60, 1194)])
def test_of_two_ports_that_which_is_shown_to_lose_more_is_not_taken(usual: int, other: int, port: int) -> None:
    decision = settle(*counted(openvpn(UDP, 1194), lost=usual), *counted(openvpn(UDP, 443), lost=other))
    assert verdict(decision, "openvpn-udp").port == port


def test_what_was_hardly_counted_hides_no_other_that_loses_less() -> None:
    """L2TP/IPsec has lost none of six; TCP none of two hundred, which shows that UDP loses more."""
    few = [replace(one, sent=3, received=3) for one in clean() if one.probe in ("ike", "esp", "l2tp")]
    decision = settle(*few, *counted(openvpn(UDP, 1194), lost=30), *openvpn(TCP, 1194), *segments(0))
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "openvpn-tcp"
