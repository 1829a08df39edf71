"""How questions are named in observations: ids, what tells forms apart, which steps belong to one session, and what was not tried."""

from typing import Any, Final

from vpnprobe.evidence.packet_records import Question
from vpnprobe.evidence.records import Skip
from vpnprobe.observations.schema import Direction, Observation, Outcome

STEPS: Final = ("reset", "handshake", "data")
"""Checks of one OpenVPN session, in their order."""
PROFILE: Final = "profile"
"""How the form of a question begins that was asked of an existing server, with the user's own profile."""


def earlier_steps(question: Question) -> tuple[Question, ...]:
    """The steps of the same OpenVPN sessions before this one."""
    if question.probe != "openvpn":
        return ()
    return tuple(question._replace(check=check) for check in STEPS[: STEPS.index(question.check)])


def is_existing(question: Question) -> bool:
    """Whether it was asked of an existing server with the user's own profile: perhaps on another host than the peer's, of whom then nothing
    that is known of the peer holds."""
    return question.probe == "openvpn" and question.form.startswith(PROFILE)


def form_detail(question: Question) -> dict[str, Any]:
    """What tells a question apart from others of its probe, check and port.

    `form`; of OpenVPN `wrap`, or `profile` (true) and which `remote` of it (a number as text; absent: the only one).
    """
    if not question.form:
        return {}
    if question.probe != "openvpn":
        return {"form": question.form}
    if not question.form.startswith(PROFILE):
        return {"wrap": question.form}
    remote = question.form.removeprefix(PROFILE).removeprefix("-")
    return {"profile": True} | ({"remote": remote} if remote else {})


def identifier(question: Question, way: Direction) -> str:
    """The observation's id: every part of the question that it answers."""
    parts = [question.probe, question.check, question.form, question.transport.value]
    parts += [str(question.port)] if question.port is not None else []
    return "-".join([part for part in parts if part] + [way.value])


def skipped(skip: Skip) -> Observation:
    """An observation that says that nothing was tried, and why."""
    question = skip.question
    return Observation(
        id=identifier(question, skip.direction),
        probe=question.probe,
        check=question.check,
        direction=skip.direction,
        transport=question.transport,
        port=question.port,
        outcome=Outcome.SKIPPED,
        detail={"reason": skip.reason, **form_detail(question)},
    )
