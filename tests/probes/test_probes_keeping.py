"""Which captured packets are the probes' own: by ports, Call IDs and nonces; a tunnel or a shell beside them is left out."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import questions
from vpnprobe.evidence.identify import BARE_PROTOCOL
from vpnprobe.evidence.sightings import Movement, Question, Sighting, Vantage
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Transport
from vpnprobe.probes import keeping
from vpnprobe.probes.keeping import Keeper, Scope, belongs, never_left
from vpnprobe.transports.door import Packet
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload

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
    keeper = Keeper()
    keeper(Packet(data, 0.0, outgoing))
    assert keeper.within(SCOPE) in ([], [Packet(data, 0.0, outgoing)])


def test_packets_are_handed_on_and_kept_in_order() -> None:
    heard: list[Packet] = []
    keeper = Keeper()
    keeper.listeners.append(heard.append)
    packets = [Packet(ip(IpProtocol.UDP, udp(40000 + number % 2, 500)), float(number), True) for number in range(6)]
    for packet in packets:
        keeper(packet)
    assert heard == packets
    assert keeper.within(SCOPE) == packets[::2]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", 100)
    keeper = Keeper()
    for _ in range(5):
        keeper(Packet(b"x" * 40, 0.0, True))
    assert (len(keeper.packets), keeper.left_out) == (2, 3)


def sent(question: Question, count: int, movement: Movement = Movement.SENT) -> list[Sighting]:
    return [Sighting(Vantage.CLIENT, movement, 0.0, question, f"{number:024x}") for number in range(count)]


class TestNeverLeft:
    """A host's own firewall eats what its program sends: the wire beside it never shows it."""

    def left(self, *packets: bytes) -> Keeper:
        keeper = Keeper()
        for packet in packets:
            keeper(Packet(packet, 0.0, True))
        return keeper

    def test_what_the_wire_shows_left(self) -> None:
        keeper = self.left(ip(IpProtocol.GRE, Gre(BARE_PROTOCOL, NONCE).encode()), ip(IpProtocol.UDP, udp(40000, 500)))
        assert never_left(keeper.left, sent(questions.GRE_BARE, 6) + sent(questions.udp_reach(500), 6)) == frozenset()

    def test_what_it_never_shows_did_not(self) -> None:
        keeper = self.left(ip(IpProtocol.UDP, udp(40000, 500)))
        rows = sent(questions.ESP, LEAST_TRIALS) + sent(questions.udp_reach(53), LEAST_TRIALS) + sent(questions.udp_reach(500), 9)
        assert never_left(keeper.left, rows) == {questions.ESP, questions.udp_reach(53)}

    def test_a_few_prove_nothing_and_tcp_is_not_asked(self) -> None:
        rows = sent(questions.ESP, LEAST_TRIALS - 1) + sent(questions.tcp_reach(80), 9) + sent(questions.GRE_BARE, 9, Movement.RECEIVED)
        assert never_left(self.left().left, rows) == frozenset()

    def test_what_came_in_did_not_leave(self) -> None:
        keeper = Keeper()
        keeper(Packet(ip(IpProtocol.ESP, ESP_OURS, outgoing=False), 0.0, False))
        assert never_left(keeper.left, sent(questions.ESP, 6)) == {questions.ESP}
