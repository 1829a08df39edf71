"""All at once until the first fails; what is measured already is not given up for one interruption."""

import asyncio

import pytest

from vpnprobe.agents.tasks import to_its_end, together


def test_the_first_that_fails_ends_the_others() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(together([waits(), waits(), fails()]))
    assert ended == [True, True]


def interrupted(times: int) -> str:
    async def story() -> str:
        async def measures() -> str:
            await asyncio.sleep(0.05)
            return "measured"

        working = asyncio.get_running_loop().create_task(to_its_end(measures()))
        for _ in range(times):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            working.cancel()
        return await working

    return asyncio.run(story())


@pytest.mark.parametrize("times", [0, 1])
def test_one_interruption_breaks_nothing_off(times: int) -> None:
    assert interrupted(times) == "measured"


def test_a_second_one_does() -> None:
    with pytest.raises(asyncio.CancelledError):
        interrupted(2)
