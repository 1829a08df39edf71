"""A host's own firewall: what its wire shows and its sockets never got, and what they sent and the wire never shows."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.endpoint.host_firewall import HostFirewall
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import SYN, port_key
from vpnprobe.evidence.identify import BARE_PROTOCOL
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.ppp import PROTOCOL_LCP, ConfigureRequest, PppFrame

OWN, PEER = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2")
TAG, OTHER_TAG, CALL = 7, 8, 1234
TCP = checks.tcp_reach(443)
SYN_ACK = TcpFlag.SYN | TcpFlag.ACK


def nonce(tag: int = TAG) -> bytes:
    return NoncePayload(tag, 1, 56).encode()


def bare(tag: int = TAG) -> tuple[int, bytes]:
    return IpProtocol.GRE, Gre(BARE_PROTOCOL, nonce(tag)).encode()


def esp(tag: int = TAG) -> tuple[int, bytes]:
    return IpProtocol.ESP, EspPacket(0x1000, 1, nonce(tag)).encode()


def udp(source: int, destination: int, data: bytes) -> tuple[int, bytes]:
    return IpProtocol.UDP, UdpDatagram(source, destination, data).encode(PEER, OWN)


def tcp(source: int, destination: int, flags: int) -> tuple[int, bytes]:
    return IpProtocol.TCP, TcpSegment(source, destination, 1, 2, flags).encode(PEER, OWN)


def attempts(*ports: int, check: Check = TCP) -> list[PacketRecord]:
    return [PacketRecord(Vantage.CLIENT, Movement.SENT, 0.0, check, port_key(port), SYN) for port in ports]


def in_call(call_id: int = CALL, frame: bytes = b"\xff\x03\x00\x21ciphertext") -> tuple[int, bytes]:
    return IpProtocol.GRE, EnhancedGre(call_id, 3, None, frame).encode()


def lcp(call_id: int = CALL) -> tuple[int, bytes]:
    return in_call(call_id, PppFrame(PROTOCOL_LCP, ConfigureRequest(1, ()).encode()).encode())


def wire(*packets: tuple[int, bytes], vantage: Vantage = Vantage.SERVER, outgoing: bool = False) -> HostFirewall:
    """What is known of a host whose wire showed these packets."""
    seen = HostFirewall(vantage, TAG)
    ends = (OWN, PEER) if outgoing else (PEER, OWN)
    for protocol, payload in packets:
        seen(Packet(IPv4Packet(*ends, protocol, 64, 5, payload).encode(), 0.0, outgoing))
    return seen


def rows(check: Check, count: int, movement: Movement) -> list[PacketRecord]:
    return [PacketRecord(Vantage.CLIENT, movement, 0.0, check, f"{number:024x}") for number in range(count)]


def sent(check: Check, count: int) -> list[PacketRecord]:
    return rows(check, count, Movement.SENT)


class TestOnInput:
    """It came to the wire, and to no socket."""

    @pytest.mark.parametrize(
        ("packet", "kept"),
        [
            (bare(), {checks.GRE_BARE}),
            (esp(), {checks.ESP}),
            (udp(40000, 500, nonce()), {checks.udp_reach(500)}),
            (in_call(), {checks.GRE_IN_CALL}),
            (lcp(), {checks.GRE_IN_CALL, checks.PPTP_LCP}),
        ],
    )
    def test_what_no_socket_got_was_kept(self, packet: tuple[int, bytes], kept: set[Check]) -> None:
        seen = wire(*[packet] * LEAST_TRIALS)
        assert seen.dropped_on_input([], {CALL}) == kept
        for check in kept:
            assert check not in seen.dropped_on_input(rows(check, 1, Movement.RECEIVED), {CALL})

    def test_a_record_that_goes_on_is_read_on_and_another_anew(self) -> None:
        seen = wire(*[bare()] * LEAST_TRIALS)
        record = sent(checks.GRE_BARE, LEAST_TRIALS)
        assert seen.dropped_on_output(record) == {checks.GRE_BARE}
        assert seen.dropped_on_input(record, ()) == {checks.GRE_BARE}
        came = [*record, *rows(checks.GRE_BARE, 1, Movement.RECEIVED)]
        assert seen.dropped_on_input(came, ()) == frozenset()
        for other in (record, [], sent(checks.ESP, LEAST_TRIALS + 2)):
            assert seen.dropped_on_input(other, ()) == {checks.GRE_BARE}
        assert seen.dropped_on_output(sent(checks.ESP, LEAST_TRIALS)) == {checks.ESP}

    def test_what_was_sent_is_not_what_came(self) -> None:
        assert wire(*[bare()] * LEAST_TRIALS).dropped_on_input(sent(checks.GRE_BARE, 9), ()) == {checks.GRE_BARE}

    def test_a_few_prove_nothing(self) -> None:
        assert wire(*[bare()] * (LEAST_TRIALS - 1)).dropped_on_input([], ()) == frozenset()

    @pytest.mark.parametrize(
        "packet",
        [
            bare(OTHER_TAG),
            esp(OTHER_TAG),
            udp(40000, 500, nonce(OTHER_TAG)),
            in_call(CALL + 1),
            (IpProtocol.ESP, EspPacket(0x1000, 1, b"ciphertext of a tunnel").encode()),
            (IpProtocol.GRE, Gre(0x0800, b"a tunnel").encode()),
            udp(40000, 500, b"not ours"),
            (IpProtocol.UDP, b"short"),
            (IpProtocol.TCP, bytes(20)),
            tcp(443, 40000, SYN_ACK),
        ],
    )
    def test_another_clients_and_other_programs_packets_do_not_count(self, packet: tuple[int, bytes]) -> None:
        assert wire(*[packet] * 9).dropped_on_input([], {CALL}) == frozenset()

    def test_the_client_knows_a_check_by_the_port_that_it_came_from(self) -> None:
        seen = wire(*[udp(500, 40000, nonce())] * 9, vantage=Vantage.CLIENT)
        assert seen.dropped_on_input([], ()) == {checks.udp_reach(500)}

    def test_a_later_fragment_has_no_ports(self) -> None:
        seen = HostFirewall(Vantage.SERVER, TAG)
        for outgoing in (False, True):
            packet = IPv4Packet(PEER, OWN, IpProtocol.UDP, 64, 5, udp(40000, 500, nonce())[1], fragment_offset=185)
            for _ in range(9):
                seen(Packet(packet.encode(), 0.0, outgoing))
        assert seen.dropped_on_input([], ()) == frozenset()
        assert seen.dropped_on_output(sent(checks.udp_reach(500), 6)) == {checks.udp_reach(500)}

    def test_the_client_sees_answers_to_its_connections_that_its_sockets_never_got(self) -> None:
        ports = range(40000, 40000 + LEAST_TRIALS)
        seen = wire(*(tcp(443, port, SYN_ACK) for port in ports), vantage=Vantage.CLIENT)
        assert seen.dropped_on_input(attempts(*ports), ()) == {TCP}
        assert seen.dropped_on_input([*attempts(*ports), *rows(TCP, 1, Movement.RECEIVED)], ()) == frozenset()

    def test_another_programs_connections_are_not_asked_about(self) -> None:
        seen = wire(*(tcp(443, port, SYN_ACK) for port in range(50000, 50009)), vantage=Vantage.CLIENT)
        assert seen.dropped_on_input(attempts(40000), ()) == frozenset()
        copies = [replace(one, ttl_limited=True) for one in attempts(*range(50000, 50009))]
        assert seen.dropped_on_input(copies, ()) == frozenset()

    @pytest.mark.parametrize("flags", [TcpFlag.SYN, TcpFlag.ACK, TcpFlag.RST | TcpFlag.ACK])
    def test_of_tcp_an_answer_alone_counts(self, flags: int) -> None:
        seen = wire(*[tcp(443, 40000, flags)] * 9, vantage=Vantage.CLIENT)
        assert seen.dropped_on_input(attempts(40000), ()) == frozenset()

    def test_what_left_did_not_come_in(self) -> None:
        assert wire(*[bare()] * 9, outgoing=True).dropped_on_input([], ()) == frozenset()


class TestOnOutput:
    """A socket sent it, and the wire beside it never showed it."""

    def test_what_the_wire_shows_left(self) -> None:
        seen = wire(bare(), udp(40000, 500, nonce()), outgoing=True)
        assert seen.dropped_on_output(sent(checks.GRE_BARE, 6) + sent(checks.udp_reach(500), 6)) == frozenset()

    def test_what_it_never_shows_did_not(self) -> None:
        seen = wire(udp(40000, 500, nonce()), outgoing=True)
        found = sent(checks.ESP, LEAST_TRIALS) + sent(checks.udp_reach(53), LEAST_TRIALS) + sent(checks.udp_reach(500), 9)
        assert seen.dropped_on_output(found) == {checks.ESP, checks.udp_reach(53)}

    def test_a_few_prove_nothing(self) -> None:
        found = sent(checks.ESP, LEAST_TRIALS - 1) + rows(checks.GRE_BARE, 9, Movement.RECEIVED)
        assert wire().dropped_on_output(found) == frozenset()

    def test_connections_that_never_began_on_the_wire_were_kept(self) -> None:
        seen = wire(tcp(40000, 80, TcpFlag.SYN), outgoing=True, vantage=Vantage.CLIENT)
        kept = attempts(*range(40000, 40000 + LEAST_TRIALS))
        assert seen.dropped_on_output(kept + attempts(*range(40000, 40009), check=checks.tcp_reach(80))) == {TCP}
        assert seen.dropped_on_output(sent(TCP, 9)) == frozenset()
        assert seen.dropped_on_output(kept[1:]) == frozenset()

    def test_a_host_from_which_no_connection_leaves_may_have_no_way_there(self) -> None:
        seen = wire(udp(40000, 500, nonce()), outgoing=True, vantage=Vantage.CLIENT)
        assert seen.dropped_on_output(attempts(*range(40000, 40009))) == frozenset()

    def test_what_came_in_did_not_leave(self) -> None:
        assert wire(esp()).dropped_on_output(sent(checks.ESP, 6)) == {checks.ESP}


@given(st.binary(max_size=120), st.booleans(), st.sampled_from(Vantage))
def test_any_bytes_are_taken(data: bytes, outgoing: bool, vantage: Vantage) -> None:
    seen = HostFirewall(vantage, TAG)
    seen(Packet(data, 0.0, outgoing))
    assert seen.dropped_on_input([], ()) == frozenset()
