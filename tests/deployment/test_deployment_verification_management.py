"""Lines of OpenVPN's management interface."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.verification.management import Event, Fatal, Held, Logged, Refused, State, Wanted, answer, decode, why_unsaid

ADDRESSES = (ip_address("10.8.0.2"), ip_address("192.0.2.1"), 1194)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (">HOLD:Waiting for hold release:0", Held()),
        (">STATE:1795928574,WAIT,,,,,,", State("WAIT", "")),
        (">STATE:1,CONNECTED,SUCCESS,10.8.0.2,192.0.2.1,1194,,", State("CONNECTED", "SUCCESS", *ADDRESSES)),
        (
            ">STATE:1,CONNECTED,SUCCESS,10.8.0.2,192.0.2.1,1194,192.0.2.9,40000,fd00::2",
            State("CONNECTED", "SUCCESS", *ADDRESSES, ip_address("fd00::2")),
        ),
        (">STATE:1,RECONNECTING,tls-error,,,,,", State("RECONNECTING", "tls-error")),
        (">LOG:1795928574,W,WARNING: a, b", Logged("W", "WARNING: a, b")),
        (">LOG:1795928574,,VERIFY OK: depth=1, CN=ca", Logged("", "VERIFY OK: depth=1, CN=ca")),
        (">PASSWORD:Need 'Auth' username/password", Wanted("Auth", True)),
        (">PASSWORD:Need 'Auth' username/password SC:1,Your code?", Wanted("Auth", True, "Your code?")),
        (">PASSWORD:Need 'Private Key' password", Wanted("Private Key", False)),
        (">PASSWORD:Verification Failed: 'Auth'", Refused("Auth")),
        (">PASSWORD:Auth-Token:x", None),
        (">FATAL:cannot open tun", Fatal("cannot open tun")),
        ("SUCCESS: hold release succeeded", None),
        ("", None),
    ],
)
def test_a_line_is_an_event(line: str, event: Event | None) -> None:
    assert decode(line) == event


def test_an_answer_is_quoted_and_stays_one_line() -> None:
    assert answer(Wanted("Auth", True), "me", 'a"b\\c\nsignal SIGTERM') == (
        'username "Auth" "me"',
        'password "Auth" "a\\"b\\\\csignal SIGTERM"',
    )
    assert answer(Wanted("Private Key", False), "", "x") == ('password "Private Key" "x"',)
    assert answer(Wanted("x" * 900, True), "me", "x") == ()


@pytest.mark.parametrize(
    ("name", "secret", "why"),
    [
        ("me", "x", ""),
        ("ä" * 127, '"' * 255, ""),
        ("S" * 1008 + "verb 11 #", "x", "the user name is 1017 bytes long, and openvpn's management interface takes 255"),
        ("me", "ä" * 128, "the password is 256 bytes long, and openvpn's management interface takes 255"),
        ("me", "SECRET\tword", "the password has a control character in it, and is not handed to openvpn"),
        ("me\x7f", "x", "the user name has a control character in it, and is not handed to openvpn"),
        ("me", "\udcff", "the password is not UTF-8, and is not handed to openvpn"),
    ],
)
def test_what_would_be_cut_or_be_a_command_is_not_said(name: str, secret: str, why: str) -> None:
    assert why_unsaid(name, secret) == why
    if not why:
        assert all(len(line.encode()) < 900 for line in answer(Wanted("Private Key", True), name, secret))


@given(st.text())
def test_any_line_is_read(line: str) -> None:
    decode(line)
    decode(f">STATE:{line}")
    decode(f">PASSWORD:{line}")
