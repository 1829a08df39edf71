"""TTL-limited copies in a capture, and the routers' answers to them: the traces of a run, read again from its packets."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from vpnprobe.capture.decode import Decoder, QuotedMessages
from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.records import EndRecord, TtlTrace
from vpnprobe.observations.schema import Direction

LEAST_SILENT: Final = 2
"""Copies for a router without an answer before that counts for silence: which of them the run itself counted does not show."""


def traces_of(decoders: Sequence[Decoder], ends: Ends, vantage: Vantage, other: EndRecord) -> Iterable[TtlTrace]:
    """One trace a kind of packet that was traced from this end; `other`: the record of the end that the copies were sent to."""
    here = ends.client if vantage is Vantage.CLIENT else ends.server
    direction = Direction.C2S if vantage is Vantage.CLIENT else Direction.S2C
    asked = Counter[tuple[Check, int]]()
    hops_by_check = _hops(decoders, ends, here, asked)
    speaking = {ttl for hops in hops_by_check.values() for ttl, address in hops.items() if address is not None}
    for check, hops in hops_by_check.items():
        sent = {
            s.key: s.ttl
            for decoder in decoders
            for s in decoder.record(ends, vantage).packet_records
            if s.ttl_limited and s.movement is Movement.SENT and s.check == check
        }
        came = [sent[s.key] for s in other.packet_records if s.movement is Movement.RECEIVED and s.check == check and s.key in sent]
        reached = [ttl for ttl in came if ttl is not None]
        silent = frozenset(ttl for ttl in speaking if hops.get(ttl) is None and asked[check, ttl] >= LEAST_SILENT)
        yield TtlTrace(check, direction, dict(sorted(hops.items())), min(reached, default=None), bool(reached), silent)


def _hops(decoders: Iterable[Decoder], ends: Ends, here: str, asked: Counter[tuple[Check, int]]) -> dict[Check, dict[int, str | None]]:
    """By check: TTL of each copy to the address that answered for it. Counts the copies in `asked`."""
    found: dict[Check, dict[int, str | None]] = {}
    for decoder in decoders:
        # A packet that bears on several checks is traced for the first of them.
        limited = (captured for captured in decoder.hosts.messages(ends) if captured.source[0] == here and decoder.ttl_limited(captured))
        copies = list({captured.number: captured for captured in reversed(list(limited))}.values())[::-1]
        for captured in copies:
            if captured.ttl is not None and {captured.source[0], captured.destination[0]} == {ends.client, ends.server}:
                check = decoder.check(captured, ends)
                found.setdefault(check, {}).setdefault(captured.ttl, None)
                asked[check, captured.ttl] += 1
        quoted = QuotedMessages(copies)
        for error in decoder.hosts.icmp_errors(ends):
            if error.kind is None and str(error.quote.source) == here:
                for captured in quoted.captured_messages(error.quote):
                    hops = found.get(decoder.check(captured, ends), {})
                    if captured.ttl in hops:
                        hops[captured.ttl] = error.source
    return found
