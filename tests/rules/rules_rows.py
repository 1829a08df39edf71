"""Observations written by hand, as the probes report them, for the tests of the rules."""

from collections.abc import Iterable, Mapping, Sequence

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Location, Observation, Outcome, Transport, Verdict
from vpnprobe.rules import Decision

PORTS = (1194, 443, 53, 80, 8443, 51194)
BOTH = (Direction.BOTH,)
EACH_WAY = (Direction.C2S, Direction.S2C)
Key = tuple[str, str, Transport, int | None, str | None, Direction]


def row(
    check: str,
    transport: Transport,
    outcome: Outcome,
    *,
    port: int | None = None,
    form: str | None = None,
    direction: Direction = Direction.BOTH,
    cause: Cause | None = None,
    sent: int | None = 20,
    received: int | None = None,
    error_bound: float | None = None,
    location: Location | None = None,
    detail: Mapping[str, object] | None = None,
    name: str | None = None,
) -> Observation:
    """`check` is `probe/check`; the id tells everything that sets the row apart."""
    probe, of_it = check.split("/")
    arrived = {Outcome.PASS: sent, Outcome.DEGRADED: 15}.get(outcome, 0) if received is None else received
    return Observation(
        id=name or "-".join(str(part) for part in (probe, of_it, form, transport, port, direction) if part is not None),
        probe=probe,
        check=of_it,
        direction=direction,
        transport=transport,
        outcome=outcome,
        port=port,
        cause=cause,
        sent=sent,
        received=arrived if sent is not None else None,
        error_bound=error_bound,
        location=location,
        detail={**({"form": form} if form else {}), **(detail or {})},
    )


def clean(ports: Iterable[int] = PORTS) -> list[Observation]:
    """Everything passes, and there is no NAT."""
    return path({}, ports)


def questions(ports: Iterable[int] = PORTS) -> list[Key]:
    """All that a run asks."""
    tcp, udp, gre = Transport.TCP, Transport.UDP, Transport.GRE
    asked: list[tuple[str, str, Transport, int | None, str | None, Sequence[Direction]]] = [
        ("tcp", "reach", tcp, 1723, None, BOTH),
        ("pptp", "control", tcp, 1723, None, BOTH),
        ("pptp", "lcp", gre, None, "in-call", EACH_WAY),
        ("gre", "passthrough", gre, None, "in-call", EACH_WAY),
        ("gre", "passthrough", gre, None, "bare", EACH_WAY),
        ("esp", "passthrough", Transport.ESP, None, None, EACH_WAY),
        ("l2tp", "control", udp, 1701, None, BOTH),
        ("l2tp", "data", udp, 1701, None, EACH_WAY),
        ("ike", "ikev1-main", udp, 500, None, BOTH),
        ("ike", "ikev1-main", udp, 4500, None, BOTH),
        ("ike", "ikev2-init", udp, 500, None, BOTH),
        ("ike", "esp-in-udp", udp, 4500, None, EACH_WAY),
        ("nat", "mapping", udp, None, None, BOTH),
    ]
    asked += [("wireguard", "handshake", udp, 51820, None, BOTH), ("wireguard", "data", udp, 51820, None, EACH_WAY)]
    asked += [("udp", "reach", udp, port, None, EACH_WAY) for port in (500, 1701, 4500, 51820, *ports)]
    asked += [("tcp", "reach", tcp, port, None, BOTH) for port in ports]
    for transport in (udp, tcp):
        asked += [("openvpn", check, transport, port, None, BOTH) for check in ("reset", "handshake") for port in ports]
        asked += [("openvpn", "data", transport, port, None, EACH_WAY) for port in ports]
    return [(probe, check, transport, port, form, way) for probe, check, transport, port, form, ways in asked for way in ways]


def path(outcomes: Mapping[str, tuple[Outcome, Cause | None]], ports: Iterable[int] = PORTS) -> list[Observation]:
    """Everything passes, except what is named: `probe/check` with as many of `transport`, `port`, `form`, `direction` as are given.

    The last name in the mapping that fits a question decides.
    """
    rows = []
    for probe, check, transport, port, form, direction in questions(ports):
        outcome, cause = Outcome.PASS, None
        words = {f"{probe}/{check}", str(transport), str(port), str(form), str(direction)}
        for name, told in outcomes.items():
            if set(name.split()) <= words:
                outcome, cause = told
        rows.append(row(f"{probe}/{check}", transport, outcome, port=port, form=form, direction=direction, cause=cause))
    return rows


def openvpn(
    transport: Transport,
    port: int,
    *,
    reset: Outcome = Outcome.PASS,
    handshake: Outcome | None = Outcome.PASS,
    data: Outcome | None = Outcome.PASS,
    back: Outcome | None = None,
    cause: Cause | None = None,
    form: Mapping[str, object] | None = None,
    detail: Mapping[str, object] | None = None,
) -> list[Observation]:
    """The steps of OpenVPN sessions on one port. `back`: data to the client, else as to the server; None: there is no such row.

    `cause` and `detail` are those of what does not pass; `form`: wrap or profile.
    """
    told: list[tuple[str, Outcome | None, Direction]] = [("reset", reset, Direction.BOTH), ("handshake", handshake, Direction.BOTH)]
    told += [("data", data, Direction.C2S), ("data", back or data, Direction.S2C)]
    marks = "-".join(str(value) for value in (form or {}).values())
    return [
        row(
            f"openvpn/{check}",
            transport,
            outcome,
            port=port,
            direction=way,
            cause=cause if outcome is not Outcome.PASS else None,
            detail={**(form or {}), **((detail or {}) if outcome is not Outcome.PASS else {})},
            name=f"openvpn-{check}-{transport}-{port}-{way}" + (f"-{marks}" if marks else ""),
        )
        for check, outcome, way in told
        if outcome is not None
    ]


def verdict(decision: Decision, protocol: str) -> Verdict:
    return next(one for one in decision.verdicts if one.protocol == protocol)


def feasibility(decision: Decision) -> dict[str, Feasibility]:
    return {one.protocol: one.feasibility for one in decision.verdicts}


def said(decision: Decision, protocol: str) -> str:
    return " ".join(reason.text for reason in verdict(decision, protocol).because)
