"""Diagnoses of conversations in captures: what stopped each, on whose side, and what to do next, in the words of the rules.

A conversation's summary carries facts (`detail.facts`), which its packets prove wherever they were captured. `[diagnosis.NAME]` of the
rules says which fact means what at which stage of which protocol, and the first that fits is told. Where none fits, nothing is said. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from vpnprobe.observations.schema import ConversationSummary, Feasibility, Reason, Verdict
from vpnprobe.rules.model import DiagnosisText, RuleSet
from vpnprobe.rules.sentences import filled

REASON: Final = "diagnosis."
"""How the rule of a reason begins that is a diagnosis; its name follows."""
WORDS: Final = (
    "acknowledged",
    "again",
    "announced",
    "by",
    "bytes",
    "carried",
    "elsewhere",
    "message",
    "of",
    "seconds",
    "source",
    "state",
    "times",
    "to",
)
"""Of a fact, that sentences may hold."""


ANY_PORT: Final = frozenset({"openvpn-udp", "openvpn-tcp", "wireguard"})
"""Protocols that may be served at any port, so that clients try several: one that answers says more than those that do not."""
REFUSED_ATTEMPT: Final = "syn-refused"
"""The stage of a connection whose answer is a refusal."""
OFTEN: Final[Mapping[int, str]] = {1: "once", 2: "twice"}


class Place(StrEnum):
    """Where the capture was taken, seen from what a fact is about."""

    SENDER = "sender"
    """At the end that said the last thing."""
    RECEIVER = "receiver"
    """At the end that it was for."""
    UNKNOWN = "unknown"
    """Between the two, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What stopped one conversation."""

    name: str
    side: str
    """`client`, `server`, `way-there`, `way-back`, `path` or `unknown`."""
    what: str
    advice: str
    frames: tuple[int, ...]

    @property
    def sentence(self) -> str:
        return f"{self.what} {self.advice}".strip()


def diagnosis_of(conversation: ConversationSummary, rules: RuleSet) -> Diagnosis | None:
    """The first diagnosis of the rules that a fact of the conversation bears out; None: none does."""
    facts = [fact for fact in conversation.detail.get("facts", ()) if isinstance(fact, Mapping)]
    for name, text in rules.diagnoses.items():
        for fact in facts:
            if _fits(text, fact, conversation):
                return _told(name, text, fact, conversation)
    return None


def _fits(text: DiagnosisText, fact: Mapping[str, Any], conversation: ConversationSummary) -> bool:
    return (
        fact.get("fact") == text.fact
        and (not text.protocols or conversation.protocol in text.protocols)
        and (not text.stages or conversation.stage in text.stages)
        and (not text.messages or fact.get("message") in text.messages)
        and text.by in ("", fact.get("by"))
        and text.place in ("", place_of(fact, conversation).value)
        and float(fact.get("times", 1)) >= text.least
    )


def place_of(fact: Mapping[str, Any], conversation: ConversationSummary) -> Place:
    """Where the capture was taken, seen from a fact."""
    captured_at = conversation.detail.get("captured_at")
    if captured_at is None or "not_captured" in conversation.detail:
        return Place.UNKNOWN
    if captured_at == fact.get("by"):
        return Place.SENDER
    return Place.RECEIVER if captured_at == fact.get("to") else Place.UNKNOWN


def _told(name: str, text: DiagnosisText, fact: Mapping[str, Any], conversation: ConversationSummary) -> Diagnosis:
    port = conversation.server.port
    addresses = {"client": conversation.client.address, "server": conversation.server.address}
    words = {
        "client": conversation.client.address,
        "server": conversation.server.address,
        "port": "" if port is None else str(port),
        "from_host": addresses.get(str(fact.get("by")), ""),
        "to_host": addresses.get(str(fact.get("to")), ""),
        **{word: _in_words(fact[word]) for word in WORDS if word in fact},
    }
    count = int(fact.get("times", 1))
    words |= {"times": OFTEN.get(count, f"{count} times"), "count": str(count)}
    frames = tuple(number for number in fact.get("frames", ()) if isinstance(number, int))
    return Diagnosis(name, text.side, filled(text.what, words), filled(text.advice, words), frames)


def _in_words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 1 else f"{value:.3g}"
    return str(value)


def diagnosed(conversations: Iterable[ConversationSummary], rules: RuleSet) -> tuple[ConversationSummary, ...]:
    """The conversations with their diagnoses: in `detail.diagnosis`, and first among the findings."""
    return tuple(_with(conversation, diagnosis_of(conversation, rules), rules) for conversation in conversations)


def _with(conversation: ConversationSummary, found: Diagnosis | None, rules: RuleSet) -> ConversationSummary:
    if found is None:
        return conversation
    told = {"name": found.name, "side": found.side, "frames": list(found.frames), "stops": rules.diagnoses[found.name].stops}
    return replace(conversation, detail={**conversation.detail, "diagnosis": told}, findings=(found.sentence, *conversation.findings))


def with_diagnoses(verdicts: Iterable[Verdict], conversations: Sequence[ConversationSummary], rules: RuleSet) -> tuple[Verdict, ...]:
    """The verdicts, each with what stopped the conversations of its protocol first among its reasons, where it is not shown to work.

    `conversations`: those of the same two hosts, diagnosed.
    """
    return tuple(_explained(verdict, conversations, rules) for verdict in verdicts)


def _explained(verdict: Verdict, conversations: Sequence[ConversationSummary], rules: RuleSet) -> Verdict:
    if verdict.feasibility is not Feasibility.UNKNOWN:
        return verdict
    profile = rules.profiles.get(verdict.protocol)
    kinds = profile.conversations if profile is not None else ()
    order = list(rules.diagnoses)
    of_it = [one for one in conversations if _kind(one) in kinds]
    answering = {_kind(one) for one in of_it if is_answered(one)} & ANY_PORT
    found = [one for one in of_it if is_stopped(one) and (is_answered(one) or _kind(one) not in answering)]
    found.sort(key=lambda one: order.index(one.detail["diagnosis"]["name"]))
    reasons = {
        one.detail["diagnosis"]["name"]: Reason(f"{REASON}{one.detail['diagnosis']['name']}", one.findings[0]) for one in reversed(found)
    }
    told = [reasons[name] for name in sorted(reasons, key=order.index)]
    return replace(verdict, because=(*told, *verdict.because)) if told else verdict


def _kind(conversation: ConversationSummary) -> str:
    """The protocol that it is, or that a connection was made for."""
    return str(conversation.detail.get("of", conversation.protocol))


def is_answered(conversation: ConversationSummary) -> bool:
    """Whether the server said anything in it but no."""
    return conversation.frames_s2c > 0 and conversation.stage != REFUSED_ATTEMPT


def diagnosis_name(conversation: ConversationSummary) -> str:
    """The name of its diagnosis; empty: there is none."""
    found = conversation.detail.get("diagnosis")
    return str(found.get("name", "")) if isinstance(found, Mapping) else ""


def is_stopped(conversation: ConversationSummary) -> bool:
    """Whether something is shown to have stopped it."""
    diagnosis = conversation.detail.get("diagnosis")
    return isinstance(diagnosis, Mapping) and diagnosis.get("stops", True) is not False
