"""The list of known options, how many arguments they take, how they are looked up; and that errors are one clean line."""

import pytest
from profile_support import block, identity, parsed, refused

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.known import ARGUMENTS, ELSEWHERE, IN_CONNECTION, KNOWN, NOTED, SERVERS
from vpnprobe.profiles.lexing import INLINE, statements
from vpnprobe.profiles.options import Options, number_in

ROLES = {"secret"}
"""What it has to say is said before its arguments are counted."""


def options(text: str) -> Options:
    return Options(statements(text, file="some.ovpn"))


@pytest.mark.parametrize("names", [ARGUMENTS, ELSEWHERE, IN_CONNECTION, NOTED, SERVERS, INLINE])
def test_what_is_treated_is_known(names: "frozenset[str]") -> None:
    assert set(names) <= KNOWN


def test_known_are_options_of_all_ages_and_of_all_systems_and_no_patches() -> None:
    assert {"tls-remote", "ncp-disable", "key-method", "block-outside-dns", "dns", "tun-ipv6", "tls-crypt-v2-max-age", "keysize"} <= KNOWN
    assert not {"scramble", "xormasking", "obfs", "--verb", "Client", ""} & KNOWN
    assert all(name == name.lower().strip() for name in KNOWN)


@pytest.mark.parametrize("option", sorted(name for name, (fewest, _) in ARGUMENTS.items() if fewest and name not in ROLES))
def test_too_few_arguments(option: str) -> None:
    error = refused(option)
    assert (error.line, error.problem.split(" of at least ")[0]) == (3, f"{option} has 0")


@pytest.mark.parametrize("option", sorted(set(ARGUMENTS) - ROLES))
def test_too_many_arguments(option: str) -> None:
    most = ARGUMENTS[option][1]
    error = refused(" ".join([option, *["1"] * (most + 1)]))
    assert error.line == 3
    assert error.problem == f"{option} has {most + 1} arguments, and {most or 'none'} at most"
    assert error.mend.startswith("put quotes around")


def test_a_path_with_blanks_needs_quotes() -> None:
    assert refused("ca my keys/ca.crt").mend == "put quotes around an argument that has blanks in it"


def test_an_option_that_cannot_be_a_block() -> None:
    assert refused(block("remote", "a")).problem == "remote cannot be a block"


def test_the_last_counts() -> None:
    found = options("auth A\nverb 3\nauth B\n")
    assert found.word("auth") == "B"
    assert [one.line for one in found.all("auth")] == [1, 3]
    assert found.last("auth", "verb") == found.all("auth")[-1]
    assert found.last("port") is None
    assert found.word("port", "1194") == "1194"
    assert "verb" in found
    assert "port" not in found


def test_a_placeholder_does_not_count_where_there_is_a_block() -> None:
    last = options("<ca>\nX\n</ca>\nca [inline]\n").last("ca")
    assert last is not None
    assert last.content == "X"
    assert refused("extra-certs [inline]").problem == "extra-certs names the file '[inline]': No such file or directory"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("5", 5),
        ("10", 10),
        ("11", None),
        ("-1", None),
        ("+1", None),
        ("1_0", None),
        ("", None),
        (" 1", None),
        ("²", None),
        ("0" * 11, None),
    ],
)
def test_numbers(text: str, value: int | None) -> None:
    assert number_in(text, 0, 10) == value


def test_an_error_is_one_line_that_any_terminal_takes() -> None:
    error = Place("some.ovpn", 0).wrong("the name \udcff is none", "change it")
    assert str(error) == "some.ovpn: the name ? is none; change it"
    assert isinstance(error, UsageError)
    assert isinstance(error, ProfileError)
    assert error.status is ExitStatus.UNREADABLE
    assert (error.file, error.line, error.mend) == ("some.ovpn", 0, "change it")


def test_what_a_profile_says_cannot_rewrite_a_terminal() -> None:
    error = Place("some\n.ovpn", 3).wrong("cert has -----END\rX----- and \x1b]0;owned\x07", "put\tit right\u2028")
    assert str(error) == "some .ovpn, line 3: cert has -----END X----- and ?]0;owned?; put it right "
    profile = parsed("\x1b[2Jone\ttwo \x9b3m \udcff é\ndata-ciphers AES-256-GCM:\x1b[1m\ndata-ciphers-fallback \x07")
    assert profile.unsupported_ciphers == ("?[1M", "?")
    assert [(one.option, one.text) for one in profile.unknown] == [("a word of 7 characters", "?[2Jone two ?3m ? é")]


def test_everything_stands_where_it_may_in_a_profile() -> None:
    assert parsed(identity()).notes == ()
