"""A capture is asked for in parts, several at a time; what a slow, broken or hostile peer says is bounded and told."""

import asyncio
import base64
from collections import Counter
from typing import Any

import pytest

from vpnprobe.agents.capture_request import AT_ONCE, DEADLINE_S, LATE_S, LEAST_PART, MOST_BYTES, CaptureRequest
from vpnprobe.agents.control import Message
from vpnprobe.agents.handover import encode_payloads, summary
from vpnprobe.errors import CannotRun
from vpnprobe.transports.stack import Packet

UDP = bytes.fromhex("4500 001c 0001 0000 4011 0000 c0000201 c6336407 04aa 04aa 0008 0000")
PORTS = [("udp", 1194)]


def packets(count: int) -> list[Packet]:
    """Whose payloads do not compress."""
    return [Packet(UDP + number.to_bytes(4, "big") * 3 + bytes(range(250)), float(number), False) for number in range(count)]


class Server:
    """Answers as the server agent does, each request after a second of its own clock; `takes_s` 0: of the loop's."""

    def __init__(self, held: list[Packet], *, part: int = LEAST_PART, takes_s: float = 1.0) -> None:
        self.summary, self.payloads = summary(held)
        self.part = part
        self.takes_s = takes_s
        self.now = 0.0
        self.under_way = self.most_under_way = 0
        self.asked: list[tuple[str, int]] = []
        self.offsets: list[int] = []

    async def __call__(self, kind: str, *, place: int, **arguments: Any) -> Message:
        self.asked.append((kind, place))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        self.now += self.takes_s
        if kind == "payloads":
            return answer(encode_payloads(base64.b64decode(arguments["digests"]), self.payloads))
        assert arguments["client_ports"] == PORTS
        at = arguments["offset"]
        self.offsets.append(at)
        return answer(self.summary[at : at + self.part], total=len(self.summary))

    def hand_over(self, own: list[Packet]) -> tuple[list[Packet] | None, CaptureRequest]:
        async def story() -> tuple[list[Packet] | None, CaptureRequest]:
            loop = asyncio.get_running_loop()
            request = CaptureRequest(self, lambda: self.now if self.takes_s else loop.time())
            return await request.run(PORTS, own), request

        return asyncio.run(story())


def answer(data: bytes, *, total: int = 0) -> Message:
    return {"kept": True, "data": base64.b64encode(data).decode(), "total": total}


def test_all_parts_come_together_in_their_order() -> None:
    held = packets(400)
    server = Server(held)
    found, request = server.hand_over(held[:100])
    assert found == held
    assert not request.too_slow
    assert {kind for kind, _ in server.asked} == {"capture", "payloads"}
    assert server.most_under_way == AT_ONCE
    for kind in ("capture", "payloads"):
        places = [place for of, place in server.asked if of == kind][kind == "capture" :]
        assert places == list(range(len(places))), "each takes another connection than the one before"


def test_a_part_that_is_late_is_asked_for_once_more() -> None:
    """And its first answer counts."""

    class Stuck(Server):
        async def __call__(self, kind: str, *, place: int, **arguments: Any) -> Message:
            answered = await super().__call__(kind, place=place, **arguments)
            if kind == "capture" and place == 1:
                await asyncio.Event().wait()
            return answered

    held = packets(400)
    server = Stuck(held, takes_s=0)
    assert server.hand_over([])[0] == held
    times = Counter(server.offsets)
    assert [times.pop(offset) for offset, count in dict(times).items() if count > 1] == [2]


def test_what_came_is_not_asked_for_again_though_a_copy_is_still_under_way() -> None:
    class Slow(Server):
        async def __call__(self, kind: str, *, place: int, **arguments: Any) -> Message:
            answered = await super().__call__(kind, place=place, **arguments)
            if kind == "capture" and place in (1, 2):
                await asyncio.sleep(4 * LATE_S if place == 1 else 8 * LATE_S)
            return answered

    held = packets(400)
    server = Slow(held, takes_s=0)
    assert server.hand_over([])[0] == held
    assert max(Counter(server.offsets).values()) == 2


@pytest.mark.parametrize("kind", ["capture", "payloads"])
def test_a_part_that_is_too_long_ends_it_at_once(kind: str) -> None:
    class Hostile(Server):
        async def __call__(self, kind_of: str, *, place: int, **arguments: Any) -> Message:
            answered = await super().__call__(kind_of, place=place, **arguments)
            if kind_of != kind or (kind == "capture" and not arguments["offset"]):
                return answered
            return answer(b"x" * (1 << 22), total=len(self.summary))

    server = Hostile(packets(2000))
    with pytest.raises(CannotRun, match="cannot be read"):
        server.hand_over([])
    assert len([asked for asked, _ in server.asked if asked == kind]) <= 2 * AT_ONCE + 1 + (MOST_BYTES >> 22)


def test_a_small_one_is_one_request() -> None:
    held = packets(3)
    server = Server(held)
    assert server.hand_over(held)[0] == held
    assert server.asked == [("capture", 0)]


@pytest.mark.parametrize("after", [0, 3])
def test_what_takes_too_long_is_given_up(after: int) -> None:
    """While the summary is handed over, or the payloads are."""
    held = packets(400)
    server = Server(held, part=LEAST_PART if after else 1 << 20, takes_s=DEADLINE_S / (after + 1) + 1)
    found, request = server.hand_over([])
    assert found is None
    assert request.too_slow


def test_a_peer_that_keeps_none_says_so() -> None:
    async def ask(kind: str, *, place: int, **_: object) -> Message:
        return {"kept": False}

    request = CaptureRequest(ask, lambda: 0.0)
    assert asyncio.run(request.run(None, [])) is None
    assert not request.too_slow


@pytest.mark.parametrize(
    "hostile",
    [
        answer(b"x", total=1 << 60),
        answer(b"x", total=1 << 20),
        answer(b"", total=1),
        answer(b"x" * 2000, total=-1),
        answer(b"x" * 2000, total=1),
        answer(b"x" * 2000, total=2000),
        {"kept": True, "data": "?", "total": 1},
        {"kept": True, "total": "many"},
    ],
)
def test_a_hostile_answer_costs_one_request(hostile: Message) -> None:
    asked = []

    async def ask(kind: str, *, place: int, **_: object) -> Message:
        asked.append(kind)
        return hostile

    with pytest.raises(CannotRun, match="cannot be read"):
        asyncio.run(CaptureRequest(ask, lambda: 0.0).run(None, []))
    assert asked == ["capture"]
