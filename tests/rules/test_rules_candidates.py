"""On which ports, and there in which forms, OpenVPN is judged."""

import pytest
from rules_rows import openvpn, row, verdict

from vpnprobe.observations.schema import Feasibility, Observation, Outcome, Transport
from vpnprobe.rules import Decision, decide, load_default
from vpnprobe.rules.candidates import Candidate, candidates, was_tried

TCP, UDP = Transport.TCP, Transport.UDP
PASS, BLOCKED, REFUSED, NO_ANSWER = Outcome.PASS, Outcome.BLOCKED, Outcome.REFUSED, Outcome.NO_ANSWER
SKIPPED, ERROR = Outcome.SKIPPED, Outcome.ERROR
BAD, OPEN = Feasibility.INFEASIBLE, Feasibility.UNKNOWN
CRYPT, CRYPT_V2, PROFILE = {"wrap": "tls-crypt"}, {"wrap": "tls-crypt-v2"}, {"profile": True}


def settle(*rows: Observation, ports: tuple[int, ...] = ()) -> Decision:
    return decide(rows, rules=load_default(), ports=ports)


def outcome_of(*rows: Observation, protocol: str = "openvpn-udp") -> tuple[Feasibility, int | None]:
    found = verdict(settle(*rows), protocol)
    return found.feasibility, found.port


def found(*rows: Observation, ports: tuple[int, ...] = (), control_port: int | None = None) -> list[tuple[int, str]]:
    rules = load_default()
    return [(one.port, one.form) for one in candidates(rules.profiles["openvpn-udp"], rows, rules, ports=ports, control_port=control_port)]


@pytest.mark.parametrize(
    ("rows", "ports", "expected"),
    [
        ([], (), [(1194, "")]),
        ([], (443, 53, 1194), [(1194, ""), (443, ""), (53, "")]),
        (openvpn(UDP, 443), (), [(443, "")]),
        (openvpn(TCP, 443), (), [(1194, "")]),
        (openvpn(UDP, 443, form=CRYPT), (), [(443, "tls-crypt")]),
        ([*openvpn(UDP, 443, form=CRYPT), *openvpn(UDP, 443, form=CRYPT_V2)], (), [(443, "tls-crypt-v2"), (443, "tls-crypt")]),
        ([*openvpn(UDP, 443), *openvpn(UDP, 443, form=CRYPT), *openvpn(UDP, 53)], (), [(443, ""), (53, ""), (443, "tls-crypt")]),
        (openvpn(UDP, 443, reset=SKIPPED, handshake=None, data=None, form=CRYPT), (), [(443, "")]),
        (openvpn(UDP, 443, reset=SKIPPED, handshake=None, data=None, form=PROFILE), (), [(443, "profile")]),
        (openvpn(UDP, 9999, form=PROFILE), (1194,), [(1194, ""), (9999, "profile")]),
        (
            [*openvpn(UDP, 53), *openvpn(UDP, 9999, form=PROFILE), *openvpn(UDP, 53, form=CRYPT)],
            (),
            [(53, ""), (9999, "profile"), (53, "tls-crypt")],
        ),
        (openvpn(UDP, 443, form={"wrap": "of-tomorrow"}), (), [(443, "")]),
        ([row("udp/reach", UDP, BLOCKED, port=443)], (), [(443, "")]),
        ([row("udp/reach", UDP, BLOCKED, port=500)], (), [(1194, "")]),
    ],
)
def test_what_is_judged_and_in_which_order(rows: list[Observation], ports: tuple[int, ...], expected: list[tuple[int, str]]) -> None:
    assert found(*rows, ports=ports) == expected


def test_the_port_of_the_control_connection_is_a_candidate_over_udp_alone() -> None:
    assert found(*openvpn(UDP, 443), *openvpn(UDP, 53), control_port=443) == [(443, ""), (53, "")]
    over_tcp = load_default().profiles["openvpn-tcp"]
    rows = [*openvpn(TCP, 443), *openvpn(TCP, 53)]
    assert candidates(over_tcp, rows, load_default(), ports=(), control_port=443) == [(53, "")]


def test_only_what_was_sent_was_tried() -> None:
    rules = load_default()
    rows = [*openvpn(UDP, 443), *openvpn(UDP, 53, reset=SKIPPED, handshake=None, data=None)]
    tried = [was_tried(rules.profiles["openvpn-udp"], Candidate(port), rows, rules) for port in (443, 53, 80)]
    assert tried == [True, False, False]


def test_steps_on_different_ports_prove_nothing_together() -> None:
    rows = [*openvpn(UDP, 1194, handshake=None, data=None), *openvpn(UDP, 443, data=None)]
    assert outcome_of(*rows)[0] is OPEN


def test_all_wraps_have_to_fail_before_it_is_infeasible_and_an_untried_one_says_nothing() -> None:
    plain = openvpn(UDP, 1194, data=BLOCKED)
    assert outcome_of(*plain, *openvpn(UDP, 1194, data=BLOCKED, form=CRYPT))[0] is BAD
    assert outcome_of(*plain, *openvpn(UDP, 1194, data=NO_ANSWER, form=CRYPT))[0] is OPEN
    assert outcome_of(*plain, *openvpn(UDP, 1194, reset=SKIPPED, handshake=None, data=None, form=CRYPT))[0] is BAD


def test_an_existing_server_alone_decides() -> None:
    assert outcome_of(*openvpn(UDP, 443, reset=NO_ANSWER, handshake=None, data=None, form=PROFILE)) == (OPEN, 443)
    assert outcome_of(*openvpn(UDP, 443, data=BLOCKED, form=PROFILE)) == (BAD, 443)
