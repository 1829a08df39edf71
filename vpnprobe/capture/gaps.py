"""Numbers that one end's capture lacks, held against the other end's capture of the same packets. Pure.

By itself a capture cannot tell what was lost on its way from what it left out. Where the sender's own capture holds all of a conversation
and the receiver's does not, the rest left and did not come. Where it is the other way round, the rest came, and the sender's capture left
it out. What both lack, neither shows to have left.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.capture.account import Fact
from vpnprobe.observations.schema import ConversationSummary

MISSING: Final = "numbers-missing"
"""The fact of one capture alone."""


def compared(
    at_client: Sequence[ConversationSummary], at_server: Sequence[ConversationSummary]
) -> tuple[tuple[ConversationSummary, ...], tuple[ConversationSummary, ...]]:
    """The conversations of two ends' captures of one attempt, with what each says is missing told by both."""
    return tuple(_told(one, _twin(one, at_server), "client") for one in at_client), tuple(
        _told(one, _twin(one, at_client), "server") for one in at_server
    )


def _twin(one: ConversationSummary, others: Sequence[ConversationSummary]) -> ConversationSummary | None:
    """The same conversation in the other capture; None: none is known to be it. A NAT may have changed its addresses and ports."""
    alike = [other for other in others if other.protocol == one.protocol]
    same = [other for other in alike if (other.client, other.server) == (one.client, one.server)]
    return same[0] if len(same) == 1 else alike[0] if len(alike) == 1 else None


def _told(one: ConversationSummary, twin: ConversationSummary | None, end: str) -> ConversationSummary:
    """`end`: the one that it was captured at."""
    facts: Sequence[Fact] = one.detail.get("facts", ())
    if twin is None or not any(fact["fact"] == MISSING for fact in facts):
        return one
    return replace(one, detail={**one.detail, "facts": [_by_both(fact, twin, end) if fact["fact"] == MISSING else fact for fact in facts]})


def _by_both(fact: Fact, twin: ConversationSummary, end: str) -> Fact:
    by = fact["by"]
    lacks = any(other["fact"] == MISSING and other["by"] == by for other in twin.detail.get("facts", ()))
    holds = twin.frames_c2s if by == "client" else twin.frames_s2c
    if lacks or holds < fact["of"]:
        return {**fact, "fact": "missing-in-both"}
    return {**fact, "fact": "left-out" if by == end else "lost-between"}
