"""An end's own firewall in whole runs: at either end, dropping or refusing, it is told as that host's and never judged as the path."""

import json
from functools import cache
from pathlib import Path

import pytest
from scenario_support import in_process

from vpnprobe.agents import simulation
from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.rules.decision import Decision
from vpnprobe.transports.simulated import SimulatedNetwork
from vpnprobe.transports.simulated.host import UdpSocket
from vpnprobe.transports.simulated.stack import SimulatedStack
from vpnprobe.transports.stack import Capability, LocalPort
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Topology

PORTS = (1194,)
KINDS = {"tcp": (6, (1723,)), "udp": (17, (1194,)), "ike": (17, (500, 4500)), "gre": (47, ()), "esp": (50, ())}
"""IP protocol and ports of what a firewall keeps."""
TAKEN = LocalPort(1194, tcp=False)
PROBES = frozenset({"tcp", "udp", "ike", "l2tp", "openvpn", "pptp", "gre", "esp"})
UDP_VPNS = {"l2tp", "l2tp-ipsec", "openvpn-udp"}


@cache
def measured(*filters: Filter, without_privilege: str = "") -> tuple[Measured, Decision]:
    lacking = {without_privilege: frozenset[Capability]()} if without_privilege else None
    settings = Settings(PORTS, PROBES)
    found, _ = measure_simulated(Topology(filters=filters), seed=1, settings=settings, capabilities=lacking, tell=lambda _: None)
    return found, decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)


def kept(found: Measured) -> list[Observation]:
    return [row for row in found.observations if row.cause is Cause.HOST_FIREWALL]


def verdicts(decision: Decision) -> dict[str, tuple[Feasibility, str]]:
    return {one.protocol: (one.feasibility, " ".join(reason.text for reason in one.because)) for one in decision.verdicts}


def test_what_the_clients_own_firewall_keeps_is_not_the_servers_silence() -> None:
    found, decision = measured(Filter(at=CLIENT, hook=Hook.INPUT, protocol=17))
    rows = kept(found)
    assert {row.detail["host"] for row in rows} == {"client"}
    assert {row.outcome for row in rows} == {Outcome.NO_ANSWER}
    assert {(row.probe, row.check) for row in rows} >= {("udp", "reach"), ("ike", "ikev1-main"), ("l2tp", "control"), ("openvpn", "reset")}
    for protocol in UDP_VPNS:
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert "the client, whose own firewall" in because


@pytest.mark.parametrize("end", [CLIENT, SERVER])
def test_gre_that_an_end_keeps_is_no_filter_on_the_path(end: str) -> None:
    found, decision = measured(Filter(at=end, hook=Hook.INPUT, protocol=47))
    way = Direction.S2C if end == CLIENT else Direction.C2S
    forms = {row.detail.get("form") for row in kept(found) if row.check == "passthrough" and row.direction is way}
    assert forms == {"bare", "in-call"}
    assert not [row for row in found.observations if row.outcome is Outcome.BLOCKED]
    feasibility, because = verdicts(decision)["pptp"]
    assert feasibility is Feasibility.UNKNOWN
    assert f"the {end}, whose own firewall" in because


@pytest.mark.parametrize("action", [Action.DROP, Action.REJECT_ADMIN, Action.REJECT_PORT])
def test_the_servers_own_firewall_is_unknown_whether_it_drops_or_refuses(action: Action) -> None:
    found, decision = measured(Filter(at=SERVER, hook=Hook.INPUT, protocol=17, action=action))
    assert {row.detail["host"] for row in kept(found)} == {"server"}
    for protocol in UDP_VPNS:
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert "own firewall" in because
        assert "silence alone" not in because
        assert "filtered" not in because
    assert not [row for row in found.observations if row.cause is Cause.PAYLOAD or row.location is not None]


@pytest.mark.parametrize(
    ("end", "reason"), [(CLIENT, "the client's own firewall"), (SERVER, "in the server's name: by its own firewall, or")]
)
def test_an_end_that_may_not_see_its_wire_is_told_by_its_refusals(end: str, reason: str) -> None:
    found, decision = measured(Filter(at=end, hook=Hook.INPUT, protocol=17, action=Action.REJECT_PORT), without_privilege=end)
    assert {row.detail["host"] for row in kept(found)} == {end}
    assert not [row for row in found.observations if row.location is not None or row.outcome is Outcome.BLOCKED]
    for protocol in ("l2tp", "openvpn-udp"):
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert reason in because


REJECTS = [Action.DROP, Action.REJECT_RST, Action.REJECT_PORT]


@pytest.mark.parametrize("action", REJECTS)
@pytest.mark.parametrize(("end", "hook"), [(SERVER, Hook.INPUT), (CLIENT, Hook.INPUT), (CLIENT, Hook.OUTPUT)])
def test_connections_that_an_end_keeps_are_no_filter_on_the_path(end: str, hook: Hook, action: Action) -> None:
    found, decision = measured(Filter(at=end, hook=hook, protocol=6, ports=(1194,), action=action))
    (row,) = kept(found)
    assert (row.id, row.outcome, row.detail["host"]) == ("tcp-reach-tcp-1194-both", Outcome.NO_ANSWER, end)
    assert not [other for other in found.observations if other.location is not None]
    feasibility, because = verdicts(decision)["openvpn-tcp"]
    assert feasibility is Feasibility.UNKNOWN
    assert "filtered" not in because
    assert "nothing listens" not in because


@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.OUTPUT])
@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_mends_it_is_told_live_and_by_the_captures(kind: str, end: str, hook: Hook, tmp_path: Path) -> None:
    """Whose it is, the command, the cause: the captures' note says what the run said."""
    protocol, ports = KINDS[kind]
    found, decision = measured(Filter(at=end, hook=hook, protocol=protocol, ports=ports))
    rows = {row.id: row for row in kept(found)}
    assert rows
    assert {row.detail["host"] for row in rows.values()} == {end}
    for row in rows.values():
        (command,) = row.detail["mend"]
        assert command.startswith(f"nft insert rule inet filter {hook} handle 1 ")
        assert row.detail["firewall"] == "nftables"
    assert not [row for row in found.observations if row.outcome is Outcome.BLOCKED]
    for name, capture in found.captures.items():
        (tmp_path / name).write_bytes(capture)
    ends = ["--client", str(tmp_path / "client.pcap"), "--server", str(tmp_path / "server.pcap")]
    document = json.loads(in_process("analyze", *ends, "--json")[1])
    offline = {row["id"]: row for row in document["observations"]}
    for name, row in rows.items():
        assert (offline[name]["outcome"], offline[name]["cause"]) == (row.outcome, row.cause)
        assert {key: offline[name]["detail"][key] for key in ("host", "reason", "mend")} == {
            key: row.detail[key] for key in ("host", "reason", "mend")
        }
    live = {one.protocol: one.feasibility for one in decision.verdicts if one.protocol != "wireguard"}
    assert {one["protocol"]: one["feasibility"] for one in document["verdicts"] if one["protocol"] in live} == live


def test_a_connection_that_never_leaves_is_told_where_it_was_not_tried() -> None:
    _, decision = measured(Filter(at=CLIENT, hook=Hook.OUTPUT, protocol=6, ports=(1723,)))
    feasibility, because = verdicts(decision)["pptp"]
    assert feasibility is Feasibility.UNKNOWN
    assert "the client's own firewall (nftables) drops it before it leaves (on the client, `nft insert rule" in because


@pytest.mark.parametrize("ports", [(1723,), (1194,)])
def test_a_server_that_does_not_see_its_wire_makes_no_filter_of_its_firewall(ports: tuple[int, ...]) -> None:
    for protocol in (6, 17):
        found, decision = measured(Filter(at=SERVER, hook=Hook.INPUT, protocol=protocol, ports=ports), without_privilege=SERVER)
        assert not [row for row in found.observations if row.outcome is Outcome.BLOCKED]
        assert Feasibility.INFEASIBLE not in {one.feasibility for one in decision.verdicts}


def test_a_filter_on_the_path_is_told_without_the_servers_wire() -> None:
    found, decision = measured(Filter(at="r2", protocol=17, ports=(1701,)), without_privilege=SERVER)
    (row,) = [row for row in found.observations if row.id == "udp-reach-udp-1701-c2s"]
    assert (row.outcome, row.cause) == (Outcome.BLOCKED, Cause.PORT)
    assert verdicts(decision)["l2tp"][0] is Feasibility.INFEASIBLE


@pytest.mark.parametrize("sees_wire", [True, False])
def test_a_port_that_another_program_has_takes_nothing_from_its_protocol(monkeypatch: pytest.MonkeyPatch, sees_wire: bool) -> None:
    """OpenVPN of the user's own on udp/1194, which answers no stranger: another port is recommended, and not another protocol."""
    begin = SimulatedNetwork.stack

    def with_daemon(network: SimulatedNetwork, end: str) -> SimulatedStack:
        host = network._doors[SERVER]._host
        host.sockets.udp.setdefault(TAKEN.port, UdpSocket(TAKEN.port, lambda _: None, None))
        host.programs[TAKEN] = "openvpn"
        return begin(network, end)

    monkeypatch.setattr(SimulatedNetwork, "stack", with_daemon)
    lacking = {} if sees_wire else {SERVER: frozenset({Capability.LOW_PORTS})}
    settings = Settings((1194, 443), PROBES)
    found, _ = simulation.measure_simulated(Topology(), seed=1, settings=settings, capabilities=lacking, tell=lambda _: None)
    decision = decide(found.observations, rules=load_default(), ports=(1194, 443), control_port=CONTROL_PORT)
    advice = decision.recommendation
    assert advice is not None
    assert (advice.protocol, advice.port) == ("openvpn-udp", 443)
    feasibility, because = verdicts(decision)["openvpn-udp"]
    assert feasibility is Feasibility.FEASIBLE
    assert "the default port 1194 is not shown to work (openvpn has it at the server)" in because
    assert "openvpn, which has that port at the server, did not answer" in because
