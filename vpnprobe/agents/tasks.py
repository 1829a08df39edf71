"""Tasks of a run: all at once until the first fails, and what an interruption does not break off."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What is measured already is not given up for one interruption more; a second one ends it."""
    working = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
    try:
        return await working
    finally:
        working.cancel()


async def together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs all at once; the first that fails ends the others, and its error is raised."""
    running = [asyncio.get_running_loop().create_task(coroutine) for coroutine in work]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
