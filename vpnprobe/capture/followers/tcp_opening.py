"""How a TCP connection to a protocol's own port came up, or why it did not (RFC 9293 section 3.5), where no data of it was seen."""

from vpnprobe.capture.account import FRAMES_TOLD, SINCE, Fact
from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import TcpFlag, TcpSegment


class Opening:
    """The segments of one connection that open it."""

    def __init__(self) -> None:
        self._syns: list[int] = []
        self._syn_acks: list[int] = []
        self._syn_count = self._syn_ack_count = 0
        self._syn_at = 0.0
        self._went_on = False
        """Whether the client said anything after the first SYN-ACK."""
        self._refused: list[int] = []

    def take(self, frame: Frame, segment: TcpSegment, *, from_opener: bool) -> None:
        """One segment, in the order of the capture."""
        syn = segment.has(TcpFlag.SYN)
        if segment.has(TcpFlag.RST):
            if not from_opener and not self._went_on:
                self._refused = [*self._refused, frame.number][:FRAMES_TOLD]
        elif syn and segment.has(TcpFlag.ACK):
            self._syn_ack_count += 1
            self._syn_acks = [*self._syn_acks, frame.number][:FRAMES_TOLD]
        elif syn:
            self._syn_count += 1
            self._syn_at = max(self._syn_at, frame.at)
            self._syns = [*self._syns, frame.number][:FRAMES_TOLD]
        elif from_opener:
            self._went_on = True

    @property
    def stage(self) -> str:
        """`syn-refused`, `syn-unanswered`, `syn-ack-repeated` or `connected`."""
        if self._refused and not self._syn_ack_count:
            return "syn-refused"
        if not self._syn_ack_count and not self._went_on:
            return "syn-unanswered"
        return "connected" if self._went_on or self._syn_ack_count <= 1 else "syn-ack-repeated"

    def facts(self, server: str) -> list[Fact]:
        """What stopped it."""
        ends = {"by": "client", "to": "server"}
        match self.stage:
            case "syn-refused":
                return [{"fact": "reset", **ends, "message": "TCP", "source": server, "times": len(self._refused), "frames": self._refused}]
            case "syn-unanswered":
                return [
                    {
                        "fact": "syn-unanswered",
                        **ends,
                        "message": "SYN",
                        "times": self._syn_count,
                        "frames": self._syns,
                        SINCE: self._syn_at,
                    }
                ]
            case "syn-ack-repeated":
                ends = {"by": "server", "to": "client"}
                return [{"fact": "syn-ack-repeated", **ends, "message": "SYN-ACK", "times": self._syn_ack_count, "frames": self._syn_acks}]
        return []
