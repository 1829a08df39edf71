"""UDP ports of the operating system, on loopback."""

import asyncio
import errno
from ipaddress import IPv4Address

import pytest
from system_support import LOOPBACK, LOOPBACK6, soon, stack

from vpnprobe.errors import CannotRun, UsageError
from vpnprobe.transports.stack import Address, Datagram, Endpoint, PortUnavailable
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.system import stack as system_stack
from vpnprobe.transports.system.addresses import has_ipv6

ADDRESSES = [LOOPBACK, pytest.param(LOOPBACK6, marks=pytest.mark.skipif(not has_ipv6(), reason="needs IPv6"))]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_datagram_and_its_answer_carry_data_source_and_ttl(address: Address) -> None:
    async def main() -> tuple[Datagram, Datagram]:
        host = stack()
        asked: asyncio.Queue[Datagram] = asyncio.Queue()
        answered: asyncio.Queue[Datagram] = asyncio.Queue()
        server = await host.udp(asked.put_nowait)
        client = await host.udp(answered.put_nowait)
        client.send(b"question", Endpoint(address, server.local.port), ttl=7)
        check = await soon(asked.get())
        server.send(b"answer", check.source)
        answer = await soon(answered.get())
        assert check.source == Endpoint(address, client.local.port)
        assert answer.source == Endpoint(address, server.local.port)
        assert check.at <= answer.at <= host.now()
        server.close()
        client.close()
        return check, answer

    check, answer = asyncio.run(main())
    assert (check.data, check.ttl) == (b"question", 7)
    assert (answer.data, answer.ttl) == (b"answer", 64)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_port_unreachable_is_reported_and_costs_no_later_datagram(address: Address) -> None:
    async def main() -> tuple[Endpoint, Endpoint, list[bytes]]:
        host = stack()
        refused: asyncio.Queue[Endpoint] = asyncio.Queue()
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        server = await host.udp(got.put_nowait)
        client = await host.udp(lambda datagram: None, on_refused=refused.put_nowait)
        nobody = await host.udp(lambda datagram: None)
        closed = Endpoint(address, nobody.local.port)
        nobody.close()
        # Both go out before the loop reads a thing: the first one's ICMP error is on the socket when the second is sent.
        client.send(b"to nobody", closed)
        client.send(b"one", Endpoint(address, server.local.port))
        client.send(b"two", Endpoint(address, server.local.port))
        named = await soon(refused.get())
        received = [(await soon(got.get())).data for _ in range(2)]
        server.close()
        client.close()
        return named, closed, received

    named, closed, received = asyncio.run(main())
    assert named == closed
    assert received == [b"one", b"two"]


def test_a_port_in_use_says_so() -> None:
    async def main() -> None:
        host = stack()
        first = await host.udp(lambda datagram: None)
        with pytest.raises(PortUnavailable) as caught:
            await host.udp(lambda datagram: None, port=first.local.port)
        assert caught.value.in_use
        first.close()
        again = await host.udp(lambda datagram: None, port=first.local.port)
        assert again.local.port == first.local.port
        again.close()

    asyncio.run(main())


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_a_port_that_only_ipv6_has_in_use_is_not_taken_in_ipv4() -> None:
    async def main() -> None:
        host = stack()
        other = await host.udp(lambda datagram: None, address=LOOPBACK6)
        with pytest.raises(PortUnavailable):
            await host.udp(lambda datagram: None, port=other.local.port)
        alone = await host.udp(lambda datagram: None, port=other.local.port, address=LOOPBACK)
        alone.close()
        other.close()

    asyncio.run(main())


def test_an_address_of_another_host_is_a_usage_error() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match=r"192\.0\.2\.77 is not an address of this host"):
            await stack().udp(lambda datagram: None, address=Endpoint(LOOPBACK, 0).address.__class__("192.0.2.77"))

    asyncio.run(main())


def test_sending_raises_nothing_for_what_the_kernel_refuses() -> None:
    async def main() -> list[bytes]:
        host = stack()
        got: asyncio.Queue[Datagram] = asyncio.Queue()
        port = await host.udp(got.put_nowait, address=LOOPBACK)
        port.send(bytes(70_000), Endpoint(LOOPBACK, port.local.port))  # longer than any datagram
        port.send(b"wrong family", Endpoint(LOOPBACK6, port.local.port))
        port.send(b"to port 0", Endpoint(LOOPBACK, 0))
        port.send(b"fine", Endpoint(LOOPBACK, port.local.port))
        received = [(await soon(got.get())).data]
        port.close()
        port.send(b"closed", Endpoint(LOOPBACK, 9))
        port.close()
        return received

    assert asyncio.run(main()) == [b"fine"]


def test_closing_from_within_the_callback_ends_delivery() -> None:
    async def main() -> int:
        host = stack()
        seen: list[Datagram] = []
        done = asyncio.Event()

        def once(datagram: Datagram) -> None:
            seen.append(datagram)
            server.close()
            done.set()

        server = await host.udp(once)
        client = await host.udp(lambda datagram: None)
        for _ in range(3):
            client.send(b"x", Endpoint(LOOPBACK, server.local.port))
        await soon(done.wait())
        client.close()
        return len(seen)

    assert asyncio.run(main()) == 1


def test_the_source_address_follows_the_route() -> None:
    host = SystemStack()
    assert host.source_address(LOOPBACK) == LOOPBACK
    with pytest.raises(CannotRun, match=r"no route to fe80::1%nowhere"):
        host.source_address(LOOPBACK6.__class__("fe80::1%nowhere"))


def test_entropy_and_clocks() -> None:
    host = stack()
    assert len(host.entropy(16)) == 16
    assert host.entropy(16) != host.entropy(16)
    assert host.now() <= host.now()
    assert host.unix_time() > 1_600_000_000


def test_the_source_address_is_kept_while_a_link_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    host = SystemStack()
    assert host.source_address(LOOPBACK) == LOOPBACK

    def unreachable(_: Endpoint) -> tuple[str, int]:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(system_stack, "to_socket", unreachable)
    assert host.source_address(LOOPBACK) == LOOPBACK
    with pytest.raises(CannotRun, match=r"no route to 192\.0\.2\.1"):
        host.source_address(IPv4Address("192.0.2.1"))
