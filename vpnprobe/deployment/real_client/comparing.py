"""Where openvpn and vpnprobe differ about the same profile, in sentences. Pure.

openvpn is what the profile was written for: whether it comes up here is what counts for whoever wants to use it, and a difference is a
finding about vpnprobe. Data is vpnprobe's alone, so that nothing there is a difference.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vpnprobe.deployment.real_client.steps import NAMES, Came, Course, Step
from vpnprobe.evidence.named_failures import NOT_SUPPORTED, PROFILE_REFUSED

CERTAIN: Final = frozenset(
    {
        "certificate-expired",
        "certificate-not-yet-valid",
        "certificate-wrong-ca",
        "certificate-wrong-name",
        "certificate-wrong-purpose",
        "certificate-wrong-fingerprint",
        "certificate-revoked",
        "challenge-wanted",
        "credentials-refused",
        "name-not-resolved",
        "no-common-data-cipher",
        "profile-refused",
        "push-refused",
        "session-refused",
    }
)
"""Names that both can know for certain; where a client stops without a word, what it is called is a guess of either."""
UNSPOKEN: Final = frozenset(
    {
        "",
        "client-certificate-expired",
        "client-certificate-refused",
        "closed-at-once",
        "closed-by-peer",
        "credentials-wanted",
        "handshake-large-lost",
        "keys-unanswered",
        "no-push-reply",
        "silent",
        "tls-broken",
        "tls-no-common-cipher",
        "tls-silent",
        "tls-stalled",
        "tls-version",
    }
)
"""Names of what a server that falls silent or closes leaves to guess: the step before and the one behind it may be the same event."""


BY_VERSION: Final = frozenset({"profile-refused", "push-refused"})
"""What a client refuses is not the same in all releases."""
JUDGED_AS: Final = (2, 6)
"""The release whose refusals vpnprobe knows."""


ABOUT_US: Final = " This is a finding about vpnprobe: what openvpn does is what counts for this profile."


class Comparison(StrEnum):
    """What came of it."""

    AGREES = "agrees"
    DIFFERS = "differs"
    """One comes up and the other does not, or they stop at another step or for another cause."""
    OPEN = "open"
    """One of them was not tried to an end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One remote, by both."""

    comparison: Comparison
    sentence: str


def compared(
    real: Course,
    own: Course,
    *,
    program: str,
    where: str,
    left_out_decides: bool = False,
    number: tuple[int, int] | None = None,
    trials: int = 1,
    lost: str = "",
) -> Finding:
    """`program`: what the real client is called, with its version; `number`: that version, None: not known; `trials`: of it.

    `left_out_decides`: what it would not have started with was left out. `lost`: that packets were lost on the path, as a clause, where
    it is silence that stops the real client; empty: none were, or it is something else.
    """
    finding = _compared(real, own, program=program, where=where, left_out_decides=left_out_decides, trials=trials)
    if finding.comparison is not Comparison.DIFFERS:
        return finding
    if lost:
        sentence = finding.sentence.removesuffix(ABOUT_US)
        return Finding(
            Comparison.OPEN, f"{sentence} It is left open which is right: {lost}, and openvpn repeats a packet after 2, 4 and 8 s."
        )
    if {real.cause, own.cause} & BY_VERSION and number not in (None, JUDGED_AS):
        as_what = ".".join(map(str, JUDGED_AS))
        return Finding(finding.comparison, f"{finding.sentence} vpnprobe says what OpenVPN {as_what} takes; this one is another release.")
    return finding


def _compared(real: Course, own: Course, *, program: str, where: str, left_out_decides: bool, trials: int) -> Finding:
    stops = f"{program} stops at '{_name(real)}'{_because(real)}{f' in {trials} trials' if trials > 1 else ''}"
    own_stops = f"vpnprobe's own try stops at '{_name(own)}'{_because(own)}"
    if real.came_up is None:
        return Finding(Comparison.OPEN, f"{program} could not be tried with this profile at {where}{_because(real)}.")
    if own.came_up is None:
        came = f"{program} comes up with this profile at {where}" if real.came_up else f"{stops} with this profile at {where}"
        why = "vpnprobe cannot try it" if own.cause == NOT_SUPPORTED else "vpnprobe did not try it"
        return Finding(Comparison.OPEN, f"{came}; {why}{_because(own)}.")
    if real.came_up and own.came_up:
        data = own.steps.get(Step.DATA)
        dead = f" Data, which openvpn did not try, is what stops it: {'; '.join(data.words)}." if data and data.came is Came.FAILED else ""
        return Finding(Comparison.AGREES, f"{program} comes up with this profile at {where}, as vpnprobe's own try does.{dead}")
    if own.came_up is False and own.cause == PROFILE_REFUSED and left_out_decides and real.cause != own.cause:
        came = f"{program} comes up with this profile at {where}" if real.came_up else f"{stops} with this profile at {where}"
        return Finding(Comparison.OPEN, f"{came}; what vpnprobe says that OpenVPN does not start with was left out of its run.")
    if real.came_up:
        return _differs(f"{program} comes up with this profile at {where}, and {own_stops}")
    if own.came_up:
        return _differs(f"vpnprobe's own try comes up at {where}, and {stops}")
    if real.cause == own.cause and real.cause:
        return Finding(
            Comparison.AGREES, f"{program} fails with this profile at {where} for the same cause as vpnprobe's own try{_because(real)}."
        )
    both_named = {real.cause, own.cause} <= CERTAIN
    if real.stopped_at == own.stopped_at and not both_named:
        return Finding(
            Comparison.AGREES, f"{program} fails with this profile at {where} at the same step as vpnprobe's own try, '{_name(real)}'."
        )
    if {real.cause, own.cause} <= UNSPOKEN and _are_neighbours(real.stopped_at, own.stopped_at):
        return Finding(
            Comparison.AGREES,
            f"{program} fails with this profile at {where}, at '{_name(real)}', as vpnprobe's own try does at '{_name(own)}': "
            "the server says no word, so that both are the same event.",
        )
    return _differs(f"Neither comes up at {where}, and they do not stop alike: {stops}, {own_stops}")


def _differs(sentence: str) -> Finding:
    return Finding(Comparison.DIFFERS, f"{sentence}.{ABOUT_US}")


def _name(course: Course) -> str:
    return NAMES[course.stopped_at] if course.stopped_at is not None else "?"


def _because(course: Course) -> str:
    told = ": ".join(part for part in (course.cause, course.words) if part)
    return f" ({told})" if told else ""


def _are_neighbours(one: Step | None, other: Step | None) -> bool:
    places = [list(Step).index(step) for step in (one, other) if step is not None]
    return len(places) == 2 and abs(places[0] - places[1]) <= 1


def overall(findings: list[Finding]) -> Comparison:
    """Of all remotes: a difference anywhere is one."""
    found = {finding.comparison for finding in findings}
    return next((one for one in (Comparison.DIFFERS, Comparison.OPEN, Comparison.AGREES) if one in found), Comparison.OPEN)
