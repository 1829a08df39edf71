"""What one capture shows of a conversation besides its stage: who said what how often, what is proved to have arrived, and where it stands.

A conversation goes on step by step, and an end that takes the next step has received the one before: that is a receipt, wherever the
capture was taken. An end that says the same again after its answer went by has not received that answer as far as it can tell: the answer
was lost beyond the place of the capture, or its host kept it. What nobody answered at all is told as that. Three values: an answer that was
seen is not counted as one that arrived, nor silence as loss.

The tables of `vpnprobe.conversations` decide what a step is; nothing here knows a protocol. Bounded: copies are counted and not kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender

KINDS_LIMIT: Final = 200
"""Most messages of one conversation that are told apart by name."""
LADDER_FIRST: Final = 40
LADDER_LAST: Final = 10
"""Messages that are kept to be shown, of the beginning and of the end."""
AGAIN_TOLD: Final = 3
"""Of what an end says again after the answer."""
FRAMES_TOLD: Final = 8
"""Most frames that a fact names."""
LARGE_BYTES: Final = 1000
"""What is larger does not pass everywhere, or goes in fragments; certificates are."""
KEEPALIVES_LEAST: Final = 4
"""Data packets that carry nothing from which on a tunnel is held to carry nothing else."""
SINCE: Final = "silent_since"
"""Name in a fact that something was not answered: since when, on the capture's clock. Taken out before the fact is told."""
PATIENCE_S: Final = 3.0
"""Ends say again within that time what is not answered; what was said once and so shortly before the end of a capture shows nothing."""
AT_ONCE_S: Final = 0.2
"""What is said again sooner may have crossed the answer on its way."""

Fact = dict[str, Any]
"""`fact`: its name, as `[diagnosis.*]` of the rules knows it; further words by name."""


@dataclass(slots=True)
class Said:
    """One message of one end, with its copies."""

    sender: Sender
    name: str
    at: float
    size: int
    key: str = ""
    """What tells it from others of its name."""
    frames: list[int] = field(default_factory=list)
    copies: int = 0
    last_at: float = 0.0
    again_frames: list[int] = field(default_factory=list)
    """The last frames of copies behind the answer."""
    waited_s: float = 0.0
    """How long after the answer a copy behind it came, at the most."""
    after_answer: int = 0
    """Copies that were seen after the answer to it went by here."""
    data: bool = False
    """Whether it is of a kind that is said many times, each time another."""
    fragmented: bool = False
    """Whether its last copy came in IP fragments, of which the first was seen."""
    many: bool = False
    """Whether others of its name need not be copies of it."""
    received: bool = False
    """Whether the other end is proved to have got it."""

    def count(self, frame: Frame) -> None:
        self.copies += 1
        self.last_at = max(self.last_at, frame.at)
        if len(self.frames) < FRAMES_TOLD:
            self.frames.append(frame.number)


@dataclass(frozen=True, slots=True)
class Rung:
    """One message as it is shown in a ladder."""

    number: int
    """Of its frame."""
    at: float
    sender: Sender
    name: str
    size: int
    again: bool
    """Whether the same was said before."""


class Account:
    """Of one conversation."""

    def __init__(self, *, keepalive_bytes: int = 0) -> None:
        """`keepalive_bytes`: data packets up to that size carry nothing; 0: that is not known."""
        self._keepalive_bytes = keepalive_bytes
        self.refused = False
        """Whether the table says that the server has refused."""
        self._said: dict[tuple[Sender, str, str], Said] = {}
        self._settled = False
        """Whether who asked has gone on since the last answer."""
        self._latest: dict[tuple[Sender, str], Said] = {}
        """By sender and name: the last one."""
        self._last: Said | None = None
        """The message that moved the conversation on last."""
        self._asked: Said | None = None
        """The other end's message before it, which it answers."""
        self._first_rungs: list[Rung] = []
        self._last_rungs: list[Rung] = []
        self.rungs_left_out = 0

    def saw(
        self,
        sender: Sender,
        name: str,
        frame: Frame,
        *,
        size: int,
        moved_on: bool,
        at: float | None = None,
        proves: bool = True,
        data: bool = False,
        many: bool = False,
        fragmented: bool = False,
        key: str = "",
        answers: str = "",
    ) -> None:
        """Takes a message. `moved_on`: whether the table's state changed by it. `size`: its bytes.

        `proves`: whether its sender can only say it once it has the other end's last message. `data`: it is one of many of a kind, each
        another, that ask for no answer. `many`: of one name there may be several that are not the same. `fragmented`: the frame is the
        first fragment of it. `key`: what tells it from another of its name. `answers`: the name of the other end's message that it
        answers each time, whatever the state.
        """
        slot = (sender, name, "" if many else key)  # Of many the last: there may be any number.
        said = self._said.get(slot)
        if said is not None and said.key != key:
            said = None
        again = said is not None
        if said is None:
            said = Said(sender, name, frame.at if at is None else at, size, key=key, data=data, many=many or data)
            if slot in self._said or len(self._said) < KINDS_LIMIT:
                self._said[slot] = said
        said.count(frame)
        said.size, said.fragmented = max(said.size, size), fragmented
        self._show(Rung(frame.number, frame.at, sender, name, size, again and not moved_on and not said.many))
        asked = self._latest.get((sender.other, answers)) if answers else None
        if (sender, name) in self._latest or len(self._latest) < KINDS_LIMIT:
            self._latest[sender, name] = said
        if asked is not None:
            asked.received = True
            self._asked, self._last, self._settled = asked, said, False
        elif moved_on:
            self._go_on(said, proves=proves)
        elif self._asked is None or self._last is None:
            if self._last is not None and said is not self._last and (sender, name) == (self._last.sender, self._last.name):
                self._last.count(frame)  # It asks anew each time, as some protocols do.
        elif sender is self._asked.sender:
            self._after_the_answer(said, frame)

    def _after_the_answer(self, said: Said, frame: Frame) -> None:
        """Takes what an end says that was answered last and has not gone on."""
        assert self._asked is not None
        assert self._last is not None
        if said.data:
            self._settled = True  # Who sends data has had the answer.
            self._asked.after_answer = 0
        elif self._settled:
            self._last, self._asked = said, None
        elif said.name == self._asked.name and not said.many and (waited_s := frame.at - self._last.last_at) >= AT_ONCE_S:
            self._asked.after_answer += 1
            self._asked.waited_s = max(self._asked.waited_s, waited_s)
            self._asked.last_at = max(self._asked.last_at, frame.at)
            self._asked.again_frames = [*self._asked.again_frames, frame.number][-AGAIN_TOLD:]

    def has_said(self, sender: Sender, name: str, key: str = "") -> bool:
        """Whether that message was seen from that end."""
        return (sender, name, key) in self._said

    def _go_on(self, said: Said, *, proves: bool) -> None:
        last = self._last
        if last is not None and last.sender is not said.sender:
            last.received |= proves
            self._asked, self._settled = last, False
        elif last is None:
            self._asked = None
        self._last = said

    def _show(self, rung: Rung) -> None:
        if len(self._first_rungs) < LADDER_FIRST:
            self._first_rungs.append(rung)
            return
        self._last_rungs.append(rung)
        if len(self._last_rungs) > LADDER_LAST:
            self._last_rungs.pop(0)
            self.rungs_left_out += 1

    def receipts(self) -> Iterator[int]:
        """First frames of the messages that are proved to have come to the other end."""
        return (said.frames[0] for said in self._said.values() if said.received)

    def facts(self) -> list[Fact]:
        """Where the conversation stands, where it stands still."""
        last, asked = self._last, self._asked
        if last is None:
            return []
        if self.refused:
            return [{"fact": "rejected", "by": _end(last), "to": _other(last), "message": last.name, "times": 1, "frames": last.frames}]
        if one_way := self._one_way():
            return [one_way]
        if kept := self._keepalives():
            return [{"fact": "keepalives-only", "times": kept, "frames": []}]
        if last.fragmented and not last.received:
            told = {"by": _end(last), "to": _other(last), "message": last.name, "bytes": last.size, "times": last.copies}
            return [{"fact": "fragmented", **told, "frames": last.frames}]
        large = last.size >= LARGE_BYTES
        if asked is not None and (asked.after_answer > 1 or asked.waited_s >= PATIENCE_S):
            return [
                {
                    "fact": "large-answer-lost" if large else "answer-lost",
                    "to": _end(asked),
                    "by": _end(last),
                    "message": last.name,
                    "again": asked.name,
                    "times": asked.after_answer,
                    "seconds": _seconds(asked.last_at - last.at),
                    "bytes": last.size,
                    "frames": [*last.frames[:1], *asked.again_frames],
                }
            ]
        return [
            {
                "fact": "large-unanswered" if large and asked is not None and last.copies > 1 and not last.many else "unanswered",
                "by": _end(last),
                "to": _other(last),
                "message": last.name,
                "times": last.copies,
                "seconds": _seconds(last.last_at - last.at),
                "bytes": last.size,
                "frames": last.frames,
                SINCE: last.last_at,
            }
        ]

    def _one_way(self) -> Fact | None:
        """Data of one end alone, of which some is more than a keepalive; None: that is not so."""
        data = [said for said in self._said.values() if said.data]
        if len({said.sender for said in data}) != 1 or all(said.size <= self._keepalive_bytes for said in data):
            return None
        frames = data[0].frames
        times = sum(said.copies for said in data)
        return {"fact": "one-way", "by": _end(data[0]), "to": _other(data[0]), "message": "data", "times": times, "frames": frames}

    def _keepalives(self) -> int:
        """How many data packets there were, where both ends sent some and none carried anything; 0: that is not so."""
        data = [said for said in self._said.values() if said.data]
        silent = len({said.sender for said in data}) == len(Sender) and all(said.size <= self._keepalive_bytes for said in data)
        count = sum(said.copies for said in data)
        return count if silent and count >= KEEPALIVES_LEAST else 0

    def _fate(self, rung: Rung) -> dict[str, str]:
        """What became of a message, where that is known."""
        said = self._latest.get((rung.sender, rung.name))
        if said is None or said.data:
            return {}
        if said.received:
            return {"fate": "received"}
        lost = said is self._last and self._asked is not None and self._asked.after_answer
        return {"fate": "lost"} if lost else {}

    def ladder(self, began: float) -> list[Mapping[str, Any]]:
        """The messages that are kept, in order; `at_s` counts from `began`."""
        return [
            {
                "frame": rung.number,
                "at_s": round(rung.at - began, 6),
                "from": _end_name(rung.sender),
                "message": rung.name,
                "bytes": rung.size,
                **({"again": True} if rung.again else {}),
                **self._fate(rung),
            }
            for rung in (*self._first_rungs, *self._last_rungs)
        ]


def _end_name(sender: Sender) -> str:
    return "client" if sender is Sender.INITIATOR else "server"


def _end(said: Said) -> str:
    return _end_name(said.sender)


def _other(said: Said) -> str:
    return _end_name(said.sender.other)


def _seconds(seconds: float) -> float:
    return round(max(0.0, seconds), 3)
