"""Sessions of the server agent's clients: how they end, what they share, and whose a conversation is."""

import asyncio
import gc
import random
import weakref
from ipaddress import IPv4Address
from typing import Any

import pytest
from agents_support import SESSION, Agents, Talk, simulated

from vpnprobe.agents.control import Message
from vpnprobe.agents.peer import hello
from vpnprobe.agents.server import IDLE_S, LONGEST_OPEN_S
from vpnprobe.agents.sessions import ClientSessions
from vpnprobe.conversations.l2tp_ends import Initiator as L2tpInitiator
from vpnprobe.conversations.session_tag import identifier
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence import checks
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint
from vpnprobe.transports.topology import SERVER, Topology
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

OTHER = "cd" * 16


class TestSessions:
    def test_one_that_says_goodbye_ends_at_once(self) -> None:
        async def story(both: Agents) -> tuple[int, int]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=300)
            await talk.ask(number=2, ask="bye")
            await asyncio.sleep(2)
            assert both.agent.responders.udp(53) is None
            return len(both.agent.sessions.everybody()), both.agent.ended

        assert simulated(story) == (0, 1)

    @pytest.mark.parametrize("says_something", [True, False])
    def test_one_whose_client_vanished_ends_after_a_while(self, says_something: bool) -> None:
        """Without a word: no FIN, no RST. Its ports are closed, its connections too."""

        async def story(both: Agents) -> tuple[int, int, int]:
            talk = await both.talk()
            if says_something:
                await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=300)
            await asyncio.sleep(IDLE_S / 2)
            before = len(both.agent.sessions.everybody())
            await asyncio.sleep(IDLE_S + 2)
            return before, len(both.agent.sessions.everybody()), len(both.tasks)

        assert simulated(story) == (1, 0, 0)

    def test_one_whose_connections_broke_is_kept_for_its_client_to_come_back(self) -> None:
        async def story(both: Agents) -> tuple[int, int]:
            talk = await both.talk()
            await talk.ask(number=1, ask="send", job="esp", count=2, spacing_s=0, port=0, call_id=0)
            talk.stream.abort()
            await asyncio.sleep(IDLE_S / 2)
            again = await both.talk()
            rows = (await again.ask(number=2, ask="rows", since=0, refused=0))["rows"]
            await again.stream.close()
            await asyncio.sleep(2 * IDLE_S)
            return len(rows), len(both.agent.sessions.everybody())

        assert simulated(story) == (2, 0)

    def test_one_that_goes_on_asking_goes_on(self) -> None:
        async def story(both: Agents) -> int:
            talk = await both.talk()
            for number in range(1, 12):
                await asyncio.sleep(IDLE_S / 3)
                await talk.ask(number=number, ask="ping")
            return len(both.agent.sessions.everybody())

        assert simulated(story) == 1

    def test_what_it_was_doing_ends_with_it(self) -> None:
        async def story(both: Agents) -> tuple[int, int]:
            talk = await both.talk()
            await talk.send(number=1, ask="send", job="esp", count=200, spacing_s=1, port=0, call_id=0)
            await talk.ask(number=2, ask="bye")
            session = both.agent.sessions.everybody()[0]
            await asyncio.sleep(2)
            sent = len(session.recorder.packet_records)
            await asyncio.sleep(20)
            return sent, len(session.recorder.packet_records)

        sent, later = simulated(story)
        assert sent == later

    def test_a_port_that_another_client_still_wants_stays_open(self) -> None:
        async def story(both: Agents) -> tuple[bool, bool]:
            first, second = await both.talk(), await both.talk(session="cd" * 16, tag=2)
            for talk in (first, second):
                await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=300)
            await first.ask(number=2, ask="bye")
            await asyncio.sleep(2)
            still = both.agent.responders.udp(53) is not None
            await second.ask(number=2, ask="bye")
            await asyncio.sleep(2)
            return still, both.agent.responders.udp(53) is not None

        assert simulated(story) == (True, False)

    def test_two_that_open_a_port_at_once_both_have_it(self) -> None:
        async def story(both: Agents) -> list[Any]:
            talks = [await both.talk(), await both.talk(session="cd" * 16, tag=2)]
            wanted = [["udp", 53], ["tcp", 443]]
            answers = await asyncio.gather(*(talk.ask(number=1, ask="open", ports=wanted, seconds=300) for talk in talks))
            return [answer["ports"] for answer in answers]

        first, second = simulated(story)
        assert first == second == [["udp", 53, "ours"], ["tcp", 443, "ours"]]

    def test_each_sees_its_own_packets_alone(self) -> None:
        """Two clients behind one address: the session tag in the payload tells them apart."""

        async def story(both: Agents) -> list[set[str]]:
            talks = {1: await both.talk(), 2: await both.talk(session="cd" * 16, tag=2)}
            for talk in talks.values():
                await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=300)
            port = await both.client.udp(lambda _: None)
            for number in range(6):
                port.send(NoncePayload(1 + number % 2, number).encode(), Endpoint(both.remote.address, 53))
            await asyncio.sleep(1)
            found = []
            for talk in talks.values():
                rows = (await talk.ask(number=2, ask="rows", since=0, refused=0))["rows"]
                found.append({row[4][:8] for row in rows if row[3][:2] == list(checks.udp_reach(53)[:2])})
            return found

        assert simulated(story) == [{"00000001"}, {"00000002"}]

    def test_behind_a_nat_the_client_is_told_what_it_looks_like(self) -> None:
        from vpnprobe.lab.scenario import load

        async def story(both: Agents) -> object:
            return (await Talk(await both.connect()).ask(**hello(SESSION, 1)))["seen_as"]

        assert simulated(story, load("nat-without-alg").topology) == "10.78.1.1"
        assert simulated(story, Topology()) == "10.78.0.1"


class TestMemory:
    """A server agent runs for months: what a session was is gone with it."""

    def recorder_after_its_end(self, both: Agents) -> "weakref.ref[Recorder]":
        session = both.agent.sessions.get(SESSION)
        assert session is not None
        return weakref.ref(session.recorder)

    @pytest.mark.parametrize("says_goodbye", [True, False])
    @pytest.mark.parametrize("shared", [True, False], ids=["shared", "alone"])
    def test_one_that_ended_is_gone(self, says_goodbye: bool, shared: bool) -> None:
        """Though it had asked for ports for ten minutes, and another client has its port open still."""

        async def story(both: Agents) -> tuple[bool, bool]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 1194]], seconds=LONGEST_OPEN_S)
            other = await both.talk(session=OTHER, tag=2)
            if shared:
                await other.ask(number=1, ask="open", ports=[["udp", 1194]], seconds=LONGEST_OPEN_S)
            port = await both.client.udp(lambda _: None)
            reset = HardResetClientV2.plain(bytes(7) + b"\x01", Reliable()).encode()
            port.send(reset, Endpoint(both.remote.address, 1194))
            await asyncio.sleep(0.5)
            recorder = self.recorder_after_its_end(both)
            if says_goodbye:
                await talk.ask(number=2, ask="bye")
            talk.stream.abort()
            for number in range(2, 7):
                await asyncio.sleep(IDLE_S / 4)
                await other.ask(number=number, ask="ping")
            gc.collect()
            return recorder() is None, both.agent.responders.udp(1194) is not None

        assert simulated(story) == (True, shared)


class TestTimeOfPorts:
    def test_what_is_asked_for_again_is_open_for_the_time_asked_last(self) -> None:
        """The timer of the first request must not close it."""

        async def story(both: Agents) -> list[bool]:
            talk, is_open = await both.talk(), []
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=20)
            await asyncio.sleep(15)
            await talk.ask(number=2, ask="open", ports=[["udp", 53]], seconds=40)
            for number in range(3, 7):
                await asyncio.sleep(12)
                await talk.ask(number=number, ask="ping")
                is_open.append(both.agent.responders.udp(53) is not None)
            return is_open

        assert simulated(story) == [True, True, True, False]

    @pytest.mark.parametrize("name", [SESSION, OTHER], ids=["same-name", "another"])
    def test_one_that_ended_does_not_close_the_ports_of_a_later_one(self, name: str) -> None:
        async def story(both: Agents) -> tuple[Message, list[bool]]:
            talk, is_open = await both.talk(), []
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=20)
            await talk.ask(number=2, ask="bye")
            await asyncio.sleep(2)
            later = await both.talk(session=name, tag=2)
            answer = await later.ask(number=1, ask="open", ports=[["udp", 53]], seconds=LONGEST_OPEN_S)
            for number in range(2, 5):
                await asyncio.sleep(15)
                await later.ask(number=number, ask="ping")
                is_open.append(both.agent.responders.udp(53) is not None)
            return answer, is_open

        answer, is_open = simulated(story)
        assert answer["ports"] == [["udp", 53, "ours"]]
        assert is_open == [True, True, True]

    def test_one_that_ended_gets_none_any_more(self) -> None:
        """Over a connection that it still has."""

        async def story(both: Agents) -> bool:
            talk = await both.talk()
            await talk.ask(number=1, ask="bye")
            await asyncio.sleep(2)
            with pytest.raises((EOFError, OSError)):
                await talk.ask(number=2, ask="open", ports=[["udp", 53]], seconds=20)
            return both.agent.responders.udp(53) is not None

        assert simulated(story) is False


class TestConversations:
    def test_one_of_an_ended_session_ends_with_it(self) -> None:
        """Nothing more is answered there, nor repeated, though another client behind the address has the port open."""

        async def story(both: Agents) -> tuple[int, int]:
            talk, other = await both.talk(), await both.talk(session=OTHER, tag=2)
            for each in (talk, other):
                await each.ask(number=1, ask="open", ports=[["udp", 1701]], seconds=300)
            came: list[Datagram] = []
            port = await both.client.udp(came.append)
            client = L2tpInitiator(nonce=(bytes(7) + b"\x01").hex(), tunnel_id=5, session_id=6, retransmit_after_s=1.0, entropy=bytes)
            client.start(0.0)
            (request,) = client.data_to_send(0.0)
            port.send(request, Endpoint(both.remote.address, 1701))
            await talk.ask(number=2, ask="bye")
            await asyncio.sleep(1)
            before = len(came)
            port.send(request, Endpoint(both.remote.address, 1701))
            await asyncio.sleep(10)
            return before, len(came) - before

        before, after = simulated(story)
        assert before > 0
        assert after == 0

    @pytest.mark.parametrize("size", [4, 6, 8, 16])
    def test_whose_one_is_shows_in_an_identifier_of_any_size(self, size: int) -> None:
        address, entropy = IPv4Address("192.0.2.1"), random.Random(1).randbytes
        tags = {f"{number:032x}": random.Random(number).getrandbits(32) for number in range(5)}

        async def main() -> None:
            sessions = ClientSessions(SimulatedNetwork(Topology(), seed=1).stack(SERVER))
            for name, tag in tags.items():
                sessions.begin(name, address, tag)
            for name, tag in tags.items():
                found = sessions.of_conversation(address, identifier(tag, size, entropy).hex())
                assert found is not None
                assert found.name == name
                assert sessions.of_conversation(IPv4Address("192.0.2.2"), identifier(tag, size, entropy).hex()) is None
            assert sessions.of_conversation(address, identifier(7, size, entropy).hex()) is None
            assert sessions.of_conversation(address, "") is None

        run_virtual(main())


def test_sessions_behind_one_address_share_a_capture() -> None:
    """Each sees what comes while it lasts, and the last one closes it."""

    async def story(both: Agents) -> tuple[list[int], int]:
        first, second = await both.talk(), await both.talk(session=OTHER, tag=2)
        one, other = both.agent.sessions.everybody()
        taps = both.server._host.sockets.taps
        counts = [len(taps)]
        port = await both.client.udp(lambda _: None)
        port.send(b"x", Endpoint(both.remote.address, 9))
        await asyncio.sleep(1)
        assert one.run_capture.packets[-1] == other.run_capture.packets[-1]
        both.agent.sessions.end(one)
        counts.append(len(taps))
        seen = len(one.run_capture.packets)
        port.send(b"y", Endpoint(both.remote.address, 9))
        await asyncio.sleep(1)
        assert len(one.run_capture.packets) == seen
        assert other.run_capture.packets[-2].data[-1:] == b"y"
        both.agent.sessions.end(other)
        counts.append(len(taps))
        assert first is not second
        return counts, len(both.agent.sessions.everybody())

    assert simulated(story) == ([1, 1, 0], 0)
