"""Whatever bytes are sent into the network, nothing in it raises, and the right ones are refused in the right way."""

import asyncio
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_support import ignore

from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.simulated.replies import echo_reply, may_be_answered, reset_for
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    Action,
    Filter,
    Link,
    Mapping,
    Nat,
    Recutting,
    Service,
    StatefulFirewall,
    Topology,
)
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, OtherIcmp, Quote
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, checksum_fits

A = IPv4Address("192.0.2.1")
B = IPv4Address("198.51.100.7")
PROTOCOLS = [1, 6, 17, 47, 50, 99]
EVERYTHING = Topology(
    filters=(Filter("r3", Action.REJECT_RST, ports=(9,), payload_offset=1, payload=b"x"), Filter("r2", Action.REJECT_ADMIN, ports=(7,))),
    nats=(Nat("r1", pptp_helper=True), Nat("r3", inside=SERVER, forwards=(Service(),), mapping=Mapping.ENDPOINT, new_ports=True)),
    firewalls=(StatefulFirewall("r2"), StatefulFirewall(SERVER, SERVER, allows=(Service(),))),
    recuttings=(Recutting("r2", most_bytes=7, merge_s=0.001),),
    links=(Link(), Link(mtu=68), Link(jitter_s=0.001, duplicate=0.1), Link()),
    icmp_errors_per_s=0,
)
PPTP_START = TcpSegment(40000, 1723, 1, payload=b"\0\x9c\0\1\x1a\x2b\x3c\x4d\0").encode(A, B)

payloads = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=30).map(lambda rest: b"\x03\x04\0\0\0\0\0\0\x45" + rest),
    st.binary(max_size=30).map(lambda rest: b"\x30\x01\x88\x0b" + rest),
    st.binary(max_size=30).map(lambda rest: PPTP_START + rest),
)
sent = st.tuples(st.booleans(), st.sampled_from(PROTOCOLS), st.integers(1, 8), payloads, st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(st.lists(sent, max_size=12))
def test_any_bytes_from_either_end_raise_nothing(packets: list[tuple[bool, int, int, bytes, int]]) -> None:
    async def story() -> list[dict[str, Any]]:
        troubles: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        network = SimulatedNetwork(EVERYTHING, seed=1)
        client, server = network.stack(CLIENT), network.stack(SERVER)
        await server.listen(ignore, port=1723)
        await client.udp(ignore, port=4500)
        for from_client, protocol, ttl, payload, offset in packets:
            ends = (EVERYTHING.client_address, EVERYTHING.public_address(SERVER))
            source, destination = ends if from_client else (EVERYTHING.server_address, IPv4Address("10.78.1.1"))
            packet = IPv4Packet(source, destination, protocol, ttl, 5, payload, fragment_offset=offset if offset == 3 else 0)
            (client if from_client else server).send_packet(packet.encode())
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        return troubles

    assert run_virtual(story()) == []


def tcp(flags: int, *, sequence: int = 100, acknowledgment: int = 0, payload: bytes = b"") -> IPv4Packet:
    segment = TcpSegment(40000, 1723, sequence, acknowledgment, flags, payload=payload)
    return IPv4Packet(A, B, IpProtocol.TCP, payload=segment.encode(A, B))


def test_a_reset_takes_its_numbers_from_what_it_answers() -> None:
    for_syn, for_ack = reset_for(tcp(TcpFlag.SYN, payload=b"abc")), reset_for(tcp(TcpFlag.ACK, acknowledgment=777))
    assert for_syn is not None
    assert for_ack is not None
    first, second = TcpSegment.decode(for_syn.payload), TcpSegment.decode(for_ack.payload)
    assert (first.sequence, first.acknowledgment, first.flags) == (0, 104, TcpFlag.RST | TcpFlag.ACK)
    assert (second.sequence, second.flags) == (777, TcpFlag.RST)
    assert (for_syn.source, for_syn.destination) == (B, A)
    assert checksum_fits(B, A, IpProtocol.TCP, for_syn.payload)


def test_nothing_resets_a_reset_or_what_cannot_be_read() -> None:
    assert reset_for(tcp(TcpFlag.RST)) is None
    assert reset_for(IPv4Packet(A, B, IpProtocol.TCP, payload=b"short")) is None
    damaged = tcp(TcpFlag.SYN).payload[:-1] + b"\x01"
    assert reset_for(IPv4Packet(A, B, IpProtocol.TCP, payload=damaged)) is None


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (IPv4Packet(A, B, 47, payload=b"12345678"), True),
        (IPv4Packet(A, B, 47, payload=b"12345678", fragment_offset=1), False),
        (IPv4Packet(IPv4Address("0.0.0.0"), B, 47), False),
        (IPv4Packet(IPv4Address("224.0.0.1"), B, 47), False),
        (IPv4Packet(A, B, 1, payload=EchoRequest(1, 1).encode()), True),
        (IPv4Packet(A, B, 1, payload=OtherIcmp(5, 0, b"1234").encode()), False),
        (IPv4Packet(A, B, 1, payload=DestinationUnreachable(1, Quote(IPv4Packet(B, A, 47))).encode()), False),
        (IPv4Packet(A, B, 1, payload=b"\x03"), False),
    ],
)
def test_what_an_icmp_error_may_answer(packet: IPv4Packet, expected: bool) -> None:
    assert may_be_answered(packet) is expected


def test_only_an_echo_request_is_echoed() -> None:
    assert echo_reply(IPv4Packet(A, B, 1, payload=EchoReply(1, 1).encode())) is None
    assert echo_reply(IPv4Packet(A, B, 1, payload=b"\x08")) is None
