"""Steps for iptables, with either packet filter: accepts in front of what drops, and the translation of addresses, in one
`iptables-restore -n`.

Each rule has a comment of its own, by which its undo finds it: the same in the running rules and in the file of iptables-persistent, so
that it is found after a boot too. What iptables makes by the way (a table or a chain for the first rule in it) is taken back as well.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.deployment.firewall.accepts import accepts, count_is, is_there, tag
from vpnprobe.deployment.firewall.needs import FirewallNeeds, openings
from vpnprobe.deployment.steps import Command, RunCommand, UndoCommand
from vpnprobe.firewall import iptables_reader
from vpnprobe.firewall.model import Table
from vpnprobe.firewall.state import Backend, FirewallState, Manager

EMPTY_NAT: Final = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
EMPTY_FILTER: Final = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


@dataclass(frozen=True, slots=True)
class Insertion:
    """One rule."""

    table: str
    chain: str
    before: int | None
    """Number of the rule it goes before, ours not counted; None: at the end."""
    rule: str
    """All that stands behind the chain."""
    comment: str


def insertions(tables: Sequence[Table], needs: FirewallNeeds, version: int, *, translates: bool) -> list[Insertion]:
    """What is to be put into the rules of one IP version. `translates`: whether they do."""
    names = {opening: f"{tag(needs)}-{number}" for number, opening in enumerate(openings(needs, version), 1)}
    found = [
        Insertion(
            a.table.name,
            a.place.chain,
            a.place.before,
            f"{a.opening.iptables()} -m comment --comment {names[a.opening]} -j ACCEPT",
            names[a.opening],
        )
        for a in accepts(tables, needs)
    ]
    if translates:
        for number, (device, pool) in enumerate(needs.translated(version), 1):
            comment = f"{tag(needs)}-nat{number}"
            rule = f"-s {pool} ! -o {device} -m comment --comment {comment} -j MASQUERADE"
            found.append(Insertion("nat", "POSTROUTING", None, rule, comment))
    return found


def restored(found: Sequence[Insertion], loaded: str) -> str:
    """Text for `iptables-restore -n` that puts all of them in. `loaded`: the rules that run, in which an earlier plan's may stand."""
    texts = []
    for table in dict.fromkeys(insertion.table for insertion in found):
        mine = [insertion for insertion in found if insertion.table == table]
        texts.append(f"*{table}\n{''.join(_commands(mine, loaded))}COMMIT\n")
    return "".join(texts)


def _commands(found: Sequence[Insertion], loaded: str) -> Iterator[str]:
    """Sorted by place in each chain: each moves what comes behind it by one."""
    moved: dict[str, int] = {}
    for insertion in sorted(found, key=lambda i: (i.chain, i.before is None, i.before or 0)):
        if insertion.before is None:
            yield f"-A {insertion.chain} {insertion.rule}\n"
        else:
            number = iptables_reader.running_number(loaded, insertion.table, insertion.chain, insertion.before)
            yield f"-I {insertion.chain} {number + moved.get(insertion.chain, 0)} {insertion.rule}\n"
            moved[insertion.chain] = moved.get(insertion.chain, 0) + 1


def saved(text: str, found: Sequence[Insertion]) -> str:
    """A file of iptables-persistent with all of them in it."""
    text = iptables_reader.without_ours(text)
    for insertion in found:
        if insertion.table == "nat" and not any(line.text.startswith("*nat") for line in iptables_reader.lines(text)):
            text += EMPTY_NAT
        line = f"-A {insertion.chain} {insertion.rule}"
        text = iptables_reader.with_rules(text, insertion.table, insertion.chain, insertion.before, [line])
    return text


def iptables_step(
    state: FirewallState, backend: Backend, needs: FirewallNeeds, found: Sequence[Insertion], *, also_saved: Sequence[Insertion] = ()
) -> RunCommand:
    """Puts rules into the running ones. `also_saved`: rules that a file will load at the next boot, which the undo takes out too."""
    text = restored(found, state.loaded(backend))
    restore = (f"{backend.program}-restore", "-n", "-w")
    listing = f"{backend.program}-save"
    return RunCommand(
        id=f"firewall-iptables-v{backend.version}-{backend.name}",
        why=_why(state, backend, found),
        command=Command(restore, text),
        check=Command((*restore, "--test"), text),
        done_when=count_is(listing, tag(needs), len(found)),
        undo=(*_undo(backend, found, also_saved), *_left_behind(state, backend, found)),
    )


def _undo(backend: Backend, found: Sequence[Insertion], also_saved: Sequence[Insertion]) -> Iterator[UndoCommand]:
    """Each rule by its comment, as often as it may be there."""
    running = {(i.table, i.chain, i.rule) for i in found}
    for i in reversed([*found, *(i for i in also_saved if (i.table, i.chain, i.rule) not in running)]):
        command = Command((backend.program, "-w", "-t", i.table, "-D", i.chain, *shlex.split(i.rule)))
        yield UndoCommand(command, when=is_there(f"{backend.program}-save", i.comment))


def _left_behind(state: FirewallState, backend: Backend, found: Sequence[Insertion]) -> Iterator[UndoCommand]:
    """The table or chain that iptables makes for the first rule of NAT, where it speaks to nftables."""
    if backend.name != "nft" or state.nft is None or all(insertion.table != "nat" for insertion in found):
        return
    if (backend.family, "nat") not in state.nft_tables:
        yield _delete_empty("table", backend.family, "nat")
    elif (backend.family, "nat", "POSTROUTING") not in state.nft_chains:
        yield _delete_empty("chain", backend.family, "nat", "POSTROUTING")


def _delete_empty(*what: str) -> UndoCommand:
    no_rules = f"""listed=$(nft -j list {" ".join(what)}) && case $listed in *'"rule":'*) exit 1;; esac"""
    return UndoCommand(Command(("nft", "delete", *what)), when=Command(("sh", "-c", no_rules)))


def _why(state: FirewallState, backend: Backend, found: Sequence[Insertion]) -> str:
    chains = dict.fromkeys(insertion.chain for insertion in found if insertion.table != "nat")
    parts = []
    if chains:
        parts.append(
            f"the host's rules ({backend.program}) drop what the VPN needs: accepts go in front of what drops it, in {', '.join(chains)}"
        )
    if any(insertion.table == "nat" for insertion in found):
        parts.append(f"the clients' IPv{backend.version} addresses are translated to the server's, since nobody else has a route to them")
    if state.manager in (Manager.IPTABLES, Manager.NONE):
        parts.append("they last until the next boot: nothing is known here that loads rules of iptables then, the host's own neither")
    return "; ".join(parts)
