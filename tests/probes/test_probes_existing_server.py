"""Tests of existing servers: one address after another, one session of an identity at a time, and names for what is not reached."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence.checks import openvpn_data, openvpn_reset
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.existing_server import AT_ONCE, IPV6_ONLY, MOST_ADDRESSES, RemoteTest, in_turn
from vpnprobe.probes.settings import Remote, Settings
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Address
from vpnprobe.transports.topology import CLIENT, Topology

FOURS = tuple(IPv4Address(f"192.0.2.{number}") for number in range(1, MOST_ADDRESSES + 3))
SIX = IPv6Address("2001:db8::1")


@dataclass(frozen=True)
class SomeRemote:
    host: str = "vpn.example.net"
    family: str = ""
    transport: Transport = Transport.UDP
    port: int = 1194


@dataclass(frozen=True)
class SomeServer:
    addresses: Sequence[Address]
    file: str = "some.conf"
    probe: str = "some"
    protocols: Sequence[str] = ()
    remotes: Sequence[Remote] = ()

    @property
    def resolve(self) -> Callable[[str, str], Awaitable[Sequence[Address]]]:
        async def found(host: str, family: str) -> Sequence[Address]:
            return self.addresses

        return found


@dataclass
class Sessions:
    """What was open, in the order of beginning and ending."""

    open: list[tuple[str, Address]] = field(default_factory=list)
    begun: list[tuple[str, Address]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    """By identity: sessions at a time."""
    concluded: int = 0


class Trial(RemoteTest):
    """Sessions that take a second each and are answered at some addresses."""

    def __init__(self, context: ProbeContext, sessions: Sessions, server: SomeServer, *, answers: Sequence[Address], identity: str) -> None:
        steps, data = (openvpn_reset(Transport.UDP, 1194, "profile"),), openvpn_data(Transport.UDP, 1194, "profile")
        super().__init__(context, server, SomeRemote(), steps, data)
        self.identity = identity
        self._sessions = sessions
        self._answers = answers

    async def attempt(self) -> bool:
        sessions, one = self._sessions, (self.identity, self.context.peer_address)
        sessions.begun.append(one)
        sessions.open.append(one)
        count = sum(identity == self.identity for identity, _ in sessions.open)
        sessions.most[self.identity] = max(count, sessions.most.get(self.identity, 0))
        sessions.most["all"] = max(len(sessions.open), sessions.most.get("all", 0))
        await asyncio.sleep(1.0)
        sessions.open.remove(one)
        return self.context.peer_address in self._answers

    async def conclude(self) -> None:
        self._sessions.concluded += 1


def tried(
    addresses: Sequence[Address], *, answers: Sequence[Address] = (), identities: Sequence[str] = ("a",)
) -> tuple[Sessions, ProbeContext]:
    async def main() -> tuple[Sessions, ProbeContext]:
        network = SimulatedNetwork(Topology(), seed=1)
        stack = network.stack(CLIENT)
        server, sessions = SomeServer(addresses), Sessions()
        there = network.topology.server_address
        context = ProbeContext(stack, there, Settings(()), Recorder(stack, Vantage.CLIENT), Nonces(stack, 9), None, None)
        tests = [Trial(replace(context), sessions, server, answers=answers, identity=identity) for identity in identities]
        await in_turn(tests)
        context.close()
        return sessions, context

    return run_virtual(main())


class TestAddresses:
    def test_one_after_another_until_one_answers(self) -> None:
        sessions, _ = tried(FOURS, answers=FOURS[1:2])
        assert [address for _, address in sessions.begun] == list(FOURS[:2])
        assert sessions.concluded == 1

    def test_no_more_than_so_many(self) -> None:
        sessions, _ = tried(FOURS)
        assert len(sessions.begun) == MOST_ADDRESSES
        assert sessions.concluded == 1

    def test_a_name_without_address_is_a_failure_by_name(self) -> None:
        sessions, context = tried(())
        assert not sessions.begun
        assert [(name.check.name, name.code, name.said) for name in context.named_failures] == [
            ("reset", "name-not-resolved", "vpn.example.net")
        ]
        assert {skip.check.name for skip in context.skips} == {"reset", "data"}

    def test_ipv6_alone_is_not_tried(self) -> None:
        sessions, context = tried((SIX,))
        assert not sessions.begun
        assert not context.named_failures
        assert {skip.reason for skip in context.skips} == {IPV6_ONLY}


class TestIdentities:
    @pytest.mark.parametrize("count", [2, 5])
    def test_two_sessions_of_one_are_never_open_at_a_time(self, count: int) -> None:
        sessions, _ = tried(FOURS[:1], answers=FOURS[:1], identities=["a"] * count)
        assert len(sessions.begun) == count
        assert sessions.most["a"] == 1

    def test_others_are_tried_beside_it(self) -> None:
        sessions, _ = tried(FOURS[:1], answers=FOURS[:1], identities=["a", "b", "a", "c", "d", "b"])
        assert len(sessions.begun) == 6
        assert max(sessions.most[identity] for identity in "abcd") == 1
        assert sessions.most["all"] == AT_ONCE
