"""Bytes to lines: encodings, line ends, and the characters that other programs put in; what is plain stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.files import CaptureFormat, recognise
from vpnprobe.capture.printed.characters import LINE_LIMIT, lines_of, pieces, plain
from vpnprobe.capture.text_encoding import encoding_of

LINE = "10:00:00.1 IP 192.0.2.10.1194 > 198.51.100.20.1194: UDP, length 14"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_in_any_encoding_with_any_end(encoding: str, end: str) -> None:
    data = end.join(["Gerät", LINE, LINE]).encode(encoding)
    assert list(lines_of([data]))[1:] == [LINE, LINE]
    assert list(lines_of(data[at : at + 7] for at in range(0, len(data), 7)))[-1].endswith("length 14")


def test_a_text_in_utf_16_is_a_text_and_zeros_are_none() -> None:
    assert recognise(LINE.encode("utf-16-le")) is CaptureFormat.TCPDUMP_TEXT
    assert recognise(bytes(100)) is None
    assert encoding_of(b"") == "utf-8"


@pytest.mark.parametrize(
    ("pasted", "printed"),
    [
        ("a &gt; b &amp; c&nbsp;d &#62; e", "a > b & c d > e"),
        ("a\u00a0>\u2009b", "a > b"),
        ("\x1b[1;31ma\x1b[0m > b", "a > b"),
        ('"a \\u003e b\\r\\nc \\u003e d\\ne"', '"a > b c > d e"'),
        (r"C:\Users\t", r"C:\Users\t"),
        ("a &amp;amp;gt; b &amp;nbsp;c", "a > b  c"),
        ("<code>a &gt; b</code><br>", " a > b  "),
        ("a \u27a1 b \u2013 \u201cc\u201d", 'a \u2192 b - "c"'),
        ("a\u200bb\ufeff", "ab"),
    ],
)
def test_characters_that_other_programs_put_in(pasted: str, printed: str) -> None:
    assert plain(pasted) == printed


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<"), max_size=200))
def test_plain_text_stays_as_it_is(line: str) -> None:
    assert plain(line) == line
    assert plain(plain(line)) == plain(line)


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_bytes_become_lines(data: bytes, size: int) -> None:
    lines = list(lines_of(data[at : at + size] for at in range(0, len(data), size)))
    assert sum(map(len, lines)) <= len(data)
    assert all(isinstance(plain(line), str) for line in lines)


def test_a_line_without_an_end_comes_in_pieces() -> None:
    assert [len(piece) <= LINE_LIMIT for piece in lines_of([b"a b" * LINE_LIMIT])] == [True] * 4
    assert "".join(pieces("ab " * LINE_LIMIT)) == "ab " * LINE_LIMIT
