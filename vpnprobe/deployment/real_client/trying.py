"""openvpn is run with a profile, one remote after another, and what came of it stands beside vpnprobe's own try.

It reads the profile, written anew (`profiles.one_remote`), from its standard input, secrets come over its management interface, and nothing
of either is on a command line or on a disk. Where this process ends in any way, the closed management connection ends openvpn.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vpnprobe.deployment.real_client.comparing import Comparison, Finding, compared, overall
from vpnprobe.deployment.real_client.log_reading import WITHOUT_A_WORD, TimedLine, plain, read_log, told_lines
from vpnprobe.deployment.real_client.options import QUIET, added_options, first_options, is_kept, why_untried
from vpnprobe.deployment.real_client.own_steps import PROBE, Loss, own_course, worst_loss
from vpnprobe.deployment.real_client.steps import NAMES, STEPS, Came, Course, Step, StepTold
from vpnprobe.deployment.verification.management import why_unsaid
from vpnprobe.deployment.verification.process import PROGRAM, Secrets, TunnelProcess, find_openvpn
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.probes.existing_server import MOST_ADDRESSES, form_of
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.profiles.model import Remote
from vpnprobe.profiles.one_remote import LeftOut, OneRemote, with_one_remote
from vpnprobe.rules.real_client import CHECK

DEADLINE_S: Final = 40.0
"""For one trial with one remote."""
PATIENCE_S: Final = 16.5
"""Without a line that openvpn has not said yet; a packet that is not answered has been repeated after 2, 6 and 14 s by then."""
MOST_TRIALS: Final = 2
"""With a remote that vpnprobe's own try came up with, where openvpn ends in silence: its packets may have been lost."""
ALL_DEADLINE_S: Final = 90.0
"""For all remotes: none is begun after that."""
VERSION_DEADLINE_S: Final = 5.0
MOST_LOG_LINES: Final = 200
"""That are kept of one remote."""
_VERSION: Final = re.compile(r"^OpenVPN ((\d+)\.(\d+)\S*)")


@dataclass(frozen=True, slots=True)
class Installed:
    """The openvpn of this machine."""

    path: str
    version: str
    """As it says itself, `2.6.14`; empty: it does not."""
    number: tuple[int, int] | None
    """Major and minor; None: not known."""

    @property
    def name(self) -> str:
        return f"{PROGRAM} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class RemoteTried:
    """One remote, by both."""

    remote: Remote
    number: int
    """From 0 on."""
    real: Course
    own: Course
    finding: Finding
    left_out: tuple[LeftOut, ...]
    added: tuple[str, ...]
    took_s: float
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Trial:
    """openvpn, once."""

    course: Course
    lines: tuple[TimedLine, ...] = ()

    def farthest(self) -> int:
        """Of two that come to the same, the first is told of."""
        if self.course.came_up:
            return len(STEPS)
        return STEPS.index(self.course.stopped_at) if self.course.stopped_at is not None else -1


@dataclass(slots=True)
class RealClientTrial:
    """Tries a profile with the installed openvpn."""

    installed: Installed
    profile_test: ProfileTest
    tell: Callable[[str], None]
    tried: list[RemoteTried] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)
    """Remotes for which no time was left."""

    _written: list[OneRemote] = field(init=False, repr=False)
    """The profile for each remote."""

    def __post_init__(self) -> None:
        """Raises ProfileError where openvpn would read the profile otherwise than vpnprobe does."""
        profile = self.profile_test.profile
        self._written = [with_one_remote(profile, remote, keeps=is_kept) for remote in self.profile_test.remotes]

    async def run(self, observations: Sequence[Observation]) -> None:
        """`observations`: what vpnprobe's own try came to. What was tried stays where this is cancelled."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ALL_DEADLINE_S
        loss = worst_loss(observations)
        for number, remote in enumerate(self.profile_test.remotes):
            if loop.time() > until:
                self.not_tried.append(_where(remote))
                continue
            own = own_course(observations, remote, number)
            self.tried.append(await self._try(remote, number, own, loss))

    async def _try(self, remote: Remote, number: int, own: Course, loss: Loss | None) -> RemoteTried:
        """`loss`: that was measured on the path; None: none was."""
        written = self._written[number]
        profile = self.profile_test.profile
        loop = asyncio.get_running_loop()
        began = loop.time()
        trials = 0
        if why := why_untried(profile, written.left_out) or self._why_unsaid():
            best = _Trial(_untried(why))
        else:
            best = await self._trial(remote, written)
            trials = 1
            while trials < MOST_TRIALS and own.came_up and _is_silent(best.course):
                trials += 1
                best = max(best, await self._trial(remote, written, again=True), key=_Trial.farthest)
        finding = compared(
            best.course,
            own,
            program=self.installed.name,
            where=_where(remote),
            number=self.installed.number,
            trials=trials,
            lost=loss.sentence if loss is not None and _is_silent(best.course) else "",
            left_out_decides=bool({note.line for note in profile.refused} & {one.line for one in written.left_out}),
        )
        log = tuple(line.text for line in best.lines[:MOST_LOG_LINES])
        took = round(loop.time() - began, 3) if trials else 0.0
        return RemoteTried(remote, number, best.course, own, finding, written.left_out, self._added(remote), took, log)

    def _added(self, remote: Remote) -> tuple[str, ...]:
        return (*first_options(self.installed.number, remote.transport), *added_options(self.installed.number))

    def _secrets(self) -> Secrets:
        test = self.profile_test
        return Secrets(test.username or None, test.password or None, test.profile.tls.passphrase or test.passphrase)

    def _why_unsaid(self) -> str:
        """Why openvpn is not told what it may ask for; empty: it can be."""
        secrets = self._secrets()
        login = why_unsaid(secrets.username or "", secrets.password or "")
        return login or why_unsaid("", secrets.passphrase or "", what="passphrase")

    async def _trial(self, remote: Remote, written: OneRemote, *, again: bool = False) -> _Trial:
        self.tell(f"{self.installed.name} tries the profile at {_where(remote)}{' once more: it ended in silence' if again else ''}")
        test = self.profile_test
        addresses = await test.resolve(remote.host, remote.family)
        process = TunnelProcess(
            self.installed.path,
            Path(test.file),
            self._secrets(),
            attempts=min(max(1, len(addresses)), MOST_ADDRESSES),
            text=written.text.encode("utf-8", "surrogateescape"),
            options=added_options(self.installed.number),
            first=first_options(self.installed.number, remote.transport),
        )
        async with process:
            await process.come_up(DEADLINE_S, patience_s=PATIENCE_S)
            ended, output = process.has_ended, process.output
        hidden = test.secrets
        # What it said before it connected to its management interface is in its output alone.
        lines = told_lines(process.timed, hidden) or told_lines(((None, text) for text in output), hidden)
        course = read_log(
            lines,
            stream=remote.transport is Transport.TCP,
            signs_in=bool(test.username),
            problem=plain(process.problem, hidden),
            ended=ended,
        )
        return _Trial(course, lines)

    @property
    def comparison(self) -> Comparison:
        return overall([one.finding for one in self.tried])

    @property
    def took_s(self) -> float:
        """Seconds, of all remotes."""
        return sum(one.took_s for one in self.tried)

    def observations(self) -> tuple[Observation, ...]:
        """One for each remote."""
        return tuple(_observation(one, self.installed) for one in self.tried)

    def document(self) -> dict[str, Any]:
        """`run.client.real_client` of the result."""
        return {
            "program": PROGRAM,
            "version": self.installed.version,
            "comparison": self.comparison.value,
            "protocols": list(dict.fromkeys(_protocol(one.remote) for one in self.tried)),
            "options": list(dict.fromkeys(" ".join(one.added) for one in self.tried)) or [" ".join(QUIET)],
            "left_out": [{"line": one.line, "option": one.option} for one in (self.tried[0].left_out if self.tried else ())],
            "data": "not-tried",
            "remotes": [_remote(one) for one in self.tried],
            "not_tried": list(self.not_tried),
        }


def _is_silent(course: Course) -> bool:
    """Whether it stopped because nothing came any more."""
    return course.came_up is False and course.cause in WITHOUT_A_WORD


def _untried(why: str) -> Course:
    return Course(None, None, "", why, {step: StepTold(Came.NOT_TRIED, (why,) if step is Step.START else ()) for step in STEPS})


def find_real_client() -> Installed:
    """Raises CannotRun (MISSING) where there is none, or none can be run here."""
    if sys.platform == "win32":
        raise CannotRun(f"{PROGRAM} is not tried beside vpnprobe on Windows: leave --with-openvpn out", status=ExitStatus.MISSING)
    path = find_openvpn()
    version, number = _version_of(path)
    return Installed(path, version, number)


def _version_of(path: str) -> tuple[str, tuple[int, int] | None]:
    """As the program says; empty and None where it says nothing that can be read."""
    import subprocess

    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=VERSION_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "", None
    found = _VERSION.match(done.stdout.decode(errors="replace"))
    return (plain(found[1]), (int(found[2]), int(found[3]))) if found else ("", None)


def _where(remote: Remote) -> str:
    return plain(f"{remote.host}:{remote.port}/{remote.transport}")


def _protocol(remote: Remote) -> str:
    return f"{PROBE}-{remote.transport}"


def _remote(one: RemoteTried) -> dict[str, Any]:
    return {
        "remote": _where(one.remote),
        "came_up": one.real.came_up,
        "stopped_at": one.real.stopped_at,
        "cause": one.real.cause,
        "took_s": one.took_s,
        "comparison": one.finding.comparison.value,
        "finding": one.finding.sentence,
        "steps": [
            {"step": step.value, "name": NAMES[step], "real": _told(one.real.steps, step), "own": _told(one.own.steps, step)}
            for step in STEPS
        ],
        "log": list(one.log),
    }


def _told(steps: Mapping[Step, StepTold], step: Step) -> dict[str, Any]:
    told = steps[step]
    at = {"at_s": round(told.at_s, 3)} if told.at_s is not None else {}
    return {"came": told.came.value, "words": list(told.words), **at}


def _observation(one: RemoteTried, installed: Installed) -> Observation:
    """What openvpn came to, as seen: it judges nothing."""
    real, remote = one.real, one.remote
    check = Check(PROBE, CHECK, remote.transport, remote.port, variant=form_of(one.number))
    spoken = real.cause and real.cause in _REFUSALS
    outcome = (
        Outcome.SKIPPED if real.came_up is None else Outcome.PASS if real.came_up else Outcome.REFUSED if spoken else Outcome.NO_ANSWER
    )
    detail: dict[str, Any] = {
        **form_detail(check),
        "protocol": _protocol(remote),
        "program": installed.name,
        **({"stopped_at": real.stopped_at.value} if real.stopped_at is not None else {}),
        **({"stopped_by": real.cause} if real.cause else {}),
        **({"reason": real.words or "it could not be tried"} if real.came_up is None else {}),
        **({"words": real.words} if real.words and real.came_up is False else {}),
        **({"by": _REFUSALS[real.cause]} if spoken else {}),
        "comparison": one.finding.comparison.value,
    }
    return Observation(
        id=identifier(check, Direction.BOTH),
        probe=PROBE,
        check=CHECK,
        direction=Direction.BOTH,
        transport=remote.transport,
        port=remote.port,
        outcome=outcome,
        detail=detail,
    )


_REFUSALS: Final[Mapping[str, str]] = {
    "certificate-expired": "client",
    "certificate-not-yet-valid": "client",
    "certificate-rejected": "client",
    "certificate-revoked": "client",
    "certificate-weak": "client",
    "certificate-wrong-ca": "client",
    "certificate-wrong-fingerprint": "client",
    "certificate-wrong-name": "client",
    "certificate-wrong-purpose": "client",
    "challenge-wanted": "peer",
    "credentials-refused": "peer",
    "login-put-off": "peer",
    "no-common-data-cipher": "peer",
    "profile-refused": "client",
    "push-refused": "client",
    "session-refused": "peer",
}
"""Who refuses, by name; what is not among them is silence, or not known to be anything else."""
