"""The driver of conversations over datagrams, in virtual time: who waits is woken when it happens, and timers are kept."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from driver_support import GOAL, PORT, THERE, Scripted

from vpnprobe.conversations.openvpn_reset import Initiator
from vpnprobe.endpoint.driver import CLOCK_SLACK_S, LONGEST_S, Driver, GoalOrSilence, GoalWithin
from vpnprobe.transports.simulated import SimulatedNetwork, SimulatedStack, run_virtual
from vpnprobe.transports.stack import Datagram, NetworkStack
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

T = TypeVar("T")


@dataclass
class Driven:
    """A driver by itself, on the clock of a simulated host."""

    stack: SimulatedStack
    conversation: Scripted = field(default_factory=Scripted)
    sent: list[bytes] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    driver: Driver = field(init=False)

    def __post_init__(self) -> None:
        def send(data: bytes) -> bool:
            self.sent.append(data)
            self.log.append("sent")
            return True

        self.driver = Driver(self.stack, self.conversation, send=send, record=lambda _: self.log.append("recorded"))

    def later(self, pause_s: float, action: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(pause_s, action, *arguments)


def story(tell: Callable[[Driven], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        return await tell(Driven(SimulatedNetwork(Topology(), seed=1).stack(CLIENT)))

    return run_virtual(main())


class Counting:
    """A condition that counts how often it is looked at."""

    def __init__(self, reached: Callable[[], bool], due: float | None = None) -> None:
        self._reached = reached
        self._due = due
        self.looks = 0

    def reached(self, now: float) -> bool:
        self.looks += 1
        return self._reached()

    def due(self) -> float | None:
        return self._due


class TestWaiting:
    def test_the_goal_wakes_at_the_very_moment_of_the_packets_arrival(self) -> None:
        async def main() -> tuple[float, float]:
            network = SimulatedNetwork(Topology(), seed=1)
            client, server = network.stack(CLIENT), network.stack(SERVER)
            driven, arrived = Driven(client), []

            def came(datagram: Datagram) -> None:
                arrived.append(datagram.at)
                driven.driver.receive(datagram.data)

            port = await client.udp(came)
            other = await server.udp(lambda datagram: other.send(b"goal", datagram.source), port=PORT)
            port.send(b"hello", THERE)
            driven.driver.start()
            assert await driven.driver.wait(GoalWithin(driven.driver, GOAL, client.now(), lambda: 60))
            return client.now(), arrived[0]

        woken, arrived = run_virtual(main())
        assert woken == arrived > 0

    def test_nobody_looks_while_nothing_happens(self) -> None:
        async def tell(driven: Driven) -> int:
            until = Counting(lambda: driven.conversation.reached(GOAL))
            driven.driver.start()
            driven.later(100, driven.driver.receive, b"else")
            driven.later(1000, driven.driver.receive, b"goal")
            assert await driven.driver.wait(until)
            assert driven.stack.now() == 1000
            return until.looks

        assert story(tell) == 3  # At first, and once for each message.

    def test_what_is_there_already_is_not_waited_for(self) -> None:
        async def tell(driven: Driven) -> float:
            driven.driver.start(b"goal")
            assert await driven.driver.wait(GoalWithin(driven.driver, GOAL, driven.stack.now(), lambda: 60))
            return driven.stack.now()

        assert story(tell) == 0

    def test_a_deadline_is_kept(self) -> None:
        async def tell(driven: Driven) -> tuple[bool, float]:
            driven.driver.start()
            reached = await driven.driver.wait(GoalWithin(driven.driver, GOAL, driven.stack.now(), lambda: 5))
            return reached, driven.stack.now()

        assert story(tell) == (True, pytest.approx(5, abs=CLOCK_SLACK_S))

    def test_silence_is_counted_from_the_last_that_was_heard(self) -> None:
        async def tell(driven: Driven) -> float:
            driven.driver.start()
            driven.later(0.6, driven.driver.receive, b"else")
            driven.later(1.5, driven.driver.receive, b"else")
            assert await driven.driver.wait(GoalOrSilence(driven.driver, GOAL, lambda: 1.0))
            return driven.stack.now()

        assert story(tell) == pytest.approx(2.5, abs=CLOCK_SLACK_S)

    def test_a_peer_that_never_falls_silent_does_not_hold_the_run(self) -> None:
        async def tell(driven: Driven) -> float:
            driven.driver.start()
            for turn in range(200):
                driven.later(0.5 * turn, driven.driver.receive, b"else")
            assert await driven.driver.wait(GoalOrSilence(driven.driver, GOAL, lambda: 1.0))
            return driven.stack.now()

        assert story(tell) == pytest.approx(LONGEST_S, abs=CLOCK_SLACK_S)

    def test_the_goal_is_not_followed_by_silence(self) -> None:
        async def tell(driven: Driven) -> float:
            driven.driver.start()
            driven.later(0.6, driven.driver.receive, b"goal")
            assert await driven.driver.wait(GoalOrSilence(driven.driver, GOAL, lambda: 1.0))
            return driven.stack.now()

        assert story(tell) == pytest.approx(0.6)

    def test_while_something_is_due_it_is_not_silent(self) -> None:
        async def tell(driven: Driven) -> tuple[float, list[float]]:
            driven.conversation.dues = [3.0, 9.0]
            driven.driver.start()
            assert await driven.driver.wait(GoalOrSilence(driven.driver, GOAL, lambda: 1.0))
            return driven.stack.now(), driven.conversation.times("timer")

        ended, timers = story(tell)
        assert ended == pytest.approx(10, abs=CLOCK_SLACK_S)
        assert timers == [3.0, 9.0]

    @pytest.mark.parametrize("hair_s", [5e-10, CLOCK_SLACK_S / 4])
    @pytest.mark.parametrize("within", [True, False], ids=["within", "silence"])
    def test_a_clock_that_wakes_a_hair_too_early_does_not_stop_time(self, within: bool, hair_s: float) -> None:
        """Event loops run what is due within their clock's resolution: by that clock it is not time yet, and never gets to be."""

        async def tell(driven: Driven) -> int:
            driven.driver.start()
            until: GoalWithin | GoalOrSilence = (
                GoalWithin(driven.driver, GOAL, 0.0, lambda: hair_s) if within else GoalOrSilence(driven.driver, GOAL, lambda: hair_s)
            )
            looks = 0

            class Bounded(Counting):
                def reached(self, now: float) -> bool:
                    nonlocal looks
                    looks += 1
                    assert looks < 100, "the same moment over and over"
                    return until.reached(now)

                def due(self) -> float | None:
                    return until.due()

            assert await driven.driver.wait(Bounded(lambda: False))
            return looks

        assert story(tell) < 5

    def test_whoever_knows_that_something_else_happened_wakes_who_waits(self) -> None:
        async def tell(driven: Driven) -> tuple[bool, float]:
            refused: list[bool] = []
            until = Counting(lambda: bool(refused))

            def refuse() -> None:
                refused.append(True)
                driven.driver.wake()

            driven.driver.start()
            driven.later(7, refuse)
            return await driven.driver.wait(until), driven.stack.now()

        assert story(tell) == (True, 7)

    def test_several_may_wait_for_different_things(self) -> None:
        async def tell(driven: Driven) -> list[float]:
            async def until(name: str) -> float:
                await driven.driver.wait(GoalWithin(driven.driver, name, 0.0, lambda: 100))
                return driven.stack.now()

            driven.driver.start()
            for at, said in ((1, b"a"), (2, b"b"), (3, b"c")):
                driven.later(at, driven.driver.receive, said)
            return await asyncio.gather(*(until(name) for name in "cba"))

        assert story(tell) == [3, 2, 1]


class TestTimers:
    def test_a_request_is_repeated_when_it_is_due(self) -> None:
        async def main() -> tuple[list[float], float]:
            stack = SimulatedNetwork(Topology(), seed=1).stack(CLIENT)
            sent: list[float] = []
            conversation = Initiator(session_id=b"c" * 8, stream=False, attempts=3, retransmit_after_s=1.0)
            driver = Driver(stack, conversation, send=lambda _: sent.append(stack.now()) is None, record=lambda _: None)
            driver.start()
            await driver.wait(GoalOrSilence(driver, "reset", lambda: 0.5))
            return sent, stack.now()

        sent, ended = run_virtual(main())
        assert sent == pytest.approx([0, 1, 3], abs=CLOCK_SLACK_S)
        assert ended == pytest.approx(3.5, abs=2 * CLOCK_SLACK_S)

    def test_one_that_the_clock_reaches_a_hair_early_is_due(self) -> None:
        async def tell(driven: Driven) -> list[float]:
            driven.conversation.dues = [5e-10, 1.0]
            driven.driver.start()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            handled = driven.conversation.times("timer")
            assert driven.stack.now() < 5e-10
            return handled

        assert story(tell) == [5e-10]

    def test_one_that_the_loop_reaches_far_too_early_is_waited_for(self) -> None:
        """The conversation's clock is the stack's: the event loop's may be another, and faster."""

        class Slow:
            def now(self) -> float:
                return asyncio.get_running_loop().time() / 4

        async def main() -> float:
            conversation = Scripted(dues=[10.0])
            driver = Driver(cast("NetworkStack", Slow()), conversation, send=lambda _: True, record=lambda _: None)
            driver.start()
            await asyncio.sleep(60)
            (handled,) = conversation.times("timer")
            return handled

        assert run_virtual(main()) == pytest.approx(10, abs=CLOCK_SLACK_S)

    def test_what_comes_moves_them(self) -> None:
        async def tell(driven: Driven) -> list[float]:
            driven.conversation.dues = [5.0]
            driven.driver.start()
            await asyncio.sleep(1)
            driven.conversation.dues = [2.0]
            driven.driver.receive(b"else")
            await asyncio.sleep(20)
            return driven.conversation.times("timer")

        assert story(tell) == [pytest.approx(2, abs=CLOCK_SLACK_S)]

    @pytest.mark.parametrize("stop", [Driver.rest, Driver.close])
    def test_at_rest_none_falls_due_and_what_still_comes_is_answered(self, stop: Callable[[Driver], None]) -> None:
        async def tell(driven: Driven) -> None:
            driven.conversation.dues = [1.0]
            driven.driver.start()
            stop(driven.driver)
            driven.later(3, driven.driver.receive, b"late")
            await asyncio.sleep(10)
            assert driven.conversation.times("timer") == []
            assert driven.conversation.times("late") == [3]
            assert driven.sent == [b"LATE"]

        story(tell)


class TestSteps:
    def test_all_is_recorded_with_whether_it_left(self) -> None:
        async def tell(driven: Driven) -> list[str]:
            driven.driver.start(b"first")
            driven.driver.receive(b"more")
            return driven.log

        assert story(tell) == ["sent", "recorded", "sent", "recorded"]

    def test_what_it_says_by_itself_leaves_at_once(self) -> None:
        async def tell(driven: Driven) -> tuple[list[bytes], float]:
            def goodbye(now: float) -> None:
                driven.conversation.receive(b"bye", now)

            driven.driver.start()
            await asyncio.sleep(4)
            driven.driver.say(goodbye)
            return driven.sent, driven.conversation.times("bye")[0]

        assert story(tell) == ([b"BYE"], 4)

    @pytest.mark.parametrize("end", [Driver.close, Driver.peer_closed])
    def test_its_end_wakes_who_waits_in_vain(self, end: Callable[[Driver], None]) -> None:
        async def tell(driven: Driven) -> tuple[bool, float, bool]:
            driven.driver.start()
            driven.later(2, end, driven.driver)
            reached = await driven.driver.wait(Counting(lambda: False))
            return reached, driven.stack.now(), driven.driver.ended

        assert story(tell) == (False, 2, True)

    def test_what_was_reached_by_its_end_was_reached(self) -> None:
        async def tell(driven: Driven) -> tuple[bool, list[float]]:
            driven.driver.start()
            driven.later(2, driven.driver.peer_closed)
            reached = await driven.driver.wait(GoalWithin(driven.driver, "closed", 0.0, lambda: 60))
            return reached, driven.conversation.times("closed")

        assert story(tell) == (True, [2])
