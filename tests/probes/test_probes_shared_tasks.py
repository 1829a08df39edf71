"""Shared tasks: begun once, and broken off only when nobody waits for them any more."""

import asyncio

import pytest

from vpnprobe.probes.shared_tasks import SharedTasks

TAKES_S = 0.02
WANTED = 3


class Work:
    """Tasks that take a moment."""

    def __init__(self) -> None:
        self.shared = SharedTasks()
        self.began = self.ended = 0

    async def one(self) -> None:
        self.began += 1
        await asyncio.sleep(TAKES_S)
        self.ended += 1

    async def use(self) -> None:
        async with self.shared.beside(WANTED, self.one):
            await asyncio.sleep(TAKES_S / 4)


def test_several_users_wait_for_the_same() -> None:
    async def together() -> Work:
        work = Work()
        await asyncio.gather(work.use(), work.use())
        await work.use()
        return work

    work = asyncio.run(together())
    assert (work.began, work.ended) == (WANTED, WANTED)


def test_what_one_user_gives_up_goes_on_for_another() -> None:
    async def one_gives_up() -> Work:
        work = Work()
        first, second = (asyncio.create_task(work.use()) for _ in range(2))
        await asyncio.sleep(TAKES_S / 8)
        first.cancel()
        await second
        return work

    work = asyncio.run(one_gives_up())
    assert (work.began, work.ended) == (WANTED, WANTED)


def test_what_all_give_up_is_broken_off_and_begun_anew() -> None:
    async def later() -> Work:
        work = Work()
        first = asyncio.create_task(work.use())
        await asyncio.sleep(TAKES_S / 8)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await work.use()
        return work

    work = asyncio.run(later())
    assert (work.began, work.ended) == (2 * WANTED, WANTED)


def test_what_fails_is_told_to_those_who_wait() -> None:
    async def fails() -> None:
        raise OSError("no sockets left")

    async def waits() -> None:
        async with SharedTasks().beside(1, fails):
            pass

    with pytest.raises(OSError, match="no sockets left"):
        asyncio.run(waits())
