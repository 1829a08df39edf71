"""Existing WireGuard servers tried with a profile, with and without a server agent beside them: what fails has its name."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface, ip_network

import pytest
from agents_support import Agents, silent, simulated
from wireguard_servers import (
    CLIENT_KEY,
    GATEWAY,
    PORT,
    PRESHARED,
    STRANGER,
    ForgedServer,
    OnePingASecond,
    OnlyCookies,
    RenumberedServer,
    RoamingServer,
    SlowServer,
    TalkativeServer,
    WireguardServer,
    peer,
    profile,
    resolving,
)

from vpnprobe.agents.client import ClientRun, Measured
from vpnprobe.observations.schema import Cause, Feasibility, Observation, Outcome, Transport
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.wireguard_profile_test import NO_KEYS, OUT_OF_TIME, WireguardProfileTest, asked_in_tunnel, sizes_of
from vpnprobe.profiles.wireguard_model import WireguardProfile
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.stack import Address
from vpnprobe.transports.topology import Action, Filter, Link, Topology
from vpnprobe.wire.wireguard_noise import key_text, public_key

RULES = load_default()
INITIATION, RESPONSE, DATA = b"\x01\0\0\0", b"\x02\0\0\0", b"\x04\0\0\0"
PROBES = frozenset({"wireguard", "udp"})
Make = Callable[[Agents], WireguardServer]


@dataclass
class Tried:
    measured: Measured
    server: WireguardServer

    @property
    def rows(self) -> dict[str, Observation]:
        return {row.id.removeprefix("wireguard-"): row for row in self.measured.observations if row.probe == "wireguard"}

    @property
    def outcomes(self) -> dict[str, str]:
        return {name: row.outcome.value for name, row in self.rows.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Name to words."""
        named = (row.detail for row in self.rows.values() if "failure" in row.detail)
        return {detail["failure"]: detail.get("said", "") for detail in named}

    def verdict(self) -> tuple[Feasibility, str]:
        """The verdict and all its reasons."""
        decision = decide(self.measured.observations, rules=RULES, ports=(PORT,))
        (verdict,) = [verdict for verdict in decision.verdicts if verdict.protocol == "wireguard"]
        return verdict.feasibility, " ".join(reason.text for reason in verdict.because)


def tried(
    make: Make | None = None,
    used: WireguardProfile | None = None,
    *,
    paired: bool = False,
    addresses: Sequence[Address] | None = None,
    topology: Topology | None = None,
    listens_on: int = PORT,
    echoes: int = 30,
    seed: int = 1,
) -> Tried:
    async def story(both: Agents) -> Tried:
        server = WireguardServer(both.server) if make is None else make(both)
        if listens_on:
            await server.listen(listens_on)
        there = both.network.topology.server_address
        known = resolving(*((there,) if addresses is None else addresses))
        test = WireguardProfileTest(used or profile(), known, echoes=echoes)
        settings = Settings((PORT,), PROBES, test, only_existing=not paired)
        run = both.run(settings) if paired else ClientRun(both.client, there, settings, None, silent)
        return Tried(await run.measure(), server)

    return simulated(story, topology, seed=seed)


def first_bytes(data: bytes, direction: str | None = None) -> Topology:
    planted = Filter(at="r2", protocol=17, payload_offset=0, payload=data, payload_mask=b"\xff" * 4, direction=direction)
    return Topology(routers=3, filters=(planted,))


HANDSHAKE, C2S, S2C = (f"{name}-profile-udp-{PORT}-{way}" for name, way in (("handshake", "both"), ("data", "c2s"), ("data", "s2c")))


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


class TestSilence:
    def test_a_router_that_refuses(self) -> None:
        refusing = Filter(at="r2", action=Action.REJECT_ADMIN, protocol=17, ports=(PORT,))
        found = tried(topology=Topology(routers=3, filters=(refusing,)))
        assert found.failures == {"unreachable": "10.78.1.2 answers: administratively prohibited"}
        assert "no peer with this profile" not in found.verdict()[1]

    def test_nobody_is_there(self) -> None:
        found = tried(listens_on=0)
        assert set(found.failures) == {"port-refused"}
        assert "`Endpoint`" in found.verdict()[1]

    @pytest.mark.parametrize(
        ("make", "used"),
        [
            (lambda both: WireguardServer(both.server, client=STRANGER), None),
            (lambda both: WireguardServer(both.server, private=STRANGER), None),
        ],
    )
    def test_a_key_that_is_not_known(self, make: Make, used: WireguardProfile | None) -> None:
        alone = tried(make, used)
        assert set(alone.failures) == {"silent"}
        assert key_text(public_key(CLIENT_KEY)) in alone.failures["silent"]
        feasibility, why = alone.verdict()
        assert feasibility is Feasibility.UNKNOWN
        assert "vpnprobe run --peer HOST --profile FILE" in why
        beside = tried(make, used, paired=True)
        assert set(beside.failures) == {"arrives-unanswered"}
        assert beside.failures["arrives-unanswered"].startswith("8 came")
        assert beside.rows[HANDSHAKE].detail["arrived_at_server"] == 1
        assert "The path is not what stops it" in beside.verdict()[1]
        assert "wrapped" not in beside.verdict()[1]

    def test_a_filter_beside_which_the_agent_sees_what_else_comes(self) -> None:
        assert set(tried(topology=first_bytes(INITIATION)).failures) == {"silent"}
        beside = tried(topology=first_bytes(INITIATION), paired=True)
        plain = beside.rows[f"handshake-udp-{PORT}-both"]
        assert (plain.outcome, plain.cause) == (Outcome.BLOCKED, Cause.PAYLOAD)
        assert set(beside.failures) == {"silent"}
        feasibility, why = beside.verdict()
        assert feasibility is Feasibility.INFEASIBLE
        assert "recognised by its messages" in why

    def test_a_filter_on_the_answers_beside_an_agent(self) -> None:
        """The server answers: neither its keys nor its configuration are to blame."""
        found = tried(topology=first_bytes(RESPONSE, "s2c"), paired=True)
        assert set(found.failures) == {"answer-lost"}
        assert "does not come back" in found.verdict()[1]
        assert "The path is not what stops it" not in found.verdict()[1]

    def test_no_program_listens_where_the_agent_could(self) -> None:
        found = tried(paired=True, listens_on=0)
        assert set(found.failures) == {"not-running"}

    def test_another_preshared_key(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, preshared=PRESHARED))
        assert set(found.failures) == {"wrong-preshared-key"}
        assert found.outcomes[HANDSHAKE] == "no-answer"

    def test_cookies_and_nothing_else(self) -> None:
        found = tried(lambda both: WireguardServer(both.server, kind=OnlyCookies, wants_cookie=True))
        assert set(found.failures) == {"cookie-unanswered"}

    def test_cookies_from_elsewhere_are_not_followed(self) -> None:
        """The server's public key is enough to make one: who sees initiations could have them sent to anybody."""
        found = tried(lambda both: WireguardServer(both.server, kind=OnlyCookies, wants_cookie=True, answers_from=PORT + 1))
        assert set(found.failures) == {"cookie-unanswered"}
        assert len(found.server.heard) > 1
        assert not found.server.followed

    def test_a_server_that_begins_to_listen_between_two_initiations(self) -> None:
        """A single refusal may be about another thing."""
        waiting: list[asyncio.Task[None]] = []

        def later(both: Agents) -> WireguardServer:
            server = WireguardServer(both.server)

            async def begin() -> None:
                await asyncio.sleep(0.5)
                await server.listen()

            waiting.append(asyncio.get_running_loop().create_task(begin()))
            return server

        found = tried(later, listens_on=0)
        assert found.failures == {}
        assert found.outcomes[S2C] == "pass"

    def test_a_name_that_is_not_known(self) -> None:
        found = tried(addresses=())
        assert set(found.failures) == {"name-not-resolved"}
        assert "`Endpoint`" in found.verdict()[1]

    def test_an_address_that_there_is_no_way_to(self) -> None:
        assert set(tried(addresses=(IPv4Address("203.0.113.9"),)).failures) & {"unreachable", "silent"}

    def test_ipv6_alone(self) -> None:
        found = tried(addresses=(IPv6Address("2001:db8::1"),))
        assert found.failures == {}
        assert set(found.outcomes.values()) == {"skipped"}

    def test_messages_of_another_program(self) -> None:
        found = tried(used=profile(obfuscation=("S1", "H1")))
        assert set(found.outcomes.values()) == {"skipped"}
        assert "AmneziaWG's keys are not supported (S1, H1)" in found.rows[HANDSHAKE].detail["reason"]
        assert not found.server.heard


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


class TestSeveralPeers:
    def test_each_has_its_rows(self) -> None:
        found = tried(used=profile(peer(), peer(port=PORT + 1), peer(public_key=public_key(STRANGER))))
        assert found.outcomes[HANDSHAKE] == "pass"
        assert found.rows[f"handshake-profile-2-udp-{PORT + 1}-both"].detail["failure"] == "port-refused"
        assert found.rows[f"handshake-profile-3-udp-{PORT}-both"].detail["failure"] == "silent"
        assert {row.transport for row in found.rows.values()} == {Transport.UDP}


class TestWhoIsAsked:
    @pytest.mark.parametrize(
        ("address", "allowed", "dns", "asked"),
        [
            ("10.8.0.2/24", ("10.8.0.0/24", "192.168.7.0/24"), (), ("10.8.0.1", "192.168.7.1")),
            ("10.66.12.7/32", ("0.0.0.0/0",), ("10.64.0.1", "9.9.9.9"), ("10.64.0.1", "10.66.12.1", "9.9.9.9")),
            ("10.8.0.2/32", ("10.8.0.1/32",), (), ("10.8.0.1",)),
            ("10.8.0.1/24", ("10.8.0.7/32", "10.8.0.1/32"), (), ("10.8.0.7",)),
            ("10.0.0.0/31", ("10.0.0.0/31", "10.0.0.1/32"), (), ("10.0.0.1",)),
            ("10.8.0.2/24", ("192.168.0.0/16",), ("10.8.0.1",), ("192.168.0.1",)),
            ("fd00::2/64", ("::/0",), ("fd00::1",), ()),
            ("10.8.0.2/24", (), (), ()),
            ("10.1.0.2/16", tuple(f"10.9.0.{n}/32" for n in range(9)), (), tuple(f"10.9.0.{n}" for n in range(4))),
        ],
    )
    def test_the_likeliest_first(self, address: str, allowed: tuple[str, ...], dns: tuple[str, ...], asked: tuple[str, ...]) -> None:
        other = peer(allowed_ips=tuple(map(ip_network, allowed)))
        used = WireguardProfile("wg0.conf", CLIENT_KEY, (ip_interface(address),), tuple(map(ip_address, dns)), None, (other,))
        assert tuple(map(str, asked_in_tunnel(used, other))) == asked

    def test_of_many_networks_the_first_ones_are_enough(self) -> None:
        """Providers' lists that leave some networks out have thousands, each of which would be looked through for each."""
        other = peer(allowed_ips=tuple(IPv4Network((number << 8, 32)) for number in range(1, 50_001)))
        assert asked_in_tunnel(profile(other), other) == tuple(IPv4Address(number << 8) for number in range(1, 5))

    def test_what_is_asked_may_go_to_that_peer(self) -> None:
        other = peer(allowed_ips=(IPv4Network("10.8.0.0/24"),))
        assert all(address in IPv4Network("10.8.0.0/24") for address in asked_in_tunnel(profile(other), other))


@pytest.mark.parametrize(
    ("mtu", "sizes"),
    [
        (None, (128, 576, 1200, 1400, 1440, 1480)),
        (1280, (128, 576, 1200, 1340)),
        (68, (128,)),
        (65535, (128, 576, 1200, 1400, 1440, 1480, 65535)),
    ],
)
def test_sizes_are_those_that_the_mtu_makes(mtu: int | None, sizes: tuple[int, ...]) -> None:
    assert sizes_of(mtu) == sizes
