"""Dumps of bytes in the forms of several programs, and the IP packets in them."""

import capture_packets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.printed.hex_dumps import Dump, add_row, ip_in, row_of

PACKET = capture_packets.udp(b"\x38" + bytes(13), 50000, 1194)
ETHERNET = bytes(12) + b"\x08\x00" + PACKET


def rows(data: bytes, form: str) -> list[str]:
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        pairs = " ".join(row[place : place + 2].hex() for place in range(0, len(row), 2))
        singles = " ".join(f"{byte:02x}" for byte in row)
        lines.append(
            {
                "tcpdump": f"\t0x{at:04x}:  {pairs:39s}  {letters}",
                "tcpdump -x": f"\t0x{at:04x}:  {pairs}",
                "tshark": f"{at:04x}  {singles:47s}   {letters}",
                "fortigate": f"0x{at:04x} \t {pairs:39s}\t{letters}",
                "hexdump": f"{at:08x}  {singles[:23]}  {singles[24:]:24s}  |{letters}|",
            }[form]
        )
    return lines


@pytest.mark.parametrize("form", ["tcpdump", "tcpdump -x", "tshark", "fortigate", "hexdump"])
@pytest.mark.parametrize("data", [PACKET, ETHERNET])
def test_a_dump_gives_its_packet(form: str, data: bytes) -> None:
    dumps: list[Dump] = []
    for line in rows(data, form):
        row = row_of(line)
        assert row is not None, line
        add_row(dumps, *row)
    assert ip_in(dumps) == PACKET
    assert ip_in(dumps, ("192.0.2.10", "198.51.100.20")) == PACKET
    assert ip_in(dumps, ("192.0.2.10", "198.51.100.99")) is None
    assert ip_in(dumps, ("client", "server")) == PACKET


@pytest.mark.parametrize(
    "line",
    ["10:00:00.1 IP a > b", "    0100 .... = Version: 4", "    Length: 16", "dead beef", "", "0x0000", "0001 0000", "face to face"],
)
def test_other_lines_are_no_rows(line: str) -> None:
    assert row_of(line) is None


def test_rows_that_do_not_go_on_are_left_out() -> None:
    dumps: list[Dump] = []
    for offset, row in ((0, b"a" * 16), (32, b"b"), (16, b"c"), (0, b"d")):
        add_row(dumps, offset, row)
    assert [bytes(dump.data) for dump in dumps] == [b"a" * 16 + b"c", b"d"]
    assert ip_in(dumps) is None


@given(st.text(max_size=120))
def test_any_line_is_read_without_failing(line: str) -> None:
    found = row_of(line)
    assert found is None or 0 < len(found[1]) <= 16


@given(st.binary(max_size=100))
def test_any_bytes_are_read_without_failing(data: bytes) -> None:
    ip_in([Dump(bytearray(data))], ("192.0.2.1", "192.0.2.2"))
    ip_in([Dump(bytearray(data))])
