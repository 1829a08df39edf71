"""Rules as data: what each protocol requires of the path, what it costs, and the sentences that explain it.

An `ObservationSelector` picks observations and reads them as true, false or unknown. A `Rule` combines selectors into one truth for one
protocol. A `ProtocolTraits` says what a protocol costs and where its clients are; a `Preset` says what counts how much. All of it is read
from TOML by `loader`; nothing here judges.

Invariant: a `RuleSet` that `loader` returns is complete: every name that it uses is defined in it, and every protocol has a required rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vpnprobe.evidence.checks import CHECKS
from vpnprobe.observations.schema import Cause, Outcome, Transport

SCHEMA: Final = "vpnprobe.rules/1"

Setting = bool | int | str

KNOWN_CHECKS: Final[Mapping[str, tuple[str, ...]]] = {
    probe: tuple(spec.name for spec in CHECKS if spec.probe == probe and spec.observed)
    for probe in dict.fromkeys(spec.probe for spec in CHECKS)
}
"""The published names of probes and of their checks: a rule that selectors at anything else can never be measured."""


class Truth(StrEnum):
    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"
    """Not measured, or measured without an answer to the question."""


class DirectionScope(StrEnum):
    """Which directions a selector needs."""

    BOTH = "both"
    """Client to server and server to client, each of them. A row of direction `both` counts for either."""
    EITHER = "either"
    """Rows of all directions are read together."""
    C2S = "c2s"
    S2C = "s2c"


class RowQuantifier(StrEnum):
    """How several rows of the same question and direction are read."""

    ANY = "any"
    """One that is true suffices."""
    ALL = "all"
    """One that is false suffices to be false."""


class Combine(StrEnum):
    """How the sources of a rule make one truth."""

    FIRST = "first"
    """The first source that is true or false."""
    ANY = "any"
    ALL = "all"


class Need(StrEnum):
    """What a rule means for the verdict."""

    REQUIRED = "required"
    """True is needed; false fails the protocol, unknown leaves it unknown."""
    IF_MEASURED = "if-measured"
    """False fails the protocol; unknown says nothing."""
    INFORMATIVE = "informative"
    """Only its sentence counts, and only where it is true."""


class Weight(StrEnum):
    """How much a rule's word is worth to a reader; reasons are given in this order."""

    DECISIVE = "decisive"
    STRONG = "strong"
    SUPPORTING = "supporting"


class Criterion(StrEnum):
    EASE = "ease"
    SPEED = "speed"
    SECURITY = "security"
    STABILITY = "stability"
    ADAPTABILITY = "adaptability"


class Security(StrEnum):
    """What a protocol does for the secrecy of what it carries."""

    SOUND = "sound"
    NONE = "none"
    """No encryption at all."""
    BROKEN = "broken"
    """Encryption that is known to be broken."""


class Treatment(StrEnum):
    """What a preset does with a protocol whose security is not sound."""

    ALLOW = "allow"
    LAST = "last"
    """Ranked behind every protocol with sound security."""
    EXCLUDE = "exclude"
    """Never recommended, unless the security criterion is set aside by name."""


class Support(StrEnum):
    """What a client operating system has for a protocol."""

    BUILT_IN = "built-in"
    DEPRECATED = "deprecated"
    BY_HAND = "by-hand"
    """Built in, but it needs a setting that its dialogues do not offer."""
    APP = "app"
    """With an application or a package."""
    NONE = "none"


class ClientOs(StrEnum):
    WINDOWS = "windows"
    MACOS = "macos"
    IOS = "ios"
    ANDROID = "android"
    LINUX = "linux"


CANDIDATE: Final = "candidate"
"""In place of a selector's port or form: the candidate that is being judged."""
PLAIN: Final = ""
"""The form of what is wrapped in nothing and of no profile."""
PROFILE: Final = "profile"
"""How the form of what was asked of an existing server, with the user's own profile, begins."""


@dataclass(frozen=True, slots=True)
class ObservationSelector:
    """Which observations answer a question, and how they are read."""

    name: str
    what: str
    """A noun phrase for sentences; may hold `{port}`."""
    probe: str
    check: str
    transport: Transport | None = None
    """None: any."""
    port: int | str | None = None
    """A number, `CANDIDATE`, or None: any."""
    form: str | None = None
    """`detail.form`, `CANDIDATE` (the wrap, or the profile, of an OpenVPN session), or None: any."""
    scope: DirectionScope = DirectionScope.BOTH
    quantifier: RowQuantifier = RowQuantifier.ANY
    reads: Mapping[Outcome, Truth] | None = None
    """Outcomes that are read otherwise than usual; None: as usual."""
    unit: str = "packet"
    """What `sent` and `received` count, in the singular."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """Templates for each truth; None: say what the rule says."""

    true: str | None = None
    false: str | None = None
    unknown: str | None = None

    def of(self, truth: Truth) -> str | None:
        return {Truth.TRUE: self.true, Truth.FALSE: self.false, Truth.UNKNOWN: self.unknown}[truth]


Condition = Mapping[str, frozenset[Truth]]
"""Name of a selector -> the truths that it must have one of."""


@dataclass(frozen=True, slots=True)
class Source:
    """One way to answer a rule's question."""

    selector: str
    falsified_by: tuple[str, ...] = ()
    """Looks that make it false where it is itself unknown. They never make it true."""
    proof_only: bool = False
    """A false selector is unknown here."""
    instead_of: str | None = None
    """Counts only where this selector was not tried."""
    when: Condition | None = None
    """Counts only where this holds."""
    unmet: str | None = None
    """Why a true selector does not count where `when` does not hold."""
    settings: Mapping[str, Setting] | None = None
    """What must be set for it to work; None: the defaults do."""
    sentences: Sentences = Sentences()


@dataclass(frozen=True, slots=True)
class Derived:
    """A setting that a measured number gives."""

    source: str
    """Key of `detail`; the least of all rows counts."""
    less: int
    """What is taken off it."""


@dataclass(frozen=True, slots=True)
class FailureWords:
    """What happened, and what to change."""

    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class FailureText:
    """A failure that has a name."""

    words: FailureWords
    check: str | None = None
    """Rows of this check are failures of this name by what came of them; None: only rows that bear the name (`detail.failure`)."""
    outcomes: frozenset[Outcome] = frozenset()
    cause: Cause | None = None
    """None: any."""
    own_words: Mapping[str, FailureWords] = field(default_factory=dict)
    """By protocol: of those whose words are others."""
    settles: bool = False
    """Whether it shows that an existing server does not work with the profile: what was said or refused, and no silence."""

    def words_for(self, protocol: str) -> FailureWords:
        return self.own_words.get(protocol, self.words)

    def describes(self, check: str, outcome: Outcome, cause: Cause | None) -> bool:
        return check == self.check and outcome in self.outcomes and self.cause in (None, cause)


@dataclass(frozen=True, slots=True)
class DiagnosisText:
    """What a fact of a conversation means, and where it does."""

    fact: str
    """Its name, as `vpnprobe.capture` gives it."""
    what: str
    advice: str
    side: str
    """On whose side it is."""
    protocols: frozenset[str] = frozenset()
    """Of conversations; empty: any."""
    stages: frozenset[str] = frozenset()
    """Empty: any."""
    messages: frozenset[str] = frozenset()
    """Empty: any."""
    by: str = ""
    """Which end the fact is about; empty: either."""
    place: str = ""
    """Where the capture was taken, seen from that end; empty: anywhere."""
    least: int = 1
    """How often it must have been seen."""
    stops: bool = True
    """Whether it stops the conversation; False: it is worth a word."""


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    protocol: str
    question: str
    need: Need
    weight: Weight
    combine: Combine
    sources: tuple[Source, ...]
    sentences: Sentences
    """All three are given."""
    advice: Mapping[Cause, str]
    """What to add where it is false for this cause."""
    when: Condition | None = None
    """None: always applies."""
    after: str | None = None
    """An earlier step: where that rule is not true, nothing is said of this one being unknown. None: it is no later step."""
    derived: Mapping[str, Derived] = field(default_factory=dict)
    """Settings by name, where a row that is degraded has the number."""


@dataclass(frozen=True, slots=True)
class ClientSystem:
    support: Support
    note: str


@dataclass(frozen=True, slots=True)
class ProtocolTraits:
    """What is known about a protocol before anything is measured."""

    name: str
    title: str
    candidate: bool
    """May be recommended without being named by `--consider`."""
    default_port: int
    per_port: bool
    """Judged on each candidate port by itself."""
    ports: tuple[int, ...]
    """The usual candidate ports."""
    preferred_ports: tuple[int, ...]
    """Candidate ports that are judged first, best first; the others come after them in the order given."""
    wraps: tuple[str, ...]
    """What its control channel may be wrapped in, the strongest first; each is judged by itself. Empty: nothing of the kind."""
    security: Security
    security_note: str
    """Empty where the security is sound."""
    measured_by: str
    """What would measure what is not known of it; empty: nothing is told."""
    scores: Mapping[Criterion, float]
    """0 to 1, higher is better."""
    clients: Mapping[ClientOs, ClientSystem]
    conversations: tuple[str, ...] = ()
    """Protocols of conversations in captures that it consists of."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What counts how much."""

    name: str
    title: str
    weights: Mapping[Criterion, float]
    treatment: Mapping[Security, Treatment]
    scores: Mapping[str, Mapping[Criterion, float]]
    """Protocol -> scores that replace those of its profile."""
    clients_penalty: Mapping[Support, float]
    """Taken off the score of a protocol on an operating system that was named; `none` excludes instead."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules, in the order of the file."""

    selectors: Mapping[str, ObservationSelector]
    rules: Mapping[str, Rule]
    profiles: Mapping[str, ProtocolTraits]
    presets: Mapping[str, Preset]
    why: Mapping[str, str]
    """Why something is unknown, in words; keys are those of `sentences.Why`."""
    causes: Mapping[Cause, str]
    remarks: Mapping[str, str]
    failures: Mapping[str, FailureText]
    """By name; the first that describes a row counts."""
    diagnoses: Mapping[str, DiagnosisText] = field(default_factory=dict)
    """Of conversations in captures, by name; the first that fits is told."""
    added: tuple[str, ...] = ()
    """Ids of rules that a user's file added."""
    overridden: tuple[str, ...] = ()
    """Ids of rules that a user's file changed."""

    def rules_of(self, protocol: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules.values() if rule.protocol == protocol)
