"""The small TCP: handshake, refusal, transfers through loss, closing and resetting, and its timers in virtual time."""

import asyncio
import contextlib

import pytest
from simulated_support import Ends, ignore, simulate

from vpnprobe.transports.simulated.tcp_sides import ReceiveSide, RetransmissionTimeout
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Endpoint, Packet, TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Hook, Link, Topology
from vpnprobe.wire.ip import IPv4Packet, TcpFlag, TcpSegment


def lossy(share: float, *, delay_s: float = 0.01) -> Topology:
    return Topology(routers=1, links=(Link(delay_s=delay_s, loss=share), Link(delay_s=delay_s)))


async def connected(ends: Ends, *, port: int = 1723, deadline_s: float = 60) -> tuple[TcpStream, TcpStream]:
    accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
    await ends.server.listen(accepted.put_nowait, port=port)
    client = await ends.client.connect(ends.at_server(port), deadline_s=deadline_s)
    return client, await accepted.get()


async def read_all(stream: TcpStream) -> bytes:
    data = b""
    while chunk := await stream.receive():
        data += chunk
    return data


async def send_all(stream: TcpStream, data: bytes) -> None:
    await stream.send(data)
    await stream.close()


def tcp_segments(packets: list[Packet], *, outgoing: bool) -> list[tuple[float, TcpSegment]]:
    return [(packet.at, TcpSegment.decode(IPv4Packet.decode(packet.data).payload)) for packet in packets if packet.outgoing is outgoing]


def test_the_handshake_takes_one_round_trip_and_carries_the_mss() -> None:
    async def story(ends: Ends) -> tuple[float, list[Packet], TcpStream, TcpStream]:
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        client, server = await connected(ends)
        return ends.client.now(), seen, client, server

    at, seen, client, server = simulate(lossy(0), story)
    assert at == pytest.approx(0.06)  # the acknowledgment has reached the server as well
    syn, ack = (segment for _, segment in tcp_segments(seen, outgoing=True))
    ((_, syn_ack),) = tcp_segments(seen, outgoing=False)
    assert (syn.flags, syn_ack.flags, ack.flags) == (TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK, TcpFlag.ACK)
    assert syn.maximum_segment_size == syn_ack.maximum_segment_size == 1460
    assert syn_ack.acknowledgment == syn.sequence + 1
    assert (client.local, client.remote) == (server.remote, server.local)


@pytest.mark.parametrize(("told", "whole"), [(True, True), (False, False)])
def test_segments_fit_a_small_link_where_a_router_says_so_and_stall_where_none_does(told: bool, whole: bool) -> None:
    seen: list[Packet] = []

    async def story(ends: Ends) -> list[int]:
        ends.client.capture(ends.server_address, seen.append)
        return [await carried(*await connected(ends, port=port)) for port in (443, 444)]

    async def carried(client: TcpStream, server: TcpStream) -> int:
        await client.send(b"x" * 20_000)
        got = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while got < 20_000:
                    got += len(await server.receive())
        return got

    black_holes = () if told else ("r1", "r2")
    got = simulate(Topology(routers=2, links=(Link(), Link(mtu=1300), Link()), black_holes=black_holes), story)
    assert got == ([20_000] * 2 if whole else [0] * 2)
    second = [len(one.payload) for _, one in tcp_segments(seen, outgoing=True) if one.destination_port == 444]
    assert max(second) == (1260 if told else 1460), "what is known of the path holds for the next connection"


def test_a_listener_with_small_segments_is_sent_small_ones() -> None:
    async def story(ends: Ends) -> list[int]:
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        await ends.server.listen(accepted.put_nowait, port=443, segment_bytes=536)
        stream = await ends.client.connect(ends.at_server(443), deadline_s=5)
        await stream.send(b"x" * 3000)
        await (await accepted.get()).receive()
        await asyncio.sleep(1)
        return [len(segment.payload) for _, segment in tcp_segments(seen, outgoing=True)]

    assert max(simulate(lossy(0), story)) == 536


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_hundred_kilobytes_pass_both_ways_through_twenty_percent_loss(seed: int) -> None:
    async def story(ends: Ends) -> tuple[bool, bool, tuple[int, int] | None, float]:
        client, server = await connected(ends)
        up, down = ends.client.entropy(100_000), ends.server.entropy(30_000)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(client, up))
            group.create_task(send_all(server, down))
            at_server, at_client = group.create_task(read_all(server)), group.create_task(read_all(client))
        return at_server.result() == up, at_client.result() == down, client.segments(), ends.client.now()

    up, down, counted, at = simulate(lossy(0.2), story, seed=seed)
    assert up
    assert down
    assert counted is not None
    sent, again = counted
    assert sent - again == 70  # SYN, and 69 of data, the last one with FIN
    assert 5 <= again <= 60
    assert at < 120


def test_without_loss_nothing_is_sent_twice_and_it_is_fast() -> None:
    async def story(ends: Ends) -> tuple[bool, tuple[int, int] | None, float]:
        client, server = await connected(ends)
        task = asyncio.create_task(send_all(client, b"x" * 100_000))
        data = await read_all(server)
        await task
        return data == b"x" * 100_000, client.segments(), ends.client.now()

    intact, counted, at = simulate(lossy(0), story)
    assert (intact, counted) == (True, (70, 0))
    assert at < 0.5


def test_a_slow_link_is_filled_and_survives_its_own_drops() -> None:
    async def story(ends: Ends) -> float:
        client, server = await connected(ends)
        task = asyncio.create_task(send_all(client, b"x" * 100_000))
        assert len(await read_all(server)) == 100_000
        await task
        return ends.client.now()

    slow = Topology(routers=1, links=(Link(delay_s=0.01, rate_bit_s=1_000_000), Link()))
    assert 0.8 < simulate(slow, story) < 8


def test_a_closed_port_refuses_within_a_round_trip() -> None:
    async def story(ends: Ends) -> float:
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(ends.at_server(1723), deadline_s=10)
        assert caught.value.failure is ConnectFailure.REFUSED
        return ends.client.now()

    assert simulate(lossy(0), story) == pytest.approx(0.04)


def test_syns_are_repeated_after_one_three_and_seven_seconds() -> None:
    async def story(ends: Ends) -> list[float]:
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(ends.at_server(1723), deadline_s=10)
        assert caught.value.failure is ConnectFailure.TIMED_OUT
        await asyncio.sleep(60)
        return [round(packet.at - seen[0].at, 3) for packet in seen]

    blocked = Topology(filters=(Filter("r1", protocol=6),))
    assert simulate(blocked, story) == [0.0, 1.0, 3.0, 7.0]


def test_on_bound_is_told_before_the_first_segment() -> None:
    async def story(ends: Ends) -> list[str]:
        order: list[str] = []
        ends.client.capture(ends.server_address, lambda _: order.append("packet"))
        with pytest.raises(ConnectError):
            await ends.client.connect(ends.at_server(1), deadline_s=1, on_bound=lambda local: order.append(str(local.address)))
        return order

    assert simulate(Topology(), story)[:2] == ["10.78.0.1", "packet"]


def test_a_half_closed_stream_still_carries_the_other_way() -> None:
    async def story(ends: Ends) -> tuple[bytes, bytes]:
        client, server = await connected(ends)
        await send_all(client, b"question")
        check = await read_all(server)
        await server.send(b"answer")
        await server.close()
        return check, await read_all(client)

    assert simulate(lossy(0.1), story, seed=4) == (b"question", b"answer")


def test_abort_resets_the_other_end_after_what_it_has_got() -> None:
    async def story(ends: Ends) -> tuple[bytes, ConnectFailure, ConnectFailure]:
        client, server = await connected(ends)
        await client.send(b"last words")
        await asyncio.sleep(1)
        client.abort()
        await asyncio.sleep(1)
        data = await server.receive()
        with pytest.raises(ConnectError) as at_server:
            await server.receive()
        with pytest.raises(ConnectError) as at_client:
            await client.send(b"more")
        with pytest.raises(ConnectError):
            await server.send(b"more")
        return data, at_server.value.failure, at_client.value.failure

    assert simulate(Topology(), story) == (b"last words", ConnectFailure.RESET, ConnectFailure.RESET)


def test_a_path_that_dies_ends_in_a_time_out() -> None:
    async def story(ends: Ends) -> tuple[ConnectFailure, float]:
        client, _ = await connected(ends)
        await client.send(b"x" * 600)
        with pytest.raises(ConnectError) as caught:
            await client.receive()
        return caught.value.failure, ends.client.now()

    failure, at = simulate(Topology(filters=(Filter("r2", protocol=6, longer_than=500),)), story)
    assert failure is ConnectFailure.TIMED_OUT
    assert 600 < at < 1200


def test_a_small_mtu_shrinks_the_segments() -> None:
    async def story(ends: Ends) -> bytes:
        client, server = await connected(ends)
        await send_all(client, b"x" * 5000)
        return await read_all(server)

    narrow = Topology(links=(Link(), Link(mtu=600), Link(), Link()))
    assert simulate(narrow, story) == b"x" * 5000


def test_close_is_heard_when_nobody_reads_and_ports_are_free_again() -> None:
    async def story(ends: Ends) -> tuple[int, int]:
        client, server = await connected(ends)
        await client.close()
        await server.close()
        await asyncio.sleep(200)
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        await asyncio.sleep(1000)
        with pytest.raises(ConnectError):
            await client.send(b"late")
        return len(seen), len(await server.receive())

    assert simulate(Topology(), story) == (0, 0)


def test_many_connections_to_one_listener() -> None:
    async def story(ends: Ends) -> set[bytes]:
        async def echo(stream: TcpStream) -> None:
            await send_all(stream, await read_all(stream))

        tasks: set[asyncio.Task[None]] = set()
        await ends.server.listen(lambda stream: tasks.add(asyncio.create_task(echo(stream))), port=443)

        async def ask(number: int) -> bytes:
            stream = await ends.client.connect(ends.at_server(443), deadline_s=60)
            await send_all(stream, b"%d" % number)
            return await read_all(stream)

        return set(await asyncio.gather(*(ask(number) for number in range(20))))

    assert simulate(lossy(0.1), story, seed=2) == {b"%d" % number for number in range(20)}


def test_a_host_talks_to_itself() -> None:
    async def story(ends: Ends) -> bytes:
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        await ends.client.listen(accepted.put_nowait, port=8080)
        stream = await ends.client.connect(Endpoint(ends.client_address, 8080), deadline_s=1)
        await (await accepted.get()).send(b"mine")
        return await stream.receive(2) + await stream.receive()

    assert simulate(Topology(), story) == b"mine"


def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    async def story(ends: Ends) -> int:
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        task = asyncio.create_task(ends.client.connect(ends.at_server(1723), deadline_s=100))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        before = len(seen)
        await asyncio.sleep(100)
        return len(seen) - before

    assert simulate(Topology(filters=(Filter(SERVER, hook=Hook.INPUT, protocol=6),)), story) == 0


def test_an_unreachable_answer_ends_only_the_handshake() -> None:
    async def story(ends: Ends) -> bytes:
        client, server = await connected(ends)
        await client.send(b"a")
        assert await server.receive() == b"a"
        for ttl in (1, 2):
            segment = TcpSegment(client.local.port, 1723, 0, flags=TcpFlag.ACK).encode(ends.client_address, ends.server_address)
            ends.client.send_packet(IPv4Packet(ends.client_address, ends.server_address, 6, ttl, payload=segment).encode())
        await asyncio.sleep(1)
        await client.send(b"b")
        return await server.receive()

    assert simulate(Topology(), story) == b"b"


def test_segments_are_put_in_order_whatever_comes() -> None:
    side = ReceiveSide()
    side.initial, side.next = 0xFFFFFFF0, 1
    wire = [(11, b"ghi"), (5, b"abXX"[:2]), (1, b"0123"), (5, b"abcdef"), (1, b"0123"), (9, b"efghi")]
    for offset, payload in wire:
        assert side.offset((side.initial + offset) % 2**32) == offset
        side.take(offset, payload)
    assert bytes(side.data) == b"0123abcdefghi"
    assert side.next == 14


def test_the_time_out_follows_the_measured_round_trip() -> None:
    timeout = RetransmissionTimeout()
    assert timeout.seconds == 1.0
    for _ in range(50):
        timeout.measured(0.05)
    assert timeout.seconds == pytest.approx(0.25, abs=0.01)
    timeout.backoff = 3
    assert timeout.seconds == pytest.approx(2.0, abs=0.1)
    timeout.backoff = 40
    assert timeout.seconds == 120.0


def test_a_client_whose_own_firewall_drops_times_out() -> None:
    async def story(ends: Ends) -> ConnectFailure:
        await ends.server.listen(ignore, port=1723)
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(ends.at_server(1723), deadline_s=3)
        return caught.value.failure

    rule = Filter(CLIENT, hook=Hook.INPUT, protocol=6)
    assert simulate(Topology(filters=(rule,)), story) is ConnectFailure.TIMED_OUT
