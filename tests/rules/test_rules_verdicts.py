"""Each protocol's requirements, one case at a time."""

from dataclasses import replace

import pytest
from rules_rows import feasibility, openvpn, row, said, verdict

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome, Transport
from vpnprobe.rules import Decision, decide, load_default

TCP, UDP, GRE, ESP = Transport.TCP, Transport.UDP, Transport.GRE, Transport.ESP
PASS, BLOCKED, REFUSED, DEGRADED = Outcome.PASS, Outcome.BLOCKED, Outcome.REFUSED, Outcome.DEGRADED
NO_ANSWER, SKIPPED, ERROR = Outcome.NO_ANSWER, Outcome.SKIPPED, Outcome.ERROR
C2S, S2C = Direction.C2S, Direction.S2C
OK, LIMITED, BAD, OPEN = Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE, Feasibility.UNKNOWN

CONTROL = row("pptp/control", TCP, PASS, port=1723)
NO_NAT = row("nat/mapping", UDP, PASS)
NAT = row("nat/mapping", UDP, DEGRADED)


def settle(*rows: Observation, ports: tuple[int, ...] = (), control_port: int | None = None) -> Decision:
    return decide(rows, rules=load_default(), ports=ports, control_port=control_port)


def gre(outcome: Outcome, form: str, *ways: Direction) -> list[Observation]:
    return [row("gre/passthrough", GRE, outcome, form=form, direction=way) for way in ways or (C2S, S2C)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*gre(PASS, "in-call")], OK),
        ([*gre(PASS, "in-call", C2S)], OPEN),
        ([*gre(PASS, "in-call", C2S), *gre(BLOCKED, "in-call", S2C)], BAD),
        ([*gre(PASS, "in-call"), *gre(BLOCKED, "bare")], OK),
        ([*gre(PASS, "bare")], OPEN),
        ([*gre(PASS, "bare"), NO_NAT], OPEN),
        ([*gre(PASS, "bare"), NAT], OPEN),
        ([*gre(PASS, "bare"), NO_NAT, *gre(NO_ANSWER, "in-call")], OPEN),
        ([*gre(PASS, "bare"), NO_NAT, *gre(SKIPPED, "in-call")], OPEN),
        ([*gre(PASS, "bare", C2S), *gre(BLOCKED, "bare", S2C)], BAD),
        ([*gre(BLOCKED, "bare"), NAT], BAD),
        ([*gre(REFUSED, "in-call")], BAD),
        ([*gre(PASS, "in-call", Direction.BOTH)], OK),
        ([*gre(DEGRADED, "in-call", C2S), *gre(PASS, "in-call", S2C)], LIMITED),
        ([row("pptp/lcp", GRE, PASS, form="in-call")], OK),
        ([row("pptp/lcp", GRE, BLOCKED, form="in-call")], BAD),
        ([*gre(PASS, "in-call"), row("pptp/lcp", GRE, BLOCKED, form="in-call")], BAD),
        ([*gre(PASS, "in-call"), row("pptp/lcp", GRE, NO_ANSWER, form="in-call")], OK),
        ([], OPEN),
    ],
)
def test_pptp_needs_gre_both_ways_inside_the_call(rows: list[Observation], expected: Feasibility) -> None:
    assert verdict(settle(CONTROL, *rows), "pptp").feasibility is expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], OPEN),
        ([row("tcp/reach", TCP, BLOCKED, port=1723)], BAD),
        ([row("tcp/reach", TCP, REFUSED, port=1723, cause=Cause.PORT)], BAD),
        ([row("tcp/reach", TCP, REFUSED, port=1723, cause=Cause.NO_LISTENER)], OPEN),
        ([row("tcp/reach", TCP, PASS, port=1723)], OPEN),
        ([row("tcp/reach", TCP, BLOCKED, port=80)], OPEN),
        ([row("pptp/control", TCP, SKIPPED), row("tcp/reach", TCP, BLOCKED, port=1723)], BAD),
        ([row("pptp/control", TCP, PASS, port=1723), row("tcp/reach", TCP, BLOCKED, port=1723)], OK),
        ([row("pptp/control", TCP, BLOCKED, port=1723)], BAD),
        ([row("pptp/control", TCP, REFUSED, port=1723, cause=Cause.NO_LISTENER)], OPEN),
    ],
)
def test_pptp_needs_its_control_connection(rows: list[Observation], expected: Feasibility) -> None:
    assert verdict(settle(*gre(PASS, "in-call"), *rows), "pptp").feasibility is expected


def test_a_port_where_nothing_listens_is_told_with_what_to_do() -> None:
    decision = settle(row("pptp/control", TCP, REFUSED, port=1723, cause=Cause.NO_LISTENER))
    assert "nothing listens there; start a server or let the server agent listen" in said(decision, "pptp")


def test_bare_gre_is_told_to_be_no_evidence_where_no_call_was_tried() -> None:
    decision = settle(CONTROL, *gre(PASS, "bare"))
    reason = next(one for one in verdict(decision, "pptp").because if one.rule == "pptp-gre")
    assert "not tried inside a call" in reason.text
    assert {one.id for one in gre(PASS, "bare")} <= set(reason.observations)
    assert "not tried inside a call" not in said(settle(CONTROL, *gre(PASS, "bare"), *gre(NO_ANSWER, "in-call")), "pptp")


def l2tp_data(outcome: Outcome) -> list[Observation]:
    return [row("l2tp/data", UDP, outcome, port=1701, direction=way) for way in (C2S, S2C)]


L2TP_UP = row("l2tp/control", UDP, PASS, port=1701)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([L2TP_UP, *l2tp_data(PASS)], OK),
        (l2tp_data(PASS), OK),
        ([L2TP_UP, *l2tp_data(DEGRADED)], LIMITED),
        ([L2TP_UP, l2tp_data(PASS)[0], l2tp_data(DEGRADED)[1]], LIMITED),
        ([L2TP_UP], OPEN),
        ([L2TP_UP, *l2tp_data(SKIPPED)], OPEN),
        ([L2TP_UP, *l2tp_data(NO_ANSWER)], OPEN),
        ([L2TP_UP, l2tp_data(PASS)[0], l2tp_data(BLOCKED)[1]], BAD),
        ([L2TP_UP, *l2tp_data(BLOCKED)], BAD),
        ([row("l2tp/control", UDP, NO_ANSWER, port=1701)], OPEN),
        ([row("l2tp/control", UDP, NO_ANSWER, port=1701), *l2tp_data(SKIPPED)], OPEN),
        ([row("udp/reach", UDP, BLOCKED, port=1701, direction=S2C)], BAD),
        ([row("udp/reach", UDP, PASS, port=1701, direction=C2S)], OPEN),
        ([row("l2tp/control", UDP, BLOCKED, port=1701, direction=C2S)], BAD),
        ([row("l2tp/control", UDP, BLOCKED, port=1701), *l2tp_data(SKIPPED)], BAD),
    ],
)
def test_l2tp_needs_its_control_connection_and_data_both_ways(rows: list[Observation], expected: Feasibility) -> None:
    assert verdict(settle(*rows), "l2tp").feasibility is expected


def esp(outcome: Outcome, *ways: Direction) -> list[Observation]:
    return [row("esp/passthrough", ESP, outcome, direction=way) for way in ways or (C2S, S2C)]


def in_udp(outcome: Outcome) -> list[Observation]:
    return [row("ike/esp-in-udp", UDP, outcome, port=4500, direction=way) for way in (C2S, S2C)]


IKE = row("ike/ikev1-main", UDP, PASS, port=500)
FORCED = {"force_udp_encapsulation": True, "port": 500}


@pytest.mark.parametrize(
    ("rows", "expected", "settings"),
    [
        ([*esp(PASS)], OK, {"port": 500}),
        ([*esp(PASS), NO_NAT, *in_udp(BLOCKED)], OK, {"port": 500}),
        ([*esp(BLOCKED), *in_udp(PASS), NAT], OK, {"port": 500}),
        ([*esp(PASS), *in_udp(BLOCKED), NAT], BAD, None),
        ([*esp(PASS), NAT], OPEN, None),
        ([*esp(BLOCKED), *in_udp(PASS), NO_NAT], LIMITED, FORCED),
        ([*esp(BLOCKED), *in_udp(PASS)], LIMITED, FORCED),
        ([*esp(BLOCKED, S2C), *in_udp(PASS), NO_NAT], LIMITED, FORCED),
        ([*esp(DEGRADED), *in_udp(PASS), NO_NAT], LIMITED, {"port": 500}),
        ([*in_udp(PASS), NO_NAT], OK, {"port": 500}),
        ([*esp(SKIPPED), *in_udp(PASS)], OK, {"port": 500}),
        ([*esp(NO_ANSWER), *in_udp(PASS), NO_NAT], OK, {"port": 500}),
        ([*esp(BLOCKED), *in_udp(BLOCKED)], BAD, None),
        ([*esp(BLOCKED)], OPEN, None),
        ([*esp(BLOCKED), row("udp/reach", UDP, BLOCKED, port=4500, direction=C2S)], BAD, None),
        ([*esp(PASS), row("nat/mapping", UDP, BLOCKED)], OK, {"port": 500}),
    ],
)
def test_l2tp_ipsec_needs_esp_or_esp_in_udp(rows: list[Observation], expected: Feasibility, settings: dict[str, object] | None) -> None:
    decision = settle(IKE, *rows)
    assert verdict(decision, "l2tp-ipsec").feasibility is expected
    assert (dict(decision.recommendation.settings) if decision.recommendation else None) == settings


def nat(side: str, transport: Transport, outcome: Outcome) -> Observation:
    return row("nat/mapping", transport, outcome, form=f"{side}-side")


@pytest.mark.parametrize(
    ("rows", "expected", "said"),
    [
        ([nat("client", UDP, PASS), nat("server", UDP, PASS)], OK, {}),
        ([nat("client", UDP, PASS), nat("server", UDP, DEGRADED)], BAD, {"server": "AssumeUDPEncapsulationContextOnSendRule = 2"}),
        ([nat("client", ESP, DEGRADED), nat("server", UDP, PASS)], BAD, {"client": "cuts off the first"}),
        (
            [nat("client", UDP, DEGRADED), nat("server", UDP, DEGRADED)],
            BAD,
            {"client": "cuts off the first", "server": "forward both udp/500 and udp/4500"},
        ),
    ],
)
def test_a_nat_at_either_side_takes_l2tp_ipsec_into_udp(rows: list[Observation], expected: Feasibility, said: dict[str, str]) -> None:
    found = verdict(settle(IKE, *esp(PASS), *in_udp(BLOCKED), *rows), "l2tp-ipsec")
    told = {reason.rule.removeprefix("l2tp-ipsec-nat-at-"): reason.text for reason in found.because if "-nat-at-" in reason.rule}
    assert found.feasibility is expected
    assert set(told) == set(said)
    assert all(words in told[side] for side, words in said.items())


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"after_server": {"sent": 6, "received": 6}}, "20 sent before the server's own packets went out and came to nothing"),
        ({"opened_before_s": 40, "reason": "opened by an earlier run"}, "opened by an earlier run"),
    ],
)
def test_what_passes_for_the_servers_own_packets_is_told_as_that(detail: dict[str, object], words: str) -> None:
    late = row("esp/passthrough", ESP, Outcome.NO_ANSWER, direction=C2S, cause=Cause.STATE, detail=detail)
    found = verdict(settle(IKE, late, *esp(PASS, S2C), NO_NAT), "l2tp-ipsec")
    assert found.feasibility is OPEN
    assert any(words in reason.text for reason in found.because)


def test_no_setting_is_asked_for_what_was_merely_not_measured() -> None:
    text = said(settle(IKE, *esp(SKIPPED), *in_udp(PASS), NO_NAT), "l2tp-ipsec")
    assert "ESP in UDP passes both ways on udp/4500" in text
    assert "Whether ESP (IP protocol 50) does by itself is not known" in text


def test_the_nat_that_makes_ipsec_encapsulate_is_named_as_evidence() -> None:
    decision = settle(IKE, *in_udp(PASS), NAT)
    assert NAT.id in verdict(decision, "l2tp-ipsec").because[1].observations


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("ike/ikev1-main", UDP, BLOCKED, port=500), row("ike/ikev1-main", UDP, PASS, port=4500)], LIMITED),
        ([row("ike/ikev1-main", UDP, BLOCKED, port=500), row("ike/ikev1-main", UDP, BLOCKED, port=4500)], BAD),
        ([row("ike/ikev1-main", UDP, BLOCKED, port=500)], OPEN),
        ([row("udp/reach", UDP, BLOCKED, port=500, direction=C2S), row("ike/ikev1-main", UDP, BLOCKED, port=4500)], BAD),
        ([row("ike/ikev2-init", UDP, PASS, port=500)], OPEN),
        ([row("ike/ikev1-main", UDP, NO_ANSWER, port=500)], OPEN),
    ],
)
def test_l2tp_ipsec_needs_ikev1(rows: list[Observation], expected: Feasibility) -> None:
    assert verdict(settle(*esp(PASS), *rows), "l2tp-ipsec").feasibility is expected


def test_ikev1_on_4500_alone_is_a_setting() -> None:
    recommendation = settle(*esp(PASS), row("ike/ikev1-main", UDP, PASS, port=4500)).recommendation
    assert recommendation is not None
    assert recommendation.settings["ike_port"] == 4500


def test_ikev2_is_told_about_only_where_ikev1_is_not_answered() -> None:
    ikev2 = row("ike/ikev2-init", UDP, PASS, port=500)
    silent = settle(*esp(PASS), row("ike/ikev1-main", UDP, NO_ANSWER, port=500), ikev2)
    assert "IKEv2 is answered where IKEv1 is not" in said(silent, "l2tp-ipsec")
    assert "IKEv2" not in said(settle(*esp(PASS), IKE, ikev2), "l2tp-ipsec")


def reset(transport: Transport, outcome: Outcome, port: int, cause: Cause | None = None) -> Observation:
    return row("openvpn/reset", transport, outcome, port=port, cause=cause)


def reach(outcome: Outcome, port: int, direction: Direction = C2S) -> Observation:
    return row("udp/reach", UDP, outcome, port=port, direction=direction)


@pytest.mark.parametrize(
    ("rows", "ports", "expected", "port"),
    [
        ([*openvpn(UDP, 1194), *openvpn(UDP, 443)], (), OK, 1194),
        ([reset(UDP, BLOCKED, 1194), *openvpn(UDP, 443)], (), OK, 443),
        ([*openvpn(UDP, 53), *openvpn(UDP, 443), reset(UDP, BLOCKED, 1194)], (53, 443, 1194), OK, 443),
        ([*openvpn(UDP, 80), *openvpn(UDP, 53)], (80, 53), OK, 80),
        ([*openvpn(UDP, 80), *openvpn(UDP, 53)], (53, 80), OK, 53),
        ([reset(UDP, BLOCKED, 1194), reset(UDP, BLOCKED, 443)], (), BAD, 1194),
        ([reset(UDP, BLOCKED, 1194), reset(UDP, NO_ANSWER, 443)], (), OPEN, 443),
        ([reset(UDP, BLOCKED, 1194), reset(UDP, SKIPPED, 443)], (), OPEN, 443),
        ([reset(UDP, BLOCKED, 1194)], (1194, 443), OPEN, 443),
        ([reach(BLOCKED, 1194), reach(BLOCKED, 443)], (), BAD, 1194),
        ([reach(BLOCKED, 500), reach(BLOCKED, 1701)], (), OPEN, 1194),
        ([reach(BLOCKED, 1194), *openvpn(UDP, 1194)], (), OK, 1194),
        ([reset(UDP, BLOCKED, 1194), reach(PASS, 443)], (), OPEN, 443),
        ([reset(UDP, REFUSED, 1194, Cause.NO_LISTENER)], (), OPEN, 1194),
        ([row("openvpn/reset", UDP, SKIPPED, detail={"reason": "not asked for"})], (), OPEN, 1194),
        ([reset(TCP, BLOCKED, 1194)], (), OPEN, 1194),
        ([], (), OPEN, 1194),
    ],
)
def test_openvpn_needs_one_port_that_answers(rows: list[Observation], ports: tuple[int, ...], expected: Feasibility, port: int) -> None:
    found = verdict(settle(*rows, ports=ports), "openvpn-udp")
    assert (found.feasibility, found.port) == (expected, port)


def counted(port: int, lost: int, sent: int) -> list[Observation]:
    """OpenVPN over UDP that loses so many of its data packets on that port."""
    rows = openvpn(UDP, port)
    return [replace(one, sent=sent, received=sent - lost) if one.check == "data" else one for one in rows]


@pytest.mark.parametrize(
    ("rows", "port"),
    [
        ([*counted(1194, 200, 1000), *counted(443, 5, 1000)], 443),
        ([*counted(1194, 200, 1000), *counted(80, 0, 4), *counted(443, 5, 1000)], 443),
        ([*counted(1194, 200, 1000), *counted(80, 3, 4), *counted(443, 5, 1000)], 443),
        ([*counted(1194, 5, 1000), *counted(443, 5, 1000)], 1194),
    ],
)
def test_a_port_that_surely_loses_more_than_any_other_gives_way(rows: list[Observation], port: int) -> None:
    """Be it that a third counted few packets and happened to lose none."""
    assert verdict(settle(*rows, ports=(1194, 80, 443)), "openvpn-udp").port == port


def limited(port: int, cause: Cause = Cause.RATE) -> list[Observation]:
    rows = openvpn(UDP, port, data=DEGRADED, cause=cause)
    return [replace(one, sent=100, received=60) if one.check == "data" else one for one in rows]


def lossy_data(port: int) -> list[Observation]:
    rows = openvpn(UDP, port, data=DEGRADED, cause=Cause.LOSS)
    return [replace(one, sent=100, received=90) if one.check == "data" else one for one in rows]


@pytest.mark.parametrize("cause", [Cause.RATE, Cause.SIZE])
@pytest.mark.parametrize(("other", "port"), [(lossy_data(443), 1194), (counted(443, 0, 100), 443)])
def test_a_limit_of_the_path_speaks_against_a_port_only_where_another_has_no_fault(
    other: list[Observation], port: int, cause: Cause
) -> None:
    """It is asked about at one port alone, or takes many packets to be shown, and what another loses may be the same."""
    assert verdict(settle(*limited(1194, cause), *other), "openvpn-udp").port == port


def test_another_port_is_a_setting_and_the_default_port_is_told_about() -> None:
    decision = settle(reset(TCP, BLOCKED, 1194), *openvpn(TCP, 443))
    assert decision.recommendation is not None
    assert (decision.recommendation.protocol, decision.recommendation.port) == ("openvpn-tcp", 443)
    assert decision.recommendation.settings == {"port": 443, "wrap": "none"}
    assert "set to port 443: the default port 1194" in said(decision, "openvpn-tcp")
    assert "does not get through on tcp/1194" in said(decision, "openvpn-tcp")


def test_the_control_port_is_no_candidate_over_tcp() -> None:
    rows = [reset(TCP, BLOCKED, 1194), *openvpn(TCP, 8443)]
    assert feasibility(settle(*rows, ports=(1194, 8443), control_port=8443))["openvpn-tcp"] is BAD
    assert feasibility(settle(*rows, ports=(1194, 8443)))["openvpn-tcp"] is OK


def test_limits_other_than_loss_are_named() -> None:
    slow = openvpn(UDP, 1194, data=DEGRADED, cause=Cause.RATE)
    decision = settle(*slow, *openvpn(TCP, 1194))
    assert "works within limits (cause: rate)" in said(decision, "openvpn-udp")
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "openvpn-tcp"
    assert any("works within limits" in text for text in decision.recommendation.because)


def test_loss_that_was_not_counted_claims_no_share() -> None:
    rows = [replace(one, sent=None, received=None) for one in openvpn(UDP, 1194, data=DEGRADED)]
    decision = settle(*rows)
    assert "share not counted" in said(decision, "openvpn-udp")


def test_failing_ports_are_told_in_one_sentence_with_their_sum() -> None:
    rows = [reset(UDP, BLOCKED, port, Cause.PAYLOAD) for port in (1194, 443, 53)]
    because = verdict(settle(*rows), "openvpn-udp").because
    assert len(because) == 1
    assert "udp/1194, 443 and 53: both ways 0 of 60 attempts succeeded" in because[0].text
    assert len(because[0].observations) == 3


def test_protocols_without_sound_encryption_say_so() -> None:
    decision = settle(CONTROL, *gre(PASS, "in-call"), L2TP_UP, *l2tp_data(PASS))
    assert verdict(decision, "pptp").because[-1].rule == "security"
    assert "works, do not use" in said(decision, "pptp")
    assert "encrypts nothing" in said(decision, "l2tp")


def lossy_udp(*lost: int, sent: int = 10, direction: Direction = C2S) -> list[Observation]:
    """A row a port, of which so many were lost."""
    return [
        replace(
            row("udp/reach", UDP, DEGRADED if gone > 1 else PASS, port=5000 + number, direction=direction),
            sent=sent,
            received=sent - gone,
            cause=Cause.LOSS if gone > 1 else None,
        )
        for number, gone in enumerate(lost)
    ]


L2TP_PASSES = [replace(one, sent=12, received=12) for one in l2tp_data(PASS)]  # Too few packets to tell a loss by.


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        ([], OK),
        (lossy_udp(2, 2, 3, 2, 2), LIMITED),
        (lossy_udp(2, 2, 3, 2, 2, direction=S2C), LIMITED),
        (lossy_udp(9, 0, 0, 0, 0), OK),  # One port loses: that says nothing of another.
        (lossy_udp(1, 1, 0, 1, 0), OK),
        (lossy_udp(2, 2, 3, 2, 2, sent=100), OK),
    ],
)
def test_a_protocol_that_is_asked_a_few_times_shares_the_loss_of_all_udp(around: list[Observation], expected: Feasibility) -> None:
    found = settle(L2TP_UP, *L2TP_PASSES, *around)
    assert verdict(found, "l2tp").feasibility is expected
    assert ("UDP is lost on whatever port" in said(found, "l2tp")) is (expected is LIMITED)


def test_ports_where_something_is_blocked_say_nothing_of_the_loss_of_others() -> None:
    around = lossy_udp(4, 4, 4, 2, 0, 0)
    cut = [row("openvpn/data", UDP, Outcome.BLOCKED, cause=Cause.PACKETS, port=5000 + number, direction=C2S) for number in range(3)]
    assert verdict(settle(L2TP_UP, *L2TP_PASSES, *around), "l2tp").feasibility is LIMITED
    assert verdict(settle(L2TP_UP, *L2TP_PASSES, *around, *cut), "l2tp").feasibility is OK
    filtered = [replace(one, cause=Cause.PAYLOAD) for one in cut]
    assert verdict(settle(L2TP_UP, *L2TP_PASSES, *around, *filtered), "l2tp").feasibility is LIMITED


def test_the_share_of_all_udp_is_of_all_that_was_counted() -> None:
    """Not of the ports alone that happened to lose most."""
    found = settle(L2TP_UP, *L2TP_PASSES, *lossy_udp(4, 0, 4, 0, 4))
    assert "(24 % of 50)" in said(found, "l2tp")


def test_loss_that_nobody_counted_is_none() -> None:
    uncounted = [replace(one, sent=None) for one in lossy_udp(2, 2, 3, 2, 2)]
    assert verdict(settle(L2TP_UP, *L2TP_PASSES, *uncounted), "l2tp").feasibility is OK


def test_loss_of_udp_takes_nothing_from_what_is_not_over_udp() -> None:
    found = verdict(settle(CONTROL, *gre(PASS, "in-call"), *lossy_udp(2, 2, 3, 2, 2)), "pptp")
    assert found.feasibility is OK
