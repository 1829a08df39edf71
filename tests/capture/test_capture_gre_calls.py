"""Calls of PPTP in captures: Call IDs, what LCP shows, GRE that goes one way or elsewhere, and what is proved to have come."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import written
from troubled import CLIENT, OTHER_ADDRESS, SERVER, At, OnWire, pptp_call, seen

from vpnprobe.capture.analysis import examine
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.ppp import ConfigureAck, ConfigureRequest, MagicNumber, lcp_frame
from vpnprobe.wire.pptp import OutgoingCallReply, OutgoingCallRequest, StartControlConnectionReply, StartControlConnectionRequest

CLIENTS, SERVERS = 323, 17
"""Call IDs as they are announced."""
UP = [
    (False, StartControlConnectionRequest().encode()),
    (True, StartControlConnectionReply(result_code=1).encode()),
    (False, OutgoingCallRequest(call_id=CLIENTS).encode()),
    (True, OutgoingCallReply(call_id=SERVERS, peer_call_id=CLIENTS, result_code=1).encode()),
]
Gre = tuple[bool, int, int, bytes]


def request(number: int) -> bytes:
    return lcp_frame(ConfigureRequest(number, (MagicNumber(number + 1),)))


def ack(number: int) -> bytes:
    return lcp_frame(ConfigureAck(number, (MagicNumber(number + 1),)))


def found(
    gre: Sequence[Gre], folder: Path, *, at: At = At.CLIENT, control: Sequence[tuple[bool, bytes]] = UP, server: IPv4Address = SERVER
) -> tuple[ConversationSummary, ...]:
    packets: list[OnWire] = pptp_call(gre=gre, control=control, server=server)
    held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in seen(packets, at)]
    examined, _ = examine(read_capture(written(folder, encode_pcap(held))))
    return diagnosed(examined.conversations, load_default())


def names(conversations: Sequence[ConversationSummary]) -> dict[str, str]:
    return {one.protocol: one.detail["diagnosis"]["name"] for one in conversations if "diagnosis" in one.detail}


BOTH: list[Gre] = [
    step
    for n in range(4)
    for step in (
        (False, SERVERS, n + 1, request(n)),
        (True, CLIENTS, n + 1, ack(n)),
        (True, CLIENTS, 5 + n, request(n)),
        (False, SERVERS, 5 + n, ack(n)),
    )
]


@pytest.mark.parametrize("at", list(At))
def test_a_call_that_works(at: At, tmp_path: Path) -> None:
    conversations = found(BOTH, tmp_path, at=at)
    assert names(conversations) == {}
    [gre] = [one for one in conversations if one.protocol == "gre"]
    assert gre.detail["lcp"] == "opened"
    assert gre.detail["proved_received"] == {"client": 4, "server": 4}
    assert gre.detail["call_ids"] == {"client": [SERVERS], "server": [CLIENTS]}


@pytest.mark.parametrize("at", list(At))
def test_a_call_id_that_was_rewritten_in_one_place_only(at: At, tmp_path: Path) -> None:
    """The client takes what comes for another call's: it goes on asking, and answers nothing."""
    gre: list[Gre] = [
        step
        for n in range(5)
        for step in ((False, SERVERS, n + 1, request(n)), (True, 61025, n + 1, ack(n)), (True, 61025, 5 + n, request(n)))
    ]
    conversations = found(gre, tmp_path, at=at)
    assert names(conversations) == {"pptp": "call-id-changed", "gre": "lcp-deaf"}
    [control] = [one for one in conversations if one.protocol == "pptp"]
    assert str(CLIENTS) in control.findings[0]
    assert "61025" in control.findings[0]


@pytest.mark.parametrize("at", list(At))
def test_gre_from_another_of_the_servers_addresses(at: At, tmp_path: Path) -> None:
    conversations = found(BOTH, tmp_path, at=at, server=OTHER_ADDRESS)
    assert names(conversations)["pptp"] == "gre-elsewhere"
    [control] = [one for one in conversations if one.protocol == "pptp"]
    assert str(OTHER_ADDRESS) in control.findings[0]


@pytest.mark.parametrize(("at", "name"), [(At.CLIENT, "gre-one-way"), (At.BETWEEN, "gre-one-way"), (At.SERVER, "gre-unanswered")])
def test_gre_of_the_client_alone(at: At, name: str, tmp_path: Path) -> None:
    conversations = found([(False, SERVERS, n + 1, request(n)) for n in range(5)], tmp_path, at=at)
    assert names(conversations)["pptp"] == name


@pytest.mark.parametrize("at", list(At))
def test_no_gre_at_all(at: At, tmp_path: Path) -> None:
    assert names(found([], tmp_path, at=at)) == {"pptp": "gre-absent"}


@pytest.mark.parametrize("at", list(At))
def test_an_end_whose_ppp_is_silent(at: At, tmp_path: Path) -> None:
    """It sends something, so that GRE goes both ways, and no LCP."""
    gre: list[Gre] = [
        step for n in range(5) for step in ((False, SERVERS, n + 1, request(n)), (True, CLIENTS, n + 1, b"\xff\x03\x00\x21" + bytes(20)))
    ]
    assert names(found(gre, tmp_path, at=at)) == {"gre": "lcp-silent"}


@pytest.mark.parametrize(("length", "name"), [(1, "sccrq-unanswered"), (3, "call-unanswered")])
def test_a_control_connection_that_stops(length: int, name: str, tmp_path: Path) -> None:
    assert names(found([], tmp_path, control=UP[:length])) == {"pptp": name}


def test_a_call_that_is_rejected(tmp_path: Path) -> None:
    busy = [*UP[:3], (True, OutgoingCallReply(call_id=SERVERS, peer_call_id=CLIENTS, result_code=4).encode())]
    assert names(found([], tmp_path, control=busy)) == {"pptp": "call-rejected"}


@pytest.mark.parametrize("length", [1, 3, 4])
def test_a_capture_that_ends_at_once_shows_nothing(length: int, tmp_path: Path) -> None:
    gre: list[Gre] = [(False, SERVERS, 1, request(1))] if length == len(UP) else []
    held = [
        Packet(data, 1.7e9 + moment, outgoing=False)
        for moment, data in seen(pptp_call(gre=gre, control=UP[:length], goes_on_s=0), At.CLIENT)
    ]
    examined, _ = examine(read_capture(written(tmp_path, encode_pcap(held))))
    assert names(diagnosed(examined.conversations, load_default())) == {}


def test_another_clients_gre_is_not_this_calls(tmp_path: Path) -> None:
    """Two clients of one server, one of which has GRE: the other one's does not go elsewhere, there is none."""
    other = IPv4Address("192.0.2.99")
    packets = seen(pptp_call(gre=BOTH, control=UP), At.SERVER)
    moved = [(at + 0.001, data.replace(CLIENT.packed, other.packed)) for at, data in seen(pptp_call(control=UP), At.SERVER)]
    held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in sorted([*packets, *moved])]
    examined, _ = examine(read_capture(written(tmp_path, encode_pcap(held))))
    told = diagnosed(examined.conversations, load_default())
    assert {(one.client.address, one.protocol): one.detail["diagnosis"]["name"] for one in told if "diagnosis" in one.detail} == {
        (str(other), "pptp"): "gre-absent"
    }


def test_gre_from_a_host_to_itself_breaks_nothing(tmp_path: Path) -> None:
    strange = OnWire(
        9.0, IPv4Packet(SERVER, SERVER, IpProtocol.GRE, 64, 0, EnhancedGre(CLIENTS, 1, None, request(1)).encode()).encode(), True, 0
    )
    held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in seen([*pptp_call(control=UP), strange], At.CLIENT)]
    examined, _ = examine(read_capture(written(tmp_path, encode_pcap(held))))
    assert names(diagnosed(examined.conversations, load_default())) == {"pptp": "gre-absent"}


def test_the_two_hosts_are_those_of_the_call() -> None:
    assert CLIENT != SERVER != OTHER_ADDRESS
