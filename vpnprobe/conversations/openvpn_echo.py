"""Echo requests through an OpenVPN tunnel: an end of a session that sends and answers them (`vpnprobe.conversations.tunnel_echo`)."""

from collections.abc import Sequence

from vpnprobe.conversations.openvpn_session import SessionEnd
from vpnprobe.conversations.tunnel_echo import (
    OUTER_SIZES,
    STREAM_SIZES,
    STREAM_TURNS,
    TCP_CARRIER_BYTES,
    UDP_CARRIER_BYTES,
    EchoRun,
    TunnelEcho,
)


class EchoingEnd(SessionEnd, TunnelEcho):
    """An end that sends echo requests through the tunnel, and answers the peer's."""

    def echo_run(self, count: int) -> EchoRun:
        """As many requests, told from other sessions' by this one's ID. Over TCP their order is that ID's as well, where nobody sets it."""
        identifier = int.from_bytes(self.session_id[:2], "big")
        if not self.stream:
            return EchoRun(identifier, count, OUTER_SIZES)
        return EchoRun(identifier, count, STREAM_SIZES, turn=STREAM_TURNS[self.session_id[-1] % len(STREAM_TURNS)])

    @property
    def answered(self) -> bool:
        """Whether the other end's reset was read; a client's, whether it acknowledged ours."""
        return self.remote_session_id is not None

    @property
    def failed(self) -> bool:
        return self.failure is not None

    def room(self, outer_bytes: int) -> int | None:
        if self.channel is None:
            return None
        carrier = TCP_CARRIER_BYTES if self.stream else UDP_CARRIER_BYTES
        return outer_bytes - self.channel.overhead - self.framing.overhead - carrier

    def _own_timers(self) -> Sequence[float | None]:
        return (self.run.due,)

    def _on_timer(self, now: float) -> None:
        self.send_due_echo(now)

    def _answers(self, payload: bytes) -> str | None:
        return self.answered_by(payload)

    def _payload_came(self, payload: bytes, now: float) -> None:
        self.echo_came(payload, now)
