"""What is said of whole sessions: sizes that pass, a cut, and the parts of the TLS stream that came, each in few words."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from vpnprobe.observations.schema import Observation
from vpnprobe.report.words import value_words, visible

SAID: Final = frozenset(
    {
        "wrap",
        "profile",
        "remote",
        "sessions",
        "by_size",
        "largest_passing",
        "largest_passed",
        "longest_packets",
        "longest_s",
        "smallest_lost",
        "cut_after",
        "round_trip",
        "failure",
        "said",
    }
)
"""Keys of `detail` that have words here, or in what the observation asks."""
ARROWS: Final[Mapping[str, str]] = {"c2s": "→", "s2c": "←"}
MOST_SIZES: Final = 12
_NUMBERED: Final = re.compile(r"P_CONTROL_V1\[(\d{1,10})\]")


def session_facts(row: Observation) -> Iterable[str]:
    """Clauses about sessions and sizes; nothing where the row has no such numbers."""
    detail = row.detail
    if isinstance(count := detail.get("sessions"), int):
        yield f"in {count} session{'' if count == 1 else 's'}"
    sizes = detail.get("by_size")
    if isinstance(sizes, Mapping) and any(_is_count(counts) and counts[1] < counts[0] for counts in sizes.values()):
        shown = [f"{visible(size)}: {counts[1]} of {counts[0]}" for size, counts in sizes.items() if _is_count(counts)]
        yield f"by bytes of the IP packet {', '.join(shown[:MOST_SIZES])}"
    if isinstance(largest := detail.get("largest_passing"), int):
        lost = detail.get("smallest_lost")
        yield f"up to {largest} bytes pass" + (f", {lost} bytes and more do not" if isinstance(lost, int) else "")
    if isinstance(after := detail.get("cut_after"), int):
        yield f"cut after {after} packet{'' if after == 1 else 's'}"
    if detail.get("round_trip") is True:
        yield "counted by their answers: a missing one may be the answer"
    if isinstance(failure := detail.get("failure"), str):
        said = f' ("{visible(detail["said"])}")' if detail.get("said") else ""
        yield f"named {visible(failure)}{said}"


def _is_count(counts: object) -> bool:
    """Whether it is how many were sent and how many came; nothing is told of what nobody could count."""
    return isinstance(counts, list | tuple) and len(counts) == 2 and all(isinstance(count, int) for count in counts)


def _message_counts(sent: object, received: object) -> str:
    if not sent:
        return "came"
    return f"{value_words(received)} of {value_words(sent)}" if received is not None else f"{value_words(sent)} sent"


def message_facts(messages: object) -> Iterable[str]:
    """Message by message: `SCCRQ → 1 of 1`; parts of a TLS stream that all came are told together."""
    whole: dict[str, list[int]] = {}
    for message in messages if isinstance(messages, list | tuple) else ():
        if not isinstance(message, Mapping):
            continue
        sent, received, way = message.get("sent"), message.get("received"), str(message.get("direction"))
        part = _NUMBERED.fullmatch(str(message.get("message")))
        if part and sent == received:
            whole.setdefault(way, []).append(int(part[1]))
            continue
        yield f"{visible(message.get('message', ''))} {ARROWS.get(way, '')} {_message_counts(sent, received)}"
    for way, numbers in whole.items():
        span = f"{min(numbers)}-{max(numbers)}" if len(numbers) > 1 else str(numbers[0])
        yield f"P_CONTROL_V1[{span}] {ARROWS.get(way, '')} all came"
