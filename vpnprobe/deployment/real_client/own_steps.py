"""vpnprobe's own try with one remote of a profile as the same steps, out of its observations. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.deployment.real_client.steps import STEPS, Came, Course, Step, StepTold
from vpnprobe.evidence.named_failures import HARMLESS, NAME_NOT_RESOLVED, NOT_SUPPORTED, PORT_REFUSED, PROFILE_REFUSED, UNREACHABLE
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.probes.existing_server import form_of
from vpnprobe.profiles.model import Remote
from vpnprobe.rules.logic import form_of as row_form

PROBE: Final = "openvpn"
PASSING: Final = frozenset({Outcome.PASS, Outcome.DEGRADED})
_CODES: Final[Mapping[Step, Sequence[str]]] = {
    Step.START: (PROFILE_REFUSED,),
    Step.CONNECT: (NAME_NOT_RESOLVED, UNREACHABLE),
    Step.RESET: (
        FailureCode.SILENT,
        FailureCode.CLOSED_AT_ONCE,
        FailureCode.NOT_OPENVPN,
        FailureCode.ANSWER_UNREADABLE,
        FailureCode.WRONG_WRAP,
    ),
    Step.CERTIFICATE: (
        FailureCode.TLS_SILENT,
        FailureCode.TLS_STALLED,
        FailureCode.TLS_VERSION,
        FailureCode.TLS_NO_COMMON_CIPHER,
        FailureCode.TLS_BROKEN,
        FailureCode.HANDSHAKE_LARGE_LOST,
        FailureCode.CERTIFICATE_EXPIRED,
        FailureCode.CERTIFICATE_NOT_YET_VALID,
        FailureCode.CERTIFICATE_WRONG_CA,
        FailureCode.CERTIFICATE_WRONG_NAME,
        FailureCode.CERTIFICATE_WRONG_PURPOSE,
        FailureCode.CERTIFICATE_WRONG_FINGERPRINT,
        FailureCode.CERTIFICATE_REVOKED,
        FailureCode.CERTIFICATE_WEAK,
        FailureCode.CERTIFICATE_REJECTED,
    ),
    Step.KEYS: (
        FailureCode.KEYS_UNREADABLE,
        FailureCode.KEYS_UNANSWERED,
        FailureCode.CLIENT_CERTIFICATE_EXPIRED,
        FailureCode.CLIENT_CERTIFICATE_REFUSED,
        FailureCode.CREDENTIALS_WANTED,
        FailureCode.CLOSED_BY_PEER,
    ),
    Step.LOGIN: (
        FailureCode.CREDENTIALS_REFUSED,
        FailureCode.LOGIN_PUT_OFF,
        FailureCode.CHALLENGE_WANTED,
        FailureCode.SESSION_REFUSED,
        FailureCode.NO_COMMON_DATA_CIPHER,
        FailureCode.NO_PUSH_REPLY,
        FailureCode.HALTED,
        FailureCode.RESTART_ASKED,
    ),
    Step.UP: (FailureCode.PUSH_REFUSED,),
}
BY_RULE: Final = frozenset({"data-cut", "data-large-dead", "data-interrupted"})
"""Losses of packets of a kind, or from some packet on: no others are lost."""
STEP_OF: Final[Mapping[str, Step]] = {str(code): step for step, codes in _CODES.items() for code in codes}
"""The step that does not come, by the name of the failure, where the session stops before data."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets that did not come, of some that did."""

    sent: int
    received: int

    @property
    def sentence(self) -> str:
        return f"{self.sent - self.received} of {self.sent} packets of one of vpnprobe's own checks were lost on this path"


def worst_loss(observations: Sequence[Observation]) -> Loss | None:
    """The check that lost the largest share; None: none lost some of its packets by chance, as far as is known."""
    lossy = [
        Loss(row.sent, row.received)
        for row in observations
        if row.sent is not None and row.received is not None and 0 < row.received < row.sent and row.transport is not Transport.TCP
        if row.check != "trace" and row.detail.get("failure") not in BY_RULE
    ]
    return max(lossy, key=lambda one: 1 - one.received / one.sent, default=None)


def own_course(observations: Sequence[Observation], remote: Remote, number: int) -> Course:
    """The course of the remote of that number, from 0 on."""
    rows = [row for row in observations if row.probe == PROBE and row_form(row) == form_of(number)]
    rows = [row for row in rows if (row.transport, row.port) == (remote.transport, remote.port)]
    reset, handshake = (_row(rows, check, Direction.BOTH) for check in ("reset", "handshake"))
    there, back = (_row(rows, "data", way) for way in (Direction.C2S, Direction.S2C))
    if reset is None or handshake is None:
        return Course(None, steps={step: StepTold(Came.NOT_TRIED) for step in STEPS})
    failure, words = next(((str(row.detail["failure"]), _said(row)) for row in (reset, handshake) if _stops(row)), ("", ""))
    target = f"{remote.host} port {remote.port}, {remote.transport}"
    told = {
        Step.CONNECT: (target,),
        Step.RESET: _reset_words(reset),
        Step.CERTIFICATE: _facts(handshake, "tls"),
        Step.LOGIN: _facts(handshake, "cipher"),
        Step.DATA: _data_words(there, back),
    }
    if not failure:
        if handshake.outcome not in PASSING:
            reason = str(handshake.detail.get("reason") or reset.detail.get("reason") or "")
            return Course(None, None, "", reason, {step: StepTold(Came.NOT_TRIED, (reason,) if reason else ()) for step in STEPS})
        return Course(True, None, steps={step: _passed(step, told.get(step, ()), there) for step in STEPS})
    if failure == NOT_SUPPORTED:
        return Course(None, None, failure, words, {step: StepTold(Came.NOT_TRIED, (words,)) for step in STEPS})
    stopped = _step_of(failure, remote)
    return Course(
        False, stopped, failure, words, {step: _until(step, stopped, told.get(step, ()), _named(failure, words)) for step in STEPS}
    )


def _row(rows: Sequence[Observation], check: str, way: Direction) -> Observation | None:
    return next((row for row in rows if row.check == check and row.direction is way), None)


def _stops(row: Observation) -> bool:
    return str(row.detail.get("failure", "")) not in HARMLESS and row.outcome not in PASSING


def _said(row: Observation) -> str:
    return str(row.detail.get("said") or "")


def _named(failure: object, said: str) -> str:
    return f"{failure}: {said}" if said else str(failure)


def _step_of(failure: str, remote: Remote) -> Step:
    if failure == PORT_REFUSED:
        return Step.CONNECT if remote.transport is Transport.TCP else Step.RESET
    return STEP_OF.get(failure, Step.KEYS)


def _until(step: Step, stopped: Step, words: tuple[str, ...], failure: str) -> StepTold:
    place, last = STEPS.index(step), STEPS.index(stopped)
    if place == last:
        return StepTold(Came.FAILED, (failure,))
    return StepTold(Came.PASSED, words) if place < last else StepTold(Came.NOT_REACHED)


def _passed(step: Step, words: tuple[str, ...], data: Observation | None) -> StepTold:
    if step is not Step.DATA:
        return StepTold(Came.PASSED, words)
    if data is None or data.outcome in (Outcome.SKIPPED, Outcome.ERROR):
        return StepTold(Came.NOT_TRIED, words)
    return StepTold(Came.PASSED if data.outcome in PASSING else Came.FAILED, words)


def _reset_words(row: Observation) -> tuple[str, ...]:
    """The messages that came from the server."""
    messages: Any = row.detail.get("messages")
    found = [message for message in messages or () if message.get("direction") == "s2c" and message.get("received")]
    return tuple(f"{message['message']} came" for message in found if message["message"].startswith("P_CONTROL_HARD_RESET"))


def _facts(row: Observation, key: str) -> tuple[str, ...]:
    return (f"{key.upper() if key == 'tls' else key} {row.detail[key]}",) if row.detail.get(key) else ()


def _data_words(there: Observation | None, back: Observation | None) -> tuple[str, ...]:
    if there is None:
        return ()
    if there.outcome in (Outcome.SKIPPED, Outcome.ERROR):
        reason = there.detail.get("failure") or there.detail.get("reason")
        return (_named(reason, _said(there)),) if reason else ()
    named = next((_named(row.detail["failure"], _said(row)) for row in (there, back) if row is not None and row.detail.get("failure")), "")
    counted = f"{there.received or 0} of {there.sent} echo requests answered" if there.sent is not None else ""
    return tuple(word for word in (counted, named) if word)
