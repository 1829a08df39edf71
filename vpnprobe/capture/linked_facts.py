"""What conversations of one capture show of each other, and what ICMP errors say of them, as facts in their summaries.

A refusal quotes what it is about; an answer may come from another address than was asked. What only one protocol's conversations show of
each other, its follower says (`FollowerSpec.linked`). Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from vpnprobe.capture.account import FRAMES_TOLD, PATIENCE_S, SINCE, Fact
from vpnprobe.capture.checksums import Checksums
from vpnprobe.capture.directions import NOT_CAPTURED
from vpnprobe.capture.logged_blocks import LoggedBlocks
from vpnprobe.evidence.records import RefusalKind
from vpnprobe.observations.schema import ConversationSummary, Direction, Transport
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.isakmp import NAT_T_PORT


class IcmpErrorSeen(Protocol):
    """What is asked of `decode.IcmpError`."""

    @property
    def number(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def kind(self) -> RefusalKind | None: ...
    @property
    def quote(self) -> Quote: ...


PROTOCOLS: Final[Mapping[Transport, int]] = {Transport.TCP: IpProtocol.TCP, Transport.UDP: IpProtocol.UDP}
WITHOUT_PORTS: Final[Mapping[str, int]] = {"gre": IpProtocol.GRE, "esp": IpProtocol.ESP}
"""By the protocol of a conversation."""
WENT_BOTH_WAYS: Final = frozenset(
    {
        "both-ways",
        "data-both-ways",
        "midstream-data-both-ways",
        "call-up",
        "session-up",
        "auth-answered",
        "quick-mode-answered",
    }
)
ANSWERED: Final = frozenset(
    {
        "main-response-only",
        "aggressive-response-only",
        "main-answered",
        "sa_init-answered",
        "sa_init-rejected-or-cookie",
        "server-reset",
        "sccrp",
    }
)
"""Stages of a conversation of which an answer alone was seen."""
OF_DIRECTIONS: Final = frozenset(("one-way", "gre-one-way", "lcp-silent", "lcp-unanswered"))
"""Facts that one direction alone was seen of, or has anything in it."""
OF_ANSWERS: Final = frozenset(("unanswered", "large-unanswered", "fragmented"))
"""Facts of an answer that did not come."""
ANSWERS_GO: Final[Mapping[str, str]] = {"client": Direction.S2C.value, "server": Direction.C2S.value}
"""By who asked."""
MISSING: Final = frozenset(("numbers-missing", "acknowledged-unseen"))
"""Facts of what a capture lacks."""
ONE_WAY: Final = frozenset(("esp", "esp-udp"))
"""Protocols whose conversations are data alone."""
ENDS: Final = ("client", "server")
REFUSALS_LIMIT: Final = 4
"""Most refusals of one conversation that are told: by whom, and of which kind."""
ALIKE_LIMIT: Final = 64
"""Most conversations that one refusal is told of."""
TRANSPORTS: Final[Mapping[int, Transport]] = {
    IpProtocol.TCP: Transport.TCP,
    IpProtocol.UDP: Transport.UDP,
    IpProtocol.GRE: Transport.GRE,
    IpProtocol.ESP: Transport.ESP,
}


def with_linked_facts(
    found: Sequence[ConversationSummary],
    errors: Iterable[IcmpErrorSeen],
    checksums: Checksums,
    logged_blocks: LoggedBlocks,
    *,
    last_at: float,
) -> list[ConversationSummary]:
    """The summaries with facts that more than one conversation, or an ICMP error, bears out."""
    by_hosts: dict[frozenset[str], list[ConversationSummary]] = {}
    for one in found:
        by_hosts.setdefault(_hosts(one), []).append(one)
    found = [_shown(one, by_hosts, last_at) for one in found]
    refused = _refusals(found, errors)
    strays = _strays(found)
    return [
        _with(
            one,
            [
                *_elsewhere(one, strays),
                *(_of_ways(one) if _both_ways_captured(one, by_hosts) else ()),
                *refused.get(id(one), ()),
                *(_wrong_checksums(one, checksums) if not _works(one) else ()),
                *_logged_as_blocked(one, logged_blocks),
            ],
        )
        for one in found
    ]


def without_missing(found: Iterable[ConversationSummary]) -> list[ConversationSummary]:
    """The summaries without what they say is missing."""
    kept = ((one, [fact for fact in one.detail.get("facts", ()) if fact["fact"] not in MISSING]) for one in found)
    return [replace(one, detail={**one.detail, "facts": facts}) if "facts" in one.detail else one for one, facts in kept]


def _works(summary: ConversationSummary) -> bool:
    """Whether data or a whole exchange went both ways."""
    return summary.stage in WENT_BOTH_WAYS


def _strays(found: Sequence[ConversationSummary]) -> dict[tuple[str, str, int | None], ConversationSummary]:
    """What a server said to a client who never said anything to it, by protocol and the client's end."""
    return {(one.protocol, one.client.address, one.client.port): one for one in found if one.frames_s2c and not one.frames_c2s}


def _elsewhere(summary: ConversationSummary, strays: Mapping[tuple[str, str, int | None], ConversationSummary]) -> Iterator[Fact]:
    """An answer from another address or port than was asked."""
    stray = strays.get((summary.protocol, summary.client.address, summary.client.port))
    if stray is None or summary.frames_s2c or stray.server == summary.server or summary.transport is not Transport.UDP:
        return
    if stray.stage not in ANSWERED or (stray.first_frame or 0) < (summary.first_frame or 0):
        return  # Somebody else's conversation with the same end.
    same = stray.server.address == summary.server.address
    yield {
        "fact": "answered-elsewhere",
        "by": "server",
        "to": "client",
        "elsewhere": f"port {stray.server.port}" if same else stray.server.address,
        "times": stray.frames_s2c,
        "frames": [summary.first_frame or 0, stray.first_frame or 0],
    }


def _wrong_checksums(summary: ConversationSummary, checksums: Checksums) -> Iterator[Fact]:
    protocol = PROTOCOLS.get(summary.transport)
    hosts = {"client": summary.client.address, "server": summary.server.address}
    for by in ENDS if protocol is not None else ():
        to = _other(by)
        if count := checksums.wrong(hosts[by], hosts[to], protocol or 0):
            yield {"fact": "checksum-wrong", "by": by, "to": to, "times": count, "frames": []}


def _logged_as_blocked(summary: ConversationSummary, logged_blocks: LoggedBlocks) -> Iterator[Fact]:
    protocol = PROTOCOLS.get(summary.transport) or WITHOUT_PORTS.get(summary.protocol)
    hosts = {"client": summary.client.address, "server": summary.server.address}
    for by in ENDS if protocol is not None else ():
        to = _other(by)
        if count := logged_blocks.of(hosts[by], hosts[to], protocol or 0, summary.server.port or 0):
            name = f"{summary.transport.value.upper()} {summary.server.port}" if summary.server.port else summary.protocol.upper()
            yield {"fact": "logged-as-blocked", "by": by, "to": to, "message": name, "times": count, "frames": []}


def _with(summary: ConversationSummary, facts: Sequence[Fact]) -> ConversationSummary:
    if not facts:
        return summary
    return replace(summary, detail={**summary.detail, "facts": [*facts, *summary.detail.get("facts", ())]})


def _of_ways(summary: ConversationSummary) -> Iterator[Fact]:
    """Data of one end alone."""
    if summary.protocol in ONE_WAY and summary.stage == "one-way":
        by = "client" if summary.frames_c2s >= summary.frames_s2c else "server"
        times = max(summary.frames_c2s, summary.frames_s2c)
        yield {"fact": "one-way", "by": by, "to": _other(by), "message": "ESP", "times": times, "frames": [summary.first_frame or 0]}


def _both_ways_captured(summary: ConversationSummary, found: Mapping[frozenset[str], list[ConversationSummary]]) -> bool:
    """Whether no conversation of the same hosts shows that the capture left out one of their directions."""
    return not any(NOT_CAPTURED in one.detail for one in found.get(_hosts(summary), ()))


def _shown(summary: ConversationSummary, found: Mapping[frozenset[str], list[ConversationSummary]], last_at: float) -> ConversationSummary:
    """The summary without facts that a capture which ends just then, holds one direction alone, or goes on elsewhere shows nothing of."""
    told = [fact for fact in summary.detail.get("facts", ()) if _is_shown(fact, summary, found, last_at)]
    kept = [{name: value for name, value in fact.items() if name != SINCE} for fact in told]
    return replace(summary, detail={**summary.detail, "facts": kept}) if "facts" in summary.detail else summary


def _is_shown(fact: Fact, summary: ConversationSummary, found: Mapping[frozenset[str], list[ConversationSummary]], last_at: float) -> bool:
    if fact["fact"] in OF_DIRECTIONS and not _both_ways_captured(summary, found):
        return False
    if fact["fact"] in OF_ANSWERS and summary.detail.get(NOT_CAPTURED) == ANSWERS_GO[fact["by"]]:
        return False
    if fact["fact"] == "fragmented":
        return not any(_speaks_later(fact, summary, one) for one in found.get(_hosts(summary), ()) if one.protocol in ONE_WAY)
    return SINCE not in fact or fact["times"] > 1 or last_at - fact[SINCE] >= PATIENCE_S


def _speaks_later(fact: Fact, summary: ConversationSummary, data: ConversationSummary) -> bool:
    """Whether the end that a message was for sends data after it: then it has got it."""
    address = summary.client.address if fact["to"] == "client" else summary.server.address
    sent = data.frames_c2s if data.client.address == address else data.frames_s2c
    return sent > 0 and (data.last_frame or 0) > max(fact["frames"], default=0)


def _refusals(found: Sequence[ConversationSummary], errors: Iterable[IcmpErrorSeen]) -> dict[int, list[Fact]]:
    """By conversation: what ICMP errors say of packets of its client's. Those about the server's say that the client is gone."""
    quoted = _Quoted(one for one in found if not _works(one))
    grouped: dict[tuple[tuple[object, ...], str, RefusalKind], list[IcmpErrorSeen]] = {}
    for error in errors:
        if error.kind is not None:
            grouped.setdefault((_key_of(error.quote), error.source, error.kind), []).append(error)
    facts: dict[int, list[Fact]] = {}
    for some in grouped.values():
        for one in quoted.about(some[0].quote):
            told = facts.setdefault(id(one), [])
            if len(told) < REFUSALS_LIMIT:
                told.append(_refusal(one, some))
    return facts


def _refusal(summary: ConversationSummary, errors: Sequence[IcmpErrorSeen]) -> Fact:
    error = errors[0]
    host = error.source == str(error.quote.destination)
    elsewhere = "unreachable" if error.kind is RefusalKind.UNREACHABLE else "refused-before"
    port = f" {summary.server.port}" if summary.server.port is not None else ""
    return {
        "fact": "refused" if host else elsewhere,
        "by": "client",
        "to": "server",
        "source": error.source,
        "message": f"{summary.transport.value.upper()}{port}",
        "times": len(errors),
        "frames": [one.number for one in errors[:FRAMES_TOLD]],
    }


class _Quoted:
    """Finds the conversations that a quote may be of. Printed traces leave out the client's port, or both ports and the protocol."""

    def __init__(self, conversations: Iterable[ConversationSummary]) -> None:
        self._by_key: dict[tuple[object, ...], list[ConversationSummary]] = {}
        for one in conversations:
            client, server = one.client, one.server
            self._add(one, _key(one.transport, client.address, client.port, server.address, server.port))
            self._add(one, _key(one.transport, client.address, None, server.address, server.port))
            self._add(one, _key(None, client.address, None, server.address, None))
            if one.detail.get("udp_4500") is True:  # It has moved there; its ends are those of its first message.
                self._add(one, _key(one.transport, client.address, None, server.address, NAT_T_PORT))

    def _add(self, conversation: ConversationSummary, key: tuple[object, ...]) -> None:
        known = self._by_key.setdefault(key, [])
        if len(known) < ALIKE_LIMIT and (not known or known[-1] is not conversation):
            known.append(conversation)

    def about(self, quote: Quote) -> Sequence[ConversationSummary]:
        """Those that fit best."""
        if quote.protocol and quote.protocol not in TRANSPORTS:
            return ()
        exact, source = _key_of(quote), (quote.ports or (None, None))[0]
        if source:
            if exact in self._by_key:
                return self._by_key[exact]
            moved = [one for one in self._by_key.get((*exact[:2], None, *exact[3:]), ()) if one.detail.get("udp_4500") is True]
            return moved
        return self._by_key.get((*exact[:2], None, *exact[3:]), ())


def _key_of(quote: Quote) -> tuple[object, ...]:
    source, destination = quote.ports or (None, None)
    return _key(TRANSPORTS.get(quote.protocol), str(quote.source), source, str(quote.destination), destination)


def _key(transport: Transport | None, client: str, client_port: int | None, server: str, server_port: int | None) -> tuple[object, ...]:
    return transport, client, client_port, server, server_port


def _hosts(summary: ConversationSummary) -> frozenset[str]:
    return frozenset((summary.client.address, summary.server.address))


def _other(end: str) -> str:
    return ENDS[1 - ENDS.index(end)]
