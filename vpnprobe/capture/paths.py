"""Which pairs of hosts a capture is about: each pair with a VPN conversation is a path of its own, with a client of its own.

A capture of a run of ours is about one path. One without any VPN conversation is about the pair that talks to ports of services, as far as
it is about any. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends, Pair
from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.capture.reading import PacketTrace
from vpnprobe.evidence.attempts import SYN
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import ConversationSummary

PATHS_LIMIT: Final = 50
"""Most paths of one input that are judged."""
_VPN_PORTS: Final = frozenset().union(*(spec.tcp_ports | spec.server_ports for spec in FOLLOWERS))


def vpn_paths(traces: Sequence[PacketTrace]) -> list[Ends]:
    """The pairs of hosts with VPN conversations; those that get furthest come first."""
    decoders = [trace.decoder for trace in traces]
    if any(decoder.own for decoder in decoders):
        found = next((ends for trace in traces if trace.decoder.own and (ends := trace.ends) is not None), None)
        return [found] if found is not None else []
    weights = Counter[Pair]()
    both_ways = Counter[Pair]()
    for decoder in decoders:
        for summary in decoder.conversations():
            pair = frozenset((summary.client.address, summary.server.address))
            weights[pair] += summary.frames_c2s + summary.frames_s2c
            both_ways[pair] += _is_both_ways(summary)
        for pair in _attempted(decoder):
            weights[pair] += 1
    pairs = [pair for pair in weights if len(pair) == 2]
    pairs.sort(key=lambda pair: (-both_ways[pair], -weights[pair]))
    return [_oriented(decoders, pair) for pair in pairs]


def paths_of(traces: Sequence[PacketTrace]) -> list[Ends]:
    """The same; the pair with any other traffic that a VPN could be where there is no VPN conversation. Empty: there is none either."""
    found = vpn_paths(traces)
    others = (trace.ends for trace in traces)
    return found or [ends for ends in others if ends is not None][:1]


def _is_both_ways(summary: ConversationSummary) -> bool:
    return bool(summary.frames_c2s and summary.frames_s2c)


def _attempted(decoder: Decoder) -> set[Pair]:
    """Pairs between which a connection to a VPN's own port was begun, whether or not it came up."""
    return {
        frozenset((captured.source[0], captured.destination[0]))
        for captured in decoder.captured_messages
        if captured.message == SYN and captured.destination[1] in _VPN_PORTS
    }


def _oriented(decoders: Iterable[Decoder], pair: Pair) -> Ends:
    first, second = sorted(pair)
    found = [
        decoder.finder.oriented(pair, map(decoder.moves.begun, messages))
        for decoder in decoders
        if (messages := decoder.hosts.messages(Ends(first, second)))
    ]
    # Of a conversation that came up before the capture there may be no message, but a port that tells its server.
    found = found or [decoder.finder.oriented(pair, ()) for decoder in decoders]
    return next((ends for ends in found if ends.client_known), found[0])


def vantages(traces: Sequence[PacketTrace], paths: Sequence[Ends]) -> dict[Ends, Vantage]:
    """At which end of each path the traces were taken; a path is not in it where nothing shows that.

    A host that is shown to be the capturing one for one path is so for all of them.
    """
    found: dict[Ends, Vantage] = {}
    local: set[str] = set()
    for ends in paths:
        for trace in traces:
            vantage = trace.vantage(ends)
            if vantage is not None:
                found.setdefault(ends, vantage)
            elif (address := trace.decoder.finder.local(ends)) is not None:
                local.add(address)
    local |= {ends.client if vantage is Vantage.CLIENT else ends.server for ends, vantage in found.items()}
    for ends in paths:
        here = {ends.client, ends.server} & local
        if ends not in found and len(here) == 1 and ends.client_known:
            found[ends] = Vantage.CLIENT if ends.client in here else Vantage.SERVER
    return found
