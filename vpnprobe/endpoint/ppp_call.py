"""GRE inside one PPTP call, at either end: LCP in enhanced GRE with the Call IDs that the control connection agreed on.

Both ends run this same code: they send Configure-Requests, each with a fresh Magic-Number (so each is a trial of its own), and
acknowledge the other's. RFC 2637 section 4, RFC 1661 section 5.
"""

from typing import Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.lcp import LcpEnd
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify
from vpnprobe.transports.stack import Address, Datagram, Endpoint, RawPort
from vpnprobe.wire.gre import EnhancedGre

CARRIER_BYTES: Final = 32
"""IPv4's header and that of enhanced GRE with a sequence number."""


class Call:
    """One end of one call's GRE."""

    def __init__(self, recorder: Recorder, raw: RawPort, peer: Address, own: Sender, *, call_id: int, peer_call_id: int) -> None:
        self.recorder = recorder
        self.raw = raw
        self.peer = peer
        self.call_id = call_id
        """Ours: what GRE towards us carries."""
        self.peer_call_id = peer_call_id
        """The other end's: what GRE from us carries."""
        self.heard = False
        """Whether any GRE of the call has come from the other end."""
        self.acknowledged = False
        """Whether the other end has answered a Configure-Request of ours."""
        self._requested: set[str] = set()
        self._lcp = LcpEnd(own)
        self._sequence = 0
        self._identifier = 0

    def _wrap(self, frame: bytes) -> EnhancedGre:
        packet = EnhancedGre(self.peer_call_id, self._sequence, None, frame)
        self._sequence += 1
        return packet

    def _send(self, packet: EnhancedGre) -> None:
        data = packet.encode()
        at, left = self.recorder.stack.now(), self.raw.send(data, self.peer)
        to = Endpoint(self.peer, 0)
        for i in identify.in_call(packet):
            if left:
                self.recorder.sent(i.check, i.key, message=i.message, size=len(data), to=to, detail=i.detail, at=at)
            else:
                self.recorder.withheld[i.check] += 1

    def fresh(self, outer_bytes: int = 0) -> EnhancedGre:
        """A Configure-Request with a Magic-Number that was never used before.

        `outer_bytes`: of the IP packet, to which it is padded; 0: as it is. Padding is ignored (RFC 1661 section 5).
        """
        stack = self.recorder.stack
        magic = int.from_bytes(stack.entropy(4), "big") | 1
        self._identifier = self._identifier % 255 + 1
        self._requested.add(f"{magic:08x}")
        frame = self._lcp.request(magic=magic, identifier=self._identifier, now=stack.now())
        return self._wrap(frame.ljust(outer_bytes - CARRIER_BYTES, b"\0"))

    def request(self, outer_bytes: int = 0) -> None:
        """Sends one."""
        self._send(self.fresh(outer_bytes))

    def received(self, datagram: Datagram) -> bool:
        """Takes a GRE packet from the peer; returns whether it belongs to this call."""
        try:
            packet = EnhancedGre.decode(datagram.data)
        except DecodeError:
            return False
        if packet.call_id != self.call_id:
            return False
        self.heard = True
        identities = identify.in_call(packet)
        self.acknowledged |= any(i.message in identify.LCP_ANSWERS and i.key in self._requested for i in identities)
        self.recorder.arrived(identities, datagram)
        self._lcp.receive(packet.payload, self.recorder.stack.now())
        for frame in self._lcp.data_to_send(self.recorder.stack.now()):
            self._send(self._wrap(frame))
        return True
