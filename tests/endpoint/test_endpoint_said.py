"""What conversations said, kept for copies, and found again on this end's wire."""

from ipaddress import IPv4Address

import pytest

from vpnprobe.endpoint.probe_packets import ProbePacketMaker, said_again, segment_again, syn_ack_again
from vpnprobe.endpoint.said import KEPT_OF_A_MESSAGE, MOST_BYTES, Said, taken
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram, checksum_fits
from vpnprobe.wire.nonce import NoncePayload

OWN, PEER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
OVER_UDP, OVER_TCP = (checks.openvpn_handshake(transport, 443) for transport in (Transport.UDP, Transport.TCP))
HELLO = bytes(range(100, 180))


def packet(upper: TcpSegment | UdpDatagram, *, outgoing: bool = True, ttl: int = 64) -> Packet:
    source, destination = (OWN, PEER) if outgoing else (PEER, OWN)
    protocol = IpProtocol.TCP if isinstance(upper, TcpSegment) else IpProtocol.UDP
    data = upper.encode(source, destination)
    return Packet(IPv4Packet(source, destination, protocol, ttl, 7, data, dont_fragment=True).encode(), 0.0, outgoing)


def datagram(data: bytes, port: int = 443, **how: bool | int) -> Packet:
    return packet(UdpDatagram(40000, port, data), outgoing=bool(how.get("outgoing", True)), ttl=int(how.get("ttl", 64)))


def segment(data: bytes, flags: TcpFlag = TcpFlag.ACK, source: int = 40000, destination: int = 443) -> Packet:
    return packet(TcpSegment(source, destination, 1000, 2000, flags, payload=data))


def said(check: Check, data: bytes = HELLO) -> Said:
    kept = Said()
    kept.keep(check, "hello", "k", data)
    return kept


def sent(make: ProbePacketMaker | None) -> bytes | None:
    return None if make is None else make(1).payload


class TestSaid:
    def test_the_first_that_is_kept_of_those_wanted(self) -> None:
        kept = said(OVER_UDP)
        kept.keep(OVER_UDP, "hello", "other", b"second")
        assert kept.first_of(OVER_UDP, [("bye", "k"), ("hello", "gone"), ("hello", "other"), ("hello", "k")]) == b"second"
        assert kept.first_of(OVER_TCP, [("hello", "k")]) is None

    def test_the_newest_of_a_message_are_kept(self) -> None:
        kept = Said()
        for number in range(KEPT_OF_A_MESSAGE + 1):
            kept.keep(OVER_UDP, "data", str(number), number.to_bytes(2, "big"))
        assert [kept.first_of(OVER_UDP, [("data", key)]) for key in ("0", "1")] == [None, b"\0\x01"]

    def test_messages_without_end_do_not_fill_the_memory(self) -> None:
        kept, half = Said(), bytes(MOST_BYTES // 2)
        for name, key in (("one", "a"), ("other", "b"), ("one", "c"), ("third", "d")):
            kept.keep(OVER_UDP, name, key, half)
        found = [kept.first_of(OVER_UDP, [one]) is not None for one in (("one", "a"), ("other", "b"), ("one", "c"), ("third", "d"))]
        assert found == [False, True, True, False]

    def test_a_message_that_is_said_again_is_kept_once(self) -> None:
        kept, half = Said(), bytes(MOST_BYTES // 2)
        for _ in range(5):
            kept.keep(OVER_UDP, "hello", "k", half)
        kept.keep(OVER_UDP, "other", "k", half)
        assert kept.first_of(OVER_UDP, [("other", "k")]) == half


@pytest.mark.parametrize(("size", "length_bytes", "found"), [(0, 0, b"ab"), (3, 0, b"abc"), (1, 2, b"abc"), (9, 2, None)])
def test_what_a_step_put_on_the_wire_is_told_by_its_size(size: int, length_bytes: int, found: bytes | None) -> None:
    left = [b"ab", b"abc"]
    assert taken(left, size, length_bytes) == found
    assert len(left) == (2 if found is None else 1)


class TestSaidAgain:
    LOST = (("hello", "k"),)

    def test_a_datagram_with_its_ports_size_and_flags(self) -> None:
        make = said_again([datagram(b"before"), datagram(HELLO), datagram(b"after")], said(OVER_UDP), OVER_UDP, self.LOST, Vantage.CLIENT)
        assert make is not None
        found = make(9)
        assert UdpDatagram.decode(found.payload).payload == HELLO
        assert (found.protocol, found.key, found.dont_fragment) == (17, "", True)

    def test_the_newest_segment_that_carries_the_message(self) -> None:
        wire = [segment(HELLO), segment(b"\0\0" + HELLO + b"more"), segment(b"another")]
        payload = sent(said_again(wire, said(OVER_TCP), OVER_TCP, self.LOST, Vantage.CLIENT))
        assert payload is not None
        assert TcpSegment.decode(payload).payload == b"\0\0" + HELLO + b"more"

    def test_checksums_that_offloading_left_out_are_made(self) -> None:
        whole = datagram(HELLO)
        without = Packet(whole.data[:26] + b"\x12\x34" + whole.data[28:], 0.0, True)
        payload = sent(said_again([without], said(OVER_UDP), OVER_UDP, self.LOST, Vantage.CLIENT))
        assert payload is not None
        assert checksum_fits(OWN, PEER, IpProtocol.UDP, payload)

    @pytest.mark.parametrize(
        "wire",
        [
            [],
            [datagram(HELLO, outgoing=False)],
            [datagram(HELLO, ttl=3)],
            [datagram(HELLO, port=80)],
            [datagram(b"another")],
            [segment(HELLO)],
            [Packet(b"\x45", 0.0, True)],
            [Packet(datagram(HELLO).data[:25], 0.0, True)],
        ],
        ids=["nothing", "came", "copy", "port", "message", "transport", "short", "cut"],
    )
    def test_what_is_not_on_the_wire_is_not_sent(self, wire: list[Packet]) -> None:
        assert said_again(wire, said(OVER_UDP), OVER_UDP, self.LOST, Vantage.CLIENT) is None

    def test_a_payload_of_ours_is_known_without_a_message(self) -> None:
        ours = EspPacket(5000, 1, NoncePayload(7, 8, 56).encode()).encode()
        wire = [datagram(ours, port=4500), datagram(b"\0\0\0\0other", port=4500), segment(b"", destination=4500)]
        payload = sent(said_again(wire, Said(), checks.ESP_IN_UDP, (), Vantage.CLIENT))
        assert payload is not None
        assert UdpDatagram.decode(payload).payload == ours
        assert said_again(wire, Said(), checks.udp_reach(4500), (), Vantage.CLIENT) is None


def test_the_port_is_the_servers_at_either_end() -> None:
    """Clients have ports at random, and one may be the number of another port of the server."""
    ours = NoncePayload(7, 8, 56).encode()
    wire = [packet(UdpDatagram(51194, 443, ours))]
    check = checks.udp_reach(51194)
    assert said_again(wire, Said(), check, (), Vantage.CLIENT) is None
    assert said_again(wire, Said(), checks.udp_reach(443), (), Vantage.CLIENT) is not None
    assert said_again(wire, Said(), check, (), Vantage.SERVER) is not None


def test_an_answer_to_a_syn() -> None:
    answer = segment(b"", TcpFlag.SYN | TcpFlag.ACK, source=443, destination=40000)
    payload = sent(syn_ack_again([segment(b"", TcpFlag.SYN), answer, segment(b"x")], checks.tcp_reach(443)))
    assert payload is not None
    assert TcpSegment.decode(payload).flags == TcpFlag.SYN | TcpFlag.ACK
    assert syn_ack_again([segment(b"", TcpFlag.SYN)], checks.tcp_reach(443)) is None


def test_a_segment_of_a_connection_that_is_up() -> None:
    wire = [
        segment(b"", TcpFlag.SYN, destination=7117),
        segment(b"ask", destination=7117),
        segment(b"", TcpFlag.ACK | TcpFlag.FIN, destination=7117),
        segment(b"else"),
    ]
    payload = sent(segment_again(wire, checks.CONTROL, 40000, 7117))
    assert payload is not None
    assert TcpSegment.decode(payload).payload == b"ask"
    assert segment_again([datagram(b"x", port=7117)], checks.CONTROL, 40000, 7117) is None
