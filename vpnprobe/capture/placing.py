"""TTL-limited copies in a capture, and the routers' answers to them: the traces of a run, read again from its packets."""

from collections.abc import Iterable, Sequence

from vpnprobe.capture.decode import Decoder, QuotedMessages
from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.records import EndRecord, TtlTrace
from vpnprobe.observations.schema import Direction


def traces_of(decoders: Sequence[Decoder], ends: Ends, vantage: Vantage, other: EndRecord) -> Iterable[TtlTrace]:
    """One trace a kind of packet that was traced from this end; `other`: the record of the end that the copies were sent to."""
    here = ends.client if vantage is Vantage.CLIENT else ends.server
    direction = Direction.C2S if vantage is Vantage.CLIENT else Direction.S2C
    for check, hops in _hops(decoders, ends, here).items():
        sent = {
            s.key: s.ttl
            for decoder in decoders
            for s in decoder.record(ends, vantage).packet_records
            if s.ttl_limited and s.movement is Movement.SENT and s.check == check
        }
        came = [sent[s.key] for s in other.packet_records if s.movement is Movement.RECEIVED and s.check == check and s.key in sent]
        reached = [ttl for ttl in came if ttl is not None]
        yield TtlTrace(check, direction, dict(sorted(hops.items())), min(reached) if reached else None)


def _hops(decoders: Iterable[Decoder], ends: Ends, here: str) -> dict[Check, dict[int, str | None]]:
    """By check: TTL of each copy to the address that answered for it."""
    found: dict[Check, dict[int, str | None]] = {}
    for decoder in decoders:
        # A packet that bears on several checks is traced for the first of them.
        limited = (captured for captured in decoder.captured_messages if captured.source[0] == here and decoder.ttl_limited(captured))
        copies = list({captured.number: captured for captured in reversed(list(limited))}.values())[::-1]
        for captured in copies:
            if captured.ttl is not None and {captured.source[0], captured.destination[0]} == {ends.client, ends.server}:
                found.setdefault(decoder.check(captured, ends), {}).setdefault(captured.ttl, None)
        quoted = QuotedMessages(copies)
        for error in decoder.icmp_errors:
            if error.kind is None and str(error.quote.source) == here:
                for captured in quoted.captured_messages(error.quote):
                    hops = found.get(decoder.check(captured, ends), {})
                    if captured.ttl in hops:
                        hops[captured.ttl] = error.source
    return found
