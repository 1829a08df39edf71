"""Names for what one end knows: put beside the observations of their check, in every direction, and nowhere else."""

import pytest

from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.facts import skipped
from vpnprobe.evidence.judging.named import asks, with_named_failures
from vpnprobe.evidence.named_failures import HARMLESS, NamedFailure
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, PathFacts, Skip
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

UDP = Transport.UDP
HANDSHAKE = openvpn_handshake(UDP, 1194, "profile")
DATA = openvpn_data(UDP, 1194, "profile")
WAYS = (Direction.C2S, Direction.S2C)


def row(check: Check, outcome: Outcome = Outcome.PASS, way: Direction = Direction.BOTH, **detail: object) -> Observation:
    return Observation(
        id=identifier(check, way),
        probe=check.probe,
        check=check.name,
        direction=way,
        transport=check.transport,
        port=check.port,
        outcome=outcome,
        detail=detail,
    )


def test_nothing_named_nothing_changed() -> None:
    rows = [row(HANDSHAKE), row(DATA, way=Direction.C2S)]
    assert with_named_failures(rows, []) == rows


def test_a_failure_and_what_was_said_stand_in_the_detail() -> None:
    named = NamedFailure(HANDSHAKE, "tls-stalled", "3 packets")
    (found,) = with_named_failures([row(HANDSHAKE, Outcome.NO_ANSWER, stage="tls")], [named])
    assert found.outcome is Outcome.NO_ANSWER
    assert found.detail == {"stage": "tls", "failure": "tls-stalled", "said": "3 packets"}


def test_nothing_said_is_not_told() -> None:
    (found,) = with_named_failures([row(HANDSHAKE, Outcome.NO_ANSWER)], [NamedFailure(HANDSHAKE, "tls-silent")])
    assert found.detail == {"failure": "tls-silent"}


def test_a_goal_that_was_reached_and_refused_afterwards_is_refused_by_the_peer() -> None:
    (found,) = with_named_failures([row(HANDSHAKE)], [NamedFailure(HANDSHAKE, "credentials-refused", "AUTH_FAILED")])
    assert found.outcome is Outcome.REFUSED
    assert found.detail == {"by": "peer", "failure": "credentials-refused", "said": "AUTH_FAILED"}


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASS])
def test_only_what_passed_is_refused(outcome: Outcome) -> None:
    (found,) = with_named_failures([row(HANDSHAKE, outcome)], [NamedFailure(HANDSHAKE, "credentials-refused")])
    assert found.outcome is outcome
    assert "by" not in found.detail


@pytest.mark.parametrize("code", sorted(HARMLESS))
def test_what_stops_nothing_leaves_a_pass_a_pass(code: str) -> None:
    (found,) = with_named_failures(
        [row(HANDSHAKE)], [NamedFailure(HANDSHAKE, code, "twice" if code else "", {"cipher": "AES-256-GCM", "first_data_ms": 3.5})]
    )
    assert found.outcome is Outcome.PASS
    named = {"failure": code, "said": "twice"} if code else {}
    assert found.detail == {"cipher": "AES-256-GCM", "first_data_ms": 3.5, **named}


def test_words_without_a_failure_are_not_told() -> None:
    (found,) = with_named_failures([row(HANDSHAKE)], [NamedFailure(HANDSHAKE, "", "words")])
    assert "said" not in found.detail


@pytest.mark.parametrize(
    ("code", "outcome", "cause"),
    [
        ("data-dead", Outcome.NO_ANSWER, None),
        ("data-cut", Outcome.NO_ANSWER, None),
        ("closed-by-peer", Outcome.NO_ANSWER, None),
        ("data-large-dead", Outcome.DEGRADED, Cause.SIZE),
        ("", Outcome.PASS, None),
    ],
)
def test_data_that_passed_for_a_while_are_named_in_both_directions(code: str, outcome: Outcome, cause: Cause | None) -> None:
    """Answers of the first packets are no proof of the later ones."""
    found = with_named_failures([row(DATA, way=way) for way in WAYS], [NamedFailure(DATA, code, "after 30")])
    assert [observation.outcome for observation in found] == [outcome, outcome]
    assert [observation.cause for observation in found] == [cause, cause]
    assert [observation.detail.get("failure") for observation in found] == [code or None] * 2
    assert not any("by" in observation.detail for observation in found)


def test_data_that_never_passed_keep_their_outcome() -> None:
    (found,) = with_named_failures([row(DATA, Outcome.BLOCKED, Direction.C2S)], [NamedFailure(DATA, "data-large-dead")])
    assert (found.outcome, found.cause, found.detail) == (Outcome.BLOCKED, None, {"failure": "data-large-dead"})


@pytest.mark.parametrize(
    "other",
    [
        openvpn_reset(UDP, 1194, "profile"),
        openvpn_handshake(UDP, 1194),
        openvpn_handshake(UDP, 1194, "profile-2"),
        openvpn_handshake(UDP, 443, "profile"),
        openvpn_handshake(Transport.TCP, 1194, "profile"),
    ],
    ids=lambda check: identifier(check, Direction.BOTH),
)
def test_a_name_belongs_to_its_own_check_alone(other: Check) -> None:
    rows = [row(other), row(HANDSHAKE)]
    found = with_named_failures(rows, [NamedFailure(HANDSHAKE, "tls-broken")])
    assert found[0] == rows[0]
    assert found[1] != rows[1]
    assert not asks(rows[0], HANDSHAKE)


def test_what_was_skipped_has_its_name_beside_the_reason() -> None:
    skip = skipped(Skip(HANDSHAKE, Direction.BOTH, "the session did not get so far: silent"))
    (found,) = with_named_failures([skip], [NamedFailure(HANDSHAKE, "silent")])
    assert found.outcome is Outcome.SKIPPED
    assert found.detail["reason"] == "the session did not get so far: silent"
    assert (found.detail["failure"], found.detail["profile"]) == ("silent", True)


def test_the_judge_takes_names_as_facts() -> None:
    skip = Skip(HANDSHAKE, Direction.BOTH, "the session did not get so far: silent")
    facts = PathFacts(skips=(skip,), named_failures=(NamedFailure(HANDSHAKE, "silent"),))
    assert judge(EndRecord(), EndRecord(recorded=False), facts) == with_named_failures([skipped(skip)], facts.named_failures)


def test_the_order_of_observations_is_kept() -> None:
    rows = [row(DATA, way=Direction.S2C), row(HANDSHAKE), row(DATA, way=Direction.C2S)]
    found = with_named_failures(rows, [NamedFailure(HANDSHAKE, "tls-broken"), NamedFailure(DATA, "data-dead")])
    assert [observation.id for observation in found] == [observation.id for observation in rows]


def test_a_name_without_an_observation_adds_none() -> None:
    assert with_named_failures([], [NamedFailure(HANDSHAKE, "silent")]) == []


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.NO_ANSWER, Outcome.SKIPPED])
@pytest.mark.parametrize("code", ["certificate-expired", "push-refused", "profile-refused"])
def test_what_the_client_itself_refuses(code: str, outcome: Outcome) -> None:
    named = NamedFailure(HANDSHAKE, code, facts={"certificate_name": "CN=server"})
    (found,) = with_named_failures([row(HANDSHAKE, outcome)], [named])
    assert (found.outcome, found.cause) == (Outcome.REFUSED, None)
    assert found.detail == {"failure": code, "by": "client", "certificate_name": "CN=server"}


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.NO_ANSWER])
def test_settings_that_differ_are_no_silence(outcome: Outcome) -> None:
    (found,) = with_named_failures([row(DATA, outcome, Direction.C2S)], [NamedFailure(DATA, "settings-differ", "dev")])
    assert found.outcome is Outcome.NO_ANSWER
    assert found.detail == {"failure": "settings-differ", "said": "dev", "by": "settings"}


def test_what_is_not_supported_changes_no_outcome_that_is_open() -> None:
    (found,) = with_named_failures([row(HANDSHAKE, Outcome.NO_ANSWER)], [NamedFailure(HANDSHAKE, "not-supported", "CBC")])
    assert found.outcome is Outcome.NO_ANSWER
