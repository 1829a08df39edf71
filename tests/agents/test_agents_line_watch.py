"""What the line carries is watched while probes run, and the server agent is told its pace."""

import asyncio

from agents_support import Agents, simulated

from vpnprobe.agents.line_watch import watched
from vpnprobe.agents.peer import RemotePeer
from vpnprobe.endpoint.pacer import FIRST_BYTES_PER_S, LEAST_PAIRS, SHARE_OF_NARROW, Line


def test_the_server_agent_is_told_once_the_line_is_known_and_when_it_changes() -> None:
    async def story(both: Agents) -> list[float]:
        channel = both.channel()
        await channel.open()
        peer, line = RemotePeer(channel, both.client.now), Line(both.client.now)
        session = both.agent.sessions.everybody()[0]
        paces = []
        async with watched(line, peer):
            await asyncio.sleep(0.3)
            paces.append(session.pacer.bytes_per_s)
            for _ in range(LEAST_PAIRS):
                line.paired(520, 0.0325)
            await asyncio.sleep(0.3)
            paces.append(session.pacer.bytes_per_s)
            for _ in range(LEAST_PAIRS):
                line.paired(520, 0.0001)
            await asyncio.sleep(0.3)
            paces.append(session.pacer.bytes_per_s)
        assert line.on_change is None
        await channel.close()
        return paces

    unknown, narrow, wide = simulated(story)
    assert unknown == FIRST_BYTES_PER_S
    assert FIRST_BYTES_PER_S <= narrow <= SHARE_OF_NARROW * 16_000
    assert wide > 100_000


def test_without_a_server_agent_nothing_is_watched() -> None:
    async def story(both: Agents) -> int:
        before = len(asyncio.all_tasks())
        async with watched(Line(both.client.now), None):
            return len(asyncio.all_tasks()) - before

    assert simulated(story) == 0
