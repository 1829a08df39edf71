"""OpenVPN: data decides, on one port and in one form; wraps, existing servers, limits, and failures that have a name."""

import pytest
from rules_rows import clean, openvpn, row, said, verdict

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome, Reason, Transport
from vpnprobe.rules import Decision, decide, load_default

TCP, UDP = Transport.TCP, Transport.UDP
PASS, BLOCKED, REFUSED, DEGRADED = Outcome.PASS, Outcome.BLOCKED, Outcome.REFUSED, Outcome.DEGRADED
NO_ANSWER, SKIPPED, ERROR = Outcome.NO_ANSWER, Outcome.SKIPPED, Outcome.ERROR
OK, LIMITED, BAD, OPEN = Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE, Feasibility.UNKNOWN
CRYPT, CRYPT_V2 = {"wrap": "tls-crypt"}, {"wrap": "tls-crypt-v2"}
PROFILE, SECOND = {"profile": True}, {"profile": True, "remote": "2"}
SIZE = {"largest_passing": 1400, "smallest_lost": 1450}


def settle(*rows: Observation, ports: tuple[int, ...] = ()) -> Decision:
    return decide(rows, rules=load_default(), ports=ports)


def outcome_of(*rows: Observation, protocol: str = "openvpn-udp") -> tuple[Feasibility, int | None]:
    found = verdict(settle(*rows), protocol)
    return found.feasibility, found.port


def settings_of(*rows: Observation) -> dict[str, object]:
    recommendation = settle(*rows).recommendation
    assert recommendation is not None
    return dict(recommendation.settings)


def failures_in(decision: Decision, protocol: str = "openvpn-udp") -> list[Reason]:
    return [reason for reason in verdict(decision, protocol).because if reason.rule.startswith("failure.")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (openvpn(UDP, 1194), OK),
        (openvpn(UDP, 1194, handshake=None, data=None), OPEN),
        (openvpn(UDP, 1194, data=None), OPEN),
        (openvpn(UDP, 1194, data=BLOCKED), BAD),
        (openvpn(UDP, 1194, back=BLOCKED), BAD),
        (openvpn(UDP, 1194, data=BLOCKED, back=PASS), BAD),
        (openvpn(UDP, 1194, data=NO_ANSWER), OPEN),
        (openvpn(UDP, 1194, back=SKIPPED), OPEN),
        (openvpn(UDP, 1194, handshake=BLOCKED, data=None), BAD),
        (openvpn(UDP, 1194, handshake=NO_ANSWER, data=None), OPEN),
        (openvpn(UDP, 1194, reset=BLOCKED, handshake=None, data=None), BAD),
        (openvpn(UDP, 1194, data=DEGRADED, cause=Cause.LOSS), LIMITED),
        (openvpn(UDP, 1194)[2:], OK),
        (openvpn(UDP, 1194, handshake=NO_ANSWER), OK),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_data_both_ways_decides(rows: list[Observation], expected: Feasibility) -> None:
    assert outcome_of(*rows) == (expected, 1194)


def test_one_port_that_fails_does_not_hide_one_that_works() -> None:
    assert outcome_of(*openvpn(UDP, 1194, data=BLOCKED), *openvpn(UDP, 443)) == (OK, 443)
    assert outcome_of(*openvpn(UDP, 1194), *openvpn(UDP, 443, data=BLOCKED)) == (OK, 1194)


@pytest.mark.parametrize(("handshake", "first"), [(None, "openvpn-udp-handshake"), (PASS, "openvpn-udp-data")])
def test_a_reset_without_data_says_what_to_do_and_only_about_the_next_step(handshake: Outcome | None, first: str) -> None:
    because = verdict(settle(*openvpn(UDP, 1194, handshake=handshake, data=None)), "openvpn-udp").because
    assert because[0].rule == first
    assert "vpnprobe serve" in because[0].text
    assert "--profile" in because[0].text
    assert sum("not known" in reason.text for reason in because) == 1


def test_where_the_reset_fails_nothing_is_said_of_the_later_steps() -> None:
    because = verdict(settle(*openvpn(UDP, 1194, reset=BLOCKED, handshake=None, data=None)), "openvpn-udp").because
    assert [reason.rule for reason in because] == ["openvpn-udp-reset"]


def test_data_is_told_before_the_steps_that_it_proves() -> None:
    assert verdict(settle(*clean()), "openvpn-udp").because[0].rule == "openvpn-udp-data"


def test_a_wrap_that_passes_where_plain_does_not_is_a_setting() -> None:
    rows = [
        *openvpn(UDP, 1194, reset=BLOCKED, handshake=None, data=None, cause=Cause.PAYLOAD),
        *openvpn(UDP, 1194, reset=BLOCKED, handshake=None, data=None, form=CRYPT),
        *openvpn(UDP, 1194, form=CRYPT_V2),
    ]
    assert outcome_of(*rows) == (OK, 1194)
    assert settings_of(*rows) == {"port": 1194, "wrap": "tls-crypt-v2"}
    assert "has to be wrapped in tls-crypt-v2" in said(settle(*rows), "openvpn-udp")
    assert "data packets in tls-crypt-v2 pass both ways on udp/1194" in said(settle(*rows), "openvpn-udp")
    assert "hard reset does not get through on udp/1194" in said(settle(*rows), "openvpn-udp")


def test_of_two_wraps_that_pass_the_stronger_is_the_setting() -> None:
    rows = [*openvpn(UDP, 1194, data=BLOCKED), *openvpn(UDP, 1194, form=CRYPT), *openvpn(UDP, 1194, form=CRYPT_V2)]
    assert settings_of(*rows)["wrap"] == "tls-crypt-v2"


def test_plain_on_another_port_comes_before_a_wrap() -> None:
    rows = [*openvpn(UDP, 1194, data=BLOCKED), *openvpn(UDP, 443), *openvpn(UDP, 1194, form=CRYPT_V2)]
    assert outcome_of(*rows) == (OK, 443)
    assert settings_of(*rows) == {"port": 443, "wrap": "none"}


@pytest.mark.parametrize(("forms", "wrap"), [([], "none"), ([CRYPT], "tls-crypt"), ([CRYPT, CRYPT_V2], "tls-crypt-v2")])
def test_where_plain_works_the_strongest_wrap_on_its_port_is_advised(forms: list[dict[str, object]], wrap: str) -> None:
    rows = [*openvpn(UDP, 1194), *(one for form in forms for one in openvpn(UDP, 1194, form=form)), *openvpn(UDP, 443, form=CRYPT_V2)]
    assert outcome_of(*rows) == (OK, 1194)
    assert settings_of(*rows) == {"port": 1194, "wrap": wrap}


def test_a_wrap_that_was_tried_alone_is_no_setting() -> None:
    rows = openvpn(UDP, 1194, form=CRYPT)
    assert outcome_of(*rows) == (OK, 1194)
    assert settings_of(*rows) == {"port": 1194, "wrap": "tls-crypt"}


def test_an_existing_server_where_data_flows_is_feasible_and_said_to_be_one() -> None:
    rows = openvpn(UDP, 443, form=PROFILE)
    decision = settle(*rows, ports=(1194,))
    assert (verdict(decision, "openvpn-udp").feasibility, verdict(decision, "openvpn-udp").port) == (OK, 443)
    assert "with the profile pass both ways on udp/443" in said(decision, "openvpn-udp")
    assert "existing server of the profile given" in said(decision, "openvpn-udp")
    assert decision.recommendation is not None
    assert decision.recommendation.settings == {"port": 443}


def test_an_existing_server_that_fails_does_not_fail_what_works_nor_what_is_blocked() -> None:
    silent = openvpn(UDP, 443, reset=NO_ANSWER, handshake=None, data=None, form=SECOND, detail={"failure": "silent"})
    for rest, expected in ((openvpn(UDP, 1194), OK), (openvpn(UDP, 1194, data=BLOCKED), BAD)):
        decision = settle(*rest, *silent)
        assert verdict(decision, "openvpn-udp").feasibility is expected
        assert "failure.silent" in [reason.rule for reason in failures_in(decision)]
        assert "with the profile's remote 2" in said(decision, "openvpn-udp")


def test_an_existing_server_that_works_counts_where_nothing_else_does() -> None:
    rows = [*openvpn(UDP, 1194, data=BLOCKED), *openvpn(UDP, 8443, form=PROFILE)]
    assert outcome_of(*rows) == (OK, 8443)
    working = [*openvpn(UDP, 1194, data=DEGRADED, cause=Cause.SIZE, detail=SIZE), *openvpn(UDP, 8443, form=PROFILE)]
    assert outcome_of(*working) == (OK, 8443)


@pytest.mark.parametrize(("transport", "mssfix", "tun_mtu"), [(UDP, 1372, 1348), (TCP, 1346, 1322)])
def test_a_limit_on_size_gives_the_settings(transport: Transport, mssfix: int, tun_mtu: int) -> None:
    rows = openvpn(transport, 1194, data=DEGRADED, cause=Cause.SIZE, detail=SIZE)
    decision = settle(*rows)
    assert verdict(decision, f"openvpn-{transport}").feasibility is LIMITED
    assert settings_of(*rows) == {"port": 1194, "wrap": "none", "mssfix": mssfix, "tun_mtu": tun_mtu}
    assert "up to 1400 bytes of the outer IP packet they do, from 1450 on none does." in said(decision, f"openvpn-{transport}")


def test_of_two_directions_the_smaller_limit_counts() -> None:
    rows = openvpn(UDP, 1194, data=DEGRADED, cause=Cause.SIZE, detail=SIZE)
    rows[-1] = row(
        "openvpn/data", UDP, DEGRADED, port=1194, direction=Direction.S2C, cause=Cause.SIZE, detail={**SIZE, "largest_passing": 1200}
    )
    assert settings_of(*rows)["mssfix"] == 1172
