"""Ports that another program of an end has: nobody else gets them, and it answers what it answers."""

import asyncio

import pytest
from simulated_support import Ends, ignore, simulate

from vpnprobe.transports.stack import Datagram, PortUnavailable
from vpnprobe.transports.topology import SERVER, TakenPort, Topology

TCP, UDP = 6, 17


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_the_port_is_in_use_and_others_are_not(protocol: int) -> None:
    async def story(ends: Ends) -> bool:
        bind = ends.server.listen if protocol == TCP else ends.server.udp
        await bind(ignore, port=1195)
        await ends.client.udp(ignore, port=1194)
        with pytest.raises(PortUnavailable) as caught:
            await bind(ignore, port=1194)
        return caught.value.in_use

    assert simulate(Topology(taken_ports=(TakenPort(SERVER, protocol, 1194),)), story)


@pytest.mark.parametrize("answer", [b"", b"not yours"])
def test_what_it_answers_over_udp(answer: bytes) -> None:
    async def story(ends: Ends) -> tuple[list[bytes], int]:
        got: list[Datagram] = []
        client = await ends.client.udp(got.append)
        client.send(b"one", ends.at_server(1194))
        client.send(b"two", ends.at_server(1194))
        await asyncio.sleep(1)
        return [datagram.data for datagram in got], len(ends.client_icmp)

    assert simulate(Topology(taken_ports=(TakenPort(SERVER, UDP, 1194, answer),)), story) == ([answer] * 2 if answer else [], 0)


@pytest.mark.parametrize("answer", [b"", b"220 mail"])
def test_what_it_answers_over_tcp(answer: bytes) -> None:
    async def story(ends: Ends) -> bytes:
        stream = await ends.client.connect(ends.at_server(1194), deadline_s=3)
        await stream.send(b"hello")
        try:
            async with asyncio.timeout(5):
                return await stream.receive()
        except TimeoutError:
            return b""

    assert simulate(Topology(taken_ports=(TakenPort(SERVER, TCP, 1194, answer),)), story) == answer


def test_a_connection_that_is_gone_is_no_trouble() -> None:
    async def story(ends: Ends) -> list[dict[str, object]]:
        troubles: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        (await ends.client.connect(ends.at_server(1194), deadline_s=3)).abort()
        await asyncio.sleep(1)
        return troubles

    assert simulate(Topology(taken_ports=(TakenPort(SERVER, TCP, 1194, b"x"),)), story) == []
