"""Conversations of which a capture holds one direction alone, as behind a tap of one fibre, a filter on the source, or a path that returns
elsewhere. Nothing from an end is not the same as its silence.

What the end that was seen has sent may prove that the other one answered: most messages are sent only once an answer came (RFC 9293 section
3.5 for all that TCP carries). Where that is not so, and the whole capture holds no two hosts that speak both ways, nobody can tell.
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Final

from vpnprobe.capture.ends import PAIRS_LIMIT
from vpnprobe.observations.schema import ConversationSummary, Direction, Transport

NOT_CAPTURED: Final = "not_captured"
"""Name in the detail of a conversation: the direction that the capture lacks, though it is proved that packets went there."""
ASKED_ALONE: Final = "-unanswered"
"""What the stages end with that a request alone shows."""
ANSWERED_BEFORE: Final = frozenset(("auth-request-unanswered",))
"""Those of them whose request follows an answer (RFC 7296 section 1.2)."""
WITHOUT_ANSWER: Final = ("midstream-", "one-way", "other", "informational-only")
"""What the other stages begin with that show no answer."""


def with_directions(summaries: Iterable[ConversationSummary], ways: Set[tuple[str, str]]) -> list[ConversationSummary]:
    """The conversations, with what is to be said where one direction is not in the capture.

    `ways`: source and destination of all packets; from PAIRS_LIMIT pairs on, of some.
    """
    one_sided = len(ways) < PAIRS_LIMIT and not any((there, here) in ways for here, there in ways if here != there)
    return [_told(summary, ways, one_sided=one_sided) for summary in summaries]


def _told(summary: ConversationSummary, ways: Set[tuple[str, str]], *, one_sided: bool) -> ConversationSummary:
    if bool(summary.frames_c2s) == bool(summary.frames_s2c):
        return summary
    seen, unseen, missing = (summary.client, summary.server, Direction.S2C)
    if summary.frames_s2c:
        seen, unseen, missing = (summary.server, summary.client, Direction.C2S)
    if _proves_answers(summary):
        said = (
            f"Only packets from {seen.address} are in the capture. It would not have sent them without packets from {unseen.address}: that "
            "direction was not captured, and the stage is as far as the other one shows."
        )
        detail = {**summary.detail, NOT_CAPTURED: missing.value}
        return replace(summary, detail=detail, findings=(*summary.findings, said))
    if not one_sided or (unseen.address, seen.address) in ways:
        return summary
    said = f"The capture holds no packet from {unseen.address} to {seen.address}, of any kind: whether it answered cannot be told from it."
    return replace(summary, findings=(*summary.findings, said))


def _proves_answers(summary: ConversationSummary) -> bool:
    """Whether what one end sent shows that the other end had sent something before."""
    if summary.transport is Transport.TCP:
        return True
    if summary.stage in ANSWERED_BEFORE:
        return True
    return not summary.stage.endswith(ASKED_ALONE) and not summary.stage.startswith(WITHOUT_ANSWER)
