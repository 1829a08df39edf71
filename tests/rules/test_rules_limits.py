"""What verdicts say in numbers: limits that were found, how far others were looked for, and a path that is silent again and again."""

import pytest
from rules_rows import row, verdict

from vpnprobe.observations.schema import Cause, Direction, Feasibility, LimitKind, Observation, Outcome, Transport, Unit, Verdict
from vpnprobe.rules import decide, load_default

TCP, UDP, GRE, IP = Transport.TCP, Transport.UDP, Transport.GRE, Transport.IP
PASS, DEGRADED = Outcome.PASS, Outcome.DEGRADED
C2S, S2C = Direction.C2S, Direction.S2C
FAR: dict[str, object] = {"largest_passed": 1492, "longest_packets": 108, "longest_s": 0.3}


def openvpn(there: Observation, back: Observation | None = None) -> list[Observation]:
    handshake = [row(f"openvpn/{name}", UDP, PASS, port=1194) for name in ("reset", "handshake")]
    return [*handshake, there, back or data(PASS, S2C)]


def data(outcome: Outcome, way: Direction, cause: Cause | None = None, received: int | None = None, **detail: object) -> Observation:
    return row("openvpn/data", UDP, outcome, port=1194, direction=way, cause=cause, received=received, detail={**FAR, **detail})


def told(*rows: Observation, protocol: str = "openvpn-udp") -> Verdict:
    return verdict(decide(rows, rules=load_default(), ports=(1194,)), protocol)


def limits(found: Verdict) -> dict[tuple[LimitKind, Direction], tuple[float | None, float | None, Unit]]:
    return {(one.kind, one.direction): (one.value, one.watched, one.unit) for one in found.limits}


def test_what_works_whole_says_how_far_it_was_watched() -> None:
    found = told(*openvpn(data(PASS, C2S, longest_s=0.5)))
    assert found.feasibility is Feasibility.FEASIBLE
    assert limits(found) == {
        (LimitKind.SIZE, C2S): (None, 1492, Unit.BYTES),
        (LimitKind.PACKETS, C2S): (None, 108, Unit.PACKETS),
        (LimitKind.TIME, C2S): (None, 0.5, Unit.SECONDS),
        (LimitKind.SIZE, S2C): (None, 1492, Unit.BYTES),
        (LimitKind.PACKETS, S2C): (None, 108, Unit.PACKETS),
        (LimitKind.TIME, S2C): (None, 0.3, Unit.SECONDS),
    }
    assert all(one.observations for one in found.limits)


@pytest.mark.parametrize(
    ("cause", "detail", "expected"),
    [
        (Cause.SIZE, {"largest_passing": 1200, "smallest_lost": 1400}, (LimitKind.SIZE, 1200, Unit.BYTES)),
        (Cause.PACKETS, {"cut_after": 40}, (LimitKind.PACKETS, 40, Unit.PACKETS)),
        (Cause.RATE, {"packets_per_s": 90, "tried_per_s": 400}, (LimitKind.RATE, 90, Unit.PACKETS_PER_SECOND)),
    ],
)
def test_a_limit_has_its_number(cause: Cause, detail: dict[str, object], expected: tuple[LimitKind, float, Unit]) -> None:
    found = told(*openvpn(data(DEGRADED, C2S, cause, **detail)))
    kind, value, unit = expected
    assert found.feasibility is Feasibility.DEGRADED
    assert limits(found)[kind, C2S] == (value, None, unit)


SIZE_OF_GRE: dict[str, object] = {"largest_passed": 576, "largest_passing": 576, "smallest_lost": 1400}


def in_call(c2s: dict[str, object], s2c: dict[str, object]) -> list[Observation]:
    """A call of PPTP whose GRE passes up to a size; LCP counts the same packets."""
    control = row("pptp/control", TCP, PASS, port=1723)
    ways = ((C2S, c2s), (S2C, s2c))
    gre = [row("gre/passthrough", GRE, DEGRADED, direction=w, cause=Cause.SIZE, form="in-call", detail=detail) for w, detail in ways]
    lcp = [row("pptp/lcp", GRE, DEGRADED, direction=w, cause=Cause.SIZE, form="in-call", detail=detail) for w, detail in ways]
    return [control, *gre, *lcp]


def test_the_same_limit_of_several_rows_is_told_once() -> None:
    found = told(*in_call(SIZE_OF_GRE, {**SIZE_OF_GRE, "largest_passing": 50}), protocol="pptp")
    assert found.feasibility is Feasibility.DEGRADED
    there, back = (one for one in found.limits if one.kind is LimitKind.SIZE)
    assert (there.value, there.direction, len(there.observations)) == (576, C2S, 2)
    assert (back.value, back.direction, len(back.observations)) == (50, S2C, 2)
    assert any("`mtu` and `mru`" in reason.text and "from 1400 on" in reason.text for reason in found.because)


@pytest.mark.parametrize("check", ["esp/passthrough", "ike/esp-in-udp"])
def test_esp_that_passes_up_to_a_size_makes_ipsec_work_within_limits(check: str) -> None:
    ike = row("ike/ikev1-main", UDP, PASS, port=500)
    transport, port = (UDP, 4500) if check.startswith("ike") else (Transport.ESP, None)
    some = [row(check, transport, DEGRADED, port=port, direction=w, cause=Cause.SIZE, detail=SIZE_OF_GRE) for w in (C2S, S2C)]
    found = told(ike, *some, protocol="l2tp-ipsec")
    assert found.feasibility is Feasibility.DEGRADED
    assert {(one.direction, one.value) for one in found.limits if one.kind is LimitKind.SIZE} == {(C2S, 576), (S2C, 576)}
    assert any("Lower the MTU and MRU of the PPP link" in reason.text for reason in found.because)


def test_a_limit_without_a_number_is_none() -> None:
    found = told(*openvpn(data(DEGRADED, C2S, Cause.RATE)))
    assert (LimitKind.RATE, C2S) not in limits(found)


def test_what_no_number_tells_is_no_limit() -> None:
    bare = [row("openvpn/data", UDP, DEGRADED, port=1194, direction=way, cause=Cause.STATE) for way in (C2S, S2C)]
    found = told(*openvpn(*bare))
    assert (found.feasibility, found.limits) == (Feasibility.DEGRADED, ())


def test_loss_is_a_share_of_each_direction() -> None:
    found = told(*openvpn(data(DEGRADED, C2S, Cause.LOSS, received=15), data(DEGRADED, S2C, Cause.LOSS, received=10)))
    assert limits(found)[LimitKind.LOSS, C2S] == (0.25, None, Unit.SHARE)
    assert limits(found)[LimitKind.LOSS, S2C] == (0.5, None, Unit.SHARE)


def outages(count: int, **detail: object) -> list[Observation]:
    return [
        row(
            "path/outage",
            IP,
            DEGRADED,
            cause=Cause.LOSS,
            name=f"path-outage-{n}",
            detail={"from_s": n, "to_s": n + 0.5, "transports": ["gre", "udp"], **detail},
        )
        for n in range(count)
    ]


def test_a_path_that_is_silent_again_and_again_works_with_loss() -> None:
    rows = openvpn(data(PASS, C2S))
    decision = decide([*rows, *outages(6, often=True)], rules=load_default(), ports=(1194,))
    found = verdict(decision, "openvpn-udp")
    assert found.feasibility is Feasibility.DEGRADED
    assert limits(found)[LimitKind.LOSS, Direction.BOTH] == (round(3 / 5.5, 4), None, Unit.SHARE)
    [said] = [reason for reason in found.because if reason.rule == "outages"]
    assert "lost 6 times in this run, for 3.0 s in all" in said.text
    assert decision.recommendation is not None
    assert sum("was lost 6 times" in warning for warning in decision.recommendation.warnings) == 1


@pytest.mark.parametrize(("lost", "expected"), [(0, Feasibility.FEASIBLE), (10, Feasibility.DEGRADED)])
def test_what_is_not_over_udp_shares_that_where_its_own_packets_are_lost_too(lost: int, expected: Feasibility) -> None:
    """A policer of UDP alone may look so."""
    rows = [
        *(row(f"openvpn/{name}", TCP, PASS, port=1194) for name in ("reset", "handshake")),
        *(row("openvpn/data", TCP, PASS, port=1194, direction=way) for way in (C2S, S2C)),
        *(row("quality/loss", TCP, PASS, direction=way, sent=100, received=100 - lost) for way in (C2S, S2C)),
    ]
    found = told(*rows, *outages(6, often=True), protocol="openvpn-tcp")
    assert found.feasibility is expected
    assert any(reason.rule == "outages" for reason in found.because) is (expected is Feasibility.DEGRADED)


@pytest.mark.parametrize(("transports", "expected"), [(["udp"], Feasibility.FEASIBLE), (["gre", "udp"], Feasibility.DEGRADED)])
def test_outages_count_for_a_protocol_whose_packets_they_took(transports: list[str], expected: Feasibility) -> None:
    """PPTP is carried by GRE, which few packets tell of."""
    rows = [
        row("tcp/reach", TCP, PASS, port=1723),
        row("pptp/control", TCP, PASS, port=1723),
        *(row(name, GRE, PASS, direction=way, form="in-call") for way in (C2S, S2C) for name in ("gre/passthrough", "pptp/lcp")),
    ]
    assert told(*rows, *outages(6, often=True, transports=transports), protocol="pptp").feasibility is expected


def test_few_outages_are_told_and_take_nothing() -> None:
    rows = openvpn(data(PASS, C2S))
    decision = decide([*rows, *outages(2)], rules=load_default(), ports=(1194,))
    assert verdict(decision, "openvpn-udp").feasibility is Feasibility.FEASIBLE
    assert decision.recommendation is not None
    assert sum("silent from" in warning for warning in decision.recommendation.warnings) == 2


def test_outages_without_times_are_no_share() -> None:
    often = row("path/outage", IP, DEGRADED, cause=Cause.LOSS, detail={"often": True, "transports": ["udp"]})
    found = told(*openvpn(data(PASS, C2S)), often)
    assert found.feasibility is Feasibility.DEGRADED
    assert not [one for one in found.limits if one.kind is LimitKind.LOSS]


def test_what_is_too_large_is_no_loss_and_a_limit_that_settings_mend_is_felt_once() -> None:
    """A black hole takes large packets of all: OpenVPN over UDP has a setting for it, and loses nothing with it."""
    sizes: dict[str, object] = {"largest_passing": 1200, "smallest_lost": 1400}
    over_udp = openvpn(*(data(DEGRADED, way, Cause.SIZE, received=15, **sizes) for way in (C2S, S2C)))
    ipsec = [
        *(row("ike/ikev1-main", UDP, PASS, port=port) for port in (500, 4500)),
        *(row("esp/passthrough", Transport.ESP, DEGRADED, cause=Cause.SIZE, direction=way, detail=sizes) for way in (C2S, S2C)),
    ]
    decision = decide([*over_udp, *ipsec], rules=load_default(), ports=(1194,))
    found = verdict(decision, "openvpn-udp")
    assert found.feasibility is Feasibility.DEGRADED
    assert not [one for one in found.limits if one.kind is LimitKind.LOSS]
    assert verdict(decision, "l2tp-ipsec").feasibility is Feasibility.DEGRADED
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "openvpn-udp"
    assert decision.recommendation.settings["mssfix"] == 1172


def test_the_form_of_what_is_no_wrap_is_not_said_with_it() -> None:
    sizes: dict[str, object] = {"largest_passing": 576, "smallest_lost": 1400}
    call = [
        row(name, GRE, DEGRADED, cause=Cause.SIZE, direction=way, form="in-call", detail=sizes)
        for way in (C2S, S2C)
        for name in ("gre/passthrough", "pptp/lcp")
    ]
    found = told(row("pptp/control", TCP, PASS, port=1723), *call, protocol="pptp")
    assert any(reason.text.startswith("PPTP, port 1723: Small GRE packets pass") for reason in found.because)
