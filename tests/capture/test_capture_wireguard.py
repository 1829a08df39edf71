"""WireGuard in captures: stages, what both ends' captures know its messages by, and what one or two captures of it come to."""

import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, decoded, ip, pcap, udp, written

from vpnprobe.capture.analysis import examine_at, examine_pair
from vpnprobe.capture.followers.data_packets import EVERY, EVERY_MIDSTREAM, FIRST
from vpnprobe.capture.followers.wireguard import HANDSHAKES_LIMIT
from vpnprobe.capture.reading import CaptureInput, read_capture
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Observation, Outcome
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.wireguard import CookieReply, HandshakeInitiation, HandshakeResponse, TransportData, WireguardMessage

PORT = 443
OTHER = IPv4Address("203.0.113.99")
OURS, THEIRS = 7, 9
"""Indices: of the client's end, and of the server's."""
Row = tuple[Outcome, int | None, int | None]


def initiation(index: int = OURS) -> HandshakeInitiation:
    return HandshakeInitiation(index, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16))


def response(index: int = THEIRS, receiver: int = OURS) -> HandshakeResponse:
    return HandshakeResponse(index, receiver, bytes(32), bytes(16), bytes(16), bytes(16))


def packet(message: WireguardMessage, *, back: bool = False, port: int = 5000) -> bytes:
    ports = (PORT, port) if back else (port, PORT)
    return udp(message.encode(), *ports, back=back)


def data(number: int, *, back: bool = False, receiver: int | None = None, size: int = 48) -> bytes:
    to = receiver if receiver is not None else OURS if back else THEIRS
    return packet(TransportData(to, number, bytes(size)), back=back)


def exchange(numbers: Sequence[int]) -> list[bytes]:
    return [data(number, back=back) for number in numbers for back in (False, True)]


def esp(count: int) -> list[bytes]:
    """As many packets each way."""
    ends = [(CLIENT, SERVER, 64), (SERVER, CLIENT, 60)]
    return [
        ip((256 + spi).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(24), IpProtocol.ESP, source=one, destination=two, ttl=ttl)
        for number in range(1, count + 1)
        for spi, (one, two, ttl) in enumerate(ends)
    ]


def stages(packets: Sequence[bytes]) -> list[tuple[str, str]]:
    return [(summary.protocol, summary.stage) for summary in decoded(packets).conversations()]


def capture(folder: Path, name: str, wire: Sequence[bytes], kept: Iterable[int]) -> CaptureInput:
    """What was kept of a path's packets, by their places, one a second."""
    places = list(kept)
    return read_capture(written(folder, pcap([wire[place] for place in places], at=places), name))


def observations(folder: Path, wire: Sequence[bytes], *, client: Iterable[int], server: Iterable[int]) -> list[Observation]:
    """`client`, `server`: the places of the packets that either capture holds."""
    return list(examine_pair(capture(folder, "c.pcap", wire, client), capture(folder, "s.pcap", wire, server)).observations)


def rows(folder: Path, wire: Sequence[bytes], *, client: Iterable[int], server: Iterable[int]) -> dict[str, Row]:
    """By what they are about: handshake, c2s, s2c."""
    found = (row for row in observations(folder, wire, client=client, server=server) if row.probe == "wireguard")
    return {row.check if row.check == "handshake" else row.direction.value: (row.outcome, row.sent, row.received) for row in found}


def test_stages() -> None:
    numbers = [data(number) for number in range(4)]
    assert stages([packet(initiation())]) == [("wireguard", "initiation-unanswered")]
    assert stages([packet(initiation()), packet(response(), back=True)]) == [("wireguard", "handshake-complete")]
    assert stages(numbers) == [("wireguard", "midstream-data-one-way")]
    assert stages(numbers[:1]) == []
    assert stages([udp(os.urandom(148), 5000, PORT)]) == []


@pytest.mark.parametrize(
    ("client", "server"), [(5000, 53), (5000, 443), (500, 500), (4500, 4500), (1701, 1701), (5000, 1194), (33333, 44444), (51820, 5000)]
)
def test_any_port_will_do(client: int, server: int) -> None:
    def sent(message: WireguardMessage, *, back: bool = False) -> bytes:
        return udp(message.encode(), *((server, client) if back else (client, server)), back=back)

    keepalives = [sent(TransportData(THEIRS, number, bytes(16))) for number in range(4)]
    answers = [sent(TransportData(OURS, number, bytes(48)), back=True) for number in range(4)]
    assert stages([*keepalives, *answers]) == [("wireguard", "midstream-data-both-ways")]
    opened = [sent(initiation()), sent(response(), back=True), *keepalives, *answers]
    assert stages(opened) == [("wireguard", "data-both-ways")]
    (tunnel,) = decoded(opened).conversations()
    assert (tunnel.client.port, tunnel.server.port, tunnel.detail["client_known"]) == (client, server, True)


def test_keepalives_are_data() -> None:
    """Of 32 bytes: a tunnel that nothing else goes through has them alone."""
    keepalives = [data(number, size=16) for number in range(4)]
    assert stages([*OPENING, *keepalives[:1]]) == [("wireguard", "data-one-way")]
    assert stages(keepalives) == [("wireguard", "midstream-data-one-way")]
    assert {one.size for one in decoded([*OPENING, *keepalives]).captured_messages[2:]} == {32}


def test_what_a_cookie_asks_for_is_another_attempt() -> None:
    cookie = packet(CookieReply(OURS, bytes(24), bytes(32)), back=True)
    assert stages([packet(initiation()), cookie]) == [("wireguard", "initiation-unanswered")]
    packets = [packet(initiation()), cookie, packet(initiation(8)), packet(response(THEIRS, 8), back=True)]
    assert stages(packets) == [("wireguard", "handshake-complete")]
    # Alone it is too short to be told from other protocols.
    assert stages([cookie]) == []


def test_both_ends_begin_at_once_and_either_renews() -> None:
    begun = [packet(initiation()), packet(initiation(21), back=True), packet(response(20, OURS), back=True), packet(response(22, 21))]
    (tunnel,) = decoded(begun).conversations()
    assert (tunnel.stage, tunnel.client.address, tunnel.detail["response"]) == ("handshake-complete", str(CLIENT), 2)
    renewed = [*OPENING, *exchange(range(2)), packet(initiation(31), back=True), packet(response(32, 31)), data(0, receiver=31)]
    (tunnel,) = decoded(renewed).conversations()
    assert (tunnel.stage, tunnel.client.address, tunnel.detail["data"]) == ("data-both-ways", str(CLIENT), 5)


def test_data_that_comes_before_a_renewed_handshake_is_no_middle() -> None:
    packets = [data(number) for number in range(3)] + [packet(initiation(), back=True), data(0)]
    (tunnel,) = decoded(packets).conversations()
    assert (tunnel.stage, tunnel.client.address, tunnel.detail["data"]) == ("data-one-way", str(SERVER), 4)
    cut = [one[: 28 + 16] for one in packets[:3]]
    assert stages(cut) == [("wireguard", "midstream-data-one-way")]
    assert stages([one[: 28 + 15] for one in packets[:3]]) == []


def test_what_both_ends_know_a_message_by() -> None:
    cookie = packet(CookieReply(OURS, bytes(24), bytes(32)), back=True)
    packets = [packet(initiation()), packet(initiation()), cookie, packet(response(), back=True), data(0), data(0, back=True, size=64)]
    found = decoded(packets).captured_messages
    assert [(one.check_of(PORT).name, one.key, one.message, one.from_client) for one in found] == [
        ("handshake", "00000007", "Handshake Initiation", True),
        ("handshake", "00000007", "Cookie Reply", False),
        ("handshake", "00000007", "Handshake Response", False),
        ("data", "00000009.0", "Transport Data", True),
        ("data", "00000007.0", "Transport Data", False),
    ]
    assert found[-1].size == 80


def test_attempts_are_told_apart_up_to_a_limit() -> None:
    assert len(decoded([packet(initiation(index)) for index in range(HANDSHAKES_LIMIT + 9)]).captured_messages) == HANDSHAKES_LIMIT


def test_a_packet_of_the_tunnels_mtu_is_padded_no_further() -> None:
    found = decoded([*OPENING, data(0, size=1436), data(0, back=True, size=1436)]).captured_messages
    assert [(one.message, one.size) for one in found[2:]] == [("Transport Data", 1452)] * 2


def test_data_alone_counts_once_it_is_known_for_such() -> None:
    found = decoded([data(number) for number in range(9)]).captured_messages
    assert [(one.key, one.from_client) for one in found] == [("00000009.4", None), ("00000009.8", None)]


OPENING = [packet(initiation()), packet(response(), back=True)]
WORKS = {"handshake": (Outcome.PASS, 1, 1), "c2s": (Outcome.PASS, 40, 40), "s2c": (Outcome.PASS, 40, 40)}


def test_a_tunnel_that_works(tmp_path: Path) -> None:
    wire = [*esp(30), *OPENING, *exchange(range(40))]
    assert rows(tmp_path, wire, client=range(len(wire)), server=range(len(wire))) == WORKS


def test_a_lost_initiation_costs_the_next_one_nothing(tmp_path: Path) -> None:
    """It has an index of its own."""
    wire = [packet(initiation(5)), *OPENING, *exchange(range(40)), *esp(30)]
    expected = {**WORKS, "handshake": (Outcome.PASS, 2, 1)}
    assert rows(tmp_path, wire, client=range(len(wire)), server=range(1, len(wire))) == expected


@pytest.mark.parametrize("late", ["client", "server"])
def test_a_capture_that_begins_in_the_middle_calls_nothing_lost(tmp_path: Path, late: str) -> None:
    wire = [*OPENING, *exchange(range(40)), *esp(30)]
    found = {"client": range(len(wire)), "server": range(len(wire)), late: range(42, len(wire))}
    data_rows = {way: row for way, row in rows(tmp_path, wire, **found).items() if way != "handshake"}
    assert {row[0] for row in data_rows.values()} == {Outcome.PASS}
    # Those before it is known for such are not among them.
    assert min(row[2] or 0 for row in data_rows.values()) == len(range(22, 40, EVERY_MIDSTREAM)) - 1


@pytest.mark.parametrize("begins", [0, 80])
def test_what_is_not_kept_of_a_long_tunnel_is_not_lost(tmp_path: Path, begins: int) -> None:
    wire = [*OPENING, *exchange(range(FIRST + 2 * EVERY))]
    found = rows(tmp_path, wire, client=range(len(wire)), server=range(begins, len(wire)))
    assert {found[way][0] for way in ("c2s", "s2c")} == {Outcome.PASS}


@pytest.mark.parametrize("begins", [0, 2])
def test_data_that_is_lost_is_blocked_wherever_a_capture_begins(tmp_path: Path, begins: int) -> None:
    requests = [data(number) for number in range(80)]
    wire = [*OPENING, *exchange(range(80)), *esp(60)]
    came = [place for place in range(begins, len(wire)) if wire[place] not in requests]
    found = rows(tmp_path, wire, client=range(len(wire)), server=came)
    assert found["c2s"][::2] == (Outcome.BLOCKED, 0)
    assert found["s2c"][0] is Outcome.PASS


def test_a_handshake_that_is_filtered_is_blocked(tmp_path: Path) -> None:
    wire = [*esp(30), *[packet(initiation(index)) for index in range(20)], *esp(60)[60:]]
    lost = range(60, 80)
    found = rows(tmp_path, wire, client=range(len(wire)), server=[place for place in range(len(wire)) if place not in lost])
    assert found == {"handshake": (Outcome.BLOCKED, 20, 0)}


def test_a_clients_capture_alone_counts_answers_in_kind(tmp_path: Path) -> None:
    wire = [*OPENING, *exchange(range(40))]
    found = examine_at(capture(tmp_path, "c.pcap", wire, range(len(wire))), Vantage.CLIENT).observations
    row = next(row for row in found if row.id == f"wireguard-data-udp-{PORT}-c2s")
    assert (row.outcome, row.sent, row.received, row.detail["proof"]) == (Outcome.PASS, 40, 40, "answered")


def test_a_tunnel_of_the_user_to_another_host_is_not_what_is_asked() -> None:
    """It holds far more packets than the attempt that fails."""
    ends = decoded([*[elsewhere(one) for one in exchange(range(1000, 1400))], *esp(4)]).ends()
    assert ends is not None
    assert (ends.client, ends.server) == (str(CLIENT), str(SERVER))


def elsewhere(data: bytes) -> bytes:
    """The packet between the client and another host than the server."""
    packet = IPv4Packet.decode(data)
    ends = (OTHER if end == SERVER else end for end in (packet.source, packet.destination))
    return IPv4Packet(*ends, packet.protocol, packet.ttl, packet.identification, packet.payload).encode()
