"""One end's record: what it keeps of packets, messages and refusals, and that it is bounded."""

import asyncio

import pytest

from vpnprobe.conversations import openvpn_reset
from vpnprobe.conversations.contract import Sender
from vpnprobe.endpoint import recorder as module
from vpnprobe.endpoint.recorder import Departures, Recorder
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Movement, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint
from vpnprobe.transports.topology import CLIENT, Topology
from vpnprobe.wire.nonce import NoncePayload

UDP = checks.udp_reach(53)
SERVER = Endpoint(Topology().server_address, 53)


def test_what_left_and_what_came() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        kept.sent(UDP, "n1", size=14, to=SERVER)
        kept.received(UDP, "n1", size=14, ttl=61, source=SERVER, detail={"call_id": 5})
        left, came = kept.packet_records
        assert (left.movement, left.direction, left.peer, left.ttl_limited) == (
            Movement.SENT,
            Direction.C2S,
            (str(SERVER.address), 53),
            False,
        )
        assert (came.movement, came.direction, came.ttl, came.detail) == (Movement.RECEIVED, Direction.S2C, 61, {"call_id": 5})

    run_virtual(main())


def test_a_packet_with_a_ttl_of_ours_is_a_stepped_copy() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        kept.sent(UDP, "n1", ttl=3)
        assert kept.packet_records[0].ttl_limited
        assert kept.packet_records[0].peer is None

    run_virtual(main())


def test_a_datagram_is_recorded_as_what_it_was_identified_as() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.SERVER)
        payload = NoncePayload(7, 1)
        datagram = Datagram(payload.encode(), SERVER, 0.0, 60)
        assert kept.arrived([identify.nonce(UDP, datagram.data)], datagram)
        assert not kept.arrived([identify.nonce(UDP, b"noise")], datagram)
        (row,) = kept.packet_records
        assert (row.key, row.size, row.ttl, row.peer) == (payload.key, 14, 60, (str(SERVER.address), 53))

    run_virtual(main())


def test_messages_of_a_conversation_are_recorded_once() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        check = checks.openvpn_reset(Transport.UDP, 1194)
        client = openvpn_reset.Initiator(session_id=b"c" * 8, stream=False)
        server = openvpn_reset.Responder(session_id=b"s" * 8, stream=False)
        client.start(0.0)
        for data in client.data_to_send(0.0):
            server.receive(data, 0.0)
        for data in server.data_to_send(0.0):
            client.receive(data, 0.0)
        for _ in range(2):
            kept.steps(client, check, Sender.INITIATOR, Departures(0.0, (b"",), (True,)), remote=SERVER)
        assert [(row.movement.value, row.message, row.key) for row in kept.packet_records[:2]] == [
            ("sent", "P_CONTROL_HARD_RESET_CLIENT_V2", "63" * 8),
            ("received", "P_CONTROL_HARD_RESET_SERVER_V2", "63" * 8),
        ]
        assert len(kept.packet_records) == 3  # with the acknowledgment

    run_virtual(main())


def test_a_refusal_is_kept_once_with_its_time() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        refusal = Refusal(UDP, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None)
        kept.refused(refusal)
        kept.refused(refusal)
        kept.refused(Refusal(UDP, Direction.C2S, RefusalKind.PROHIBITED, None))
        assert len(kept.refusals) == 2
        assert kept.record().refusals[0] == refusal

    run_virtual(main())


def test_the_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.SERVER)
        for number in range(5):
            kept.received(UDP, str(number))
        assert (len(kept.packet_records), kept.dropped) == (3, 2)

    monkeypatch.setattr(module, "MOST_ROWS", 3)
    run_virtual(main())


def test_what_was_sent_after_the_peer_was_lost_is_nobodys_to_judge() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        kept.sent(UDP, "early")
        await asyncio.sleep(2)
        kept.sent(UDP, "late")
        kept.received(UDP, "late")
        kept.refused(Refusal(UDP, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None))
        cut = kept.record().until(1.0)
        assert [(row.movement.value, row.key) for row in cut.packet_records] == [("sent", "early"), ("received", "late")]
        assert cut.refusals == ()
        assert len(kept.record().until(3.0).packet_records) == 3

    run_virtual(main())


def test_what_the_kernel_refused_has_not_left() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        for number in range(4):
            kept.leaving(lambda: False, UDP, f"n{number}")
        assert kept.packet_records == []
        assert kept.refused_to_send == {UDP}
        kept.leaving(lambda: True, UDP, "n5", size=14)
        assert [(row.movement.value, row.key, row.size) for row in kept.packet_records] == [("sent", "n5", 14)]
        assert kept.refused_to_send == frozenset()

    run_virtual(main())


def test_messages_whose_datagram_was_refused_have_not_left() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        check = checks.openvpn_reset(Transport.UDP, 1194)
        client = openvpn_reset.Initiator(session_id=b"c" * 8, stream=False)
        client.start(0.0)
        assert client.data_to_send(0.0)
        kept.steps(client, check, Sender.INITIATOR, Departures(0.0, (b"",), (False,)), remote=SERVER)
        assert kept.packet_records == []
        assert kept.withheld[check] == 1

    run_virtual(main())


def test_lateness_is_since_the_record_began() -> None:
    async def main() -> None:
        stack = SimulatedNetwork(Topology(), seed=1).stack(CLIENT)
        await asyncio.sleep(10)
        kept = Recorder(stack, Vantage.CLIENT)
        kept.was_late(3.0, 9.0)
        kept.was_late(9.5, 10.5)
        assert [(one.from_s, one.to_s) for one in kept.record().late] == [(0.0, 0.5)]

    run_virtual(main())


def test_when_a_conversation_was_given_up_is_kept_once_less_what_an_answer_takes() -> None:
    async def main() -> None:
        kept = Recorder(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), Vantage.CLIENT)
        client = openvpn_reset.Initiator(session_id=b"c" * 8, stream=True)
        await asyncio.sleep(2)
        kept.gave_up(client, answer_s=0.5)
        await asyncio.sleep(2)
        kept.gave_up(client, answer_s=0.5)
        assert kept.record().given_up == {client.key: 1.5}

    run_virtual(main())
