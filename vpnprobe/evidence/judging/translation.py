"""What NATs make of addresses, ports and Call IDs, at the client's side and at the server's, of each protocol that was seen at both ends.

Held against each other are what an end has itself and what the other end sees of the same packet (RFC 4787 section 4). A packet known at
both ends is needed; where none is, the address of the control channel says at least whether there is a NAT.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vpnprobe.evidence.checks import CLIENT_SIDE, SERVER_SIDE, mapping
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

HostPort = tuple[str, int | None]
CALL_IDS: Final = ("call_id", "peer_call_id")
"""Numbers in a message that a helper for its protocol rewrites on the way (RFC 2637 section 2)."""


@dataclass(slots=True)
class Translation:
    """What is known of one side and protocol."""

    seen_as: dict[HostPort, dict[HostPort, HostPort]] = field(default_factory=lambda: defaultdict(dict))
    """An end's own address and port, to whom it was sent, and what was seen there; ports are None where they are not known."""

    def add(self, own: HostPort, to: HostPort, seen: HostPort) -> None:
        self.seen_as[own][to] = seen

    def __iter__(self) -> Iterator[tuple[HostPort, HostPort]]:
        return ((own, seen) for own, flows in self.seen_as.items() for seen in flows.values())

    @property
    def addresses(self) -> bool:
        """Whether an address is another outside."""
        return any(own[0] != seen[0] for own, seen in self)

    @property
    def ports(self) -> bool | None:
        """Whether a port is another outside; None: no port is known at both ends."""
        known = [own[1] != seen[1] for own, seen in self if own[1] is not None and seen[1] is not None]
        return any(known) if known else None

    @property
    def independent(self) -> bool | None:
        """Whether one own port is the same outside whomever it sends to; None: none was seen to send to several."""
        several = [set(flows.values()) for own, flows in self.seen_as.items() if own[1] is not None and len(flows) > 1]
        return all(len(outside) == 1 for outside in several) if several else None


def address_translation(judge: Judge) -> list[Observation]:
    """One observation a side and protocol; where the addresses alone are known, one a side; none where they are not."""
    found: dict[tuple[str, Transport], Translation] = defaultdict(Translation)
    for here, there in _both_ends(judge):
        transport, peer = here.check.transport, there.peer
        own = here.local or (None if transport is Transport.UDP else judge.facts.client_address, None)
        if own[0] is not None and peer is not None and here.peer is not None:
            found[CLIENT_SIDE, transport].add((own[0], own[1]), here.peer, peer)
        at = there.local[0] if there.local is not None else judge.facts.server_own_addresses.get(transport)
        if at is not None and here.peer is not None and peer is not None:
            found[SERVER_SIDE, transport].add((at, None), peer, (here.peer[0], None))
    for side, translation in _of_addresses(judge):
        if not any(other == side for other, _ in found):
            found[side, Transport.IP] = translation
    return [_mapping(mapping(transport, side), found[side, transport]) for side, transport in sorted(found)]


def _both_ends(judge: Judge) -> Iterator[tuple[PacketRecord, PacketRecord]]:
    """What the client sent, and the same as it came to the server."""
    client, server = judge.ends[Direction.C2S]
    if not judge.facts.joined:
        return
    left = (s for s in client.packet_records if s.movement is Movement.SENT and not s.ttl_limited)
    sent = {(s.check, s.key, s.message): s for s in sorted(left, key=lambda s: s.local is not None)}
    for came in server.packet_records:
        if came.movement is Movement.RECEIVED and (before := sent.get((came.check, came.key, came.message))) is not None:
            yield before, came


def _of_addresses(judge: Judge) -> Iterator[tuple[str, Translation]]:
    facts = judge.facts
    pairs = (
        (CLIENT_SIDE, facts.client_address, facts.client_seen_as),
        *((SERVER_SIDE, own, facts.server_address) for own in facts.server_own_addresses.values()),
    )
    for side, own, seen in pairs:
        if own is not None and seen is not None:
            translation = Translation()
            translation.add((own, None), ("", None), (seen, None))
            yield side, translation


def _mapping(check: Check, found: Translation) -> Observation:
    translated = found.addresses or bool(found.ports)
    own, seen = next(((own, seen) for own, seen in found if own[0] != seen[0]), next(iter(found)))
    detail: dict[str, Any] = {**form_detail(check), "address": own[0], "seen_as": seen[0], "translated": translated}
    if found.ports is not None:
        detail["ports"] = "rewritten" if found.ports else "kept"
    if found.independent is not None:
        detail["mapping"] = "endpoint-independent" if found.independent else "endpoint-dependent"
    return _fact(check, Outcome.DEGRADED if translated else Outcome.PASS, Cause.NAT if translated else None, detail)


def _fact(check: Check, outcome: Outcome, cause: Cause | None, detail: Mapping[str, Any]) -> Observation:
    return Observation(
        id=identifier(check, Direction.BOTH),
        probe=check.probe,
        check=check.name,
        direction=Direction.BOTH,
        transport=check.transport,
        port=check.port,
        outcome=outcome,
        cause=cause,
        detail=detail,
    )


def helpers(judge: Judge) -> list[Observation]:
    """Whether a helper (ALG) on the path rewrites the Call IDs that both ends agree on; none where no message with one is known at both."""
    client, server = judge.ends[Direction.C2S]
    told: dict[Check, list[dict[str, Any]]] = {}
    if judge.facts.joined:
        for way, sender, receiver in ((Direction.C2S, client, server), (Direction.S2C, server, client)):
            for check, changes in _changes(way, sender.packet_records, receiver.packet_records):
                told.setdefault(check, []).extend(change for change in changes if change not in told.get(check, ()))
    return [
        _fact(
            Check("nat", "alg", check.transport, check.port), Outcome.PASS, None, {"of": f"{check.probe}/{check.name}", "rewritten": some}
        )
        for check, some in sorted(told.items())
    ]


def _changes(
    way: Direction, sent: Iterable[PacketRecord], received: Iterable[PacketRecord]
) -> Iterator[tuple[Check, list[dict[str, Any]]]]:
    """What became of the Call IDs of each message of a control connection that is known at both ends."""
    left = {(s.check, s.key, s.message): s for s in sent if s.movement is Movement.SENT and s.check.transport is Transport.TCP}
    for came in received:
        before = left.get((came.check, came.key, came.message)) if came.movement is Movement.RECEIVED else None
        names = [name for name in CALL_IDS if before is not None and name in before.detail and name in came.detail]
        if before is not None and names:
            yield (
                came.check,
                [
                    {
                        "message": came.message,
                        "direction": way.value,
                        "name": name,
                        "sent": before.detail[name],
                        "received": came.detail[name],
                    }
                    for name in names
                    if before.detail[name] != came.detail[name]
                ],
            )
