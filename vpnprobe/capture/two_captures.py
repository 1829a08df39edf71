"""What must be said of two ends' captures before anything follows from them: that they are one recording, swapped, of different hosts, of
different times. The sentences name files, addresses and times, and say what to do.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vpnprobe.capture.ends import Ends
from vpnprobe.capture.joining import Joining, Relation, join
from vpnprobe.capture.reading import CaptureInput
from vpnprobe.capture.sides import Side, side_of
from vpnprobe.capture.swapping import seem_swapped
from vpnprobe.errors import UsageError

NAMED: Final = 2
"""Most pairs of hosts of one capture that are named in a sentence."""


def require_two_files(client: Path, server: Path) -> None:
    """Raises UsageError where both ends are given one file."""
    try:
        same = client.samefile(server)
    except OSError:
        return
    if same:
        raise UsageError(
            f"--client and --server name the same file, {client}: give each end's own capture, "
            f"or this one alone as: vpnprobe analyze {client}"
        )


def require_two_ends(client: CaptureInput, server: CaptureInput) -> None:
    """Raises UsageError where the two captures are one recording, or each of the other end."""
    if client.recording.is_of(server.recording):
        raise UsageError(
            f"{client.file} and {server.file} hold the same packets at the same times, so they are copies of one capture: "
            f"give each end's own, or one of them alone as: vpnprobe analyze {client.file}"
        )
    joining = join(side_of(client, client.traces, None), side_of(server, server.traces, None))
    if joining.joints and all(seem_swapped(joint.client, joint.server) for joint in joining.joints):
        raise UsageError(
            f"the two ends are swapped: {client.file} was taken at the server, and {server.file} at the client; "
            f"give them the other way round: --client {server.file} --server {client.file}"
        )


def are_of_other_times(client: Side, server: Side) -> bool:
    """Whether two captures are shown not to overlap in time. Those without dates are not."""
    if not all(trace.dated for side in (client, server) for trace in side.traces):
        return False
    here, there = client.watched, server.watched
    return here is not None and there is not None and (here[1] < there[0] or there[1] < here[0])


def about_two_attempts(client: Side, server: Side, relation: Relation) -> str:
    """What is to be known of two captures of a path without a packet in common; empty: nothing."""
    if client.ends is None or server.ends is None:
        return ""
    if relation is Relation.BEHIND_NAT:
        return (
            f"The two captures have no packet in common. {server.file} has {_hosts(server.ends)} where {client.file} has "
            f"{_hosts(client.ends)}: this is taken for a NAT, and is wrong where it is another client. "
            "Capture one attempt at both ends at once."
        )
    if are_of_other_times(client, server):
        return (
            "The two captures do not overlap in time, so they are of two attempts: "
            f"{client.file} is from {_from_to(client)}, {server.file} from {_from_to(server)}. "
            "Capture one attempt at both ends at once to follow each packet."
        )
    return ""


def not_of_one_path(client: Side, server: Side, joining: Joining) -> str:
    """Why two captures cannot be compared."""
    return (
        f"The two captures are of different hosts: {client.file} is of {_all_hosts(joining.at_client)}, {server.file} of "
        f"{_all_hosts(joining.at_server)}. They have no packet in common, and nothing shows them to be the two ends of one path, so "
        "nothing is judged of them together. Give both ends' captures of one path, taken at the same time."
    )


def _hosts(ends: Ends) -> str:
    return f"{ends.client} and {ends.server}"


def _all_hosts(paths: Sequence[Ends]) -> str:
    if not paths:
        return "no VPN"
    more = f" and {len(paths) - NAMED} more pairs" if len(paths) > NAMED else ""
    return f"{', '.join(map(_hosts, paths[:NAMED]))}{more}"


def _from_to(side: Side) -> str:
    first, last = (datetime.fromtimestamp(at, UTC) for at in side.watched or (0.0, 0.0))
    end = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {end} UTC"
