"""Tasks that several wait for: they are begun once, and broken off only when nobody waits for them any more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager


class SharedTasks:
    """Of one kind."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._users = 0

    @asynccontextmanager
    async def beside(self, wanted: int, begin: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
        """Begins what is still lacking of so many, and waits for the ends of all. Raises what one of them failed by.

        Whoever is broken off leaves them to the others; what nobody is left to wait for is broken off too, and lacks from then on.
        """
        self._tasks += [asyncio.get_running_loop().create_task(begin()) for _ in range(wanted - len(self._tasks))]
        self._users += 1
        try:
            yield
            if tasks := list(self._tasks):
                await asyncio.wait(tasks)
            for task in tasks:
                task.result()
        finally:
            self._users -= 1
            if not self._users:
                await self._break_off()

    async def _break_off(self) -> None:
        under_way = [task for task in self._tasks if not task.done()]
        self._tasks = [task for task in self._tasks if task.done()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
