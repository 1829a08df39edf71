"""PPP in GRE and LCP: round trips, hostile bytes, and scapy's opinion."""

import importlib
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire import ppp
from vpnprobe.wire.gre import EnhancedGre

CAPTURE = Path(__file__).parent.parent / "data" / "pptp-real-client.pcap"
U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
OPTIONS = st.one_of(
    st.builds(ppp.MaximumReceiveUnit, U16),
    st.builds(ppp.AsyncControlCharacterMap, U32),
    st.builds(ppp.AuthenticationProtocol, U16, st.binary(max_size=20)),
    st.builds(ppp.MagicNumber, U32),
    st.just(ppp.ProtocolFieldCompression()),
    st.just(ppp.AddressAndControlFieldCompression()),
    st.builds(ppp.RawOption, st.integers(9, 255), st.binary(max_size=253)),
    st.builds(ppp.RawOption, st.sampled_from((1, 2, 5)), st.binary(min_size=5, max_size=9)),
    st.builds(ppp.RawOption, st.sampled_from((0, 3)), st.binary(max_size=1)),
    st.builds(ppp.RawOption, st.sampled_from((7, 8)), st.binary(min_size=1, max_size=4)),
)
OPTION_TUPLES = st.lists(OPTIONS, max_size=6).map(tuple)
CONFIGURE = [ppp.ConfigureRequest, ppp.ConfigureAck, ppp.ConfigureNak, ppp.ConfigureReject]
PACKETS: st.SearchStrategy[ppp.LcpPacket] = st.one_of(
    st.sampled_from(CONFIGURE).flatmap(lambda kind: st.builds(kind, U8, OPTION_TUPLES)),
    st.sampled_from([ppp.TerminateRequest, ppp.TerminateAck]).flatmap(lambda kind: st.builds(kind, U8, st.binary(max_size=40))),
    st.sampled_from([ppp.EchoRequest, ppp.EchoReply]).flatmap(lambda kind: st.builds(kind, U8, U32, st.binary(max_size=40))),
    st.builds(ppp.RawLcp, st.sampled_from([0, 7, 8, 11, 12, 255]), U8, st.binary(max_size=40)),
)


@pytest.fixture(scope="module")
def scapy_ppp() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("scapy.layers.ppp")


@given(PACKETS)
def test_lcp_round_trip(packet: ppp.LcpPacket) -> None:
    assert ppp.decode_lcp(packet.encode()) == packet


@given(PACKETS, st.binary(max_size=8))
def test_bytes_after_the_length_are_padding(packet: ppp.LcpPacket, padding: bytes) -> None:
    assert ppp.decode_lcp(packet.encode() + padding) == packet


@given(
    st.builds(ppp.PppFrame, U16.map(lambda number: number & 0xFEFF), st.binary(max_size=20), st.booleans())
    | st.builds(ppp.PppFrame, st.integers(0, 126).map(lambda half: 2 * half + 1), st.binary(max_size=20), st.booleans(), st.just(True))
)
def test_frame_round_trip(frame: ppp.PppFrame) -> None:
    assert ppp.PppFrame.decode(frame.encode()) == frame


@given(st.binary(max_size=20) | st.binary(max_size=20).map(lambda tail: b"\xff\x03" + tail))
def test_any_bytes_are_a_frame_that_is_written_as_it_was_or_a_decode_error(data: bytes) -> None:
    try:
        frame = ppp.PppFrame.decode(data)
    except DecodeError:
        assert len(data) < 4
        return
    assert frame.encode() == data


@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(1, 10), st.binary(max_size=30)).map(lambda two: bytes((two[0], 1, 0, 4 + len(two[1]))) + two[1])
)
def test_hostile_bytes_cause_nothing_but_a_decode_error(data: bytes) -> None:
    try:
        packet = ppp.decode_lcp(data)
    except DecodeError:
        return
    assert ppp.decode_lcp(packet.encode()) == packet
    assert data.startswith(packet.encode())


@pytest.mark.parametrize(
    ("data", "field", "offset"),
    [
        ("01", "Identifier", 1),
        ("01 01 00", "Length", 2),
        ("01 01 0003", "Length", 2),
        ("01 01 0005", "Length", 2),
        ("01 01 0005 05", "option Length", 5),
        ("01 01 0006 05 01", "option Length", 5),
        ("01 01 0006 05 06", "option Data", 6),
        ("09 01 0006 00 00", "Magic-Number", 4),
    ],
)
def test_what_cannot_be_read_is_named(data: str, field: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        ppp.decode_lcp(bytes.fromhex(data))
    assert (caught.value.field, caught.value.offset) == (field, offset)


@pytest.mark.parametrize("data", ["", "c0", "ff03", "ff03 c0"])
def test_a_frame_without_its_protocol_is_refused(data: str) -> None:
    with pytest.raises(DecodeError, match="Protocol"):
        ppp.PppFrame.decode(bytes.fromhex(data))


def test_a_configure_request_byte_by_byte() -> None:
    request = ppp.ConfigureRequest(1, (ppp.MaximumReceiveUnit(1400), ppp.MagicNumber(0xDEADBEEF)))
    assert ppp.lcp_frame(request) == bytes.fromhex("ff03 c021 01 01 000e 01 04 0578 05 06 deadbeef")


def test_the_magic_number_of_a_configure_packet() -> None:
    assert ppp.ConfigureAck(1, (ppp.MaximumReceiveUnit(1400), ppp.MagicNumber(7))).magic_number == 7
    assert ppp.ConfigureRequest(1, (ppp.RawOption(5, b"\x07"),)).magic_number is None


def test_scapy_agrees_on_every_option(scapy_ppp: ModuleType) -> None:
    options = (
        ppp.MaximumReceiveUnit(1400),
        ppp.AsyncControlCharacterMap(0xA0000),
        ppp.AuthenticationProtocol(0xC223, b"\x81"),
        ppp.MagicNumber(0xDEADBEEF),
        ppp.ProtocolFieldCompression(),
        ppp.AddressAndControlFieldCompression(),
        ppp.RawOption(13, b"\x06"),
    )
    ours = ppp.ConfigureRequest(77, options)
    read = scapy_ppp.PPP_LCP(ours.encode())
    assert (read.code, read.id, read.len) == (1, 77, len(ours.encode()))
    assert [option.type for option in read.options] == [1, 2, 3, 5, 7, 8, 13]
    assert (read.options[0].max_recv_unit, read.options[3].magic_number) == (1400, 0xDEADBEEF)
    read.raw_packet_cache = None
    del read.len
    assert ppp.decode_lcp(bytes(read)) == ours


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (ppp.ConfigureAck(3, (ppp.MagicNumber(1),)), "PPP_LCP_Configure"),
        (ppp.TerminateRequest(3, b"bye"), "PPP_LCP_Terminate"),
        (ppp.TerminateAck(3), "PPP_LCP_Terminate"),
        (ppp.EchoRequest(3, 99, b"data"), "PPP_LCP_Echo"),
        (ppp.EchoReply(3, 99, b"data"), "PPP_LCP_Echo"),
    ],
)
def test_scapy_reads_the_other_codes_alike(packet: ppp.LcpPacket, name: str, scapy_ppp: ModuleType) -> None:
    read = scapy_ppp.PPP_LCP(packet.encode())
    assert type(read).__name__ == name
    if isinstance(packet, ppp.EchoRequest | ppp.EchoReply):
        assert (read.magic_number, read.data) == (99, b"data")
    read.raw_packet_cache = None
    del read.len
    assert ppp.decode_lcp(bytes(read)) == packet


def test_a_real_call() -> None:
    """LCP between pptpd and the pptp client of Linux: its four packets, found in enhanced GRE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.inet import IP
        from scapy.utils import rdpcap
    packets = [EnhancedGre.decode(bytes(packet[IP].payload)) for packet in rdpcap(str(CAPTURE)) if packet[IP].proto == 47]
    frames = [ppp.PppFrame.decode(packet.payload) for packet in packets if packet.payload]
    names = [ppp.decode_lcp(frame.information).NAME for frame in frames if frame.protocol == ppp.PROTOCOL_LCP]
    assert names == ["Configure-Request", "Configure-Request", "Configure-Ack", "Configure-Ack"]
    assert sum(frame.protocol == ppp.PROTOCOL_IPV4 for frame in frames) == 6


def test_a_packets_name_follows_from_its_code_alone() -> None:
    assert [ppp.lcp_name(bytes([code])) for code in (1, 2, 3, 4, 5, 6, 9, 10)] == [
        *("Configure-Request", "Configure-Ack", "Configure-Nak", "Configure-Reject"),
        *("Terminate-Request", "Terminate-Ack", "Echo-Request", "Echo-Reply"),
    ]
    assert ppp.lcp_name(b"\x08cut") == ppp.lcp_name(b"") == "LCP"
