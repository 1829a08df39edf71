"""What an end's own firewall takes in part, by size, share or rate: told as that host's, and nobody accused otherwise."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scenario_support import in_process

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.rules.decision import Decision
from vpnprobe.transports.topology import CLIENT, SERVER, BurstLoss, Filter, Hook, Link, Nat, Stall, Topology

PORTS = (1194, 443, 51820)
PARTS: dict[str, dict[str, Any]] = {
    "size": {"longer_than": 500},
    "share": {"probability": 0.5},
    "rate": {"packets_per_s": 10.0, "burst_packets": 10},
}
ABOUT_THE_PATH = {Cause.LOSS, Cause.SIZE, Cause.RATE, Cause.PAYLOAD, Cause.PACKETS, Cause.PORT, Cause.IP_PROTOCOL, Cause.UNKNOWN}


@cache
def measured(topology: Topology, seed: int = 1) -> tuple[Measured, Decision]:
    found, _ = measure_simulated(topology, seed=seed, settings=Settings(PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    assert found.complete, found.problem
    return found, decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)


def firewall(end: str, part: str, protocol: int, ports: tuple[int, ...] = ()) -> Topology:
    return Topology(filters=(Filter(end, hook=Hook.INPUT, protocol=protocol, ports=ports, **PARTS[part]),))


def accusing(found: Measured) -> list[Observation]:
    return [row for row in found.observations if row.check == "own-firewall" or row.cause is Cause.HOST_FIREWALL]


def judged_as_path(found: Measured) -> list[tuple[str, str]]:
    return [(row.id, row.outcome.value) for row in found.observations if row.outcome is Outcome.BLOCKED or row.cause in ABOUT_THE_PATH]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize("port", [1194, 51820])
def test_udp_that_an_end_takes_in_part_is_no_fault_of_the_path(port: int, end: str, part: str) -> None:
    found, decision = measured(firewall(end, part, 17, (port,)))
    (told,) = (row for row in found.observations if row.check == "own-firewall")
    way = Direction.S2C if end == CLIENT else Direction.C2S
    assert (told.direction, told.detail["host"], told.detail["ports"]) == (way, end, [port])
    assert told.detail["mend"] == [f"nft insert rule inet filter input handle 1 udp {'sport' if end == CLIENT else 'dport'} {port} accept"]
    assert judged_as_path(found) == []
    (warning,) = (warning for warning in decision.warnings if "own firewall" in warning)
    assert f"the {end}'s own firewall (nftables) takes" in warning
    assert "nft insert rule" in warning
    assert {one.feasibility for one in decision.verdicts} <= {Feasibility.FEASIBLE, Feasibility.UNKNOWN}


@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize(("protocol", "kind"), [(47, "gre"), (50, "esp")])
@pytest.mark.parametrize(("part", "values"), [("share", {"probability": 0.6}), ("size", {"longer_than": 75})])
def test_so_are_gre_and_esp(part: str, values: dict[str, Any], protocol: int, kind: str, end: str) -> None:
    found, decision = measured(Topology(filters=(Filter(end, hook=Hook.INPUT, protocol=protocol, **values),)))
    assert judged_as_path(found) == [], part
    assert {row.transport.value for row in accusing(found)} <= {kind}
    assert {one.feasibility for one in decision.verdicts} <= {Feasibility.FEASIBLE, Feasibility.UNKNOWN}


@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize("part", ["size", "share"])
def test_so_is_tcp_whose_segments_come_again_and_were_never_acknowledged(part: str, end: str) -> None:
    found, decision = measured(firewall(end, part, 6, (443,)))
    told = [row for row in found.observations if row.check == "own-firewall"]
    # By chance a session may get through with few segments that had to come often.
    assert told or part == "share"
    assert {(row.transport.value, row.detail["host"], *row.detail["ports"]) for row in told} <= {("tcp", end, 443)}
    assert judged_as_path(found) == []
    assert {one.feasibility for one in decision.verdicts} <= {Feasibility.FEASIBLE, Feasibility.UNKNOWN}


def test_a_conversation_of_which_the_large_messages_are_taken_is_open_and_says_how_to_mend_it() -> None:
    found, _ = measured(firewall(CLIENT, "size", 17, (1194,)))
    rows = [row for row in found.observations if (row.probe, row.check, row.port) == ("openvpn", "handshake", 1194)]
    assert {(row.transport.value, row.outcome, row.cause) for row in rows if row.transport.value == "udp"} == {
        ("udp", Outcome.NO_ANSWER, Cause.HOST_FIREWALL)
    }
    assert all("packets from the server's port 1194" in row.detail["reason"] for row in rows if row.transport.value == "udp")


def test_what_the_path_loses_besides_is_still_told() -> None:
    lossy = Filter("r1", protocol=17, ports=(1194,), probability=0.4)
    found, _ = measured(Topology(filters=(lossy, *firewall(SERVER, "share", 17, (1194,)).filters)))
    row = next(row for row in found.observations if row.id == "udp-reach-udp-1194-c2s")
    assert (row.outcome, row.cause) == (Outcome.DEGRADED, Cause.LOSS)
    assert accusing(found)


@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize("part", ["size", "share"])
def test_the_captures_of_such_a_run_come_to_its_verdicts(part: str, end: str, tmp_path: Path) -> None:
    found, decision = measured(firewall(end, part, 17, (1194,)))
    for name, capture in found.captures.items():
        (tmp_path / name).write_bytes(capture)
    ends = ["--client", str(tmp_path / "client.pcap"), "--server", str(tmp_path / "server.pcap")]
    document = json.loads(in_process("analyze", *ends, "--json")[1])
    live = {one.protocol: one.feasibility.value for one in decision.verdicts}
    assert {one["protocol"]: one["feasibility"] for one in document["verdicts"]} == live
    offline = {row["id"]: row for row in document["observations"]}
    for row in accusing(found):
        assert (offline[row.id]["cause"], offline[row.id]["detail"]["reason"]) == ("host-firewall", row.detail["reason"])


BLAMELESS = {
    "clean": Topology(),
    "lossy": Topology(routers=2, links=(Link(), Link(loss=0.2), Link())),
    "bursts": Topology(routers=2, links=(Link(), Link(burst_loss=BurstLoss(to_bad=0.02, to_good=0.3)), Link())),
    "duplicated and reordered": Topology(routers=2, links=(Link(), Link(duplicate=0.2, reorder=0.3), Link())),
    "fragments, some lost": Topology(routers=2, links=(Link(), Link(mtu=1000), Link(loss=0.1))),
    "filters on the path": Topology(
        filters=(Filter("r1", protocol=17, longer_than=800), Filter("r2", protocol=6, longer_than=600, ports=(443,)))
    ),
    "nat": Topology(nats=(Nat(at="r1", inside=CLIENT),)),
    "late server": Topology(stalls=(Stall(SERVER, 0.3, 1.4), Stall(SERVER, 2.0, 2.3))),
    "late client": Topology(stalls=(Stall(CLIENT, 0.3, 1.4), Stall(CLIENT, 2.0, 2.3))),
    "late and lossy": Topology(
        routers=2, links=(Link(), Link(loss=0.15), Link()), stalls=(Stall(CLIENT, 0.3, 1.4), Stall(SERVER, 1.0, 2.3))
    ),
    "slow line": Topology(routers=2, links=(Link(), Link(rate_bit_s=500_000), Link())),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("network", BLAMELESS)
def test_nobodys_firewall_is_named_where_there_is_none(network: str, seed: int) -> None:
    found, decision = measured(BLAMELESS[network], seed)
    assert [(row.id, row.detail.get("reason")) for row in accusing(found)] == []
    assert not [warning for warning in decision.warnings if "firewall" in warning]
