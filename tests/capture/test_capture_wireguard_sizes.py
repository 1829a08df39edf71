"""WireGuard in printed traces, which tell the sizes of its messages alone."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from vpnprobe.capture.analysis import examine_at, examine_pair
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.followers.base import BY_SIZES
from vpnprobe.capture.followers.wireguard_sizes import ATTEMPTS_LIMIT
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.reading import read_capture, read_text
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Outcome
from vpnprobe.wire.ip import IpProtocol, UdpDatagram

CLIENT, SERVER = "192.0.2.10", "198.51.100.20"
NOWHERE = IPv4Address(0)
Sizes = list[tuple[float, str, int]]
"""Seconds, way (> or <), bytes."""
HANDSHAKE: Sizes = [(0.0, ">", 148), (0.01, "<", 92)]
WORKS: Sizes = [*HANDSHAKE, (0.02, ">", 32), (0.03, "<", 128), (1.0, ">", 1452)]


def text(sizes: Sizes, port: int = 51820) -> str:
    ends = {">": f"{CLIENT}.5000 > {SERVER}.{port}", "<": f"{SERVER}.{port} > {CLIENT}.5000"}
    return "".join(f"10:{at // 60:02.0f}:{at % 60:09.6f} IP {ends[way]}: UDP, length {size}\n" for at, way, size in sizes)


def decoder(sizes: Sizes) -> Decoder:
    (trace,) = read_text(text(sizes))
    return trace.decoder


def stages(sizes: Sizes) -> list[tuple[str, str]]:
    return [(one.protocol, one.stage) for one in decoder(sizes).conversations()]


@pytest.mark.parametrize(
    ("sizes", "stage"),
    [
        (WORKS, "data-both-ways"),
        (WORKS[:3], "data-one-way"),
        ([(0.0, ">", 148), (0.01, "<", 64), (5.2, ">", 148), (5.3, "<", 92), (5.4, ">", 32)], "data-one-way"),
        ([*WORKS, (120, "<", 148), (120.1, ">", 92), (120.2, "<", 32)], "data-both-ways"),
        ([(0.0, ">", 148), (5.1, ">", 148), (10.4, ">", 148)], "initiation-unanswered"),
        ([*HANDSHAKE, (5.1, ">", 148), (5.2, "<", 92)], "handshake-complete"),
        ([(0.0, ">", 148), (40.0, ">", 148), (45.1, ">", 148), (50.3, ">", 148)], "initiation-unanswered"),
    ],
)
def test_stages_by_sizes(sizes: Sizes, stage: str) -> None:
    assert stages(sizes) == [("wireguard", stage)]


def test_what_it_rests_on_is_told() -> None:
    (one,) = decoder(WORKS).conversations()
    assert (one.client.address, one.server.port, one.findings) == (CLIENT, 51820, (BY_SIZES.format("WireGuard"),))
    assert (one.frames_c2s, one.frames_s2c, one.detail["client_known"]) == (3, 2, True)


@pytest.mark.parametrize(
    "sizes",
    [
        HANDSHAKE,
        WORKS[2:],
        [(0.0, ">", 148)] * 9,
        [(0.0, ">", 148), (5.1, ">", 148)],
        [(0.0, ">", 148), (1.0, ">", 148), (6.1, ">", 148), (11.2, ">", 148), (16.3, ">", 148)],
        [(0.0, ">", 148), (5.1, ">", 148), (5.2, ">", 20), (10.3, ">", 148), (15.4, ">", 148)],
        [(0.0, ">", 148), (9.0, "<", 92), (9.1, ">", 32)],
        [*HANDSHAKE, (0.02, ">", 33), (0.03, ">", 32)],
        [*HANDSHAKE, (0.02, "<", 32), (0.03, ">", 32)],
        [(0.0, ">", 148), (0.1, "<", 128), (0.2, ">", 148), (0.3, "<", 128)],
        [(0.0, ">", 92), (0.1, "<", 148), (0.2, ">", 92), (0.3, "<", 32)],
    ],
    ids=[
        "no-data",
        "middle",
        "at-once",
        "two",
        "early",
        "others-between",
        "late-answer",
        "other-size",
        "responder-first",
        "request",
        "begins-with-92",
    ],
)
def test_other_sizes_are_nothing(sizes: Sizes) -> None:
    found = decoder(sizes)
    assert found.conversations() == []
    assert found.captured_messages == []


def test_other_packets_of_a_known_tunnel_do_not_matter() -> None:
    assert stages([*WORKS, (2.0, ">", 33), (3.0, "<", 20)]) == [("wireguard", "data-both-ways")]


def test_attempts_are_kept_up_to_a_limit() -> None:
    sizes: Sizes = [(5.1 * number, ">", 148) for number in range(ATTEMPTS_LIMIT + 9)]
    frames = [
        Frame(number, at, CLIENT, SERVER, IpProtocol.UDP, UdpDatagram(5000, 443, missing=size).encode(NOWHERE, NOWHERE), 8 + size)
        for number, (at, _, size) in enumerate(sizes, 1)
    ]
    found = Decoder()
    for frame in frames:
        found.take(frame)
    assert len(found.captured_messages) == ATTEMPTS_LIMIT


def test_conversations_are_followed_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.capture.followers.sized.FLOWS_LIMIT", 0)
    assert stages(WORKS) == []


def test_initiations_that_nobody_answers(tmp_path: Path) -> None:
    client = tmp_path / "client.txt"
    client.write_text(text([(5.1 * number, ">", 148) for number in range(20)]))
    (row,) = [row for row in examine_at(read_capture(client), Vantage.CLIENT).observations if row.probe == "wireguard"]
    assert (row.check, row.outcome, row.sent, row.received) == ("handshake", Outcome.NO_ANSWER, 20, None)


@pytest.mark.parametrize("lost", [0, 4])
def test_the_traces_of_both_ends(tmp_path: Path, lost: int) -> None:
    """No packet of one is known in the other: what the client sent is held against what came."""
    other = "10:00:00.5 IP 192.0.2.10 > 198.51.100.20: ICMP echo request, id 1, seq 1, length 64\n"
    other += "10:00:00.6 IP 198.51.100.20 > 192.0.2.10: ICMP echo reply, id 1, seq 1, length 64\n"
    sizes: Sizes = [(1 + 5.1 * number, ">", 148) for number in range(20)]
    client, server = tmp_path / "client.txt", tmp_path / "server.txt"
    client.write_text(other + text(sizes))
    server.write_text(other + text(sizes[lost:]))
    found = examine_pair(read_capture(client), read_capture(server))
    (row,) = [row for row in found.observations if row.probe == "wireguard"]
    assert (row.outcome, found.joined) == (Outcome.NO_ANSWER, False)
    assert row.detail["messages"] == [{"message": "Handshake Initiation", "direction": "c2s", "sent": 20, "received": 20 - lost}]


def test_an_answered_handshake_is_a_pass(tmp_path: Path) -> None:
    client = tmp_path / "client.txt"
    client.write_text(text(WORKS))
    (row,) = [row for row in examine_at(read_capture(client), Vantage.CLIENT).observations if row.probe == "wireguard"]
    assert (row.check, row.outcome, row.sent, row.received) == ("handshake", Outcome.PASS, 1, 1)
