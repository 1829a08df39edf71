"""UDP in captures: our own payloads, and the VPN protocols by port and form."""

from collections.abc import Iterable

from vpnprobe.capture.followers.base import CapturedMessage, captured
from vpnprobe.capture.followers.ike import IkeFollower
from vpnprobe.capture.followers.ipsec import IpsecFollower
from vpnprobe.capture.followers.l2tp import L2tpFollower
from vpnprobe.capture.followers.openvpn import UdpFollower as OpenvpnFollower
from vpnprobe.capture.followers.wireguard import WireguardFollower
from vpnprobe.capture.frames import Frame
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire import isakmp, l2tp
from vpnprobe.wire.isakmp import UdpEncapsulated, unwrap
from vpnprobe.wire.nonce import ANSWER, MAGIC, SHORTEST


class UdpFollower:
    """All UDP of a capture."""

    def __init__(self, ipsec: IpsecFollower) -> None:
        self._ipsec = ipsec
        self._ike = IkeFollower()
        self._l2tp = L2tpFollower()
        self._openvpn = OpenvpnFollower()
        self._wireguard = WireguardFollower()

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        datagram = frame.udp
        if datagram is None:
            return ()
        payload, ports = datagram.payload, frame.ports
        if payload.startswith(MAGIC) and (ours := identify.nonce(udp_reach(0), payload)) is not None:
            number = int.from_bytes(payload[6:SHORTEST], "big")
            from_client = False if number & ANSWER else None
            return (captured(frame, udp_reach, ours.key, ours.message, from_client=from_client, own=True, purpose=ours.purpose),)
        if isakmp.NAT_T_PORT in ports:
            return self._port_4500(frame, payload)
        if isakmp.PORT in ports:
            return self._ike.take(frame, payload)
        if l2tp.PORT in ports:
            return self._l2tp.take(frame, payload)
        if not payload or self._wireguard.take(frame, payload, len(payload) + datagram.missing):
            return ()
        return self._openvpn.take(frame, payload)

    def _port_4500(self, frame: Frame, payload: bytes) -> Iterable[CapturedMessage]:
        try:
            kind, message = unwrap(payload)
        except DecodeError:
            return ()
        match kind:
            case UdpEncapsulated.IKE:
                return self._ike.take(frame, message)
            case UdpEncapsulated.ESP:
                return self._ipsec.take_udp(frame, message)
            case UdpEncapsulated.NAT_KEEPALIVE:
                return ()

    def summaries(self) -> Iterable[ConversationSummary]:
        for follower in (self._ike, self._l2tp, self._openvpn, self._wireguard):
            yield from follower.summaries()
