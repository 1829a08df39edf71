"""Loss of the TCP segments that both captures of one run should hold: what a live run knows from its control channel.

Only connections of which something arrived count: those of a port that is filtered say nothing about the path. Segments are told apart by
what no NAT changes: sequence number, flags, length and IP identification.
"""

from collections.abc import Iterable, Mapping

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction


def background_of(
    client: Iterable[Decoder], server: Iterable[Decoder], client_ends: Ends | None, server_ends: Ends | None
) -> Mapping[Direction, Background]:
    """By direction; empty where an end has no traffic."""
    if client_ends is None or server_ends is None:
        return {}
    clients, servers = list(client), list(server)
    return {
        Direction.C2S: _loss(_segments(clients, client_ends.client), _segments(servers, server_ends.client)),
        Direction.S2C: _loss(_segments(servers, server_ends.server), _segments(clients, client_ends.server)),
    }


def _segments(decoders: Iterable[Decoder], sender: str) -> dict[object, set[object]]:
    """Segments of one sender, by connection."""
    found: dict[object, set[object]] = {}
    for decoder in decoders:
        for (address, connection), segments in decoder.segments.items():
            if address == sender:
                found.setdefault(connection, set()).update(segments)
    return found


def _loss(sent: Mapping[object, set[object]], received: Mapping[object, set[object]]) -> Background:
    arrived = set().union(*received.values()) if received else set()
    passed = lost = 0
    for segments in sent.values():
        came = len(segments & arrived)
        if came:
            passed += came
            lost += len(segments) - came
    return Background(lost, passed)
