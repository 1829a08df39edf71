"""One direction alone: what it proves, and what is said of the other."""

from pathlib import Path

import pytest
from capture_packets import CLIENT, ROUTER, SERVER, connection, decoded, ip, udp
from derived_captures import decoder_of, one_direction, packets_of

from vpnprobe.capture.directions import NOT_CAPTURED, with_directions
from vpnprobe.capture.ends import PAIRS_LIMIT
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.openvpn import ControlV1, HardResetClientV2, HardResetServerV2, Reliable, frame

DATA = Path(__file__).parent.parent / "data"
RESET = HardResetClientV2.plain(b"\1" * 8, Reliable()).encode()
ANSWER = HardResetServerV2.plain(b"\2" * 8, Reliable((0,), b"\1" * 8)).encode()
CONTROL = ControlV1.plain(b"\1" * 8, Reliable((0,), b"\2" * 8, 1, bytes(50))).encode()


def only(packets: list[bytes], *, back: bool) -> ConversationSummary:
    source = SERVER if back else CLIENT
    (found,) = decoded(packet for packet in packets if IPv4Packet.decode(packet).source == source).conversations()
    return found


@pytest.mark.parametrize("back", [False, True])
def test_a_direction_that_is_proved_and_not_captured(back: bool) -> None:
    datagrams = [udp(RESET, 5000, 1194), udp(ANSWER, 1194, 5000, back=True), udp(CONTROL, 5000, 1194)]
    stream = connection([(False, frame(RESET)), (True, frame(ANSWER)), (False, frame(CONTROL))], server_port=443)
    for packets in (datagrams, stream):
        found = only(packets, back=back)
        assert found.stage == ("server-reset" if back else "control-one-way")
        assert found.client.address == str(CLIENT)
        assert found.detail[NOT_CAPTURED] == ("c2s" if back else "s2c")
        assert f"Only packets from {SERVER if back else CLIENT} are in the capture" in found.findings[-1]


def test_silence_is_not_told_from_a_direction_that_nobody_captured() -> None:
    found = only([udp(RESET, 5000, 1194)], back=False)
    assert found.stage == "client-reset-unanswered"
    assert found.findings[-1].startswith(f"The capture holds no packet from {SERVER} to {CLIENT}, of any kind")
    esp = only([ip(EspPacket(0x2002, 1, bytes(40)).encode(), IpProtocol.ESP)], back=False)
    assert (esp.stage, len(esp.findings), NOT_CAPTURED in esp.detail) == ("one-way", 1, False)


@pytest.mark.parametrize(
    "other",
    [
        ip(EchoRequest(1, 1, b"").encode(), IpProtocol.ICMP, source=SERVER, destination=CLIENT),
        udp(b"\xff\xff some answer", 53, 5353, back=True),
    ],
)
def test_a_capture_that_holds_both_directions_of_something_shows_silence(other: bytes) -> None:
    (found,) = decoded([udp(RESET, 5000, 1194), other]).conversations()
    assert found.findings == ()


def test_where_not_all_pairs_are_known_nothing_is_said() -> None:
    (found,) = decoded([udp(RESET, 5000, 1194)]).conversations()
    (plain,) = with_directions([found], {(str(CLIENT), str(number)) for number in range(PAIRS_LIMIT)})
    assert plain == found


@pytest.mark.parametrize(
    ("name", "of_client", "of_server"),
    [
        ("pptp-real-client.pcap", "ocrq-unanswered", "call-up"),
        ("lab/l2tp-real-client.pcap", "session-up", "session-answered"),
        ("lab/ipsec-v2net-client.pcap", "auth-request-unanswered", "auth-answered"),
        ("lab/ipsec-v1net-client.pcap", "quick-mode-one-way", "quick-mode-one-way"),
        ("lab/openvpn-udp-tlscrypt-client.pcap", "data-one-way", "data-one-way"),
        ("lab/openvpn-tcp-tlscrypt-client.pcap", "data-one-way", "data-one-way"),
        ("lab/wireguard-go-client.pcap", "data-one-way", "data-one-way"),
    ],
)
def test_one_direction_of_a_real_capture(name: str, of_client: str, of_server: str) -> None:
    packets = packets_of(DATA / name)
    for address, stage in (("10.61.0.2", of_client), ("10.61.9.2", of_server)):
        found = decoder_of(one_direction(packets, address)).conversations()
        assert stage in [one.stage for one in found]
        assert all(one.findings for one in found)
        assert {one.client.address for one in found} == {"10.61.0.2"}


def test_the_answer_to_a_request_that_was_seen_between_other_addresses_is_no_conversation() -> None:
    """As of a capture on both sides of a NAT."""
    elsewhere = ip(IPv4Packet.decode(udp(ANSWER, 1194, 5000, back=True)).payload, IpProtocol.UDP, destination=ROUTER)
    assert [one.stage for one in decoded([udp(RESET, 5000, 1194), elsewhere]).conversations()] == ["client-reset-unanswered"]
    assert [one.stage for one in decoded([elsewhere]).conversations()] == ["server-reset"]


@pytest.mark.parametrize("name", ["lab/ipsec-v2net-client.pcap", "pptp-real-client.pcap"])
@pytest.mark.parametrize("back", [False, True])
def test_of_tunnels_too_a_direction_that_was_not_captured_is_no_silence(name: str, back: bool) -> None:
    """The conversation that sets a tunnel up proves that both ends spoke."""
    packets = packets_of(DATA / name)
    first = decoder_of(packets).conversations()[0]
    found = decoder_of(one_direction(packets, (first.server if back else first.client).address)).conversations()
    assert {one.stage for one in found} >= {"one-way"}
    assert sum(NOT_CAPTURED in one.detail for one in found) == 1
    facts = {fact["fact"] for one in found for fact in one.detail.get("facts", ())}
    assert not facts & {"one-way", "gre-one-way", "lcp-silent", "lcp-unanswered"}


@pytest.mark.parametrize("back", [False, True])
def test_who_goes_on_was_answered(back: bool) -> None:
    """Nothing is said of answers that nobody captured."""
    again = [udp(ControlV1.plain(b"\1" * 8, Reliable((0,), b"\2" * 8, number, bytes(200))).encode(), 5000, 1194) for number in (1, 1, 2, 3)]
    packets = [udp(RESET, 5000, 1194), udp(ANSWER, 1194, 5000, back=True), *again]
    found = only(packets, back=back)
    assert NOT_CAPTURED in found.detail
    assert found.detail["facts"] == []
