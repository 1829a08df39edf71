"""Which captured packets are the probes' own: by ports, Call IDs and nonces; a tunnel or a shell beside them is left out."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.openvpn import CIPHERTEXT_KEPT
from vpnprobe.endpoint import run_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.endpoint.run_capture import RunCapture, Scope, belongs, without_ciphertext
from vpnprobe.evidence.identify import BARE_PROTOCOL
from vpnprobe.evidence.own_queues import MAY_BE_FULL_S, OwnQueue
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.openvpn import ControlV1, DataV1, DataV2, Reliable, frame

OWN, PEER, ROUTER, OTHER = (IPv4Address(text) for text in ("192.0.2.1", "198.51.100.2", "203.0.113.9", "203.0.113.77"))
SCOPE = Scope(
    str(PEER),
    frozenset({(Transport.UDP, 500), (Transport.TCP, 1723)}),
    frozenset({(Transport.UDP, 40000), (Transport.TCP, 41000)}),
    frozenset({1234}),
)
NONCE = NoncePayload(7, 1, 56).encode()


def ip(protocol: int, payload: bytes, *, outgoing: bool = True, peer: IPv4Address = PEER) -> bytes:
    ends = (OWN, peer) if outgoing else (peer, OWN)
    return IPv4Packet(*ends, protocol, 64, 5, payload).encode()


def udp(client: int, server: int, *, outgoing: bool = True, data: bytes = b"x" * 20) -> bytes:
    ports, ends = ((client, server), (OWN, PEER)) if outgoing else ((server, client), (PEER, OWN))
    return UdpDatagram(*ports, data).encode(*ends)


def tcp(client: int, server: int) -> bytes:
    return TcpSegment(client, server, 1, 0, TcpFlag.SYN).encode(OWN, PEER)


ESP_OURS, ESP_OTHERS = EspPacket(0x1000, 1, NONCE).encode(), EspPacket(0x1000, 1, b"ciphertext of a tunnel").encode()


@pytest.mark.parametrize(
    ("protocol", "payload", "kept"),
    [
        (IpProtocol.UDP, udp(40000, 500), True),
        (IpProtocol.UDP, udp(40001, 500), False),
        (IpProtocol.UDP, udp(40000, 53), False),
        (IpProtocol.UDP, b"\x9c\x40", False),
        (IpProtocol.TCP, tcp(41000, 1723), True),
        (IpProtocol.TCP, tcp(41001, 1723), False),
        (IpProtocol.TCP, tcp(41000, 22), False),
        (IpProtocol.GRE, Gre(BARE_PROTOCOL, NONCE).encode(), True),
        (IpProtocol.GRE, Gre(0x0800, b"a tunnel").encode(), False),
        (IpProtocol.GRE, EnhancedGre(1234, 1, None, b"lcp").encode(), True),
        (IpProtocol.GRE, EnhancedGre(99, 1, None, b"another call").encode(), False),
        (IpProtocol.GRE, b"\x30", False),
        (IpProtocol.ESP, ESP_OURS, True),
        (IpProtocol.ESP, ESP_OTHERS, False),
        (IpProtocol.ICMP, EchoRequest(1, 1, NONCE).encode(), True),
        (IpProtocol.ICMP, EchoRequest(1, 1, b"somebody's ping").encode(), False),
        (IpProtocol.ICMP, b"\x03", False),
        (132, b"SCTP is none of ours", False),
    ],
)
def test_what_is_kept(protocol: int, payload: bytes, kept: bool) -> None:
    assert belongs(ip(protocol, payload), SCOPE, outgoing=True) is kept


def test_queues_follow_from_all_that_left_and_from_what_was_cut_of_it() -> None:
    taken = RunCapture()
    foreign = ip(IpProtocol.TCP, tcp(41001, 22))
    for outgoing in (True, False):
        taken(Packet(foreign, at=100.0, outgoing=outgoing, cut=1024 - len(foreign)))
        taken(Packet(foreign, at=200.0 if outgoing else 100.0, outgoing=outgoing, cut=24))
    assert taken.own_queues(8192.0, began_unix=98.0) == (OwnQueue(2.0, 2.0 + 1024 / 8192.0 - MAY_BE_FULL_S),)


def test_answers_are_kept_as_well() -> None:
    assert belongs(ip(IpProtocol.UDP, udp(40000, 500, outgoing=False), outgoing=False), SCOPE, outgoing=False)


def test_another_hosts_packets_are_not() -> None:
    assert not belongs(ip(IpProtocol.UDP, udp(40000, 500), peer=OTHER), SCOPE, outgoing=True)


@pytest.mark.parametrize("kind", [11, 3])
@pytest.mark.parametrize(
    ("quoted", "kept"),
    [
        (ip(IpProtocol.UDP, udp(40000, 500)), True),
        (ip(IpProtocol.GRE, Gre(BARE_PROTOCOL, NONCE).encode()), True),
        (ip(IpProtocol.ESP, ESP_OTHERS[:8]), True),
        (ip(IpProtocol.UDP, udp(40001, 500)), False),
        (ip(IpProtocol.UDP, udp(40000, 500), peer=OTHER), False),
    ],
)
def test_a_routers_word_is_kept_by_what_it_quotes(kind: int, quoted: bytes, kept: bool) -> None:
    message = bytes([kind, 0, 0, 0, 0, 0, 0, 0]) + quoted[:28]
    packet = IPv4Packet(ROUTER, OWN, IpProtocol.ICMP, 60, 9, message).encode()
    assert belongs(packet, SCOPE, outgoing=False) is kept


def test_what_this_end_refuses_is_kept_by_who_sent_it() -> None:
    quoted = ip(IpProtocol.UDP, udp(40000, 500, outgoing=False), outgoing=False)
    packet = IPv4Packet(OWN, PEER, IpProtocol.ICMP, 64, 9, bytes([3, 3, 0, 0, 0, 0, 0, 0]) + quoted[:28]).encode()
    assert belongs(packet, SCOPE, outgoing=True)


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_kept_or_not(data: bytes, outgoing: bool) -> None:
    captured = RunCapture()
    captured(Packet(data, 0.0, outgoing))
    assert captured.within(SCOPE) in ([], [Packet(data, 0.0, outgoing)])


def test_packets_are_handed_on_and_kept_in_order() -> None:
    heard: list[Packet] = []
    captured = RunCapture()
    captured.listeners.append(heard.append)
    packets = [Packet(ip(IpProtocol.UDP, udp(40000 + number % 2, 500)), float(number), True) for number in range(6)]
    for packet in packets:
        captured(packet)
    assert heard == packets
    assert captured.within(SCOPE) == packets[::2]


def test_what_comes_later_and_a_wider_scope_count_too() -> None:
    """Both ends ask more than once: ports and Call IDs become known while a run lasts."""
    captured = RunCapture()
    early, late = (Packet(ip(IpProtocol.UDP, udp(port, 500)), at, True) for port, at in ((40000, 1.0), (40001, 2.0)))
    captured(early)
    assert captured.within(SCOPE) == [early]
    captured(late)
    captured(replace(early, at=3.0))
    assert captured.within(SCOPE) == [early, replace(early, at=3.0)]
    wider = replace(SCOPE, client_ports=SCOPE.client_ports | {(Transport.UDP, 40001)})
    assert captured.within(wider) == [early, late, replace(early, at=3.0)]
    captured.within(wider).clear()
    assert captured.within(wider) == [early, late, replace(early, at=3.0)]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_capture, "MOST_BYTES", 100)
    bounded = RunCapture()
    for _ in range(5):
        bounded(Packet(b"x" * 40, 0.0, True))
    assert (len(bounded.packets), bounded.left_out) == (2, 3)


class TestCiphertext:
    """Of OpenVPN's data packets the head alone is kept, with the size that they had."""

    DATA = DataV2(7, bytes(range(200)) * 2).encode()
    UDP_HEADERS, TCP_HEADERS = 28, 42
    """Up to the opcode; over TCP with the packet's length."""

    def over_udp(self, data: bytes, *, client: int = 40000, server: int = 1194, outgoing: bool = True) -> Packet:
        return Packet(ip(IpProtocol.UDP, udp(client, server, data=data, outgoing=outgoing), outgoing=outgoing), 5.0, outgoing)

    def over_tcp(self, data: bytes, *, options: bytes = b"") -> Packet:
        segment = TcpSegment(41000, 443, 1, 0, TcpFlag.ACK, options=options, payload=data).encode(OWN, PEER)
        return Packet(ip(IpProtocol.TCP, segment), 5.0, True)

    @pytest.mark.parametrize("data", [DATA, DataV1(bytes(300)).encode(), DataV2(7, bytes(300), 5).encode()])
    @pytest.mark.parametrize("outgoing", [True, False])
    def test_over_udp(self, data: bytes, outgoing: bool) -> None:
        whole = self.over_udp(data, outgoing=outgoing)
        kept = without_ciphertext(whole)
        assert kept.data == whole.data[: self.UDP_HEADERS + CIPHERTEXT_KEPT]
        assert (kept.cut, kept.at, kept.outgoing) == (len(data) - CIPHERTEXT_KEPT, 5.0, outgoing)

    @pytest.mark.parametrize("options", [b"", b"\x01\x01\x08\x0a" + bytes(8)])
    def test_over_tcp_where_a_segment_is_one_packet(self, options: bytes) -> None:
        whole = self.over_tcp(frame(self.DATA), options=options)
        kept = without_ciphertext(whole)
        assert kept.data == whole.data[: self.TCP_HEADERS + len(options) + CIPHERTEXT_KEPT]
        assert len(kept.data) + kept.cut == len(whole.data)

    @pytest.mark.parametrize(
        "data",
        [
            frame(DATA) + frame(DATA),
            frame(DATA)[:-1],
            frame(DATA) + b"\0",
            DATA,
            frame(ControlV1.plain(bytes(8), Reliable((), None, 1, bytes(400))).encode()),
            b"",
            b"\0",
            b"\0\0",
        ],
        ids=["two", "part", "and-more", "no-length", "control", "nothing", "half-a-length", "empty-packet"],
    )
    def test_other_segments_stay_whole(self, data: bytes) -> None:
        assert without_ciphertext(self.over_tcp(data)) == self.over_tcp(data)

    @pytest.mark.parametrize(
        "data", [DataV2(7, bytes(CIPHERTEXT_KEPT - 4)).encode(), ControlV1.plain(bytes(8), Reliable((), None, 1, bytes(400))).encode(), b""]
    )
    def test_short_ones_and_control_packets_stay_whole(self, data: bytes) -> None:
        assert without_ciphertext(self.over_udp(data)) == self.over_udp(data)

    @pytest.mark.parametrize("port", [500, 1701, 4500])
    @pytest.mark.parametrize("swapped", [True, False])
    def test_other_protocols_have_such_a_first_byte_too(self, port: int, swapped: bool) -> None:
        packet = self.over_udp(self.DATA, client=port, server=40000) if swapped else self.over_udp(self.DATA, server=port)
        assert without_ciphertext(packet) == packet

    @pytest.mark.parametrize("first", [b"\x46", b"\x65"])
    def test_headers_with_options_and_other_versions_stay_whole(self, first: bytes) -> None:
        packet = self.over_udp(self.DATA)
        other = Packet(first + packet.data[1:], packet.at, packet.outgoing)
        assert without_ciphertext(other) == other

    def test_gre_stays_whole(self) -> None:
        packet = Packet(ip(IpProtocol.GRE, self.DATA), 5.0, True)
        assert without_ciphertext(packet) == packet

    def test_a_header_that_claims_more_than_there_is(self) -> None:
        """A TCP header of 60 bytes in a packet of 40."""
        packet = self.over_tcp(b"")
        odd = Packet(packet.data[:32] + b"\xf0" + packet.data[33:], packet.at, packet.outgoing)
        assert without_ciphertext(odd) == odd

    @given(st.binary(max_size=200), st.sampled_from([IpProtocol.UDP, IpProtocol.TCP]))
    def test_nothing_but_the_end_is_ever_cut(self, payload: bytes, protocol: int) -> None:
        packet = Packet(ip(protocol, payload), 0.0, True)
        kept = without_ciphertext(packet)
        assert packet.data.startswith(kept.data)
        assert len(kept.data) + kept.cut == len(packet.data)

    def test_a_capture_says_how_long_they_were(self) -> None:
        captured, scope = (
            RunCapture(),
            Scope(str(PEER), frozenset({(Transport.UDP, 1194)}), frozenset({(Transport.UDP, 40000)}), frozenset()),
        )
        whole = self.over_udp(self.DATA)
        captured(whole)
        written = encode_pcap(captured.within(scope))
        kept, on_the_wire = (int.from_bytes(written[at : at + 4], "big") for at in (32, 36))
        assert (kept, on_the_wire) == (self.UDP_HEADERS + CIPHERTEXT_KEPT, len(whole.data))
        assert len(written) == 40 + kept
