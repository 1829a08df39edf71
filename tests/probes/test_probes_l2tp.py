"""L2TP against another program: what is said of calls that end before any data goes through them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from vpnprobe.evidence.checks import L2TP_DATA
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction
from vpnprobe.probes import l2tp


class Skips:
    """A context of which nothing is used but what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Check, str, tuple[Direction, ...]]] = []

    def skip(self, check: Check, reason: str, *ways: Direction) -> None:
        self.told.append((check, reason, ways))


@pytest.mark.parametrize(("failed", "heard", "told"), [(True, False, True), (False, False, False), (True, True, False)])
def test_a_call_that_had_ended_when_its_data_was_to_be_looked_at(
    failed: bool, heard: bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's CDN may come with its last word of the call's set-up, on a busy machine before anything was sent."""
    context: Any = Skips()
    server = l2tp.AnothersServer(context)
    server._heard = heard
    initiator: Any = SimpleNamespace(failed=failed, in_call=False)

    async def once(*_: object) -> None:
        await server._data(initiator, driver=None)  # type: ignore[arg-type]

    monkeypatch.setattr(l2tp, "until_sure", once)
    asyncio.run(server.run())
    assert context.told == ([(L2TP_DATA, l2tp.ENDED, (Direction.S2C,))] if told else [])
