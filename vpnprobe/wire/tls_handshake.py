"""The beginning of a TLS server's side, read as far as it says in clear over which group keys were agreed on.

TLS 1.3 has it in the ServerHello's key_share (RFC 8446 section 4.2.8), TLS 1.2 in the ServerKeyExchange of ECDHE (RFC 8422 section 5.4).
Everything after these is encrypted, or of no concern here.
"""

from collections.abc import Iterator
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

HANDSHAKE: Final = 22
"""ContentType of a record."""
SERVER_HELLO: Final = 2
SERVER_KEY_EXCHANGE: Final = 12
KEY_SHARE: Final = 51
NAMED_CURVE: Final = 3
RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3): it names a group, and another hello follows."""
GROUPS: Final = {
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    29: "x25519",
    30: "x448",
    256: "ffdhe2048",
    257: "ffdhe3072",
    258: "ffdhe4096",
    259: "ffdhe6144",
    260: "ffdhe8192",
}
"""Numbers of the registry "TLS Supported Groups" to names, in small letters."""


def agreed_group(stream: bytes) -> int | None:
    """The number of the group; None: the stream does not say, or not yet."""
    try:
        for kind, body in _messages(stream):
            if kind == SERVER_HELLO and (group := _of_hello(Cursor(body))) is not None:
                return group
            if kind == SERVER_KEY_EXCHANGE:
                cursor = Cursor(body)
                return cursor.u16("named curve") if cursor.u8("curve type") == NAMED_CURVE else None
    except DecodeError:
        return None
    return None


def _messages(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Handshake messages of the records in front that are not encrypted."""
    records, joined = Cursor(stream), b""
    while records.left >= 5:
        kind, _, length = records.u8("content type"), records.u16("version"), records.u16("length")
        content = records.take(min(length, records.left), "record")
        joined += content if kind == HANDSHAKE else b""
    cursor = Cursor(joined)
    while cursor.left >= 4:
        kind = cursor.u8("message type")
        yield kind, cursor.take(int.from_bytes(cursor.take(3, "length"), "big"), "message")


def _of_hello(cursor: Cursor) -> int | None:
    cursor.u16("version")
    retry = cursor.take(32, "random") == RETRY
    cursor.take(cursor.u8("session ID length"), "session ID")
    cursor.take(3, "cipher suite and compression")
    if retry or cursor.left < 2:
        return None
    extensions = Cursor(cursor.take(cursor.u16("extensions length"), "extensions"))
    while extensions.left:
        kind, content = extensions.u16("extension"), extensions.take(extensions.u16("length"), "extension")
        if kind == KEY_SHARE:
            return Cursor(content).u16("group")
    return None
