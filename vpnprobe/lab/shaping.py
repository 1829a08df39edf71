"""What links do to packets in namespaces: queueing disciplines of tc(8) at the sending end of each, and what no kernel has. Pure.

netem(8) delays, reorders, duplicates and loses in bursts; a rate is tbf(8), behind it where there are both. Plain loss is nftables', see
`vpnprobe.lab.nftables`: a capture at an end must show what its host sent, and netem would drop it before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vpnprobe.lab.nftables import TO_CLIENT, TO_SERVER
from vpnprobe.transports.topology import CLIENT, SERVER, BurstLoss, Filtering, Link, Mapping, Per, Topology

_NETEMS: Final = ("delay_s", "jitter_s", "burst_loss", "reorder", "duplicate")


@dataclass(frozen=True, slots=True)
class Shaper:
    """One queueing discipline of an interface."""

    host: str
    interface: str
    words: tuple[str, ...]
    """As tc takes them, behind the interface."""
    needs: str
    """What it means that the kernel does not have it."""


def unavailable(topology: Topology) -> str:
    """What no kernel can show of a topology, the first of it; empty: it can all be had."""
    return next(_unavailable(topology), "")


def _unavailable(topology: Topology) -> Iterator[str]:
    for number, link in enumerate(topology.links):
        yield from (f"links[{number}]: {lack}" for lack in _lacking(link, at_an_end=number in (0, topology.routers)))
    for number, nat in enumerate(topology.nats):
        if (nat.mapping, nat.filtering) != (Mapping.FLOW, Filtering.FLOW):
            yield f"nats[{number}]: Linux has no NAT with this mapping and filtering"
    if topology.recuttings:
        yield "recuttings: no router of Linux cuts TCP segments anew without ending the connection"
    if topology.clocks:
        yield "clocks: all namespaces have the time of their machine"


def _lacking(link: Link, *, at_an_end: bool) -> Iterator[str]:
    for way in {link, link.towards("s2c")}:
        if way.burst_loss is not None and way.burst_loss.per is Per.SECOND:
            yield "netem changes the state of a link by packets, not by seconds"
        if at_an_end and (way.burst_loss is not None or way.reorder or way.duplicate):
            yield "what netem does on the link of an end, the end's own capture shows or misses: plant it between routers"
        if way.reorder and (way.delay_s != Link().delay_s or way.jitter_s):
            yield "netem reorders by delaying, so it cannot delay the rest"
        if way.mtu != link.mtu:
            yield "a pair of interfaces has one MTU both ways"


def needs_tc(topology: Topology) -> bool:
    return any(True for _ in shapers(topology))


def shapers(topology: Topology) -> Iterator[Shaper]:
    """At both ends of each link of the chain."""
    names = topology.names()
    for position, host in enumerate(names):
        if host != CLIENT:
            yield from _shapers(host, TO_CLIENT, position - 1, topology.link(position - 1).towards("s2c"))
        if host != SERVER:
            yield from _shapers(host, TO_SERVER, position, topology.link(position).towards("c2s"))


def _shapers(host: str, interface: str, number: int, link: Link) -> Iterator[Shaper]:
    uneven, limited = _netem(link), _tbf(link)
    if uneven:
        what = ", ".join(name for name in _NETEMS if getattr(link, name) != getattr(Link(), name))
        handle = ("handle", "1:") if limited else ()
        yield Shaper(host, interface, ("root", *handle, "netem", *uneven), _needs(number, what, "netem"))
    if limited:
        parent = ("parent", "1:1", "handle", "10:") if uneven else ("root",)
        yield Shaper(host, interface, (*parent, "tbf", *limited), _needs(number, "rate_bit_s", "tbf"))


def _needs(number: int, what: str, kind: str) -> str:
    return f"links[{number}].{what} needs the kernel's {kind}, which is not to be had here ('vpnprobe demo' simulates it anywhere)"


def _netem(link: Link) -> tuple[str, ...]:
    """Empty: no netem. The default delay is not added: namespaces have their own."""
    words: list[str] = []
    if link.reorder:
        # Of netem's packets the share that it "reorders" goes at once, and the rest is delayed.
        words += ["delay", _microseconds(link.reorder_s), "reorder", _percent(1 - link.reorder)]
    elif link.jitter_s or (link.delay_s != Link().delay_s and link.delay_s > 0):
        words += ["delay", _microseconds(link.delay_s), *([_microseconds(link.jitter_s)] if link.jitter_s else [])]
    if link.burst_loss is not None:
        words += ["loss", "gemodel", *_gilbert_elliott(link.burst_loss)]
    if link.duplicate:
        words += ["duplicate", _percent(link.duplicate)]
    return tuple(words)


def _gilbert_elliott(loss: BurstLoss) -> Iterator[str]:
    """p, r, 1-h and 1-k of tc-netem(8)."""
    return map(_percent, (loss.to_bad, loss.to_good, loss.loss_bad, loss.loss_good))


def _tbf(link: Link) -> tuple[str, ...]:
    if link.rate_bit_s is None:
        return ()
    # The bucket must hold the largest packet, with its link header, and what a timer tick lets through.
    burst_bytes = max(2 * (link.mtu + 14), round(link.rate_bit_s / 8 / 250))
    return ("rate", f"{link.rate_bit_s:.0f}bit", "burst", f"{burst_bytes}b", "latency", f"{link.queue_s * 1e3:.0f}ms")


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f}us"


def _percent(share: float) -> str:
    return f"{share * 100:.6g}%"
