"""Typed reading of TOML tables: one clear line for each kind of mistake."""

from collections.abc import Callable
from enum import StrEnum

import pytest

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.lab.tables import Table, parse


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def problem(text: str, read: Callable[[Table], object]) -> str:
    table = parse(text, "some.toml")
    with pytest.raises(UsageError) as caught:
        read(table)
    assert caught.value.status is ExitStatus.UNREADABLE
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("a = 1", lambda t: t.text("a"), "some.toml: a: is 1, must be a text"),
        ("a = true", lambda t: t.whole("a", 1, low=0, high=9), "some.toml: a: is True, must be a whole number, 0 to 9"),
        ("a = 10", lambda t: t.whole("a", 1, low=0, high=9), "some.toml: a: is 10, must be a whole number, 0 to 9"),
        ("a = nan", lambda t: t.number("a", 1, low=0, high=1), "some.toml: a: is nan, must be a number, 0 to 1"),
        ("a = [1, 'x']", lambda t: t.wholes("a", low=0, high=9), "some.toml: a[1]: is 'x', must be a whole number, 0 to 9"),
        ("a = 'x'", lambda t: t.texts("a"), "some.toml: a: is 'x', must be a list"),
        ("a = 1", lambda t: t.flag("a"), "some.toml: a: is 1, must be true or false"),
        ("a = 'green'", lambda t: t.member("a", Colour), "some.toml: a: is 'green', must be one of red, blue"),
        ("a = ['red', 3]", lambda t: t.members("a", Colour), "some.toml: a[1]: is 3, must be one of red, blue"),
        ("a = '3'", lambda t: t.octets("a"), "some.toml: a: is '3', must be pairs of hexadecimal digits"),
        ("a = [2, 1]", lambda t: t.range("a"), "some.toml: a: is [2, 1], must be two numbers, the lower one first"),
        ("a = 1", lambda t: t.table("a"), "some.toml: a: is 1, must be a table"),
        ("a = [1]", lambda t: t.tables("a"), "some.toml: a[0]: is 1, must be a table"),
        ("[[a]]\nb = 1", lambda t: t.tables("a")[0].text("b"), "some.toml: a[0].b: is 1, must be a text"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(text: str, read: Callable[[Table], object], message: str) -> None:
    assert problem(text, read) == message


def test_a_key_that_nobody_asked_for_is_refused_with_the_nearest_one() -> None:
    def read(table: Table) -> None:
        table.text("description")
        table.done()

    assert problem("descriptions = 'x'", read) == "some.toml: descriptions: unknown key; did you mean 'description'?"


def test_what_is_not_toml_is_said_with_line_and_column() -> None:
    with pytest.raises(UsageError, match=r"^some\.toml: not TOML: .*line 1") as caught:
        parse("a = = 1", "some.toml")
    assert caught.value.status is ExitStatus.UNREADABLE


def test_absent_keys_give_their_defaults() -> None:
    table = parse("", "some.toml")
    assert table.text("a", "x") == "x"
    assert table.whole("b", 3, low=0, high=9) == 3
    assert table.members("c", Colour) == ()
    assert table.member("d", Colour) is None
    assert table.octets("e") == b""
    assert table.tables("f") == ()


def test_one_word_may_stand_for_a_list_of_one() -> None:
    assert parse("a = 'red'", "").members("a", Colour) == (Colour.RED,)
    assert parse("a = ['red', 'blue']", "").members("a", Colour) == (Colour.RED, Colour.BLUE)
