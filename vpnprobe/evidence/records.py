"""What goes into a judgement: each end's record, and what is known of the path besides packets.

`EndRecord` is one end's word. `PathFacts` holds what only a live run knows (who listens, the control channel's own loss, the address that
the server saw) and what the TTL-limited copies found. Plain data, so that both can cross the control channel and be filled from captures.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from vpnprobe.evidence.checks import answering_port, is_existing
from vpnprobe.evidence.decoy_streams import DecoyStream
from vpnprobe.evidence.lateness import Lateness
from vpnprobe.evidence.named_failures import NamedFailure
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord
from vpnprobe.evidence.rates import RateLimit
from vpnprobe.evidence.statistics import ERROR_BOUND, Background
from vpnprobe.evidence.taken import NOTHING_TAKEN, TakenPackets
from vpnprobe.firewall.mending import Kept, Mends
from vpnprobe.observations.schema import Direction, Transport


class PortState(StrEnum):
    """Who is behind a port of the server."""

    OURS = "ours"
    """The server agent's responder."""
    DAEMON = "daemon"
    """Another program has it: it is probed as it is."""
    CLOSED = "closed"
    """The server agent could not open it (no privilege)."""
    UNKNOWN = "unknown"
    """No server agent, or a capture."""


class RefusalKind(StrEnum):
    RST = "rst"
    PORT_UNREACHABLE = "port-unreachable"
    PROTOCOL_UNREACHABLE = "protocol-unreachable"
    PROHIBITED = "prohibited"
    """ICMP destination unreachable, codes 9, 10, 13."""
    UNREACHABLE = "unreachable"
    """Any other ICMP destination unreachable."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An RST or an ICMP error that is tied to a packet of ours, by its quote or by the connection that it belongs to."""

    check: Check
    direction: Direction
    """Of the packet that was refused."""
    kind: RefusalKind
    by: str | None
    """Address that the refusal came from; None: the kernel did not tell."""
    key: str = ""
    at: float = field(default=0.0, compare=False)
    """Seconds on that end's clock, as in packet records; 0: not told."""


@dataclass(frozen=True, slots=True)
class EndRecord:
    """One end's word on what left it and what came."""

    packet_records: tuple[PacketRecord, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    recorded: bool = True
    """False: there is no record of this end (no agent, or it was lost), so its silence says nothing."""
    sees_closed_ports: bool = False
    """It records from the wire, so it sees what comes for ports that are not its own."""
    dropped_on_input: frozenset[Check] = frozenset()
    """Checks whose packets reached this host's wire and never its agent's socket: its own firewall keeps them."""
    dropped_on_output: frozenset[Check] = frozenset()
    """Checks whose packets its agent sent and its own wire never showed: its own firewall keeps them."""
    taken: TakenPackets = NOTHING_TAKEN
    """What its own firewall took, though it let others of their kind in."""
    ahead_s: float = 0.0
    """How far its clock is ahead of the client's, seconds: what is taken from its times before they are compared with the client's."""
    sees_raw: bool = True
    """It sees GRE and ESP. False: it may not open raw sockets, so that its silence about these says nothing."""
    late: tuple[Lateness, ...] = ()
    """When its program did not run though it was to, on its own clock: what was lost then counts for nothing."""
    queued: tuple[OwnQueue, ...] = ()
    """When what it had sent itself stood in a queue before a narrow line, on its own clock: what it lost then counts for nothing."""
    given_up: Mapping[str, float] = field(default_factory=dict)
    """By key of a conversation: when this end ceased to listen to it, less what an answer takes to come; what the other end said later
    counts for nothing where it was lost."""

    def until(self, at: float) -> "EndRecord":
        """The record without what left or was refused after `at`: the other end was lost then, so nobody can say what became of it.

        `at`: on this end's own clock, as everything in its record.
        """
        packet_records = tuple(s for s in self.packet_records if s.at <= at or s.movement is Movement.RECEIVED)
        return replace(self, packet_records=packet_records, refusals=tuple(refusal for refusal in self.refusals if refusal.at <= at))

    def settled(self, at: float, other: "EndRecord") -> "EndRecord":
        """The record without what left after `at` and is not known to have come: a run that is broken off leaves much under way.

        `at`: on this end's own clock. `other`: the other end's record.
        """
        came = {(s.check, s.key, s.message) for s in other.packet_records if s.movement is Movement.RECEIVED}
        kept = (s for s in self.packet_records if s.at <= at or s.movement is Movement.RECEIVED or (s.check, s.key, s.message) in came)
        return replace(self, packet_records=tuple(kept))


@dataclass(frozen=True, slots=True)
class Skip:
    """A check that was not tried, and why."""

    check: Check
    direction: Direction
    reason: str


@dataclass(frozen=True, slots=True)
class ProbeError:
    """A probe that failed by itself, and how."""

    probe: str
    reason: str


@dataclass(frozen=True, slots=True)
class NumberSample:
    """One trial of a check of kind number, in one direction."""

    check: Check
    direction: Direction
    amount: float
    """In the check's unit: what was measured, or what was tried (a size, a pause)."""
    held: bool | None = None
    """Whether it passed at this amount; None: the amount is itself the measurement."""
    sent: int | None = None
    """Packets of this trial that left; None: nobody counted."""
    received: int | None = None
    """Of these, how many are known to have arrived; None: nobody could count."""


@dataclass(frozen=True, slots=True)
class TtlTrace:
    """How far copies of one kind of packet got, by the routers' time-exceeded messages."""

    check: Check
    """The kind of packet that was copied."""
    direction: Direction
    hops: Mapping[int, str | None]
    """TTL to the address that answered; None: nobody answered for this TTL."""
    reached: int | None = None
    """The lowest TTL with which it reached the other end; None: it never did."""
    passes: bool = False
    """It is a kind that passes, with which the others are compared."""
    silent: frozenset[int] = frozenset()
    """TTLs of routers that answer other kinds, and are shown not to be reached by this one."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """TTL to the address that refused it."""


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What is known of the path besides packets."""

    ports: Mapping[tuple[Transport, int], PortState] = field(default_factory=dict)
    background: Mapping[Direction, Background] = field(default_factory=dict)
    """Loss of the control channel's own segments, by direction."""
    client_address: str | None = None
    """The client's own address."""
    client_seen_as: str | None = None
    """The address that the server sees the client at; None: not known."""
    server_address: str | None = None
    """The server's address as the client reaches it; None: not known."""
    server_own_addresses: Mapping[Transport, str] = field(default_factory=dict)
    """By protocol: the address at which what the client sends there comes to the server; of IP: whatever it is."""
    opened_before: Mapping[Transport, float] = field(default_factory=dict)
    """By protocol without ports: how many seconds before the run the server's packets of an earlier one had opened the way for it."""
    traces: tuple[TtlTrace, ...] = ()
    skips: tuple[Skip, ...] = ()
    named_failures: tuple[NamedFailure, ...] = ()
    """What one end has read inside a conversation."""
    clock_offset_s: float | None = None
    """How far the server's clock is ahead of the client's, seconds; None: not known, and times of the two ends are not compared."""
    clock_uncertainty_s: float | None = None
    """How far the true offset may be from that, seconds; None: no offset is known."""
    control_clock: tuple[float, float] | None = None
    """The same two numbers as the control channel's answers show them: for times of lateness alone; None: nothing was asked there."""
    programs: Mapping[tuple[Transport, int], str] = field(default_factory=dict)
    """Names of the programs that have ports of the server, where they are known."""
    firewalls: Mapping[str, Mends] = field(default_factory=dict)
    """By host, `client` and `server`: who manages its own firewall, and what lets through what it keeps."""
    samples: tuple[NumberSample, ...] = ()
    """What checks of kind number tried and measured."""
    rate_limits: Mapping[tuple[Check, Direction], RateLimit] = field(default_factory=dict)
    """What is shown to limit the rate of data."""
    behind: Mapping[tuple[int | None, Direction], tuple[int, int]] = field(default_factory=dict)
    """By port of the server, over UDP: how many payloads left in the flows of conversations that had got stuck, and how many came."""
    lets_in_unsolicited: bool | None = None
    """Whether what the server sends to a port that has sent nothing comes to the client; None: it was not asked, or is not known."""
    decoy_streams: Mapping[int, tuple[DecoyStream, ...]] = field(default_factory=dict)
    """By port of the server, over TCP: streams of our own beside conversations that got stuck there; none: nothing is known."""
    trains: frozenset[str] = frozenset()
    """Keys of the sessions that were asked for that alone: what they lose is no measure of anything else."""
    errors: tuple[ProbeError, ...] = ()
    error_bound: float = ERROR_BOUND
    """What a 'blocked' must reach."""
    joined: bool = True
    """True: both records are of one run and are joined by key, so that what the other end never sent counts for nothing. False: captures
    that may be of two attempts."""
    silence_tells: bool = True
    """False: a capture of one end, which proves of some packets that they came and of none that it did not."""

    @property
    def nat(self) -> bool | None:
        """Whether the client's address is translated; None: not known."""
        if self.client_address is None or self.client_seen_as is None:
            return None
        return self.client_address != self.client_seen_as

    @property
    def server_nat(self) -> bool | None:
        """Whether the server's address is translated; None: not known."""
        if self.server_address is None or not self.server_own_addresses:
            return None
        return any(own != self.server_address for own in self.server_own_addresses.values())

    def mend(self, host: str, checks: Iterable[Check], *, leaving: bool, in_part: bool = False) -> dict[str, Any]:
        """What a row's detail says of an end's own firewall that keeps packets of these kinds; empty where nothing is known of it."""
        firewall = self.firewalls.get(host, Mends())
        kinds = [kept_kind(host, check, leaving=leaving, in_part=in_part) for check in checks]
        commands = [line for kind in kinds for line in firewall.commands.get(kind, ())]
        told = {"mend": list(dict.fromkeys(commands))} if commands else {}
        return {"firewall": firewall.manager, **told} if firewall.manager else told

    def port_state(self, transport: Transport, port: int | None) -> PortState:
        return self.ports.get((transport, port), PortState.UNKNOWN) if port is not None else PortState.OURS

    def program(self, check: Check) -> str:
        """The name of the program that answers a check at the server, where it is another's; empty: not known."""
        transport, port = answering_port(check)
        return self.programs.get((transport, port), "") if port is not None else ""

    def answering(self, check: Check) -> PortState:
        """Who answers a check at the server."""
        return PortState.UNKNOWN if is_existing(check) else self.port_state(*answering_port(check))


def kept_kind(host: str, check: Check, *, leaving: bool, in_part: bool = False) -> Kept:
    """Packets of a check as a firewall tells them apart.

    `leaving`: they leave the host; else they come to it. `in_part`: not all are kept.
    """
    return Kept(leaving, check.transport.value, check.port, host == "server", version=check.family, in_part=in_part)
