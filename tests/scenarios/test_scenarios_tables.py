"""The tables decide: a protocol whose transition table is empty gets another verdict on a path where everything passes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from capture_packets import pcap, udp, written

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.capture.analysis import examine_pair
from vpnprobe.capture.reading import read_capture
from vpnprobe.cli.finishing import decided, rule_set
from vpnprobe.cli.options import judging_of
from vpnprobe.conversations import contract
from vpnprobe.conversations.registry import PROTOCOLS, ProtocolSpec, usual_ports
from vpnprobe.evidence import packet_counts
from vpnprobe.observations.schema import Feasibility, Outcome
from vpnprobe.probes.catalogue import PROBES
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import Topology
from vpnprobe.wire import wireguard

PORTS = (usual_ports()[0], usual_ports()[-1])


@contextmanager
def emptied(*specs: ProtocolSpec) -> Iterator[None]:
    """Without any transition of these protocols, as long as it lasts."""
    tables = [spec.table.transitions for spec in specs]
    assert all(isinstance(table, dict) for table in tables)
    kept = [dict(table) for table in tables]
    caches = (contract._leading_into, contract._names, packet_counts._is_known)
    try:
        for table in tables:
            table.clear()
        for cache in caches:
            cache.cache_clear()
        yield
    finally:
        for table, transitions in zip(tables, kept, strict=True):
            table.update(transitions)
        for cache in caches:
            cache.cache_clear()


Told = Mapping[str, tuple[Feasibility, tuple[tuple[str, str], ...]]]
"""By protocol: its verdict and the reasons for it."""


def told(probes: frozenset[str] = frozenset()) -> Told:
    """What a run over a clear path comes to; `probes`: of these alone (empty: of all)."""
    judging = judging_of(None, "modern", (), (), ())
    measured, _ = measure_simulated(Topology(), seed=1, settings=Settings(PORTS, probes), tell=lambda _: None)
    decision = decided(measured.observations, judging, rule_set(judging), ports=PORTS, control_port=CONTROL_PORT)
    return {
        verdict.protocol: (verdict.feasibility, tuple((reason.rule, reason.text) for reason in verdict.because))
        for verdict in decision.verdicts
    }


@pytest.fixture(scope="module")
def whole() -> Told:
    found = told()
    assert {feasibility for feasibility, _ in found.values()} == {Feasibility.FEASIBLE}
    return found


SHORT: Final = frozenset(probe.name for probe in PROBES) - {"openvpn"}
"""All but the probe whose sessions take long where none of them comes to anything."""
RESTS_ON: Final[Mapping[str, frozenset[str]]] = {
    "pptp": frozenset({"pptp"}),
    "l2tp": frozenset({"l2tp"}),
    "ikev1": frozenset({"l2tp-ipsec"}),
    "openvpn": frozenset({"openvpn-udp", "openvpn-tcp"}),
    "wireguard": frozenset({"wireguard"}),
}
"""By protocol with messages: the verdicts that are not feasible where they mean nothing."""


@pytest.mark.parametrize("name", RESTS_ON)
def test_an_empty_table_makes_verdicts_unknown(name: str) -> None:
    spec = next(spec for spec in PROTOCOLS if spec.name == name)
    probes = frozenset({name}) if name == "openvpn" else SHORT
    whole = told(probes)
    measured = RESTS_ON["openvpn"] if name == "openvpn" else frozenset({"pptp", "l2tp", "l2tp-ipsec", "wireguard"})
    assert {protocol for protocol, (feasibility, _) in whole.items() if feasibility is Feasibility.FEASIBLE} == measured
    with emptied(spec):
        found = told(probes)
    assert {protocol for protocol in measured if found[protocol][0] is not Feasibility.FEASIBLE} == RESTS_ON[name]
    assert {found[protocol][0] for protocol in RESTS_ON[name]} == {Feasibility.UNKNOWN}
    assert told(probes) == whole


def test_an_empty_table_takes_a_reason_away(whole: Told) -> None:
    """LCP is a reason beside GRE in the call; without it the verdict stands on GRE alone."""
    with emptied(*(spec for spec in PROTOCOLS if spec.name == "lcp")):
        found = told(SHORT)
    assert "pptp-lcp" in dict(whole["pptp"][1])
    assert "pptp-lcp" not in dict(found["pptp"][1])


def test_an_empty_table_changes_what_is_said_where_the_verdict_rests_on_another() -> None:
    """IKEv2 is a reason where IKEv1 is not answered."""
    first, second = (spec for spec in PROTOCOLS if spec.probe == "ike")
    with emptied(first):
        alone = told(SHORT)
    with emptied(first, second):
        neither = told(SHORT)
    assert alone["l2tp-ipsec"] != neither["l2tp-ipsec"]


def test_an_empty_table_makes_nothing_of_captures(tmp_path: Path) -> None:
    initiation = wireguard.HandshakeInitiation(7, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)).encode()
    response = wireguard.HandshakeResponse(9, 7, bytes(32), bytes(16), bytes(16), bytes(16)).encode()
    packets = pcap([udp(initiation, 5000, 51820), udp(response, 51820, 5000, back=True)])

    def outcome() -> Outcome | None:
        ends = [read_capture(written(tmp_path, packets, name)) for name in ("c.pcap", "s.pcap")]
        rows = {row.id: row for row in examine_pair(*ends).observations}
        row = rows.get("wireguard-handshake-udp-51820-both")
        return row.outcome if row is not None else None

    assert outcome() is Outcome.PASS
    with emptied(*(spec for spec in PROTOCOLS if spec.name == "wireguard")):
        assert outcome() is None


def test_every_protocol_is_here() -> None:
    assert {spec.name for spec in PROTOCOLS} == {*RESTS_ON, "lcp", "ikev2"}
