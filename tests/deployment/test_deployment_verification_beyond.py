"""Hosts that the user names, and what a service answers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.verification.beyond import Host, differ, parse_host, reach, seen_by
from vpnprobe.errors import UsageError

ONE, OTHER = ip_address("203.0.113.9"), ip_address("198.51.100.7")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("web", Host("web", None)),
        ("web:80", Host("web", 80)),
        ("192.0.2.1:443", Host("192.0.2.1", 443)),
        ("2001:db8::1", Host("2001:db8::1", None)),
        ("[2001:db8::1]:443", Host("2001:db8::1", 443)),
    ],
)
def test_a_host_is_read(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["", "web:", "web:0", "web:70000", "we b", "[::1", "web:http"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(UsageError):
        parse_host(text)


@given(st.text(max_size=60))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    try:
        assert parse_host(text).name
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text


def test_whether_the_address_is_another() -> None:
    assert differ(ONE, OTHER, ()) is True
    assert differ(ONE, ONE, ()) is False
    assert differ("no answer", OTHER, ()) is None
    assert differ("no answer", OTHER, {OTHER}) is True
    assert differ(ONE, "no answer", ()) is None


def served(answer: bytes, ask: Callable[[int], Awaitable[object]]) -> object:
    """What a question to a service on loopback gives, which answers every connection with this."""

    async def play() -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
            writer.close()
            await writer.wait_closed()
            ended.set()

        ended = asyncio.Event()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            found = await ask(server.sockets[0].getsockname()[1])
            await ended.wait()
            return found

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"203.0.113.9\n", ONE),
        (b'{"ip": "203.0.113.9"}', ONE),
        (b"you are 2001:db8::7 today", ip_address("2001:db8::7")),
        (b"999.1.1.1", "the answer of 127.0.0.1 names no address"),
        (b"", "the answer of 127.0.0.1 names no address"),
    ],
)
def test_a_service_names_the_address(body: bytes, found: object) -> None:
    assert served(b"HTTP/1.0 200 OK\r\n\r\n" + body, lambda port: seen_by(f"http://127.0.0.1:{port}/")) == found


def test_a_port_that_is_open_or_refused_is_an_answer() -> None:
    assert served(b"", lambda port: reach(Host("127.0.0.1", port))).answered  # type: ignore[attr-defined]
    found = asyncio.run(reach(Host("127.0.0.1", 1)))
    assert (found.answered, found.how) == (True, "it answers, and refuses the port")


def test_a_service_that_is_not_there() -> None:
    assert "does not answer" in str(asyncio.run(seen_by("http://127.0.0.1:1/")))
    with pytest.raises(UsageError):
        asyncio.run(seen_by("ftp://x/"))


def test_what_is_no_name_does_not_answer() -> None:
    found = asyncio.run(reach(Host("a" * 64 + ".example", None)))
    assert (found.answered, found.how) == (False, "no valid name")
