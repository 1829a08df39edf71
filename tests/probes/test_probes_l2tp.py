"""L2TP against another program: what is said of calls that end before any data goes through them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from test_probes_context import Peer, path_with

from vpnprobe.evidence.checks import L2TP_CONTROL, L2TP_DATA
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction
from vpnprobe.probes import l2tp
from vpnprobe.transports.simulated import run_virtual


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


@pytest.mark.parametrize(("answered", "reason"), [(False, l2tp.NO_CALL), (True, l2tp.TOO_LATE)])
def test_data_that_was_not_tried_says_whether_a_call_came_up_after_all(
    answered: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load, or behind a policer, its answer may come when nobody waits for it any more."""

    async def nothing(_: l2tp.AnothersServer) -> None:
        """No call came up in time."""

    monkeypatch.setattr(l2tp.AnothersServer, "run", nothing)

    async def tried() -> set[tuple[Check, str]]:
        context = path_with(Peer())
        for message, received in (("SCCRQ", False), ("SCCRP", True), ("ICRP", True)) if answered else (("SCCRQ", False),):
            record = context.recorder.received if received else context.recorder.sent
            record(L2TP_CONTROL, "one", message=message)
        await l2tp.L2tpProbe().run(context)
        return {(skip.check, skip.reason) for skip in context.skips}

    assert run_virtual(tried()) == {(L2TP_DATA, reason)}
