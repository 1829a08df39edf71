"""Fresh packets of each kind: every one is a trial of its own, is recorded as sent, and is what it is recorded as."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vpnprobe.endpoint import probe_packets
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import BesidePort, Nonces, ProbeSender, esp
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire import fingerprint
from vpnprobe.wire.esp import FIRST_USABLE_SPI, EspPacket
from vpnprobe.wire.ip import UdpDatagram
from vpnprobe.wire.nonce import NoncePayload, Purpose

T = TypeVar("T")
TAG = 0xABCD1234
PORT = 4500


class Ends:
    """A client that sends, and a server that keeps what comes."""

    def __init__(self) -> None:
        network = SimulatedNetwork(Topology(), seed=1)
        self.stack, self.server = network.stack(CLIENT), network.stack(SERVER)
        self.recorder = Recorder(self.stack, Vantage.CLIENT)
        self.nonces = Nonces(self.stack, TAG)
        self.sender = ProbeSender(self.recorder, self.nonces)
        self.remote = Endpoint(Topology().server_address, PORT)
        self.came: list[Datagram] = []

    def keys(self) -> list[str]:
        return [row.key for row in self.recorder.packet_records]


def story(tell: Callable[[Ends], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        return await tell(Ends())

    return run_virtual(main())


def test_every_packet_is_another_trial() -> None:
    async def tell(ends: Ends) -> None:
        raw = ends.stack.raw(47, lambda _: None)
        ends.server.raw(47, ends.came.append)
        for _ in range(20):
            ends.sender.bare_gre(raw, ends.remote.address)
        await asyncio.sleep(1)
        arrived = [identity.key for datagram in ends.came for identity in identify.gre(datagram.data)]
        assert arrived == ends.keys()
        assert len(set(arrived)) == 20
        assert {row.check for row in ends.recorder.packet_records} == {checks.GRE_BARE}

    story(tell)


def test_esp_has_another_spi_each_time() -> None:
    async def tell(ends: Ends) -> None:
        raw = ends.stack.raw(50, lambda _: None)
        ends.server.raw(50, ends.came.append)
        for _ in range(20):
            ends.sender.esp(raw, ends.remote.address)
        await asyncio.sleep(1)
        packets = [EspPacket.decode(datagram.data) for datagram in ends.came]
        assert len({packet.spi for packet in packets}) == 20
        assert all(packet.spi >= FIRST_USABLE_SPI for packet in packets)
        assert [fingerprint.of_esp(packet) for packet in packets] == ends.keys()

    story(tell)


def test_esp_in_udp_and_payloads() -> None:
    async def tell(ends: Ends) -> None:
        port = await ends.stack.udp(lambda _: None)
        await ends.server.udp(ends.came.append, port=PORT)
        ends.sender.esp_in_udp(port, ends.remote)
        ends.sender.nonce(port, ends.remote, checks.udp_reach(PORT), size=300)
        await asyncio.sleep(1)
        encapsulated, payload = ends.came
        found = identify.esp(checks.ESP_IN_UDP, encapsulated.data)
        assert found is not None
        assert [found.key, NoncePayload.decode(payload.data).key] == ends.keys()
        assert len(payload.data) == 300
        assert [row.peer for row in ends.recorder.packet_records] == [(str(ends.remote.address), PORT)] * 2

    story(tell)


def test_esp_of_a_size_is_an_ip_packet_of_it_and_answered_in_the_same() -> None:
    async def tell(ends: Ends) -> None:
        raw, port = ends.stack.raw(50, lambda _: None), await ends.stack.udp(lambda _: None)
        ends.server.raw(50, ends.came.append)
        await ends.server.udp(ends.came.append, port=PORT)
        ends.sender.esp(raw, ends.remote.address, 1400)
        ends.sender.esp_in_udp(port, ends.remote, 576)
        await asyncio.sleep(1)
        assert [len(ends.came[0].data) + 20, len(ends.came[1].data) + 28] == [1400, 576]
        identity = identify.datagram(PORT, ends.came[1].data)
        assert identity is not None
        ends.sender.answer(port, ends.remote, identity, ends.came[1].data)
        await asyncio.sleep(1)
        assert len(ends.came[2].data) == len(ends.came[1].data)
        assert ends.came[2].data != ends.came[1].data

    story(tell)


def test_an_answer_is_no_echo() -> None:
    async def tell(ends: Ends) -> None:
        port = await ends.stack.udp(lambda _: None)
        asked = ends.nonces.fresh(40)
        identity = identify.datagram(PORT, asked.encode())
        assert identity is not None
        ends.sender.answer(port, ends.remote, identity, asked.encode())
        assert ends.keys() == [asked.answer().key]
        assert ends.keys() != [asked.key]

    story(tell)


def test_an_answer_is_not_answered() -> None:
    async def tell(ends: Ends) -> None:
        port = await ends.stack.udp(lambda _: None)
        answer = ends.nonces.fresh(40).answer().encode()
        identity = identify.datagram(PORT, answer)
        assert identity is not None
        ends.sender.answer(port, ends.remote, identity, answer)
        assert ends.keys() == []

    story(tell)


def test_esp_in_udp_is_answered_by_esp_of_its_own() -> None:
    async def tell(ends: Ends) -> None:
        remote = Endpoint(ends.remote.address, checks.ESP_IN_UDP.port or 0)
        await ends.server.udp(ends.came.append, port=remote.port)
        port = await ends.stack.udp(lambda _: None)
        asked = esp(ends.nonces.fresh(), 4096, checks.ESP_IN_UDP)
        identity = identify.datagram(remote.port, asked.payload)
        assert identity is not None
        ends.sender.answer(port, remote, identity, asked.payload)
        await asyncio.sleep(1)
        (answer,) = ends.came
        found = identify.datagram(remote.port, answer.data)
        assert found is not None
        assert (found.check, found.key) == (checks.ESP_IN_UDP, *ends.keys())
        assert found.key != asked.key

    story(tell)


def test_what_a_packet_is_for_is_recorded_as_it_is_said() -> None:
    async def tell(ends: Ends) -> None:
        port = await ends.stack.udp(lambda _: None)
        check = checks.udp_reach(PORT)
        for purpose in Purpose:
            ends.sender.nonce(port, ends.remote, check, size=100, purpose=purpose)
            asked = ends.nonces.fresh(purpose=purpose)
            ends.sender.answer(port, ends.remote, identify.PacketIdentity(check, asked.key), asked.encode())
        assert [row.purpose for row in ends.recorder.packet_records] == [purpose for purpose in Purpose for _ in range(2)]

    story(tell)


def test_stepped_copies_say_that_they_are_for_a_trace() -> None:
    async def tell(ends: Ends) -> None:
        own = Endpoint(ends.stack.source_address(ends.remote.address), 5000)
        udp = probe_packets.udp(ends.nonces, own, ends.remote, checks.udp_reach(PORT))(7)
        gre, esp = (probe_packets.without_port(ends.nonces, check) for check in (checks.GRE_BARE, checks.ESP))
        assert gre is not None
        assert esp is not None
        found = [
            *identify.gre(gre(7).payload),
            identify.esp(checks.ESP, esp(7).payload),
            identify.nonce(checks.udp_reach(PORT), UdpDatagram.decode(udp.payload).payload),
        ]
        assert [identity.purpose for identity in found if identity is not None] == [Purpose.TRACE] * 3
        ends.recorder.sent(checks.GRE_BARE, "x", ttl=3)
        assert ends.recorder.packet_records[-1].purpose is Purpose.TRACE

    story(tell)


def test_a_conversations_name_ends_in_the_session_and_begins_with_chance() -> None:
    """A filter on the first byte meets another one each time, and the server agent knows whose it is."""

    async def tell(ends: Ends) -> None:
        names = [ends.nonces.conversation() for _ in range(64)]
        assert {name[4:] for name in names} == {TAG.to_bytes(4, "big")}
        assert len({name[:4] for name in names}) == 64
        assert len({name[0] for name in names}) > 16

    story(tell)


def test_beside_another_program_a_packet_looks_as_if_it_came_from_its_port() -> None:
    async def tell(ends: Ends) -> None:
        await ends.server.udp(ends.came.append, port=PORT)
        beside = BesidePort(ends.stack, 1194, ends.remote.address)
        beside.send(b"hello", ends.remote)
        await asyncio.sleep(1)
        (datagram,) = ends.came
        assert (datagram.source, datagram.data) == (Endpoint(Topology().client_address, 1194), b"hello")
        beside.close()

    story(tell)
