"""What the agent's own packets have opened: flows without ports, which firewalls and NATs remember for minutes after a run.

A client's GRE and ESP go first (`vpnprobe.probes.order`). Where they come to nothing and pass once the server has spoken, they pass at the
beginning of the next run too, as long as that is remembered. So each client is told what was opened towards its address, and how long ago.
"""

from typing import Final

from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Address

REMEMBERED_S: Final = 600.0
"""After the last packet: Linux's time-out of what has no ports; that of GRE is shorter."""
MOST: Final = 1024
"""Flows that are kept; the oldest goes first."""


class OpenedFlows:
    """Of one server agent, by the client's address and the protocol: all its packets between two addresses are one flow."""

    def __init__(self) -> None:
        self._last: dict[tuple[Address, Transport], float] = {}

    def passed(self, address: Address, protocol: Transport, now: float, *, opened: bool) -> None:
        """A packet went either way. `opened`: none of the client's had come before the server's own."""
        flow = (address, protocol)
        if opened or self._age_s(flow, now) is not None:
            self._last.pop(flow, None)
            self._last[flow] = now
            if len(self._last) > MOST:
                self._last.pop(next(iter(self._last)))

    def towards(self, address: Address, now: float) -> list[tuple[Transport, float]]:
        """What may still be open, each with the seconds since its last packet."""
        ages = ((protocol, self._age_s((to, protocol), now)) for to, protocol in self._last if to == address)
        return [(protocol, age_s) for protocol, age_s in ages if age_s is not None]

    def _age_s(self, flow: tuple[Address, Transport], now: float) -> float | None:
        last = self._last.get(flow)
        return now - last if last is not None and now - last <= REMEMBERED_S else None
