"""Observations, conversations, verdicts and the recommendation: the result document `vpnprobe.result/1` as frozen dataclasses.

Names and meanings are those of the published result schema. An observation states what was seen and never judges; a verdict names the
rules and the observations it rests on. Standard library alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

SCHEMA: Final = "vpnprobe.result/1"


class Direction(StrEnum):
    C2S = "c2s"
    S2C = "s2c"
    BOTH = "both"


class Transport(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    GRE = "gre"
    ESP = "esp"
    ICMP = "icmp"
    IP = "ip"


class Outcome(StrEnum):
    PASS = "pass"
    """It arrived, and was answered where an answer is due."""
    BLOCKED = "blocked"
    """Shown not to arrive, by the other end's word."""
    REFUSED = "refused"
    """RST, ICMP unreachable or prohibited tied to our packet, or the protocol's own refusal."""
    NO_ANSWER = "no-answer"
    """One-sided: silence, nothing more can be said."""
    DEGRADED = "degraded"
    """Works with loss or limits."""
    SKIPPED = "skipped"
    """Not tried; `detail.reason` says why."""
    ERROR = "error"
    """The probe failed by itself; `detail.reason` says how."""


class Cause(StrEnum):
    IP_PROTOCOL = "ip-protocol"
    PORT = "port"
    PAYLOAD = "payload"
    SIZE = "size"
    RATE = "rate"
    TIME = "time"
    """It ends after so many seconds."""
    PACKETS = "packets"
    """It ends after so many packets."""
    STATE = "state"
    """A stateful firewall lets in only what was asked for."""
    NAT = "nat"
    HOST_FIREWALL = "host-firewall"
    NO_LISTENER = "no-listener"
    RETURN_PATH = "return-path"
    """Answers come or leave by another address or another way."""
    LOSS = "loss"
    UNKNOWN = "unknown"


class Unit(StrEnum):
    """Of what a check of kind number measured."""

    BYTES = "bytes"
    """Of an IP packet, where a size is meant."""
    SECONDS = "s"
    MILLISECONDS = "ms"
    BITS_PER_SECOND = "bit/s"
    PACKETS = "packets"
    PACKETS_PER_SECOND = "packets/s"
    SHARE = "share"
    """0 to 1."""


class LimitKind(StrEnum):
    """What users will feel of a protocol that works."""

    LOSS = "loss"
    RATE = "rate"
    SIZE = "size"
    PACKETS = "packets"
    TIME = "time"
    BYTES = "bytes"


class Feasibility(StrEnum):
    FEASIBLE = "feasible"
    DEGRADED = "degraded"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


class Protocol(StrEnum):
    """VPN protocols that get a verdict."""

    PPTP = "pptp"
    L2TP = "l2tp"
    L2TP_IPSEC = "l2tp-ipsec"
    OPENVPN_UDP = "openvpn-udp"
    OPENVPN_TCP = "openvpn-tcp"
    WIREGUARD = "wireguard"


class Mode(StrEnum):
    PAIRED = "paired"
    SOLO = "solo"
    OFFLINE = "offline"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Location:
    """Where packets vanish: between two hops, never a single one."""

    last_hop: int
    """TTL of the last hop that the packets are shown to reach; 0 is the sender."""
    last_address: str | None
    next_address: str | None = None
    """The hop after it, known from a protocol that passes; None: not known."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A frame of a capture."""

    capture: str
    frame: int
    """1-based, as Wireshark numbers it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One fact that was measured, in one direction."""

    id: str
    """Unique in its document."""
    probe: str
    check: str
    direction: Direction
    transport: Transport
    outcome: Outcome
    port: int | None = None
    """The server's port; None: the protocol has none."""
    cause: Cause | None = None
    sent: int | None = None
    """Fresh packets or conversations that left the host; None: nobody could count them."""
    received: int | None = None
    """Of these, how many are known to have arrived at the other end (direction `both`: to have been answered). None: nobody could count.

    `detail.proof` says what the count rests on: `peer` (the receiving end's own record), `acknowledged` or `answered`.
    """
    rtt_ms: float | None = None
    """Median, milliseconds."""
    error_bound: float | None = None
    """Probability, 0 to 1, that an outcome as strong as this one comes about by bad luck where the path treats the packets as it treats
    their controls; None: nothing needs a bound, or none can be given."""
    location: Location | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    family: int | None = None
    """IP version of the packets, 4 or 6; None: not recorded, as in documents before it was (then 4), or of no packets."""
    value: float | None = None
    """What a check of kind number measured, in `unit`; None: it measures no number, or only a bracket is known."""
    low: float | None = None
    """At least so much, where only a bracket is known; None: no lower end known."""
    high: float | None = None
    """At most so much; None: no upper end known."""
    unit: Unit | None = None
    """Of `value`, `low` and `high`; None: the check measures no number."""


@dataclass(frozen=True, slots=True)
class ConversationEndpoint:
    address: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A VPN conversation as seen on the wire, and how far it got."""

    protocol: str
    client: ConversationEndpoint
    server: ConversationEndpoint
    stage: str
    """The furthest point that the packets show, in the protocol's own terms."""
    transport: Transport = Transport.IP
    capture: str = ""
    frames_c2s: int = 0
    frames_s2c: int = 0
    first_frame: int | None = None
    last_frame: int | None = None
    started: str | None = None
    """UTC, RFC 3339."""
    duration_s: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict came out: a rule, in words, with the observations that it rests on."""

    rule: str
    text: str
    observations: tuple[str, ...] = ()
    """Ids."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What users will feel of a protocol though it works, and how far it was looked for."""

    kind: LimitKind
    value: float | None
    """In `unit`; None: none was found up to `watched`."""
    unit: Unit
    direction: Direction = Direction.BOTH
    watched: float | None = None
    """How far it was looked for, in `unit`; None: not told."""
    observations: tuple[str, ...] = ()
    """Ids."""


@dataclass(frozen=True, slots=True)
class Verdict:
    protocol: str
    feasibility: Feasibility
    because: tuple[Reason, ...]
    """At least one."""
    port: int | None = None
    """The port that it works on, or would be used on."""
    score: float | None = None
    """0 to 1, higher is better, by the criteria asked for; None where it is not ranked."""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    protocol: str
    ranking: tuple[str, ...]
    because: tuple[str, ...]
    port: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathVerdicts:
    """The verdicts of one pair of hosts, where the input holds several."""

    client: str
    """Its address."""
    server: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class CaptureFile:
    """A capture that was read, and what it alone says."""

    file: str
    format: str
    """Of what compression held: `pcap`, `pcapng`, `tcpdump-text`, or `text` of another program than tcpdump."""
    linktype: str | None
    packets: int
    readable: bool
    vantage: str = "unknown"
    problem: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    paths: tuple[PathVerdicts, ...] = ()
    """One a pair of hosts, where the capture holds several; empty: it holds one at most."""


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    mode: Mode
    started: str
    """UTC, RFC 3339."""
    duration_s: float
    version: str
    client: Mapping[str, Any] | None = None
    server: Mapping[str, Any] | None = None
    captures: tuple[CaptureFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The whole result document."""

    run: Run
    observations: tuple[Observation, ...]
    verdicts: tuple[Verdict, ...]
    recommendation: Recommendation | None
    complete: bool = True
    """False: the run was interrupted."""
    conversations: tuple[ConversationSummary, ...] = ()
    paths: tuple[PathVerdicts, ...] = ()
    """One a pair of hosts, where the input holds several; empty: it holds one at most."""
