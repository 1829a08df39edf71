"""PPTP control messages: sizes, round trips, the stream, hostile bytes, and scapy's opinion."""

import importlib
import re
import struct
import warnings
from collections.abc import Callable, Iterable
from dataclasses import astuple
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.wire import pptp

CAPTURE = Path(__file__).parent.parent / "data" / "pptp-real-client.pcap"

SIZES = {
    "SCCRQ": 156,
    "SCCRP": 156,
    "StopCCRQ": 16,
    "StopCCRP": 16,
    "ECHORQ": 16,
    "ECHORP": 20,
    "OCRQ": 168,
    "OCRP": 32,
    "ICRQ": 220,
    "ICRP": 24,
    "ICCN": 28,
    "CCRQ": 16,
    "CDN": 148,
    "WEN": 40,
    "SLI": 24,
}
"""Bytes, RFC 2637 section 2."""


def layout(kind: type[pptp.ControlMessage]) -> list[tuple[str, int]]:
    """The struct letter of each field and how many bytes it has, reserved ones left out."""
    found: list[tuple[str, int]] = []
    for count, letter in re.findall(r"(\d*)([a-zA-Z])", kind.BODY.format):
        if letter == "s":
            found.append(("s", int(count)))
        elif letter != "x":
            found += [(letter, struct.calcsize(letter))] * int(count or 1)
    return found


def build(kind: type[pptp.ControlMessage], values: Iterable[int | bytes]) -> pptp.ControlMessage:
    make: Callable[..., pptp.ControlMessage] = kind
    return make(*values)


def messages(kind: type[pptp.ControlMessage]) -> st.SearchStrategy[pptp.ControlMessage]:
    fields: list[st.SearchStrategy[int] | st.SearchStrategy[bytes]] = [
        st.binary(max_size=size).map(lambda text: text.rstrip(b"\0")) if letter == "s" else st.integers(0, 256**size - 1)
        for letter, size in layout(kind)
    ]
    return st.tuples(*fields).map(lambda values: build(kind, values))


MESSAGES = st.sampled_from(pptp.MESSAGES).flatmap(messages)


@pytest.fixture(scope="module")
def scapy_pptp() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("scapy.layers.pptp")


def sample(kind: type[pptp.ControlMessage]) -> pptp.ControlMessage:
    """A message whose fields all differ from one another."""
    fields = enumerate(layout(kind), start=1)
    return build(kind, [b"text %d" % index if letter == "s" else index for index, (letter, _) in fields])


def test_each_message_has_the_size_of_the_standard() -> None:
    assert {kind.NAME: kind.size() for kind in pptp.MESSAGES} == SIZES
    assert [kind.TYPE for kind in pptp.MESSAGES] == list(range(1, 16))
    assert max(SIZES.values()) == pptp.LONGEST


@given(MESSAGES)
def test_round_trip(message: pptp.ControlMessage) -> None:
    data = message.encode()
    assert len(data) == SIZES[message.NAME]
    assert pptp.decode_message(data) == message
    assert type(message).decode(data) == message


def test_a_known_request_byte_by_byte() -> None:
    data = pptp.StartControlConnectionRequest(maximum_channels=0x1112, firmware_revision=0x1314, host_name=b"h", vendor_name=b"v").encode()
    head = "009c 0001 1a2b3c4d 0001 0000" + "0100 0000 00000003 00000003 1112 1314"
    assert data == bytes.fromhex(head) + b"h".ljust(64, b"\0") + b"v".ljust(64, b"\0")


def test_reserved_fields_are_ignored() -> None:
    data = bytearray(pptp.SetLinkInfo(5).encode())
    data[10:12] = data[14:16] = b"\xff\xff"
    assert pptp.decode_message(bytes(data)) == pptp.SetLinkInfo(5)


@pytest.mark.parametrize(
    ("at", "value", "field"),
    [
        (1, 17, "Length"),
        (3, 2, "PPTP Message Type"),
        (4, 0, "Magic Cookie"),
        (9, 0, "Control Message Type"),
        (9, 16, "Control Message Type"),
        (9, 1, "Length"),
    ],
)
def test_a_wrong_head_is_named(at: int, value: int, field: str) -> None:
    data = bytearray(pptp.EchoRequest(7).encode())
    data[at] = value
    with pytest.raises(DecodeError) as caught:
        pptp.decode_message(bytes(data))
    assert caught.value.field == field


def test_a_message_of_another_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="Control Message Type at offset 8: is 12, not 5"):
        pptp.EchoRequest.decode(pptp.CallClearRequest(1).encode())


def test_texts_that_do_not_fit_are_refused() -> None:
    assert pptp.CallDisconnectNotify(1, call_statistics=b"s" * 128).encode().endswith(b"s" * 128)
    with pytest.raises(UsageError, match="SCCRQ: a text of 65 bytes does not fit 64"):
        pptp.StartControlConnectionRequest(host_name=b"h" * 65).encode()
    with pytest.raises(UsageError, match="CDN"):
        pptp.CallDisconnectNotify(1, call_statistics=b"s" * 129).encode()


@given(st.binary(max_size=240))
def test_hostile_bytes_cause_nothing_but_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        pptp.decode_message(data)


@given(MESSAGES, st.integers(0, 219), st.integers(0, 255))
def test_one_wrong_byte_gives_a_message_or_a_decode_error(message: pptp.ControlMessage, at: int, value: int) -> None:
    data = bytearray(message.encode())
    data[at % len(data)] = value
    try:
        decoded = pptp.decode_message(bytes(data))
    except DecodeError:
        return
    assert pptp.decode_message(decoded.encode()) == decoded


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 200), max_size=20))
def test_the_stream_is_cut_into_its_messages_whatever_the_chunks(messages: list[pptp.ControlMessage], sizes: list[int]) -> None:
    stream = b"".join(message.encode() for message in messages)
    found, rest = [], b""
    for size in [*sizes, len(stream)]:
        whole, rest = pptp.split_messages(rest + stream[:size])
        stream = stream[size:]
        found += whole
    assert [pptp.decode_message(data) for data in found] == messages
    assert rest == b""


def test_the_stream_dripped_byte_by_byte() -> None:
    stream = b"".join(sample(kind).encode() for kind in pptp.MESSAGES)
    found, rest = [], b""
    for byte in stream:
        whole, rest = pptp.split_messages(rest + bytes([byte]))
        found += whole
    assert [pptp.decode_message(data) for data in found] == [sample(kind) for kind in pptp.MESSAGES]


@pytest.mark.parametrize(
    ("stream", "field"),
    [(b"\x00\x0b", "Length"), (b"\x00\xdd", "Length"), (b"SSH-2.0-x", "Length"), (b"\x00\x10\x00\x01\x1b", "Magic Cookie")],
)
def test_an_unreadable_stream_is_found_as_early_as_can_be(stream: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        pptp.split_messages(stream)
    assert caught.value.field == field


def test_messages_before_an_unreadable_place_are_not_lost() -> None:
    echo = pptp.EchoRequest(1).encode()
    assert pptp.split_messages(echo + b"\x00\x00") == ([echo], b"\x00\x00")
    assert pptp.split_messages(b"\x00") == ([], b"\x00")


@pytest.mark.parametrize("kind", pptp.MESSAGES, ids=lambda kind: kind.NAME)
def test_scapy_reads_what_we_write(kind: type[pptp.ControlMessage], scapy_pptp: ModuleType) -> None:
    message = sample(kind)
    packet = scapy_pptp.PPTP(message.encode())
    head = ("len", "type", "magic_cookie", "ctrl_msg_type")
    assert [packet.fields[name] for name in head] == [SIZES[kind.NAME], 1, pptp.MAGIC_COOKIE, kind.TYPE]
    names = [field.name for field in packet.fields_desc if field.name not in head and not field.name.startswith("reserved")]
    values = [packet.fields[name] for name in names]
    assert [value.rstrip(b"\0") if isinstance(value, bytes) else value for value in values] == list(astuple(message))


@pytest.mark.parametrize("kind", pptp.MESSAGES, ids=lambda kind: kind.NAME)
def test_we_read_what_scapy_writes(kind: type[pptp.ControlMessage], scapy_pptp: ModuleType) -> None:
    """scapy builds the message anew out of the fields that it read, and with its own idea of the length."""
    message = sample(kind)
    packet = scapy_pptp.PPTP(message.encode())
    packet.raw_packet_cache = None
    if kind is not pptp.IncomingCallReply:
        del packet.len  # scapy's own length of an ICRP is 148; section 2.10 has 24 bytes
    assert pptp.decode_message(bytes(packet)) == message


def test_a_real_server_and_client() -> None:
    """What pptpd and the pptp client of Linux said to each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.inet import TCP
        from scapy.utils import rdpcap
    segments = [packet[TCP] for packet in rdpcap(str(CAPTURE)) if TCP in packet and len(packet[TCP].payload)]
    found = [pptp.decode_message(bytes(segment.payload)) for segment in segments]
    assert [type(message).NAME for message in found] == ["SCCRQ", "SCCRP", "OCRQ", "OCRP", "CCRQ"]
    reply = found[3]
    assert isinstance(reply, pptp.OutgoingCallReply)
    assert (reply.call_id, reply.peer_call_id, reply.result_code) == (0, 323, pptp.SUCCESSFUL)
