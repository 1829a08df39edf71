"""The initiator with an existing server, which tells nothing of what is in the tunnel: the profile says whom echo requests can go to.

Whoever of these answers first is asked from then on; where none does, the first is. A server that gets data and has nothing to say answers
with a keepalive after KEEPALIVE_S, which shows that data arrives though nobody behind it answers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.conversations.echo_pace import PacedRun
from vpnprobe.conversations.tunnel_echo import echo_request, read_echo
from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.conversations.wireguard_session import DATA_SIZES
from vpnprobe.errors import DecodeError
from vpnprobe.wire.icmp import EchoReply, EchoRequest
from vpnprobe.wire.wireguard import HandshakeResponse, TransportData
from vpnprobe.wire.wireguard_noise import Identity

RETRANSMIT_AFTER_S: Final = 1.0
"""Between two initiations: earlier than real clients, which have all day."""
LOOK_AGAIN_S: Final = 0.5
MOST_LOOKS: Final = 6
"""Echo requests to each address before the first one is taken without an answer."""
UNANSWERED_ECHOES: Final = 12
"""Echo requests of the run where nobody has answered: two of each size."""
MOST_OTHERS: Final = 64
"""Sessions of others whose messages are counted: the first."""
SMALL: Final = 64
"""Bytes of the packet that looks for somebody."""


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """What the profile says of the tunnel."""

    own: IPv4Address | None
    """This end's address; None: there is none of IPv4, and nobody is asked."""
    asked: Sequence[IPv4Address] = ()
    """Whom echo requests can go to, the likeliest first."""
    sizes: Sequence[int] = DATA_SIZES
    """Bytes of the outer IP packets that are tried, ascending; the last is the largest that the tunnel's MTU makes."""
    echoes: int = 12
    """Echo requests of the run."""


class WireguardClient(Initiator):
    """The client of a profile."""

    run: PacedRun

    def __init__(
        self, identity: Identity, settings: TunnelSettings, *, index: bytes, entropy: Callable[[int], bytes], unix_time_at_zero: float
    ) -> None:
        super().__init__(
            identity, index=index, entropy=entropy, unix_time_at_zero=unix_time_at_zero, echoes=0, retransmit_after_s=RETRANSMIT_AFTER_S
        )
        self.settings = settings
        self.from_peer = True
        """Whether what is received next comes from the server's address: whoever carries the datagrams says so."""
        self.response_unopened = False
        """Whether a response came that is for our public key and does not open: its maker has another preshared key."""
        self.found: IPv4Address | None = None
        """Who has answered; None: nobody yet."""
        self.begin_echoes(PacedRun(int.from_bytes(index[:2], "big"), settings.echoes if self.can_ask else 0, tuple(settings.sizes)))
        self._looked_at: list[float] = []
        """When it was looked for somebody: sequence numbers from 0 on."""
        self._look_due: float | None = None
        self._others: Counter[int] = Counter()
        """Data messages for sessions that are none of ours, by their index."""

    @property
    def up(self) -> bool:
        """Whether there are keys that are in use: the handshake of an earlier initiation, whose keys the server has left, makes none."""
        return self._in_use is not None

    @property
    def for_others(self) -> int:
        """Data messages that came for one other session, once ours was confirmed: the server has a newer one with the same key."""
        return max(self._others.values(), default=0)

    @property
    def authenticated(self) -> int:
        """Messages that only the server can have sent. Whoever knows its public key and sees an initiation can make a cookie for it."""
        return self.opened - self.cookies_received

    @property
    def can_ask(self) -> bool:
        return self.settings.own is not None and bool(self.settings.asked)

    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        own, asked = self.settings.own, self.settings.asked
        return (own, self.found or asked[0]) if own is not None and asked else None

    def next_timer(self) -> float | None:
        timers = (super().next_timer(), self._look_due)
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._look_due is not None and now >= self._look_due:
            self._look(now)
        super().handle_timer(now)

    def _send(self, payload: bytes, now: float, *, recorded: bool = True) -> str | None:
        """No trials but the run's own requests: nobody answers a keepalive, or an answer to a server that pings its clients."""
        echo = read_echo(payload)
        ours = echo is not None and isinstance(echo[1], EchoRequest) and echo[1].identifier == self.run.identifier
        return super()._send(payload, now, recorded=recorded and ours)

    def _data_came(self, message: TransportData, size: int, now: float) -> None:
        # What a middlebox sends back to us has the server's index; nobody but the server knows of its other sessions.
        index, ours = message.receiver_index, {i for one in self._keypairs for i in (one.session.local_index, one.session.remote_index)}
        is_others = self.data_received > 0 and self.from_peer and index not in ours
        if is_others and (index in self._others or len(self._others) < MOST_OTHERS):
            self._others[index] += 1
        super()._data_came(message, size, now)

    def _response_came(self, message: HandshakeResponse, size: int, now: float) -> None:
        try:
            super()._response_came(message, size, now)
        except DecodeError as error:
            self.response_unopened = self.response_unopened or error.field == "empty"
            raise

    def _came_up(self, now: float) -> None:
        """Looks for somebody first; a later handshake needs nothing but to be confirmed."""
        if self.can_ask and not self._looked_at:
            self._look(now)
        else:
            self._send(b"", now)

    def _may_ask(self, now: float) -> None:
        """Only once it is known whom."""

    def _look(self, now: float) -> None:
        """Asks everybody, or takes the first where nobody has answered. No trials: some of the addresses may be nobody's."""
        if len(self._looked_at) >= MOST_LOOKS:
            self.run.count = min(self.run.count, UNANSWERED_ECHOES)
            self._ask(now)
            return
        sequence = len(self._looked_at)
        self._looked_at.append(now)
        self._look_due = now + LOOK_AGAIN_S
        for address in self.settings.asked:
            assert self.settings.own is not None
            packet = echo_request(self.settings.own, address, identifier=self._looking, sequence=sequence, size=SMALL)
            self._send(packet, now)

    @property
    def _looking(self) -> int:
        """The identifier of such a request, another than the run's."""
        return self.run.identifier ^ 1

    def _ask(self, now: float) -> None:
        self._look_due = None
        self.run.begin(now)
        self.send_due_echo(now)

    def echo_came(self, payload: bytes, now: float) -> None:
        echo = read_echo(payload)
        if echo is not None and self._look_due is not None:
            packet, message = echo
            if isinstance(message, EchoReply) and message.identifier == self._looking and packet.source in self.settings.asked:
                self.found = packet.source
                if message.sequence < len(self._looked_at):
                    self.run.round_trip_s = now - self._looked_at[message.sequence]
                self._ask(now)
        super().echo_came(payload, now)
