"""OpenVPN by sizes alone: what is taken for it, how far it is said to have come, and that it is said to be a guess."""

import pytest

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.printed.traces import lines_in, parse
from vpnprobe.observations.schema import ConversationSummary

CLIENT, SERVER = "192.0.2.10.50000", "198.51.100.20.1194"


def conversations(text: str) -> list[ConversationSummary]:
    decoder = Decoder()
    for trace in parse(lines_in(text)).traces:
        for frame in trace.frames:
            decoder.take(frame)
    return decoder.conversations()


def udp(*sizes: int, port: int = 1194, apart_s: float = 1.0) -> str:
    """Datagrams of these sizes; those below zero come back."""
    lines = []
    for number, size in enumerate(sizes):
        ends, at_s = (CLIENT, SERVER.replace("1194", str(port)))[:: 1 if size > 0 else -1], number * apart_s
        lines.append(f"10:{int(at_s // 60):02d}:{at_s % 60:09.6f} IP {ends[0]} > {ends[1]}: UDP, length {abs(size)}")
    return "\n".join(lines)


def tcp(*sizes: int, port: int = 1194) -> str:
    return udp(*sizes, port=port).replace("UDP, length ", "tcp ")


@pytest.mark.parametrize(
    ("sizes", "stage"),
    [
        ((14, -26), "server-reset"),
        ((14, -26, 303, -1222, 26, -221), "control-both-ways"),
        ((54, -66, 343), "control-one-way"),
        ((42, -54, 303, -1200), "control-both-ways"),
        ((353, -72, 642, -1206), "control-both-ways"),
        ((54, 54, 54), "client-reset-unanswered"),
        ((54,), "client-reset-unanswered"),
        ((14, -26, *([300, -300] * 50)), "data-both-ways"),
        ((100, -100, 100, -100), "midstream-data-both-ways"),
        ((100, 100, 100, 100), "midstream-data-one-way"),
    ],
)
def test_how_far_it_came(sizes: tuple[int, ...], stage: str) -> None:
    (one,) = conversations(udp(*sizes))
    assert (one.protocol, one.stage, one.client.port, one.server.port) == ("openvpn-udp", stage, 50000, 1194)
    assert one.detail["guessed_from"] == "sizes"
    assert "guess" in one.findings[0]
    assert one.frames_c2s + one.frames_s2c == len(sizes)


@pytest.mark.parametrize(
    ("sizes", "apart_s", "repeated"),
    [
        ((14, -26, 303, -1222, 26, -1222, 384, -188), 0.01, []),
        ((14, -26, 303, -1222, 26, -221, 1222, 384, -188, 34, *([108, -108] * 5)), 1.5, []),
        ((14, -26, 303, -1222, -1222, -1222), 2.0, ["large-unanswered"]),
        ((14, -26, 303, -221, 303, -221, 303), 2.0, ["answer-lost"]),
        ((54, -66, 54, -66, 54, -66), 2.0, ["answer-lost"]),
    ],
    ids=["a-flight", "works", "repeated", "asked-again", "begun-again"],
)
def test_parts_of_a_handshake_are_no_copies_of_each_other(sizes: tuple[int, ...], apart_s: float, repeated: list[str]) -> None:
    (one,) = conversations(udp(*sizes, apart_s=apart_s))
    assert [fact["fact"] for fact in one.detail.get("facts", ()) if fact["times"] > 1] == repeated


def test_on_another_port_only_an_answer_of_the_right_size_shows_it() -> None:
    assert [one.stage for one in conversations(udp(14, -26, 303, -1222, port=443))] == ["control-both-ways"]
    assert conversations(udp(14, -30, 303, -1222, port=443)) == []
    assert conversations(udp(14, 14, 14, port=443)) == []
    assert conversations(udp(100, -100, 100, -100, port=443)) == []


def test_over_tcp_each_segment_is_a_packet_with_its_length_before_it() -> None:
    (one,) = conversations(tcp(16, -28, 305, -1224))
    assert (one.protocol, one.stage, one.findings[0].startswith("A guess")) == ("openvpn-tcp", "control-both-ways", True)
    assert conversations(tcp(100, -2000, port=443)) == []


def test_bytes_count_more_than_sizes() -> None:
    text = (
        "10:00:00.0 IP 192.0.2.10.50000 > 198.51.100.20.1194: UDP, length 14\n"
        "\t0x0000:  4500 002a 0001 0000 4011 0000 c000 020a\n\t0x0010:  c633 6414 c350 04aa 0016 0000 3801 0203\n"
        "\t0x0020:  0405 0607 0800 0000 0000\n"
    )
    (one,) = conversations(text)
    assert (one.stage, one.detail["session_id"]) == ("client-reset-unanswered", "0102030405060708")
    assert not any("guess" in finding for finding in one.findings)
