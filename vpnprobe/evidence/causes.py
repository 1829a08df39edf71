"""Why something does not pass: each failing observation is compared with what passes beside it.

The control experiments: the same payload on another port, another payload on the same port, another IP protocol between the same
addresses, the same check in a tunnel-less form. Where it is lost is told by `evidence.places`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from vpnprobe.evidence.checks import BARE, IN_CALL, Kind, comes_before, kind_of, servers_of
from vpnprobe.evidence.decoy_streams import DecoyStream, all_are_cut, one_passes
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.places import FAILED, last_answer, located, lost_way, trace_of
from vpnprobe.evidence.records import PathFacts, PortState, RefusalKind
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.evidence.unopened import asked, cause_where_unopened, first_hop_of_nat, is_kept_by, is_lost_before_nat, is_unopened
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

REFUSED_BY_HOST: Final = {
    "client": "the client's own firewall refuses it",
    # A router that forwards ports holds the server's public address, and answers from it.
    "server": "it is refused in the server's name: by its own firewall, or by the router that forwards to it",
}
OUTSIDE_SESSION: Final = "the server's host takes none of it outside a session of its own server, which does answer"
LARGEST_IP_PACKET: Final = 65535
PASSED: Final = frozenset({Outcome.PASS, Outcome.DEGRADED})


def explain(observations: Sequence[Observation], facts: PathFacts, *, beside: Sequence[Observation] = ()) -> list[Observation]:
    """The same observations, with causes and places added to those that fail. `beside`: others that may tell why."""
    observations = [_behind_servers_nat(o, facts) for o in observations]
    others = (*observations, *beside)
    explained = (_with_cause(o, others, facts) if o.outcome in FAILED else _confirmed(o, others) for o in observations)
    return [located(o, facts) for o in explained]


def _confirmed(observation: Observation, others: Sequence[Observation]) -> Observation:
    """The same; and of a UDP port whose last packets are lost together, as in a burst, loss, unless something else fails there."""
    if observation.check != "reach" or observation.transport is not Transport.UDP or observation.cause is not Cause.UNKNOWN:
        return observation
    same_port = (o for o in others if o.check != "reach" and (o.transport, o.port) == (observation.transport, observation.port))
    fails = any(o.outcome in FAILED or (o.outcome is Outcome.DEGRADED and o.cause is not Cause.LOSS) for o in same_port)
    return observation if fails else replace(observation, cause=Cause.LOSS)


def _behind_servers_nat(observation: Observation, facts: PathFacts) -> Observation:
    """The same as a stateful firewall's, where what passes only after the server has spoken is shown to have passed the server's NAT."""
    by_nat = observation.cause is Cause.NAT and "after_server" in observation.detail
    return replace(observation, cause=Cause.STATE) if by_nat and _passes_servers_nat(observation, facts) else observation


def _with_cause(observation: Observation, others: Sequence[Observation], facts: PathFacts) -> Observation:
    if observation.cause is not None:
        return observation
    cause, why = _cause(observation, others, facts)
    told: dict[str, Any] = {"compared_with": why} if why else {}
    check = Check(observation.probe, observation.check, observation.transport, observation.port, family=observation.family or 4)
    if cause is Cause.NO_LISTENER and (answered := _answered_beside(check, others)):
        told = {"answered_beside": answered, "reason": OUTSIDE_SESSION}
    if cause is Cause.HOST_FIREWALL and (host := _refusing_host(observation, facts)):
        coming = (_refused_way(observation) is Direction.S2C) is (host == "client")
        told = {"host": host, "reason": REFUSED_BY_HOST[host], **facts.mend(host, [check], leaving=not coming)}
    return replace(observation, cause=cause, detail={**observation.detail, **told})


def _answered_beside(check: Check, others: Sequence[Observation]) -> list[str]:
    """What shows that a server which takes such packets is there, though this one was refused: it answered."""
    servers = servers_of(check)
    return [o.id for o in others if o.outcome in PASSED and (o.transport, o.port) in servers and (o.family or 4) == check.family]


def _cause(failed: Observation, others: Sequence[Observation], facts: PathFacts) -> tuple[Cause, list[str]]:
    """The cause, and the ids of the observations that tell it."""
    others = [o for o in others if o.family == failed.family or o.family is None]
    passing = _covering([o for o in others if o.outcome in PASSED and o.id != failed.id], lost_way(failed))
    if failed.detail.get("by") == "peer":
        return Cause.UNKNOWN, []  # Its own refusal, in its protocol's words: nothing on the path.
    if _refused_by_servers_nat(failed, facts):
        return Cause.NAT, []
    if _by_the_peer(failed, facts):
        return Cause.NO_LISTENER, []
    if _refusing_host(failed, facts):
        return Cause.HOST_FIREWALL, []
    if (unasked := cause_where_unopened(failed, others, facts)) is not None:
        return unasked, []
    if failed.transport is Transport.GRE:
        return _cause_of_gre(failed, others, passing, facts)
    if failed.transport is Transport.ESP:
        by_nat = _at_servers_nat(failed, facts) or _refused_by_clients_nat(failed, facts)
        return (Cause.NAT, []) if by_nat else _cause_of_protocol(passing, facts)
    if failed.check != "reach":
        return _cause_of_payload(failed, others, passing, facts)
    said_otherwise = [o for o in passing if o.transport is failed.transport and o.port == failed.port]
    if said_otherwise:
        # A VPN protocol's own messages pass on this very port: it is what ours say that is filtered.
        return Cause.PAYLOAD, _ids(said_otherwise)
    same = [o for o in passing if o.check == "reach" and o.transport is failed.transport]
    if same or (failed.transport is Transport.TCP and facts.background):
        # The control channel is a TCP connection to another port, and it passes.
        return Cause.PORT, _ids(same)
    return _cause_of_protocol(passing, facts)


def _cause_of_gre(
    failed: Observation, others: Sequence[Observation], passing: Sequence[Observation], facts: PathFacts
) -> tuple[Cause, list[str]]:
    bare = next((o for o in passing if o.probe == "gre" and o.detail.get("form") == BARE), None)
    in_call = failed.detail.get("form") == IN_CALL
    # What the server's own firewall keeps has come through to its host.
    to_server = [o for o in others if o.probe == "gre" and o.direction is Direction.C2S]
    client_to_server = [o for o in to_server if o.outcome in PASSED or is_kept_by(o, "server")]
    if in_call and failed.direction is Direction.S2C and facts.nat:
        # Behind one with a helper there may be another without: who has the client's address for the server, and no call, says so itself.
        unknown_to_it = failed.detail.get("refusal") == RefusalKind.PROTOCOL_UNREACHABLE.value
        by_nat = None is not failed.detail.get("by") == facts.client_seen_as and (unknown_to_it or not _has_helper(others))
        dropped_by_nat = client_to_server and not _has_helper(others) and (bare is not None or _reaches_nat(failed, facts))
        if by_nat or dropped_by_nat:
            return Cause.NAT, _ids(client_to_server)
    kept = [o for o in others if o.transport is Transport.GRE and o.direction is Direction.C2S and is_kept_by(o, "client")]
    if kept and failed.direction is Direction.S2C and facts.nat and not _has_helper(others):
        # A NAT lets in what was asked for, and the client's own firewall lets nothing out that could ask.
        return Cause.NAT, _ids(kept)
    if in_call and (late := _after_server(failed, others)) is not None and late.cause is not None:
        # What follows flows takes each direction of a call for a flow of its own, so the server's packets do not open the way there.
        return late.cause, [late.id]
    if in_call and bare is not None:
        same_forth = [o for o in client_to_server if o.detail.get("form") == IN_CALL]
        if failed.direction is Direction.S2C and same_forth:
            # The same packets pass the other way, and other GRE this way: what goes by flows lets out the client's alone.
            return Cause.STATE, _ids([*same_forth, bare])
        return Cause.PAYLOAD, [bare.id]
    if _at_servers_nat(failed, facts) or _refused_by_clients_nat(failed, facts):
        return Cause.NAT, []
    told_where = failed.detail.get("by") is not None or is_lost_before_nat(failed, facts)
    if in_call and facts.nat and is_unopened(failed, others) and not told_where:
        # Its NAT may know of nothing that asked for it: the client's own were lost, perhaps before they came there.
        return Cause.UNKNOWN, []
    return _cause_of_protocol(passing, facts)


def _has_helper(others: Sequence[Observation]) -> bool:
    """Whether a NAT is shown to read what calls are agreed upon: it rewrites Call IDs, and so it knows whose packets are which."""
    return any((o.probe, o.check) == ("nat", "alg") and bool(o.detail.get("rewritten")) for o in others)


def _after_server(failed: Observation, others: Sequence[Observation]) -> Observation | None:
    """The row that shows GRE in this direction to pass only after the server's own, of this run or an earlier one; None: there is none."""
    same = (o for o in others if o.transport is failed.transport and o.direction is failed.direction and o.id != failed.id)
    return next((o for o in same if "after_server" in o.detail or "opened_before_s" in o.detail), None)


def _refused_by_servers_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether the router that has the server's address refuses it: it never came to the server, or is open there."""
    by_its_address = failed.outcome is Outcome.REFUSED and failed.detail.get("by") == facts.server_address
    if not by_its_address or not facts.server_nat or _refused_way(failed) is Direction.S2C or _passes_servers_nat(failed, facts):
        return False
    return _never_came(failed) or facts.port_state(failed.transport, failed.port) is PortState.OURS


def _never_came(failed: Observation) -> bool:
    """Whether the server's end is known to have seen none of it."""
    return failed.received == 0 and not failed.detail.get("arrived_at_server")


def _refused_by_clients_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether the router that has the client's address for the server does not know what the server sends: nothing asked for it there."""
    unknown_to_it = failed.detail.get("refusal") == RefusalKind.PROTOCOL_UNREACHABLE.value
    by_it = None is not failed.detail.get("by") == facts.client_seen_as
    return facts.nat is True and failed.direction is Direction.S2C and by_it and unknown_to_it


def _at_servers_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether it vanishes where the server's address is translated: the NAT does not forward this protocol.

    A router that has the server's address is no hop for what is sent to that address, and is one for what it forwards. Where no router
    behind the last is known by any kind, it is the one that does not pass on what it was not told to.
    """
    if not facts.server_nat or lost_way(failed) is not Direction.C2S:
        return False
    last = last_answer(trace) if (trace := trace_of(failed, facts)) is not None else None
    if last is None or _passes_servers_nat(failed, facts):
        return False
    there = (t for t in facts.traces if t.direction is Direction.C2S)
    return {address for t in there for ttl, address in t.hops.items() if ttl > last[0] and address is not None} <= {facts.server_address}


def _passes_servers_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether a router answered for it with the server's address: the NAT, as a hop of what it forwards, or one behind it."""
    last = last_answer(trace) if (trace := trace_of(failed, facts)) is not None else None
    return last is not None and last[1] == facts.server_address


def _reaches_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether the last router that answered for the failing packets is the one whose address stands for the client.

    What answers behind that router is translated to its address too.
    """
    trace = trace_of(failed, facts)
    last = last_answer(trace) if trace is not None else None
    return last is not None and last == (first_hop_of_nat(facts), facts.client_seen_as)


def _cause_of_protocol(passing: Sequence[Observation], facts: PathFacts) -> tuple[Cause, list[str]]:
    other = [o for o in passing if o.transport in (Transport.TCP, Transport.UDP) and o.check == "reach"]
    controls = bool(facts.background)
    return (Cause.IP_PROTOCOL, _ids(other)) if other or controls else (Cause.UNKNOWN, [])


def _cause_of_payload(
    failed: Observation, others: Sequence[Observation], passing: Sequence[Observation], facts: PathFacts
) -> tuple[Cause, list[str]]:
    """A conversation that fails: as its port does, or for what it says."""
    controls = bool(facts.background)  # A control channel passes, over TCP.
    if cut := [o for o in others if o.cause is Cause.PACKETS and o.direction is not failed.direction and _is_of_same_sessions(o, failed)]:
        return Cause.PACKETS, _ids(cut)  # What counts packets counts those of both directions: on a long path this one came too late.
    if stalled := [o for o in others if _stalls_the_other_way(o, failed)]:
        return Cause.UNKNOWN, _ids(stalled)  # What ends those sessions is not shown, and this direction ends with them.
    if begun := [o for o in passing if _is_earlier_step(o, failed)]:
        goes_on = _goes_on(failed, passing, facts)
        ended = None if goes_on else _cut_there(failed, others) or _flow_ends(failed, facts)
        said = (Cause.PAYLOAD, _ids(begun)) if goes_on or not _decoy_streams(failed, facts) else (Cause.UNKNOWN, [])
        return ended or _too_large(failed, others, passing) or said
    reach = [o for o in others if o.check == "reach" and o.transport is failed.transport and o.port == failed.port]
    failing = next((o for o in reach if o.outcome in FAILED), None)
    if failing is not None and failing.cause in (Cause.STATE, Cause.NAT):
        return failing.cause, [failing.id]
    if failing is not None:
        same_kind = [o for o in passing if o.check == "reach" and o.transport is failed.transport]
        by_port = same_kind or (failed.transport is Transport.TCP and controls)
        return (Cause.PORT, _ids(same_kind)) if by_port else (Cause.IP_PROTOCOL, [failing.id])
    if (streams := _decoy_streams(failed, facts)) and not one_passes(streams):
        return _flow_ends(failed, facts) or (Cause.UNKNOWN, [])
    decoys = _covering([o for o in reach if o.outcome in PASSED], lost_way(failed))
    return (Cause.PAYLOAD, _ids(decoys)) if decoys else (Cause.UNKNOWN, [])


def _decoy_streams(failed: Observation, facts: PathFacts) -> Sequence[DecoyStream]:
    """Streams of our own on its very port; empty: none were tried."""
    return facts.decoy_streams.get(failed.port, ()) if failed.transport is Transport.TCP and failed.port is not None else ()


def _goes_on(failed: Observation, passing: Sequence[Observation], facts: PathFacts) -> bool:
    """Whether flows like those that fail are known to go on: payloads behind them come, or streams of ours or data in another form on the
    very port.
    """
    if one_passes(_decoy_streams(failed, facts)):
        return True
    _, came = facts.behind.get((failed.port, lost_way(failed)), (0, 0)) if failed.transport is Transport.UDP else (0, 0)
    same_port = (o for o in passing if (o.probe, o.transport, o.port) == (failed.probe, failed.transport, failed.port))
    return came > 0 or any(kind_of(_check_of(o)) is Kind.DATA and o.received for o in _covering(list(same_port), lost_way(failed)))


def _check_of(observation: Observation) -> Check:
    return Check(observation.probe, observation.check, observation.transport, observation.port)


def _cut_there(failed: Observation, others: Sequence[Observation]) -> tuple[Cause, list[str]] | None:
    """What is cut after some packets may be cut before its data: on the port of sessions that are, this is why; elsewhere it may be."""
    cut = [o for o in others if o.cause is Cause.PACKETS and o.transport is failed.transport and o.probe != failed.probe]
    there = [o for o in cut if o.port == failed.port]
    return (Cause.PACKETS, _ids(there)) if there else (Cause.UNKNOWN, _ids(cut)) if cut else None


def _flow_ends(failed: Observation, facts: PathFacts) -> tuple[Cause, list[str]] | None:
    """Where nothing at all passes in its flows any more: after some packets, or since they were recognised, and not for what was lost.

    Streams that say something else and end alike are cut for the number of their packets, or of their bytes.
    """
    if streams := _decoy_streams(failed, facts):
        return (Cause.PACKETS, []) if all_are_cut(streams) else None
    if failed.transport is not Transport.UDP:
        return None
    # The server's are answers: where none of the client's comes, it has none to send.
    ways = [facts.behind[failed.port, way] for way in (lost_way(failed), Direction.C2S) if (failed.port, way) in facts.behind]
    sent, came = ways[0] if ways else (0, 0)
    return (Cause.UNKNOWN, []) if sent >= LEAST_TRIALS and not came else None


def _too_large(failed: Observation, others: Sequence[Observation], passing: Sequence[Observation]) -> tuple[Cause, list[str]] | None:
    """Where what is lost is larger than other packets that pass only up to a size; None: nothing is limited so.

    Where that is known of the other transport alone, it may be so. On another port something as large must not pass besides.
    """
    size, way = failed.detail.get("lost_bytes", 0), lost_way(failed)
    if not size:
        return None
    limited = [o for o in others if o.cause is Cause.SIZE and o.direction in (way, Direction.BOTH) and _passes_up_to(o) < size]
    if there := [o for o in limited if (o.transport, o.port) == (failed.transport, failed.port)]:
        return Cause.SIZE, _ids(there)
    larger = (o for o in passing if o.transport is failed.transport and o.direction in (way, Direction.BOTH))
    if any(o.detail.get("largest_passed", 0) >= size for o in larger):
        return None
    if same := [o for o in limited if o.transport is failed.transport]:
        return Cause.SIZE, _ids(same)
    return (Cause.UNKNOWN, _ids(limited)) if limited else None


def _passes_up_to(limited: Observation) -> int:
    """Bytes of the largest IP packet that came of those that are limited in their size; where that is not known none is larger."""
    largest = limited.detail.get("largest_passing")
    return largest if isinstance(largest, int) else LARGEST_IP_PACKET


def _is_earlier_step(other: Observation, failed: Observation) -> bool:
    """Whether it is a step of the very sessions that fail later: what they say then is what does not pass."""
    return _is_of_same_sessions(other, failed) and comes_before(failed.probe, other.check, failed.check)


def _stalls_the_other_way(other: Observation, failed: Observation) -> bool:
    """Whether it is the same check of the very sessions, of which the other direction came in part and is not said to pass or to fail."""
    same = other.check == failed.check and other.direction is not failed.direction and _is_of_same_sessions(other, failed)
    return same and other.outcome is Outcome.NO_ANSWER and 0 < (other.received or 0) < (other.sent or 0)


def _is_of_same_sessions(other: Observation, failed: Observation) -> bool:
    same = (other.probe, other.transport, other.port) == (failed.probe, failed.transport, failed.port)
    return same and all(other.detail.get(key) == failed.detail.get(key) for key in ("wrap", "profile", "remote"))


def _by_the_peer(failed: Observation, facts: PathFacts) -> bool:
    """A refusal that the addressed host made itself, for want of a listener."""
    if failed.outcome is not Outcome.REFUSED:
        return False
    if _refused_way(failed) is Direction.S2C:
        # The client's own kernel, which has no socket for the protocol; a NAT that is known to be there may have said it instead.
        refused = failed.detail.get("refusal") == RefusalKind.PROTOCOL_UNREACHABLE.value
        return refused and not facts.nat and failed.detail.get("by") in {facts.client_address, facts.client_seen_as} - {None}
    if failed.detail.get("refusal") == RefusalKind.PROHIBITED.value:
        return False
    by = failed.detail.get("by")
    if None not in (by, facts.server_address) and by != facts.server_address:
        return False
    state = facts.port_state(failed.transport, failed.port)
    if failed.port is None:
        return failed.detail.get("refusal") == RefusalKind.PROTOCOL_UNREACHABLE.value and failed.detail.get("by_peer") is not False
    return state is not PortState.OURS and not failed.detail.get("by_router")


def _refusing_host(failed: Observation, facts: PathFacts) -> str:
    """Which end, `client` or `server`, refuses by a firewall of its own what comes to it or leaves it; empty: neither is known to."""
    by, kind, way = failed.detail.get("by"), failed.detail.get("refusal"), _refused_way(failed)
    if failed.outcome is not Outcome.REFUSED or by is None:
        return ""
    if by == facts.client_address and (way is not Direction.S2C or facts.nat is False):
        return "client"
    if by != facts.server_address or (facts.server_nat and way is not Direction.S2C and _never_came(failed)):
        return ""  # Routers behind the server's NAT answer with its address too.
    listening = kind != RefusalKind.RST.value and facts.port_state(failed.transport, failed.port) is PortState.OURS
    return "server" if kind == RefusalKind.PROHIBITED.value or listening or way is Direction.S2C else ""


def lost_ways(failed: Observation) -> tuple[Direction, ...]:
    """The directions in one of which it is lost: both where that is not known."""
    way = _refused_way(failed) if failed.outcome is Outcome.REFUSED or failed.check == "reach" else lost_way(failed)
    return (Direction.C2S, Direction.S2C) if way is Direction.BOTH else (way,)


def _refused_way(failed: Observation) -> Direction:
    """The direction of what was refused: of a connection its SYN, wherever else it may be lost."""
    return Direction.C2S if failed.transport is Transport.TCP else lost_way(failed)


def _covering(passing: Sequence[Observation], way: Direction) -> list[Observation]:
    """Those that pass in that direction; of BOTH, those that pass in both, be it in a row for each."""
    if way is not Direction.BOTH:
        return [o for o in passing if o.direction in (way, Direction.BOTH)]
    ways = {(asked(o), o.direction) for o in passing}
    return [o for o in passing if o.direction is way or {(asked(o), Direction.C2S), (asked(o), Direction.S2C)} <= ways]


def _ids(observations: Iterable[Observation]) -> list[str]:
    return [observation.id for observation in observations][:3]
