"""What stands before packets in pasted lines, and that nothing is taken from a line that has none of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.printed.decorations import is_remark, shape_of, without_prefix, without_suffix


@pytest.mark.parametrize(
    ("prefix", "line", "left"),
    [
        ("> ", "> further", "further"),
        ("> ", ">", ""),
        (">> ", ">> further", "further"),
        ("   7\t", "  12\tfurther", "further"),
        ("Nov 28 14:00:01 gw tcpdump[411]: ", "Dec 1 14:00:02 gw tcpdump[411]: further", "further"),
        ("Nov 28 14:00:01 gw tcpdump[411]: ", "Nov 28 14:00:01 gw tcpdump[411]:     further", "    further"),
        ("| ", "| further", "further"),
        ("> ", "no mark", "no mark"),
        ("    ", "    indented", "    indented"),
        ("    1  ", "\t0x0000:  4500", "\t0x0000:  4500"),
    ],
)
def test_a_prefix_is_known_by_its_shape(prefix: str, line: str, left: str) -> None:
    assert without_prefix(line, prefix) == left


@given(st.text(max_size=100))
def test_without_a_prefix_nothing_is_taken(line: str) -> None:
    assert without_prefix(line, "") == line
    assert without_suffix(line.replace("<", ""), "") == line.replace("<", "")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_prefix_has_a_shape_that_it_fits(prefix: str, line: str) -> None:
    assert shape_of(prefix).match(prefix) or len(prefix) > 20
    assert len(without_prefix(line, prefix)) <= len(line)


def test_borders_and_remarks() -> None:
    assert without_suffix("length 14 |", "| ") == "length 14"
    assert without_suffix("length 14 |", "") == "length 14 |"
    assert without_suffix("length 14    <---- here it stops", "") == "length 14"
    assert is_remark("// the client")
    assert not is_remark("    198.51.100.20.1194 > a")
