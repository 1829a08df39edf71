"""The data half of a client's end: echo requests in the framing and on the device of its tunnel, and what asks OpenVPN itself.

A tunnel of Ethernet frames (`dev tap`) has a `Station`, which has to learn who the gateway is before echo requests can go there. Where no
echo request is answered, OpenVPN at the other end is asked for its options string, which it answers though no host behind it does: in the
tunnel's own framing, and then in the others, one of which a server understands that frames otherwise.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

from vpnprobe.conversations.openvpn_echo import EchoingEnd
from vpnprobe.conversations.openvpn_ethernet import Station
from vpnprobe.conversations.openvpn_tunnel import Device, TunnelSettings
from vpnprobe.wire.ethernet import HEADER
from vpnprobe.wire.openvpn_data import OPTIONS_REQUEST
from vpnprobe.wire.openvpn_framing import FRAMINGS, Framing

ASK_OPTIONS_AFTER_S: Final = 0.5
"""After the last echo request, and between two requests for options."""
MOST_OPTIONS_REQUESTS: Final = 3
LARGEST_FRAGMENT: Final = 1500
"""Bytes; what is asked fits into one packet."""


class TunnelClient(EchoingEnd):
    """What a client knows and does of its tunnel once it has keys."""

    tunnel: TunnelSettings
    """The profile's own, with what the server pushes of it."""
    station: Station | None = None
    """Who we are in the Ethernet that the tunnel carries; None: it carries IP packets, or is not there yet."""
    asks_options: bool = False
    """Whether OpenVPN itself is asked where nobody answers echo requests: a real server answers."""
    options_requests: int = 0
    """That were sent because no echo request was answered."""
    _options_due: float | None = None

    def use_tunnel(self, tunnel: TunnelSettings) -> None:
        """From now on packets go through the tunnel so."""
        self.tunnel, self.framing = tunnel, Framing(tunnel.compression, tunnel.fragment)

    def begin_data(self, now: float) -> None:
        """The tunnel has keys and addresses; nothing is sent where the server has told none of its own."""
        ends = self.tunnel_ends()
        if ends is None:
            return
        if self.tunnel.device is Device.TAP:
            self.station = Station(*ends, self._entropy(5))
            self.station.begin(now)
        else:
            self.run.begin(now)

    def _own_timers(self) -> Sequence[float | None]:
        return (self.station.due if self.station is not None else None, self._options_due, *super()._own_timers())

    def _on_timer(self, now: float) -> None:
        if self.station is not None:
            self._ask_for_gateway(self.station, now)
        super()._on_timer(now)
        self._ask_for_options(now)

    def _ask_for_gateway(self, station: Station, now: float) -> None:
        question = station.question(now)
        if question is not None:
            self.send_payload(question, now)
        elif station.given_up and not self.run.begun:
            self.run.begin(now)  # What nobody answers for is asked all the same, so that all sessions end alike.

    def carry(self, packet: bytes, now: float) -> str | None:
        return self.send_payload(packet if self.station is None else self.station.framed(packet), now)

    def room(self, outer_bytes: int) -> int | None:
        bytes_left = super().room(outer_bytes)
        return bytes_left if bytes_left is None or self.station is None else bytes_left - HEADER

    def _answers(self, payload: bytes) -> str | None:
        return self.answered_by(payload if self.station is None else payload[HEADER:])

    def _payload_came(self, payload: bytes, now: float) -> None:
        if self.station is None:
            super()._payload_came(payload, now)
            return
        packet, answer = self.station.take(payload)
        if answer is not None:
            self.send_payload(answer, now)
        if packet is not None:
            super()._payload_came(packet, now)
        if self.station.gateway_hardware is not None and not self.run.begun:
            self.run.begin(now)

    def _ask_for_options(self, now: float) -> None:
        """Where no echo request is answered, OpenVPN itself is asked, which answers for no host behind it: data goes both ways then."""
        if not self.asks_options or not self.run.all_sent or not self.run.count:
            return
        some = any(request.answered_at is not None for request in self.run.requests.values())
        if some or self.options_replies or self.options_requests == MOST_OPTIONS_REQUESTS:
            self._options_due = None
        elif self._options_due is None:
            self._options_due = now + ASK_OPTIONS_AFTER_S
        elif now >= self._options_due:
            self.options_requests += 1
            self._options_due = now + ASK_OPTIONS_AFTER_S
            self.send_payload(OPTIONS_REQUEST, now)
            if self.options_requests > 1:
                # Who frames otherwise understands one of these, and answers in its own framing (`framing_seen`).
                self.in_other_framings(OPTIONS_REQUEST, now)

    def in_other_framings(self, message: bytes, now: float) -> None:
        """Sends a message of OpenVPN's own in all framings but the tunnel's."""
        own = self.framing
        for compression, fragment in product(FRAMINGS, (None, LARGEST_FRAGMENT)):
            if (compression, fragment is None) != (own.compression, own.fragment is None):
                self.framing = Framing(compression, fragment)
                self.send_payload(message, now)
        self.framing = own
