"""The data half of a client: framings and fragments both ways, a tunnel of Ethernet frames, and OpenVPN asked in place of mute hosts."""

from ipaddress import IPv4Address

import pytest
from openvpn_support import Pair, SayingServer, make_pair, saying

from vpnprobe.conversations.openvpn_ends import SERVER_TUNNEL, ClientOffer, Device, TunnelSettings
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_tunnel_client import MOST_OPTIONS_REQUESTS
from vpnprobe.wire.ethernet import Arp, EthernetFrame, EtherType, Operation
from vpnprobe.wire.openvpn_data import OPTIONS_REPLY, OPTIONS_REQUEST, PING, Compression
from vpnprobe.wire.openvpn_framing import Framing

PUSHED = b"PUSH_REPLY,route-gateway 10.255.238.1,ifconfig 10.255.238.2 255.255.255.0,peer-id 7,cipher AES-256-GCM\0"
ROUTER = bytes.fromhex("0a0b0c0d0e0f")


class AnsweringServer(SayingServer):
    """Answers requests for options, and in a tunnel of frames for its own address; `mute`: no echo request."""

    mute = False
    ethernet = False
    answers_options = True

    def _payload_came(self, payload: bytes, now: float) -> None:
        if payload == OPTIONS_REQUEST:
            if self.answers_options:
                self.send_payload(OPTIONS_REPLY + b"V4,dev-type tun\0", now)
        elif self.ethernet:
            self._frame_came(EthernetFrame.decode(payload), now)
        elif not self.mute:
            super()._payload_came(payload, now)

    def _frame_came(self, frame: EthernetFrame, now: float) -> None:
        self.client_hardware = frame.source
        if frame.ethertype == EtherType.ARP:
            asked = Arp.decode(frame.payload)
            answer = Arp(Operation.REPLY, ROUTER, SERVER_TUNNEL, asked.sender, asked.sender_ip)
            own = Arp(Operation.REQUEST, ROUTER, SERVER_TUNNEL, bytes(6), asked.sender_ip)
            for arp in (answer, own):
                self.send_payload(EthernetFrame(frame.source, ROUTER, EtherType.ARP, arp.encode()).encode(), now)
        elif not self.mute:
            super()._payload_came(frame.payload, now)

    def carry(self, packet: bytes, now: float) -> str | None:
        framed = EthernetFrame(self.client_hardware, ROUTER, EtherType.IPV4, packet).encode() if self.ethernet else packet
        return self.send_payload(framed, now)


def begun(tunnel: TunnelSettings, framing: Framing | None = None, *, mute: bool = False, asks: bool = True) -> Pair:
    """A pair whose client has these settings and whose server frames so; not run yet."""
    pair = make_pair(offer=ClientOffer(tunnel=tunnel, asks_options=asks), server_kind=AnsweringServer)
    server = pair.server
    assert isinstance(server, AnsweringServer)
    server.says, server.mute, server.ethernet = PUSHED, mute, tunnel.device is Device.TAP
    server.framing = framing or Framing(tunnel.compression, tunnel.fragment)
    server.run.count = 0
    return pair


@pytest.mark.parametrize("device", list(Device))
@pytest.mark.parametrize("fragment", [None, 1200, 300])
@pytest.mark.parametrize("compression", list(Compression))
def test_data_passes_where_both_ends_agree(compression: Compression, fragment: int | None, device: Device) -> None:
    pair = begun(TunnelSettings(device=device, compression=compression, fragment=fragment)).complete()
    assert pair.client.run.all_answered
    assert pair.client.options_requests == 0
    assert max(len(data) for _, data in pair.sent if data[0] >> 3 == 9) <= (fragment or 1464)


def test_a_station_that_nobody_answers_asks_all_the_same() -> None:
    pair = begun(TunnelSettings(device=Device.TAP))
    assert isinstance(pair.server, AnsweringServer)
    pair.server.ethernet, pair.server.mute = False, True
    pair.complete()
    assert pair.client.station is not None
    assert pair.client.station.given_up
    assert pair.client.run.all_sent
    assert not any(request.answered_at for request in pair.client.run.requests.values())
    assert pair.client.options_replies == 1


def test_openvpn_itself_is_asked_where_hosts_are_mute() -> None:
    pair = begun(TunnelSettings(), mute=True).complete()
    assert (pair.client.options_requests, pair.client.options_replies) == (1, 1)
    assert pair.client.stage is Stage.DATA
    silent = begun(TunnelSettings(), mute=True, asks=False).complete()
    assert (silent.client.options_requests, silent.client.options_replies) == (0, 0)


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        (TunnelSettings(), Framing(Compression.LZO_NO)),
        (TunnelSettings(compression=Compression.LZO_NO), Framing(Compression.STUB)),
        (TunnelSettings(compression=Compression.LZO_NO), Framing()),
        (TunnelSettings(fragment=1300), Framing()),
        (TunnelSettings(), Framing(Compression.STUB, 1300)),
    ],
)
def test_a_server_that_frames_otherwise_shows_how(own: TunnelSettings, theirs: Framing) -> None:
    pair = begun(own, theirs, mute=True).complete()
    assert pair.client.framing_seen == (theirs.compression, theirs.fragment is not None)
    assert pair.client.framing == Framing(own.compression, own.fragment, pair.client.framing._number)


def test_nothing_is_asked_before_it_is_due() -> None:
    pair = begun(TunnelSettings(), mute=True).start()
    pair.run(until=lambda: pair.client.run.all_sent)
    pair.client.handle_timer(pair.now)
    pair.client.handle_timer(pair.now)
    assert pair.client.options_requests == 0


def test_after_so_many_requests_nothing_is_asked_any_more() -> None:
    pair = begun(TunnelSettings(), mute=True)
    assert isinstance(pair.server, AnsweringServer)
    pair.server.answers_options = False
    pair.complete()
    assert (pair.client.options_requests, pair.client.options_replies) == (MOST_OPTIONS_REQUESTS, 0)
    assert pair.client.next_timer() is None


def test_without_an_address_nothing_begins() -> None:
    pair = saying(says=b"PUSH_REPLY,cipher AES-256-GCM\0", offer=ClientOffer(tunnel=TunnelSettings(device=Device.TAP)))
    assert pair.client.station is None
    assert not pair.client.run.begun


def test_a_push_that_may_not_be() -> None:
    pair = saying(says=PUSHED.rstrip(b"\0") + b",comp-lzo yes\0")
    assert pair.client.failure == Failure(FailureCode.PUSH_REFUSED, "comp-lzo yes")
    allowed = saying(says=PUSHED.rstrip(b"\0") + b",comp-lzo yes\0", offer=ClientOffer(tunnel=TunnelSettings(may_compress=True)))
    assert allowed.client.failure is None
    assert allowed.client.framing.compression is Compression.LZO_NO


def test_other_frames_change_nothing() -> None:
    pair = begun(TunnelSettings(device=Device.TAP)).complete()
    before = pair.client.requests_answered
    for frame in (b"short", EthernetFrame(ROUTER, ROUTER, 0x86DD, b"x").encode(), PING):
        pair.server.send_payload(frame, pair.now)
    pair.run()
    assert pair.client.requests_answered == before
    assert pair.client.station is not None
    assert pair.client.station.own == IPv4Address("10.255.238.2")
