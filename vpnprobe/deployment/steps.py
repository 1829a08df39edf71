"""What a plan is made of: steps in the order in which they are taken, each with its reason.

A step says what shall be. What takes it back is known in two ways: of files, folders, sysctls, units and processes the state that is found
when the step is taken; of a command only what the step itself says (`undo`). Undoing is done in reverse order, may be done twice, and
is right where its step was never, half or wholly taken. Contents of files lie beside `plan.json`, in `files/` under their own paths, and
`plan.json` has their SHA-256.

Folders that a file needs and that are not there are made with it (mode 0755) and taken back with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

SCHEMA: Final = "vpnprobe.plan/1"
ABSENT: Final = "absent"
"""What stands in the place of a SHA-256 where there was no file."""
NOT_COMPARED: Final = ""
"""The same where the plan was made elsewhere than on the server."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, never through a shell."""

    argv: tuple[str, ...]
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class UndoCommand:
    """Takes a command back."""

    command: Command
    when: Command | None = None
    """It is run only where this one succeeds, so that it may be run twice; None: always."""


@dataclass(frozen=True, slots=True)
class UndoNftRules:
    """Takes out of the nftables ruleset all rules that bear a comment."""

    comment: str
    """Exactly; unique to one plan's step."""


Undo = UndoCommand | UndoNftRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all kinds have."""

    id: str
    """Unique in its plan: `firewall-nat`."""
    why: str
    """One sentence: why it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory(Step):
    """A folder that shall be there. One that is there stays as it is."""

    path: str
    mode: int
    """Permission bits of a new one; its owner is root."""
    contents: bool = False
    """A new one is taken back with all that is in it: only what is set up writes there. Else what others have put there is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile(Step):
    """A file that shall have this content. An owner and mode that it has stay, unless they would let more people read it."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    """Permission bits of a new one; its owner is root."""
    before: str = NOT_COMPARED
    """SHA-256 of what was there when the plan was made (hex), ABSENT, or NOT_COMPARED."""
    secret: bool = False
    """A private key or the like: never shown, not even in a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFile(Step):
    """A file that shall not be there: an earlier plan wrote it, and nothing needs it any more."""

    path: str
    before: str = NOT_COMPARED
    """As of a `WriteFile`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSysctl(Step):
    """A sysctl of the running kernel. What makes it last is a WriteFile of its own; files are never loaded as a whole."""

    key: str
    """With dots: `net.ipv4.ip_forward`."""
    value: str
    before: str = NOT_COMPARED


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand(Step):
    """A command that changes the running system, such as the firewall."""

    command: Command
    undo: tuple[Undo, ...]
    """Done in this order."""
    check: Command | None = None
    """Tried before any step of the plan is taken; where it fails, the plan is refused. None: there is no dry run."""
    done_when: Command | None = None
    """Where this one succeeds the step is taken already, and is left out. None: it is always taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDaemon(Step):
    """A process that shall run, where no systemd does. It is supervised: started again where it ends by itself."""

    name: str
    """Of its files below /run/vpnprobe: NAME.pid, NAME.log."""
    argv: tuple[str, ...]
    """Paths in it are relative to `folder`."""
    folder: str
    """In which it runs."""
    files: tuple[str, ...] = ()
    """Whose change means that it has to be started anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageUnit(Step):
    """A systemd unit that shall be enabled and run."""

    unit: str
    files: tuple[str, ...] = ()
    """Whose change means that it has to be started anew."""
    start: bool = True
    """False: it is enabled, and runs at the next boot alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopDaemon(Step):
    """A process that an earlier plan has started, and that shall run no more."""

    name: str
    """As of a `StartDaemon`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopUnit(Step):
    """A systemd unit that shall neither be enabled nor run any more."""

    unit: str


AnyStep = MakeDirectory | WriteFile | RemoveFile | SetSysctl | RunCommand | StartDaemon | StopDaemon | ManageUnit | StopUnit
KINDS: Final[Mapping[str, type[Step]]] = {
    "directory": MakeDirectory,
    "file": WriteFile,
    "no-file": RemoveFile,
    "sysctl": SetSysctl,
    "run": RunCommand,
    "daemon": StartDaemon,
    "no-daemon": StopDaemon,
    "unit": ManageUnit,
    "no-unit": StopUnit,
}
"""By `kind` in `plan.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole plan."""

    made_at: str
    """RFC 3339, UTC."""
    summary: str
    """One sentence: what will be set up."""
    host: Mapping[str, str]
    """By which the server is known again: `machine_id`, `hostname`; empty: the plan is for any."""
    settings: Mapping[str, object]
    """What was chosen, as JSON: for `status`, for profiles of further clients, and for the next plan."""
    steps: Sequence[AnyStep]
    compared: bool
    """Whether it was made on the server, so that it says what it replaces."""
    vpnprobe: str
    """Version that made it."""
