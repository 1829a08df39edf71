"""Loss of the TCP segments that both captures of one run should hold: what a live run knows from its control channel.

Only what arrived at least once counts, with all its repetitions: a connection to a filtered port and a message that a filter knows are
repeated without end, and say nothing of the path. Segments are told apart by what no NAT changes: sequence number, flags, length and
IP identification.
"""

from collections.abc import Iterable, Mapping

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.fingerprint import TcpFingerprint


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


def _segments(decoders: Iterable[Decoder], sender: str) -> dict[object, set[TcpFingerprint]]:
    """Segments of one sender, by connection."""
    found: dict[object, set[TcpFingerprint]] = {}
    for decoder in decoders:
        for (address, connection), segments in decoder.segments.items():
            if address == sender:
                found.setdefault(connection, set()).update(segments)
    return found


def _loss(sent: Mapping[object, set[TcpFingerprint]], received: Mapping[object, set[TcpFingerprint]]) -> Background:
    arrived: set[TcpFingerprint] = set().union(*received.values())
    came_once = {(segment.sequence, segment.length) for segment in arrived}
    passed = lost = 0
    for segments in sent.values():
        comparable = {segment for segment in segments if (segment.sequence, segment.length) in came_once}
        came = len(comparable & arrived)
        passed += came
        lost += len(comparable) - came
    return Background(lost, passed)
