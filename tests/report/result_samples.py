"""Results as a run, a solo run and an offline analysis leave them: material for the tests of documents, reports and notebooks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vpnprobe.observations.schema import (
    CaptureFile,
    Cause,
    ConversationEndpoint,
    ConversationSummary,
    Direction,
    Evidence,
    Feasibility,
    Location,
    Mode,
    Observation,
    Outcome,
    Reason,
    Recommendation,
    Result,
    Run,
    Transport,
    Verdict,
)

C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH
TCP, UDP, GRE, ESP, IP = Transport.TCP, Transport.UDP, Transport.GRE, Transport.ESP, Transport.IP
CANDIDATES = (1194, 443, 53, 80, 8443, 51194)
PATH = {C2S: ("10.78.0.2", "10.78.1.2", "10.78.2.2"), S2C: ("10.78.3.1", "10.78.2.1", "10.78.1.1")}
ENDS: dict[str, dict[str, Any]] = {
    "client": {"address": "10.78.0.1", "host": "client", "system": "Linux", "capabilities": ["raw-ip", "capture", "low-ports"]},
    "server": {"address": "10.78.3.2", "host": "server", "system": "Linux", "capabilities": ["raw-ip", "capture", "low-ports"]},
}


class Rows:
    """Collects observations under ids that read well."""

    def __init__(self) -> None:
        self.rows: list[Observation] = []

    def add(
        self,
        probe: str,
        check: str,
        direction: Direction,
        transport: Transport,
        outcome: Outcome,
        **fields: Any,
    ) -> str:
        port = fields.get("port")
        form = fields.get("detail", {}).get("form", "")
        parts = [probe, check, form, transport.value if probe in ("openvpn", "path") else "", str(port or ""), direction.value]
        identity = "-".join(part for part in parts if part)
        self.rows.append(Observation(identity, probe, check, direction, transport, outcome, **fields))
        return identity


def passes(rows: Rows, probe: str, check: str, transport: Transport, directions: Sequence[Direction], **fields: Any) -> list[str]:
    detail = fields.pop("detail", {})
    return [
        rows.add(
            probe, check, direction, transport, Outcome.PASS, sent=8, received=8, rtt_ms=0.42, error_bound=1e-9, detail=detail, **fields
        )
        for direction in directions
    ]


def drops(rows: Rows, probe: str, check: str, transport: Transport, **fields: Any) -> list[str]:
    detail = fields.pop("detail", {})
    places = {C2S: Location(2, "10.78.1.2", "10.78.2.2"), S2C: Location(2, "10.78.2.1", "10.78.1.1")}
    return [
        rows.add(
            probe,
            check,
            direction,
            transport,
            Outcome.BLOCKED,
            sent=14,
            received=0,
            error_bound=6.1e-7,
            location=places[direction],
            detail=detail,
            **fields,
        )
        for direction in (C2S, S2C)
    ]


def traces(rows: Rows, *, blocked: Sequence[Transport] = (), passing: Sequence[Transport] = (UDP,)) -> None:
    for direction, hops in PATH.items():
        for transport in passing:
            found = [{"ttl": ttl, "address": address} for ttl, address in enumerate(hops, 1)]
            rows.add(
                "path",
                "trace",
                direction,
                transport,
                Outcome.PASS,
                sent=4,
                received=3,
                detail={"of": "udp/reach", "hops": [*found, {"ttl": 4, "address": None}], "reached": 4},
            )
        for transport in blocked:
            found = [{"ttl": ttl, "address": address} for ttl, address in enumerate(hops[:2], 1)]
            detail = {"of": f"{transport.value}/passthrough", "hops": [*found, {"ttl": 3, "address": None}], "reached": None}
            rows.add("path", "trace", direction, transport, Outcome.DEGRADED, sent=3, received=2, detail=detail)


def verdict(protocol: str, feasibility: Feasibility, text: str, ids: Sequence[str], **fields: Any) -> Verdict:
    return Verdict(protocol, feasibility, (Reason(f"{protocol}.path", text, tuple(ids)),), **fields)


def run(mode: Mode, **fields: Any) -> Run:
    base = Run("2f1c9a40", mode, "2026-03-14T09:26:53Z", 2.31, "0.1.0", ENDS["client"], ENDS["server"])
    return replace(base, **fields)


def recommendation() -> Recommendation:
    return Recommendation(
        "openvpn-udp",
        ("openvpn-udp", "openvpn-tcp", "l2tp"),
        (
            "A reset is answered both ways on UDP port 1194, and OpenVPN over UDP is the fastest and most adaptable of what works.",
            "It needs no protocol besides UDP, so the filter on GRE does not touch it.",
        ),
        port=1194,
        settings={"port": 1194, "wrap": "tls-crypt"},
        warnings=("L2TP by itself does not encrypt: use it inside IPsec only.",),
    )


def common(rows: Rows) -> dict[str, list[str]]:
    """What passes in the seed's network and in the clean one alike."""
    for port in CANDIDATES:
        passes(rows, "udp", "reach", UDP, (C2S, S2C), port=port)
        passes(rows, "tcp", "reach", TCP, (BOTH,), port=port)
    passes(rows, "tcp", "reach", TCP, (BOTH,), port=1723)
    for port in (500, 4500, 1701):
        passes(rows, "udp", "reach", UDP, (C2S, S2C), port=port)
    return {
        "control": passes(rows, "pptp", "control", TCP, (BOTH,), port=1723, detail={"stage": "call-up"}),
        "l2tp": passes(rows, "l2tp", "control", UDP, (BOTH,), port=1701, detail={"stage": "session-up"}),
        "ike": [
            *passes(rows, "ike", "ikev1-main", UDP, (BOTH,), port=500),
            *passes(rows, "ike", "ikev2-init", UDP, (BOTH,), port=500),
            *passes(rows, "ike", "ikev1-main", UDP, (BOTH,), port=4500),
            *passes(rows, "ike", "esp-in-udp", UDP, (C2S, S2C), port=4500),
        ],
        "esp": passes(rows, "esp", "passthrough", ESP, (C2S, S2C)),
        "udp": passes(rows, "openvpn", "reset", UDP, (BOTH,), port=1194),
        "tcp": passes(rows, "openvpn", "reset", TCP, (BOTH,), port=1194),
    }


def others(ids: dict[str, list[str]]) -> tuple[Verdict, ...]:
    return (
        verdict(
            "l2tp", Feasibility.FEASIBLE, "The control connection comes up both ways on UDP port 1701.", ids["l2tp"], port=1701, score=0.41
        ),
        verdict(
            "l2tp-ipsec",
            Feasibility.FEASIBLE,
            "IKE is answered on UDP ports 500 and 4500, and ESP passes both ways.",
            [*ids["ike"], *ids["esp"]],
            port=500,
            score=0.62,
        ),
        verdict("openvpn-udp", Feasibility.FEASIBLE, "A reset is answered both ways on UDP port 1194.", ids["udp"], port=1194, score=0.91),
        verdict("openvpn-tcp", Feasibility.FEASIBLE, "A reset is answered both ways on TCP port 1194.", ids["tcp"], port=1194, score=0.77),
    )


def nmap_rows(rows: Rows) -> None:
    rows.add("tcp", "nmap", C2S, TCP, Outcome.PASS, port=1723, detail={"state": "open", "reason": "syn-ack"})
    rows.add("udp", "nmap", C2S, UDP, Outcome.NO_ANSWER, port=1194, detail={"state": "open|filtered", "reason": "no-response"})
    rows.add("tcp", "nmap", C2S, TCP, Outcome.REFUSED, port=1194, detail={"state": "closed", "reason": "reset"})
    rows.add("gre", "nmap", C2S, GRE, Outcome.NO_ANSWER, detail={"state": "open|filtered", "reason": "no-response"})


def seed_result() -> Result:
    """GRE is dropped both ways by the second router; everything else passes."""
    rows = Rows()
    ids = common(rows)
    gone = drops(rows, "gre", "passthrough", GRE, cause=Cause.IP_PROTOCOL, detail={"form": "bare"})
    gone += drops(
        rows, "gre", "passthrough", GRE, cause=Cause.IP_PROTOCOL, detail={"form": "in-call", "call_id": 1234, "peer_call_id": 4321}
    )
    gone += drops(rows, "pptp", "lcp", GRE, cause=Cause.IP_PROTOCOL, detail={"form": "in-call"})
    nmap_rows(rows)
    traces(rows, blocked=(GRE,))
    pptp = Verdict(
        "pptp",
        Feasibility.INFEASIBLE,
        (
            Reason(
                "pptp.gre",
                "GRE (IP protocol 47) does not get through in either direction, inside a real call on TCP 1723 and by itself.",
                tuple(gone),
            ),
            Reason(
                "pptp.control", "The control connection on TCP 1723 is fine: an open port is not enough for PPTP.", tuple(ids["control"])
            ),
        ),
        port=1723,
    )
    return Result(run(Mode.SIMULATED), tuple(rows.rows), (pptp, *others(ids)), recommendation())


def clean_result() -> Result:
    rows = Rows()
    ids = common(rows)
    gre = passes(rows, "gre", "passthrough", GRE, (C2S, S2C), detail={"form": "in-call"})
    lcp = passes(rows, "pptp", "lcp", GRE, (C2S, S2C), detail={"form": "in-call"})
    traces(rows, passing=(UDP, GRE))
    pptp = verdict("pptp", Feasibility.FEASIBLE, "Control connection, GRE and LCP pass both ways.", [*gre, *lcp], port=1723, score=0.3)
    advice = replace(recommendation(), ranking=("openvpn-udp", "openvpn-tcp", "l2tp-ipsec", "l2tp", "pptp"))
    return Result(run(Mode.PAIRED), tuple(rows.rows), (pptp, *others(ids)), advice)


def blocked_result() -> Result:
    """Nothing but the control connection passes."""
    rows = Rows()
    ids: dict[str, list[str]] = {"pptp": [], "l2tp": [], "l2tp-ipsec": [], "openvpn-udp": [], "openvpn-tcp": []}
    for port in (*CANDIDATES, 1701, 500, 4500):
        ids["openvpn-udp"] += drops(rows, "udp", "reach", UDP, port=port, cause=Cause.IP_PROTOCOL)
    for port in (*CANDIDATES, 1723):
        row = rows.add(
            "tcp", "reach", C2S, TCP, Outcome.BLOCKED, port=port, cause=Cause.PORT, sent=6, received=0, error_bound=3e-8,
            location=Location(1, "10.78.0.2", "10.78.1.2"),
        )  # fmt: skip
        ids["openvpn-tcp"].append(row)
    ids["pptp"] = drops(rows, "gre", "passthrough", GRE, cause=Cause.IP_PROTOCOL, detail={"form": "bare"})
    ids["l2tp-ipsec"] = drops(rows, "esp", "passthrough", ESP, cause=Cause.IP_PROTOCOL)
    ids["l2tp"] = ids["openvpn-udp"][-6:]
    traces(rows, passing=(TCP,), blocked=(UDP, GRE, ESP))
    verdicts = tuple(
        verdict(protocol, Feasibility.INFEASIBLE, "What it needs of the path does not get through.", found)
        for protocol, found in ids.items()
    )
    return Result(run(Mode.PAIRED), tuple(rows.rows), verdicts, None)


def offline_result() -> Result:
    """The seed's own two traces, read offline."""
    rows = Rows()
    frames = tuple(Evidence("seed-client.pcap", frame) for frame in (9, 11, 13))
    gone = [
        rows.add(
            "gre", "passthrough", direction, GRE, Outcome.BLOCKED, cause=Cause.IP_PROTOCOL, sent=10, received=0,
            detail={"form": "in-call"}, evidence=frames,
        )
        for direction in (C2S, S2C)
    ]  # fmt: skip
    call = rows.add("pptp", "control", BOTH, TCP, Outcome.PASS, port=1723, detail={"stage": "call-up"}, evidence=frames[:1])
    client, server = ConversationEndpoint("192.0.2.10", 46780), ConversationEndpoint("198.51.100.20", 1723)
    captures = (
        CaptureFile("seed-client.pcap", "pcap", "EN10MB", 41, True, "client"),
        CaptureFile("seed-server.pcap", "pcap", "EN10MB", 17, False, "server", "record 18 ends after 12 of its 62 bytes"),
    )
    conversations = (
        ConversationSummary("pptp", client, server, "call-up", TCP, "seed-client.pcap", 7, 6, 1, 30),
        ConversationSummary(
            "gre", replace(client, port=None), replace(server, port=None), "one-way", GRE, "seed-client.pcap", 10, 0, 9, 41,
            findings=("GRE leaves the client ten times, none comes back.",),
        ),
    )  # fmt: skip
    unknown = [
        verdict(protocol, Feasibility.UNKNOWN, "This trace does not measure it: run `vpnprobe run --peer HOST` to know.", [])
        for protocol in ("l2tp", "l2tp-ipsec", "openvpn-udp", "openvpn-tcp")
    ]
    pptp = verdict(
        "pptp",
        Feasibility.INFEASIBLE,
        "GRE is sent by both ends and received by neither: IP protocol 47 is dropped between them in both directions.",
        [*gone, call],
    )
    return Result(
        run(Mode.OFFLINE, captures=captures, client={"address": "192.0.2.10"}, server={"address": "198.51.100.20"}),
        tuple(rows.rows),
        (pptp, *unknown),
        None,
        conversations=conversations,
    )


def solo_result() -> Result:
    """No agent at the server, no raw sockets here: answers prove, silence does not."""
    rows = Rows()
    answered = rows.add("tcp", "reach", BOTH, TCP, Outcome.PASS, port=443, sent=4, received=4, rtt_ms=18.3)
    refused = rows.add(
        "udp", "reach", BOTH, UDP, Outcome.REFUSED, port=1701, cause=Cause.NO_LISTENER, sent=2, received=2, detail={"by": "203.0.113.5"}
    )
    silent = rows.add("openvpn", "reset", BOTH, UDP, Outcome.NO_ANSWER, port=1194, sent=5, received=0)
    skipped = rows.add("gre", "passthrough", C2S, GRE, Outcome.SKIPPED, detail={"reason": "no raw-ip capability: run as root"})
    failed = rows.add("esp", "passthrough", C2S, ESP, Outcome.ERROR, detail={"reason": "the socket was closed by the system"})
    verdicts = (
        verdict("pptp", Feasibility.UNKNOWN, "GRE was not measured.", [skipped]),
        verdict("l2tp", Feasibility.INFEASIBLE, "The server refuses UDP port 1701: nothing listens there.", [refused]),
        verdict("l2tp-ipsec", Feasibility.UNKNOWN, "ESP was not measured.", [failed]),
        verdict("openvpn-udp", Feasibility.UNKNOWN, "Silence on UDP port 1194 proves nothing by itself.", [silent]),
        verdict("openvpn-tcp", Feasibility.DEGRADED, "TCP port 443 is open, not the default port.", [answered], port=443, score=0.5),
    )
    advice = Recommendation(
        "openvpn-tcp", ("openvpn-tcp",), ("TCP port 443 answers; nothing else could be shown.",), port=443, settings={"port": 443}
    )
    return Result(
        run(Mode.SOLO, client={"address": "192.0.2.7", "capabilities": []}, server={"address": "203.0.113.5"}),
        tuple(rows.rows),
        verdicts,
        advice,
    )


def incomplete_result() -> Result:
    whole = seed_result()
    return replace(whole, observations=whole.observations[:9], verdicts=(), recommendation=None, complete=False)


MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TERMINAL = "\x1b[2J\x1b]0;owned\x07\u202eevil\x00\x9b31m"


def hostile_result() -> Result:
    """Markup, terminal escapes, direction overrides and lone surrogates wherever a stranger's text can stand."""
    bad = MARKUP + TERMINAL
    long = "A" * 5000
    rows = (
        Observation(bad, bad, bad, C2S, UDP, Outcome.PASS, port=1194, detail={bad: bad, "deep": {"list": [bad, {"k": bad}]}, "long": long}),
        Observation("two", "tcp", "nmap", BOTH, TCP, Outcome.PASS, port=80, detail={"state": bad}),
        Observation("three", "path", "trace", C2S, UDP, Outcome.PASS, detail={"hops": [{"ttl": 1, "address": bad}, "x", {"ttl": bad}]}),
        Observation(
            "four", "gre", "passthrough", C2S, GRE, Outcome.BLOCKED, cause=Cause.IP_PROTOCOL, sent=4, received=0,
            location=Location(1, bad, bad), evidence=(Evidence(bad, 1),), detail={"form": bad},
        ),
        Observation("five", "path", "trace", S2C, UDP, Outcome.PASS, detail={"hops": "none"}),
        Observation("six", "path", "trace", S2C, TCP, Outcome.PASS, detail={"hops": [{"ttl": 10**9, "address": "10.0.0.1"}]}),
    )  # fmt: skip
    end = ConversationEndpoint(bad, 1)
    reason = Reason(bad, bad, ("two", bad, "#nowhere"))
    verdicts = (Verdict(bad, Feasibility.FEASIBLE, (reason,), port=1194), Verdict("pptp", Feasibility.UNKNOWN, (reason,)))
    return Result(
        run(
            Mode.OFFLINE,
            id=bad,
            version=bad,
            client={"address": bad, bad: bad, "capabilities": bad},
            server={"address": "\udcff\udcfe.pcap"},
            captures=(CaptureFile(f"\udcff{bad}", "pcap", bad, 3, False, "client", bad, verdicts),),
        ),
        rows,
        verdicts,
        Recommendation(bad, (bad,), (bad,), port=1, settings={bad: bad, "keepalive": [bad, 2]}, warnings=(bad,)),
        conversations=(ConversationSummary(bad, end, end, bad, UDP, bad, findings=(bad,), detail={bad: bad}),),
    )


SAMPLES = {
    "seed": seed_result,
    "clean": clean_result,
    "blocked": blocked_result,
    "offline": offline_result,
    "solo": solo_result,
    "incomplete": incomplete_result,
    "hostile": hostile_result,
}
