"""Asks both ends what lets through what their own firewalls seem to keep."""

from dataclasses import replace

from vpnprobe.agents.peer import RemotePeer
from vpnprobe.evidence.kept_kinds import kept_kinds
from vpnprobe.probes.context import ProbeContext


async def ask_firewalls(context: ProbeContext, peer: RemotePeer | None) -> None:
    """Puts it among the path's facts; nobody is asked where neither end seems to keep anything. `peer`: None where there is no agent."""
    client, server, facts = context.client_record(), context.server_record, context.facts
    refusals, known = (*client.refusals, *server.refusals), dict(facts.firewalls)
    if kept := kept_kinds("client", client, refusals, facts.client_address):
        known["client"] = await context.stack.own_firewall(kept, context.peer_address)
    if peer is not None and (kept := kept_kinds("server", server, refusals, facts.server_address)):
        known["server"] = await peer.own_firewall(kept)
    context.facts = replace(facts, firewalls=known)
