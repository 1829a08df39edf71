"""The group that a TLS server says in clear: hellos written by hand, and hostile bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.wire.tls_handshake import RETRY, agreed_group


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 3]) + len(content).to_bytes(2, "big") + content


def hello(extensions: bytes | None, *, random: bytes = bytes(32)) -> bytes:
    tail = b"" if extensions is None else len(extensions).to_bytes(2, "big") + extensions
    return message(2, b"\x03\x03" + random + b"\0" + b"\x13\x01\0" + tail)


KEY_SHARE = bytes.fromhex("0033 0004 001d 0000")
VERSIONS = bytes.fromhex("002b 0002 0304")


@pytest.mark.parametrize(
    ("stream", "group"),
    [
        (record(hello(VERSIONS + KEY_SHARE)), 29),
        (record(hello(KEY_SHARE, random=RETRY)), None),
        (record(hello(KEY_SHARE, random=RETRY)) + record(b"\x01", kind=20) + record(hello(KEY_SHARE)), 29),
        (record(hello(VERSIONS)), None),
        (record(hello(None)), None),
        (record(hello(None) + message(11, bytes(9)) + message(12, b"\x03\x00\x18\x01x")), 24),
        (record(hello(None) + message(12, b"\x01\x00\x18")), None),
        (record(hello(VERSIONS + KEY_SHARE))[:20], None),
        (record(hello(None) + message(12, b"\x03")), None),
        (b"", None),
    ],
)
def test_what_a_server_says(stream: bytes, group: int | None) -> None:
    assert agreed_group(stream) == group


@given(st.binary(max_size=120) | st.binary(max_size=90).map(lambda body: record(message(2, body))))
def test_any_bytes_are_a_number_or_nothing(stream: bytes) -> None:
    assert agreed_group(stream) is None or 0 <= (agreed_group(stream) or 0) < 65536
