"""TTL-limited probes: copies of one kind of packet with TTLs 1, 2, 3, ..., matched to the routers' time-exceeded messages by their quotes.

Each copy has an IP identification of its own, which every quote carries (RFC 792: the IP header and 8 bytes). Copies are paced and
few: Linux routers answer about 6 in a burst and then one a second for each asker, and a hop that does not answer is no evidence of a
drop. The same tap ties ICMP errors to our packets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import ProbePacket
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Direction
from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, Quote, TimeExceeded, Unreachable, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

PACE_S: Final = 0.004
ROUNDS: Final = 2
"""Times that a hop is asked which has not answered."""
UNKNOWN_DISTANCE: Final = 16
HIGHEST_TTL: Final = 30
INITIAL_TTLS: Final = (64, 128, 255)

KINDS: Final = {
    Unreachable.PROTOCOL: RefusalKind.PROTOCOL_UNREACHABLE,
    Unreachable.PORT: RefusalKind.PORT_UNREACHABLE,
    Unreachable.NET_PROHIBITED: RefusalKind.PROHIBITED,
    Unreachable.HOST_PROHIBITED: RefusalKind.PROHIBITED,
    Unreachable.ADMINISTRATIVELY_PROHIBITED: RefusalKind.PROHIBITED,
}

OnUnreachable = Callable[[Quote, Address, RefusalKind], None]


@dataclass(slots=True)
class RunningTrace:
    """One trace under way."""

    check: Check
    direction: Direction
    hops: dict[int, str | None] = field(default_factory=dict)
    reached: int | None = None
    """Set by an echo reply; for other kinds the other end's record tells."""


class Copy(NamedTuple):
    """One TTL-limited packet that was sent."""

    trace: RunningTrace
    ttl: int
    destination: Address
    protocol: int


class IcmpTap:
    """One end's raw ICMP socket: answers to TTL-limited copies, and refusals of what was sent."""

    def __init__(self, stack: NetworkStack, on_unreachable: OnUnreachable) -> None:
        """Raises CannotRun without Capability.RAW_IP."""
        self.stack = stack
        self._on_unreachable = on_unreachable
        self._copies: dict[int, Copy] = {}
        """Those of traces under way, by IP identification."""
        self._identification = int.from_bytes(stack.entropy(2), "big")
        self._raw = stack.raw(1, self._came)

    def close(self) -> None:
        self._raw.close()

    def _came(self, datagram: Datagram) -> None:
        try:
            message = decode_icmp(datagram.data)
        except DecodeError:
            return
        match message:
            case TimeExceeded(quote=quote):
                self._answered(quote, str(datagram.source.address))
            case DestinationUnreachable(code=code, quote=quote):
                self._on_unreachable(quote, datagram.source.address, unreachable_kind(code))
            case EchoReply(sequence=sequence):
                self._echoed(sequence, datagram.source.address)
            case _:
                return

    def _answered(self, quote: Quote, address: str) -> None:
        copy = self._copies.get(quote.identification or 0)
        # Others on this host trace too: the identification alone is 16 bits that anybody may use.
        if copy is not None and (quote.destination, quote.protocol) == (copy.destination, copy.protocol):
            copy.trace.hops[copy.ttl] = copy.trace.hops.get(copy.ttl) or address

    def _echoed(self, sequence: int, source: Address) -> None:
        copy = self._copies.get(sequence)
        if copy is not None and source == copy.destination:
            copy.trace.reached = min(copy.ttl, copy.trace.reached or copy.ttl)

    def next_identification(self) -> int:
        """1 to 65535, each once in a long while."""
        self._identification = self._identification % 65535 + 1
        return self._identification

    async def step(
        self,
        recorder: Recorder,
        check: Check,
        direction: Direction,
        make: Callable[[int], ProbePacket],
        *,
        source: Address,
        destination: Address,
        highest_ttl: int,
        patience_s: float,
    ) -> TtlTrace:
        """Sends one copy for each TTL, and one more where nobody answered; `make(identification)` makes each copy with a fresh nonce."""
        trace = RunningTrace(check, direction)
        for round_number in range(ROUNDS):
            wanted = [ttl for ttl in range(1, highest_ttl + 1) if trace.hops.get(ttl) is None and ttl < (trace.reached or 999)]
            for ttl in wanted:
                self._send(recorder, trace, make, source, destination, ttl)
                await asyncio.sleep(PACE_S)
            await asyncio.sleep(patience_s if round_number == 0 else max(patience_s, 0.1))
        for identification in [number for number, copy in self._copies.items() if copy.trace is trace]:
            del self._copies[identification]
        return TtlTrace(check, direction, dict(sorted(trace.hops.items())), trace.reached)

    def _send(
        self, recorder: Recorder, trace: RunningTrace, make: Callable[[int], ProbePacket], source: Address, destination: Address, ttl: int
    ) -> None:
        identification = self.next_identification()
        probe_packet = make(identification)
        trace.hops.setdefault(ttl, None)
        self._copies[identification] = Copy(trace, ttl, destination, probe_packet.protocol)

        def send() -> bool:
            if source.version != 4 or destination.version != 4:
                return False
            packet = IPv4Packet(source, destination, probe_packet.protocol, ttl, identification, probe_packet.payload)
            return self.stack.send_packet(packet.encode())

        recorder.leaving(
            send,
            trace.check,
            probe_packet.key,
            message=probe_packet.message,
            size=len(probe_packet.payload),
            ttl=ttl,
            to=Endpoint(destination, 0),
            detail=probe_packet.detail,
        )


def check_of(quote: Quote, *, server_port: Callable[[int, int], int]) -> Check | None:
    """What a quoted packet of ours asked; `server_port(source, destination)` picks the server's. None: none of ours."""
    if quote.protocol == IpProtocol.GRE:
        enhanced = len(quote.first_bytes) > 1 and quote.first_bytes[1] & 7 == 1
        return checks.GRE_IN_CALL if enhanced else checks.GRE_BARE
    if quote.protocol == IpProtocol.ESP:
        return checks.ESP
    if quote.ports is None:
        return None
    port = server_port(*quote.ports)
    return checks.udp_reach(port) if quote.protocol == IpProtocol.UDP else checks.tcp_reach(port)


def unreachable_kind(code: int) -> RefusalKind:
    """What a destination-unreachable code says (RFC 792, RFC 1812 section 5.2.7.1)."""
    return next((kind for known, kind in KINDS.items() if known == code), RefusalKind.UNREACHABLE)


def distance(record: EndRecord) -> int:
    """Hops to the sender of what this end received, from the TTL that was left; UNKNOWN_DISTANCE where no TTL is known."""
    left = [s.ttl for s in record.packet_records if s.movement is Movement.RECEIVED and s.ttl]
    if not left:
        return UNKNOWN_DISTANCE
    initial = next(ttl for ttl in INITIAL_TTLS if ttl >= max(left))
    return min(HIGHEST_TTL, initial - max(left) + 1)


def with_reach(trace: TtlTrace, sender: EndRecord, receiver: EndRecord) -> TtlTrace:
    """The trace with the lowest TTL that the receiving end's record shows to have arrived."""
    ttls = {s.key: s.ttl for s in sender.packet_records if s.ttl_limited and s.check == trace.check and s.ttl is not None}
    came = [ttls[s.key] for s in receiver.packet_records if s.movement is Movement.RECEIVED and s.key in ttls]
    reached = [ttl for ttl in [*came, trace.reached] if ttl is not None]
    return TtlTrace(trace.check, trace.direction, trace.hops, min(reached, default=None))
