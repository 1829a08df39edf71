"""OpenVPN sessions in captures: wraps, the parts of the handshake, data packets, and what one or two captures of them come to."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, connection, decoded, frames, pcap, udp, written

from vpnprobe.capture.analysis import examine_at, examine_pair
from vpnprobe.capture.followers.base import FOLLOWS, CapturedMessage
from vpnprobe.capture.followers.data_packets import EVERY, FIRST, MOST, DataPackets
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.reading import read_capture
from vpnprobe.conversations.contract import Sender
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Cause, Feasibility, Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default
from vpnprobe.wire.openvpn import (
    AckV1,
    ControlV1,
    ControlWkcV1,
    DataV1,
    DataV2,
    HardResetClientV2,
    HardResetClientV3,
    HardResetServerV2,
    Packet,
    Reliable,
    frame,
)

UDP, TCP = Transport.UDP, Transport.TCP
ONE, TWO = bytes(range(8)), bytes(range(8, 16))
KEY = ONE.hex()
Said = tuple[bool, Packet]
"""Whether the server says it, and what."""


def data(number: int, size: int = 100, *, key_id: int = 0) -> DataV2:
    """A data packet of `size` bytes."""
    return DataV2(1, number.to_bytes(4, "big") + bytes(size - 8), key_id)


def opening(client: bytes = ONE, server: bytes = TWO) -> list[Said]:
    """A plain session up to the TLS stream, with two parts of it each way."""
    parts: list[Said] = [
        (back, ControlV1.plain(server if back else client, Reliable((), None, number, b"\x16\x03\x01" + bytes(20))))
        for number in (1, 2)
        for back in (False, True)
    ]
    return [
        (False, HardResetClientV2.plain(client, Reliable())),
        (True, HardResetServerV2.plain(server, Reliable((0,), client))),
        *parts,
        (False, AckV1.plain(client, Reliable((1,), server, None))),
    ]


def exchange(count: int, size: int = 100) -> list[Said]:
    """Requests and answers, `count` of each."""
    return [(back, data(number, size)) for number in range(1, count + 1) for back in (False, True)]


def over_udp(said: Sequence[Said], *, port: int = 5000, server_port: int = 1194) -> list[bytes]:
    return [udp(packet.encode(), *((server_port, port) if back else (port, server_port)), back=back) for back, packet in said]


def over_tcp(said: Sequence[Said], *, port: int = 40000) -> list[bytes]:
    return connection([(back, frame(packet.encode())) for back, packet in said], port=port, server_port=1194)


def captured_in(packets: Sequence[bytes], check: str) -> list[CapturedMessage]:
    return [captured for captured in decoded(packets).captured_messages if captured.check_of(1194).name == check]


@pytest.mark.parametrize(("wrapped", "transport"), [(over_udp, UDP), (over_tcp, TCP)])
def test_the_parts_of_a_plain_handshake_are_told_apart(wrapped: Callable[[Sequence[Said]], list[bytes]], transport: Transport) -> None:
    captured_messages = captured_in(wrapped([*opening(), *opening()[2:4], *exchange(1)]), "handshake")
    assert {captured.check_of(1194) for captured in captured_messages} == {openvpn_handshake(transport, 1194)}
    assert {captured.key for captured in captured_messages} == {KEY}
    told = [(captured.message, captured.from_client) for captured in captured_messages]
    assert told == [
        ("P_CONTROL_V1[1]", True),
        ("P_CONTROL_V1[1]", False),
        ("P_CONTROL_V1[2]", True),
        ("P_CONTROL_V1[2]", False),
        ("key-method-2", False),
    ]


def test_keys_show_only_in_the_clients_own_data() -> None:
    assert "key-method-2" not in [captured.message for captured in captured_in(over_udp([*opening(), (True, data(1))]), "handshake")]


@pytest.mark.parametrize(("wrapped", "transport"), [(over_udp, UDP), (over_tcp, TCP)])
def test_every_data_packet_is_a_spot_with_its_number_and_size(
    wrapped: Callable[[Sequence[Said]], list[bytes]], transport: Transport
) -> None:
    said: list[Said] = [*opening(), (False, data(1, 60)), (False, data(2, 1400)), (True, data(1, 80)), (False, data(2, 1400))]
    said.append((True, data(1, 90, key_id=1)))
    captured_messages = captured_in(wrapped(said), "data")
    assert {captured.check_of(1194) for captured in captured_messages} == {openvpn_data(transport, 1194)}
    assert [(captured.key, captured.size, captured.from_client) for captured in captured_messages] == [
        (f"{KEY}.0.1", 60, True),
        (f"{KEY}.0.2", 1400, True),
        (f"{KEY}.0.1", 80, False),
        (f"{KEY}.1.1", 90, False),
    ]


def wrapped_reset(body: bytes) -> HardResetClientV2:
    return HardResetClientV2(ONE, body)


TLS_AUTH = wrapped_reset(bytes(range(1, 21)) + b"\0\0\0\x01" + b"\x65\0\0\0" + bytes(5))
TLS_AUTH_SHA256 = wrapped_reset(bytes(range(1, 33)) + b"\0\0\0\x01" + b"\x65\0\0\0" + bytes(5))
TLS_CRYPT = wrapped_reset(b"\0\0\0\x01" + bytes(range(1, 42)))
TLS_CRYPT_V2 = HardResetClientV3(ONE, b"\x0f\0\0\x01" + bytes(range(1, 42)) + bytes(290) + (292).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("reset", "wrap"),
    [
        (HardResetClientV2.plain(ONE, Reliable()), ""),
        (TLS_AUTH, "tls-auth"),
        (TLS_AUTH_SHA256, "tls-auth"),
        (TLS_CRYPT, "tls-crypt"),
        (TLS_CRYPT_V2, "tls-crypt-v2"),
    ],
)
def test_the_wrap_follows_from_the_form_of_the_reset(reset: HardResetClientV2 | HardResetClientV3, wrap: str) -> None:
    said: list[Said] = [(False, reset), (True, HardResetServerV2(TWO, bytes(range(40)))), *exchange(1)]
    captured_messages = decoded(over_udp(said)).captured_messages
    assert [captured.check_of(1194) for captured in captured_messages] == [
        openvpn_reset(UDP, 1194, wrap),
        openvpn_reset(UDP, 1194, wrap),
        openvpn_handshake(UDP, 1194, wrap),
        openvpn_data(UDP, 1194, wrap),
        openvpn_data(UDP, 1194, wrap),
    ]


def test_a_wrapped_handshake_is_told_once_each_way() -> None:
    parts: list[Said] = [(back, ControlV1(TWO if back else ONE, bytes([place]) * 60)) for place in range(3) for back in (False, True)]
    captured_messages = captured_in(over_udp([(False, TLS_CRYPT), *parts]), "handshake")
    assert [(captured.message, captured.from_client) for captured in captured_messages] == [("P_CONTROL_V1", True), ("P_CONTROL_V1", False)]
    again = captured_in(over_udp([(False, TLS_CRYPT_V2), (False, ControlWkcV1(ONE, bytes(400)))]), "handshake")
    assert [captured.message for captured in again] == ["P_CONTROL_WKC_V1"]


def test_a_plain_part_that_cannot_be_read_has_no_number() -> None:
    broken: Said = (False, ControlV1(ONE, b"\xff" * 30))
    assert [captured.message for captured in captured_in(over_udp([opening()[0], broken]), "handshake")] == ["P_CONTROL_V1"]


def test_a_client_that_begins_anew_from_the_same_port_is_another_session() -> None:
    other = bytes(range(100, 108))
    captured_messages = decoded(over_udp([*opening(), *exchange(1), *opening(other), (False, data(1))])).captured_messages
    keys = [captured.key for captured in captured_messages]
    assert f"{KEY}.0.1" in keys
    assert f"{other.hex()}.0.1" in keys
    resets = [captured.key for captured in captured_messages if captured.message.startswith("P_CONTROL_HARD_RESET_CLIENT")]
    assert resets == [KEY, other.hex()]


def test_data_without_a_beginning_has_no_client_and_a_key_of_its_own() -> None:
    packets = over_udp([(back, DataV1(number.to_bytes(4, "big") + bytes(60))) for number in (4, 5, 8) for back in (False, True)])
    captured_messages = decoded(packets).captured_messages
    assert [(captured.key, captured.from_client) for captured in captured_messages] == [
        ("0" * 16 + ".0.4", None),
        ("0" * 16 + ".0.4", None),
        ("0" * 16 + ".0.8", None),
        ("0" * 16 + ".0.8", None),
    ]


def kept(packets: DataPackets, numbers: Sequence[int]) -> list[int]:
    taken = (packets.take(Sender.INITIATOR, number=number, key=f"s.{number:x}", carries=True, at=0.0) is not None for number in numbers)
    return [number for number, one in zip(numbers, taken, strict=True) if one]


def test_both_ends_keep_the_same_packets_of_a_long_session() -> None:
    sent, came = range(1, 5 * EVERY), [number for number in range(1, 5 * EVERY) if number % 7]
    at_client, at_server = kept(DataPackets(begun=True), sent), kept(DataPackets(begun=True), came)
    assert at_client == [*range(1, FIRST + 1), *(EVERY * place for place in range(1, 5))]
    assert set(at_client) & set(came) <= set(at_server)


def test_the_memory_of_one_session_is_bounded() -> None:
    for begun in (True, False):
        assert len(kept(DataPackets(begun=begun), [EVERY * number for number in range(1, 3 * MOST)])) == MOST
        assert len(kept(DataPackets(begun=begun), range(1, 6 * FIRST))) in range(FIRST, FIRST + 6)


@pytest.mark.parametrize(
    ("carries", "after_s", "answer_carries", "expected"),
    [(True, 0.5, True, {FOLLOWS: "ours"}), (True, 1.5, True, {}), (False, 0.5, True, {}), (True, 0.5, False, {}), (True, -0.5, True, {})],
)
def test_what_may_be_an_answer(carries: bool, after_s: float, answer_carries: bool, expected: dict[str, str]) -> None:
    packets = DataPackets(begun=True)
    packets.take(Sender.INITIATOR, number=7, key="ours.7", carries=carries, at=10.0)
    assert packets.take(Sender.RESPONDER, number=1, key="theirs.1", carries=answer_carries, at=10.0 + after_s) == expected
    again = packets.take(Sender.RESPONDER, number=2, key="theirs.2", carries=True, at=10.6)
    assert again is not None
    assert not again or not expected


# Verdicts.


def sides(folder: Path, at_client: Sequence[bytes], at_server: Sequence[bytes]) -> list[Observation]:
    client, server = (written(folder, pcap(packets), name) for packets, name in ((at_client, "c.pcap"), (at_server, "s.pcap")))
    return list(examine_pair(read_capture(client), read_capture(server)).observations)


def alone(folder: Path, packets: Sequence[bytes], vantage: Vantage = Vantage.CLIENT) -> list[Observation]:
    return list(examine_at(read_capture(written(folder, pcap(packets))), vantage).observations)


def openvpn_verdict(rows: Sequence[Observation]) -> Feasibility:
    decision = decide(rows, rules=load_default())
    return next(verdict.feasibility for verdict in decision.verdicts if verdict.protocol == "openvpn-udp")


def rows_by_id(rows: Sequence[Observation]) -> dict[str, Observation]:
    return {row.id: row for row in rows}


def test_two_captures_of_a_whole_session_are_feasible(tmp_path: Path) -> None:
    packets = over_udp([*opening(), *exchange(10)])
    rows = sides(tmp_path, packets, packets)
    assert openvpn_verdict(rows) is Feasibility.FEASIBLE
    found = rows_by_id(rows)
    assert found["openvpn-handshake-udp-1194-both"].outcome is Outcome.PASS
    for way in ("c2s", "s2c"):
        row = found[f"openvpn-data-udp-1194-{way}"]
        assert (row.outcome, row.sent, row.received, row.detail["sessions"]) == (Outcome.PASS, 10, 10, 1)
        assert row.evidence


def test_data_that_no_capture_at_the_other_end_shows_is_blocked(tmp_path: Path) -> None:
    """Another TCP connection passes between the two, as the background."""
    beside = connection([(back, bytes(200)) for _ in range(80) for back in (False, True)], server_port=80)
    requests = [(False, data(number)) for number in range(1, 30)]
    later = [udp(b"x", 9, 9)] * 60
    rows = sides(tmp_path, [*beside, *over_udp([*opening(), *requests])], [*beside, *over_udp(opening()), *later])
    row = rows_by_id(rows)["openvpn-data-udp-1194-c2s"]
    assert (row.outcome, row.received) == (Outcome.BLOCKED, 0)
    assert row.cause is Cause.PAYLOAD
    assert rows_by_id(rows)["openvpn-handshake-udp-1194-both"].outcome is Outcome.PASS
    assert openvpn_verdict(rows) is Feasibility.INFEASIBLE


def test_a_servers_capture_that_ends_early_is_no_cut(tmp_path: Path) -> None:
    whole = over_udp([*opening(), *exchange(40)])
    row = rows_by_id(sides(tmp_path, whole, whole[:30]))["openvpn-data-udp-1194-c2s"]
    assert (row.outcome, row.sent, row.received) == (Outcome.PASS, 12, 12)


def test_a_session_that_goes_on_unheard_while_the_server_captures_is_cut(tmp_path: Path) -> None:
    whole = over_udp([*opening(), *exchange(40)])
    later = [udp(b"x", 9, 9)] * 90
    row = rows_by_id(sides(tmp_path, whole, [*whole[:30], *later]))["openvpn-data-udp-1194-c2s"]
    assert (row.outcome, row.cause, row.detail["cut_after"]) == (Outcome.BLOCKED, Cause.PACKETS, 12)


def test_a_servers_capture_that_begins_in_the_middle_says_nothing_of_a_session_whose_name_it_does_not_know(tmp_path: Path) -> None:
    beside = connection([(back, bytes(200)) for _ in range(80) for back in (False, True)])
    wire = [*over_udp([*opening(), *exchange(80)]), *beside]
    late = pcap(wire[100:], at=range(101, len(wire) + 1))
    captures = (read_capture(written(tmp_path, data, name)) for data, name in ((pcap(wire), "c.pcap"), (late, "s.pcap")))
    found = examine_pair(*captures)
    assert found.joined
    assert [row.id for row in found.observations if row.check == "data"] == []


def test_a_clients_capture_alone_counts_answers_in_kind(tmp_path: Path) -> None:
    rows = alone(tmp_path, over_udp([*opening(), *exchange(4)]))
    assert openvpn_verdict(rows) is Feasibility.FEASIBLE
    row = rows_by_id(rows)["openvpn-data-udp-1194-c2s"]
    assert (row.outcome, row.sent, row.received) == (Outcome.PASS, 4, 4)


@pytest.mark.parametrize("said", [exchange(3), exchange(12, 40), [(True, data(number)) for number in range(1, 12)]])
def test_too_few_answers_or_pings_alone_prove_nothing_to_the_server(tmp_path: Path, said: list[Said]) -> None:
    packets = over_udp([*opening(), (False, data(50, 40)), *said])
    assert openvpn_verdict(alone(tmp_path, packets)) is Feasibility.UNKNOWN


def test_a_servers_capture_alone_does_not_tell_what_came_to_the_client(tmp_path: Path) -> None:
    packets = over_udp([*opening(), *exchange(12)])
    assert openvpn_verdict(alone(tmp_path, packets, Vantage.SERVER)) is Feasibility.UNKNOWN


def test_wraps_have_rows_and_evidence_of_their_own(tmp_path: Path) -> None:
    said: list[Said] = [(False, TLS_CRYPT), (True, HardResetServerV2(TWO, bytes(range(40)))), *exchange(10)]
    packets = over_udp(said)
    rows = rows_by_id(sides(tmp_path, packets, packets))
    row = rows["openvpn-data-tls-crypt-udp-1194-c2s"]
    assert row.detail["wrap"] == "tls-crypt"
    assert row.evidence


def test_cut_frames_keep_their_size_on_the_wire() -> None:
    found = frames(over_udp([*opening(), (False, data(1, 1400))]))
    last: Frame = found[-1]
    assert last.length == 1408
    assert {str(CLIENT), str(SERVER)} == {last.source, last.destination}


TCP_HEADERS = 40


def without_ends(packets: Sequence[bytes], *, kept: int, least: int = 0) -> list[bytes]:
    """The packets as a capture holds them that keeps so many bytes of payload of those with more than `least`."""
    return [packet[: TCP_HEADERS + kept] if len(packet) - TCP_HEADERS > least else packet for packet in packets]


def told(packets: Sequence[bytes]) -> list[tuple[object, ...]]:
    return [
        (captured.check_of(1194), captured.key, captured.message, captured.size, captured.from_client, captured.at)
        for captured in decoded(packets).captured_messages
    ]


class TestCutStreams:
    """What a capture cut off the segments of a stream: the packets behind are still found where they begin."""

    SAID: Sequence[Said] = (*opening(), *exchange(6, 300), (False, data(7, 1400)), (True, data(7, 60)), (False, data(8, 300)))

    def test_heads_of_data_packets_tell_as_much_as_whole_ones(self) -> None:
        whole = over_tcp(self.SAID)
        cut = without_ends(whole, kept=50, least=100)
        assert cut != whole
        assert told(cut) == told(whole)

    @pytest.mark.parametrize("kept", [16, 60])
    def test_so_do_heads_of_all_packets(self, kept: int) -> None:
        """Control packets too, of which the packet ID alone is read; resets and acknowledgments are shorter."""
        whole = over_tcp(self.SAID)
        cut = without_ends(whole, kept=kept, least=60)
        assert [row[1:] for row in told(cut) if row[2] == ""] == [row[1:] for row in told(whole) if row[2] == ""]

    def test_several_packets_in_a_segment_whose_last_is_cut(self) -> None:
        """The length of what is missing follows from the head of the last one."""
        three = b"".join(frame(data(number, 200).encode()) for number in (1, 2, 3))
        said = [(back, frame(packet.encode())) for back, packet in opening()]
        after = (False, frame(data(4, 200).encode()))
        packets = connection([*said, (False, three), after], server_port=1194)
        cut = [*packets[:-2], packets[-2][: TCP_HEADERS + 450], packets[-1]]
        numbers = [(captured.key, captured.size) for captured in captured_in(cut, "data")]
        assert numbers == [(f"{KEY}.0.{number}", 200) for number in (1, 2, 3, 4)]

    def test_a_packet_that_goes_on_in_the_next_segment(self) -> None:
        """The first half of it is cut, the second half is not: the one behind it begins in the middle of a segment."""
        two = frame(data(1, 1400).encode()) + frame(data(2, 300).encode())
        said = [(back, frame(packet.encode())) for back, packet in opening()]
        packets = connection([*said, (False, two[:1000]), (False, two[1000:])], server_port=1194)
        cut = [*packets[:-2], packets[-2][: TCP_HEADERS + 50], packets[-1]]
        assert [(captured.key, captured.size) for captured in captured_in(cut, "data")] == [(f"{KEY}.0.1", 1400), (f"{KEY}.0.2", 300)]

    def test_where_the_next_length_was_cut_as_well_reading_goes_on_later(self) -> None:
        """Of two packets in a segment only the first one's head is there: nobody knows how long the second was."""
        two = frame(data(1, 300).encode()) + frame(data(2, 300).encode())
        said = [(back, frame(packet.encode())) for back, packet in opening()]
        later = [(False, frame(data(number, 300).encode())) for number in (3, 4, 5)]
        packets = connection([*said, (False, two), *later], server_port=1194)
        cut = [packet[: TCP_HEADERS + 50] if len(packet) == TCP_HEADERS + len(two) else packet for packet in packets]
        keys = [captured.key for captured in captured_in(cut, "data")]
        assert keys[0] == f"{KEY}.0.1"
        assert keys[-2:] == [f"{KEY}.0.4", f"{KEY}.0.5"]
        assert f"{KEY}.0.2" not in keys
