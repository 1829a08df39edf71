"""The words of a report: how protocols, questions, outcomes, causes and bounds are said. Shared by the HTML report and the terminal text.

Everything that comes from a capture, a peer or a loaded document goes through `visible` before it is shown: control characters and
direction overrides come out as their escapes, so that no text can move a cursor or turn a line round.
"""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, assert_never

from vpnprobe.evidence.checks import SPECS
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Mode, Observation, Outcome, Transport, Unit

DEEPEST: Final = 2
"""Levels of nested values that are put in words; what is deeper is shown as JSON."""
LONGEST_TEXT: Final = 1000
"""Characters of one value that are shown; the document has the rest."""
PROTOCOLS: Final[Mapping[str, str]] = {
    "pptp": "PPTP",
    "l2tp": "L2TP",
    "l2tp-ipsec": "L2TP over IPsec",
    "openvpn-udp": "OpenVPN over UDP",
    "openvpn-tcp": "OpenVPN over TCP",
    "wireguard": "WireGuard",
    "ikev2": "IKEv2",
    "sstp": "SSTP",
    "openconnect": "OpenConnect",
    "ssh": "SSH",
}
PROBES: Final[Mapping[str, str]] = {
    "tcp": "TCP ports",
    "udp": "UDP ports",
    "gre": "GRE, IP protocol 47",
    "esp": "ESP, IP protocol 50",
    "pptp": "PPTP",
    "l2tp": "L2TP",
    "ike": "IKE",
    "openvpn": "OpenVPN",
    "wireguard": "WireGuard",
    "path": "The path",
    "mtu": "Packet sizes",
    "nat": "Address translation",
    "quality": "Quality",
}
SETTINGS: Final[Mapping[str, str]] = {
    "port": "server port",
    "path_mtu": "largest IP packet that passes, bytes",
    "tun_mtu": "tun-mtu, bytes",
    "mtu": "MTU of the tunnel, bytes",
    "mssfix": "mssfix, bytes",
    "keepalive": "keepalive, seconds",
    "wrap": "control channel wrap",
}
NMAP_AND_GRE: Final = (
    "nmap proves nothing about IP protocol 47 (GRE): it says open|filtered when GRE passes to a listener and when a router drops it, "
    "and closed when the path is open and nobody listens."
)

CONVERSATIONS: Final[Mapping[str, str]] = {
    "pptp": "PPTP",
    "gre": "GRE",
    "l2tp": "L2TP",
    "l2tpv3": "L2TP version 3",
    "ikev1": "IKEv1",
    "ikev2": "IKEv2",
    "isakmp-other": "ISAKMP",
    "esp": "ESP",
    "esp-udp": "ESP in UDP",
    "ah": "AH",
    "openvpn-udp": "OpenVPN over UDP",
    "openvpn-tcp": "OpenVPN over TCP",
    "wireguard": "WireGuard",
    "tcp": "TCP connection",
}
"""What conversations in captures are called, by their protocols."""
STAGES: Final[Mapping[str, str]] = {
    "sccrq-unanswered": "is not answered",
    "control-rejected": "is rejected",
    "control-up": "has its control connection answered, and asks for no call",
    "ocrq-unanswered": "has its control connection answered, and its call not",
    "call-rejected": "has its call rejected",
    "call-up": "has a call that is up",
    "sccrp": "has its request answered, and goes no further",
    "tunnel-up": "has a tunnel that is up, and no call in it",
    "session-answered": "has its call answered, and goes no further",
    "session-up": "has a call that is up",
    "main-unanswered": "is not answered (main mode)",
    "main-answered": "is answered, and does not come to its end (main mode)",
    "main-complete": "is complete both ways (main mode)",
    "main-response-only": "is there with the responder's messages alone (main mode)",
    "aggressive-unanswered": "is not answered (aggressive mode)",
    "aggressive-answered": "is answered (aggressive mode)",
    "aggressive-complete": "is complete both ways (aggressive mode)",
    "aggressive-response-only": "is there with the responder's messages alone (aggressive mode)",
    "quick-mode-one-way": "has a quick mode that goes one way",
    "quick-mode-answered": "is complete both ways, quick mode too",
    "informational-only": "is there with informational messages alone",
    "sa_init-unanswered": "is not answered (IKE_SA_INIT)",
    "sa_init-rejected-or-cookie": "is answered with a notification (IKE_SA_INIT)",
    "sa_init-answered": "is answered (IKE_SA_INIT), and goes no further",
    "auth-request-unanswered": "has its IKE_AUTH not answered",
    "auth-answered": "has its IKE_AUTH answered",
    "one-way": "goes one way",
    "both-ways": "passes both ways",
    "client-reset-unanswered": "is not answered",
    "server-reset": "is answered, and goes no further",
    "control-one-way": "begins its TLS handshake, and goes no further",
    "control-both-ways": "has its TLS handshake under way both ways, and no data",
    "data-one-way": "has data one way",
    "data-both-ways": "has data both ways",
    "initiation-unanswered": "is not answered",
    "handshake-complete": "has its handshake answered, and no data",
    "syn-unanswered": "is not answered",
    "syn-ack-repeated": "is answered again and again, and never comes up",
    "syn-refused": "is refused",
    "connected": "comes up",
    "other": "is there",
}
"""How far a conversation came, as what its name does."""


class Mark(NamedTuple):
    """A state as a symbol and a word, so that colour is never the only sign, and the class that colours it."""

    symbol: str
    word: str
    tone: str
    """`good`, `fair`, `bad` or `mute`."""


def feasibility_mark(feasibility: Feasibility) -> Mark:
    match feasibility:
        case Feasibility.FEASIBLE:
            return Mark("✓", "works", "good")
        case Feasibility.DEGRADED:
            return Mark("◐", "works with limits", "fair")
        case Feasibility.INFEASIBLE:
            return Mark("✕", "does not work", "bad")
        case Feasibility.UNKNOWN:
            return Mark("?", "not known", "mute")
        case _:
            assert_never(feasibility)


def outcome_mark(outcome: Outcome) -> Mark:
    match outcome:
        case Outcome.PASS:
            return Mark("✓", "passed", "good")
        case Outcome.BLOCKED:
            return Mark("✕", "blocked", "bad")
        case Outcome.REFUSED:
            return Mark("⊘", "refused", "bad")
        case Outcome.NO_ANSWER:
            return Mark("?", "no answer", "mute")
        case Outcome.DEGRADED:
            return Mark("◐", "with limits", "fair")
        case Outcome.SKIPPED:
            return Mark("-", "skipped", "mute")
        case Outcome.ERROR:
            return Mark("!", "probe failed", "fair")
        case _:
            assert_never(outcome)


def cause_words(cause: Cause) -> str:
    match cause:
        case Cause.IP_PROTOCOL:
            return "a filter on the IP protocol"
        case Cause.PORT:
            return "a filter on the port"
        case Cause.PAYLOAD:
            return "a filter on the payload"
        case Cause.SIZE:
            return "a limit on packet size"
        case Cause.RATE:
            return "a limit on rate"
        case Cause.TIME:
            return "a limit on time"
        case Cause.PACKETS:
            return "a limit on the number of packets"
        case Cause.STATE:
            return "a firewall that lets in only what was asked for"
        case Cause.NAT:
            return "address translation"
        case Cause.HOST_FIREWALL:
            return "a firewall at the end host"
        case Cause.NO_LISTENER:
            return "nothing listens there"
        case Cause.RETURN_PATH:
            return "answers take another way"
        case Cause.LOSS:
            return "packet loss"
        case Cause.UNKNOWN:
            return "not known"
        case _:
            assert_never(cause)


def cause_of(row: Observation) -> str:
    """The cause of a row in words; empty: it has none. What is refused where a server answered otherwise has somebody who listens."""
    if row.cause is Cause.NO_LISTENER and row.detail.get("answered_beside"):
        return "none is taken outside a session"
    return cause_words(row.cause) if row.cause is not None else ""


def direction_words(direction: Direction) -> str:
    match direction:
        case Direction.C2S:
            return "client → server"
        case Direction.S2C:
            return "server → client"
        case Direction.BOTH:
            return "both ways"
        case _:
            assert_never(direction)


def mode_words(mode: Mode) -> str:
    match mode:
        case Mode.PAIRED:
            return "Agents at both ends: each recorded what it sent and what it got, and the two records were joined."
        case Mode.SOLO:
            return "From the client alone, with no agent at the server: an answer or a refusal proves, silence does not."
        case Mode.OFFLINE:
            return "From captures, offline: nothing was sent."
        case Mode.SIMULATED:
            return "Both agents in a simulated network on one machine, in virtual time."
        case _:
            assert_never(mode)


def protocol_name(protocol: str) -> str:
    return PROTOCOLS.get(protocol) or visible(protocol)


def probe_name(probe: str) -> str:
    return PROBES.get(probe) or visible(probe)


def question_words(row: Observation, *, ports: Sequence[int] = ()) -> str:
    """What the observation asks, with its transport and port, without its direction.

    `ports`: the ports to name where the words stand for several observations that differ in nothing else.
    """
    found = ports or ([row.port] if row.port is not None else [])
    port = f" port{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}" if found else ""
    carrier = row.transport.value.upper()
    spec = SPECS.get((row.probe, row.check))
    named = spec.words if spec is not None else ""
    match row.check:
        case "nmap":
            words = f"nmap on {carrier}{port}"
        case "real-client":
            words = f"the protocol's own program with the same profile, {carrier}{port}"
        case "reach":
            words = f"{carrier}{port}"
        case "trace":
            words = f"{named or visible(row.check)}, {carrier}"
        case _ if named and row.transport in (Transport.GRE, Transport.ESP):
            words = named
        case "esp-in-udp":
            words = f"ESP in UDP,{port}"
        case _:
            words = f"{named or visible(row.check)}, {carrier}{port}"
    version = ", over IPv6" if row.family == 6 else ""
    return words + form_words(row.detail.get("form")) + session_words(row.detail) + version


def form_words(form: object) -> str:
    match form:
        case "bare":
            return ", by itself"
        case "in-call":
            return ", inside a real call"
        case str() if form:
            return f", {visible(form)}"
        case _:
            return ""


def set_up_words(protocol: str) -> str:
    """The command that sets a recommended protocol up; empty: it has to be done by hand."""
    if protocol not in ("openvpn-udp", "openvpn-tcp"):
        return ""
    return "Set it up, on the server: `vpnprobe provision plan RESULT -o plan` shows all that would be done, and changes nothing."


def session_words(detail: Mapping[str, object]) -> str:
    """The wrap of an OpenVPN session, or that it is of the user's own profile; empty where it is plain."""
    wrap, remote = detail.get("wrap"), detail.get("remote")
    profile = f", with the profile{f', remote {visible(remote)}' if remote else ''}" if detail.get("profile") is True else ""
    return (f", in {visible(wrap)}" if wrap else "") + profile


def port_words(port: int | None, protocol: str) -> str:
    """The port with its transport as far as the protocol's name gives it; empty without a port."""
    if port is None:
        return ""
    match protocol:
        case "openvpn-tcp" | "pptp" | "sstp" | "ssh":
            return f"TCP {port}"
        case "openvpn-udp" | "l2tp" | "l2tp-ipsec" | "wireguard" | "ikev2":
            return f"UDP {port}"
        case _:
            return str(port)


def count_words(sent: int | None, received: int | None, verb: str) -> str:
    """`8 sent, 3 arrived`; a count that nobody could make is unknown. Empty where neither is known. `verb`: arrived, answered."""
    if sent is None:
        return f"{received} {verb}, not known of how many" if received is not None else ""
    if received is None:
        return f"{sent} sent, not known how many {'were answered' if verb == 'answered' else verb}"
    return f"{sent} sent, {received} {verb}"


def number_words(row: Observation) -> str:
    """What a check of kind number measured, or the bracket that it is in; empty where there is no number."""
    unit = f" {row.unit.value}" if row.unit not in (None, Unit.SHARE) else ""
    match (row.value, row.low, row.high):
        case (float() | int() as value, _, _):
            return f"measured {value:.6g}{unit}"
        case (None, None, None):
            return ""
        case (None, low, None):
            return f"at least {low:.6g}{unit}"
        case (None, None, high):
            return f"at most {high:.6g}{unit}"
        case (_, low, high):
            return f"between {low:.6g} and {high:.6g}{unit}"


def bound_words(bound: float | None) -> str:
    """The error bound rounded up to one significant digit, as `6e-7`; empty where there is none."""
    if bound is None or not math.isfinite(bound) or bound < 0:
        return ""
    if bound == 0:
        return "0"
    exponent = math.floor(math.log10(bound))
    if exponent < -300:
        return "1e-300"
    digit = math.ceil(round(bound / 10.0**exponent, 6))
    if digit == 10:
        digit, exponent = 1, exponent + 1
    return f"{digit}e{exponent}" if exponent < -2 else f"{digit * 10.0**exponent:.{max(0, -exponent)}f}"


def visible(value: object) -> str:
    """The value as text in which every character shows: controls, format characters and surrogates as escapes.

    At most LONGEST_TEXT characters; what is visible already stays as it is.
    """
    text = value if isinstance(value, str) else str(value)
    shown = "".join(_visible_character(character) for character in text[: LONGEST_TEXT + 1])
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 40]}… ({len(text)} characters)"


def value_words(value: object, *, depth: int = 0) -> str:
    """A value of `detail`, `settings` or an end, as one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return visible(value)
        case list() | tuple() if all(isinstance(item, str | int | float) for item in value):
            return visible(", ".join(str(item) for item in value)) or "none"
        case Mapping() if depth < DEEPEST:
            return visible(", ".join(_pair(str(key), item, depth) for key, item in value.items())) or "none"
        case _:
            return visible(json.dumps(value, default=str, ensure_ascii=False))


def _pair(key: str, value: object, depth: int) -> str:
    inner = value_words(value, depth=depth + 1)
    return f"{key} ({inner})" if isinstance(value, Mapping | list | tuple) else f"{key} {inner}"


def _visible_character(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs" or character in "\n\t":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
