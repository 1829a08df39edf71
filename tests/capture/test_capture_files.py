"""Capture files: every format and byte order, damage at any place, and what is no capture at all."""

import contextlib
import gzip
import os
import re
import struct
import sys
import threading
from pathlib import Path

import pytest
import zstandard
from capture_packets import CLIENT, SERVER, pcap, udp, written
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture import linktypes, pipes, sources
from vpnprobe.capture.analysis import examine
from vpnprobe.capture.files import CapturedPacket, CaptureFormat, read_packets
from vpnprobe.capture.reading import read_capture
from vpnprobe.capture.sources import Source
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.errors import DecodeError, ExitStatus, UsageError
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.ip import IPv4Packet

PACKETS = [udp(bytes([number]) * 20, 5000, 1194, identification=number) for number in range(1, 4)]
SEED = Path(__file__).parents[2] / "pcaps" / "seed-client.pcap"


LATEST_S = 253_402_300_799.0
"""The end of the year 9999, which is the last that a date can have."""


def read(path: Path) -> tuple[list[CapturedPacket], str | None]:
    with read_packets(path) as reader:
        return list(reader), reader.problem


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B2C3D4, 500e-6), (0xA1B23C4D, 500e-9)])
def test_classic_captures_of_both_byte_orders_and_resolutions(tmp_path: Path, order: str, magic: int, fraction: float) -> None:
    packets, problem = read(written(tmp_path, pcap(PACKETS, order=order, magic=magic)))
    assert [packet.data for packet in packets] == PACKETS
    assert [packet.number for packet in packets] == [1, 2, 3]
    assert packets[0].at == pytest.approx(1_000_000_001 + fraction, abs=1e-7)
    assert problem is None


def test_a_capture_with_long_record_headers(tmp_path: Path) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 101)
    data += struct.pack("<IIIIIHBB", 1, 0, len(PACKETS[0]), len(PACKETS[0]), 7, 8, 9, 0) + PACKETS[0]
    assert [packet.data for packet in read(written(tmp_path, data))[0]] == [PACKETS[0]]


def test_a_snapshot_length_cuts_packets_and_is_no_damage(tmp_path: Path) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 30, 101) + struct.pack("<IIII", 1, 0, 30, len(PACKETS[0])) + PACKETS[0][:30]
    packets, problem = read(written(tmp_path, data))
    assert (packets[0].data, packets[0].wire_length, problem) == (PACKETS[0][:30], len(PACKETS[0]), None)


def note_of(folder: Path, data: bytes) -> list[str]:
    with read_packets(written(folder, data)) as reader:
        list(reader)
        return [comment.decode() for comment in reader.besides.comments]


@pytest.mark.parametrize("note", ["short", "x" * 150_001])
def test_a_note_goes_with_the_packets_as_a_comment_of_pcapng(tmp_path: Path, note: str) -> None:
    packets = [Packet(data, 1_700_000_000.123456789, outgoing=True, cut=number) for number, data in enumerate(PACKETS)]
    data = encode_pcap(packets, note=note)
    found, problem = read(written(tmp_path, data))
    assert [(packet.data, packet.wire_length) for packet in found] == [(p.data, len(p.data) + p.cut) for p in packets]
    assert found[0].at == pytest.approx(1_700_000_000.123456789, abs=1e-6)
    assert problem is None
    assert note_of(tmp_path, data) == [note]


def test_without_a_note_there_is_no_comment(tmp_path: Path) -> None:
    data = encode_pcap([Packet(PACKETS[0], 1.0, outgoing=True)])
    assert data[:4] == bytes.fromhex("a1b23c4d")
    assert note_of(tmp_path, data) == []


@pytest.mark.parametrize("options", [b"", b"\0\1\xff\xff", b"\0\7\0\2ab\0\0", b"\0\1\0\0"])
def test_options_of_a_section_that_say_nothing(tmp_path: Path, options: bytes) -> None:
    body = struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1) + options
    length = struct.pack(">I", len(body) + 12)
    assert note_of(tmp_path, struct.pack(">I", 0x0A0D0D0A) + length + body + length) == []


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2**31 * 1_000_000)), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, made: list[tuple[bytes, int]]) -> None:
    packets = [
        Packet(IPv4Packet(CLIENT, SERVER, 47, payload=payload).encode(), microseconds / 1_000_000, outgoing=True)
        for payload, microseconds in made
    ]
    found, problem = read(written(tmp_path_factory.mktemp("capture"), encode_pcap(packets)))
    assert [packet.data for packet in found] == [packet.data for packet in packets]
    assert [round(packet.at * 1e6) for packet in found] == [microseconds for _, microseconds in made]
    assert problem is None


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(linktype: int, options: bytes = b"", order: str = "<", snaplen: int = 0) -> bytes:
    return block(1, struct.pack(order + "HHI", linktype, 0, snaplen) + options, order)


@pytest.mark.parametrize(("offset_s", "ticks", "at"), [(2**62, 5, LATEST_S), (-(2**62), 5, 0.0), (0, 2**64 - 1, LATEST_S), (7, 5, 12.0)])
def test_times_beyond_any_date(tmp_path: Path, offset_s: int, ticks: int, at: float) -> None:
    times = struct.pack("<HHB3xHHq", 9, 1, 0, 14, 8, offset_s)
    head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(PACKETS[0]), len(PACKETS[0]))
    file = written(tmp_path, section() + interface(101, times) + block(6, head + PACKETS[0]))
    assert [packet.at for packet in read(file)[0]] == [at]
    assert len(examine(read_capture(file))[0].conversations) <= 1


def statistics(*options: tuple[int, int], interface: int = 0, order: str = "<") -> bytes:
    said = b"".join(struct.pack(order + "HHQ", code, 8, value) for code, value in options)
    return block(5, struct.pack(order + "III", interface, 0, 0) + said, order)


@pytest.mark.parametrize(
    ("blocks", "dropped"),
    [
        ([statistics((4, 100), (5, 3), (7, 2))], 3),
        ([statistics((5, 3)), statistics((5, 9))], 9),
        ([statistics((5, 1)), statistics((7, 1), interface=1)], 2),
        ([statistics((4, 100), (5, 0), (7, 0))], 0),
        ([statistics((5, 3)), statistics((5, 0))], 0),
        ([statistics((5, 2**64 - 1), (7, 2))], 2),
        ([block(5, struct.pack("<IIIHH", 0, 0, 0, 5, 60000) + b"\1" * 60000)], 0),
        ([statistics((5, 3), interface=7), block(5, b"\0\0")], 0),
    ],
    ids=["both-kinds", "the-last-word", "two-interfaces", "none", "none-after-all", "unknown", "far-too-long", "of-no-interface"],
)
def test_what_the_program_that_captured_dropped_is_told(blocks: list[bytes], dropped: int, tmp_path: Path) -> None:
    packet = block(6, struct.pack("<IIIII", 0, 0, 0, len(PACKETS[0]), len(PACKETS[0])) + PACKETS[0])
    packets, problem = read(written(tmp_path, b"".join([section(), interface(101), interface(101), packet, *blocks])))
    assert len(packets) == 1
    assert problem is None if not dropped else f"dropped {dropped} packet" in str(problem)


def enhanced(packet: bytes, ticks: int, *, number: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    fixed = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet))
    return block(6, fixed + packet + bytes(-len(packet) % 4) + options, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_two_interfaces_and_their_clocks(tmp_path: Path, order: str) -> None:
    nanoseconds = struct.pack(order + "HHB3x", 9, 1, 9)
    offset = struct.pack(order + "HHq", 14, 8, 1000)
    powers_of_two = struct.pack(order + "HHB3x", 9, 1, 0x8A)
    ethernet = bytes(12) + b"\x81\x00\x00\x05\x08\x00" + PACKETS[1]
    data = section(order) + interface(101, nanoseconds + offset, order) + interface(1, powers_of_two, order)
    data += enhanced(PACKETS[0], 5_000_000_000, order=order, options=struct.pack(order + "HH4s", 1, 4, b"note"))
    data += block(5, bytes(8), order) + enhanced(ethernet, 2048, number=1, order=order)
    packets, problem = read(written(tmp_path, data))
    assert [(packet.at, packet.data) for packet in packets] == [(1005.0, PACKETS[0]), (2.0, PACKETS[1])]
    assert problem is None


def test_pcapng_simple_and_obsolete_packets_and_a_second_section(tmp_path: Path) -> None:
    obsolete = struct.pack("<HHIIII", 0, 0, 0, 7_000_000, len(PACKETS[0]), len(PACKETS[0])) + PACKETS[0]
    simple = struct.pack("<I", len(PACKETS[1])) + PACKETS[1]
    data = section() + interface(101) + block(2, obsolete) + block(3, simple)
    data += section(">") + interface(101, order=">") + enhanced(PACKETS[2], 1, order=">")
    packets, problem = read(written(tmp_path, data))
    assert [packet.data[:40] for packet in packets] == [packet[:40] for packet in PACKETS]
    assert packets[0].at == packets[1].at == 7.0
    assert problem is None


def test_a_simple_packet_is_cut_at_the_interfaces_snapshot_length(tmp_path: Path) -> None:
    data = section() + interface(101, snaplen=32) + block(3, struct.pack("<I", 48) + PACKETS[0][:32])
    packets, _ = read(written(tmp_path, data))
    assert (len(packets[0].data), packets[0].wire_length) == (32, 48)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(enhanced(b"", 0, number=9), id="an interface that is not described"),
        pytest.param(struct.pack("<II", 6, 0xFFFFFFF0), id="a block of 4 GiB"),
        pytest.param(struct.pack("<II", 6, 13) + bytes(20), id="a length that is no multiple of four"),
        pytest.param(block(6, struct.pack("<IIIII", 0, 0, 0, 0xFFFFFFFF, 1)), id="a packet of 4 GiB"),
        pytest.param(block(6, bytes(8)), id="a packet block without its fields"),
        pytest.param(struct.pack("<III", 5, 12, 16), id="lengths that differ"),
        pytest.param(struct.pack(">II", 0x0A0D0D0A, 28) + b"what" + bytes(16), id="a section of no byte order"),
    ],
)
def test_damaged_pcapng_gives_what_came_before(tmp_path: Path, damage: bytes) -> None:
    packets, problem = read(written(tmp_path, section() + interface(101) + enhanced(PACKETS[0], 0) + damage))
    assert [packet.data for packet in packets] == [PACKETS[0]]
    assert problem is not None
    assert problem.startswith("1 packets were read, then ")


@pytest.mark.parametrize("whole", [pcap(PACKETS), section() + interface(101) + b"".join(enhanced(packet, 0) for packet in PACKETS)])
def test_a_capture_cut_anywhere_gives_a_part_of_it(tmp_path: Path, whole: bytes) -> None:
    for size in range(24, len(whole)):
        packets, problem = read(written(tmp_path, whole[:size]))
        assert [packet.data for packet in packets] == PACKETS[: len(packets)]
        assert len(packets) == 3 or problem is not None or len(packets) * 64 < size


def test_a_record_of_absurd_length_allocates_nothing(tmp_path: Path) -> None:
    packets, problem = read(written(tmp_path, pcap(PACKETS[:1]) + struct.pack("<IIII", 1, 0, 0x7FFFFFFF, 0x7FFFFFFF) + b"rest"))
    assert len(packets) == 1
    assert problem is not None
    assert "claims 2147483647 bytes" in problem


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_end_in_packets_or_a_problem(tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
    folder = tmp_path_factory.mktemp("capture")
    for head in (pcap([]), section() + interface(1)):
        read(written(folder, head + rest))


def test_a_gzip_of_several_members(tmp_path: Path) -> None:
    whole = pcap(PACKETS)
    two = gzip.compress(whole[:50], mtime=0) + gzip.compress(whole[50:], mtime=0)
    assert len(read(written(tmp_path, two, "two.gz"))[0]) == 3


class TestZstd:
    def test_one_frame_and_several(self, tmp_path: Path) -> None:
        whole, compress = pcap(PACKETS), zstandard.ZstdCompressor().compress
        for data in (compress(whole), compress(whole[:50]) + compress(b"") + compress(whole[50:])):
            packets, problem = read(written(tmp_path, data, "some.pcap.zst"))
            assert [packet.data for packet in packets] == PACKETS
            assert problem is None

    def test_frames_far_longer_than_a_piece(self, tmp_path: Path) -> None:
        many = [udp(os.urandom(1000), 5000, 1194, identification=number + 1) for number in range(300)]
        with zstandard.open(tmp_path / "long.pcap.zst", "wb") as file:
            file.write(pcap(many))
        assert (tmp_path / "long.pcap.zst").stat().st_size > 100 * sources.ZSTD_PIECE_BYTES
        packets, problem = read(tmp_path / "long.pcap.zst")
        assert [packet.data for packet in packets] == many
        assert problem is None

    def test_what_is_cut_off_gives_what_came_before(self, tmp_path: Path) -> None:
        many = [udp(os.urandom(1000), 5000, 1194, identification=number + 1) for number in range(300)]
        data = zstandard.ZstdCompressor().compress(pcap(many))
        packets, problem = read(written(tmp_path, data[: len(data) // 2], "cut.pcap.zst"))
        assert 0 < len(packets) < 300
        assert [packet.data for packet in packets] == many[: len(packets)]
        assert problem is not None
        assert "zstd stream at offset" in problem
        assert "ends early" in problem

    def test_damage_gives_what_came_before(self, tmp_path: Path) -> None:
        data = zstandard.ZstdCompressor().compress(pcap(PACKETS)[:-1]) + b"no frame"
        packets, problem = read(written(tmp_path, data, "damaged.pcap.zst"))
        assert [packet.data for packet in packets] == PACKETS[:-1]
        assert problem is not None
        assert "is damaged" in problem

    @given(st.binary(max_size=100))
    def test_any_bytes_behind_the_magic_end_in_a_problem(self, tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
        path = written(tmp_path_factory.mktemp("capture"), sources.ZSTD_MAGIC + rest, "any.zst")
        with Source(path) as source, contextlib.suppress(DecodeError):
            assert source.compression == "zstd"
            while source.take_up_to(1 << 16):
                pass

    def test_one_that_unpacks_without_end_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "LIMIT_BYTES", 1 << 16)
        data = zstandard.ZstdCompressor().compress(bytes(1 << 24))
        assert len(data) < 1 << 11
        with Source(written(tmp_path, data, "zeros.zst")) as source, pytest.raises(DecodeError, match="is longer than"):
            source.skip(1 << 24, "zeros")

    def test_it_comes_through_a_pipe_too(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(zstandard.ZstdCompressor().compress(pcap(PACKETS)),))
        writer.start()
        packets, problem = read(tmp_path / "pipe")
        writer.join()
        assert [packet.data for packet in packets] == PACKETS
        assert problem is None

    def test_without_the_package_the_error_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zstandard", None)
        path = written(tmp_path, zstandard.ZstdCompressor().compress(pcap(PACKETS)), "some.pcap.zst")
        with pytest.raises(UsageError, match=re.escape("pip install 'vpnprobe[zstd]'")) as caught:
            Source(path)
        assert caught.value.status is ExitStatus.UNREADABLE
        assert "\n" not in str(caught.value)


def test_a_truncated_gzip_gives_what_came_before(tmp_path: Path) -> None:
    many = [udp(os.urandom(200), 5000, 1194, identification=number + 1) for number in range(30)]
    data = gzip.compress(pcap(many))
    packets, problem = read(written(tmp_path, data[: len(data) // 2]))
    assert 0 < len(packets) < 30
    assert [packet.data for packet in packets] == many[: len(packets)]
    assert problem is not None
    assert "gzip stream" in problem


def test_a_gzip_of_nothing_but_zeros_ends_soon(tmp_path: Path) -> None:
    packets, problem = read(written(tmp_path, gzip.compress(pcap([]) + bytes(1 << 22))))
    assert packets == []
    assert problem is not None


def test_what_unpacks_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIMIT_BYTES", 1 << 16)
    packets, problem = read(written(tmp_path, gzip.compress(pcap(PACKETS * 1000))))
    assert 0 < len(packets) < 3000
    assert problem is not None
    assert "cut it with editcap" in problem


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0 JFIF", "a JPEG picture"),
        (bytes(500), "nothing but zero bytes"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b"\x9e\x03\xf1\x8a\xc7\x00\x01\x02", "binary file"),
        (b"To whom it may concern", "looks like text"),
        (pcap([])[:11], "ends within its header"),
        (gzip.compress(b"", mtime=0), "nothing that can be unpacked"),
    ],
)
def test_what_is_no_capture_is_told_in_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read(written(tmp_path, data))
    assert caught.value.status is ExitStatus.UNREADABLE
    assert "\n" not in str(caught.value)


def test_devices_folders_and_missing_files_are_told(tmp_path: Path) -> None:
    for path, words in (
        (Path("/dev/zero"), "zero bytes"),
        (Path("/dev/null"), "is empty"),
        (tmp_path, "is a folder"),
        (tmp_path / "x", "no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            read(path)


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "SILENCE_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="gave nothing"):
        read(tmp_path / "pipe")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pcap(PACKETS),))
    writer.start()
    packets, problem = read(pipe)
    writer.join()
    assert [packet.data for packet in packets] == PACKETS
    assert problem is None


def test_a_take_beyond_the_end_names_the_field(tmp_path: Path) -> None:
    with Source(written(tmp_path, b"12345")) as source, pytest.raises(DecodeError, match="length at offset 0: needs 9 bytes, 5 are left"):
        source.take(9, "length")


PACKET = PACKETS[0]


@pytest.mark.parametrize(
    ("linktype", "frame"),
    [
        (1, bytes(12) + b"\x08\x00" + PACKET),
        (1, bytes(12) + b"\x88\xa8\x00\x01\x81\x00\x00\x02\x08\x00" + PACKET),
        (1, bytes(12) + b"\x88\x47\x00\x01\x00\x40\x00\x01\x01\x40" + PACKET),
        (1, bytes(12) + b"\x88\x64\x11\x00\x00\x01\x00\x32\x00\x21" + PACKET),
        (0, b"\x02\x00\x00\x00" + PACKET),
        (0, b"\x00\x00\x00\x02" + PACKET),
        (108, b"\x00\x00\x00\x02" + PACKET),
        (9, b"\xff\x03\x00\x21" + PACKET),
        (9, b"\x21" + PACKET),
        (12, PACKET),
        (14, PACKET),
        (101, PACKET),
        (228, PACKET),
        (113, bytes(14) + b"\x08\x00" + PACKET),
        (276, b"\x08\x00" + bytes(18) + PACKET),
        (104, b"\x0f\x00\x08\x00" + PACKET),
    ],
)
def test_the_ip_packet_within_a_frame(linktype: int, frame: bytes) -> None:
    assert linktypes.ip_packet(linktype, frame) == PACKET
    for size in range(len(frame) - len(PACKET)):
        assert linktypes.ip_packet(linktype, frame[:size]) in (None, b"")


def test_frames_that_hold_no_ip_and_link_types_that_are_not_read(tmp_path: Path) -> None:
    assert linktypes.ip_packet(1, bytes(12) + b"\x08\x06" + bytes(28)) is None
    with read_packets(written(tmp_path, pcap([b"beacon"], linktype=119))) as reader:
        assert list(reader) == []
    assert (reader.packets, reader.readable, reader.problem) == (1, True, "link type not supported: LINKTYPE 119")


def test_cooked_captures_tell_what_was_sent() -> None:
    sent, got = b"\x00\x04" + bytes(12) + b"\x08\x00" + PACKET, b"\x00\x00" + bytes(12) + b"\x08\x00" + PACKET
    assert [linktypes.is_outgoing(113, frame) for frame in (sent, got, b"\x00\x01" + bytes(14), b"")] == [True, False, None, None]
    assert linktypes.is_outgoing(276, bytes(10) + b"\x04" + bytes(9)) is True
    assert linktypes.is_outgoing(1, PACKET) is None


def test_the_seeds_capture() -> None:
    with read_packets(SEED) as reader:
        assert len(list(reader)) == 28
    assert (reader.format, reader.linktype, reader.readable) == (CaptureFormat.PCAP, "RAW", True)
