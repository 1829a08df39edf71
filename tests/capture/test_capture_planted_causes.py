"""What else stops conversations, planted and captured at the client, between and at the server: told right, or not at all.

`test_capture_diagnoses` plants what meets any message of any protocol, and `test_capture_gre_calls` what meets calls of PPTP.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from capture_packets import written
from troubled import CLIENT, COPIES, SCRIPTS, SERVER, At, OnWire, Said, datagram, pptp_call, seen

from vpnprobe.capture.analysis import examine
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, decode_ip
from vpnprobe.wire.isakmp import with_marker
from vpnprobe.wire.openvpn import DataV2
from vpnprobe.wire.ppp import ConfigureNak, ConfigureRequest, MagicNumber, lcp_frame
from vpnprobe.wire.pptp import OutgoingCallReply, OutgoingCallRequest, StartControlConnectionReply, StartControlConnectionRequest
from vpnprobe.wire.wireguard import TransportData

UP: Final = [
    (False, StartControlConnectionRequest().encode()),
    (True, StartControlConnectionReply(result_code=1).encode()),
    (False, OutgoingCallRequest(call_id=323).encode()),
    (True, OutgoingCallReply(call_id=17, peer_call_id=323, result_code=1).encode()),
]
NOTHING: Final[set[str]] = set()
SENT_AGAIN_S: Final = 2.0
ANSWERED_S: Final = 0.03
"""After the question left, which is half a round trip on its way."""
FRAGMENT: Final = 1400
"""Bytes behind the IP header of a first fragment, a multiple of 8."""


def conversations(packets: Sequence[OnWire], at: At, folder: Path) -> tuple[ConversationSummary, ...]:
    held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in seen(packets, at)]
    examined, _ = examine(read_capture(written(folder, encode_pcap(held))))
    return diagnosed(examined.conversations, load_default())


def told(packets: Sequence[OnWire], at: At, folder: Path, *, stops: bool = True) -> set[str]:
    """The diagnoses of a capture. `stops`: of what stops a conversation; False: of the rest."""
    found = (one.detail["diagnosis"] for one in conversations(packets, at, folder) if "diagnosis" in one.detail)
    return {one["name"] for one in found if one["stops"] is stops}


def works(protocol: str, further: Iterable[Said] = ()) -> list[OnWire]:
    """A conversation that nothing stops, and what is said after it."""
    return [*_timed([*SCRIPTS[protocol](), *further])]


def _timed(script: Iterable[Said], began: float = 0.0, apart_s: float = 0.05) -> list[OnWire]:
    return [
        OnWire(began + number * apart_s, datagram(said).encode(), said.back, 0 if said.back else 2) for number, said in enumerate(script)
    ]


def large(protocol: str, step: int, size: int) -> tuple[list[OnWire], Said]:
    """All before a message, and the message as long as with certificates in it."""
    script = SCRIPTS[protocol]()
    said = script[step]
    head = bytearray(said.payload)
    if protocol.startswith("ike"):
        marker = 4 if said.ports[1] == 4500 else 0
        head[marker + 24 : marker + 28] = size.to_bytes(4, "big")
        if protocol == "ikev2":  # The length of the one payload, too.
            head[marker + 30 : marker + 32] = (size - 28).to_bytes(2, "big")
        size += marker
    return _timed(script[:step]), Said(said.back, bytes(head) + bytes(size - len(head)), said.ports)


LARGE: Final = [
    ("ikev1", 4, False),
    ("ikev1", 5, True),
    ("ikev2", 2, False),
    ("ikev2", 3, True),
    ("openvpn-udp", 2, False),
    ("openvpn-udp", 3, True),
]
"""Protocol, message and whether it is the server's: those that carry certificates."""


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize(("protocol", "step", "back"), LARGE)
def test_messages_with_certificates_that_are_lost(protocol: str, step: int, back: bool, at: At, tmp_path: Path) -> None:
    before, message = large(protocol, step, 1300)
    began = before[-1].at + 0.05
    packets = [*before]
    for number in range(COPIES):
        moment = began + number * SENT_AGAIN_S
        if back and number:
            packets.append(OnWire(moment, datagram(SCRIPTS[protocol]()[step - 1]).encode(), False, 2))
        packets.append(OnWire(moment + ANSWERED_S, datagram(message).encode(), back, 1))
    found = told(packets, at, tmp_path)
    if back:
        assert found <= ({"large-answer-lost"} if at is not At.CLIENT else {"ike-unanswered", "handshake-stops"})
        assert found
    else:
        assert found == ({"large-unanswered"} if at is not At.SERVER else NOTHING)


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize(("protocol", "step", "back"), [one for one in LARGE if one[0].startswith("ike")])
def test_first_fragments_whose_rest_is_lost(protocol: str, step: int, back: bool, at: At, tmp_path: Path) -> None:
    packets, message = large(protocol, step, 2400)
    began = packets[-1].at + 0.05
    for number in range(COPIES):
        whole = datagram(message)
        first = replace(whole, payload=whole.payload[:FRAGMENT], more_fragments=True)
        if back and number:
            packets.append(OnWire(began + number * SENT_AGAIN_S, datagram(SCRIPTS[protocol]()[step - 1]).encode(), False, 2))
        packets.append(OnWire(began + number * SENT_AGAIN_S + ANSWERED_S, first.encode(), back, 0 if back else 2))
    assert told(packets, at, tmp_path) == {"fragmented"}


def fragments(back: bool, count: int) -> list[Said]:
    """IKE_AUTH as its sender fragments it (RFC 7383 section 2.5)."""
    one, two = bytes(range(1, 9)), bytes(range(11, 19))
    found = []
    for number in range(1, count + 1):
        body = bytes(2) + (1308).to_bytes(2, "big") + number.to_bytes(2, "big") + count.to_bytes(2, "big") + bytes((number,)) * 1300
        head = one + two + bytes((53, 0x20, 35, 0x20 if back else 0x08)) + (1).to_bytes(4, "big") + (28 + len(body)).to_bytes(4, "big")
        found.append(Said(back, with_marker(head + body), (4500, 4500)))
    return found


@pytest.mark.parametrize("at", list(At))
def test_fragments_of_ike_are_no_copies_of_each_other(at: At, tmp_path: Path) -> None:
    begun = SCRIPTS["ikev2"]()[:2]
    assert told(_timed([*begun, *fragments(False, 3), *fragments(True, 7)]), at, tmp_path) == NOTHING
    asked = [packet for n in range(COPIES) for packet in _timed(fragments(False, 3), 1.0 + n * SENT_AGAIN_S, 0.0001)]
    [one] = conversations([*_timed(begun), *asked], at, tmp_path)
    assert one.detail["diagnosis"]["name"] == "large-unanswered"
    assert one.detail["facts"][0]["times"] == COPIES


def esp_in_udp(back: bool, number: int) -> Said:
    return Said(back, EspPacket(0x1000 + back, number, bytes(64)).encode(), (4500, 4500))


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("protocol", ["ikev1", "ikev2"])
def test_a_tunnel_that_carries_one_way(protocol: str, back: bool, at: At, tmp_path: Path) -> None:
    packets = works(protocol, [esp_in_udp(back, number) for number in range(1, 9)])
    assert told(packets, at, tmp_path) == {"one-way-esp"}


KEEPALIVES: Final = {
    "wireguard": lambda back, number: Said(back, TransportData(0x1111 if back else 0x2222, number, bytes(16)).encode(), (51821, 51820)),
    "openvpn-udp": lambda back, number: Said(back, DataV2(1, number.to_bytes(4, "big") + bytes(32), 0).encode(), (49152, 1194)),
}


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("protocol", list(KEEPALIVES))
def test_keepalives_alone(protocol: str, at: At, tmp_path: Path) -> None:
    handshake = SCRIPTS[protocol]()[:-2]
    packets = _timed([*handshake, *(KEEPALIVES[protocol](back, n) for n in range(1, 5) for back in (False, True))])
    assert told(packets, at, tmp_path) == NOTHING
    assert told(packets, at, tmp_path, stops=False) == {"keepalives-only"}


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("protocol", list(SCRIPTS))
def test_a_client_that_has_gone_refuses_nothing(protocol: str, at: At, tmp_path: Path) -> None:
    """Its host answers what still comes for it with port unreachable."""
    further = [said for said in SCRIPTS[protocol]() if said.back][-1]
    packets = works(protocol)
    packet = datagram(further)
    error = DestinationUnreachable(Unreachable.PORT, Quote(replace(packet, payload=packet.payload[:8]))).encode()
    icmp = IPv4Packet(CLIENT, SERVER, IpProtocol.ICMP, 64, 0, error).encode()
    for moment in (20.0, 21.0):
        packets += [OnWire(moment, packet.encode(), True, 0), OnWire(moment + ANSWERED_S, icmp, False, 2)]
    assert told(packets, at, tmp_path) & {"refused", "refused-before"} == NOTHING


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("protocol", list(SCRIPTS))
def test_answers_whose_checksum_a_nat_broke(protocol: str, at: At, tmp_path: Path) -> None:
    """Between the server and the middle: the client's host drops them, and the client asks again."""
    script = SCRIPTS[protocol]()
    packets = []
    for number in range(COPIES):
        packets.append(OnWire(number * SENT_AGAIN_S, datagram(script[0]).encode(), False, 2))
        packet = decode_ip(datagram(script[1]).encode())
        wrong = bytes((packet.payload[6] ^ 0x55,)) + packet.payload[7:8]
        if at is not At.SERVER:
            packet = replace(packet, payload=packet.payload[:6] + wrong + packet.payload[8:])
        packets.append(OnWire(number * SENT_AGAIN_S + ANSWERED_S, packet.encode(), True, 0))
    found = told(packets, at, tmp_path)
    if at is At.CLIENT:
        assert found == {"checksum-wrong"}
    else:
        assert found <= {"answer-lost", "answer-lost-wireguard", "sccrp-not-taken", "ike-auth-stops"}
        assert found


def tcp(back: bool, flags: int, at: float, reaches: int, port: int) -> OnWire:
    ends, ports = ((SERVER, CLIENT), (port, 40000)) if back else ((CLIENT, SERVER), (40000, port))
    numbers = (5000, 1001) if back else (1000, 0)
    data = TcpSegment(*ports, *numbers, int(flags)).encode(*ends)
    return OnWire(at, IPv4Packet(*ends, IpProtocol.TCP, 64, 0, data).encode(), back, reaches)


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("port", [1723, 1194])
@pytest.mark.parametrize(
    ("answer", "asked_reaches", "answer_reaches", "names"),
    [
        (None, 1, 0, ["syn-unanswered", "syn-unanswered", None]),
        (None, 2, 0, ["syn-unanswered", "syn-unanswered", "syn-unanswered"]),
        (TcpFlag.SYN | TcpFlag.ACK, 2, 1, ["syn-unanswered", "syn-ack-repeated", "syn-ack-repeated"]),
        (TcpFlag.RST | TcpFlag.ACK, 2, 0, ["reset", "reset", "reset"]),
    ],
    ids=["lost", "silent", "answer-lost", "refused"],
)
def test_connections_that_do_not_come_up(
    answer: int | None, asked_reaches: int, answer_reaches: int, names: list[str | None], port: int, at: At, tmp_path: Path
) -> None:
    packets = []
    for number in range(COPIES):
        packets.append(tcp(False, TcpFlag.SYN, number * SENT_AGAIN_S, asked_reaches, port))
        if answer is not None:
            packets.append(tcp(True, answer, number * SENT_AGAIN_S + ANSWERED_S, answer_reaches, port))
    name = names[list(At).index(at)]
    if name is not None:
        assert told(packets, at, tmp_path) == {name}
    else:
        assert seen(packets, at) == []


@pytest.mark.parametrize("at", list(At))
def test_lcp_that_is_asked_for_and_never_agreed_on(at: At, tmp_path: Path) -> None:
    gre = [
        step
        for number in range(6)
        for step in (
            (False, 17, 2 * number + 1, lcp_frame(ConfigureRequest(number, (MagicNumber(number + 1),)))),
            (True, 323, 2 * number + 1, lcp_frame(ConfigureNak(number, (MagicNumber(7),)))),
            (True, 323, 2 * number + 2, lcp_frame(ConfigureRequest(number, (MagicNumber(number + 9),)))),
            (False, 17, 2 * number + 2, lcp_frame(ConfigureNak(number, (MagicNumber(8),)))),
        )
    ]
    assert told(pptp_call(gre=gre, control=UP), at, tmp_path) == {"lcp-not-opened"}
