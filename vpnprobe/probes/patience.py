"""How long is waited: as the other end answers now, and what the line takes."""

from typing import Final

from vpnprobe.endpoint.pacer import Line
from vpnprobe.probes.peer import Peer

FULL_PACKET: Final = 1500
"""Bytes of what others' packets may have to wait for, or an answer."""
LONGEST_SETTLE_S: Final = 5.0
"""For which what was sent may be under way: a peer that is slower than that is not waited for again and again."""
LEAST_ANSWER_S: Final = 1.0
"""For which an answer over a TCP connection is waited for, however fast others come."""
SOLO_ANSWER_S: Final = 1.0
"""How long an answer is waited for where no agent can say what arrived."""
SOLO_CONNECT_S: Final = 4.0
"""How long a TCP connection may take there: its SYN is sent three times by then."""
SLACK_S: Final = 0.03
"""A packet may take so much longer than another."""


def settle_s(peer: Peer | None, line: Line) -> float:
    """How long what was just sent may still be under way, seconds. `peer`: None: there is no server agent."""
    return SOLO_ANSWER_S if peer is None else min(LONGEST_SETTLE_S, peer.answers_in_s + SLACK_S) + line.takes_s(FULL_PACKET)


def flight_s(peer: Peer | None, line: Line) -> float:
    """How long it may be on the path, seconds, however busy the two ends are."""
    return SOLO_ANSWER_S if peer is None else 1.5 * peer.rtt_s + SLACK_S + line.takes_s(FULL_PACKET)


def connect_s(peer: Peer | None, line: Line, most_s: float) -> float:
    """How long a TCP connection of a conversation may take, seconds; at most `most_s`."""
    return min(most_s, SOLO_CONNECT_S if peer is None else 20 * settle_s(peer, line))


def answer_s(peer: Peer | None, line: Line) -> float:
    """How long the answer to the first message over a TCP connection may take, seconds."""
    return max(LEAST_ANSWER_S, 6 * settle_s(peer, line))
