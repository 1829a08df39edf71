"""Whole sessions with the server agent: which ports and wraps are tried, how often, and when enough is known."""

from dataclasses import replace
from functools import cache

import pytest
from profile_test_support import PORT, Servers, session_keys

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.conversations.openvpn_session_keys import SessionKeys, make_session_keys
from vpnprobe.conversations.openvpn_tls import Identity
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.probes import tunnel_sessions
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.openvpn_sessions import OpenvpnSessions, checks_of
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.tunnel_sessions import ECHOES, LONG_RUN, MOST_SESSIONS
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Link, Topology
from vpnprobe.wire.openvpn_wrap import Wrap

UDP, TCP = Transport.UDP, Transport.TCP
PORTS = (1194, 443)
NAMES = frozenset({"openvpn", "udp", "tcp"})
CONTROL = Filter("r2", protocol=17, payload_offset=0, payload=b"\x20", payload_mask=b"\xf8", except_ports=(7117,))
"""P_CONTROL_V1: the TLS handshake over UDP."""


@cache
def measured(topology: Topology | None = None, *, ports: tuple[int, ...] = PORTS, seed: int = 1) -> tuple[dict[str, Observation], float]:
    """Rows of OpenVPN by their ids without that word, and how long the run took."""
    found, took = measure_simulated(topology or Topology(), seed=seed, settings=Settings(ports, NAMES), tell=lambda _: None)
    assert found.complete, found.problem
    return {row.id.removeprefix("openvpn-"): row for row in found.observations if row.probe == "openvpn"}, took


def forms(rows: dict[str, Observation], check: str = "data") -> set[str]:
    """Wrap, transport and port of each row of a check that was tried."""
    return {name.removeprefix(f"{check}-").rpartition("-")[0] for name, row in rows.items() if row.check == check and row.sent}


class TestClearPath:
    def test_everything_passes_in_one_session_each(self) -> None:
        rows, took = measured()
        assert {row.outcome for row in rows.values()} == {Outcome.PASS}
        assert {row.detail["sessions"] for row in rows.values() if row.check == "data"} == {1}
        assert took < 10

    def test_wraps_are_tried_on_the_preferred_port_alone(self) -> None:
        rows, _ = measured()
        assert forms(rows) == {
            *(f"{transport}-{port}" for transport in ("udp", "tcp") for port in PORTS),
            *(f"{wrap}-{transport}-1194" for transport in ("udp", "tcp") for wrap in ("tls-crypt", "tls-crypt-v2")),
        }

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_the_preferred_port_has_a_long_run(self, transport: str) -> None:
        """Requests, answers to the server's own, and over UDP the goodbye."""
        rows, _ = measured()
        assert rows[f"data-{transport}-1194-c2s"].sent in range(LONG_RUN + ECHOES, LONG_RUN + ECHOES + 2)
        for name in (f"data-{transport}-443-c2s", f"data-tls-crypt-{transport}-1194-c2s"):
            assert rows[name].sent in range(2 * ECHOES, 2 * ECHOES + 2)

    def test_each_direction_is_counted_by_both_ends(self) -> None:
        rows, _ = measured()
        for way in ("c2s", "s2c"):
            row = rows[f"data-udp-1194-{way}"]
            assert row.received == row.sent
            assert "round_trip" not in row.detail


class TestFilters:
    RESETS = Filter("r2", payload_offset=0, payload=b"\x38", payload_mask=b"\xf8", protocol=17, ports=(1194,))

    def test_wraps_prove_as_much_where_plain_does_not_pass(self) -> None:
        """tls-crypt-v2 begins with another opcode, tls-crypt does not."""
        rows, _ = measured(Topology(filters=(self.RESETS,)))
        assert rows["reset-udp-1194-both"].outcome is Outcome.BLOCKED
        assert rows["reset-tls-crypt-udp-1194-both"].outcome is Outcome.BLOCKED
        assert rows["data-tls-crypt-v2-udp-1194-c2s"].outcome is Outcome.PASS
        assert (rows["data-tls-crypt-v2-udp-1194-c2s"].sent or 0) >= LONG_RUN

    def test_another_port_that_passes_takes_the_long_run_over(self) -> None:
        rows, _ = measured(Topology(filters=(self.RESETS,)))
        assert (rows["data-udp-443-c2s"].sent or 0) >= LONG_RUN
        assert "data-tls-crypt-udp-443-c2s" not in rows

    def test_where_plain_passes_nowhere_wraps_are_tried_everywhere(self) -> None:
        rows, _ = measured(Topology(filters=(replace(self.RESETS, ports=PORTS),)))
        assert {"tls-crypt-v2-udp-1194", "tls-crypt-v2-udp-443"} <= forms(rows)

    def test_where_the_port_itself_does_not_pass_they_are_not(self) -> None:
        rows, _ = measured(Topology(filters=(Filter("r2", protocol=17, ports=(443,)),)))
        assert rows["reset-udp-443-both"].outcome is Outcome.BLOCKED
        assert not any("tls-crypt" in name and "443" in name for name in rows)

    def test_a_handshake_that_never_begins_is_tried_a_bounded_number_of_times(self) -> None:
        rows, took = measured(Topology(filters=(CONTROL,)), ports=(1194,))
        assert rows["reset-udp-1194-both"].outcome is Outcome.PASS
        assert rows["handshake-udp-1194-both"].outcome is Outcome.BLOCKED
        assert 4 <= (rows["handshake-udp-1194-both"].sent or 0) <= MOST_SESSIONS
        assert "data-udp-1194-c2s" not in rows or not rows["data-udp-1194-c2s"].sent
        assert took < 120

    @pytest.mark.parametrize(
        ("action", "reason"), [(Action.REJECT_RST, "the connection was refused"), (Action.DROP, "no TCP connection to this port came up")]
    )
    def test_without_a_connection_it_is_said_why(self, action: Action, reason: str) -> None:
        rows, _ = measured(Topology(filters=(Filter("r2", action, protocol=6, ports=(1194,)),)), ports=(1194,))
        row = rows["reset-tcp-1194-both"]
        assert row.outcome is Outcome.SKIPPED
        assert row.detail["reason"].startswith(reason)


@pytest.mark.parametrize("seed", [1, 2])
def test_loss_alone_is_no_failure(seed: int) -> None:
    lossy = Topology(links=(Link(), Link(loss=0.1), Link(), Link()))
    rows, took = measured(lossy, ports=(1194,), seed=seed)
    for transport in ("udp", "tcp"):
        assert rows[f"handshake-{transport}-1194-both"].outcome in (Outcome.PASS, Outcome.DEGRADED)
        assert rows[f"data-{transport}-1194-c2s"].outcome in (Outcome.PASS, Outcome.DEGRADED)
    assert took < 60


def test_the_same_seed_gives_the_same_rows() -> None:
    once = measure_simulated(Topology(), seed=5, settings=Settings((1194,), NAMES), tell=lambda _: None)
    again = measure_simulated(Topology(), seed=5, settings=Settings((1194,), NAMES), tell=lambda _: None)
    assert [row.id for row in once[0].observations] == [row.id for row in again[0].observations]
    assert [(row.sent, row.received) for row in once[0].observations] == [(row.sent, row.received) for row in again[0].observations]


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_checks_of_a_port(transport: Transport) -> None:
    assert checks_of(WantedPort(transport, 443)) == (openvpn_handshake(transport, 443), openvpn_data(transport, 443))


def alone(used: SessionKeys, transport: Transport, wrap: Wrap = Wrap.NONE) -> tuple[OpenvpnSessions, ProbeContext, int]:
    """Sessions with a server that has its own material, and no agent to ask; how many there began."""

    async def main() -> tuple[OpenvpnSessions, ProbeContext, int]:
        network = SimulatedNetwork(Topology(), seed=1)
        stack, servers = network.stack(CLIENT), Servers(network.stack(SERVER), session_keys().server.wrapping(wrap))
        await servers.over_udp()
        await servers.over_tcp()
        path = ProbeContext(
            stack, network.topology.server_address, Settings((PORT,)), Recorder(stack, Vantage.CLIENT), Nonces(stack, 9), None, None
        )
        sessions = OpenvpnSessions(path, used, WantedPort(transport, PORT), wrap)
        await sessions.run()
        path.close()
        servers.close()
        return sessions, path, len(servers.begun)

    return run_virtual(main())


class TestPinning:
    @pytest.mark.parametrize("transport", [UDP, TCP])
    @pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])
    def test_the_servers_own_certificate_is_taken(self, transport: Transport, wrap: Wrap) -> None:
        sessions, path, begun = alone(session_keys(), transport, wrap)
        data = next((row for row in rows_of(path.judge(), sessions.data) if row.direction is Direction.C2S), None)
        assert data is not None
        assert data.outcome is Outcome.PASS
        assert begun == 1

    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_any_other_is_not(self, transport: Transport) -> None:
        """There is no authority: one certificate alone is good."""
        expected: Identity = make_session_keys(lambda count: bytes([count % 251]) * count).server.identity
        used = replace(session_keys(), server=replace(session_keys().server, identity=expected))
        sessions, path, begun = alone(used, transport)
        assert not sessions.passes(path.judge())
        assert not any(row.direction is Direction.C2S for row in rows_of(path.judge(), sessions.data))
        assert begun >= 1


def test_a_second_long_run_ends_where_all_sessions_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is tried again, after as many sessions as there may be."""
    monkeypatch.setattr(tunnel_sessions, "MOST_SESSIONS", 1)
    found, _ = measure_simulated(
        load("openvpn-cut").topology, seed=1, settings=Settings((1194, 443), frozenset({"openvpn", "udp"})), tell=lambda _: None
    )
    assert found.complete
