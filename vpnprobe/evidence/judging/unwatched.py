"""What an end keeps whose wire nobody watches: the loss that may be its own firewall's is not called the path's.

A firewall at the receiving end keeps packets from the sockets, which are all that an agent without privilege has: to these, what it drops
looks as if the path had dropped it. What tells the two apart is the place: packets that vanish before the last hop never come to the host.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.causes import lost_ways
from vpnprobe.evidence.judging.base import RECEIVER
from vpnprobe.evidence.places import FAILED
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Cause, Observation, Outcome

BY_THE_KIND: Final = frozenset({Cause.PORT, Cause.IP_PROTOCOL, Cause.UNKNOWN})
"""Causes that a host's firewall has too. It seldom looks into packets, at their sizes or their rate."""
UNWATCHED: Final = (
    "it gets lost on the path or by the {host}'s own firewall: which of the two cannot be told, since the agent there may not see its wire "
    "(as root, or with CAP_NET_RAW, it may)"
)


def told_apart(observations: Iterable[Observation], client: EndRecord, server: EndRecord, facts: PathFacts) -> list[Observation]:
    """The same observations, where what may be an end's own doing got no answer, and is not blocked."""
    ends = {"client": client, "server": server}
    unwatched = {host for host, end in ends.items() if end.recorded and not end.sees_closed_ports}
    own = {"client": {facts.client_address, facts.client_seen_as}, "server": {facts.server_address}}
    return [_in_doubt(o, host) if (host := _doubtful_end(o, unwatched, own)) else o for o in observations]


def _doubtful_end(failed: Observation, unwatched: set[str], own: dict[str, set[str | None]]) -> str:
    """The end whose own firewall may have done it; empty: neither may."""
    if failed.outcome not in FAILED or failed.cause not in BY_THE_KIND or failed.detail.get("by") == "peer":
        return ""
    return next((host for way in lost_ways(failed) if (host := RECEIVER[way]) in unwatched and not _before(failed, own[host])), "")


def _before(failed: Observation, addresses: set[str | None]) -> bool:
    """Whether it is shown not to come as far as the host: a router further on is known, or one has refused it."""
    following = failed.location.next_address if failed.location is not None else None
    by = failed.detail.get("by")
    return any(address is not None and address not in addresses for address in (following, by))


def _in_doubt(failed: Observation, host: str) -> Observation:
    detail = {name: value for name, value in failed.detail.items() if name != "compared_with"}
    told = {**detail, "unwatched": host, "reason": UNWATCHED.format(host=host)}
    return replace(failed, outcome=Outcome.NO_ANSWER, cause=None, location=None, error_bound=None, detail=told)
