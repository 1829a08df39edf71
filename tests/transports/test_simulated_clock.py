"""Virtual time: it jumps, it keeps order, and it says when nothing is left."""

import asyncio
import gc
import time

import pytest

from vpnprobe.transports.simulated import Stalled, run_virtual
from vpnprobe.transports.simulated.clock import EventQueue


def test_an_hour_takes_no_time() -> None:
    async def hour() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(hour()) == pytest.approx(3600)
    assert time.monotonic() - began < 5


def test_timeouts_fire_in_virtual_time() -> None:
    async def waits() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12.5):
                await asyncio.sleep(100)
        return asyncio.get_running_loop().time()

    assert run_virtual(waits()) == pytest.approx(12.5)


def test_nothing_left_to_do_is_an_error_that_names_who_waits() -> None:
    async def forever() -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        await asyncio.create_task(never(), name="the-one-that-hangs")

    with pytest.raises(Stalled, match="the-one-that-hangs"):
        run_virtual(forever())


def test_an_exception_comes_out() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(fails())


def test_what_comes_out_is_not_put_into_words() -> None:
    """A run's result is large, and its words would take longer than much of the run."""

    class Large:
        def __repr__(self) -> str:
            raise AssertionError("nobody asks for it")

    async def makes() -> Large:
        return Large()

    assert isinstance(run_virtual(makes()), Large)


def test_garbage_is_looked_for_afterwards_as_before() -> None:
    async def thresholds() -> tuple[int, int, int]:
        return gc.get_threshold()

    async def fails() -> None:
        raise KeyError("mine")

    before = gc.get_threshold()
    assert run_virtual(thresholds())[0] > before[0]
    with pytest.raises(KeyError):
        run_virtual(fails())
    assert gc.get_threshold() == before


def test_what_is_due_at_one_instant_keeps_its_order() -> None:
    async def story() -> list[int]:
        events, order = EventQueue(), list[int]()
        for number in range(50):
            events.after(0.5, lambda number=number: order.append(number))  # type: ignore[misc]
        await asyncio.sleep(1)
        return order

    assert run_virtual(story()) == list(range(50))


def test_earlier_and_cancelled_events() -> None:
    async def story() -> list[tuple[str, float]]:
        events, order = EventQueue(), list[tuple[str, float]]()

        def note(name: str) -> None:
            order.append((name, round(events.now(), 6)))

        def from_an_event() -> None:
            events.after(0.25, lambda: note("from an event"))

        events.after(2.0, lambda: note("late"))
        cancelled = events.after(1.5, lambda: note("cancelled"))
        events.after(1.0, lambda: note("early"))
        events.after(1.0, from_an_event)
        cancelled.cancel()
        await asyncio.sleep(3)
        return order

    assert run_virtual(story()) == [("early", 1.0), ("from an event", 1.25), ("late", 2.0)]


def test_an_action_that_raises_does_not_stop_the_others() -> None:
    async def story() -> tuple[list[str], list[str]]:
        events, order, errors = EventQueue(), list[str](), list[str]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(str(context["exception"])))

        def fail() -> None:
            raise ValueError("from a callback")

        events.after(1.0, fail)
        events.after(1.0, lambda: order.append("next"))
        await asyncio.sleep(2)
        return order, errors

    assert run_virtual(story()) == (["next"], ["from a callback"])
