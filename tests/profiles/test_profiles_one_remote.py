"""A profile written anew with one remote: what stays, in its line, and that nothing else comes to openvpn's own reader."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.lexing import quoted, split_words, statements
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.one_remote import LeftOut, OneRemote, with_one_remote
from vpnprobe.profiles.ovpn import parse_profile

MATERIAL = make_session_keys(os.urandom)
CA = MATERIAL.server.identity.certificate_pem.decode()
IDENTITY = (
    f"<ca>\n{CA}</ca>\n<cert>\n{MATERIAL.identity.certificate_pem.decode()}</cert>\n<key>\n{MATERIAL.identity.key_pem.decode()}</key>\n"
)
PLAIN = """\
client
# remote in a comment 1
remote one.example 1194 udp
up /etc/up.sh
remote two.example 443 tcp
setenv opt daemon
auth SHA256
setenv opt tls-version-min 1.2
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
plugin /x/evil.so
mssfix 1300
</connection>
auth SHA256
"""
KEPT = frozenset({"client", "auth", "remote", "mssfix", "tls-version-min", "verify-x509-name"})


def parsed(text: str, folder: Path = Path()) -> Profile:
    return parse_profile(text + IDENTITY, folder=folder, file=str(folder / "x.ovpn"))


def written(text: str, number: int = 0, folder: Path = Path()) -> OneRemote:
    profile = parsed(text, folder)
    return with_one_remote(profile, profile.remotes[number], keeps=lambda one: one.option in KEPT)


def options(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.option) for one in statements(text, file="x")]


def test_plain_remotes() -> None:
    text, left_out = written(PLAIN, 1)
    assert options(text)[:4] == [(1, "client"), (5, "remote"), (7, "auth"), (8, "tls-version-min")]
    assert "\nsetenv opt tls-version-min 1.2\n" in text
    assert {option for _, option in options(text)[4:]} == {"ca", "cert", "key"}
    assert left_out == (LeftOut(4, "up"), LeftOut(6, "daemon"))
    assert "comment" not in text


def test_blocks() -> None:
    text, left_out = written(BLOCKS, 1)
    assert options(text)[:3] == [(1, "client"), (6, "connection"), (13, "auth")]
    assert text.split("\n")[5:12] == ["<connection>", "", "", "remote two.example 443 tcp", "", "mssfix 1300", "</connection>"]
    assert "one.example" not in text
    assert "outside.example" not in text
    assert left_out == (LeftOut(10, "plugin"),)


def test_how_often_the_server_is_told_of_the_end_is_not_the_profiles_to_say() -> None:
    block = "<connection>\nexplicit-exit-notify 99\nremote a 1 udp\n</connection>\n"
    profile = parsed(f"client\nexplicit-exit-notify 9999\n{block}setenv opt explicit-exit-notify 9\n")
    made = with_one_remote(profile, profile.remotes[0], keeps=lambda _: True)
    assert "explicit-exit-notify" not in made.text
    assert made.text.startswith("client\n\n<connection>\n\nremote a 1 udp\n</connection>\n")
    assert made.left_out == ()


def test_files_become_blocks_and_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(f"free text\n{CA}more of it\n")
    (tmp_path / "login").write_text("me\nsecret\n")
    text = f"client\nremote a 1\nca ca.crt\nauth-user-pass login\naskpass login\n{IDENTITY[IDENTITY.index('<cert>') :]}"
    profile = parse_profile(text, folder=tmp_path, file=str(tmp_path / "x.ovpn"))
    made = with_one_remote(profile, profile.remotes[0], keeps=lambda one: one.option in KEPT)
    assert made.left_out == ()
    assert "\nauth-user-pass\n" in made.text
    assert CA.strip() in made.text
    for word in ("free text", "ca.crt", "login", "secret", "askpass"):
        assert word not in made.text


def test_the_line_that_openvpn_would_read_otherwise_is_refused() -> None:
    text = f"client\nremote a 1\n{IDENTITY}<cert>\n{CA}{'y' * 255}</cert>{'x' * 250}\n</cert>\n"
    found = parse_profile(text, folder=Path(), file="x.ovpn")
    with pytest.raises(
        ProfileError, match=r"the line is 512 bytes long, and openvpn reads lines of a block in pieces of 255 bytes"
    ) as error:
        with_one_remote(found, found.remotes[0], keeps=lambda one: True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "--setenv opt daemon",
        "setenv opt daemon",
        '"setenv" opt daemon',
        "--daemon",
        "setenv opt setenv opt daemon",
        "setenv-safe x y",
        "config /etc/other",
        "connection /etc/other",
        "\u00a0daemon",
        "daemon\u2003x",
        "\v\fdaemon",
        "<wg>\nplugin /x\n</wg>",
        "--<dh>\nplugin /x\n</dh>",
    ],
)
def test_what_hides_an_option_hides_nothing(line: str) -> None:
    text, left_out = written(f"client\nremote a 1\n{line}\n")
    assert {option for _, option in options(text)} == {"client", "remote", "ca", "cert", "key"}
    assert len(left_out) == 1
    assert not re.search("daemon|plugin|other", text)


def test_what_has_a_control_character_is_refused() -> None:
    with pytest.raises(ProfileError, match="control character"):
        written("client\nremote a 1\nverify-x509-name 'a\x1b[2J'\n")


@given(st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"])))
def test_a_word_is_read_back_as_it_was(word: str) -> None:
    assert split_words(quoted(word), Place("x", 1)) == [word]


LINES = st.sampled_from(["client", "remote a 1", "remote b 2 tcp", "up x", "", "# y", "<connection>\nremote c 3\n</connection>"])


@given(st.lists(LINES, max_size=12), st.data())
def test_the_others_stay_where_they_are(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(["client", "remote z 1", *lines, ""])
    profile = parsed(text)
    remote = data.draw(st.sampled_from(profile.remotes))
    made = with_one_remote(profile, remote, keeps=lambda one: one.option in KEPT)
    lines_of = [line for line, name in options(text) if name == "client"]
    assert [line for line, name in options(made.text) if name == "client"] == lines_of
    assert [line for line, text in enumerate(made.text.split("\n"), start=1) if text.startswith("remote ")] == [remote.line]
