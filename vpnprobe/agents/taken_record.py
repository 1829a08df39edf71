"""The end of a run: both ends say what their own firewalls took, and each names what the other cannot read."""

from collections.abc import Mapping
from dataclasses import replace

from vpnprobe.agents.peer import RemotePeer
from vpnprobe.endpoint.taken_packets import TakenPacketsObserver, named
from vpnprobe.evidence.packet_records import PacketRecord, Vantage
from vpnprobe.evidence.taken import NOTHING_TAKEN, TakenPackets
from vpnprobe.probes.context import ProbeContext


def found_here(observer: TakenPacketsObserver | None) -> TakenPackets:
    """What the client's own firewall took, as far as its packets say themselves what they are."""
    if observer is None:
        return NOTHING_TAKEN
    return observer.found({check.port for check, _ in observer.recorder.attempts if check.port is not None})


def with_names(taken: TakenPackets, names: Mapping[str, PacketRecord], vantage: Vantage) -> TakenPackets:
    """The same with what the end that sent it names. `vantage`: of the end that took it."""
    found = named(taken.unnamed, names.get, vantage)
    return replace(
        taken,
        packets=(*taken.packets, *found),
        unnamed=tuple(one for one in taken.unnamed if one.digest not in names),
    )


async def ask_at_last(context: ProbeContext, peer: RemotePeer, found: TakenPackets) -> None:
    """The server's final record, with what both ends' firewalls took. `found`: at this end."""
    context.recorder.taken = found  # What its packets say themselves stands, should the server be gone.
    record = await peer.refresh(carries=context.line.narrow_bytes_per_s, unnamed=found.unnamed)
    context.recorder.taken = with_names(found, peer.named, Vantage.CLIENT)
    context.server_record = replace(record, taken=with_names(record.taken, context.recorder.said_as, Vantage.SERVER))
