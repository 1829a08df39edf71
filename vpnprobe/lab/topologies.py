"""The `[topology]` table of a scenario file as a `Topology`.

Its keys are the fields of the dataclasses in `vpnprobe.transports.topology`; IP protocols may be given by name, payloads are
hexadecimal. What could never take effect (a forward hook on an end host, a reset for UDP) is refused rather than ignored.
"""

import math
from enum import StrEnum
from typing import Final

from vpnprobe.lab.tables import Table, nearest
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Link, Nat, StatefulFirewall, Topology

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
PROTOCOLS: Final = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "gre": 47, "esp": 50}
"""IP protocol numbers (IANA)."""

MOST_ROUTERS: Final = 20


class Way(StrEnum):
    C2S = "c2s"
    S2C = "s2c"


def read_topology(table: Table) -> Topology:
    routers = table.whole("routers", 3, low=1, high=MOST_ROUTERS)
    names = Topology(routers=routers).names()
    topology = Topology(
        routers=routers,
        links=_links(table, routers),
        filters=tuple(_filter(entry, names) for entry in table.tables("filters")),
        nats=tuple(_nat(entry, names) for entry in table.tables("nats")),
        firewalls=tuple(_firewall(entry, names) for entry in table.tables("firewalls")),
        icmp_errors_per_s=table.number("icmp_errors_per_s", 1.0, low=0, high=1000),
        silent_routers=tuple(_known(table, "silent_routers", name, names[1:-1]) for name in table.texts("silent_routers")),
    )
    table.done()
    return topology


def _links(table: Table, routers: int) -> tuple[Link, ...]:
    links = tuple(_link(entry) for entry in table.tables("links"))
    if links and len(links) != routers + 1:
        table.fail("links", f"there are {len(links)}, must be {routers + 1}: one more than routers")
    return links


def _link(table: Table) -> Link:
    link = Link(
        delay_s=table.number("delay_s", Link().delay_s, low=0, high=60),
        loss=table.number("loss", 0.0, low=0, high=1),
        mtu=table.whole("mtu", 1500, low=68, high=65535),
        rate_bit_s=table.number("rate_bit_s", 0, low=1000, high=math.inf) if table.has("rate_bit_s") else None,
    )
    table.done()
    return link


def _nat(table: Table, names: tuple[str, ...]) -> Nat:
    at = _known(table, "at", table.text("at"), names[1:-1])
    nat = Nat(at=at, pptp_helper=table.flag("pptp_helper"), new_ports=table.flag("new_ports"))
    table.done()
    return nat


def _firewall(table: Table, names: tuple[str, ...]) -> StatefulFirewall:
    firewall = StatefulFirewall(at=_known(table, "at", table.text("at"), names[1:-1]))
    table.done()
    return firewall


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
    if at_end != (planted.hook in (Hook.INPUT, Hook.OUTPUT)):
        fitting = "input or output" if at_end else "forward or prerouting"
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
