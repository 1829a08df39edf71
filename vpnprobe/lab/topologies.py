"""The `[topology]` table of a scenario file as a `Topology`.

Its keys are the fields of the dataclasses in `vpnprobe.transports.topology`; IP protocols may be given by name, payloads are
hexadecimal. What could never take effect (a forward hook on an end host, a reset for UDP) is refused rather than ignored.
"""

import math
from dataclasses import replace
from enum import StrEnum
from typing import Final

from vpnprobe.lab.tables import Table, nearest
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    Action,
    BurstLoss,
    Clock,
    Filter,
    Filtering,
    Hook,
    Link,
    Mapping,
    Nat,
    Per,
    Recutting,
    Service,
    Stall,
    StatefulFirewall,
    TakenPort,
    Timeouts,
    Topology,
    WayBack,
)

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
PROTOCOLS: Final = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "gre": 47, "esp": 50}
"""IP protocol numbers (IANA)."""

MOST_ROUTERS: Final = 20
MOST_ROUTERS_BACK: Final = 8
_A_YEAR_S: Final = 366 * 86400.0


class Way(StrEnum):
    C2S = "c2s"
    S2C = "s2c"


class End(StrEnum):
    CLIENT = CLIENT
    SERVER = SERVER


def read_topology(table: Table) -> Topology:
    routers = table.whole("routers", 3, low=1, high=MOST_ROUTERS)
    chain = Topology(routers=routers).names()
    way_back = _way_back(table.table("way_back"), chain) if table.has("way_back") else None
    beside = Topology(routers=routers, way_back=way_back).back_names()
    names, between = (*chain, *beside), (*chain[1:-1], *beside)
    topology = Topology(
        routers=routers,
        links=_links(table, routers),
        filters=tuple(_filter(entry, names) for entry in table.tables("filters")),
        nats=_nats(table, chain[1:-1]),
        firewalls=tuple(_firewall(entry, names) for entry in table.tables("firewalls")),
        icmp_errors_per_s=table.number("icmp_errors_per_s", 1.0, low=0, high=1000),
        silent_routers=tuple(_known(table, "silent_routers", name, between) for name in table.texts("silent_routers")),
        black_holes=tuple(_known(table, "black_holes", name, between) for name in table.texts("black_holes")),
        way_back=way_back,
        recuttings=tuple(_recutting(entry, between) for entry in table.tables("recuttings")),
        stalls=tuple(_stall(entry) for entry in table.tables("stalls")),
        clocks=tuple(_clock(entry) for entry in table.tables("clocks")),
        taken_ports=tuple(_taken_port(entry) for entry in table.tables("taken_ports")),
    )
    table.done()
    return topology


def _way_back(table: Table, chain: tuple[str, ...]) -> WayBack:
    way_back = WayBack(
        leaves=_known(table, "leaves", table.text("leaves"), chain[1:-1]),
        joins=_known(table, "joins", table.text("joins"), chain[1:-1]),
        routers=table.whole("routers", 1, low=1, high=MOST_ROUTERS_BACK),
    )
    table.done()
    if chain.index(way_back.joins) >= chain.index(way_back.leaves):
        table.fail("joins", f"is {way_back.joins!r}, must be nearer to the client than leaves, which is {way_back.leaves!r}")
    return way_back


def _links(table: Table, routers: int) -> tuple[Link, ...]:
    links = tuple(_link(entry) for entry in table.tables("links"))
    if links and len(links) != routers + 1:
        table.fail("links", f"there are {len(links)}, must be {routers + 1}: one more than routers")
    return links


def _link(table: Table, there: Link | None = None) -> Link:
    """`there`: of the table `s2c`, the other direction, whose values it has where it gives none."""
    default = there or Link()
    link = Link(
        delay_s=table.number("delay_s", default.delay_s, low=0, high=60),
        jitter_s=table.number("jitter_s", default.jitter_s, low=0, high=60),
        loss=table.number("loss", default.loss, low=0, high=1),
        burst_loss=_burst_loss(table.table("burst_loss")) if table.has("burst_loss") else default.burst_loss,
        reorder=table.number("reorder", default.reorder, low=0, high=1),
        reorder_s=table.number("reorder_s", default.reorder_s, low=0, high=60),
        duplicate=table.number("duplicate", default.duplicate, low=0, high=1),
        mtu=table.whole("mtu", default.mtu, low=68, high=65535),
        rate_bit_s=table.number("rate_bit_s", 0, low=1000, high=math.inf) if table.has("rate_bit_s") else default.rate_bit_s,
        queue_s=table.number("queue_s", default.queue_s, low=0, high=60),
    )
    if there is None and table.has("s2c"):
        link = replace(link, s2c=_link(table.table("s2c"), link))
    table.done()
    if table.has("reorder_s") and not link.reorder:
        table.fail("reorder_s", "needs reorder: the share of packets that are delayed so")
    if table.has("queue_s") and link.rate_bit_s is None:
        table.fail("queue_s", "needs rate_bit_s: without a rate nothing waits")
    return link


def _burst_loss(table: Table) -> BurstLoss:
    per = table.member("per", Per) or Per.PACKET
    most = 1 if per is Per.PACKET else 1e6
    for key in ("to_bad", "to_good"):
        if not table.has(key):
            table.fail(key, "is missing")
    loss = BurstLoss(
        to_bad=table.number("to_bad", 0, low=0, high=most),
        to_good=table.number("to_good", 0, low=0, high=most),
        loss_bad=table.number("loss_bad", 1.0, low=0, high=1),
        loss_good=table.number("loss_good", 0.0, low=0, high=1),
        per=per,
    )
    table.done()
    return loss


def _nats(table: Table, routers: tuple[str, ...]) -> tuple[Nat, ...]:
    nats = tuple(_nat(entry, routers) for entry in table.tables("nats"))
    places = [nat.at for nat in nats]
    if len(set(places)) < len(places):
        table.fail("nats", "two are on one router")
    return nats


def _nat(table: Table, routers: tuple[str, ...]) -> Nat:
    nat = Nat(
        at=_known(table, "at", table.text("at"), routers),
        inside=table.member("inside", End) or CLIENT,
        forwards=tuple(_service(entry) for entry in table.tables("forwards")),
        pptp_helper=table.flag("pptp_helper"),
        new_ports=table.flag("new_ports"),
        mapping=table.member("mapping", Mapping) or Mapping.FLOW,
        filtering=table.member("filtering", Filtering) or Filtering.FLOW,
        timeouts=_timeouts(table.table("timeouts")),
    )
    table.done()
    if nat.pptp_helper and nat.inside != CLIENT:
        table.fail("pptp_helper", "is for a NAT that the client sits behind: it takes who is inside for the one that calls")
    return nat


def _timeouts(table: Table) -> Timeouts:
    def seconds(key: str) -> float | None:
        return table.number(key, 0, low=1, high=_A_YEAR_S) if table.has(key) else None

    timeouts = Timeouts(tcp_s=seconds("tcp_s"), udp_s=seconds("udp_s"), gre_s=seconds("gre_s"), other_s=seconds("other_s"))
    table.done()
    return timeouts


def _service(table: Table) -> Service:
    service = Service(
        protocol=_protocol(table, "protocol", table.values["protocol"]) if table.has("protocol") else None,
        ports=table.wholes("ports", low=1, high=65535),
    )
    table.done()
    if service.ports and service.protocol not in (TCP, UDP):
        table.fail("protocol", "with ports it must be tcp or udp")
    return service


def _firewall(table: Table, names: tuple[str, ...]) -> StatefulFirewall:
    at = _known(table, "at", table.text("at"), names)
    own = at if at in (CLIENT, SERVER) else None
    firewall = StatefulFirewall(
        at=at,
        protects=table.member("protects", End) or own or CLIENT,
        allows=tuple(_service(entry) for entry in table.tables("allows")),
        timeouts=_timeouts(table.table("timeouts")),
    )
    table.done()
    if own and firewall.protects != own:
        table.fail("protects", f"is {str(firewall.protects)!r}, on {own} it must be {own!r}")
    return firewall


def _recutting(table: Table, routers: tuple[str, ...]) -> Recutting:
    recutting = Recutting(
        at=_known(table, "at", table.text("at"), routers),
        most_bytes=table.whole("most_bytes", 0, low=1, high=65535) if table.has("most_bytes") else None,
        merge_s=table.number("merge_s", 0.0, low=0, high=1),
    )
    table.done()
    return recutting


def _end(table: Table) -> str:
    return _known(table, "at", table.text("at"), (CLIENT, SERVER))


def _stall(table: Table) -> Stall:
    stall = Stall(
        at=_end(table),
        from_s=table.number("from_s", 0.0, low=0, high=1e6),
        to_s=table.number("to_s", 0.0, low=0, high=1e6),
        every_s=table.number("every_s", 0.0, low=0.001, high=1e6) if table.has("every_s") else None,
    )
    table.done()
    if stall.to_s <= stall.from_s:
        table.fail("to_s", f"is {stall.to_s:g}, must be more than from_s, which is {stall.from_s:g}")
    if stall.every_s is not None and stall.every_s <= stall.to_s - stall.from_s:
        table.fail("every_s", f"is {stall.every_s:g}, must be more than it lasts, which is {stall.to_s - stall.from_s:g}")
    return stall


def _clock(table: Table) -> Clock:
    clock = Clock(
        at=_end(table),
        offset_s=table.number("offset_s", 0.0, low=-_A_YEAR_S, high=_A_YEAR_S),
        drift=table.number("drift", 0.0, low=-0.1, high=0.1),
        jump_s=table.number("jump_s", 0.0, low=-_A_YEAR_S, high=_A_YEAR_S),
        jump_at_s=table.number("jump_at_s", 0.0, low=0, high=1e6),
    )
    table.done()
    return clock


def _taken_port(table: Table) -> TakenPort:
    protocol = _protocol(table, "protocol", table.values["protocol"]) if table.has("protocol") else None
    if protocol not in (TCP, UDP):
        table.fail("protocol", "must be tcp or udp")
    if not table.has("port"):
        table.fail("port", "is missing")
    taken = TakenPort(at=_end(table), protocol=protocol, port=table.whole("port", 0, low=1, high=65535), answer=table.octets("answer"))
    table.done()
    return taken


def _filter(table: Table, names: tuple[str, ...]) -> Filter:
    planted = Filter(
        at=_known(table, "at", table.text("at"), names),
        action=table.member("action", Action) or Action.DROP,
        hook=table.member("hook", Hook) or Hook.FORWARD,
        protocol=_protocol(table, "protocol", table.values["protocol"]) if table.has("protocol") else None,
        direction=table.member("direction", Way),
        ports=table.wholes("ports", low=1, high=65535),
        except_ports=table.wholes("except_ports", low=1, high=65535),
        except_protocols=tuple(
            _protocol(table, f"except_protocols[{index}]", value) for index, value in enumerate(table.items("except_protocols"))
        ),
        payload_offset=table.whole("payload_offset", 0, low=0, high=1400) if table.has("payload_offset") else None,
        payload=table.octets("payload"),
        payload_mask=table.octets("payload_mask"),
        longer_than=table.whole("longer_than", 0, low=0, high=65535) if table.has("longer_than") else None,
        fragments=table.flag("fragments"),
        flow_share=table.number("flow_share", 1.0, low=0, high=1),
        after_packets=table.whole("after_packets", 0, low=0, high=1_000_000) if table.has("after_packets") else None,
        from_s=table.number("from_s", 0.0, low=0, high=1e6),
        to_s=table.number("to_s", 0.0, low=0, high=1e6) if table.has("to_s") else None,
        packets_per_s=table.number("packets_per_s", 1.0, low=0.001, high=1e9) if table.has("packets_per_s") else None,
        burst_packets=table.whole("burst_packets", 5, low=1, high=1_000_000),
        probability=table.number("probability", 1.0, low=0, high=1),
    )
    table.done()
    _check_filter(table, planted)
    return planted


def _check_filter(table: Table, planted: Filter) -> None:
    """Refuses conditions that exclude one another."""
    at_end = planted.at in (CLIENT, SERVER)
    if planted.hook is not Hook.PREROUTING and at_end != (planted.hook in (Hook.INPUT, Hook.OUTPUT)):
        fitting = "input, output or prerouting" if at_end else "forward or prerouting"
        table.fail("hook", f"is {planted.hook.value!r}, on {planted.at} it must be {fitting}")
    if planted.after_packets is not None and planted.hook is Hook.PREROUTING:
        table.fail("hook", "is 'prerouting', with after_packets it must be another: packets are counted behind it")
    if planted.to_s is not None and planted.to_s <= planted.from_s:
        table.fail("to_s", f"is {planted.to_s:g}, must be more than from_s, which is {planted.from_s:g}")
    if table.has("burst_packets") and planted.packets_per_s is None:
        table.fail("burst_packets", "needs packets_per_s: it is a policer's")
    if planted.action is Action.REJECT_RST and planted.protocol != TCP:
        table.fail("action", "reject-rst needs protocol = 'tcp'")
    if (planted.ports or planted.payload) and planted.protocol not in (TCP, UDP, None):
        table.fail("protocol", "with ports or payload it must be tcp or udp, or left out")
    if bool(planted.payload) != (planted.payload_offset is not None):
        table.fail("payload", "payload and payload_offset belong together")
    if planted.payload_mask and len(planted.payload_mask) != len(planted.payload):
        table.fail("payload_mask", f"is {len(planted.payload_mask)} bytes long, payload is {len(planted.payload)}")


def _known(table: Table, key: str, name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        table.fail(key, f"there is no {name!r} here, only {', '.join(names)}")
    return name


def _protocol(table: Table, key: str, value: object) -> int:
    if isinstance(value, str):
        if value not in PROTOCOLS:
            table.fail(
                key, f"no IP protocol is called {value!r}{nearest(value, PROTOCOLS)}; names are {', '.join(PROTOCOLS)}, or give its number"
            )
        return PROTOCOLS[value]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        table.fail(key, f"is {value!r}, must be an IP protocol's name or number, 0 to 255")
    return value
