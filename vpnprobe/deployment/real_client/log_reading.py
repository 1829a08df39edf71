"""openvpn's log as steps. Pure.

The lines are those of OpenVPN 2.4 to 2.7 at `verb 3`, without the time before them. What a line is not known by is left in the log and
counts for nothing. Several attempts in one log are told by the one that came farthest, the last of these.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from vpnprobe.deployment.real_client.steps import STEPS, Came, Course, Step, StepTold
from vpnprobe.profiles.errors import shown
from vpnprobe.profiles.redaction import LEFT_OUT, without_secrets

MOST_WORDS: Final = 6
"""Lines that are told of one step."""
LONGEST_WORDS: Final = 300
"""Characters of one line."""
NOBODY_WAS_ASKED: Final = "credentials-wanted"
PORT_TAKEN: Final = "port-taken"
"""Another program, maybe the tunnel itself, has the port here that openvpn wants: nothing follows for the profile."""
SILENCES: Final = {
    Step.RESET: "silent",
    Step.CERTIFICATE: "tls-silent",
    Step.KEYS: "keys-unanswered",
    Step.LOGIN: "no-push-reply",
    Step.PUSH: "no-push-reply",
}
"""What it is where nothing comes any more, by the step that does not come."""
WITHOUT_A_WORD: Final = frozenset(SILENCES.values())
CLOSED: Final = {Step.RESET: "closed-at-once"}
"""The same where the server closes the connection; at other steps `closed-by-peer`."""
CLOSED_BY_PEER: Final = "closed-by-peer"


class TimedLine(NamedTuple):
    """A line of a log."""

    at_s: float | None
    """Seconds since openvpn was started; None: not known."""
    text: str
    """As it may be shown."""
    whole: str = ""
    """As openvpn said it, which tells what it is; empty: as it is shown."""

    @property
    def said(self) -> str:
        return self.whole or self.text


class _Mark(NamedTuple):
    """What a line says."""

    pattern: re.Pattern[str]
    step: Step | None
    """None: the one that would have come next."""
    came: Came | None
    """None: it tells of the step, and decides nothing."""
    cause: str = ""


def _passed(step: Step, pattern: str) -> _Mark:
    return _Mark(re.compile(pattern), step, Came.PASSED)


def _told(step: Step, pattern: str) -> _Mark:
    return _Mark(re.compile(pattern), step, None)


def _failed(step: Step | None, pattern: str, cause: str = "") -> _Mark:
    return _Mark(re.compile(pattern), step, Came.FAILED, cause)


_TLS: Final = r"^(?:OpenSSL|mbed TLS|Received fatal SSL alert): .*"
_MARKS: Final = (
    # The first that a line has counts.
    _failed(Step.START, r"^Options error: ", "profile-refused"),
    _failed(Step.START, r"^(?:Cannot (?:load|open)|Error: private key password|Insufficient key material|OpenSSL: error:.*no start line)"),
    _failed(Step.CONNECT, r"^RESOLVE: Cannot (?:resolve host address|parse)", "name-not-resolved"),
    _told(Step.CONNECT, r"^(?:Attempting to establish TCP connection|TCP connection established)"),
    _passed(Step.CONNECT, r"^(?:UDP|TCP)\w*(?:_CLIENT)? link remote: "),
    _failed(Step.CONNECT, r"^TCP: connect to .* failed.*(?:Connection refused|ECONNREFUSED)", "port-refused"),
    _failed(Step.CONNECT, r"^TCP: connect to .* failed", "unreachable"),
    _failed(Step.CONNECT, r"^(?:read|write) (?:UDP|TCP).*(?:Network is unreachable|No route to host|Host is down)", "unreachable"),
    _failed(Step.CONNECT, r"Socket bind failed", PORT_TAKEN),
    _failed(Step.CONNECT, r"^(?:HTTP proxy returned|HTTP proxy authenticate|socks_|recv_socks_reply)"),
    _failed(Step.RESET, r"^read UDP.*Connection refused", "port-refused"),
    _passed(Step.RESET, r"^TLS: Initial packet from "),
    _failed(Step.RESET, r"^WARNING: Bad encapsulated packet length from peer", "not-openvpn"),
    _failed(Step.RESET, r"^TLS Error: (?:cannot locate HMAC|incoming packet authentication failed)", "answer-unreadable"),
    _failed(Step.RESET, r"^(?:Authenticate/Decrypt packet error|tls-crypt unwrap error)", "answer-unreadable"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*certificate has expired", "certificate-expired"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*certificate is not yet valid", "certificate-not-yet-valid"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*certificate revoked", "certificate-revoked"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*(?:unsuitable|unsupported) certificate purpose", "certificate-wrong-purpose"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*(?:key|md|digest algorithm) too (?:weak|small)", "certificate-weak"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: .*(?:issuer certificate|self[- ]signed|signature failure)", "certificate-wrong-ca"),
    _failed(Step.CERTIFICATE, r"^VERIFY ERROR: ", "certificate-rejected"),
    _failed(Step.CERTIFICATE, r"^VERIFY X509NAME ERROR", "certificate-wrong-name"),
    _failed(Step.CERTIFICATE, r"^VERIFY (?:KU|EKU|nsCertType) ERROR", "certificate-wrong-purpose"),
    _failed(Step.CERTIFICATE, r"certificate hash verification failed", "certificate-wrong-fingerprint"),
    _passed(Step.CERTIFICATE, r"^VERIFY OK: depth=0"),
    _told(Step.CERTIFICATE, r"^(?:VERIFY |Sent fatal SSL alert)"),
    _failed(None, r"^Received fatal SSL alert: (?:certificate expired)", "client-certificate-expired"),
    _failed(None, r"^Received fatal SSL alert: (?:unknown CA|bad certificate|certificate \w+)", "client-certificate-refused"),
    _failed(None, rf"{_TLS}alert certificate expired", "client-certificate-expired"),
    _failed(None, rf"{_TLS}alert (?:unknown ca|bad certificate|certificate \w+)", "client-certificate-refused"),
    _failed(Step.CERTIFICATE, rf"{_TLS}(?:unsupported protocol|protocol version|no protocols available|wrong.* version)", "tls-version"),
    _failed(Step.CERTIFICATE, rf"{_TLS}(?:no shared cipher|no ciphers available|handshake failure|no suitable)", "tls-no-common-cipher"),
    _told(Step.KEYS, r"^Control Channel: "),
    _passed(Step.KEYS, r"Peer Connection Initiated with "),
    _failed(Step.LOGIN, r"^AUTH: Received control message: AUTH_FAILED,Data channel cipher negotiation", "no-common-data-cipher"),
    _failed(Step.LOGIN, r"^AUTH: Received control message: AUTH_FAILED,CRV1", "challenge-wanted"),
    _failed(Step.LOGIN, r"^AUTH: Received control message: AUTH_FAILED,TEMP", "login-put-off"),
    _failed(Step.LOGIN, r"^AUTH: Received control message: AUTH_FAILED", "credentials-refused"),
    _failed(Step.LOGIN, r"^AUTH: Received control message: AUTH_PENDING", "challenge-wanted"),
    _told(Step.LOGIN, r"^SENT CONTROL .*PUSH_REQUEST"),
    _failed(None, r"^No reply from server (?:after|to) sen", "no-push-reply"),
    _passed(Step.PUSH, r"^PUSH: Received control message: 'PUSH_REPLY"),
    _failed(Step.UP, r"^OPTIONS ERROR: server pushed compression", "push-refused"),
    _failed(Step.UP, r"^OPTIONS ERROR: failed to negotiate cipher", "no-common-data-cipher"),
    _failed(Step.UP, r"^Pushed option rejected by filter"),
    _failed(Step.UP, r"^(?:OPTIONS ERROR|ERROR: Failed to apply push options)"),
    _passed(Step.UP, r"^Initialization Sequence Completed"),
    _told(Step.UP, r"^(?:Outgoing )?Data Channel: (?:[Cc]ipher|using)"),
    _told(Step.UP, r"^WARNING: '[^']+' is (?:used inconsistently|present in (?:local|remote) config)"),
    _failed(None, r"(?:halt|restart) command was pushed by server|^Connection reset command was pushed"),
    _failed(None, r"^Connection reset, restarting", CLOSED_BY_PEER),
)
_RESTARTS: Final = re.compile(r"^SIG\w+\[[^\]]*\] received, process restarting")
_OF_OURS: Final = re.compile(r"^WARNING: '(?:dev-type|tun-mtu|link-mtu)' is used inconsistently|^Options error: .*\[CMD-LINE\]")
"""What comes of our own options."""
_SECRETS: Final = (
    re.compile(r"(?<=auth-token )[^,']+"),
    re.compile(r"(?<=auth-token-user )[^,']+"),
    re.compile(r"(?<=AUTH_FAILED,)CRV1:.*"),
    re.compile(r"(?<=OPEN_URL:).*"),
    re.compile(r"(?<=WEB_AUTH:).*"),
    re.compile(r"(?<=CR_TEXT:).*"),
    re.compile(r"(?<=CR_RESPONSE,).*"),
    re.compile(r"(?<=authorization: ).*", re.IGNORECASE),
    re.compile(r"SESS_ID_\S+"),
)
"""What follows these is a token, an address to sign in at with one, a question to the user or his answer, a login at a proxy."""


def plain(line: str, secrets: Sequence[str] = ()) -> str:
    """A line as it may be shown, without tokens and without these secrets."""
    for pattern in _SECRETS:
        line = pattern.sub(LEFT_OUT, line)
    return shown(without_secrets(line, secrets))


def told_lines(lines: Iterable[tuple[float | None, str]], secrets: Sequence[str] = ()) -> tuple[TimedLine, ...]:
    """A log without what is said of the management interface, and without secrets."""
    said = ((at, text, plain(text, secrets)) for at, text in lines if text and not text.startswith("MANAGEMENT: "))
    return tuple(TimedLine(at, may_be_shown, text if text != may_be_shown else "") for at, text, may_be_shown in said)


def read_log(lines: Sequence[TimedLine], *, stream: bool, signs_in: bool, problem: str = "", ended: bool = False) -> Course:
    """`stream`: over TCP; `signs_in`: a user name is sent.

    `problem`: why it was not waited for any longer; `ended`: openvpn ended itself.
    """
    attempts = [_Attempt(attempt) for attempt in _attempts(lines)]
    best = max(reversed(attempts), key=lambda attempt: (attempt.farthest, attempt.says_something))
    if Step.UP in best.passed:
        return Course(True, steps=best.told(None))
    mark, words = best.failure()
    step, cause = (mark.step or best.next_step, mark.cause) if mark is not None else (best.next_step, "")
    if mark is None and best.nothing_but_ours(lines):
        return Course(None, step, "", problem, best.told(None))
    if mark is None and problem.startswith("it asks for"):
        return Course(None, step, NOBODY_WAS_ASKED, problem, best.told(step, problem))
    if mark is not None and mark.cause == PORT_TAKEN:
        return Course(None, step, "", words, best.told(step))
    if mark is None and not ended:
        cause = SILENCES.get(step, "" if stream or step is not Step.CONNECT else "silent")
    if cause == CLOSED_BY_PEER:
        cause = CLOSED.get(step, cause)
    if cause == "credentials-refused" and not signs_in:
        cause = "session-refused"
    return Course(False, step, cause, words or problem, best.told(step, "" if words else problem))


def _attempts(lines: Sequence[TimedLine]) -> Iterator[list[TimedLine]]:
    attempt: list[TimedLine] = []
    for line in lines:
        attempt.append(line)
        if _RESTARTS.search(line.said):
            yield attempt
            attempt = []
    yield attempt


class _Attempt:
    """One try of openvpn, from its beginning or from a restart to the next one."""

    def __init__(self, lines: Sequence[TimedLine]) -> None:
        self.passed: dict[Step, TimedLine] = {}
        self._failed: list[tuple[_Mark, TimedLine]] = []
        self._words: dict[Step, list[str]] = {}
        for line in lines:
            if _OF_OURS.search(line.said):
                continue
            mark = next((mark for mark in _MARKS if mark.pattern.search(line.said)), None)
            if mark is not None:
                self._take(mark, line)

    @property
    def says_something(self) -> bool:
        return bool(self._words)

    def _take(self, mark: _Mark, line: TimedLine) -> None:
        step = mark.step or self.next_step
        if mark.came is Came.PASSED:
            self.passed.setdefault(step, line)
        elif mark.came is Came.FAILED:
            self._failed.append((mark._replace(step=step), line))
        told = self._words.setdefault(step, [])
        if line.text not in told and len(told) < MOST_WORDS:
            told.append(line.text)

    @property
    def farthest(self) -> int:
        """The number of the last step that it came through; -1: none."""
        return max((STEPS.index(step) for step in self.passed), default=-1)

    @property
    def next_step(self) -> Step:
        return STEPS[self.farthest + 1] if self.passed else Step.CONNECT

    def failure(self) -> tuple[_Mark | None, str]:
        """What stopped it: at the farthest step the first that has a name; None: nothing that it said."""
        # A refused datagram, or one that was not readable, stops nothing that went on.
        stopping = [(mark, line) for mark, line in self._failed if mark.step is not None and STEPS.index(mark.step) > self.farthest]
        stopping += [(mark, line) for mark, line in self._failed if mark.cause == "unreachable" and self.next_step is Step.RESET]
        if not stopping:
            return None, ""
        mark, line = next(((mark, line) for mark, line in stopping if mark.cause), stopping[0])
        return mark, line.text

    def nothing_but_ours(self, lines: Sequence[TimedLine]) -> bool:
        """Whether openvpn did not take the options that were added."""
        return not self.passed and any(line.said.startswith("Options error") and _OF_OURS.search(line.said) for line in lines)

    def told(self, stopped: Step | None, problem: str = "") -> dict[Step, StepTold]:
        return {step: self._step(step, stopped, problem) for step in STEPS}

    def _step(self, step: Step, stopped: Step | None, problem: str) -> StepTold:
        place, words = STEPS.index(step), tuple(shown(line)[:LONGEST_WORDS] for line in self._words.get(step, ()))
        if step is stopped:
            return StepTold(Came.FAILED, words or ((problem,) if problem else ()))
        if step is Step.DATA:
            return StepTold(Came.NOT_TRIED, ("it ran without a tunnel device",) if Step.UP in self.passed else ())
        line = self.passed.get(step)
        if line is not None or place <= self.farthest or (step is Step.START and self._words.keys() - {Step.START}):
            return StepTold(Came.PASSED, words, line.at_s if line is not None else None)
        return StepTold(Came.NOT_REACHED, words)
