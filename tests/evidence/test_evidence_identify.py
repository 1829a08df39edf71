"""What packets are to us: ours by their nonce, calls by their Magic-Numbers, and nothing else; whatever bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.ppp import (
    ConfigureAck,
    ConfigureNak,
    ConfigureReject,
    ConfigureRequest,
    EchoReply,
    EchoRequest,
    LcpPacket,
    MagicNumber,
    PppFrame,
    TerminateRequest,
    lcp_frame,
)

PAYLOAD = NoncePayload(0xABCD1234, 77, 56)
UDP = checks.udp_reach(53)
MAGIC = 0x01020304


def in_call(packet: LcpPacket, *, sequence: int | None = 9) -> bytes:
    return EnhancedGre(1234, sequence, None, lcp_frame(packet)).encode()


def test_our_payload() -> None:
    found = identify.nonce(UDP, PAYLOAD.encode())
    assert found == identify.PacketIdentity(UDP, PAYLOAD.key, "", session_tag=0xABCD1234)


@pytest.mark.parametrize("data", [b"", b"vp", PAYLOAD.encode()[:13], b"x" * 56, PAYLOAD.encode() + b"!", b"v" + PAYLOAD.encode()])
def test_what_is_not_our_payload(data: bytes) -> None:
    assert identify.nonce(UDP, data) is None


def test_bare_gre() -> None:
    (found,) = identify.gre(Gre(identify.BARE_PROTOCOL, PAYLOAD.encode()).encode())
    assert (found.check, found.key, found.session_tag) == (checks.GRE_BARE, PAYLOAD.key, 0xABCD1234)


@pytest.mark.parametrize(
    "data", [b"", Gre(0x0800, PAYLOAD.encode()).encode(), Gre(identify.BARE_PROTOCOL, b"other").encode(), b"\x30\x01\x88\x0b\x00"]
)
def test_gre_that_is_none_of_ours(data: bytes) -> None:
    assert identify.gre(data) == ()


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (ConfigureRequest(1, (MagicNumber(MAGIC),)), "Configure-Request"),
        (ConfigureAck(1, (MagicNumber(MAGIC),)), "Configure-Ack"),
        (ConfigureNak(1, (MagicNumber(MAGIC),)), "Configure-Nak"),
        (ConfigureReject(1, (MagicNumber(MAGIC),)), "Configure-Reject"),
        (EchoRequest(1, MAGIC), "Echo-Request"),
        (EchoReply(1, MAGIC), "Echo-Reply"),
    ],
)
def test_lcp_in_a_call_answers_two_checks(packet: LcpPacket, name: str) -> None:
    gre, lcp = identify.gre(in_call(packet))
    assert (gre.check, lcp.check) == (checks.GRE_IN_CALL, checks.PPTP_LCP)
    assert {gre.key, lcp.key} == {"01020304"}
    assert (gre.message, lcp.message) == (name, name)
    assert gre.detail == {"call_id": 1234}


def test_lcp_without_a_magic_number_is_known_by_its_number() -> None:
    gre, _ = identify.gre(in_call(TerminateRequest(1)))
    assert (gre.key[:8], gre.message) == ("00000009", "Terminate-Request")
    gre, _ = identify.gre(in_call(ConfigureRequest(1), sequence=None))
    assert gre.key[:8] == "00000000"


@pytest.mark.parametrize("payload", [b"", b"\x00\x21data", PppFrame(0xC021, b"\x01").encode()])
def test_what_is_no_lcp_in_a_call_is_known_by_its_number(payload: bytes) -> None:
    (found,) = identify.gre(EnhancedGre(1234, 9, None, payload).encode())
    assert (found.check, found.key[:8], found.message) == (checks.GRE_IN_CALL, "00000009", "")
    (translated,) = identify.gre(EnhancedGre(1024, 9, None, payload).encode())
    assert translated.key == found.key


def test_an_acknowledgment_alone_has_no_number() -> None:
    assert identify.gre(EnhancedGre(1234, None, 5).encode()) == ()


def test_esp_with_our_payload() -> None:
    found = identify.esp(checks.ESP, EspPacket(0x1000, 3, PAYLOAD.encode()).encode())
    assert found == identify.PacketIdentity(checks.ESP, "0000100000000003", "", session_tag=0xABCD1234)


def test_somebody_elses_esp() -> None:
    found = identify.esp(checks.ESP_IN_UDP, EspPacket(0x1000, 1, b"ciphertext").encode())
    assert found == identify.PacketIdentity(checks.ESP_IN_UDP, "0000100000000001")


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0\0\0\0\1rest", EspPacket(255, 1, PAYLOAD.encode()).encode(), b"\1\2\3"])
def test_what_is_no_esp(data: bytes) -> None:
    assert identify.esp(checks.ESP, data) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_something_or_nothing(data: bytes) -> None:
    identify.nonce(UDP, data)
    identify.esp(checks.ESP, data)
    for found in identify.gre(data):
        assert found.key


@given(st.binary(max_size=40), st.sampled_from([b"\x30\x01\x88\x0b", b"\x30\x81\x88\x0b", b"\x00\x00\x88\xb5"]))
def test_any_bytes_behind_a_gre_header(data: bytes, head: bytes) -> None:
    for found in identify.gre(head + data):
        assert found.key


@pytest.mark.parametrize(
    ("vantage", "movement", "way"),
    [
        (Vantage.CLIENT, Movement.SENT, Direction.C2S),
        (Vantage.SERVER, Movement.RECEIVED, Direction.C2S),
        (Vantage.SERVER, Movement.SENT, Direction.S2C),
        (Vantage.CLIENT, Movement.RECEIVED, Direction.S2C),
    ],
)
def test_a_packet_record_knows_its_direction(vantage: Vantage, movement: Movement, way: Direction) -> None:
    assert PacketRecord(vantage, movement, 0.0, UDP, "n").direction is way


def test_checks_are_told_apart_by_every_part() -> None:
    asked = {
        checks.GRE_BARE,
        checks.GRE_IN_CALL,
        checks.PPTP_LCP,
        checks.ESP,
        checks.ESP_IN_UDP,
        checks.PPTP_CONTROL,
        checks.L2TP_CONTROL,
        checks.ICMP_ECHO,
        checks.udp_reach(4500),
        checks.tcp_reach(4500),
        checks.ikev1_main(4500),
        checks.ikev2_init(4500),
        checks.ikev2_init(500),
        checks.openvpn_reset(Transport.UDP, 443),
        checks.openvpn_reset(Transport.TCP, 443),
    }
    assert len(asked) == 15
