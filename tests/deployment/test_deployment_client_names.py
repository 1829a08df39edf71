"""Names of clients: what may be, and what is refused in one line."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.client_names import LONGEST_BYTES, SERVER_NAME, check_name
from vpnprobe.errors import UsageError


@pytest.mark.parametrize("name", ["anna", "Anna.Laptop-2", "anna@example.org", "9lives", "bø", "मोबाइल", "手机", "a" * 64, "é" * 32])
def test_a_name_of_any_script(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "it is empty"),
        ("../x", "it has '/'"),
        ("a/b", "it has '/'"),
        ("a" * 300, "it has 300 bytes, at most 64"),
        ("é" * 33, "it has 66 bytes"),
        ("two words", "it has ' '"),
        ("line\nbreak", r"it has '\\n'"),
        ("nul\0", r"it has '\\x00'"),
        ("bell\a", r"it has '\\x07'"),
        (".hidden", "it must begin with"),
        ("..", "it must begin with"),
        ("-rf", "it must begin with"),
        ("_x", "it must begin with"),
        ("\u0301a", "it must begin with"),
        ("a\u202eb", r"it has '\\u202e'"),
        ("a\u200bb", r"it has '\\u200b'"),
        ('a"b', "it has"),
        ("a\\b", "it has"),
        ("a$b", "it has"),
        ("a\ud800", "it is no text"),
        ("e\u0301", "normal form"),
        (SERVER_NAME, "the server's certificate has it"),
    ],
)
def test_what_cannot_be_a_name(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        check_name(name)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused_in_one_printable_line(text: str) -> None:
    try:
        name = check_name(text)
    except UsageError as refused:
        assert str(refused).isprintable()
    else:
        assert 0 < len(name.encode()) <= LONGEST_BYTES
        assert name.isprintable()
        assert not set(name) & set("/\\\"' \0:;#$%*?<>|")
        assert name[0] not in ".-"
        assert unicodedata.normalize("NFC", name) == name
