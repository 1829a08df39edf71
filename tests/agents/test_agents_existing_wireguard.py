"""Existing WireGuard servers tried with a profile: what works, its lines and limits, and data that stops."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from agents_support import Agents
from existing_wireguard_support import C2S, DATA, HANDSHAKE, S2C, Make, first_bytes, tried
from wireguard_servers import (
    GATEWAY,
    PORT,
    PRESHARED,
    ForgedServer,
    OnePingASecond,
    RenumberedServer,
    RoamingServer,
    SlowServer,
    TalkativeServer,
    WireguardServer,
    peer,
    profile,
)

from vpnprobe.observations.schema import Cause, Feasibility, Outcome
from vpnprobe.probes.wireguard_profile_test import NO_KEYS, OUT_OF_TIME
from vpnprobe.transports.topology import Filter, Link, Topology


class TestWorks:
    def test_handshake_and_data_of_all_sizes(self) -> None:
        found = tried()
        assert found.outcomes == {HANDSHAKE: "pass", C2S: "pass", S2C: "pass"}
        assert found.failures == {}
        assert found.rows[HANDSHAKE].detail["answers_in_tunnel"] == str(GATEWAY)
        assert found.rows[HANDSHAKE].detail["first_data_ms"] > 0
        assert "1480" in found.rows[C2S].detail["by_size"]
        assert (found.rows[C2S].sent, found.rows[C2S].received) == (30, 30)
        assert found.verdict()[0] is Feasibility.FEASIBLE

    def test_with_a_preshared_key_and_another_mtu(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, preshared=PRESHARED), profile(peer(preshared_key=PRESHARED), mtu=1280))
        assert found.outcomes[S2C] == "pass"
        assert max(map(int, found.rows[C2S].detail["by_size"])) == 1340

    def test_a_server_under_load(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, wants_cookie=True))
        assert found.outcomes[S2C] == "pass"
        assert found.rows[HANDSHAKE].detail["cookies"] == 1

    def test_over_a_path_that_loses_some(self) -> None:
        found = tried(topology=Topology(links=(Link(loss=0.015),) * 4), echoes=102)
        assert found.outcomes[HANDSHAKE] == "pass"
        assert found.verdict()[0] in (Feasibility.FEASIBLE, Feasibility.DEGRADED)
        assert "data-dead" not in found.failures

    def test_over_a_path_that_is_slower_than_initiations_are_repeated(self) -> None:
        found = tried(topology=Topology(links=(Link(delay_s=0.35),) * 4))
        assert found.outcomes[HANDSHAKE] == "pass"
        assert found.failures == {}

    def test_beside_an_agent_initiations_of_its_own_are_seen_to_arrive(self) -> None:
        found = tried(paired=True)
        assert (found.outcomes[HANDSHAKE], found.outcomes[C2S], found.outcomes[S2C]) == ("pass", "pass", "pass")
        plain = found.rows[f"handshake-udp-{PORT}-both"]
        assert (plain.outcome, plain.received, plain.detail["arrived_at_server"]) == (Outcome.NO_ANSWER, None, plain.sent)
        feasibility, why = found.verdict()
        assert feasibility is Feasibility.FEASIBLE
        assert "handshake with the profile completes" in why
        assert "not known" not in why

    def test_answers_from_another_port_are_followed_and_told(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, answers_from=PORT + 1))
        assert (found.outcomes[HANDSHAKE], found.outcomes[S2C]) == ("pass", "pass")
        assert found.server.followed
        assert f":{PORT + 1} answers for " in found.failures["answered-from-elsewhere"]
        feasibility, why = found.verdict()
        assert feasibility is Feasibility.FEASIBLE
        assert "from another address or port" in why


class TestLinesAndLimits:
    """What our own requests, an outage or a limit of pings do is not what the path does to WireGuard."""

    @pytest.mark.parametrize("rate_bit_s", [64e3, 128e3, 256e3, 1e6])
    def test_a_slow_line_with_a_short_queue(self, rate_bit_s: float) -> None:
        found = tried(topology=Topology(links=(Link(rate_bit_s=rate_bit_s),) * 4), echoes=102)
        assert found.failures == {}
        assert found.verdict()[0] in (Feasibility.FEASIBLE, Feasibility.DEGRADED)

    @pytest.mark.parametrize("begins", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3])
    @pytest.mark.parametrize("lasts", [0.2, 1.0, 5.0])
    def test_an_outage(self, begins: float, lasts: float) -> None:
        found = tried(
            lambda both: WireguardServer(both.server, outage=(begins, begins + lasts)),
            topology=Topology(links=(Link(delay_s=0.005),) * 4),
            echoes=102,
        )
        assert found.failures == {}
        assert found.verdict()[0] in (Feasibility.FEASIBLE, Feasibility.DEGRADED)

    @pytest.mark.parametrize("burst", [1, 5])
    def test_a_server_that_answers_one_ping_a_second(self, burst: int) -> None:
        found = tried(lambda both: WireguardServer(both.server, kind=OnePingASecond, pings_at_once=burst), echoes=102)
        assert found.failures == {}
        assert found.verdict()[0] is Feasibility.DEGRADED

    @pytest.mark.parametrize("seed", range(1, 6))
    @pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
    def test_much_loss(self, loss: float, seed: int) -> None:
        found = tried(topology=Topology(links=(Link(), Link(loss=loss), Link(), Link())), echoes=102, seed=seed)
        assert found.failures == {}
        assert found.verdict()[0] is Feasibility.DEGRADED

    def test_a_round_trip_of_several_seconds(self) -> None:
        found = tried(topology=Topology(links=(Link(delay_s=0.6),) * 4), echoes=102)
        assert found.failures == {}
        assert found.verdict()[0] is Feasibility.FEASIBLE


SOME_WAY = Topology(links=(Link(delay_s=0.005),) * 4)


def once(action: Callable[[RoamingServer], None], *at_s: float) -> Make:
    """A server to which that happens at those times."""

    def make(both: Agents) -> WireguardServer:
        server = RoamingServer(both.server)
        for moment in at_s:
            asyncio.get_running_loop().call_later(moment, action, server)
        return server

    return make


class TestDataThatStops:
    @pytest.mark.parametrize("moment", [0.05, 0.1, 0.2, 0.4])
    def test_a_server_that_is_restarted_in_the_middle(self, moment: float) -> None:
        found = tried(once(RoamingServer.restart, moment), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"data-interrupted"}
        feasibility, why = found.verdict()
        assert feasibility in (Feasibility.FEASIBLE, Feasibility.DEGRADED)
        assert "that of the next did not" in why

    @pytest.mark.parametrize("moment", [0.1, 0.2, 0.4])
    def test_another_device_with_the_same_key(self, moment: float) -> None:
        found = tried(once(RoamingServer.other_device, moment), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"data-interrupted"}
        assert "for another session with this key" in found.failures["data-interrupted"]

    def test_another_device_that_comes_back(self) -> None:
        """The path is not blamed, whoever has the key at the end."""
        found = tried(once(RoamingServer.other_device, *(0.1 + 0.3 * number for number in range(60))), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"key-shared"}
        feasibility, why = found.verdict()
        assert feasibility is Feasibility.UNKNOWN
        assert "The path is not what stops it" in why

    def test_a_stranger_at_another_address_is_no_other_device(self) -> None:
        found = tried(lambda both: ForgedServer(both.server, outage=(0.1, 99.0)), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"data-cut"}

    @pytest.mark.parametrize("packets", [5, 6, 10, 20, 60, 150])
    def test_a_cut_of_each_flow_stays_one(self, packets: int) -> None:
        found = tried(topology=Topology(routers=3, filters=(Filter(at="r2", protocol=17, after_packets=packets),)), echoes=102)
        assert set(found.failures) == {"data-cut"}
        assert found.verdict()[0] is Feasibility.UNKNOWN

    def test_a_cut_after_which_nothing_passes(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, outage=(0.1, 99.0)), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"data-cut"}
        assert found.outcomes[HANDSHAKE] == "pass"

    def test_a_nat_that_takes_another_port_in_the_middle(self) -> None:
        found = tried(RenumberedServer.made, topology=SOME_WAY, echoes=102)
        assert found.failures == {}
        assert found.verdict()[0] is Feasibility.FEASIBLE


class TestUsersTraffic:
    """A server that sends by itself: for a user's connections, or to see whether its clients live."""

    @pytest.mark.parametrize("every_s", [0.01, 0.3])
    def test_a_server_that_pings_us_is_no_loss(self, every_s: float) -> None:
        found = tried(lambda both: TalkativeServer(both.server, every_s=every_s), topology=SOME_WAY, echoes=102)
        assert (found.outcomes[C2S], found.outcomes[S2C]) == ("pass", "pass")
        assert found.rows[C2S].sent == 102

    def test_a_server_that_pings_us_and_answers_none_does_not_hold_the_run(self) -> None:
        found = tried(lambda both: TalkativeServer(both.server, every_s=0.3, answers_pings=False), topology=SOME_WAY, echoes=102)
        assert set(found.failures) == {"data-unanswered"}
        assert isinstance(found.server, TalkativeServer)
        assert found.server.times[-1] - found.server.times[0] < 25.0


class TestData:
    @pytest.mark.parametrize("way", ["c2s", "s2c"])
    def test_dead(self, way: str) -> None:
        found = tried(topology=first_bytes(DATA, way))
        assert found.outcomes[HANDSHAKE] == "pass"
        assert set(found.failures) == {"data-dead"}
        assert found.verdict()[0] is Feasibility.UNKNOWN

    def test_that_arrives_though_nobody_answers_pings(self) -> None:
        """The server's own keepalive shows it: a server that answers no pings is no dead tunnel."""
        found = tried(lambda both: WireguardServer(both.server, answers_pings=False))
        assert set(found.failures) == {"data-unanswered"}
        assert "first_data_ms" not in found.rows[HANDSHAKE].detail
        assert "The path is not what stops it" in found.verdict()[1]

    def test_large_messages_alone(self) -> None:
        found = tried(topology=Topology(routers=3, filters=(Filter(at="r2", longer_than=1410),)), echoes=60)
        assert set(found.failures) == {"data-large-dead"}
        assert (found.rows[C2S].outcome, found.rows[C2S].cause) == (Outcome.DEGRADED, Cause.SIZE)
        feasibility, why = found.verdict()
        assert feasibility is Feasibility.DEGRADED
        assert "`MTU` in `[Interface]`" in why

    @pytest.mark.parametrize(
        ("address", "allowed"), [("fd00::2/64", "0.0.0.0/0"), ("10.8.0.2/24", "fd00::/8")], ids=["of IPv6", "to IPv6 only"]
    )
    def test_where_nobody_can_be_asked(self, address: str, allowed: str) -> None:
        found = tried(used=profile(peer(allowed_ips=(ip_network(allowed),)), address=address))
        assert found.outcomes == {HANDSHAKE: "pass", C2S: "skipped", S2C: "skipped"}
        assert "nobody to ask" in found.rows[C2S].detail["reason"]

    @pytest.mark.parametrize("paired", [False, True])
    def test_where_the_handshake_came_to_no_keys_in_use(self, paired: bool) -> None:
        """The one response answers an initiation whose keys the server has left, as a slow peer's does."""
        found = tried(lambda both: SlowServer(both.server, most=1), paired=paired)
        assert found.outcomes[HANDSHAKE] == "pass"
        assert (found.outcomes[C2S], found.outcomes[S2C]) == ("skipped", "skipped")
        assert found.rows[C2S].detail["reason"] == NO_KEYS
        assert found.failures == {}

    def test_where_keys_came_into_use_too_late(self) -> None:
        found = tried(lambda both: SlowServer(both.server, quick_after_s=38.0))
        assert found.outcomes == {HANDSHAKE: "pass", C2S: "skipped", S2C: "skipped"}
        assert found.rows[C2S].detail["reason"] == OUT_OF_TIME
