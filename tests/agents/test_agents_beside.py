"""What the server agent sends beside the answers to controls: one packet for each prompt, in the place of its answer."""

import asyncio

import pytest
from agents_support import Agents, simulated
from test_agents_outgoing import SEND, opened

from vpnprobe.agents.beside import BesideControls
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces, ProbeSender
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import BLOCK, Movement, Vantage
from vpnprobe.transports.stack import Datagram, Endpoint
from vpnprobe.wire.nonce import NoncePayload, Purpose


def test_no_more_than_were_asked_for() -> None:
    sent = list[int]()
    request = BesideControls(lambda: sent.append(1), 3)
    for _ in range(5):
        request.prompted()
    assert (request.sent, len(sent)) == (3, 3)


@pytest.mark.parametrize("asked_for", [True, False])
def test_a_prompt_is_answered_by_what_was_asked_for_and_nothing_else(asked_for: bool) -> None:
    async def story(both: Agents) -> tuple[list[bytes], list[object], list[Purpose]]:
        gre, answers = list[bytes](), list[Datagram]()
        raw = both.client.raw(47, lambda datagram: gre.append(datagram.data))
        talk = await opened(both, ("udp", 53))
        if asked_for:
            answer = await talk.ask(number=2, job="gre-bare", **{**SEND, "count": 2, "beside": 9})
            assert answer["sent"] == 0
        sender = ProbeSender(Recorder(both.client, Vantage.CLIENT), Nonces(both.client, 1))
        port = await both.client.udp(answers.append)
        remote = Endpoint(both.remote.address, 53)
        for block in (4, 5, 6):
            sender.control(port, remote, checks.udp_reach(53), block=block)
            sender.prompt(port, remote, checks.udp_reach(53), block=block, request=9)
        await asyncio.sleep(0.5)
        (session,) = both.agent.sessions.everybody()
        left = [r for r in session.recorder.packet_records if r.check == checks.GRE_BARE and r.movement is Movement.SENT]
        raw.close()
        return gre, [r.detail.get(BLOCK) for r in left], [NoncePayload.decode(answer.data).purpose for answer in answers]

    gre, numbers, answered = simulated(story)
    assert answered == [Purpose.CONTROL] * 3
    assert (len(gre), numbers) == ((2, [4, 5]) if asked_for else (0, []))
