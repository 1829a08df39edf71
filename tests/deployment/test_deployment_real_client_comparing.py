"""Where the two differ: what is a difference, what is none, and what is left open."""

import pytest

from vpnprobe.deployment.real_client.comparing import CERTAIN, UNSPOKEN, Comparison, Finding, compared, overall
from vpnprobe.deployment.real_client.own_steps import STEP_OF
from vpnprobe.deployment.real_client.steps import Came, Course, Step, StepTold

UP = Course(True)


def stopped(step: Step, cause: str, words: str = "") -> Course:
    return Course(False, step, cause, words)


def of(real: Course, own: Course, **more: object) -> Finding:
    return compared(real, own, program="openvpn 2.6.14", where="host:1194/udp", **more)  # type: ignore[arg-type]


def test_all_names_are_names_of_failures() -> None:
    assert CERTAIN - {"profile-refused"} <= STEP_OF.keys()
    assert UNSPOKEN - {""} <= STEP_OF.keys()
    assert not CERTAIN & UNSPOKEN


@pytest.mark.parametrize(
    ("real", "own"),
    [
        (UP, UP),
        (stopped(Step.LOGIN, "credentials-refused"), stopped(Step.LOGIN, "credentials-refused")),
        (stopped(Step.CONNECT, "unreachable"), stopped(Step.RESET, "unreachable")),
        (stopped(Step.RESET, "silent"), stopped(Step.RESET, "wrong-wrap")),
        (stopped(Step.CERTIFICATE, "tls-silent"), stopped(Step.CERTIFICATE, "handshake-large-lost")),
        (stopped(Step.KEYS, "closed-by-peer"), stopped(Step.KEYS, "client-certificate-expired")),
        (stopped(Step.CERTIFICATE, "closed-by-peer"), stopped(Step.KEYS, "keys-unanswered")),
        (stopped(Step.START, "credentials-wanted"), stopped(Step.KEYS, "credentials-wanted")),
    ],
)
def test_they_agree(real: Course, own: Course) -> None:
    assert of(real, own).comparison is Comparison.AGREES


@pytest.mark.parametrize(
    ("real", "own", "words"),
    [
        (UP, stopped(Step.RESET, "silent"), "comes up with this profile at host:1194/udp, and vpnprobe's own try stops at 'reset answered"),
        (
            stopped(Step.UP, "", "rejected"),
            UP,
            "vpnprobe's own try comes up at host:1194/udp, and openvpn 2.6.14 stops at 'initialised' (rejected)",
        ),
        (stopped(Step.LOGIN, "credentials-refused"), stopped(Step.RESET, "silent"), "they do not stop alike"),
        (stopped(Step.CERTIFICATE, "certificate-expired"), stopped(Step.CERTIFICATE, "certificate-wrong-ca"), "they do not stop alike"),
    ],
)
def test_they_differ_and_that_is_about_vpnprobe(real: Course, own: Course, words: str) -> None:
    found = of(real, own)
    assert found.comparison is Comparison.DIFFERS
    assert words in found.sentence
    assert "This is a finding about vpnprobe" in found.sentence


@pytest.mark.parametrize(
    ("real", "own", "words"),
    [
        (Course(None, words="no such option"), UP, "could not be tried with this profile at host:1194/udp (no such option)"),
        (UP, Course(None, None, "not-supported", "secret"), "vpnprobe cannot try it (not-supported: secret)"),
        (stopped(Step.RESET, "silent"), Course(None), "stops at 'reset answered, TLS begins' (silent) with this profile"),
    ],
)
def test_one_was_not_tried(real: Course, own: Course, words: str) -> None:
    found = of(real, own)
    assert found.comparison is Comparison.OPEN
    assert words in found.sentence


def test_what_was_left_out_decides_nothing() -> None:
    refused = stopped(Step.START, "profile-refused", "line 3: up needs script-security 2")
    assert of(UP, refused).comparison is Comparison.DIFFERS
    assert of(UP, refused, left_out_decides=True).comparison is Comparison.OPEN
    assert of(stopped(Step.RESET, "silent"), refused, left_out_decides=True).comparison is Comparison.OPEN
    assert of(refused, refused, left_out_decides=True).comparison is Comparison.AGREES


def test_a_silence_on_a_path_that_loses_packets_is_left_open() -> None:
    silent = stopped(Step.CERTIFICATE, "tls-silent")
    assert of(silent, UP).comparison is Comparison.DIFFERS
    found = of(silent, UP, trials=2, lost="31 of 102 packets were lost")
    assert found.comparison is Comparison.OPEN
    assert "in 2 trials" in found.sentence
    assert "left open which is right: 31 of 102 packets were lost" in found.sentence
    assert "finding about vpnprobe" not in found.sentence
    assert of(UP, UP, lost="31 of 102").comparison is Comparison.AGREES


def test_another_release_refuses_otherwise() -> None:
    refused = stopped(Step.START, "profile-refused")
    assert "another release" in of(UP, refused, number=(2, 5)).sentence
    assert "another release" not in of(UP, refused, number=(2, 6)).sentence
    assert "another release" not in of(UP, stopped(Step.RESET, "silent"), number=(2, 5)).sentence


def test_dead_data_is_told_though_they_agree() -> None:
    own = Course(True, steps={Step.DATA: StepTold(Came.FAILED, ("settings-differ: the profile has `comp-lzo`",))})
    found = of(UP, own)
    assert found.comparison is Comparison.AGREES
    assert "Data, which openvpn did not try, is what stops it: settings-differ" in found.sentence


def test_of_all_remotes() -> None:
    found = {one: Finding(one, "") for one in Comparison}
    assert overall([found[Comparison.AGREES], found[Comparison.DIFFERS], found[Comparison.OPEN]]) is Comparison.DIFFERS
    assert overall([found[Comparison.AGREES], found[Comparison.OPEN]]) is Comparison.OPEN
    assert overall([found[Comparison.AGREES]]) is Comparison.AGREES
    assert overall([]) is Comparison.OPEN
