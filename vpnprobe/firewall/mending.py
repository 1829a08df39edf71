"""The commands by which a host lets through one kind of packets that its own firewall keeps. Pure: they are told and never run.

That it keeps them is known already, by packets that its wire shows and its sockets do not. So each filter is asked at which place it drops
such a packet, and the accept goes there, in the words of whoever manages that filter. Where nothing that was read drops it, there is no
command: something else does (a program behind the filter, a rule that looks at what is not known here).
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vpnprobe.firewall.iptables_reader import running_number
from vpnprobe.firewall.model import Hook, Packet, Place, Table, needed_accepts
from vpnprobe.firewall.state import Backend, FirewallState, Loaded, Manager

COMING: Final = (Hook.PREROUTING, Hook.INPUT)
LEAVING: Final = (Hook.OUTPUT, Hook.POSTROUTING)
STATES: Final = {True: ("new", "established"), False: ("established", "new")}
"""By whether the packet asks: the state that its connection is likely to have, then the other."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of packets that a host's own firewall keeps."""

    leaving: bool
    """Whether they leave this host; else they come to it."""
    protocol: str
    """`tcp`, `udp`, `gre`, `esp`."""
    port: int | None = None
    """The server's; None: the protocol has none."""
    at_server: bool = True
    """Whether this host is the server, whose port it is."""
    device: str | None = None
    """By which they come or leave; None: not known."""
    version: int = 4
    """Of IP."""
    in_part: bool = False
    """Others like them are let through."""

    @property
    def asks(self) -> bool:
        """Whether it goes from the client to the server; else it answers."""
        return self.leaving is not self.at_server

    def packets(self, state: str, *, in_part: bool = False) -> list[Packet]:
        """Such a packet at each hook that it meets."""
        return [
            Packet(
                hook=hook,
                version=self.version,
                protocol=self.protocol,
                state=state,
                iif=None if self.leaving else self.device,
                oif=self.device if self.leaving else None,
                dport=self.port if self.asks else None,
                sport=None if self.asks else self.port,
                apart_from=frozenset({"lo"}),
                in_part=in_part,
            )
            for hook in (LEAVING if self.leaving else COMING)
        ]


def commands(state: FirewallState, kept: Kept) -> tuple[str, ...]:
    """Lines for a shell, as root. Empty: nothing that was read keeps such packets."""
    if not state.read:
        return _unread(state, kept)
    for in_part in (False, True) if kept.in_part else (False,):
        for connection in STATES[kept.asks]:
            if found := tuple(dict.fromkeys(_all(state, kept, kept.packets(connection, in_part=in_part)))):
                return found
    return ()


def _unread(state: FirewallState, kept: Kept) -> tuple[str, ...]:
    """Whoever manages it has one word for it, whatever the rules are that this user may not see."""
    if state.manager is Manager.UFW:
        return (_ufw(kept, denied=False),)
    return tuple(_firewalld(kept)) if state.manager is Manager.FIREWALLD else ()


def _all(state: FirewallState, kept: Kept, packets: list[Packet]) -> Iterator[str]:
    for table in state.native:
        places = needed_accepts(table, packets)
        yield from _firewalld(kept) if places and state.manager is Manager.FIREWALLD else (_nft(table, place, kept) for place in places)
    for loaded in state.iptables:
        for table in loaded.tables:
            yield from _iptables(state, loaded, table, needed_accepts(table, packets), kept)


def _iptables(state: FirewallState, loaded: Loaded, table: Table, places: Iterable[Place], kept: Kept) -> Iterator[str]:
    for place in places:
        if state.manager is Manager.FIREWALLD:
            yield from _firewalld(kept)
        elif state.manager is Manager.UFW and table.name == "filter":
            yield _ufw(kept, denied="-user-" in place.chain)
        else:
            within = "" if table.name == "filter" else f" -t {table.name}"
            number = "" if place.before is None else f" {running_number(loaded.text, table.name, place.chain, place.before)}"
            yield f"{_program(state, loaded.backend)}{within} -I {place.chain}{number} {_iptables_match(kept)} -j ACCEPT"


def _program(state: FirewallState, backend: Backend) -> str:
    """By the name that is used every day, where that means this one of the two packet filters."""
    default = next((other for other in state.backends if other.version == backend.version), None)
    return backend.program.partition("-")[0] if backend == default else backend.program


def _iptables_match(kept: Kept) -> str:
    end = "dport" if kept.asks else "sport"
    return f"-p {kept.protocol}" + (f" --{end} {kept.port}" if kept.port is not None else "")


def _nft(table: Table, place: Place, kept: Kept) -> str:
    """Before the rule that drops it, or behind all rules where the policy does."""
    match = f"meta l4proto {kept.protocol}" if kept.port is None else f"{kept.protocol} {'dport' if kept.asks else 'sport'} {kept.port}"
    chain = f"{table.family} {shlex.quote(table.name)} {shlex.quote(place.chain)}"
    if place.before is None:
        return f"nft add rule {chain} {match} accept"
    return f"nft insert rule {chain} handle {place.before} {match} accept"


def _ufw(kept: Kept, *, denied: bool) -> str:
    """`denied`: by one of the administrator's own rules, which it has to stand before."""
    words = ["ufw", *(["prepend"] if denied else []), "allow", *(["out"] if kept.leaving else [])]
    if kept.port is None:
        words += ["proto", kept.protocol, "to any" if kept.leaving else "from any"]
    elif kept.asks:
        words += [f"{kept.port}/{kept.protocol}"]
    else:
        words += ["proto", kept.protocol, "from any port", str(kept.port)]
    return " ".join(words)


def _firewalld(kept: Kept) -> Iterator[str]:
    """Until its next reload, as it says of itself: `--permanent` beside it keeps it. What leaves is a matter of its direct rules."""
    if kept.leaving:
        yield f"firewall-cmd --direct --add-rule ipv{kept.version} filter OUTPUT 0 {_iptables_match(kept)} -j ACCEPT"
    elif kept.port is None:
        yield f"firewall-cmd --add-protocol={kept.protocol}"
    else:
        yield f"firewall-cmd --add-{'port' if kept.asks else 'source-port'}={kept.port}/{kept.protocol}"


@dataclass(frozen=True, slots=True)
class Mends:
    """What a host says of its own firewall: who manages it, and how it lets through what it keeps."""

    manager: str = ""
    """`ufw`, `nftables`, `iptables`, `firewalld`, or what else was met; empty: none was found, or it may not be read."""
    commands: Mapping[Kept, tuple[str, ...]] = field(default_factory=dict)
    """By what is kept, as it was asked; what is not there has no command."""


NOTHING: Final = Mends()


def mends(state: FirewallState, kept: Iterable[Kept], *, device: str | None = None) -> Mends:
    """The commands for each kind. `device`: by which all of them come and leave; None: not known."""
    found = {one: commands(state, replace(one, device=device)) for one in kept}
    return Mends(_name(state), {one: lines for one, lines in found.items() if lines})


def _name(state: FirewallState) -> str:
    match state.manager:
        case Manager.NONE:
            return ""
        case Manager.IPTABLES_PERSISTENT:
            return Manager.IPTABLES.value
        case Manager.OTHER:
            return state.met.partition(" (")[0]
        case _:
            return state.manager.value
