"""Fuzz targets: OpenVPN's decoders and the profile reader. Each takes any bytes and returns, or shows a bug.

Allowed are `DecodeError` of the decoders and `ProfileError` of the profile reader. Beside that, what was read must be written again as it
was, wherever the format has one spelling only.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Final

from openvpn_support import SERVER_KEY, STATIC_KEY
from scratch import folder

from vpnprobe.capture.followers.openvpn_forms import begins_openvpn_tcp, is_client_reset
from vpnprobe.errors import DecodeError
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.ovpn import parse_profile, read_profile
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import ControlPacket, Reliable, decode_openvpn, frame, peek, split_frames
from vpnprobe.wire.openvpn_data import Compression, DataChannel, packet_number
from vpnprobe.wire.openvpn_epoch import EpochDataChannel
from vpnprobe.wire.openvpn_keying import KeyMethod2, read_options, read_peer_info
from vpnprobe.wire.openvpn_keys import ClientKeyV2, KeyDirection, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_messages import MOST_BUFFER, PushReply, decode_message, split_messages
from vpnprobe.wire.openvpn_wrap import HEAD, PlainWrapper, TlsAuthWrapper, TlsCryptWrapper, Wrapper, early_flags, split_wrapped_key

CIPHERS: Final = tuple(Cipher)


def packets(data: bytes) -> None:
    """One packet, and a stream of them."""
    with suppress(DecodeError):
        packet = decode_openvpn(data)
        assert packet.encode() == data
        assert peek(data)[0] is packet.opcode
        if isinstance(packet, ControlPacket):
            packet.remote_session_id()
            layer = packet.reliable()
            assert type(packet).plain(packet.session_id, layer, key_id=packet.key_id) == packet
    with suppress(DecodeError):
        frames, rest = split_frames(data)
        assert b"".join(map(frame, frames)) + rest == data
    packet_number(data)
    is_client_reset(data)
    begins_openvpn_tcp(data, 0)


def _wrappers(kind: int) -> tuple[Wrapper, Wrapper]:
    """Both ends' of one kind."""
    match kind % 4:
        case 0:
            return PlainWrapper(), PlainWrapper()
        case 1:
            digest = ("SHA1", "SHA256", "SHA512", "MD5")[kind // 4 % 4]
            ends = (KeyDirection.NORMAL, KeyDirection.INVERSE)
            return TlsAuthWrapper(digest, STATIC_KEY, ends[0]), TlsAuthWrapper(digest, STATIC_KEY, ends[1])
        case 2:
            both = KeyDirection.BIDIRECTIONAL
            return TlsAuthWrapper("SHA1", STATIC_KEY, both), TlsAuthWrapper("SHA1", STATIC_KEY, both)
        case _:
            return TlsCryptWrapper(STATIC_KEY, server=False), TlsCryptWrapper(STATIC_KEY, server=True)


def wraps(data: bytes) -> None:
    """The first byte is the kind; the rest is a packet as it comes, one to be wrapped, and a reset's payload."""
    kind, data = data[0] if data else 0, data[1:]
    ours, theirs = _wrappers(kind)
    with suppress(DecodeError):
        theirs.unwrap(data)
    if len(data) >= HEAD:
        head, body = data[:HEAD], data[HEAD:]
        assert theirs.unwrap(ours.wrap(head, body, unix_time=1)) == body
        with suppress(DecodeError):
            layer = Reliable.read(Cursor(body), has_packet_id=bool(kind & 0x80))
            assert layer.encode() == body
    with suppress(DecodeError):
        packet, wrapped = split_wrapped_key(data)
        assert packet + wrapped == data
        SERVER_KEY.unwrap(wrapped)
    with suppress(DecodeError):
        assert 0 <= early_flags(data) <= 0xFFFF


def keying(data: bytes) -> None:
    """Key method 2 from either end, peer info and options strings."""
    for decode in (KeyMethod2.decode_from_client, KeyMethod2.decode_from_server):
        with suppress(DecodeError):
            read = decode(data)
            if read is not None:
                message, size = read
                assert 0 < size <= len(data)
                again = decode(message.encode())
                # Bytes that are no UTF-8 became U+FFFD, which is longer, and need not fit any more.
                assert again is None or again[0].source == message.source
    text = data.decode("utf-8", "replace")
    read_peer_info(text)
    read_options(text)


def messages(data: bytes) -> None:
    """What is said inside TLS, and every property of a push reply."""
    with suppress(DecodeError):
        texts, rest = split_messages(data)
        assert len(rest) <= MOST_BUFFER
        assert b"\0" not in rest
        for text in texts:
            _message(text)
    _message(data.decode("utf-8", "replace"))


def _message(text: str) -> None:
    message = decode_message(text)
    message.encode()
    if isinstance(message, PushReply):
        for name in ("address", "netmask", "gateway", "topology", "cipher", "protocol_flags", "key_derivation"):
            getattr(message, name)
        assert message.peer_id is None or 0 <= message.peer_id < 1 << 24
        numbers = (message.tun_mtu, message.ping_s, message.ping_restart_s)
        assert all(number is None or number >= 0 for number in numbers)
        assert message.continuation in (0, 1, 2)


def data_channel(data: bytes) -> None:
    """The first byte chooses format, cipher and framing; then packets: what happens to it, its length, its payload."""
    reader = io.BytesIO(data)
    chosen = (reader.read(1) or b"\0")[0]
    kind = EpochDataChannel if chosen & 1 else DataChannel
    cipher, framing = CIPHERS[chosen // 2 % len(CIPHERS)], tuple(Compression)[chosen >> 5 & 3]
    peer_id = 7 if chosen & 0x80 else None
    ours, theirs = (kind(cipher, STATIC_KEY.data, server=server, peer_id=peer_id) for server in (False, True))
    sent: list[bytes] = []
    while len(head := reader.read(2)) == 2 and len(sent) < 64:
        what, payload = head[0], reader.read(head[1])
        with suppress(DecodeError):
            framing.remove(payload)
        match what & 7:
            case 0 | 1 | 2:
                sealed = ours.seal(framing.add(payload))
                sent.append(sealed)
                assert len(sealed) == ours.overhead + len(framing.add(payload))
                assert framing.remove(theirs.open(sealed)) == payload
            case 3:
                packet = ours.seal(payload)
                at = what >> 3
                _refused(theirs, packet[:at] + bytes([packet[at % len(packet)] ^ 0x40]) + packet[at + 1 :])
            case 4:
                _refused(theirs, sent[what >> 3] if what >> 3 < len(sent) else b"")
            case 5:
                if isinstance(ours, EpochDataChannel) and isinstance(theirs, EpochDataChannel):
                    # The other end may be followed, but not farther than it takes.
                    ours.advance(min(ours.epoch + 1 + (what >> 6), theirs.epoch + 10))
            case _:
                _refused(theirs, payload)


def _refused(channel: DataChannel | EpochDataChannel, packet: bytes) -> None:
    try:
        channel.open(packet)
    except DecodeError:
        return
    raise AssertionError(f"a packet that was not sealed, or was seen before, is taken: {packet.hex()}")


def keys(data: bytes) -> None:
    """Key files as text, and wrapped keys."""
    text = data.decode("utf-8", "surrogateescape")
    for kind in (StaticKey, ClientKeyV2, ServerKeyV2):
        with suppress(DecodeError):
            key = kind.decode(text)
            assert kind.decode(key.encode()) == key
    with suppress(DecodeError):
        SERVER_KEY.unwrap(data)


class Fence:
    """While it is closed, no file outside `folder()` can be opened; modules that are imported late still can."""

    def __init__(self) -> None:
        self.closed = False
        sys.addaudithook(self._opened)

    def _opened(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.closed or event != "open" or isinstance(arguments[0], int):
            return
        path = os.path.realpath(os.fsdecode(str(arguments[0]) if not isinstance(arguments[0], bytes) else arguments[0]))
        inside = path.startswith((str(folder()), sys.prefix, sys.base_prefix))
        if not inside:
            raise PermissionError(13, "is outside the fence")

    @contextmanager
    def around(self) -> Iterator[None]:
        self.closed = True
        try:
            yield
        finally:
            self.closed = False


@cache
def _fence() -> Fence:
    return Fence()


def profile(data: bytes) -> None:
    """A profile as text, and as a file; the folder beside it has a few files that it may name."""
    for name in ("ca.crt", "keys/ta.key", "up"):
        path = folder() / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(STATIC_KEY.encode() if name.endswith("key") else "user\npassword\n")
    with _fence().around():
        for text in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1")):
            with _explained():
                _shown(parse_profile(text, folder=folder(), file="some.ovpn"))
        path = folder() / "some.ovpn"
        path.write_bytes(data)
        with _explained():
            _shown(read_profile(path))


def _shown(read: Profile) -> None:
    """What is told of a profile can be printed."""
    told = [note.text for note in read.notes] + [one.text for one in read.unknown] + [one.option for one in read.unknown]
    for text in (repr(read), *told, *read.unsupported_ciphers):
        assert text.isprintable(), text


@contextmanager
def _explained() -> Iterator[None]:
    """Allows a ProfileError that is one line which can be printed."""
    try:
        yield
    except ProfileError as error:
        text = str(error)
        if not text.isprintable():
            raise AssertionError(f"not one line that can be printed: {text!r}") from error
