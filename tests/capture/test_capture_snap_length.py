"""Short snap lengths: conversations come as far as the beginnings of their messages show, and say that they were cut."""

from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, connection, decoded, ip, udp
from derived_captures import decoder_of, packets_of, snapped, stages

from vpnprobe.capture.followers.ike import HEADER, whole_header
from vpnprobe.capture.followers.pptp_sizes import BY_SIZES, message_of_size
from vpnprobe.wire import pptp
from vpnprobe.wire.ip import IpProtocol, TcpSegment

DATA = Path(__file__).parent.parent / "data"
CAPTURES = [*(f"lab/{path.name}" for path in sorted((DATA / "lab").iterdir())), "pptp-real-client.pcap"]


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("snap_bytes", [80, 96])
def test_the_same_conversations_and_stages(name: str, snap_bytes: int) -> None:
    packets = packets_of(DATA / name)
    cut = decoder_of(snapped(packets, snap_bytes))
    assert stages(snapped(packets, snap_bytes)) == stages(packets)
    assert all(any("packets short" in finding for finding in one.findings) for one in cut.conversations() if one.protocol != "gre")
    assert "are cut short (snap length)" in cut.told()[0]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("lab/ipsec-v1net-client.pcap", "main-answered"),
        ("lab/ipsec-v2net-client.pcap", "sa_init-answered"),
        ("lab/l2tp-real-client.pcap", "session-up"),
        ("lab/openvpn-udp-tlscrypt-client.pcap", "data-both-ways"),
        ("lab/wireguard-go-client.pcap", "data-both-ways"),
        ("pptp-real-client.pcap", "call-up"),
    ],
)
def test_64_bytes_of_each_frame(name: str, stage: str) -> None:
    """On port 4500 they end before an ISAKMP message says what it is, and what was on port 500 is the stage."""
    packets = packets_of(DATA / name)
    found = stages(snapped(packets, 64))
    assert [one[:2] for one in found] == [one[:2] for one in stages(packets)]
    assert stage in [one[2] for one in found]


def test_control_messages_by_their_sizes() -> None:
    packets = packets_of(DATA / "pptp-real-client.pcap")
    (control,) = (one for one in decoder_of(snapped(packets, 64)).conversations() if one.protocol == "pptp")
    assert BY_SIZES in control.findings
    assert control.detail["messages"][:4] == ["SCCRQ", "SCCRP", "OCRQ", "OCRP"]
    for message in (pptp.OutgoingCallRequest(call_id=7), pptp.SetLinkInfo(peer_call_id=7)):
        found = message_of_size(len(message.encode()), from_client=True)
        assert type(found) is type(message)
        assert message_of_size(len(message.encode()), from_client=False) is None
    assert message_of_size(16, from_client=True) is None


def test_a_connection_of_which_no_byte_is_known() -> None:
    """A segment that is no message of a known size shows nothing; on other ports not even the protocol."""
    for port in (1723, 4443):
        packets = connection([(False, bytes(77))], server_port=port)
        assert decoded(packet[:40] for packet in packets).conversations() == []
    options = TcpSegment(40000, 1723, 1001, 1, 0x18, options=bytes(12), payload=bytes(156)).encode(CLIENT, SERVER)
    cut_within_options = [*connection([], server_port=1723), ip(options, IpProtocol.TCP)[:45]]
    (control,) = decoded(cut_within_options).conversations()
    assert control.stage == "sccrq-unanswered"


def test_the_header_of_isakmp_as_far_as_its_flags() -> None:
    header = bytes(range(1, 25))
    assert whole_header(header[:22], 300) == header[:22] + bytes(2) + (300).to_bytes(4, "big")
    for payload, length in ((header[:19], 300), (bytes(HEADER), 300), (header[:22], 27)):
        assert whole_header(payload, length) == payload
    assert decoded([udp(header[:17] + b"\x20\x22\x08" + bytes(300), 500, 500)[:50]]).conversations()[0].stage == "sa_init-unanswered"


@pytest.mark.parametrize("name", [name for name in CAPTURES if "openvpn-tcp" in name])
@pytest.mark.parametrize("snap_bytes", [66, 67, 68, 69])
def test_a_stream_of_which_next_to_nothing_was_captured(name: str, snap_bytes: int) -> None:
    """68 bytes, as old programs captured, end behind the length that stands before OpenVPN's packets: sizes are left, for a guess."""
    packets = packets_of(DATA / name)
    (one,) = (one for one in decoder_of(snapped(packets, snap_bytes)).conversations() if one.protocol == "openvpn-tcp")
    assert ("guessed_from" in one.detail) is (snap_bytes < 69)
    assert one.stage == ("control-both-ways" if snap_bytes < 69 else "data-both-ways")
