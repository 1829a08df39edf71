"""What sockets were open when, and what came out of them."""

import asyncio

from vpnprobe.endpoint.socket_log import Slot, SocketLog, digest_of
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Address, Datagram, Endpoint
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.ip import IpProtocol


def test_datagrams_are_told_beside_who_reads_them_and_sockets_are_known_while_open() -> None:
    async def main() -> None:
        network = SimulatedNetwork(Topology(), seed=1)
        log, told, read = SocketLog(network.stack(SERVER)), list[tuple[Slot, Address, bytes]](), list[Datagram]()
        log.listeners.append(lambda *delivery: told.append(delivery))
        client = await network.stack(CLIENT).udp(lambda _: None)
        before = log.watched.now()
        server = await log.watched.udp(read.append, port=1194)
        slot = Slot(int(IpProtocol.UDP), 1194)
        client.send(b"asked", Endpoint(Topology().server_address, 1194))
        await asyncio.sleep(1.0)
        assert [datagram.data for datagram in read] == [b"asked"]
        assert told == [(slot, client.local.address, b"asked")]
        when = log.when_open(slot)
        assert when is not None
        assert when.covers(before, log.watched.now())
        server.close()
        closed = log.watched.now()
        await asyncio.sleep(1.0)
        assert not when.covers(before, log.watched.now())
        assert when.covers(before, closed)
        assert log.when_open(Slot(int(IpProtocol.UDP), 53)) is None

    run_virtual(main())


def test_raw_sockets_are_known_by_their_protocol() -> None:
    async def main() -> None:
        network = SimulatedNetwork(Topology(), seed=1)
        log, told = SocketLog(network.stack(SERVER)), list[Slot]()
        log.listeners.append(lambda slot, *_: told.append(slot))
        raw = log.watched.raw(47, lambda _: None)
        network.stack(CLIENT).raw(47, lambda _: None).send(b"\0\0\x88\xb5data", Topology().server_address)
        await asyncio.sleep(1.0)
        assert told == [Slot(47)]
        assert raw.send(b"\0\0\x88\xb5data", Topology().client_address)
        raw.close()
        when = log.when_open(Slot(47))
        assert when is not None
        assert when.to_s is not None
        assert log.watched.raw(47, lambda _: None, version=6) is not None

    run_virtual(main())


def test_a_socket_whose_buffer_overflowed_says_so() -> None:
    async def main() -> None:
        log = SocketLog(SimulatedNetwork(Topology(), seed=1).stack(SERVER))
        port = await log.watched.udp(lambda _: None, port=1194)
        slot = Slot(int(IpProtocol.UDP), port.local.port)
        when = log.when_open(slot)
        assert when is not None
        log.delivered(slot, Datagram(b"", Endpoint(Topology().client_address, 1), 0.0))
        assert not when.overflowed
        log.delivered(slot, Datagram(b"", Endpoint(Topology().client_address, 1), 0.0, overflowed=True))
        assert when.overflowed

    run_virtual(main())


def test_a_digest_tells_contents_apart() -> None:
    assert digest_of(b"one") == digest_of(b"one") != digest_of(b"other")
