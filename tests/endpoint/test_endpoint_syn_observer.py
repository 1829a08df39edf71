"""The client's wire: the initial sequence number of each attempt of ours, and nothing of what others send."""

from ipaddress import IPv4Address
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.syn_observer import SynObserver
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import SEQUENCE
from vpnprobe.evidence.packet_records import Movement, Vantage
from vpnprobe.transports.stack import Endpoint, NetworkStack, Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

CLIENT, SERVER = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2")


class Clock:
    """All that a recorder asks of a network stack."""

    def now(self) -> float:
        return 0.0


class Wire:
    """A client that tries tcp/1723 from port 40000, and what its capture shows."""

    def __init__(self) -> None:
        self.recorder = Recorder(cast("NetworkStack", Clock()), Vantage.CLIENT)
        self.observer = SynObserver(self.recorder)
        self.key = self.recorder.attempted(checks.tcp_reach(1723), Endpoint(CLIENT, 40000), to=Endpoint(SERVER, 1723))

    def shows(self, segment: TcpSegment, *, outgoing: bool = True, ttl: int = 64) -> None:
        ends = (CLIENT, SERVER) if outgoing else (SERVER, CLIENT)
        packet = IPv4Packet(*ends, IpProtocol.TCP, ttl, 7, segment.encode(CLIENT, SERVER))
        self.observer(Packet(packet.encode(), 0.0, outgoing))

    @property
    def noted(self) -> list[object]:
        return [row.detail[SEQUENCE] for row in self.recorder.packet_records if SEQUENCE in row.detail]


def syn(number: int = 9, *, port: int = 40000, server_port: int = 1723, flags: TcpFlag = TcpFlag.SYN) -> TcpSegment:
    return TcpSegment(port, server_port, number, flags=flags)


def test_the_number_stands_beside_the_attempt_once_however_often_its_syn_is_repeated() -> None:
    wire = Wire()
    for _ in range(3):
        wire.shows(syn())
    assert wire.noted == [9]
    rows = wire.recorder.packet_records
    assert {(row.check, row.key, row.message, row.movement) for row in rows} == {(checks.tcp_reach(1723), wire.key, "SYN", Movement.SENT)}


def test_a_port_that_is_used_again_begins_another_attempt() -> None:
    wire = Wire()
    wire.shows(syn(9))
    wire.shows(syn(10))
    assert wire.noted == [9, 10]


def test_what_is_no_attempt_of_ours_is_left_out() -> None:
    wire = Wire()
    wire.shows(syn(port=40001))
    wire.shows(syn(server_port=443))
    wire.shows(syn(), outgoing=False)
    wire.shows(syn(), ttl=3)
    wire.shows(syn(flags=TcpFlag.SYN | TcpFlag.ACK))
    wire.shows(syn(flags=TcpFlag.ACK))
    assert wire.noted == []


def syn_ack(number: int = 9) -> TcpSegment:
    return TcpSegment(1723, 40000, 100, number + 1, TcpFlag.SYN | TcpFlag.ACK)


def rst(number: int = 10) -> TcpSegment:
    return TcpSegment(40000, 1723, number, flags=TcpFlag.RST)


def answers(wire: Wire) -> list[tuple[str, str]]:
    return [(row.key, row.message) for row in wire.recorder.packet_records if row.movement is Movement.RECEIVED]


def test_an_answer_that_nobody_waited_for_any_more_came_all_the_same() -> None:
    wire = Wire()
    wire.shows(syn())
    wire.recorder.attempts_over.add((checks.tcp_reach(1723), wire.key))
    for _ in range(2):  # A server says it again until it is refused.
        wire.shows(syn_ack(), outgoing=False)
        wire.shows(rst())
    assert answers(wire) == [(wire.key, "SYN-ACK")] * 2


@pytest.mark.parametrize("told", ["waited for", "not refused", "refused for something else", "rejected by a firewall before"])
def test_an_answer_that_may_not_have_come_through_is_none(told: str) -> None:
    wire = Wire()
    wire.shows(syn())
    if told == "rejected by a firewall before":
        wire.shows(syn_ack(), outgoing=False)
        wire.shows(rst())
    if told != "waited for":
        wire.recorder.attempts_over.add((checks.tcp_reach(1723), wire.key))
    wire.shows(syn_ack(), outgoing=False)
    if told != "not refused":
        wire.shows(rst(11 if told == "refused for something else" else 10))
    assert answers(wire) == []


@given(st.binary(max_size=60))
@pytest.mark.parametrize("head", [b"", bytes.fromhex("4500 0028 0001 0000 4006 0000 c0000201 c6336407")])
def test_bytes_that_cannot_be_read_give_nothing(head: bytes, data: bytes) -> None:
    wire = Wire()
    wire.observer(Packet(head + data, 0.0, True))
    assert wire.noted == []
