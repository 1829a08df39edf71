"""Existing WireGuard servers that do not answer a profile, with and without a server agent beside them, and whom a test asks."""

import asyncio
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface, ip_network

import pytest
from agents_support import Agents
from existing_wireguard_support import HANDSHAKE, INITIATION, RESPONSE, S2C, Make, first_bytes, tried
from wireguard_servers import (
    CLIENT_KEY,
    PORT,
    PRESHARED,
    STRANGER,
    OnlyCookies,
    WireguardServer,
    peer,
    profile,
)

from vpnprobe.observations.schema import Cause, Feasibility, Outcome, Transport
from vpnprobe.probes.wireguard_profile_test import asked_in_tunnel, sizes_of
from vpnprobe.profiles.wireguard_model import WireguardProfile
from vpnprobe.transports.topology import Action, Filter, Topology
from vpnprobe.wire.wireguard_noise import key_text, public_key


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
        assert set(beside.failures) == {"not-arrived"}
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
