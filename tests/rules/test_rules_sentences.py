"""Numbers, hops, directions and bounds in words."""

import pytest
from rules_rows import row, said, verdict

from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default
from vpnprobe.rules.sentences import filled, listed, place

UDP, GRE, TCP = Transport.UDP, Transport.GRE, Transport.TCP
C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH


@pytest.mark.parametrize(("words", "expected"), [([], ""), ([1], "1"), ([1, 2], "1 and 2"), ([1, 2, 3], "1, 2 and 3")])
def test_lists(words: list[int], expected: str) -> None:
    assert listed(words) == expected


@pytest.mark.parametrize(
    ("location", "direction", "expected"),
    [
        (Location(2, "10.0.1.2", "10.0.2.2"), C2S, "between 10.0.1.2 (hop 2 from the client) and 10.0.2.2"),
        (Location(2, "10.0.1.2"), S2C, "after 10.0.1.2 (hop 2 from the server)"),
        (Location(2, None, "10.0.2.2"), C2S, "between an unnamed router (hop 2 from the client) and 10.0.2.2"),
        (Location(0, "10.0.0.1", "10.0.0.2"), C2S, "between the client and 10.0.0.2"),
        (Location(0, None), BOTH, "after the sender"),
    ],
)
def test_places_are_pairs_of_hops(location: Location, direction: Direction, expected: str) -> None:
    assert place(location, direction) == expected


def test_a_placeholder_without_meaning_is_left_empty() -> None:
    assert filled("a{share}b {port}", {"port": "1"}) == "ab 1"


def control(outcome: Outcome, **more: object) -> str:
    return said(decide([row("l2tp/control", UDP, outcome, port=1701, **more)], rules=load_default()), "l2tp")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "more", "expected"),
    [
        (Outcome.BLOCKED, {"sent": 1, "received": 0}, "both ways 0 of 1 attempt succeeded."),
        (Outcome.BLOCKED, {"sent": None}, "both ways blocked."),
        (Outcome.BLOCKED, {"detail": {"lost_direction": "s2c"}}, "0 of 20 attempts succeeded, lost from server to client."),
        (
            Outcome.BLOCKED,
            {"detail": {"lost_direction": "s2c"}, "location": Location(1, "10.0.9.1"), "error_bound": 2.5e-8},
            "lost from server to client, after 10.0.9.1 (hop 1 from the server); error bound 2e-08.",
        ),
        (Outcome.REFUSED, {"cause": Cause.PORT, "detail": {"by": "10.0.0.1"}}, "succeeded, refused by 10.0.0.1."),
        (Outcome.REFUSED, {"cause": Cause.PORT, "detail": {"by": "peer"}}, "succeeded, refused by the other end."),
        (Outcome.REFUSED, {"cause": Cause.UNKNOWN}, "succeeded, refused."),
        (
            Outcome.REFUSED,
            {"cause": Cause.UNKNOWN, "detail": {"by": "peer", "message": "CDN"}},
            "not known: the path carried it, and the server itself refused (CDN).",
        ),
        (
            Outcome.REFUSED,
            {"cause": Cause.UNKNOWN, "detail": {"by": "peer", "message": "FIN", "consistent_with": "a wrap"}},
            "the server itself refused (FIN, consistent with a wrap).",
        ),
        (Outcome.NO_ANSWER, {}, "not known: 20 sent got no answer, and silence alone proves nothing."),
        (Outcome.NO_ANSWER, {"detail": {"arrived_at_server": 0}}, "20 sent got no answer, and silence alone proves nothing."),
        (Outcome.NO_ANSWER, {"detail": {"arrived_at_server": 4}}, "20 sent, of which 4 came to the server, but nothing there answered:"),
        (
            Outcome.NO_ANSWER,
            {"detail": {"arrived_at_server": 4, "messages": [{"message": "SCCRP", "direction": "s2c", "sent": 4, "received": 1}]}},
            "20 sent: each end got something that the other one said, and its end was not seen",
        ),
        (
            Outcome.NO_ANSWER,
            {"detail": {"arrived_at_server": 4, "messages": [{"message": "SCCRP", "direction": "s2c", "sent": 4, "received": 0}]}},
            "20 sent, of which 4 came to the server, which answered, and no answer came back:",
        ),
        (Outcome.NO_ANSWER, {"sent": None}, "not known: what was sent got no answer"),
        (Outcome.SKIPPED, {"detail": {"reason": "no raw socket"}}, "not known: it was not tried (no raw socket)."),
        (Outcome.SKIPPED, {}, "not known: it was not tried (no reason given)."),
        (
            Outcome.REFUSED,
            {"cause": Cause.NO_LISTENER},
            "not known: nothing listens there; start a server or let the server agent listen.",
        ),
        (
            Outcome.REFUSED,
            {"cause": Cause.NO_LISTENER, "detail": {"answered_beside": ["x"], "reason": "none is taken outside a session"}},
            "not known: none is taken outside a session; a paired run",
        ),
        (Outcome.ERROR, {"detail": {"reason": "out of ports"}}, "not known: the probe itself failed (out of ports)."),
        (
            Outcome.NO_ANSWER,
            {"cause": Cause.HOST_FIREWALL, "detail": {"reason": "the client's own firewall drops it", "arrived_at_server": 4}},
            "not known: the client's own firewall drops it.",
        ),
        (
            Outcome.NO_ANSWER,
            {"cause": Cause.HOST_FIREWALL, "detail": {"reason": "it is kept", "host": "server", "mend": ["ufw allow 1701/udp"]}},
            "not known: it is kept (on the server, `ufw allow 1701/udp` lets it through).",
        ),
        (Outcome.NO_ANSWER, {"detail": {"unwatched": "server", "reason": "its wire is not seen"}}, "not known: its wire is not seen."),
        (
            Outcome.NO_ANSWER,
            {"detail": {"program": "xl2tpd", "arrived_at_server": 4}},
            "not known: 20 sent, and xl2tpd, which has that port at the server, did not answer: try it with its own profile",
        ),
        (Outcome.BLOCKED, {"cause": Cause.HOST_FIREWALL}, "own firewall does it: look there first."),
    ],
)
def test_what_is_said(outcome: Outcome, more: dict[str, object], expected: str) -> None:
    assert expected in control(outcome, **more)


def test_a_count_of_what_arrived_may_be_missing() -> None:
    half = Observation("x", "l2tp", "control", BOTH, UDP, Outcome.BLOCKED, port=1701, sent=7)
    assert "both ways 7 attempts sent, blocked." in said(decide([half], rules=load_default()), "l2tp")


def test_a_count_of_what_left_may_be_missing_too() -> None:
    came = Observation("x", "l2tp", "control", BOTH, UDP, Outcome.PASS, port=1701, received=2)
    assert "2 attempts succeeded" in said(decide([came], rules=load_default()), "l2tp")


def test_what_was_not_measured_is_said_to_be_so() -> None:
    assert "not known: it was not measured." in said(decide([], rules=load_default()), "l2tp")


def test_half_a_measurement_says_that_the_other_half_is_missing() -> None:
    rows = [row("gre/passthrough", GRE, Outcome.PASS, form="in-call", direction=C2S)]
    assert "not known: it was not measured." in said(decide(rows, rules=load_default()), "pptp")


def test_a_stand_in_is_named_in_the_evidence() -> None:
    rows = [row("udp/reach", UDP, Outcome.BLOCKED, port=1701, direction=C2S)]
    assert "UDP to port 1701: client to server 0 of 20 packets arrived" in said(decide(rows, rules=load_default()), "l2tp")


def test_ports_that_fail_for_different_causes_are_told_apart() -> None:
    rows = [
        row("openvpn/reset", TCP, Outcome.BLOCKED, port=1194, cause=Cause.PORT),
        row("openvpn/reset", TCP, Outcome.BLOCKED, port=443, cause=Cause.PAYLOAD),
    ]
    assert [reason.rule for reason in verdict(decide(rows, rules=load_default()), "openvpn-tcp").because] == ["openvpn-tcp-reset"] * 2


def test_what_was_not_tried_is_told_beside_what_got_no_answer() -> None:
    """One way was asked and the other could not be: the reason is worth more than the silence."""
    rows = [
        row("l2tp/control", UDP, Outcome.PASS, port=1701),
        row("l2tp/data", UDP, Outcome.NO_ANSWER, port=1701, direction=Direction.C2S, sent=1),
        row(
            "l2tp/data", UDP, Outcome.SKIPPED, port=1701, direction=Direction.S2C, sent=None, detail={"reason": "the server ended the call"}
        ),
    ]
    text = said(decide(rows, rules=load_default()), "l2tp")
    assert "1 sent got no answer, and silence alone proves nothing; the rest was not tried (the server ended the call)." in text
