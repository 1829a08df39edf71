"""How checks are named in observations: ids, what tells forms apart, which steps belong to one session, and what was not tried."""

from typing import Any, Final

from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import Skip
from vpnprobe.observations.schema import Direction, Observation, Outcome

STEPS: Final = ("reset", "handshake", "data")
"""Checks of one OpenVPN session, in their order."""
PROFILE: Final = "profile"
"""How the form of a check begins that was asked of an existing server, with the user's own profile."""


def earlier_steps(check: Check) -> tuple[Check, ...]:
    """The steps of the same OpenVPN sessions before this one."""
    if check.probe != "openvpn":
        return ()
    return tuple(check._replace(name=step) for step in STEPS[: STEPS.index(check.name)])


def is_existing(check: Check) -> bool:
    """Whether it was asked of an existing server with the user's own profile: perhaps on another host than the peer's, of whom then nothing
    that is known of the peer holds."""
    return check.probe == "openvpn" and check.variant.startswith(PROFILE)


def form_detail(check: Check) -> dict[str, Any]:
    """What tells a check apart from others of its probe, check and port.

    `form`; of OpenVPN `wrap`, or `profile` (true) and which `remote` of it (a number as text; absent: the only one).
    """
    if not check.variant:
        return {}
    if check.probe != "openvpn":
        return {"form": check.variant}
    if not check.variant.startswith(PROFILE):
        return {"wrap": check.variant}
    remote = check.variant.removeprefix(PROFILE).removeprefix("-")
    return {"profile": True} | ({"remote": remote} if remote else {})


def identifier(check: Check, way: Direction) -> str:
    """The observation's id: every part of the check that it answers."""
    parts = [check.probe, check.name, check.variant, check.transport.value]
    parts += [str(check.port)] if check.port is not None else []
    return "-".join([part for part in parts if part] + [way.value])


def skipped(skip: Skip) -> Observation:
    """An observation that says that nothing was tried, and why."""
    check = skip.check
    return Observation(
        id=identifier(check, skip.direction),
        probe=check.probe,
        check=check.name,
        direction=skip.direction,
        transport=check.transport,
        port=check.port,
        outcome=Outcome.SKIPPED,
        detail={"reason": skip.reason, **form_detail(check)},
    )
