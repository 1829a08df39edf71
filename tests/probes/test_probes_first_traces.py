"""What has no ports is traced before the server speaks: kinds that are suspected together at once, and left where they came."""

import asyncio
from collections.abc import Sequence

import pytest

from vpnprobe.evidence.checks import ESP, GRE_BARE
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.first_traces import TOGETHER_S, FirstTraces


class Traced:
    """Traces that take a moment."""

    def __init__(self) -> None:
        self.began: list[list[Check]] = []
        self.ended: list[list[Check]] = []

    async def __call__(self, kinds: Sequence[Check]) -> None:
        self.began.append(list(kinds))
        await asyncio.sleep(TOGETHER_S)
        self.ended.append(list(kinds))


def test_kinds_that_are_suspected_at_the_same_time_share_what_routers_answer() -> None:
    async def both() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.begin(ESP)
        traces.begin(GRE_BARE)
        await traces.done(GRE_BARE)
        return traced

    assert asyncio.run(both()).ended == [[ESP, GRE_BARE]]


def test_one_that_comes_later_has_a_trace_of_its_own() -> None:
    async def later() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.begin(ESP)
        await traces.done(ESP)
        traces.begin(GRE_BARE)
        await traces.done(GRE_BARE)
        return traced

    assert asyncio.run(later()).ended == [[ESP], [GRE_BARE]]


def test_what_comes_after_all_needs_no_trace() -> None:
    async def came() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.expect(ESP)
        traces.begin(ESP)
        waiting = asyncio.create_task(traces.settled(Transport.ESP))
        await asyncio.sleep(TOGETHER_S / 4)
        traces.leave(ESP)
        await waiting  # Whoever waits goes on.
        await traces.done(ESP)
        await asyncio.sleep(3 * TOGETHER_S)
        return traced

    assert asyncio.run(came()).began == []


def test_a_trace_goes_on_for_the_other_kind() -> None:
    async def one_came() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.begin(ESP)
        traces.begin(GRE_BARE)
        traces.leave(ESP)
        await traces.done(GRE_BARE)
        return traced

    assert asyncio.run(one_came()).ended == [[GRE_BARE]]


def test_one_that_is_settled_takes_nothing_from_one_that_was_just_suspected() -> None:
    async def settled_meanwhile() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.begin(ESP)
        await traces.done(ESP)
        traces.begin(GRE_BARE)
        traces.leave(ESP)
        await traces.done(GRE_BARE)
        return traced

    assert asyncio.run(settled_meanwhile()).ended == [[ESP], [GRE_BARE]]


def test_what_is_suspected_after_a_trace_was_given_up_has_one_of_its_own() -> None:
    async def given_up() -> Traced:
        traces = FirstTraces(traced := Traced())
        traces.begin(ESP)
        traces.leave(ESP)
        traces.begin(GRE_BARE)
        await traces.done(GRE_BARE)
        return traced

    assert asyncio.run(given_up()).ended == [[GRE_BARE]]


def test_what_goes_wrong_is_told_to_those_who_wait() -> None:
    async def fails(_: Sequence[Check]) -> None:
        raise OSError("the network is down")

    async def waits() -> None:
        traces = FirstTraces(fails)
        traces.begin(ESP)
        await traces.done(ESP)

    with pytest.raises(OSError, match="the network is down"):
        asyncio.run(waits())


def test_an_end_that_cannot_trace_waits_for_nothing() -> None:
    async def nothing() -> None:
        traces = FirstTraces()
        traces.begin(ESP)
        await traces.done(ESP)

    asyncio.run(nothing())


def test_the_server_waits_until_it_is_known_whether_a_kind_is_traced() -> None:
    async def waits() -> list[str]:
        said: list[str] = []
        traces = FirstTraces(Traced())
        await traces.settled(Transport.GRE)  # Nobody asks about any.
        traces.expect(GRE_BARE)
        waiting = asyncio.create_task(traces.settled(Transport.GRE))
        waiting.add_done_callback(lambda _: said.append("speaks"))
        await asyncio.sleep(TOGETHER_S)
        said.append("traced")
        traces.begin(GRE_BARE)
        await traces.done(GRE_BARE)
        await waiting
        return said

    assert asyncio.run(waits()) == ["traced", "speaks"]
