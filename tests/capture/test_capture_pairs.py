"""Two ends in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.printed.pairs import pair_in


@pytest.mark.parametrize(
    ("line", "source", "destination", "colon"),
    [
        ("IP 192.0.2.1.500 > 192.0.2.2.500: isakmp", "192.0.2.1.500", "192.0.2.2.500", True),
        ("port1 in 192.0.2.1.500 -> 192.0.2.2.500: udp 3", "192.0.2.1.500", "192.0.2.2.500", True),
        ("IP6 2001:db8::1.500 > 2001:db8::2.500: isakmp", "2001:db8::1.500", "2001:db8::2.500", True),
        ("0a:00:00:00:00:01 > 0a:00:00:00:00:02, ethertype IPv4 (0x0800), length 60: a.1 > b.2: UDP", "a.1", "b.2", True),
        ("0a-00-00-00-00-01 > 0a-00-00-00-00-02, ethertype IPv4 (0x0800), length 60: a.1 > b.2: UDP", "a.1", "b.2", True),
        ("192.0.2.1  > sip: GREv1", "192.0.2.1", "sip", True),
        ("192.0.2.1 \u2192 192.0.2.2    TCP 74", "192.0.2.1", "192.0.2.2", False),
    ],
)
def test_ends_of_a_line(line: str, source: str, destination: str, colon: bool) -> None:
    pair = pair_in(line)
    assert pair is not None
    assert (pair.source, pair.destination, pair.colon) == (source, destination, colon)
    assert line[pair.begin :].startswith(source)


@pytest.mark.parametrize(
    "line",
    [
        "a > b",
        "cookie aa4ca15a17d9444f->449428a3470e105e: phase 1",
        "> quoted",
        "no arrow",
        ">>>>>>>>>>>>> 1.1:",
        "Jo <jo@example.org> wrote:",
    ],
)
def test_what_has_no_two_ends(line: str) -> None:
    assert pair_in(line) is None


@given(st.text(max_size=200), st.integers(0, 50))
def test_any_line_is_read_without_failing(line: str, begin: int) -> None:
    pair_in(line, begin)
