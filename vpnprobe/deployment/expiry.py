"""What of a server's keys ends, and when, so that it is renewed before it locks anybody out.

That is the authority, the server's certificate, the revocation lists and the certificates of clients.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.clients import State, list_clients, state_at
from vpnprobe.deployment.pki import Authority, read_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One thing that ends."""

    what: str
    """`the authority`, `the server's certificate`, `a revocation list`, `the certificate of NAME`."""
    not_after: datetime
    state: State
    """Never REVOKED."""
    mend: str
    """The command that makes it last longer."""


def endings(authority: Authority, *, now: datetime) -> tuple[Ending, ...]:
    """All that ends, the first first. Of clients those that are not revoked."""
    return tuple(sorted(_endings(authority, now), key=lambda ending: ending.not_after))


def due(authority: Authority, *, now: datetime) -> tuple[Ending, ...]:
    """Those that have ended or end soon; empty: nothing is to be done."""
    return tuple(ending for ending in endings(authority, now=now) if ending.state is not State.GOOD)


def _endings(authority: Authority, now: datetime) -> Iterator[Ending]:
    end = authority.not_after
    yield Ending(what="the authority", not_after=end, state=state_at(end, now), mend="vpnprobe provision renew ca")
    if server := authority.index.of(SERVER_NAME):
        end = server[-1].not_after
        yield Ending(what="the server's certificate", not_after=end, state=state_at(end, now), mend="vpnprobe provision renew server")
    # One that another program has written, such as easy-rsa's gen-crl, may end sooner than the authority.
    lists = (read_list(pem).next_update for pem in authority.revocation_lists)
    if ends := [one for one in lists if one is not None and one < authority.not_after]:
        end = min(ends)
        yield Ending(what="a revocation list", not_after=end, state=state_at(end, now), mend="vpnprobe provision renew ca")
    for client in list_clients(authority, now=now):
        if client.state is not State.REVOKED:
            mend = f"vpnprobe provision client renew {client.name}"
            yield Ending(what=f"the certificate of {client.name}", not_after=client.not_after, state=client.state, mend=mend)
