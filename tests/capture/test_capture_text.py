"""tcpdump's printed text: the forms in which people paste it, and that tcpdump's own prints of a capture say the same as the capture."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.files import read_packets
from vpnprobe.capture.frames import Frame, frame_of
from vpnprobe.capture.printed.traces import parse
from vpnprobe.capture.reading import read_capture
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.gre import EnhancedGre, decode_gre
from vpnprobe.wire.icmp import DestinationUnreachable, decode_icmp
from vpnprobe.wire.ip import TcpFlag
from vpnprobe.wire.isakmp import IsakmpHeader
from vpnprobe.wire.l2tp import StartControlConnectionRequest, decode_l2tp
from vpnprobe.wire.pptp import OutgoingCallReply, decode_message

PCAPS = Path(__file__).parents[2] / "pcaps"
HANDSHAKE = """\
23:19:14.735117 IP 10.10.5.251.60129  > sip.1723: Flags [S], seq 3346976484, win 65535, options [mss 1460,eol], length 0
23:19:14.742169 IP sip.1723 > 10.10.5.251.60129: Flags [S.], seq 3764887308, ack 3346976485, win 14480, length 0
23:19:14.742219 IP 10.10.5.251.60129  > sip.1723: Flags [.], ack 1, win 4117, length 0
"""


def frames(text: str) -> list[Frame]:
    return [frame for trace in parse(text.splitlines()).traces for frame in trace.frames]


def only(text: str) -> Frame:
    (frame,) = frames(text)
    return frame


def test_relative_sequence_numbers_become_absolute_and_names_stay_names() -> None:
    line = (
        "23:19:14.766699 IP sip.pptp > 10.10.5.251.60129: Flags [P.], seq 157:189, ack 325, win 130, options [nop], length 32: pptp "
        "CTRL_MSGTYPE=OCRP CALL_ID(0) PEER_CALL_ID(13008) RESULT_CODE(1) ERR_CODE(0) CAUSE_CODE(0) CONN_SPEED(100000000) RECV_WIN(64) "
        "PROC_DELAY(0) PHY_CHAN_ID(0)"
    )
    frame = frames(HANDSHAKE + line)[3]
    assert (frame.source, frame.destination, frame.ports) == ("sip", "10.10.5.251", (1723, 60129))
    assert frame.tcp is not None
    assert (frame.tcp.sequence, frame.tcp.acknowledgment) == (3764887308 + 157, 3346976484 + 325)
    assert decode_message(frame.tcp.payload) == OutgoingCallReply(call_id=0, peer_call_id=13008)


def test_a_payload_that_is_not_printed_is_missing_and_not_made_up() -> None:
    frame = only("10:00:00.1 IP a.1000 > b.443: Flags [P.], seq 1:101, ack 1, win 9, length 100")
    assert frame.tcp is not None
    assert (frame.tcp.payload, frame.tcp_payload_length) == (b"", 100)


def test_enhanced_gre_as_the_seed_prints_it() -> None:
    frame = only(
        "    23:19:14.784632 IP 10.10.5.251        > sip: GREv1, call 0, seq 1, ack 0, length 40: LCP, Conf-Request (0x01), id 1, length 22"
    )
    packet = decode_gre(frame.data)
    assert isinstance(packet, EnhancedGre)
    assert (packet.call_id, packet.sequence_number, packet.acknowledgment_number) == (0, 1, 0)
    # tcpdump counts the PPP protocol to the length of the LCP packet: the field is 20.
    assert packet.payload == bytes.fromhex("ff03c02101010014")
    assert (frame.length, packet.payload_length) == (40, 24)


def test_the_verbose_form_with_ttl_identification_and_magic_number() -> None:
    text = """\
2026-11-22 08:02:08.014571 IP (tos 0x0, ttl 60, id 48691, offset 0, flags [DF], proto GRE (47), length 50)
    10.61.0.2 > 10.61.9.2: GREv1, Flags [key present, sequence# present], call 7, seq 1, length 30
\tLCP, Conf-Request (0x01), id 2, length 16
\tencoded length 14 (=Option(s) length 10)
\t  MRU Option (0x01), length 4: 1400
\t  Magic-Num Option (0x05), length 6: 0x1588c35d
2026-11-22 08:02:08.514571 IP (tos 0x0, ttl 60, id 48692, offset 0, flags [DF], proto UDP (17), length 42)
    10.61.0.2.5000 > 10.61.9.2.1194: UDP, length 14
"""
    first, second = frames(text)
    assert (first.ttl, first.identification) == (60, 48691)
    assert first.data.endswith(bytes.fromhex("05061588c35d"))
    assert first.at == 1795334528.014571
    assert second.udp is not None
    assert (second.udp.payload, second.udp.missing) == (b"", 14)


def test_link_headers_interfaces_unix_times_and_ipv6() -> None:
    text = """\
1795334577.352093 d2:72:23:1e:9c:a8 > a2:8c:eb:e2:ae:97, ethertype IPv4 (0x0800), length 64: 10.61.0.2.5000 > 10.61.9.2.1194: UDP, length 22
1795334578.352093 eth0  Out IP 10.61.0.2.5000 > 10.61.9.2.1194: UDP, length 22
1795334579.352093 eth0  In  IP 10.61.9.2.1194 > 10.61.0.2.5000: UDP, length 22
1795334580.352093 IP6 2001:db8::1.500 > 2001:db8::2.500: isakmp: parent_sa ikev2_init[I]
"""
    found = frames(text)
    assert [frame.outgoing for frame in found] == [None, True, False, None]
    assert (found[3].source, found[3].ports) == ("2001:db8::1", (500, 500))
    assert found[0].at == 1795334577.352093


def test_old_tcpdump_lines() -> None:
    syn, data = frames(
        "10:00:00.1 IP a.1000 > b.pptp: S 5:5(0) win 65535 <mss 1460>\n10:00:00.2 IP a.1000 > b.pptp: P 1:157(156) ack 1 win 4117"
    )
    assert syn.tcp is not None
    assert data.tcp is not None
    assert syn.tcp.flags == TcpFlag.SYN
    assert (data.tcp.sequence, data.tcp_payload_length, data.tcp.flags) == (6, 156, TcpFlag.PSH | TcpFlag.ACK)


def test_ipsec_and_ike_lines() -> None:
    text = """\
10:00:00.1 IP 10.0.0.1 > 10.0.0.2: ESP(spi=0x36f546b5,seq=0x1), length 132
10:00:00.2 IP 10.0.0.1.4500 > 10.0.0.2.4500: UDP-encap: ESP(spi=0x36f546b5,seq=0x2), length 132
10:00:00.3 IP 10.0.0.1.500 > 10.0.0.2.500: isakmp: phase 1 I ident
10:00:00.4 IP 10.0.0.2.500 > 10.0.0.1.500: isakmp: phase 1 R ident
10:00:00.5 IP 10.0.0.1.4500 > 10.0.0.2.4500: NONESP-encap: isakmp: phase 2/others I oakley-quick[E]
10:00:00.6 IP 10.0.0.1.4500 > 10.0.0.2.4500: isakmp-nat-keep-alive
10:00:00.7 IP 10.0.0.1 > 10.0.0.2: AH(spi=0x604816f6,sumlen=12,seq=0x1,icv=0x00): ICMP echo request, length 8
"""
    esp, in_udp, request, answer, quick, keepalive, ah = frames(text)
    assert (esp.data[:8].hex(), esp.length) == ("36f546b500000001", 132)
    assert in_udp.udp is not None
    assert in_udp.udp.payload.hex() == "36f546b500000002"
    headers = [IsakmpHeader.decode(frame.udp.payload) for frame in (request, answer) if frame.udp is not None]
    assert headers[0].initiator_spi == headers[1].initiator_spi
    assert (headers[0].responder_spi == bytes(8), headers[1].responder_spi == bytes(8)) == (True, False)
    assert quick.udp is not None
    assert IsakmpHeader.decode(quick.udp.payload[4:]).exchange_type == 32
    assert keepalive.udp is not None
    assert keepalive.udp.payload == b"\xff"
    assert ah.data[4:8].hex() == "604816f6"


def test_an_l2tp_line() -> None:
    frame = only(
        "08:21:19.4 IP 10.61.0.2.36893 > 10.61.9.2.1701:  l2tp:[TLS](0/0)Ns=0,Nr=0 *MSGTYPE(SCCRQ) *HOST_NAME(probe) *ASSND_TUN_ID(777)"
    )
    assert frame.udp is not None
    message = decode_l2tp(frame.udp.payload)
    assert isinstance(message, StartControlConnectionRequest)
    assert [avp.value for avp in message.avps] == [(777).to_bytes(2, "big"), b"probe"]


@pytest.mark.parametrize(
    ("line", "code", "protocol"),
    [
        ("ICMP 10.0.0.2 protocol 47 unreachable, length 60", 2, 47),
        ("ICMP 10.0.0.2 udp port 1701 unreachable, length 135", 3, 17),
        ("ICMP host 10.0.0.2 unreachable - admin prohibited filter, length 36", 13, 0),
    ],
)
def test_icmp_lines_name_what_was_refused(line: str, code: int, protocol: int) -> None:
    message = decode_icmp(only(f"10:00:00.1 IP 10.0.0.9 > 10.0.0.1: {line}").data)
    assert isinstance(message, DestinationUnreachable)
    assert (message.code, message.quote.protocol, str(message.quote.destination)) == (code, protocol, "10.0.0.2")


def test_two_traces_in_one_text_are_told_apart() -> None:
    text = (
        "    //客户端\n    $ sudo tcpdump host clip and sip\n    //tcp 三次握手建立链接\n"
        + HANDSHAKE
        + "\n    //服务器端\n    # tcpdump host clip and sip\n    ...\n"
        + "    00:36:27.519495 IP sip > 10.10.5.251: GREv1, call 13179, seq 0, length 41: LCP, Conf-Request (0x01), id 1, length 27\n"
    )
    printed = parse(text.splitlines())
    assert [(trace.named, len(trace.frames)) for trace in printed.traces] == [(Vantage.CLIENT, 3), (Vantage.SERVER, 1)]
    assert [frame.number for trace in printed.traces for frame in trace.frames] == [1, 2, 3, 4]
    assert printed.traces[1].frames[0].at > printed.traces[0].frames[-1].at
    assert not printed.traces[0].dated


def test_english_headings_and_times_that_go_back_begin_a_trace() -> None:
    text = "On the server:\n10:00:05.0 IP a.1 > b.1194: UDP, length 14\n10:00:01.0 IP a.1 > b.1194: UDP, length 14\n"
    assert [(trace.named, len(trace.frames)) for trace in parse(text.splitlines()).traces] == [(Vantage.SERVER, 1), (None, 1)]


@pytest.mark.parametrize(
    ("end", "dropped"),
    [
        ("28 packets captured\n30 packets received by filter\n2 packets dropped by kernel", 2),
        ("0 packets dropped by kernel", 0),
        ("1 packet dropped by kernel\n4 packets dropped by interface", 4),
        ("", 0),
    ],
)
def test_what_tcpdump_says_that_it_dropped_is_told(end: str, dropped: int, tmp_path: Path) -> None:
    path = tmp_path / "pasted.txt"
    path.write_text(f"12:00:00.000001 IP 192.0.2.1.4000 > 192.0.2.2.1723: Flags [S], seq 1, win 100, length 0\n{end}\n")
    found = read_capture(path)
    assert found.packets == 1
    assert found.problem is None if not dropped else f"dropped {dropped} packet" in str(found.problem)


def test_lines_that_cannot_be_read_are_counted() -> None:
    dns, arp = "10:00:00.1 IP a.1000 > b.53: 4711+ A? example.com. (29)", "10:00:00.2 ARP, Request who-has 10.0.0.1"
    printed = parse([dns, arp, "10:00:00.3 IP a.1 > b.2: UDP, length 3"])
    assert (printed.packets, printed.unread, len(printed.traces[0].frames)) == (2, 0, 2)
    assert parse(["no packets here"]).traces == ()


@given(st.text(max_size=300))
def test_any_text_is_read_without_failing(text: str) -> None:
    parse(text.splitlines())
    parse([f"10:00:00.1 IP a.1 > b.1723: {text}", f"10:00:00.1 IP {text}", text])


@given(
    st.sampled_from(["Flags [", "GREv1, call ", "GREv0, ", "ESP(spi=0x", "AH(spi=0x", "isakmp", "l2tp:[TLS](1/1)Ns=0,Nr=0", "ICMP "]),
    st.text(max_size=60),
)
def test_any_tail_is_read_without_failing(prefix: str, tail: str) -> None:
    parse([f"10:00:00.1 IP 10.0.0.1.1 > 10.0.0.2.1701: {prefix}{tail}", f"10:00:00.1 IP 10.0.0.1 > 10.0.0.2: {prefix}{tail}"])


@pytest.mark.parametrize("name", ["seed-client.pcap", "seed-server.pcap"])
@pytest.mark.parametrize("options", [["-n"], ["-nv", "-tttt"], []])
def test_what_tcpdump_prints_of_a_capture_says_what_the_capture_says(name: str, options: list[str]) -> None:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("the program tcpdump is not installed")
    text = subprocess.run([tcpdump, *options, "-r", str(PCAPS / name)], capture_output=True, text=True, check=True).stdout
    printed, captured = Decoder(), Decoder()
    for frame in frames(text):
        printed.take(frame)
    with read_packets(PCAPS / name) as reader:
        for packet in reader:
            if frame_of(packet) is not None:
                captured.take(frame_of(packet))  # type: ignore[arg-type]
    found = [[(c.protocol, c.stage, c.frames_c2s, c.frames_s2c) for c in decoder.conversations()] for decoder in (printed, captured)]
    assert found[0] == found[1]
    assert [captured.message for captured in printed.captured_messages] == [captured.message for captured in captured.captured_messages]
