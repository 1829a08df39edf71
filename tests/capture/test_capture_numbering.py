"""What is missing of numbered packets: told of each direction, from where the capture was taken, and never of what does not count."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest
from capture_packets import CLIENT, SERVER, connection, ip, tcp, written
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.analysis import examine, examine_at
from vpnprobe.capture.numbering import BEGINNING, JUMP, OVERTAKEN, SERIES_LIMIT, WINDOW, Count, Numbering
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, UdpDatagram
from vpnprobe.wire.openvpn import DataV2, HardResetClientV2, HardResetServerV2, Reliable
from vpnprobe.wire.pptp import StartControlConnectionRequest
from vpnprobe.wire.wireguard import HandshakeInitiation, HandshakeResponse, TransportData


def counted(numbers: Iterable[int]) -> Count:
    count = Count()
    for frame, number in enumerate(numbers, 1):
        count.take(number, frame)
    return count


@given(st.sets(st.integers(1000, 1000 + OVERTAKEN), min_size=1), st.randoms(use_true_random=False))
def test_what_is_missing_does_not_hang_on_the_order(numbers: set[int], order: object) -> None:
    shuffled = sorted(numbers)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    count = counted([*shuffled, *shuffled[:5]])
    assert count.counts
    assert count.missing == max(numbers) - min(numbers) + 1 - len(numbers)
    assert count.tells is (count.missing <= len(numbers))


@pytest.mark.parametrize(
    ("numbers", "missing", "frames"),
    [
        ([5, 6, 7], 0, []),
        ([*range(5, 40), 42, 43, 50], 8, [36, 38]),
        ([5, 8, 7, 6], 0, []),
        ([0, 2, 1, 1, 4], 1, [5]),
        ([*range(6000), 0, 1, 3], 1, []),
        ([*range(500, 700), *range(100)], 0, []),
        ([*range(500, 700), 0, 1, 700, *range(2, 100)], 0, []),
        ([3, 2, 1], 0, []),
    ],
    ids=["none", "two-gaps", "overtaken", "filled", "begun-again", "begun-after-midstream", "late-of-the-old", "backwards"],
)
def test_gaps(numbers: list[int], missing: int, frames: list[int]) -> None:
    count = counted(numbers)
    assert (count.missing, count.counts) == (missing, True)
    assert count.frames[: len(frames)] == frames


@pytest.mark.parametrize(
    "numbers",
    [[1, JUMP + 2], [10**6, 10**6 - WINDOW - BEGINNING], [10**6, 10**6 - OVERTAKEN - 1], [0xFFFFFFFF, BEGINNING], [1 << 16, 2 << 16]],
)
def test_what_jumps_counts_nothing(numbers: list[int]) -> None:
    assert not counted(numbers).counts


def test_where_more_is_missing_than_was_seen_nothing_is_told() -> None:
    numbering = Numbering()
    for number in range(0, 100, 3):
        numbering.take("one of three links", number, 1)
    assert numbering.missing == (0, 0, [])


def test_a_number_that_was_cut_off_leaves_its_series_unknown() -> None:
    numbering = Numbering()
    for series, number in (("a", 1), ("a", 2), ("a", 4), ("b", 1), ("b", None), ("b", 3)):
        numbering.take(series, number, 1)
    assert numbering.missing == (1, 4, [1])


def test_series_are_bounded() -> None:
    numbering = Numbering()
    for series in range(SERIES_LIMIT + 5):
        numbering.take(series, 1, 1)
        numbering.take(series, 3, 2)
    assert numbering.missing[0] == SERIES_LIMIT


def datagram(payload: bytes, ports: tuple[int, int], *, back: bool, ttl: int) -> bytes:
    ends: tuple[IPv4Address, IPv4Address] = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    data = UdpDatagram(*(ports[::-1] if back else ports), payload).encode(*ends)
    return ip(data, IpProtocol.UDP, source=ends[0], destination=ends[1], ttl=ttl)


def pptp(back: bool, number: int, ttl: int) -> bytes:
    ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    packet = EnhancedGre(7 + back, number, None, b"\xff\x03\x00\x21" + bytes(40))
    return ip(packet.encode(), IpProtocol.GRE, source=ends[0], destination=ends[1], ttl=ttl)


def esp(back: bool, number: int, ttl: int) -> bytes:
    ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    data = (0x1000 + back).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(range(64))
    return ip(data, IpProtocol.ESP, source=ends[0], destination=ends[1], ttl=ttl)


def esp_in_udp(back: bool, number: int, ttl: int) -> bytes:
    return datagram((0x1000 + back).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(range(64)), (4500, 4500), back=back, ttl=ttl)


def openvpn(back: bool, number: int, ttl: int) -> bytes:
    return datagram(DataV2(1, number.to_bytes(4, "big") + bytes(100), 0).encode(), (49152, 1194), back=back, ttl=ttl)


def wireguard(back: bool, number: int, ttl: int) -> bytes:
    return datagram(TransportData(0x1111 if back else 0x2222, number, bytes(96)).encode(), (51821, 51820), back=back, ttl=ttl)


def began_openvpn(ttls: tuple[int, int]) -> list[bytes]:
    one, two = bytes(range(8)), bytes(range(8, 16))
    ask, answer = HardResetClientV2.plain(one, Reliable()).encode(), HardResetServerV2.plain(two, Reliable((0,), one)).encode()
    return [datagram(data, (49152, 1194), back=back, ttl=ttls[back]) for back, data in ((False, ask), (True, answer))]


def began_wireguard(ttls: tuple[int, int]) -> list[bytes]:
    ask = HandshakeInitiation(0x1111, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)).encode()
    answer = HandshakeResponse(0x2222, 0x1111, bytes(32), bytes(16), bytes(16), bytes(16)).encode()
    return [datagram(data, (51821, 51820), back=back, ttl=ttls[back]) for back, data in ((False, ask), (True, answer))]


def nothing(_: tuple[int, int]) -> list[bytes]:
    return []


PacketOf = Callable[[bool, int, int], bytes]
Beginning = Callable[[tuple[int, int]], list[bytes]]
PROTOCOLS: dict[str, tuple[PacketOf, Beginning, str]] = {
    "gre": (pptp, nothing, "gre"),
    "esp": (esp, nothing, "esp"),
    "esp-udp": (esp_in_udp, nothing, "esp-udp"),
    "openvpn": (openvpn, began_openvpn, "openvpn-udp"),
    "wireguard": (wireguard, began_wireguard, "wireguard"),
}
AT_CLIENT, AT_SERVER, BETWEEN = (64, 57), (57, 64), (60, 61)


def conversations(packets: Iterable[bytes], folder: Path) -> list[ConversationSummary]:
    held = [Packet(data, 1.7e9 + number * 0.01, outgoing=False) for number, data in enumerate(packets)]
    examined, _ = examine(read_capture(written(folder, encode_pcap(held))))
    return list(diagnosed(examined.conversations, load_default()))


@pytest.mark.parametrize("lost", [(), (5,), (5, 6, 12)], ids=["nothing", "one", "three"])
@pytest.mark.parametrize("back", [False, True], ids=["c2s", "s2c"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_missing_is_told_of_each_direction(protocol: str, back: bool, lost: tuple[int, ...], tmp_path: Path) -> None:
    packet, begin, name = PROTOCOLS[protocol]
    rows = [(way, number) for number in range(1, 21) for way in (False, True) if not (way is back and number in lost)]
    found = conversations([*begin(AT_CLIENT), *(packet(way, number, AT_CLIENT[way]) for way, number in rows)], tmp_path)
    [one] = [one for one in found if one.protocol == name]
    facts = [fact for fact in one.detail.get("facts", ()) if fact["fact"] == "numbers-missing"]
    if not lost:
        assert facts == []
        return
    [fact] = facts
    # Where nothing shows who began, the lower address is called the client.
    assert (fact["by"], fact["times"], fact["of"]) == ("server" if back else "client", len(lost), 20)


@pytest.mark.parametrize(
    ("ttls", "back", "name"),
    [
        (AT_CLIENT, False, "missing-at-the-sender"),
        (AT_CLIENT, True, "missing-at-the-receiver"),
        (AT_SERVER, False, "missing-at-the-receiver"),
        (AT_SERVER, True, "missing-at-the-sender"),
        (BETWEEN, False, "missing-between"),
        (BETWEEN, True, "missing-between"),
    ],
)
def test_loss_of_the_path_is_told_from_the_captures_own(ttls: tuple[int, int], back: bool, name: str, tmp_path: Path) -> None:
    rows = [(way, number) for number in range(1, 21) for way in (False, True) if not (way is back and number == 9)]
    [one] = conversations([*began_wireguard(ttls), *(wireguard(way, number, ttls[way]) for way, number in rows)], tmp_path)
    assert (one.detail["diagnosis"]["name"], one.detail["diagnosis"]["stops"]) == (name, False)
    assert "Of 20 packets" in one.findings[0]


def test_what_is_encrypted_from_its_first_byte_counts_nothing(tmp_path: Path) -> None:
    """OpenVPN's CBC has no number in clear there."""
    payloads = [DataV2(1, bytes([n * 37 % 256, n * 91 % 256, n, n]) + bytes(100), 0).encode() for n in range(1, 30)]
    data = [datagram(payload, (49152, 1194), back=False, ttl=64) for payload in payloads]
    [one] = conversations([*began_openvpn(AT_CLIENT), *data], tmp_path)
    assert not [fact for fact in one.detail.get("facts", ()) if fact["fact"] == "numbers-missing"]


def missing(found: Iterable[ConversationSummary]) -> list[dict[str, object]]:
    return [fact for one in found for fact in one.detail.get("facts", ()) if fact["fact"] in ("numbers-missing", "acknowledged-unseen")]


def test_the_direction_that_lacks_more_is_told(tmp_path: Path) -> None:
    rows = [(way, number) for number in range(1, 61) for way in (False, True) if not ((way and number % 3 == 0) or number == 9)]
    [one] = conversations([*began_wireguard(AT_CLIENT), *(wireguard(way, number, AT_CLIENT[way]) for way, number in rows)], tmp_path)
    assert [(fact["by"], fact["times"]) for fact in missing([one])] == [("server", 19), ("client", 1)]
    assert "Of 59 packets that the server" in one.findings[0]


def test_a_frame_of_several_datagrams_leaves_the_count_unknown(tmp_path: Path) -> None:
    """As a host captures it that leaves segmentation to its interface (UDP GSO)."""
    several = TransportData(0x2222, 10, bytes(1440)).encode() + TransportData(0x2222, 11, bytes(1440)).encode()
    packets = [wireguard(False, number, 64) for number in range(1, 10)]
    further = [wireguard(False, number, 64) for number in range(12, 30)]
    whole = datagram(several, (51821, 51820), back=False, ttl=64)
    assert missing(conversations([*began_wireguard(AT_CLIENT), *packets, whole, *further], tmp_path)) == []


def test_an_end_that_was_elsewhere_meanwhile_counts_on(tmp_path: Path) -> None:
    """RFC 4555: the association stays, from another address."""
    other = IPv4Address("192.0.2.77")

    def sent(number: int) -> bytes:
        source = other if 20 <= number < 40 else CLIENT
        payload = (0x1000).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(64)
        return ip(UdpDatagram(4500, 4500, payload).encode(source, SERVER), IpProtocol.UDP, source=source)

    assert missing(conversations(map(sent, range(1, 61)), tmp_path)) == []


def test_what_a_text_lacks_somebody_may_have_cut_out(tmp_path: Path) -> None:
    line = "12:00:{:02d}.000001 IP 192.0.2.10 > 198.51.100.20: ESP(spi=0x00001000,seq={:#x}), length 100\n"
    text = tmp_path / "pasted.txt"
    text.write_text("".join(line.format(number, number) for number in range(1, 30) if number % 5))
    examined, _ = examine(read_capture(text))
    assert len(examined.conversations) == 1
    assert missing(examined.conversations) == []


def test_a_guessed_client_is_at_no_known_place(tmp_path: Path) -> None:
    """The higher address may be the client's: nobody can say which end a capture of the client's was taken at."""
    packets = [esp(way, number, 64) for number in range(1, 21) for way in (False, True) if not (way and number == 9)]
    held = [Packet(data, 1.7e9 + number * 0.01, outgoing=False) for number, data in enumerate(packets)]
    [one] = diagnosed(examine_at(read_capture(written(tmp_path, encode_pcap(held))), Vantage.CLIENT).conversations, load_default())
    assert "captured_at" not in one.detail
    assert one.detail["diagnosis"]["name"] == "missing-between"


def stream(*parts: tuple[bool, int, int]) -> list[bytes]:
    """A control connection, then segments of 100 bytes and acknowledgments: (from the server, sequence, acknowledgment)."""
    opening = connection([(False, StartControlConnectionRequest().encode())])
    further = [tcp(sequence=seq, acknowledgment=ack, payload=b"" if back else bytes(100), back=back) for back, seq, ack in parts]
    return [*opening, *further]


BEHIND: Final = 1001 + len(StartControlConnectionRequest().encode())


@pytest.mark.parametrize(
    ("parts", "unseen"),
    [
        ([(True, 5001, BEHIND), (False, BEHIND + 100, 5001), (True, 5001, BEHIND + 200)], [100]),
        ([(True, 5001, BEHIND), (False, BEHIND + 100, 5001), (True, 5001, BEHIND + 200), (False, BEHIND, 5001)], []),
        ([(True, 5001, BEHIND), (False, BEHIND + 700_000_000, 5001), (True, 5001, BEHIND + 700_000_100)], []),
        ([(True, 5001, BEHIND + 500), (False, BEHIND + 500, 5001), (True, 5001, BEHIND + 600)], []),
    ],
    ids=["unseen", "seen-behind-its-acknowledgment", "numbered-anew", "before-the-first-acknowledgment"],
)
def test_bytes_that_were_acknowledged_and_not_seen(parts: list[tuple[bool, int, int]], unseen: list[int], tmp_path: Path) -> None:
    # The opening's own acknowledgments are of a connection that somebody came to late.
    packets = [packet for number, packet in enumerate(stream(*parts)) if number not in (0, 1, 2)]
    assert [fact["bytes"] for fact in missing(conversations(packets, tmp_path))] == unseen


def test_what_goes_to_several_hosts_is_counted_in_one_series(tmp_path: Path) -> None:
    """As of routing protocols, whose associations are made by hand."""
    to = [IPv4Address("198.51.100.20"), IPv4Address("198.51.100.21")]
    data = [(0x1000).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(range(64)) for number in range(40)]
    packets = [ip(one, IpProtocol.ESP, destination=to[number // 3 % 2]) for number, one in enumerate(data)]
    found = conversations(packets, tmp_path)
    assert len(found) == 2
    assert not [fact for one in found for fact in one.detail.get("facts", ()) if fact["fact"] == "numbers-missing"]


def test_what_was_acknowledged_and_not_captured_came(tmp_path: Path) -> None:
    message = StartControlConnectionRequest().encode()
    packets = connection([(False, message), (False, bytes(100)), (False, message)])
    acknowledged = tcp(sequence=5001, acknowledgment=1001 + 2 * len(message) + 100, back=True)
    [one] = conversations([*packets[:4], *packets[5:], acknowledged], tmp_path)
    [fact] = [fact for fact in one.detail["facts"] if fact["fact"] == "acknowledged-unseen"]
    assert (fact["by"], fact["to"], fact["bytes"]) == ("client", "server", 100)
