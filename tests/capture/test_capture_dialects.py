"""What programs other than tcpdump print, and what of a line was not understood."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.analysis import examine
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.printed.dialects.table import BY_NAME
from vpnprobe.capture.printed.traces import PrintedText, lines_in, parse
from vpnprobe.capture.reading import read_capture
from vpnprobe.wire.ip import IpProtocol, TcpFlag
from vpnprobe.wire.isakmp import IsakmpHeader


def read(text: str) -> PrintedText:
    return parse(lines_in(text))


def frames(text: str) -> list[Frame]:
    return [frame for trace in read(text).traces for frame in trace.frames]


def stages(text: str) -> list[tuple[str, str]]:
    decoder = Decoder()
    for frame in frames(text):
        decoder.take(frame)
    return sorted((one.protocol, one.stage) for one in decoder.conversations())


def test_pktmon_prints_a_packet_at_each_component() -> None:
    head = "23:02:26.5397{0:02d}700 PktGroupId {0}, PktNumber 1, Appearance {1}, Direction Tx , Type Ethernet , Component {1}, Edge 1"
    body = (
        "\t40-EC-99-00-00-01 > F0-B4-D2-00-00-02, ethertype IPv4 (0x0800), length 56: 192.0.2.9.50000 > 198.51.100.20.1194: UDP, length 14"
    )
    text = "\n".join(f"{head.format(group, place)}, OriginalSize 56, LoggedSize 56\n{body}" for group in (1, 2) for place in (1, 2, 3))
    printed = read(text)
    assert (printed.packets, printed.unread) == (2, 0)
    assert stages(text) == [("openvpn-udp", "client-reset-unanswered")]


def test_fortigates_sniffer() -> None:
    text = """\
interfaces=[any]
filters=[host 198.51.100.20]
3.530807 port4 in 192.0.2.10.500 -> 198.51.100.20.500: udp 368
3.530823 wan1 out 192.0.2.10.500 -> 198.51.100.20.500: udp 368
2026-11-22 10:00:00.123456 wan1 in 198.51.100.20.1723 -> 192.0.2.10.50000: syn 2506320908 ack 3355913058
2026-11-22 10:00:00.223456 wan1 out 192.0.2.10 -> 198.51.100.20:  ip-proto-47 36
2026-11-22 10:00:00.323456 wan1 out 192.0.2.10 -> 198.51.100.20: ip-proto-50 132
2026-11-22 10:00:00.423456 wan1 in 198.51.100.20 -> 192.0.2.10: icmp: 198.51.100.20 udp port 500 unreachable
"""
    found = frames(text)
    assert [frame.protocol for frame in found] == [17, 17, 6, 47, 50, 1]
    assert [frame.outgoing for frame in found] == [False, True, False, True, True, False]
    assert found[0].ports == (500, 500)
    assert found[2].tcp is not None
    assert found[2].tcp.flags == TcpFlag.SYN | TcpFlag.ACK
    assert {("gre", "one-way"), ("esp", "one-way")} <= set(stages(text))
    assert read(text).unread == 0


def test_check_points_monitor_prints_a_packet_at_each_inspection_point() -> None:
    text = """\
[Expert@gw:0]# fw monitor -e "accept host(198.51.100.20);"
monitor: monitoring (control-C to stop)
[vs_0][fw_1] eth0:i[60]: 192.0.2.10 -> 198.51.100.20 (TCP) len=60 id=4001
TCP: 49152 -> 1723 .S.... seq=bf8bc98e ack=00000000
[vs_0][fw_1] eth0:I[60]: 192.0.2.10 -> 198.51.100.20 (TCP) len=60 id=4001
TCP: 49152 -> 1723 .S.... seq=bf8bc98e ack=00000000
[vs_0][fw_1] eth1:o[60]: 192.0.2.10 -> 198.51.100.20 (TCP) len=60 id=4001
TCP: 49152 -> 1723 .S.... seq=bf8bc98e ack=00000000
[vs_0][fw_1] eth1:i[60]: 198.51.100.20 -> 192.0.2.10 (TCP) len=60 id=0
TCP: 1723 -> 49152 .S..A. seq=00c0ffee ack=bf8bc98f
eth0:i[376]: 192.0.2.10 -> 198.51.100.20 (UDP) len=376 id=4002
UDP: 500 -> 500
eth0:i[57]: 192.0.2.10 -> 198.51.100.20 (47) len=57 id=4003
eth0:O[136]: 198.51.100.20 -> 192.0.2.10 (50) len=136 id=4004
eth0:O[136]: 198.51.100.20 -> 192.0.2.10 (PIGEON) len=136 id=4004
"""
    found = frames(text)
    assert [(frame.protocol, frame.length) for frame in found] == [(6, 20), (6, 20), (17, 356), (47, 37), (50, 116)]
    assert [frame.outgoing for frame in found] == [False, False, False, False, True]
    answer = found[1].tcp
    assert answer is not None
    assert (answer.flags, answer.sequence, answer.acknowledgment) == (TcpFlag.SYN | TcpFlag.ACK, 0xC0FFEE, 0xBF8BC98F)
    assert found[2].ports == (500, 500)
    assert read(text).unread == 1


def test_mikrotiks_sniffer_and_torch() -> None:
    sniffer = """\
[admin@gw] > /tool/sniffer/packet/print
Columns: TIME, INTERFACE, SRC-ADDRESS, DST-ADDRESS, IP-PROTOCOL, SIZE, CPU
 #  TIME   INTERFACE  SRC-ADDRESS                DST-ADDRESS               IP-PROTOCOL  SIZE  CPU
 0  1.697  ether1     192.0.2.10:50000           198.51.100.20:1194        udp          56    0
 1  1.699  ether1     198.51.100.20:1194         192.0.2.10:50000          udp          68    0
 2  1.799  ether1     192.0.2.10                 198.51.100.20             gre          90    0
"""
    assert stages(sniffer) == [("gre", "one-way"), ("openvpn-udp", "server-reset")]
    torch = """\
MAC-PROTOCOL  IP-PROTOCOL  SRC-ADDRESS  DST-ADDRESS    TX         RX    TX-PACKETS  RX-PACKETS
ip            gre          192.0.2.10   198.51.100.20  165.6kbps  0bps  50          0
"""
    assert stages(torch) == [("gre", "one-way")]


def test_mikrotiks_sniffer_at_once_and_flows_that_torch_saw_answered() -> None:
    quick = """\
[admin@gw] > /tool sniffer quick ip-address=198.51.100.20
INTERFACE   TIME    NUM  DIR  SRC-MAC            DST-MAC            VLAN  SRC-ADDRESS       DST-ADDRESS         PROTOCOL  SIZE
ether1-wan  2.731     1  ->   4C:5E:0C:00:00:01  00:00:5E:00:01:01  192.0.2.10:50000  198.51.100.20:1194  ip:udp      56
ether1-wan  14.201    2  ->   4C:5E:0C:00:00:01  00:00:5E:00:01:01  192.0.2.10        198.51.100.20       ip:gre      90
-- [Q quit|D dump|C-z pause]
"""
    assert stages(quick) == [("gre", "one-way"), ("openvpn-udp", "client-reset-unanswered")]
    torch = """\
 MAC-PROTOCOL  IP-PROTOCOL  SRC-ADDRESS        DST-ADDRESS         TX        RX        TX-PACKETS  RX-PACKETS
 ip            ipsec-esp    192.0.2.10         198.51.100.20       30.4kbps  28.1kbps          25          24
 ip            tcp          192.0.2.10:50321   198.51.100.20:1723  544bps    544bps             1           1
 ip            gre          192.0.2.11         198.51.100.20       544bps    0bps               1           0
"""
    assert stages(torch) == [("esp", "both-ways"), ("gre", "one-way"), ("pptp", "midstream-control")]
    assert [frame.ports for frame in frames(torch) if frame.protocol == IpProtocol.TCP] == [(50321, 1723), (1723, 50321)]


def test_a_row_whose_columns_hold_blanks_stands_by_its_addresses() -> None:
    text = """\
 #   size   timestamp     source             destination      dscp    protocol
   0  190    0.000000   192.0.2.10       ->  198.51.100.20    0  BE   UDP
   1   86    6.002000   192.0.2.10       ->  198.51.100.20    0  BE   GRE
   2   86    6.102000   192.0.2.10       ->  198.51.100.20    0  BE   OSPF
"""
    assert stages(text) == [("gre", "one-way")]
    assert read(text).unread == 1


def test_ciscos_capture() -> None:
    text = """\
   1: 10:00:00.123456       192.0.2.10.500 > 198.51.100.20.500:  udp 368
   2: 10:00:01.123456       802.1Q vlan#10 P0 192.0.2.10.40000 > 198.51.100.20.1723: S 5:5(0) win 64240 <mss 1460,nop>
   3: 10:00:02.123456       192.0.2.10 > 198.51.100.20:  ip-proto-47, length 36
   4: 10:00:02.323456       192.0.2.10 > 198.51.100.20:  ip-proto-50, length 132
"""
    assert [(frame.protocol, frame.length) for frame in frames(text)[2:]] == [(47, 36), (50, 132)]
    assert {("gre", "one-way"), ("esp", "one-way")} <= set(stages(text))


def test_junos_with_its_own_headers() -> None:
    packet = """\
13:11:10.{}82221 {}
\tJuniper PCAP Flags [Ext, In], PCAP Extension(s) total length 16
\t  Device Media Type Extension TLV #3, length 1, value: Ethernet (1)
\t-----original packet-----
\t0:5:85:aa:bb:cc > 0:10:db:ff:10:0, ethertype IPv4 (0x0800), length 434: (tos 0x0, ttl  {}, id 4242, offset 0, flags [none], \
proto: UDP (17), length: 420) {}.500 > {}.500: isakmp 2.0 msgid 00000000: parent_sa ikev2_init[{}]
"""
    text = packet.format(4, "In", 57, "192.0.2.10", "198.51.100.20", "I") + packet.format(5, "Out", 64, "198.51.100.20", "192.0.2.10", "R")
    assert [(frame.outgoing, frame.ttl) for frame in frames(text)] == [(False, 57), (True, 64)]
    assert (read(text).unread, stages(text)) == (0, [("ikev2", "sa_init-answered")])


def test_pktmons_drops_are_no_further_packets() -> None:
    body = (
        "\t40-EC-99-00-00-01 > F0-B4-D2-00-00-02, ethertype IPv4 (0x0800), length 56: 192.0.2.9.50000 > 198.51.100.20.1194: UDP, length 14"
    )
    head = "PktGroupId 1, PktNumber 1, Appearance {}, Direction Tx , Type Ethernet , Component 33, Edge 1, Filter 1"
    text = f"10:00:00.1 {head.format(1)}\n{body}\n10:00:00.2 Drop: {head.format(2)}, DropReason INET_FirewallBlock\n{body}\n"
    assert (read(text).packets, read(text).unread) == (1, 0)


def test_lines_around_a_match_of_grep() -> None:
    head = "dump-12-14:22:{:02d}.001122 wan   Out IP (tos 0x88, ttl 64, id 7, offset 0, flags [none], proto UDP (17), length 176)"
    match = "dump:13:    192.0.2.10.51820 > 198.51.100.20.51820: [bad udp cksum 0x8d1e -> 0x4e31!] UDP, length 148"
    text = "\n--\n".join(f"{head.format(second)}\n{match}" for second in (5, 10, 15))
    assert [frame.at % 60 for frame in frames(text)] == pytest.approx([5.001122, 10.001122, 15.001122])
    assert stages(text) == [("wireguard", "initiation-unanswered")]


def test_what_came_over_pppoe_and_texts_in_json() -> None:
    line = "10:00:{:04.1f} PPPoE  [ses 0x1a] IP (tos 0x0, ttl 64, id 7, offset 0, flags [none], proto UDP (17), length 176) \
192.0.2.10.51820 > 198.51.100.20.51820: UDP, length 148"
    lines = [line.format(at) for at in (1.0, 6.1, 11.3)]
    assert stages("\n".join(lines)) == [("wireguard", "initiation-unanswered")]
    body = '{"body":"see:\\r\\n' + "\\r\\n".join(lines).replace(">", "\\u003e") + '\\r\\n"}'
    assert stages(body) == [("wireguard", "initiation-unanswered")]


def test_mail_addresses_are_no_ends() -> None:
    assert read("On Tue, 24 Nov 2026 at 09:12, Jo <jo@example.org> wrote:\n").packets == 0


def test_wiresharks_list_as_csv_and_without_arrows() -> None:
    csv = """\
"No.","Time","Source","Destination","Protocol","Length","Info"
"1","0.000000","192.0.2.10","198.51.100.20","ISAKMP","506","IKE_SA_INIT MID=00 Initiator Request"
"2","0.001850","198.51.100.20","192.0.2.10","ISAKMP","514","IKE_SA_INIT MID=00 Responder Response"
"""
    plain = """\
No.     Time           Source                Destination           Protocol Length Info
      1 0.000000       192.0.2.10            198.51.100.20         ISAKMP   506    IKE_SA_INIT MID=00 Initiator Request
      2 0.001850       198.51.100.20         192.0.2.10            ISAKMP   514    IKE_SA_INIT MID=00 Responder Response
"""
    assert stages(csv) == stages(plain) == [("ikev2", "sa_init-answered")]
    header = IsakmpHeader.decode(frames(csv)[0].udp.payload)  # type: ignore[union-attr]
    assert (header.exchange_type, header.responder_spi) == (34, bytes(8))


def test_a_list_tells_esp_in_udp_by_what_its_length_fits() -> None:
    line = "    1   0.000000    192.0.2.10 \u2192 198.51.100.20    ESP {} ESP (SPI=0x36f546b5)"
    assert frames(line.format(174))[0].protocol == IpProtocol.UDP
    assert frames(line.format(166))[0].protocol == IpProtocol.ESP


def test_columns_need_headings() -> None:
    row = "1,10:00:00.1,192.0.2.10,198.51.100.20,17,50000,1194,22\n"
    assert frames(row) == []
    headings = "frame.number,frame.time,ip.src,ip.dst,ip.proto,udp.srcport,udp.dstport,udp.length\n"
    (frame,) = frames(headings + row)
    assert (frame.ports, frame.udp.missing) == ((50000, 1194), 14)  # type: ignore[union-attr]
    assert read(headings + "1,,192.0.2.10,198.51.100.20,,,,\n").unread == 1


def test_old_tcpdump() -> None:
    text = """\
10:00:00.000001 192.0.2.10.50000 > 198.51.100.20.1723: S 5:5(0) win 65535 <mss 1460>
10:00:00.100000 192.0.2.10 > 198.51.100.20: call 24 seq 7 gre-ppp-payload (gre encap)
10:00:00.200000 192.0.2.10 > 198.51.100.20: gre [KSAv1] ID:4000 S:1 A:0 ppp: LCP 24: Conf-Req(1)
10:00:00.300000 192.0.2.10.1194 > 198.51.100.20.1194: udp 14 (DF)
10:00:00.400000 192.0.2.10.1194 > 198.51.100.20.1194: UDP, length: 14
10:00:00.500000 192.0.2.10 > 198.51.100.20: icmp: 192.0.2.10 udp port 1701 unreachable [tos 0xc0]
"""
    assert [frame.protocol for frame in frames(text)] == [6, 47, 47, 17, 17, 1]
    assert read(text).unread == 0


def test_what_was_not_understood_is_counted_and_the_first_of_it_shown() -> None:
    text = "10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.2: UDP, length 3\n10:00:00.2 IP 192.0.2.1 > 192.0.2.2: Flags [S], seq 1\n"
    printed = read(text)
    assert (printed.packets, printed.unread, printed.misses[0].line) == (2, 1, 2)
    assert printed.problem is not None
    assert printed.problem.startswith("1 of 2 packet lines were not understood; line 2: 'IP 192.0.2.1 > 192.0.2.2: Flags")
    assert "no port" in printed.problem
    assert read("10:00:00.123 something else\n").misses[0].why == "looks like a packet in a form that is not known"
    assert read("10:00:00.1 ARP, Request who-has 192.0.2.1 tell 192.0.2.2, length 28\n") == PrintedText((), 0, 0)
    assert read(f"prose\n{text.splitlines()[0]}\n").other_lines == 1
    assert read("prose\n").problem is None


def test_a_number_beyond_its_field_is_no_number_of_ours() -> None:
    printed = read(f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.1723: Flags [.], seq {'9' * 20}, ack 1, win 9, length 3\n")
    assert (printed.unread, printed.misses[0].why) == (1, "has a number beyond its field")


def test_times_beyond_any_date_end_nothing(tmp_path: Path) -> None:
    line = " IP 192.0.2.10.50000 > 198.51.100.20.1194: UDP, length 14\n"
    text = tmp_path / "pasted.txt"
    text.write_text(f"9999-12-31 99:59:59.5{line}0000-00-00 99:99:99.9{line}")
    assert len(examine(read_capture(text))[0].conversations) == 2
    text.write_text(f"0.000000{line}" + f"0.2{line}0.1{line}" * 1000 + f"99999999.0{line}" * 2600)
    assert len(examine(read_capture(text))[0].conversations) == 1


@pytest.mark.parametrize("digits", [5, 12, 40, 5000])
def test_numbers_beyond_a_field_end_nothing(digits: int) -> None:
    huge = "9" * digits
    lines = [
        f"10:00:00.1 IP 192.0.2.1.{huge} > 192.0.2.2.2: UDP, length 3",
        f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.2: UDP, length {huge}",
        f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.1723: Flags [S], seq {huge}, ack {huge}, length {huge}",
        f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.1723: P {huge}:{huge}({huge}) ack {huge} win 3",
        f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.1723: tcp {huge}",
        f"10:00:00.1 IP 192.0.2.1 > 192.0.2.2: GREv1, call {huge}, seq {huge}, ack {huge}, length {huge}: LCP, X (0x01), id {huge}",
        f"10:00:00.1 IP 192.0.2.1 > 192.0.2.2: GREv0, key=0x{huge}, seq {huge}, proto IPv4 (0x0800), length {huge}",
        f"10:00:00.1 IP 192.0.2.1 > 192.0.2.2: ESP(spi=0x{huge},seq=0x{huge}), length {huge}",
        f"10:00:00.1 IP 192.0.2.1 > 192.0.2.2: AH(spi=0x{huge},sumlen=12,seq=0x{huge},icv=0x0):",
        f"10:00:00.1 IP 192.0.2.1 > 192.0.2.2: ip-proto-{huge} {huge}",
        f"10:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.1701:  l2tp:[TLS]({huge}/{huge})Ns={huge},Nr={huge} *MSGTYPE(SCCRQ) *ASSND_TUN_ID({huge})",
        f"10:00:00.1 IP (tos 0x0, ttl {huge}, id {huge}, offset 0, proto UDP ({huge}), length {huge}) a.b.1 > c.d.2: UDP",
        f"10:00:00.1 IP 192.0.2.9 > 192.0.2.1: ICMP 192.0.2.2 udp port {huge} unreachable, length {huge}",
        f"10:00:00.1 IP 192.0.2.9 > 192.0.2.1: ICMP 192.0.2.2 protocol {huge} unreachable, length {huge}",
        f"{huge}.{huge} IP 192.0.2.1.1 > 192.0.2.2.2: UDP, length 3",
        f"{huge} {huge}.000000 192.0.2.1 \u2192 192.0.2.2 WireGuard {huge} Transport Data, receiver=0x{huge}, counter={huge}",
        f"1 0.000000 192.0.2.1 \u2192 192.0.2.2 TCP {huge} {huge} \u2192 {huge} [SYN] Seq={huge} Ack={huge} Len={huge}",
        f"Frame {huge}: {huge} bytes\nInternet Protocol Version 4, Src: 192.0.2.1, Dst: 192.0.2.2\n"
        f"User Datagram Protocol, Src Port: {huge}, Dst Port: {huge}\n    Length: {huge}\nOpenVPN Protocol\n    Type: 0x{huge}",
        f"frame.time_epoch,ip.src,ip.dst,udp.srcport,udp.dstport,udp.length\n{huge},192.0.2.1,192.0.2.2,{huge},1194,{huge}\n",
    ]
    for line in lines:
        stages(line)
    stages("\n".join(lines))


@given(st.sampled_from(sorted(BY_NAME)), st.text(max_size=300))
def test_any_packet_of_any_dialect_is_read_without_failing(name: str, text: str) -> None:
    from vpnprobe.capture.printed.dialects.base import Session
    from vpnprobe.capture.printed.packets import PrintedPacket

    dialect = BY_NAME[name]
    dialect.begins(text)
    dialect.read(PrintedPacket(1, name, None, text.splitlines() or [""], [0] * len(text.splitlines())), Session())


@given(
    st.lists(
        st.sampled_from(
            [
                "10:00:00.1 IP 192.0.2.1.50000 > 192.0.2.2.1194: UDP, length 14",
                "    192.0.2.1.500 > 192.0.2.2.500: isakmp: phase 1 I ident",
                "\t0x0000:  4500 002a 0001 0000",
                "0000  45 00 00 2a",
                "Frame 1: 74 bytes on wire",
                "Internet Protocol Version 4, Src: 192.0.2.1, Dst: 192.0.2.2",
                "User Datagram Protocol, Src Port: 500, Dst Port: 500",
                "    Type: 0x38 [opcode/key_id]",
                "OpenVPN Protocol",
                "1 0.000000 192.0.2.1 \u2192 192.0.2.2 PPTP 222 Outgoing-Call-Reply",
                "ip.src\tip.dst\tip.proto",
                "192.0.2.1\t192.0.2.2\t47",
                "",
                "> ",
                "the server:",
                "ICMP 192.0.2.1 udp port 500 unreachable",
            ]
        ),
        max_size=12,
    ),
    st.text(max_size=20),
)
def test_any_mixture_of_lines_is_read_without_failing(lines: list[str], between: str) -> None:
    stages("\n".join(lines))
    stages(between.join(lines))
