"""UDP in captures: payloads of a vpnprobe run, and the datagrams that followers of VPN protocols know for their own."""

from collections.abc import Iterable, Sequence

from vpnprobe.capture.followers.base import CapturedMessage, PacketFollower, captured
from vpnprobe.capture.frames import Frame
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.wire.nonce import ANSWER, MAGIC, SHORTEST


class UdpFollower:
    """All UDP of a capture.

    `of_port`: followers by the ports that they live on, who are asked before others. `of_any_port`: those who know their datagrams by form.
    `first`: those among them whose form is so much their own that they are asked before all.
    """

    def __init__(
        self, of_port: dict[int, list[PacketFollower]], of_any_port: Sequence[PacketFollower], first: Sequence[PacketFollower] = ()
    ) -> None:
        self._of_port = of_port
        self._of_any_port = of_any_port
        self._first = first

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        datagram = frame.udp
        if datagram is None:
            return ()
        if not datagram.payload:
            return self._unseen(frame, datagram.missing) if datagram.missing else ()
        payload = datagram.payload
        if payload.startswith(MAGIC) and (ours := identify.nonce(udp_reach(0), payload)) is not None:
            number = int.from_bytes(payload[6:SHORTEST], "big")
            from_client = False if number & ANSWER else None
            return (captured(frame, udp_reach, ours.key, ours.message, from_client=from_client, own=True, purpose=ours.purpose),)
        length = len(payload) + datagram.missing
        for follower in self._followers(frame):
            found = follower.take_datagram(frame, payload, length)
            if found is not None:
                return found
        return ()

    def _unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        """What those whose port it is on, and all that may be on any, make of its size."""
        return (found for follower in self._followers(frame) for found in follower.take_unseen(frame, length))

    def _followers(self, frame: Frame) -> Sequence[PacketFollower]:
        own = [follower for port in frame.ports if port is not None for follower in self._of_port.get(port, ())]
        # One that has both ports, or is of any port too, is asked once.
        return tuple(dict.fromkeys((*self._first, *own, *self._of_any_port))) if own else self._of_any_port
