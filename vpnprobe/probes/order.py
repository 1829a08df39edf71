"""Who begins: the client's packets go first, and the server's only once those are known to come, or known not to.

A stateful firewall or a NAT at the server's side lets in what the server has asked for, so that a client's packets may pass there because
the server's own went out before them, and for no other client. GRE and ESP have no ports: all packets of such a protocol between two
addresses are one flow to such a device, which remembers it for minutes. So the order is kept for the whole protocol. What the client sends
afterwards is an experiment of its own; the judge tells the two apart by their times (`evidence.judging.order`).
"""

import asyncio

from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import FIRST_TRIALS, ProbeContext, SendTrials


def came_through(context: ProbeContext, check: Check, way: Direction) -> bool:
    """Whether any packet of this kind is known to have come."""
    counted = context.judge().packet_counts.get(check)
    return counted is not None and bool(counted.total(way).received)


async def client_first(context: ProbeContext, check: Check, send: SendTrials, send_back: SendTrials) -> None:
    """The client's packets until it is sure what becomes of them, then the server's, and the client's again if none of these came."""
    forth = asyncio.get_running_loop().create_task(context.until_sure(check, Direction.C2S, send))
    try:
        await known_before_server(context, check, forth)
        await back_and_again(context, check, send, send_back)
        await forth
    finally:
        forth.cancel()


async def known_before_server(context: ProbeContext, check: Check, forth: "asyncio.Task[None]") -> bool:
    """The same as `first_came`. What seems to be lost is traced meanwhile: the server's packets might open its way."""
    traces = context.first_traces
    traces.expect(check)
    try:
        came = await first_came(context, check, forth, lost=LEAST_TRIALS)
        if not came:
            traces.begin(check)
            came = await first_came(context, check, forth)
        if not came:
            await traces.done(check)
        return came
    finally:
        traces.leave(check)


async def back_and_again(context: ProbeContext, check: Check, send: SendTrials, send_back: SendTrials) -> None:
    """The server's packets, and where none of the client's has come, a few more of these: do they pass now?"""
    await context.until_sure(check, Direction.S2C, send_back)
    if not came_through(context, check, Direction.C2S):
        await again(context, check, send)


async def again(context: ProbeContext, check: Check, send: SendTrials) -> None:
    """A few more of the client's, now that the server has spoken; none where it is the server's own firewall that keeps them."""
    if check not in context.server_record.dropped_on_input:
        await send(FIRST_TRIALS, False)
        await context.sync()


async def first_came(context: ProbeContext, check: Check, forth: "asyncio.Task[None]", *, lost: int | None = None) -> bool:
    """Waits until a packet of the client's has come, or it is sure that none does; whether one has.

    `forth`: what sends them. `lost`: how many are to be known as lost at the most; None: as many as `forth` takes to be sure.
    """
    while not forth.done():
        counted = context.judge().packet_counts.get(check)
        sent = len(counted.total(Direction.C2S).sent) if counted is not None else 0
        await context.sync()
        if came_through(context, check, Direction.C2S):
            return True
        if lost is not None and sent >= lost:
            return False
    await forth
    return came_through(context, check, Direction.C2S)
