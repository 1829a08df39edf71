"""The one table of all checks: what each asks, how it is judged, what it needs, and how it is said.

A check is told here once. The judge, the counting, the validation of a peer's rows, the rules and the report look it up; none of them
has a list of its own. `Check` is a check of one transport, port, form and IP version; `CheckSpec` is what all of
these share.
Which messages are a conversation's goal and its refusals stands in the transition table of its protocol.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from vpnprobe.observations.schema import Transport, Unit

BARE: Final = "bare"
IN_CALL: Final = "in-call"
CLIENT_SIDE: Final = "client-side"
SERVER_SIDE: Final = "server-side"
"""Forms of what is told of NATs: before which end they stand."""
PROFILE: Final = "profile"
"""How the variant of a check begins that was asked of an existing server, with the user's own profile."""


class Kind(StrEnum):
    """How a check is judged; `evidence.judging` has one file for each."""

    CONNECTION = "connection"
    """TCP connections that come up or do not."""
    PACKETS = "packets"
    """Fresh packets that are counted, each direction by itself."""
    CONVERSATION = "conversation"
    """Messages of a protocol that lead to its goal or do not."""
    DATA = "data"
    """A stream of data packets of many sizes, each direction by itself."""
    NUMBER = "number"
    """A quantity with a unit."""
    FACT = "fact"
    """Told as a whole and not counted: a trace, a translated address, another program's word."""


class Check(NamedTuple):
    """What a packet asks of the path. Names of probe and check are those of the published list."""

    probe: str
    name: str
    transport: Transport
    port: int | None = None
    """The server's port; None: the protocol has none."""
    variant: str = ""
    """Tells apart what shares probe, check, transport and port: a form (`bare`, `in-call`), a wrap, or the user's profile; empty: plain."""
    family: int = 4
    """IP version, 4 or 6."""


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """All that the program knows of one check."""

    probe: str
    name: str
    """As published, with `probe`."""
    kind: Kind
    words: str = ""
    """How it is said, without transport and port; empty: these say it all."""
    transports: tuple[Transport, ...] = ()
    """What it can be asked over; empty: anything."""
    after: str = ""
    """The check of the same session that comes before this one; empty: none does."""
    raw: bool = False
    """It takes raw sockets to send and to see."""
    known_by_tag: bool = False
    """Its packets carry the session's tag, so that the server knows them from any address."""
    unit: Unit | None = None
    """Of a number; None: it is none."""
    wrapped: bool = False
    """Its variants are wraps of the control channel (beside the user's own profile, which any check may have); otherwise they are forms."""
    opened_by: tuple[Transport, int] | None = None
    """The port of the control connection that its form `in-call` is set up through, whose program then answers; None: no such form."""
    taken_by: tuple[tuple[Transport, int], ...] = ()
    """Of what has no port: those of the servers that take it, each within sessions of its own alone."""
    counted_in: tuple[str, str] = ("", "")
    """Probe and name of the check that counts the same packets too; empty: none does."""
    silent_to_strangers: str = ""
    """Why another program's server does not answer a client whose keys it does not know; empty: it answers."""
    sizes: tuple[int, ...] = ()
    """Bytes of the outer IP packets that are tried beside those of the usual size, which is small; empty: none, or those of a tunnel."""
    closing_fits: str = ""
    """What a server that closes the connection without a byte is consistent with; empty: nothing in particular."""
    observed: bool = True
    """False: it only accompanies others, and makes no observation of its own."""


TCP, UDP, GRE_, ESP_ = (Transport.TCP,), (Transport.UDP,), (Transport.GRE,), (Transport.ESP,)
EITHER: Final = (Transport.TCP, Transport.UDP)
LARGER: Final = (576, 1400)
"""What any path has to carry (RFC 791 section 3.1), and what nearly all links with tunnels do."""
PPTP_PORT: Final = 1723
IPSEC: Final = ((Transport.UDP, 500), (Transport.UDP, 4500))
"""Where whoever takes ESP answers IKE."""
WRAPPED_OPENVPN: Final = "an OpenVPN server that wants its control channel wrapped (tls-auth, tls-crypt); other services close at once too"

CHECKS: Final[tuple[CheckSpec, ...]] = (
    CheckSpec("tcp", "reach", Kind.CONNECTION, transports=TCP),
    CheckSpec("tcp", "nmap", Kind.FACT, transports=TCP),
    CheckSpec("udp", "reach", Kind.PACKETS, transports=UDP, known_by_tag=True),
    CheckSpec("udp", "nmap", Kind.FACT, transports=UDP),
    CheckSpec(
        "gre",
        "passthrough",
        Kind.PACKETS,
        "GRE passthrough",
        GRE_,
        raw=True,
        known_by_tag=True,
        opened_by=(Transport.TCP, PPTP_PORT),
        taken_by=((Transport.TCP, PPTP_PORT),),
        sizes=LARGER,
    ),
    CheckSpec("esp", "passthrough", Kind.PACKETS, "ESP passthrough", ESP_, raw=True, known_by_tag=True, taken_by=IPSEC, sizes=LARGER),
    CheckSpec("pptp", "control", Kind.CONVERSATION, "PPTP control connection", TCP),
    CheckSpec(
        "pptp",
        "lcp",
        Kind.PACKETS,
        "PPP LCP inside GRE",
        GRE_,
        raw=True,
        opened_by=(Transport.TCP, PPTP_PORT),
        counted_in=("gre", "passthrough"),
        sizes=LARGER,
    ),
    CheckSpec("l2tp", "control", Kind.CONVERSATION, "L2TP control connection", UDP),
    CheckSpec("l2tp", "data", Kind.DATA, "L2TP data messages", UDP, after="control", sizes=LARGER),
    CheckSpec("ike", "ikev1-main", Kind.CONVERSATION, "IKEv1 main mode", UDP),
    CheckSpec("ike", "ikev2-init", Kind.CONVERSATION, "IKEv2 IKE_SA_INIT", UDP),
    CheckSpec("ike", "esp-in-udp", Kind.PACKETS, "ESP in UDP", UDP, known_by_tag=True, sizes=LARGER),
    CheckSpec("openvpn", "reset", Kind.CONVERSATION, "OpenVPN reset", EITHER, wrapped=True, closing_fits=WRAPPED_OPENVPN),
    CheckSpec("openvpn", "handshake", Kind.CONVERSATION, "OpenVPN handshake", EITHER, after="reset", wrapped=True),
    CheckSpec("openvpn", "data", Kind.DATA, "OpenVPN data channel", EITHER, after="handshake", wrapped=True),
    CheckSpec(
        "wireguard",
        "handshake",
        Kind.CONVERSATION,
        "WireGuard handshake",
        UDP,
        silent_to_strangers="WireGuard answers nobody whose key it does not know",
    ),
    CheckSpec("wireguard", "data", Kind.DATA, "WireGuard data messages", UDP, after="handshake"),
    CheckSpec("path", "trace", Kind.FACT, "TTL-stepped trace"),
    CheckSpec("path", "outage", Kind.FACT, "The whole path was silent"),
    CheckSpec("path", "late", Kind.FACT, "An end was late"),
    CheckSpec("path", "own-queue", Kind.FACT, "Lost behind the probes' own packets"),
    CheckSpec("path", "own-firewall", Kind.FACT, "Taken in part by an end's own firewall", (*EITHER, Transport.GRE, Transport.ESP)),
    CheckSpec("path", "routes", Kind.FACT, "The two directions' routes"),
    CheckSpec("path", "echo", Kind.FACT, "ICMP echo", (Transport.ICMP,), observed=False),
    CheckSpec("path", "control", Kind.FACT, "Control connection", TCP, observed=False),
    CheckSpec("mtu", "path-mtu", Kind.NUMBER, "Path MTU", unit=Unit.BYTES),
    CheckSpec("mtu", "black-hole", Kind.NUMBER, "Packets too large that nobody reports", unit=Unit.BYTES),
    CheckSpec("nat", "mapping", Kind.FACT, "Address translation"),
    CheckSpec("nat", "alg", Kind.FACT, "Changes to what is carried"),
    CheckSpec("nat", "filtering", Kind.FACT, "Who may send back"),
    CheckSpec("nat", "idle-timeout", Kind.NUMBER, "Idle time that a way back survives", unit=Unit.SECONDS),
    CheckSpec("quality", "loss", Kind.NUMBER, "Loss", unit=Unit.SHARE),
    CheckSpec("quality", "delay", Kind.NUMBER, "Delay", unit=Unit.MILLISECONDS),
    CheckSpec("quality", "reordering", Kind.NUMBER, "Reordering", unit=Unit.SHARE),
    CheckSpec("quality", "throughput", Kind.NUMBER, "Throughput", unit=Unit.BITS_PER_SECOND),
)
SPECS: Final[Mapping[tuple[str, str], CheckSpec]] = {(spec.probe, spec.name): spec for spec in CHECKS}
"""By probe and name."""
COUNTED: Final = frozenset({Kind.CONNECTION, Kind.PACKETS, Kind.CONVERSATION, Kind.DATA})
"""Kinds that are judged by both ends' packet records."""

GRE_BARE: Final = Check("gre", "passthrough", Transport.GRE, None, BARE)
"""Enhanced GRE is not used: version 0 with our payload, sent by itself."""
GRE_IN_CALL: Final = Check("gre", "passthrough", Transport.GRE, None, IN_CALL)
"""Enhanced GRE (RFC 2637 section 4.1) with the Call IDs of a call that was set up on tcp/1723 just before."""
PPTP_LCP: Final = Check("pptp", "lcp", Transport.GRE, None, IN_CALL)
LCP_ANSWERS_BOTH: Final = (GRE_IN_CALL, PPTP_LCP)
"""The checks that an LCP packet inside a call answers at once."""
ESP: Final = Check("esp", "passthrough", Transport.ESP)
PPTP_CONTROL: Final = Check("pptp", "control", Transport.TCP, PPTP_PORT)
L2TP_CONTROL: Final = Check("l2tp", "control", Transport.UDP, 1701)
L2TP_DATA: Final = L2TP_CONTROL._replace(name="data")
"""Data messages of a call with PPP LCP in them, each direction by itself."""
ESP_IN_UDP: Final = Check("ike", "esp-in-udp", Transport.UDP, 4500)
SEGMENTS_LOST: Final = Check("quality", "loss", Transport.TCP)
LINE_CARRIES: Final = Check("quality", "throughput", Transport.IP)
"""What the slowest link of the path carries, of all kinds together."""
ICMP_ECHO: Final = Check("path", "echo", Transport.ICMP)
"""Copies of ICMP echo requests: the kind to compare a trace with where nothing else passes."""
CONTROL: Final = Check("path", "control", Transport.TCP)
"""Copies of the control connection's own segments: it passes wherever there is a run, both ways and through NATs."""


def mapping(transport: Transport, side: str) -> Check:
    """What NATs at one side, CLIENT_SIDE or SERVER_SIDE, make of addresses and ports."""
    return Check("nat", "mapping", transport, None, side)


def udp_reach(port: int) -> Check:
    return Check("udp", "reach", Transport.UDP, port)


def tcp_reach(port: int) -> Check:
    return Check("tcp", "reach", Transport.TCP, port)


def ikev1_main(port: int) -> Check:
    return Check("ike", "ikev1-main", Transport.UDP, port)


def ikev2_init(port: int) -> Check:
    return Check("ike", "ikev2-init", Transport.UDP, port)


def openvpn_reset(transport: Transport, port: int, wrap: str = "") -> Check:
    """`wrap`: tls-crypt, tls-crypt-v2; empty: plain."""
    return Check("openvpn", "reset", transport, port, wrap)


def openvpn_handshake(transport: Transport, port: int, wrap: str = "") -> Check:
    """From the first TLS record to the server's key method 2 message."""
    return Check("openvpn", "handshake", transport, port, wrap)


def openvpn_data(transport: Transport, port: int, wrap: str = "") -> Check:
    """Data packets, each direction by itself."""
    return Check("openvpn", "data", transport, port, wrap)


def wireguard_handshake(port: int, form: str = "") -> Check:
    """`form`: that of an existing server; empty: plain."""
    return Check("wireguard", "handshake", Transport.UDP, port, form)


def wireguard_data(port: int, form: str = "") -> Check:
    """Data messages, each direction by itself."""
    return Check("wireguard", "data", Transport.UDP, port, form)


def spec_of(check: Check) -> CheckSpec | None:
    """What is known of it; None: nothing, since it is none of this version's."""
    return SPECS.get((check.probe, check.name))


def kind_of(check: Check) -> Kind | None:
    """How it is judged; None: it is none of this version's."""
    spec = spec_of(check)
    return spec.kind if spec is not None else None


def earlier_steps(check: Check) -> tuple[Check, ...]:
    """The checks of the same sessions that come before this one, the first one first."""
    steps = tuple(check._replace(name=name) for name in _names_before(check.probe, check.name))
    return steps[::-1]


def comes_before(probe: str, earlier: str, later: str) -> bool:
    """Whether a session is asked the one before it is asked the other."""
    return earlier in _names_before(probe, later)


def _names_before(probe: str, name: str) -> Iterator[str]:
    """Backwards from the step before it."""
    spec = SPECS.get((probe, name))
    while spec is not None and spec.after:
        yield spec.after
        spec = SPECS.get((probe, spec.after))


def is_raw(check: Check) -> bool:
    """Whether it takes raw sockets to send and to see."""
    spec = spec_of(check)
    return spec is not None and spec.raw


def is_existing(check: Check) -> bool:
    """Whether it was asked of an existing server with the user's own profile.

    That server may be on another host than the peer. What is known of the peer says nothing about it.
    """
    return check.variant.startswith(PROFILE)


def answering_port(check: Check) -> tuple[Transport, int | None]:
    """Transport and port of the server whose program decides about it: of what goes in a call, those of its control connection."""
    spec = spec_of(check)
    if spec is not None and spec.opened_by is not None and check.variant == IN_CALL:
        return spec.opened_by
    return check.transport, check.port


def same_packets(check: Check) -> Check | None:
    """The check that counts the same packets too; None: there is none."""
    spec = spec_of(check)
    probe, name = spec.counted_in if spec is not None else ("", "")
    return check._replace(probe=probe, name=name) if name else None


def servers_of(check: Check) -> tuple[tuple[Transport, int], ...]:
    """Transport and port of the servers that take such packets: its own, or those that take them within their sessions."""
    spec = spec_of(check)
    return ((check.transport, check.port),) if check.port is not None else spec.taken_by if spec is not None else ()


def plain_on_port(check: Check) -> Check | None:
    """The check that asks about its UDP port with our plain payload; None: it has no such port."""
    if check.transport is not Transport.UDP or check.port is None:
        return None
    return udp_reach(check.port)._replace(family=check.family)
