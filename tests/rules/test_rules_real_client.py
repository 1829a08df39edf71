"""What a protocol's own program came to, beside vpnprobe's own try: it opens a verdict, and takes none from what passes."""

from rules_rows import row

from vpnprobe.observations.schema import Direction, Feasibility, Observation, Outcome, Transport, Verdict
from vpnprobe.rules import decide, load_default

PROFILE = {"profile": True}
REFUSED = {**PROFILE, "failure": "certificate-expired", "by": "client"}


def own(*, works: bool) -> list[Observation]:
    reset = row("openvpn/reset", Transport.UDP, Outcome.PASS, port=1194, detail=PROFILE)
    if not works:
        return [reset, row("openvpn/handshake", Transport.UDP, Outcome.REFUSED, port=1194, detail=REFUSED)]
    data = [
        row("openvpn/data", Transport.UDP, Outcome.PASS, port=1194, direction=way, detail=PROFILE) for way in (Direction.C2S, Direction.S2C)
    ]
    return [reset, row("openvpn/handshake", Transport.UDP, Outcome.PASS, port=1194, detail=PROFILE), *data]


def real(outcome: Outcome, comparison: str, **more: str) -> Observation:
    detail = {**PROFILE, **more, "protocol": "openvpn-udp", "program": "openvpn 2.6.14", "comparison": comparison}
    return row("openvpn/real-client", Transport.UDP, outcome, port=1194, sent=None, detail=detail)


def verdict(*rows: Observation) -> Verdict:
    decision = decide(rows, rules=load_default(), ports=(1194,))
    return next(one for one in decision.verdicts if one.protocol == "openvpn-udp")


def test_that_it_comes_up_where_the_own_try_does_not_leaves_the_verdict_open() -> None:
    assert verdict(*own(works=False)).feasibility is Feasibility.INFEASIBLE
    found = verdict(*own(works=False), real(Outcome.PASS, "differs"))
    assert found.feasibility is Feasibility.UNKNOWN
    first = found.because[0]
    assert first.rule == "real-client"
    assert first.text.startswith("openvpn 2.6.14 itself comes up with this profile on port 1194")
    assert first.observations == ("openvpn-real-client-udp-1194-both",)
    assert found.because[1:] == verdict(*own(works=False)).because


def test_that_it_comes_up_too_says_nothing_of_data() -> None:
    assert verdict(*own(works=False), real(Outcome.PASS, "agrees")) == verdict(*own(works=False))
    assert verdict(*own(works=False), real(Outcome.PASS, "open")) == verdict(*own(works=False))


def test_that_it_does_not_come_up_takes_nothing_from_what_passes() -> None:
    found = verdict(*own(works=True), real(Outcome.NO_ANSWER, "differs"))
    assert found.feasibility is Feasibility.FEASIBLE
    first, *others = found.because
    assert first.rule == "real-client-stops"
    assert others
    assert "(it does not say why)" in first.text
    told = verdict(*own(works=True), real(Outcome.NO_ANSWER, "open", stopped_by="silent", words="nothing came")).because[0]
    assert "(silent: nothing came)" in told.text


def test_both_alike_change_nothing() -> None:
    for outcome, works in ((Outcome.PASS, True), (Outcome.REFUSED, False), (Outcome.SKIPPED, False), (Outcome.SKIPPED, True)):
        assert verdict(*own(works=works), real(outcome, "agrees")) == verdict(*own(works=works))


def test_nobody_is_advised_to_try_what_was_just_tried() -> None:
    skipped = row("openvpn/reset", Transport.UDP, Outcome.SKIPPED, port=1194, sent=None, detail={**PROFILE, "failure": "not-supported"})
    advice = "Try it with the OpenVPN client itself"
    assert any(advice in reason.text for reason in verdict(skipped).because)
    found = verdict(skipped, real(Outcome.PASS, "open"))
    assert found.because
    assert not any(advice in reason.text for reason in found.because)
