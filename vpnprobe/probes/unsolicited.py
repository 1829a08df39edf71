"""Is what the server sends by itself kept out by a stateful firewall before the client? Asked where only that may be why nothing comes.

A kind of which nothing of the client's comes to the server has opened nothing on the way, so that what the server sends of it may be lost
for that alone, unless routers show that both directions die at the same one. The server sends from a UDP port that passes both ways, to
ports of the client's that have sent nothing: if these are lost beside controls that come, what comes unasked is kept out.
"""

from typing import Final

from vpnprobe.endpoint.ttl_probe import distance
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import Kind, kind_of, same_packets, udp_reach
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.unopened import dies_at_one_router
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.probes.context import Opener, ProbeContext
from vpnprobe.probes.peer import Job
from vpnprobe.transports.stack import Datagram

TRIALS: Final = 6


async def ask_unsolicited(context: ProbeContext) -> None:
    """Has the server send a few, where something is lost for want of the client's own packets perhaps. Not to a NAT: it knows no ports.

    Once traces have been made.
    """
    if context.peer is None or context.facts.nat is not False or context.line.narrow_bytes_per_s is not None:
        return
    judgement = context.judge()
    port = _passing_port(context, judgement)
    suspected = (check for check in judgement.packet_counts if _may_be_unopened(judgement, check))
    if port is None or all(_dies_at_one_router(context, check) for check in suspected):
        return
    check = udp_reach(port)

    def came(datagram: Datagram) -> None:
        # From whatever port: a NAT before the server may give it another.
        if datagram.source.address == context.peer_address:
            context.recorder.arrived([identity] if (identity := identify.nonce(check, datagram.data)) is not None else [], datagram)

    try:
        openers = [Opener((await context.udp(came)).local, _nothing) for _ in range(TRIALS)]
        await context.trials_back(Job.UNSOLICITED, TRIALS, beside=True, port=port, openers=openers)
    except OSError:
        return  # This end has no socket for it.
    except CannotRun as error:
        if error.status is ExitStatus.NO_PEER:
            raise
        return  # An older server agent does not know of it.
    await context.sync()


def _nothing() -> None:
    """What a port sends that is to send nothing."""


def _passing_port(context: ProbeContext, judgement: Judge) -> int | None:
    """A UDP port of the server agent's own whose packets pass both ways, the client's first; None: there is none."""
    for check, counts in judgement.packet_counts.items():
        passes = check.probe == "udp" and all(counts.total(way).received for way in WAYS) and check not in judgement.after_server
        if passes and check.port is not None and context.port_state(Transport.UDP, check.port) is PortState.OURS:
            return check.port
    return None


def _dies_at_one_router(context: ProbeContext, check: Check) -> bool:
    """Whether routers show that it is stopped for what it is."""
    check = same_packets(check) or check
    of_it = {trace.direction: trace for trace in context.facts.traces if trace.check == check and not trace.passes}
    there, back = (of_it.get(way) for way in WAYS)
    return bool(dies_at_one_router(there, back, distance(context.server_record)))


def _may_be_unopened(judgement: Judge, check: Check) -> bool:
    """Whether nothing of this kind comes from the server, and nothing of the client's has come there either."""
    if kind_of(check) is not Kind.PACKETS or judgement.counts(check).total(Direction.C2S).received:
        return False
    return any(row.direction is Direction.S2C and row.outcome is Outcome.BLOCKED for row in rows_of(judgement, check))
