"""Whatever the text, there is a profile or one clear line; and a profile shows no secrets."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from profile_support import STATIC, block, identity, parsed

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.known import ARGUMENTS, KNOWN
from vpnprobe.profiles.lexing import INLINE
from vpnprobe.profiles.ovpn import parse_profile

NOWHERE = Path("/nonexistent")
WORDS = [
    "0",
    "1",
    "1194",
    "udp",
    "tcp",
    "server",
    "name",
    "AES-256-GCM",
    "yes",
    "a",
    '""',
    "[inline]",
    "or-highest",
    "'",
    '"',
    "\\",
    "#",
    "ø",
    "\udcff",
]
OPTIONS = sorted({*ARGUMENTS, *INLINE, "pull", "tls-client", "dh", "float", "scramble", "http-proxy"} - {"secret"})
LINE = st.builds(lambda option, words: " ".join([option, *words]), st.sampled_from(OPTIONS), st.lists(st.sampled_from(WORDS), max_size=3))
BLOCK = st.builds(block, st.sampled_from(sorted(INLINE)), st.sampled_from(["", "a", "remote a", "AB:CD", STATIC.encode(), "anna\nx"]))


def check(text: str) -> None:
    try:
        profile = parse_profile(text, folder=NOWHERE, file="some.ovpn")
    except ProfileError as error:
        assert 0 <= error.line <= text.count("\n") + 1
        assert "\n" not in error.mend
        str(error).encode()
    else:
        assert profile.remotes
        assert all(1 <= remote.port <= 65535 and remote.transport in (Transport.UDP, Transport.TCP) for remote in profile.remotes)
        assert not {one.option for one in profile.unknown} & KNOWN
        repr((profile.notes, profile.unknown)).encode()


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text: str) -> None:
    check(text)


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_any_text_in_a_good_profile(text: str) -> None:
    check(f"client\nremote a\n{text}\n{identity()}")


@given(st.lists(LINE | BLOCK, max_size=4))
def test_any_options_in_a_good_profile(lines: list[str]) -> None:
    check("\n".join(["client", "remote a", *lines, identity()]))


@given(st.lists(st.sampled_from(identity().splitlines()), max_size=30))
def test_keys_in_any_disorder(lines: list[str]) -> None:
    check("\n".join(["client", "remote a", *lines]))


@given(
    st.integers(1, 65535),
    st.sampled_from(["udp", "tcp", "udp4", "udp6", "tcp4", "tcp6"]),
    st.from_regex(r"[a-z0-9.:-]{1,60}", fullmatch=True),
)
def test_any_remote_is_read_as_it_was_written(port: int, protocol: str, host: str) -> None:
    (remote,) = parsed(head=f"client\nremote {host} {port} {protocol}\n").remotes
    assert (remote.host, remote.port, remote.transport + remote.family) == (host, port, protocol)


def test_nothing_secret_is_shown() -> None:
    profile = parsed("auth-user-pass\n" + block("auth-user-pass", "anna\nletmein") + block("tls-crypt", STATIC.encode()))
    shown = repr(profile)
    assert profile.credentials.password == "letmein"
    assert "letmein" not in shown
    assert "PRIVATE KEY" not in shown
    assert "StaticKey" not in shown
    assert "anna" in shown
