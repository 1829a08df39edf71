"""A profile whose tunnel is up here: asked for on a terminal, refused elsewhere, tried with `--take-over`; never without a word."""

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from vpnprobe.cli import run_command, taking_over
from vpnprobe.cli.taking_over import with_leave
from vpnprobe.endpoint.running_tunnels import RunningTunnel, TunnelSearch
from vpnprobe.errors import ExitStatus, UsageError

NOTHING = TunnelSearch()
ONE = TunnelSearch((RunningTunnel("interface wg0 with this profile's key"),))
TWO = TunnelSearch((*ONE.tunnels, RunningTunnel("interface wg1 with this profile's key")))
UNTOLD = TunnelSearch(untold=("interface wg7, whose key cannot be read",))


def leave(search: TunnelSearch, *, take_over: bool = False) -> list[str]:
    told: list[str] = []
    with_leave("wg0.conf", search, "ends it", told.append, take_over=take_over)
    return told


@pytest.mark.parametrize("take_over", [False, True])
def test_what_nobody_sees_is_warned_of_in_one_line(take_over: bool) -> None:
    assert leave(NOTHING, take_over=take_over) == ["wg0.conf: where its tunnel is up on another machine, a test ends it"]


def test_what_cannot_be_told_is_said() -> None:
    first, second = leave(UNTOLD)
    assert first == "wg0.conf: it cannot be told whether this is its tunnel: interface wg7, whose key cannot be read"
    assert "another machine" in second


@pytest.mark.parametrize(
    ("search", "words"), [(ONE, "interface wg0 with this profile's key is up"), (TWO, "wg1 with this profile's key are up")]
)
def test_without_a_terminal_it_is_refused(search: TunnelSearch, words: str) -> None:
    with pytest.raises(UsageError, match="--take-over") as caught:
        leave(search)
    assert words in str(caught.value)
    assert caught.value.status is ExitStatus.USAGE
    assert "\n" not in str(caught.value)


def test_with_the_option_it_is_told() -> None:
    assert leave(ONE, take_over=True) == ["wg0.conf: interface wg0 with this profile's key is up, and the test ends it"]


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """Answers the question that comes."""
    monkeypatch.setattr(taking_over, "_may_ask", lambda: True)

    @click.command()
    def command() -> None:
        leave(ONE)
        click.echo("tried")

    return lambda answer: CliRunner().invoke(command, input=answer)


def test_on_a_terminal_it_is_asked_for(at_terminal: Callable[[str], Result]) -> None:
    result = at_terminal("y\n")
    assert result.stdout == "tried\n"
    assert "interface wg0 with this profile's key is up, and a test ends it. Try it all the same? [y/N]: y" in result.stderr


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_a_no_ends_it(at_terminal: Callable[[str], Result], answer: str) -> None:
    result = at_terminal(answer)
    assert result.stdout == ""
    assert isinstance(result.exception, UsageError)
    assert "not tried, since interface wg0" in str(result.exception)


def test_the_option_without_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    status = run_command(["run", "--peer", "127.0.0.1", "--take-over"])
    out, err = capsys.readouterr()
    assert (status, out) == (ExitStatus.USAGE, "")
    assert "--take-over is about a profile's tunnel: give --profile FILE too" in err
