"""The steps of an OpenVPN session, as both clients are told by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """In the order in which a session comes to them."""

    START = "start"
    """The program takes the profile."""
    CONNECT = "connect"
    """The server's name has an address, and there is a socket; over TCP a connection."""
    RESET = "reset"
    """The server answers the first packet, and TLS begins."""
    CERTIFICATE = "certificate"
    """The client accepts the server's certificate."""
    KEYS = "keys"
    """TLS is complete, and both key method 2 messages are there: the control channel is up."""
    LOGIN = "login"
    """The server lets the client in."""
    PUSH = "push"
    """PUSH_REPLY came."""
    UP = "up"
    """The client has applied what was pushed: it is initialised."""
    DATA = "data"
    """Data goes through the tunnel."""


STEPS: Final = tuple(Step)
NAMES: Final[Mapping[Step, str]] = {
    Step.START: "profile taken",
    Step.CONNECT: "name and connection",
    Step.RESET: "reset answered, TLS begins",
    Step.CERTIFICATE: "server's certificate accepted",
    Step.KEYS: "control channel up (key method 2)",
    Step.LOGIN: "client let in",
    Step.PUSH: "settings pushed (PUSH_REPLY)",
    Step.UP: "initialised",
    Step.DATA: "data through the tunnel",
}


class Came(StrEnum):
    """What became of a step."""

    PASSED = "passed"
    FAILED = "failed"
    """The session stopped here."""
    NOT_REACHED = "not-reached"
    NOT_TRIED = "not-tried"


@dataclass(frozen=True, slots=True)
class StepTold:
    """One step of one client."""

    came: Came
    words: tuple[str, ...] = ()
    """The client's own, as they may be shown."""
    at_s: float | None = None
    """Seconds since the client was started; None: not known."""


@dataclass(frozen=True, slots=True)
class Course:
    """How far one client came."""

    came_up: bool | None
    """None: it was not tried to an end."""
    stopped_at: Step | None = None
    """None: it did not stop before data."""
    cause: str = ""
    """By the name that vpnprobe's failures have; empty: no name is known."""
    words: str = ""
    """What says best why it stopped; empty: nothing does, or it did not stop."""
    steps: Mapping[Step, StepTold] = field(default_factory=dict)
    """All of them."""
