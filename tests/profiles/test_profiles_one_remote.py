"""A profile with one remote and without some options: everything else stays in its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.lexing import statements
from vpnprobe.profiles.one_remote import LeftOut, with_one_remote

PLAIN = """\
client
# remote in a comment 1
remote one.example 1194 udp
up /etc/up.sh
remote two.example 443 tcp
setenv opt daemon
<ca>
remote in a certificate
</ca>
"""
BLOCKS = """\
client
remote outside.example 1
<connection>
remote one.example 1194 udp
</connection>
<connection>
# of the second

remote two.example 443 tcp
fragment 1300
</connection>
<tls-auth>
log of nothing
</tls-auth>
tls-client
"""


def options(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.option) for one in statements(text, file="x")]


def test_plain_remotes() -> None:
    text, left_out = with_one_remote(PLAIN, file="x", line=5, without={"up", "daemon"})
    assert options(text) == [(1, "client"), (5, "remote"), (7, "ca")]
    assert left_out == (LeftOut(4, "up"), LeftOut(6, "daemon"))
    assert "remote in a certificate" in text
    assert len(text.split("\n")) == len(PLAIN.split("\n"))


def test_blocks() -> None:
    text, left_out = with_one_remote(BLOCKS, file="x", line=9, without={"log"})
    assert options(text) == [(1, "client"), (6, "connection"), (12, "tls-auth"), (15, "tls-client")]
    assert "fragment 1300" in text
    assert "one.example" not in text
    assert "outside.example" not in text
    assert left_out == ()


def test_whole_blocks_are_left_out() -> None:
    text, left_out = with_one_remote(BLOCKS, file="x", line=4, without={"tls-auth"})
    assert "log of nothing" not in text
    assert left_out == (LeftOut(12, "tls-auth"),)


def test_what_is_no_profile() -> None:
    with pytest.raises(ProfileError):
        with_one_remote("<ca>\nnever ends\n", file="x", line=1, without=frozenset())


LINES = st.sampled_from(
    ["client", "remote a 1", "remote b 2 tcp", "up x", "", "# y", "<ca>\nq\n</ca>", "<connection>\nremote c 3\n</connection>"]
)


@given(st.lists(LINES, max_size=12), st.data())
def test_the_others_stay_where_they_are(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(lines)
    line = data.draw(st.integers(0, text.count("\n") + 1))
    made, _ = with_one_remote(text, file="x", line=line, without={"up"})
    kept = {one for one in options(made) if one[1] != "connection"}
    assert kept == {(number, name) for number, name in options(text) if name in ("client", "ca") or (name == "remote" and number == line)}
