"""The smallest network that is still judged wrongly in the same way: features, routers and what is told of links go one by one.

A smaller network is kept where its run has a wrong word of one of the kinds that are looked for, about the same matter (the verdict or the
rows of the same protocol). Each candidate costs a run.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from typing import Any, Final

from vpnprobe.lab.campaign.findings import Comparison, Finding
from vpnprobe.transports.topology import CLIENT, SERVER, Link, Topology

MOST_RUNS: Final = 60
"""That one network may cost."""

SIMPLER: Final = frozenset({"action", "direction", "new_ports", "pptp_helper"})
"""Fields of what stands on a router that may go back to their defaults by themselves."""

Judge = Callable[[Topology], Comparison]
Signature = frozenset[tuple[str, str]]


def signature(comparison: Comparison) -> Signature:
    """What is wrong, without what differs from network to network: kinds, and probes or protocols."""
    return frozenset((finding.wrong.value, _about(finding)) for finding in comparison.findings)


def _about(finding: Finding) -> str:
    """`verdict openvpn-udp` as it is; of rows the matter, probe and check."""
    matter, _, rest = finding.about.partition(" ")
    return f"{matter} {'-'.join(rest.split('-')[:2])}" if matter in ("row", "cause", "place", "direction") else finding.about.split("/")[0]


def shrunk(topology: Topology, wanted: Signature, judge: Judge, *, most_runs: int = MOST_RUNS) -> Topology:
    """Smaller networks are tried until none is still wrong in one of the ways that are wanted, or `most_runs` are used up."""
    runs = 0
    found = True
    while found:
        found = False
        for candidate in smaller(topology):
            if runs >= most_runs:
                return topology
            runs += 1
            if wanted & signature(judge(candidate)):
                topology, found = candidate, True
                break
    return topology


def smaller(topology: Topology) -> Iterator[Topology]:
    """Networks with one thing less, what takes most away first."""
    for name in _lists(topology):
        for index in range(len(getattr(topology, name))):
            yield _with(topology, name, _without(getattr(topology, name), index))
    if topology.way_back is not None and not set(topology.back_names()) & _used(topology):
        yield replace(topology, way_back=None)
    for position in range(1, topology.routers + 1):
        if (shorter := _without_router(topology, position)) is not None:
            yield shorter
    yield from _simpler_links(topology)
    for name in _lists(topology):
        yield from _simpler_entries(topology, name)
    if topology.icmp_errors_per_s != 0:
        yield replace(topology, icmp_errors_per_s=0.0)


def _lists(topology: Topology) -> list[str]:
    """The fields that hold several of something, links apart: these belong to the chain."""
    return [one.name for one in fields(topology) if isinstance(getattr(topology, one.name), tuple) and one.name != "links"]


def _with(topology: Topology, name: str, value: Any) -> Topology:  # noqa: ANN401 - whatever the field holds
    changed: dict[str, Any] = {name: value}
    return replace(topology, **changed)


def _without(entries: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return entries[:index] + entries[index + 1 :]


def _without_router(topology: Topology, position: int) -> Topology | None:
    """The chain without a router that nothing stands on; None: something does, or it is the only one."""
    name = f"r{position}"
    if topology.routers == 1 or name in _used(topology):
        return None
    renamed: dict[str, Any] = {one: tuple(_renumbered(entry, position) for entry in getattr(topology, one)) for one in _lists(topology)}
    return replace(topology, routers=topology.routers - 1, links=_without(topology.links, position), **renamed)


def _used(topology: Topology) -> set[str]:
    """Hosts on which something stands. A way back joins the chain where its routers are told by name."""
    entries = (entry for name in _lists(topology) for entry in getattr(topology, name))
    used = {entry if isinstance(entry, str) else entry.at for entry in entries}
    chain = topology.names()[1:-1] if topology.way_back is not None else ()
    return used | set(chain)


def _renumbered(entry: Any, gone: int) -> Any:  # noqa: ANN401 - a router's name, or what stands on one
    if isinstance(entry, str):
        return entry if entry in (CLIENT, SERVER) or int(entry[1:]) < gone else f"r{int(entry[1:]) - 1}"
    return replace(entry, at=_renumbered(entry.at, gone))


def _simpler_links(topology: Topology) -> Iterator[Topology]:
    """One link as links are by default, but for its delay."""
    for index, link in enumerate(topology.links):
        plain = Link(delay_s=link.delay_s)
        if link != plain:
            yield replace(topology, links=(*topology.links[:index], plain, *topology.links[index + 1 :]))


def _simpler_entries(topology: Topology, name: str) -> Iterator[Topology]:
    """One condition of a filter, NAT or firewall as by default; of several ports the first half."""
    for index, entry in enumerate(getattr(topology, name)):
        for simpler in _simpler(entry):
            entries = getattr(topology, name)
            yield _with(topology, name, (*entries[:index], simpler, *entries[index + 1 :]))


def _simpler(entry: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever stands on a router
    ports = getattr(entry, "ports", ())
    if len(ports) > 1:
        yield replace(entry, ports=ports[: len(ports) // 2])
    for one in () if isinstance(entry, str) else fields(entry):
        if one.name in SIMPLER and one.default is not MISSING and getattr(entry, one.name) != one.default:
            yield replace(entry, **{one.name: one.default})
