"""The list of followers: what goes through it names no protocol, and each packet is offered in its order."""

import re
from pathlib import Path

import pytest
from capture_packets import decoded, frames, udp

import vpnprobe.capture
from vpnprobe.capture.ends import SERVICE_PORTS, TRANSPORTS
from vpnprobe.capture.followers.base import PacketFollower
from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.capture.followers.udp import UdpFollower
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations import ikev2
from vpnprobe.wire import l2tp
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable
from vpnprobe.wire.wireguard import HandshakeInitiation

FOLDER = Path(vpnprobe.capture.__file__).parent
GENERIC = [
    *("analysis", "background", "data_records", "decode", "ends", "frames", "host_firewall", "placing", "reading", "streams"),
    *("followers/base", "followers/tcp", "followers/udp"),
]
PROTOCOLS = re.compile(r"openvpn|pptp|l2tp|\bike|isakmp|wireguard|\bgre\b|\besp\b|\blcp\b", re.IGNORECASE)
INITIATION = HandshakeInitiation(1, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)).encode()
RESET = HardResetClientV2.plain(bytes(range(8)), Reliable()).encode()


@pytest.mark.parametrize("name", GENERIC)
def test_a_generic_file_names_no_protocol(name: str) -> None:
    assert PROTOCOLS.findall((FOLDER / f"{name}.py").read_text("utf-8")) == []


def test_every_entry_says_how_its_packets_come_to_it() -> None:
    for spec in FOLLOWERS:
        assert (spec.packets is not None) == bool(spec.ip_protocols or spec.udp_ports or spec.any_udp_port)
        assert spec.stream is not None or not spec.tcp_ports
    owned = [number for spec in FOLLOWERS for number in spec.ip_protocols]
    assert len(set(owned)) == len(owned)


def test_ports_and_protocols_of_the_list_show_where_the_server_is() -> None:
    assert {1723, 1701, 500, 4500, 1194, 51820} <= SERVICE_PORTS
    assert {IpProtocol.TCP, IpProtocol.UDP, IpProtocol.GRE, IpProtocol.ESP, IpProtocol.AH} == TRANSPORTS


def ike_request() -> bytes:
    initiator = ikev2.Initiator(entropy=bytes(range(1, 1 + ikev2.ENTROPY_BYTES % 255)) + bytes(ikev2.ENTROPY_BYTES))
    initiator.start(0.0)
    return bytes(initiator.data_to_send(0.0)[0])


def l2tp_request() -> bytes:
    return l2tp.StartControlConnectionRequest(0, 0, 0, 0, l2tp.tunnel_avps(host_name=b"x", assigned_tunnel_id=5)).encode()


@pytest.mark.parametrize(
    ("payload", "port", "protocol"),
    [
        (ike_request(), 500, "ikev2"),
        (bytes(4) + ike_request(), 4500, "ikev2"),
        (b"\x12\x34\x56\x78\0\0\0\1" + bytes(24), 4500, "esp-udp"),
        (l2tp_request(), 1701, "l2tp"),
        (INITIATION, 51820, "wireguard"),
        (INITIATION, 500, "wireguard"),
        (INITIATION, 1701, "wireguard"),
        (INITIATION, 4500, "wireguard"),
        (RESET, 1194, "openvpn-udp"),
        (RESET, 500, "openvpn-udp"),
        (RESET, 1701, "openvpn-udp"),
    ],
)
def test_a_datagram_is_its_ports_or_else_known_by_its_form(payload: bytes, port: int, protocol: str) -> None:
    assert [summary.protocol for summary in decoded([udp(payload, 5000, port)]).conversations()] == [protocol]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\1\0\0\0", bytes(8), b"\xc8"])
@pytest.mark.parametrize("port", [500, 4500, 1701, 1194, 53])
def test_what_nobody_knows_is_no_conversation(payload: bytes, port: int) -> None:
    assert decoded([udp(payload, 5000, port)]).conversations() == []


class Counting(PacketFollower):
    """Knows no datagram, and counts how often it is asked."""

    asked = 0

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> None:
        self.asked += 1


@pytest.mark.parametrize("ports", [(500, 4500), (500, 500), (4500, 40000), (40000, 40001)])
def test_each_follower_is_asked_once_about_a_datagram(ports: tuple[int, int]) -> None:
    both_ports, first, last = Counting(), Counting(), Counting()
    follower = UdpFollower({500: [both_ports], 4500: [both_ports, last]}, (first, last), (first,))
    (frame,) = frames([udp(RESET, *ports)])
    assert list(follower.take(frame)) == []
    assert [one.asked for one in (both_ports, first, last)] == [int(ports[0] != 40000), 1, 1]
