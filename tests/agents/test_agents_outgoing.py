"""What the server agent sends on a client's word: which kinds, how many, to where, and what cannot be sent."""

import asyncio
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import pytest
from agents_support import Agents, Talk, simulated

from vpnprobe.agents.outgoing import MOST_PACKETS
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement
from vpnprobe.transports.simulated import SimulatedStack
from vpnprobe.transports.stack import Datagram, Endpoint, Packet
from vpnprobe.transports.topology import Filter, Nat, Topology
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.nonce import NoncePayload

SEND = {"ask": "send", "count": 2, "spacing_s": 0, "port": 0, "call_id": 0}
TRACE = {"ask": "trace", "suspects": [], "highest_ttl": 4, "patience_s": 0.1, "loss": [0, 100], "starved": False}
GRE, ESP, ECHO = (["gre", "passthrough", "gre", None, "bare"], ["esp", "passthrough", "esp", None, ""], ["path", "echo", "icmp", None, ""])


async def opened(both: Agents, *ports: tuple[str, int]) -> Talk:
    talk = await both.talk()
    await talk.ask(number=1, ask="open", ports=list(ports) or [["udp", 53], ["udp", 4500]], seconds=60)
    return talk


def raw_at(stack: SimulatedStack, protocol: int) -> list[Datagram]:
    came: list[Datagram] = []
    stack.raw(protocol, came.append)
    return came


@pytest.mark.parametrize(("job", "protocol"), [("gre-bare", 47), ("esp", 50)])
def test_raw_packets_come_to_the_client(job: str, protocol: int) -> None:
    async def story(both: Agents) -> tuple[object, list[Datagram]]:
        talk, came = await opened(both), raw_at(both.client, protocol)
        answer = await talk.ask(number=2, job=job, **{**SEND, "count": 3})
        await asyncio.sleep(1)
        return answer["sent"], came

    sent, came = simulated(story)
    assert sent == len(came) == 3
    assert len({datagram.data for datagram in came}) == 3
    payloads = [NoncePayload.decode(datagram.data[4 if protocol == 47 else 8 :]) for datagram in came]
    assert {payload.session_tag for payload in payloads} == {1}


@pytest.mark.parametrize(("asked", "sent"), [(-5, 0), (0, 0), (1, 1), (MOST_PACKETS, MOST_PACKETS), (10_000_000, MOST_PACKETS)])
def test_no_more_than_so_many_of_one_request(asked: int, sent: int) -> None:
    async def story(both: Agents) -> int:
        talk, came = await opened(both), raw_at(both.client, 50)
        await talk.ask(number=2, job="esp", **{**SEND, "count": asked})
        await asyncio.sleep(1)
        return len(came)

    assert simulated(story) == sent


@pytest.mark.parametrize(("job", "ports", "usual"), [("esp", (), 84), ("esp-in-udp", (("udp", 4500),), 92)])
def test_they_have_the_sizes_that_were_asked_for_and_then_the_usual_one(job: str, ports: tuple[tuple[str, int], ...], usual: int) -> None:
    """What nobody has to try is of the usual size too: nobody may have larger packets sent than links carry."""

    async def story(both: Agents) -> list[int]:
        talk, came, got = await opened(both, *ports), raw_at(both.client, 50), list[Datagram]()
        port = await both.client.udp(got.append)
        to = [[str(port.local.address), port.local.port]] if ports else []
        told = {**SEND, "count": 6, "port": 4500 if ports else 0, "to": to, "sizes": [1400, 0, 576, 40, 9000]}
        await talk.ask(number=2, job=job, **told)
        await asyncio.sleep(1)
        return [len(datagram.data) + (28 if ports else 20) for datagram in (got if ports else came)]

    assert simulated(story) == [1400, usual, 576, usual, usual, usual]


def test_they_are_spaced_and_never_by_more_than_a_second() -> None:
    async def story(both: Agents) -> list[float]:
        talk, came = await opened(both), raw_at(both.client, 50)
        await talk.ask(number=2, job="esp", **{**SEND, "count": 3, "spacing_s": 0.25})
        await talk.ask(number=3, job="esp", **{**SEND, "count": 2, "spacing_s": 1e9})
        await asyncio.sleep(1)
        return [later.at - earlier.at for earlier, later in pairwise(came)]

    first, second, _, last = simulated(story)
    assert [first, second, last] == pytest.approx([0.25, 0.25, 1.0], abs=0.01)


class TestUdp:
    def test_goes_where_the_clients_own_came_from(self) -> None:
        async def story(both: Agents) -> list[Datagram]:
            talk, came = await opened(both), list[Datagram]()
            port = await both.client.udp(came.append)
            port.send(NoncePayload(1, 5).encode(), Endpoint(both.remote.address, 53))
            await asyncio.sleep(0.5)
            came.clear()
            await talk.ask(number=2, job="udp", **{**SEND, "port": 53, "to": [["192.0.2.1", 9]]})
            await asyncio.sleep(0.5)
            return came

        assert [datagram.source.port for datagram in simulated(story)] == [53, 53]

    def test_behind_a_nat_it_goes_to_where_the_nat_sent_from(self) -> None:
        async def story(both: Agents) -> int:
            talk, came = await opened(both), list[Datagram]()
            port = await both.client.udp(came.append)
            port.send(NoncePayload(1, 5).encode(), Endpoint(both.remote.address, 53))
            await asyncio.sleep(0.5)
            came.clear()
            await talk.ask(number=2, job="udp", **{**SEND, "port": 53})
            await asyncio.sleep(0.5)
            return len(came)

        assert simulated(story, Topology(nats=(Nat("r1"),))) == 2

    def test_where_nothing_came_the_client_tells_its_port(self) -> None:
        async def story(both: Agents) -> list[Datagram]:
            talk, came = await opened(both), list[Datagram]()
            port = await both.client.udp(came.append)
            await talk.ask(number=2, job="udp", **{**SEND, "port": 53, "to": [["192.0.2.1", port.local.port]]})
            await asyncio.sleep(0.5)
            return came

        assert len(simulated(story)) == 2

    @pytest.mark.parametrize("to", [None, [["10.78.0.1", 4000]]])
    def test_a_port_that_is_not_open_sends_nothing(self, to: object) -> None:
        async def story(both: Agents) -> object:
            talk = await opened(both)
            return (await talk.ask(number=2, job="udp", **{**SEND, "port": 54, "to": to}))["sent"]

        assert simulated(story) == 0

    def test_beside_the_program_that_has_the_port(self) -> None:
        async def story(both: Agents) -> tuple[object, list[int]]:
            theirs: list[Datagram] = []
            await both.server.udp(theirs.append, port=500)
            talk, came = await opened(both, ("udp", 500)), list[Datagram]()
            port = await both.client.udp(came.append)
            answer = await talk.ask(number=2, job="udp", **{**SEND, "port": 500, "to": [["10.78.0.1", port.local.port]]})
            await asyncio.sleep(0.5)
            return answer["sent"], [datagram.source.port for datagram in came]

        assert simulated(story) == (2, [500, 500])


def test_esp_in_udp_waits_for_the_clients_own() -> None:
    async def story(both: Agents) -> tuple[object, object, int]:
        talk, came = await opened(both), list[Datagram]()
        before = await talk.ask(number=2, job="esp-in-udp", **{**SEND, "port": 4500})
        port = await both.client.udp(came.append)
        port.send(EspPacket(0x1000, 1, NoncePayload(1, 5, 56).encode()).encode(), Endpoint(both.remote.address, 4500))
        await asyncio.sleep(0.5)
        answered = len(came)
        after = await talk.ask(number=3, job="esp-in-udp", **{**SEND, "port": 4500})
        await asyncio.sleep(0.5)
        return before["sent"], after["sent"], len(came) - answered

    assert simulated(story) == (0, 2, 2)


def test_no_call_no_gre_in_it() -> None:
    async def story(both: Agents) -> object:
        return (await (await opened(both)).ask(number=2, job="gre-in-call", **SEND))["sent"]

    assert simulated(story) == 0


def test_nothing_ever_goes_to_another_address() -> None:
    """Every kind, with another's address wherever one may be told."""

    async def story(both: Agents) -> int:
        victim = IPv4Address("10.78.1.1")
        talk, seen = await opened(both), list[Packet]()
        both.server.capture(victim, seen.append)
        jobs = ("gre-bare", "esp", "gre-in-call", "udp", "esp-in-udp")
        for number, job in enumerate(jobs, 2):
            await talk.ask(number=number, job=job, **{**SEND, "port": 53, "to": [str(victim), 4000]})
        for number, check in enumerate((GRE, ESP, ECHO, ["udp", "reach", "udp", 53, ""]), 20):
            await talk.ask(number=number, **{**TRACE, "passing": check, "suspects": [[check, [["", str(victim)]]]]})
        await asyncio.sleep(1)
        return sum(packet.outgoing and packet.data[16:20] == victim.packed for packet in seen)

    assert simulated(story) == 0


def test_what_was_sent_is_on_record() -> None:
    async def story(both: Agents) -> list[tuple[object, Movement]]:
        talk = await opened(both)
        await talk.ask(number=2, job="gre-bare", **SEND)
        (session,) = both.agent.sessions.everybody()
        return [(packet_record.check, packet_record.movement) for packet_record in session.recorder.packet_records]

    assert simulated(story) == [(checks.GRE_BARE, Movement.SENT)] * 2


class TestTraces:
    """Of a path on which GRE is dropped by the second router from the server."""

    LOSSY = Topology(filters=(Filter("r2", protocol=47),))

    @staticmethod
    async def traces(both: Agents, **asked: Any) -> list[Any]:
        return (await (await opened(both)).ask(number=2, **{**TRACE, "passing": ECHO, **asked}))["traces"]

    @pytest.mark.parametrize("check", [GRE, ESP, ECHO], ids=lambda row: row[0])
    def test_each_kind_that_passes_names_the_routers(self, check: list[object]) -> None:
        (trace,) = simulated(lambda both: self.traces(both, passing=check))
        assert trace[0] == check
        assert [address for _, address in trace[2]][:3] == ["10.78.3.1", "10.78.2.1", "10.78.1.1"]

    def test_what_fails_is_traced_beside_it(self) -> None:
        passing, failing = simulated(lambda both: self.traces(both, suspects=[[GRE, []]]), self.LOSSY)
        assert (passing[0], passing[4], failing[0], failing[4]) == (ECHO, True, GRE, False)
        assert [address for _, address in failing[2] if address] == ["10.78.3.1", "10.78.2.1"]
        assert failing[5] == [3]

    def test_without_a_port_that_passes_its_own_connection_is_what_passes(self) -> None:
        async def story(both: Agents) -> list[Any]:
            return await self.traces(both, passing=["path", "control", "tcp", None, ""])

        (trace,) = simulated(story)
        assert trace[0] == ["path", "control", "tcp", None, ""]
        assert [address for _, address in trace[2]][:3] == ["10.78.3.1", "10.78.2.1", "10.78.1.1"]

    def test_what_cannot_be_copied_gives_way_to_echo_requests(self) -> None:
        (trace,) = simulated(lambda both: self.traces(both, passing=["udp", "reach", "udp", 53, ""]))
        assert trace[0] == ECHO

    @pytest.mark.parametrize(("highest", "patience_s"), [(10**9, 0.1), (-3, -1.0), (4, 1e9)])
    def test_its_reach_and_its_patience_are_bounded(self, highest: int, patience_s: float) -> None:
        async def story(both: Agents) -> float:
            began = both.client.now()
            await self.traces(both, suspects=[[GRE, []]], highest_ttl=highest, patience_s=patience_s)
            return both.client.now() - began

        assert simulated(story, self.LOSSY) < 60

    def test_without_raw_sockets_there_is_none(self) -> None:
        assert simulated(self.traces, capabilities={"server": frozenset()}) == []
