"""What openvpn is run with beside the profile, and what of the profile it gets: every option is kept or left out on purpose."""

from itertools import combinations
from pathlib import Path

import pytest

from vpnprobe.deployment.real_client.options import (
    GOODBYE,
    KEPT,
    LEFT_OUT,
    NO_DNS,
    NO_OTHER_GOODBYE,
    QUIET,
    SOMETIMES,
    WRITTEN,
    added_options,
    first_options,
    is_kept,
    why_untried,
)
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.accounts import ACCOUNTS, Treatment
from vpnprobe.profiles.known import KNOWN, NOTED
from vpnprobe.profiles.lexing import Statement, statements
from vpnprobe.profiles.one_remote import LeftOut
from vpnprobe.profiles.ovpn import parse_profile

SETS = (KEPT, WRITTEN, SOMETIMES, LEFT_OUT)


def one(text: str) -> Statement:
    return next(statements(text, file="x"))


def test_every_option_is_kept_or_left_out_on_purpose() -> None:
    assert frozenset().union(*SETS) == KNOWN
    assert not [found for one, other in combinations(SETS, 2) if (found := one & other)]


def test_what_vpnprobe_applies_to_a_session_stays() -> None:
    applied = {name for name in LEFT_OUT if ACCOUNTS[name].treatment is not Treatment.TOLD}
    assert applied == {"dev", "dev-type"}


def test_what_runs_loads_opens_or_writes_is_left_out() -> None:
    programs = {name for name, why in NOTED.items() if "is a program" in why}
    dangerous = {"capath", "cd", "chroot", "config", "engine", "genkey", "iproute", "log", "memstats", "pkcs11-providers", "plugin"}
    dangerous |= {"replay-persist", "show-pkcs11-ids", "status", "tls-export-cert", "tmp-dir", "writepid", "management"}
    assert programs | dangerous <= LEFT_OUT


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("providers legacy default", True),
        ("providers /x/evil.so", False),
        ("providers default ../../x/evil", False),
        ("setenv UV_ID abc", True),
        ("setenv FORWARD_COMPATIBLE 1", True),
        ("setenv OPENSSL_CONF /x", False),
        ("setenv", False),
        ("setenv opt daemon", False),
        ("plugin /x", False),
        ("client", True),
        ("something-new /x", False),
    ],
)
def test_what_is_kept(text: str, kept: bool) -> None:
    assert is_kept(one(text)) is kept


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("http-proxy", "openvpn would tell the proxy"),
        ("socks-proxy", "openvpn would tell the proxy"),
        ("pkcs11-id", "the key is kept elsewhere"),
        ("capath", "a folder of authorities is not opened"),
        ("up", ""),
    ],
)
def test_what_it_cannot_be_tried_without(option: str, words: str) -> None:
    profile = parse_profile("client\nremote a 1\nauth-user-pass\ncapath x\n", folder=Path(), file="x")
    why = why_untried(profile, [LeftOut(3, "log"), LeftOut(7, option)])
    assert why.startswith(f"line 7, {option}: {words}") if words else why == ""


@pytest.mark.parametrize(
    ("version", "transport", "first", "expected"),
    [
        ((2, 3), Transport.UDP, GOODBYE, QUIET),
        ((2, 4), Transport.UDP, (*NO_OTHER_GOODBYE, *GOODBYE), QUIET),
        ((2, 6), Transport.TCP, NO_OTHER_GOODBYE, QUIET),
        ((2, 7), Transport.UDP, (*NO_OTHER_GOODBYE, *GOODBYE), (*QUIET, *NO_DNS)),
        (None, Transport.TCP, (), QUIET),
    ],
)
def test_what_is_added(version: tuple[int, int] | None, transport: Transport, first: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert first_options(version, transport) == first
    assert added_options(version) == expected
