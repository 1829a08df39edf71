"""Lines, words, quotes, comments and blocks, each as OpenVPN 2.6 takes or refuses it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.lexing import LONGEST_LINE_BYTES, split_words, statements

HERE = Place("some.ovpn", 7)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" \t\r", []),
        ("# a comment", []),
        ("; another", []),
        ("remote host 1194", ["remote", "host", "1194"]),
        ("\tremote\t host\r", ["remote", "host"]),
        ("ca a ; said of it", ["ca", "a"]),
        ("ca a#b", ["ca", "a#b"]),
        ("ca a;b", ["ca", "a;b"]),
        ('ca "# no comment"', ["ca", "# no comment"]),
        ('ca "a b"', ["ca", "a b"]),
        ("ca 'a b'", ["ca", "a b"]),
        ('ca ""', ["ca", ""]),
        ('ca a"b"', ["ca", 'a"b"']),
        ('ca "a"b', ["ca", "a", "b"]),
        ("ca it's", ["ca", "it's"]),
        (r"ca a\ b", ["ca", "a b"]),
        (r"ca \"a", ["ca", '"a']),
        (r'ca "C:\\Program Files\\a.crt"', ["ca", r"C:\Program Files\a.crt"]),
        (r'ca "say \"a\""', ["ca", 'say "a"']),
        (r"ca 'C:\a'", ["ca", r"C:\a"]),
        ("ca ø", ["ca", "ø"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split_words(line, HERE) == words


@pytest.mark.parametrize(
    ("line", "problem", "mend"),
    [
        ('ca "a', 'a quotation begins with " and does not end', 'put a " behind it'),
        ("ca 'a", "a quotation begins with ' and does not end", "put a ' behind it"),
        (r'ca "a\"', 'a quotation begins with " and does not end', 'put a " behind it'),
        ("ca a\\", "a backslash ends the line", r"write \\ where"),
        ("\\", "a backslash ends the line", r"write \\ where"),
        (r"ca C:\keys\a.crt", "the backslash before 'k' means nothing to OpenVPN", "twice"),
        (r'ca "C:\keys"', "the backslash before 'k' means nothing to OpenVPN", "twice"),
    ],
)
def test_what_cannot_be_split(line: str, problem: str, mend: str) -> None:
    with pytest.raises(ProfileError) as caught:
        split_words(line, HERE)
    assert caught.value.problem == problem
    assert mend in caught.value.mend
    assert str(caught.value).startswith("some.ovpn, line 7: ")


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_double_quotes_carry_any_word(words: list[str]) -> None:
    line = " ".join('"' + word.replace("\\", r"\\").replace('"', r"\"") + '"' for word in words)
    assert split_words(line, HERE) == words


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="'")), max_size=5))
def test_single_quotes_carry_any_word_without_them(words: list[str]) -> None:
    assert split_words("\t".join(f"'{word}'" for word in words), HERE) == words


@given(st.lists(st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="'#;"), min_size=1), max_size=5))
def test_backslashes_carry_any_bare_word(words: list[str]) -> None:
    line = " ".join("".join(f"\\{letter}" if letter in ' "\\' else letter for letter in word) for word in words)
    assert split_words(line, HERE) == words


def found(text: str) -> list[tuple[int, str, tuple[str, ...], str | None]]:
    return [(one.line, one.option, one.arguments, one.content) for one in statements(text, file="some.ovpn")]


def test_lines_and_blocks_in_order() -> None:
    text = "client\n\n<ca>\nA B\n\n  C\n</ca>\n# no\nverb 3 # yes\n"
    assert found(text) == [(1, "client", (), None), (3, "ca", (), "A B\n\n  C"), (9, "verb", ("3",), None)]


def test_windows_files_begin_with_a_mark_and_end_lines_with_two_bytes() -> None:
    assert found("\ufeffclient\r\n<ca>\r\nA\r\nB\r\n</ca>\r\nverb 3\r\n") == [
        (1, "client", (), None),
        (2, "ca", (), "A\nB"),
        (6, "verb", ("3",), None),
    ]


def test_dashes_of_the_command_line_are_taken_off() -> None:
    assert found("--verb 3\n--\n") == [(1, "verb", ("3",), None), (2, "--", (), None)]


def test_an_option_that_may_be_unknown_stands_behind_setenv_opt() -> None:
    assert found("setenv opt tls-version-min 1.2 or-highest\nsetenv opt\nsetenv A b\n") == [
        (1, "tls-version-min", ("1.2", "or-highest"), None),
        (2, "setenv", ("opt",), None),
        (3, "setenv", ("A", "b"), None),
    ]


@pytest.mark.parametrize(
    ("text", "option", "arguments", "optional"),
    [
        ("--setenv opt daemon", "daemon", (), True),
        ("setenv\t'opt' daemon x", "daemon", ("x",), True),
        ("setenv opt --daemon", "--daemon", (), True),
        ("setenv opt setenv opt daemon", "setenv", ("opt", "daemon"), True),
        ("----daemon", "--daemon", (), False),
        ("\u00a0daemon", "\u00a0daemon", (), False),
    ],
)
def test_dashes_go_before_setenv_opt_does(text: str, option: str, arguments: tuple[str, ...], optional: bool) -> None:
    """As OpenVPN 2.6.14 does it."""
    (one,) = statements(text, file="x")
    assert (one.option, one.arguments, one.optional) == (option, arguments, optional)


def test_dashes_before_a_tag_are_taken_off_too() -> None:
    assert found("--<ca>\nA\n</ca>") == [(1, "ca", (), "A")]


def test_tags_may_be_indented_and_have_something_behind_them() -> None:
    assert found("  <ca> # ours\nA\n\t</ca> and so on\n") == [(1, "ca", (), "A")]


def test_a_tag_with_an_argument_is_no_block() -> None:
    assert found("<ca> x\n") == [(1, "<ca>", ("x",), None)]


def test_lines_of_a_block_have_any_length_and_any_quotes() -> None:
    assert found(f'<ca>\n{"a" * 1000}\n"\\x\n</ca>') == [(1, "ca", (), "a" * 1000 + '\n"\\x')]


def test_a_password_may_look_like_a_tag() -> None:
    assert found("<auth-user-pass>\n<key>\n</ca>\n</auth-user-pass>")[0][3] == "<key>\n</ca>"


def test_an_unknown_block_may_hold_anything_but_blocks() -> None:
    assert found("<wg>\n<b>\n</b>\n</wg>")[0][3] == "<b>\n</b>"


def test_blocks_inside_of_a_connection_are_its_own() -> None:
    assert found("<connection>\n<tls-auth>\nK\n</tls-auth>\n</connection>") == [(1, "connection", (), "<tls-auth>\nK\n</tls-auth>")]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("client\n<ca>\nA\n", 2, "the block <ca> is not closed before the text ends"),
        ("<ca>\nA\n<cert>\nB\n</cert>\n", 1, "the block <ca> is not closed before <cert> in line 3"),
        ("<key>\nA\n</cert>\n", 1, "the block <key> is not closed before </cert> in line 3"),
        ("<connection>\nremote a\n<connection>\n", 1, "the block <connection> is not closed before <connection> in line 3"),
        ("client\nA\n</ca>\n", 3, "</ca> closes a block that was never opened"),
        ("\n" + "#" * 255, 2, f"the line is 255 bytes long, and OpenVPN takes {LONGEST_LINE_BYTES} at most"),
        ("ca " + "ø" * 126, 1, "the line is 255 bytes long, and OpenVPN takes 254 at most"),
    ],
)
def test_what_is_broken(text: str, line: int, problem: str) -> None:
    with pytest.raises(ProfileError) as caught:
        found(text)
    assert (caught.value.line, caught.value.problem) == (line, problem)


def test_the_longest_line_is_taken() -> None:
    assert found("#" * 254) == []
    assert found("ca " + "a" * 251)[0][2] == ("a" * 251,)


@given(st.text())
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        found(text)
    except ProfileError as error:
        assert 1 <= error.line <= text.count("\n") + 1


@given(st.text(st.sampled_from("<>/cakey \n\"'\\#;ab")))
def test_what_looks_like_a_profile_is_split_or_refused(text: str) -> None:
    try:
        lines = [one[0] for one in found(text)]
        assert lines == sorted(set(lines))
    except ProfileError as error:
        assert 1 <= error.line <= text.count("\n") + 1
