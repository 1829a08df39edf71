"""GRE in a call: requests in several sizes, and answers that are small whatever they answer."""

import asyncio

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement, Vantage
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

USUAL = 50


@pytest.mark.parametrize("size", [0, 576, 1400])
def test_a_request_is_padded_to_its_size_and_acknowledged_without_padding(size: int) -> None:
    async def main() -> tuple[list[int], list[int]]:
        network, calls = SimulatedNetwork(Topology(), seed=1), list[Call]()
        left: dict[Vantage, list[int]] = {}
        ends = ((CLIENT, Vantage.CLIENT, Sender.INITIATOR), (SERVER, Vantage.SERVER, Sender.RESPONDER))
        for place, (name, vantage, own) in enumerate(ends):
            stack, other = network.stack(name), network.stack(SERVER if name == CLIENT else CLIENT)
            raw = stack.raw(47, lambda datagram, place=place: calls[place].received(datagram))  # type: ignore[misc]
            peer = other.source_address(Topology().server_address)
            calls.append(Call(Recorder(stack, vantage), raw, peer, own, call_id=7 + place, peer_call_id=8 - place))
        calls[0].request(size)
        await asyncio.sleep(1)
        assert calls[0].acknowledged
        for call in calls:
            rows = [row for row in call.recorder.packet_records if row.check == checks.PPTP_LCP and row.movement is Movement.SENT]
            left[rows[0].vantage] = [row.size + 20 for row in rows]
        return left[Vantage.CLIENT], left[Vantage.SERVER]

    assert run_virtual(main()) == ([size or USUAL], [USUAL])
