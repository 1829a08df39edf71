"""What Linux' firewall writes into the kernel's log is read as packets, and what it says that it stopped is the diagnosis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.logged_blocks import FLOWS_LIMIT, LoggedBlocks
from vpnprobe.capture.printed.traces import PrintedText, lines_in, parse
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed, diagnosis_name
from vpnprobe.wire.icmp import DestinationUnreachable, Unreachable, decode_icmp
from vpnprobe.wire.ip import IpProtocol, TcpFlag

RULES = load_default()
MAC = "MAC=52:54:00:12:34:56:52:54:00:65:43:21:08:00"
IN = f"IN=eth0 OUT= {MAC} SRC=192.0.2.10 DST=198.51.100.20"
OUT = "IN= OUT=eth0 SRC=198.51.100.20 DST=192.0.2.10"
IP = "TOS=0x00 PREC=0x00 TTL=54"


def read(text: str) -> PrintedText:
    return parse(lines_in(text))


def frames(text: str) -> list[Frame]:
    return [frame for trace in read(text).traces for frame in trace.frames]


def conversations(text: str) -> tuple[ConversationSummary, ...]:
    decoder = Decoder()
    for frame in frames(text):
        decoder.take(frame)
    return diagnosed(decoder.conversations(), RULES)


def test_lines_of_the_log_are_packets() -> None:
    text = f"""\
Nov 28 12:00:01 gw kernel: [12345.100000] FW: {IN} LEN=60 {IP} ID=4001 DF PROTO=TCP SPT=49152 DPT=1723 WINDOW=64240 RES=0x00 SYN URGP=0
Nov 28 12:00:01 gw kernel: [12345.100100] FW: {OUT} LEN=60 {IP} ID=0 DF PROTO=TCP SPT=1723 DPT=49152 WINDOW=65160 RES=0x00 ACK SYN URGP=0
2026-11-28 12:00:02 gw kernel: FW: {IN} LEN=42 {IP} ID=4003 PROTO=UDP SPT=40000 DPT=1194 LEN=22
Nov 28 12:00:02 gw kernel: [12346.140000] {IN} LEN=57 {IP} ID=4010 PROTO=47
Nov 28 12:00:03 gw kernel: [12347.140000] {IN} LEN=136 {IP} ID=4011 PROTO=ESP SPI=0xc1a2b3d4
"""
    found = frames(text)
    assert read(text).unread == 0
    assert [(frame.protocol, frame.length) for frame in found] == [(6, 20), (6, 20), (17, 22), (47, 37), (50, 116)]
    assert [frame.outgoing for frame in found] == [False, True, False, False, False]
    assert [frame.ttl for frame in found] == [54] * 5
    assert [frame.identification for frame in found[:3]] == [4001, None, 4003]
    first, second = found[0].tcp, found[1].tcp
    assert first is not None
    assert second is not None
    assert (first.flags, second.flags) == (TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK)
    assert found[2].ports == (40000, 1194)
    assert found[4].data == bytes.fromhex("c1a2b3d4")
    assert found[1].at - found[0].at == pytest.approx(0.0001)
    assert not any(frame.logged_as_blocked for frame in found)


def test_an_icmp_error_quotes_its_packet() -> None:
    quoted = f"SRC=192.0.2.10 DST=198.51.100.20 LEN=42 {IP} ID=78 PROTO=UDP SPT=40000 DPT=1194 LEN=22"
    [frame] = frames(f"{OUT} LEN=70 {IP} ID=5 PROTO=ICMP TYPE=3 CODE=3 [{quoted} ]")
    assert frame.protocol == IpProtocol.ICMP
    error = decode_icmp(frame.data)
    assert isinstance(error, DestinationUnreachable)
    assert error.code == Unreachable.PORT
    assert error.quote.ports == (40000, 1194)


@pytest.mark.parametrize(
    ("told", "length"),
    [
        ("TYPE=3 CODE=200 [SRC=192.0.2.10 DST=198.51.100.20 LEN=57 PROTO=47 ]", 28),
        ("TYPE=11 CODE=0 [SRC=192.0.2.10 DST=198.51.100.20 LEN=57 PROTO=47 ]", 28),
        ("TYPE=5 CODE=1 [SRC=192.0.2.10 DST=198.51.100.20 LEN=57 PROTO=47 ]", 8),
        ("TYPE=3 CODE=3 [SRC=here DST=there LEN=57 PROTO=47 ]", 8),
        ("TYPE=8 CODE=0 ID=1 SEQ=1", 8),
    ],
)
def test_other_icmp_messages_are_no_errors_of_ours(told: str, length: int) -> None:
    [frame] = frames(f"{OUT} LEN=70 {IP} ID=5 PROTO=ICMP {told}")
    assert (frame.protocol, frame.length) == (IpProtocol.ICMP, length)


def test_what_several_rules_log_is_one_packet() -> None:
    line = f"{IN} LEN=57 {IP} ID=4010 PROTO=47"
    assert len(frames("\n".join([f"RAW: {line}", f"FILTER: {line}", line.replace("ID=4010", "ID=4011")]))) == 2


def test_a_protocol_that_is_not_known_is_told_and_what_has_no_addresses_is_no_packet() -> None:
    assert read(f"{IN} LEN=57 {IP} ID=1 PROTO=CARRIER-PIGEON").unread == 1
    assert read("IN=eth0 OUT= is what the log says").packets == 0
    assert read("IN=eth0 OUT= LEN=70 PROTO=ICMP TYPE=3 [SRC=192.0.2.10 DST=198.51.100.20 LEN=42 PROTO=47 ]").unread == 1


@pytest.mark.parametrize("mark", ["[UFW BLOCK] ", "DROP: ", "iptables denied: ", "FINAL_REJECT: ", "filter_IN_public_DROP: "])
def test_what_a_log_says_it_stopped_is_why(mark: str) -> None:
    text = "\n".join(f"Nov 28 12:00:0{n} gw kernel: [1234{n}.1] {mark}{IN} LEN=57 {IP} ID=401{n} PROTO=47" for n in range(1, 4))
    [one] = conversations(text)
    assert (one.protocol, diagnosis_name(one)) == ("gre", "logged-as-blocked")
    assert one.findings[0].startswith(
        "The firewall that wrote this log stopped what came from the client (GRE, 192.0.2.10 to 198.51.100.20): 3 packets."
    )


def test_ports_are_told_by_their_own_packets() -> None:
    blocked = f"[UFW BLOCK] {IN} LEN=42 {IP} ID=1 PROTO=UDP SPT=40000 DPT=1194 LEN=22"
    seen = f"{IN} LEN=42 {IP} ID=2 PROTO=UDP SPT=40001 DPT=1195 LEN=22"
    found = {one.server.port: diagnosis_name(one) for one in conversations(f"{blocked}\n{seen}\n")}
    assert found[1194] == "logged-as-blocked"
    assert found.get(1195) != "logged-as-blocked"


def test_words_that_only_look_like_it_stop_nothing() -> None:
    [frame] = frames(f"Dropbear-accept blockchain: {IN} LEN=42 {IP} ID=1 PROTO=UDP SPT=40000 DPT=1194 LEN=22")
    assert not frame.logged_as_blocked


def test_counts_are_bounded() -> None:
    counts = LoggedBlocks()
    for number in range(FLOWS_LIMIT + 50):
        counts.take(Frame(1, 0.0, f"h{number}", "x", 47, b"", 1, logged_as_blocked=True))
    assert counts.of("h0", "x", 47, 0) == 1
    assert counts.of(f"h{FLOWS_LIMIT + 10}", "x", 47, 0) == 0


@given(st.text(max_size=200), st.text(alphabet="SRCDPLE=[] 0123456789.:x", max_size=300))
def test_whatever_is_printed_ends_nothing(before: str, after: str) -> None:
    parse(lines_in(f"{before} {IN} {after}"))
    parse(lines_in(f"{before} {IN} LEN={after} PROTO=TCP SPT={after} SYN"))
