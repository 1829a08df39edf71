"""The driver of conversations over streams, in virtual time: any pieces, every way of ending, and peers that read nothing."""

import asyncio
from typing import TypeVar

import pytest
from driver_support import GOAL, PORT, THERE, Scripted

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn_reset import Responder
from vpnprobe.endpoint.driver import CLOCK_SLACK_S, MOST_WAITING, GoalWithin, StreamDriver
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

T = TypeVar("T")


class Meeting:
    """A TCP connection in a simulated network: a driver at the client, and the server's stream by hand."""

    def __init__(self, conversation: Scripted | None = None) -> None:
        network = SimulatedNetwork(Topology(), seed=1)
        self.client, self.server = network.stack(CLIENT), network.stack(SERVER)
        self.conversation = conversation or Scripted()

    async def __aenter__(self) -> "Meeting":
        accepted: asyncio.Future[TcpStream] = asyncio.get_running_loop().create_future()
        listener = await self.server.listen(accepted.set_result, port=PORT)
        stream = await self.client.connect(THERE, deadline_s=5)
        self.peer = await accepted
        listener.close()
        self.driver = StreamDriver(self.client, self.conversation, stream, lambda _: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.driver.close()
        self.driver.stream.abort()

    async def heard(self, count: int) -> bytes:
        """So many bytes at the server."""
        data = b""
        while len(data) < count and (chunk := await self.peer.receive()):
            data += chunk
        return data


class Full:
    """A stream to a peer that reads nothing: what is sent stays, and as much as one likes comes."""

    def __init__(self, chunks: int = 0) -> None:
        self.chunks = chunks
        self.room = asyncio.Event()
        self.taken: list[bytes] = []
        self.remote = self.local = THERE

    async def send(self, data: bytes) -> None:
        await self.room.wait()
        self.taken.append(data)

    async def receive(self, limit: int = 65536) -> bytes:
        if not self.chunks:
            await asyncio.Event().wait()
        self.chunks -= 1
        return b"ping"

    def segments(self) -> None:
        return None

    async def close(self) -> None: ...

    def abort(self) -> None: ...


def full_driver(conversation: Scripted, stream: Full) -> StreamDriver:
    return StreamDriver(SimulatedNetwork(Topology(), seed=1).stack(CLIENT), conversation, stream, lambda _: None)


class TestStreams:
    def test_the_goal_wakes_at_once(self) -> None:
        async def main() -> tuple[float, float]:
            async with Meeting() as both:
                both.driver.start()
                await both.peer.send(b"goal")
                assert await both.driver.wait(GoalWithin(both.driver, GOAL, both.client.now(), lambda: 60))
                return both.client.now(), both.conversation.times(GOAL)[0]

        woken, arrived = run_virtual(main())
        assert woken == arrived

    def test_bytes_that_were_read_already_come_first(self) -> None:
        async def main() -> tuple[list[str], bytes]:
            async with Meeting() as both:
                both.driver.start(b"first")
                await both.peer.send(b"second")
                heard = await both.heard(11)
                return [name for name, _ in both.conversation.happened], heard

        assert run_virtual(main()) == (["start", "first", "second"], b"FIRSTSECOND")

    @pytest.mark.parametrize("cut", [1, 2, 5, 16, 100])
    def test_in_whatever_pieces(self, cut: int) -> None:
        """The server's end of a conversation, of which a byte was read before."""
        check = checks.openvpn_reset(Transport.TCP, PORT)

        async def main() -> tuple[list[str], bytes]:
            network = SimulatedNetwork(Topology(), seed=1)
            client, server = network.stack(CLIENT), network.stack(SERVER)
            recorder = Recorder(server, Vantage.SERVER)
            tasks = []

            async def serve(stream: TcpStream) -> None:
                first, conversation = await stream.receive(1), Responder(session_id=b"s" * 8, stream=True)
                driver = StreamDriver(
                    server, conversation, stream, lambda left: recorder.steps(conversation, check, Sender.RESPONDER, left)
                )
                driver.start(first)
                await driver.finished()

            def connected(stream: TcpStream) -> None:
                tasks.append(asyncio.get_running_loop().create_task(serve(stream)))

            await server.listen(connected, port=PORT)
            stream = await client.connect(THERE, deadline_s=5)
            reset = HardResetClientV2.plain(b"c" * 8, Reliable()).encode()
            framed = len(reset).to_bytes(2, "big") + reset
            for start in range(0, len(framed), cut):
                await stream.send(framed[start : start + cut])
                await asyncio.sleep(0.01)
            answer = await stream.receive()
            await stream.close()
            await asyncio.gather(*tasks)
            return [row.message for row in recorder.packet_records][:2], answer

        messages, answer = run_virtual(main())
        assert messages == ["P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"]
        assert answer[2] >> 3 == 8

    def test_one_that_the_peer_ends(self) -> None:
        async def main() -> tuple[bool, bool, bool, list[str]]:
            async with Meeting() as both:
                both.driver.start()
                await both.peer.close()
                reached = await both.driver.wait(GoalWithin(both.driver, GOAL, both.client.now(), lambda: 60))
                await both.driver.finished()
                assert both.client.now() < 1
                return reached, both.driver.ended, both.driver.was_reset, [name for name, _ in both.conversation.happened]

        assert run_virtual(main()) == (False, True, False, ["start", "closed"])

    @pytest.mark.parametrize("last_words", [b"", b"goodbye"])
    def test_a_peer_that_has_ended_its_side_still_gets_what_was_said_to_it(self, last_words: bytes) -> None:
        async def main() -> bytes:
            async with Meeting(Scripted(last_words=last_words)) as both:
                await both.peer.send(b"question")
                await both.peer.close()
                both.driver.start()
                await both.driver.finished()
                await both.driver.drained()
                return await both.heard(8 + len(last_words))

        assert run_virtual(main()) == b"QUESTION" + last_words

    def test_one_that_is_reset(self) -> None:
        async def main() -> tuple[bool, bool, bool, list[str]]:
            async with Meeting() as both:
                both.driver.start()
                await asyncio.sleep(1)
                both.peer.abort()
                reached = await both.driver.wait(GoalWithin(both.driver, GOAL, both.client.now(), lambda: 60))
                assert both.client.now() < 2
                both.driver.say(lambda now: both.conversation.receive(b"late", now))
                await both.driver.drained()
                await both.driver.finished()
                return reached, both.driver.ended, both.driver.was_reset, [name for name, _ in both.conversation.happened]

        assert run_virtual(main()) == (False, True, True, ["start", "late"])

    def test_timers_are_kept(self) -> None:
        async def main() -> bytes:
            async with Meeting(Scripted(dues=[2.0, 4.0])) as both:
                both.driver.start()
                return await both.heard(10)

        assert run_virtual(main()) == b"timertimer"

    def test_all_that_was_said_leaves_in_its_order(self) -> None:
        async def main() -> bytes:
            async with Meeting() as both:
                both.driver.start()
                for said in (b"a", b"b", b"c"):
                    both.driver.receive(said * 40_000)
                await both.driver.drained()
                both.driver.close()
                return await both.heard(120_000)

        assert run_virtual(main()) == b"A" * 40_000 + b"B" * 40_000 + b"C" * 40_000

    def test_nothing_said_is_drained_already(self) -> None:
        async def main() -> None:
            async with Meeting() as both:
                await both.driver.finished()
                both.driver.start()
                await both.driver.drained()

        run_virtual(main())


class TestPeerThatReadsNothing:
    def test_keeps_nobody(self) -> None:
        async def main() -> tuple[float, list[bytes]]:
            stream = Full()
            driver = full_driver(Scripted(), stream)
            driver.start(b"first")
            await driver.wait(GoalWithin(driver, GOAL, 0.0, lambda: 5.0))
            waited = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await driver.drained()
            driver.close()
            await driver.drained()
            await driver.finished()
            return waited, stream.taken

        waited, taken = run_virtual(main())
        assert waited == pytest.approx(5, abs=CLOCK_SLACK_S)
        assert taken == []

    def test_is_not_read_any_further_until_it_does(self) -> None:
        """Else what it makes us say would fill the memory."""

        async def main() -> tuple[int, int]:
            stream, conversation = Full(chunks=4 * MOST_WAITING), Scripted()
            driver = full_driver(conversation, stream)
            driver.start()
            await asyncio.sleep(60)
            read = len(conversation.times("ping"))
            stream.room.set()
            await asyncio.sleep(1)
            driver.close()
            return read, len(stream.taken)

        read, taken = run_virtual(main())
        assert read <= MOST_WAITING + 1
        assert taken == 4 * MOST_WAITING


def test_a_bug_in_a_conversation_is_told_and_nobody_waits_for_it() -> None:
    async def main() -> float:
        async with Meeting() as both:
            both.driver.start()
            await both.peer.send(b"broken")
            assert not await both.driver.wait(GoalWithin(both.driver, GOAL, 0.0, lambda: 60))
            with pytest.raises(AssertionError, match="a bug"):
                await both.driver.finished()
            return both.client.now()

    assert run_virtual(main()) < 1
