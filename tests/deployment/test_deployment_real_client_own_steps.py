"""vpnprobe's own try as steps, out of its observations."""

from typing import Any

import pytest

from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.deployment.real_client.own_steps import STEP_OF, Loss, own_course, worst_loss
from vpnprobe.deployment.real_client.steps import STEPS, Came, Course, Step
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.profiles.model import Remote

UDP = Remote("vpn.example.net", 1194, Transport.UDP)
SKIPPED = Outcome.SKIPPED


def row(check: str, outcome: Outcome, way: Direction = Direction.BOTH, *, transport: Transport = Transport.UDP, **more: Any) -> Observation:
    counts = {key: more.pop(key) for key in ("sent", "received") if key in more}
    detail = {"profile": True, **more}
    return Observation(
        id=f"{check}-{way}-{transport}",
        probe="openvpn",
        check=check,
        direction=way,
        transport=transport,
        port=1194,
        outcome=outcome,
        detail=detail,
        **counts,
    )


def rows(reset: Outcome, handshake: Outcome, data: Outcome = SKIPPED, **failure: Any) -> list[Observation]:
    """A failure is the handshake's where the reset passed."""
    of_reset = failure if reset is not Outcome.PASS else {}
    of_handshake = {} if of_reset else failure
    return [
        row("reset", reset, **of_reset),
        row("handshake", handshake, **of_handshake),
        row("data", data, Direction.C2S),
        row("data", data, Direction.S2C),
    ]


def came(course: Course) -> list[Came]:
    return [course.steps[step].came for step in STEPS]


def test_all_comes_up() -> None:
    found = [
        row("reset", Outcome.PASS, messages=[{"message": "P_CONTROL_HARD_RESET_SERVER_V2", "direction": "s2c", "received": 1}]),
        row("handshake", Outcome.PASS, tls="TLSv1.3", cipher="AES-256-GCM"),
        row("data", Outcome.PASS, Direction.C2S, sent=102, received=102),
        row("data", Outcome.PASS, Direction.S2C, received=102),
    ]
    course = own_course(found, UDP, 0)
    assert (course.came_up, course.stopped_at, came(course)) == (True, None, [Came.PASSED] * 9)
    assert course.steps[Step.RESET].words == ("P_CONTROL_HARD_RESET_SERVER_V2 came",)
    assert course.steps[Step.CERTIFICATE].words == ("TLS TLSv1.3",)
    assert course.steps[Step.DATA].words == ("102 of 102 echo requests answered",)


def test_dead_data_is_its_own_step() -> None:
    found = [
        row("reset", Outcome.PASS),
        row("handshake", Outcome.PASS),
        row("data", Outcome.NO_ANSWER, Direction.C2S, sent=102, failure="settings-differ", said="lzo"),
    ]
    course = own_course(found, UDP, 0)
    assert (course.came_up, course.steps[Step.DATA].came) == (True, Came.FAILED)
    assert course.steps[Step.DATA].words == ("0 of 102 echo requests answered", "settings-differ: lzo")


@pytest.mark.parametrize("failure", sorted(STEP_OF))
def test_each_failure_has_its_step(failure: str) -> None:
    step = STEP_OF[failure]
    early = step in (Step.START, Step.CONNECT, Step.RESET)
    found = rows(Outcome.NO_ANSWER if early else Outcome.PASS, SKIPPED if early else Outcome.REFUSED, failure=failure, said="why")
    course = own_course(found, UDP, 0)
    assert (course.came_up, course.stopped_at, course.cause, course.words) == (False, step, failure, "why")
    place = STEPS.index(step)
    assert came(course) == [*[Came.PASSED] * place, Came.FAILED, *[Came.NOT_REACHED] * (8 - place)]
    assert course.steps[step].words == (f"{failure}: why",)


def test_no_failure_is_forgotten() -> None:
    of_data = {"settings-differ", "not-supported"}
    assert {str(code) for code in FailureCode} - of_data <= STEP_OF.keys()


@pytest.mark.parametrize(("transport", "step"), [(Transport.UDP, Step.RESET), (Transport.TCP, Step.CONNECT)])
def test_a_refused_port_is_the_connection_of_tcp(transport: Transport, step: Step) -> None:
    found = [row("reset", Outcome.REFUSED, transport=transport, failure="port-refused"), row("handshake", SKIPPED, transport=transport)]
    assert own_course(found, Remote("host", 1194, transport), 0).stopped_at is step


def test_what_vpnprobe_cannot_do() -> None:
    course = own_course(rows(SKIPPED, SKIPPED, failure="not-supported", said="secret"), UDP, 0)
    assert (course.came_up, course.cause, course.words) == (None, "not-supported", "secret")


def test_what_was_not_tried() -> None:
    assert own_course([], UDP, 0).came_up is None
    skipped = [row("reset", SKIPPED, reason="IPv6 only"), row("handshake", SKIPPED, reason="IPv6 only")]
    assert own_course(skipped, UDP, 0).words == "IPv6 only"


def test_remotes_are_told_apart() -> None:
    second = [row("reset", Outcome.PASS, remote="2"), row("handshake", Outcome.PASS, remote="2")]
    assert own_course(second, UDP, 0).came_up is None
    assert own_course(second, UDP, 1).came_up


def test_what_the_path_lost() -> None:
    whole = row("data", Outcome.PASS, Direction.C2S, sent=102, received=102)
    some = row("data", Outcome.DEGRADED, Direction.C2S, sent=102, received=71)
    few = row("data", Outcome.DEGRADED, Direction.C2S, sent=10, received=9)
    assert worst_loss([whole, few, some]) == Loss(102, 71)
    assert Loss(102, 71).sentence.startswith("31 of 102 packets")
    none = [
        whole,
        row("data", Outcome.NO_ANSWER, Direction.C2S, sent=102, received=0),
        row("data", Outcome.PASS, Direction.S2C, received=3),
        row("data", Outcome.PASS, Direction.C2S, sent=102, received=71, failure="data-large-dead"),
        row("trace", Outcome.PASS, Direction.C2S, sent=10, received=7),
        row("data", Outcome.PASS, Direction.C2S, transport=Transport.TCP, sent=10, received=7),
    ]
    assert worst_loss(none) is None
