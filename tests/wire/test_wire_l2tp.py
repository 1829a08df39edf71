"""L2TP messages: round trips, totality, the bytes of real stacks, and scapy's reading of ours."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.l2tp import (
    CONTROL_HEADER,
    MESSAGE_NUMBERS,
    Avp,
    AvpType,
    ControlMessage,
    DataMessage,
    Hello,
    MalformedControlMessage,
    OtherControlMessage,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionNotification,
    StopResult,
    ZeroLengthBody,
    call_connected_avps,
    call_reply_avps,
    call_request_avps,
    decode_l2tp,
    of_whole_avps,
    stop_avps,
    tunnel_avps,
    version_of,
)

U16 = st.integers(0, 0xFFFF)
AVPS = st.lists(st.builds(Avp, U16, st.binary(max_size=40), st.booleans(), st.booleans(), U16), max_size=6).map(tuple)
CONTROL = st.one_of(
    st.builds(lambda kind, *fields: kind(*fields), st.sampled_from(list(MESSAGE_NUMBERS)), U16, U16, U16, U16, AVPS),
    st.builds(ZeroLengthBody, U16, U16, U16, U16),
    st.builds(OtherControlMessage, U16, U16, U16, U16, AVPS, U16.filter(lambda number: number not in MESSAGE_NUMBERS.values())),
)
DATA = st.builds(
    DataMessage,
    U16,
    U16,
    st.binary(max_size=60),
    st.none() | st.tuples(U16, U16),
    st.none() | st.binary(max_size=8),
    st.booleans(),
    st.booleans(),
)

SCCRQ_OF_XL2TPD = bytes.fromhex(
    "c8020063000000000000000080080000000000018008000000020100800a0000000300000003800a000000040000000000080000000606 90".replace(" ", "")
    + "800800000007766d"
    + "001300000008"
    + b"xelerance.com".hex()
    + "800800000009f54a"
    "80080000000a0004"
)
"""As xl2tpd 1.3.18 sends it."""


def attempt(data: bytes) -> ControlMessage | DataMessage | DecodeError:
    try:
        return decode_l2tp(data)
    except DecodeError as error:
        return error


@given(CONTROL | DATA)
def test_what_is_encoded_is_decoded_again(message: ControlMessage | DataMessage) -> None:
    assert decode_l2tp(message.encode()) == message


@given(st.binary(max_size=80))
def test_any_bytes_give_a_message_or_a_decode_error(data: bytes) -> None:
    message = attempt(data)
    if isinstance(message, DecodeError):
        assert 0 <= message.offset <= len(data)
    else:
        assert decode_l2tp(message.encode()) == message


@given(CONTROL, st.integers(0, 200))
def test_a_control_message_cut_short_is_malformed(message: ControlMessage, cut: int) -> None:
    data = message.encode()
    with pytest.raises(DecodeError):
        decode_l2tp(data[: min(cut, len(data) - 1)])


def test_bytes_beyond_the_length_are_ignored() -> None:
    message = Hello(1, 0, 2, 3)
    assert decode_l2tp(message.encode() + b"padding") == message


def test_reads_the_sccrq_of_xl2tpd() -> None:
    message = decode_l2tp(SCCRQ_OF_XL2TPD)
    assert isinstance(message, StartControlConnectionRequest)
    assert message.name == "SCCRQ"
    assert (message.tunnel_id, message.session_id, message.ns, message.nr) == (0, 0, 0, 0)
    assert message.value(AvpType.HOST_NAME) == b"vm"
    assert message.number(AvpType.ASSIGNED_TUNNEL_ID) == 62794
    assert message.number(AvpType.CHALLENGE) is None
    assert message.encode() == SCCRQ_OF_XL2TPD


def test_our_sccrq_has_the_avps_of_xl2tpd_in_its_order() -> None:
    theirs = decode_l2tp(SCCRQ_OF_XL2TPD)
    assert isinstance(theirs, ControlMessage)
    ours = tunnel_avps(host_name=b"vpnprobe-01", assigned_tunnel_id=5)
    assert [(avp.type, avp.mandatory, avp.vendor_id) for avp in ours] == [(a.type, a.mandatory, a.vendor_id) for a in theirs.avps]


def test_a_hidden_or_foreign_or_short_value_is_no_value() -> None:
    hidden = Hello(1, 0, 0, 0, (Avp(AvpType.HOST_NAME, b"x", hidden=True),))
    foreign = Hello(1, 0, 0, 0, (Avp(AvpType.HOST_NAME, b"x", vendor_id=9),))
    short = Hello(1, 0, 0, 0, (Avp(AvpType.ASSIGNED_TUNNEL_ID, b"x"),))
    assert hidden.value(AvpType.HOST_NAME) is None
    assert foreign.value(AvpType.HOST_NAME) is None
    assert short.number(AvpType.ASSIGNED_TUNNEL_ID) is None


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("8002", "flags"),  # neither L nor S
        ("c002000a00000000", "flags"),  # no S
        ("c802000b0000000000000000", "Nr"),  # Length cuts the header short
        ("c80200ff0000000000000000", "Length"),  # more than there is
        ("c8020002", "Length"),
        ("c802001200010000000000000005000000 00".replace(" ", ""), "AVP length"),
        ("c8020014000100000000000080ff000000000001", "Attribute Value"),
        ("c80200140001000000000000800800000007766d", "Message Type"),  # Host Name first
        ("c80200140001000000000000c008000000000001", "Message Type"),  # hidden
        ("c80200140001000000000000800800090000 0001".replace(" ", ""), "Message Type"),  # a vendor's
    ],
)
def test_a_malformed_control_message_says_which_field(data: str, field: str) -> None:
    with pytest.raises(MalformedControlMessage) as caught:
        decode_l2tp(bytes.fromhex(data))
    assert caught.value.field == field


def test_another_version_is_told_from_ours() -> None:
    l2tpv3 = bytes.fromhex("c80300140000000000000000")
    assert version_of(l2tpv3) == 3
    with pytest.raises(DecodeError, match="Ver"):
        decode_l2tp(l2tpv3)
    with pytest.raises(DecodeError):
        version_of(b"\xc8")


def test_zlb_is_a_bare_header() -> None:
    zlb = ZeroLengthBody(7, 0, 3, 4)
    assert len(zlb.encode()) == CONTROL_HEADER
    assert decode_l2tp(zlb.encode()) == zlb


def test_data_messages_of_real_stacks() -> None:
    plain = decode_l2tp(bytes.fromhex("00021234567 8ff03c021".replace(" ", "")))
    assert plain == DataMessage(0x1234, 0x5678, bytes.fromhex("ff03c021"))
    with_length = decode_l2tp(bytes.fromhex("4002000c12345678ff03c021"))
    assert with_length == DataMessage(0x1234, 0x5678, bytes.fromhex("ff03c021"), has_length=True)
    with pytest.raises(DecodeError, match="Length"):
        decode_l2tp(bytes.fromhex("400200ff12345678"))


def test_stop_names_its_result() -> None:
    stop = StopControlConnectionNotification(9, 0, 1, 1, stop_avps(assigned_tunnel_id=5, result=StopResult.NOT_AUTHORIZED))
    assert stop.number(AvpType.RESULT_CODE) == 4
    assert stop.number(AvpType.ASSIGNED_TUNNEL_ID) == 5


def test_call_avps_carry_the_assigned_session() -> None:
    for avps in (call_request_avps(assigned_session_id=6, call_serial_number=1), call_reply_avps(assigned_session_id=6)):
        assert StartControlConnectionReply(1, 0, 0, 0, avps).number(AvpType.ASSIGNED_SESSION_ID) == 6
    assert [avp.type for avp in call_connected_avps()] == [AvpType.TX_CONNECT_SPEED, AvpType.FRAMING_TYPE]


def test_scapy_reads_our_header_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.l2tp import L2TP
    message = StartControlConnectionRequest(0x1234, 0x0102, 7, 9, tunnel_avps(host_name=b"vpnprobe-01", assigned_tunnel_id=5))
    data = message.encode()
    theirs = L2TP(data)
    assert (theirs.version, theirs.len, theirs.tunnel_id, theirs.session_id, theirs.ns, theirs.nr) == (2, len(data), 0x1234, 0x0102, 7, 9)
    assert set(str(theirs.hdr).split("+")) == {"control", "length", "sequence"}


def test_a_control_message_that_was_cut_ends_with_its_last_whole_avp() -> None:
    avps = (Avp(AvpType.HOST_NAME, b"somebody"), Avp(AvpType.ASSIGNED_TUNNEL_ID, b"\0\7"))
    whole = StartControlConnectionRequest(0, 0, 0, 0, avps).encode()
    assert of_whole_avps(whole) == whole
    without_id = decode_l2tp(of_whole_avps(whole[:-1]))
    assert without_id == StartControlConnectionRequest(0, 0, 0, 0, avps[:1])
    assert decode_l2tp(of_whole_avps(whole[:22])) == StartControlConnectionRequest(0, 0, 0, 0)
    for cut in (whole[:19], whole[:12], whole[:3], whole[:12] + b"\x80\x05" + whole[14:20]):
        assert of_whole_avps(cut) == cut
