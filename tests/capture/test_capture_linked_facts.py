"""What conversations and ICMP errors of one capture show of each other."""

from dataclasses import replace

from capture_packets import CLIENT, ROUTER, SERVER, decoded, ip, udp

from vpnprobe.capture.linked_facts import with_linked_facts
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram


def esp(number: int, *, back: bool = False) -> bytes:
    return udp(EspPacket(0xABCD + back, number, bytes(64)).encode(), 4500, 4500, back=back)


def facts(*packets: bytes) -> list[tuple[str, list[str]]]:
    """Protocol, and names of facts."""
    found = decoded(packets).conversations()
    return [(one.protocol, [fact["fact"] for fact in one.detail.get("facts", ())]) for one in found]


def unreachable(code: Unreachable, *, by: object, port: int = 4500, client_port: int = 4500) -> bytes:
    inner = IPv4Packet(CLIENT, SERVER, IpProtocol.UDP, 64, 1, UdpDatagram(client_port, port, bytes(16)).encode(CLIENT, SERVER))
    return ip(DestinationUnreachable(code, Quote(inner)).encode(), IpProtocol.ICMP, source=by, destination=CLIENT, ttl=60)  # type: ignore[arg-type]


def test_esp_that_goes_one_way() -> None:
    assert facts(*map(esp, range(4))) == [("esp-udp", ["one-way"])]
    assert facts(*map(esp, range(4)), esp(1, back=True)) == [("esp-udp", [])]


def test_a_refusal_by_the_host_and_one_by_a_router() -> None:
    host = unreachable(Unreachable.PORT, by=SERVER)
    router = unreachable(Unreachable.ADMINISTRATIVELY_PROHIBITED, by=ROUTER)
    assert facts(esp(1), host) == [("esp-udp", ["one-way", "refused"])]
    assert facts(esp(1), router) == [("esp-udp", ["one-way", "refused-before"])]
    assert facts(esp(1), unreachable(Unreachable.HOST_PROHIBITED, by=SERVER)) == [("esp-udp", ["one-way", "refused"])]
    assert facts(esp(1), unreachable(Unreachable.HOST, by=ROUTER)) == [("esp-udp", ["one-way", "unreachable"])]


def test_an_error_about_another_protocol_says_nothing() -> None:
    ping = IPv4Packet(CLIENT, SERVER, IpProtocol.ICMP, 64, 1, bytes(16))
    error = DestinationUnreachable(Unreachable.ADMINISTRATIVELY_PROHIBITED, Quote(ping)).encode()
    assert facts(esp(1), ip(error, IpProtocol.ICMP, source=ROUTER, destination=CLIENT, ttl=60)) == [("esp-udp", ["one-way"])]


def test_a_refusal_that_a_printed_trace_shows_without_the_clients_port() -> None:
    assert facts(esp(1), unreachable(Unreachable.PORT, by=SERVER, client_port=0)) == [("esp-udp", ["one-way", "refused"])]


def test_a_refusal_of_something_else_is_not_this_ones() -> None:
    assert facts(esp(1), unreachable(Unreachable.PORT, by=SERVER, port=53)) == [("esp-udp", ["one-way"])]


def test_what_works_is_not_refused() -> None:
    assert facts(esp(1), esp(1, back=True), unreachable(Unreachable.PORT, by=SERVER)) == [("esp-udp", [])]


def test_many_conversations_of_two_hosts_take_one_look_each() -> None:
    one = decoded([esp(1)]).conversations()[0]
    many = [replace(one, detail={}, client=replace(one.client, port=number)) for number in range(1, 2001)]
    decoder = decoded([unreachable(Unreachable.PORT, by=SERVER, client_port=number) for number in range(1, 2001)])
    found = with_linked_facts(many, decoder.icmp_errors, decoder.checksums, decoder.logged_blocks, last_at=0.0)
    assert [fact["fact"] for each in found for fact in each.detail["facts"]] == ["one-way", "refused"] * 2000
