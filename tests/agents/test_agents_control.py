"""The control channel: frames from any bytes, and requests over a network that loses, stalls and breaks."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from agents_support import Agents, Talk, simulated
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.control import LONGEST_DEADLINES, MOST_BYTES, Channel, FrameReader, encode_frame, segments_told
from vpnprobe.agents.records import unpacked
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Endpoint, TcpStream
from vpnprobe.transports.topology import Filter, Link, Topology

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(st.text(), values, max_size=5)
LOSSY = Topology(filters=(Filter(at="r2", probability=0.2),))


class TestFrames:
    @given(st.lists(messages, max_size=4))
    def test_what_goes_in_comes_out(self, sent: list[dict[str, Any]]) -> None:
        assert FrameReader().feed(b"".join(map(encode_frame, sent))) == sent

    @given(st.lists(messages, min_size=1, max_size=3))
    def test_byte_by_byte(self, sent: list[dict[str, Any]]) -> None:
        reader = FrameReader()
        data = b"".join(map(encode_frame, sent))
        received = [message for byte in data for message in reader.feed(bytes([byte]))]
        assert received == sent

    @given(messages, st.data())
    def test_cut_anywhere(self, message: dict[str, Any], data: st.DataObject) -> None:
        frame = encode_frame(message) * 2
        cut = data.draw(st.integers(0, len(frame)))
        reader = FrameReader()
        assert reader.feed(frame[:cut]) + reader.feed(frame[cut:]) == [message, message]

    @given(st.binary(max_size=400))
    def test_any_bytes_give_messages_or_a_decode_error(self, data: bytes) -> None:
        try:
            for message in FrameReader().feed(data):
                assert isinstance(message, dict)
        except DecodeError as error:
            assert error.field in ("length", "body")

    @given(st.binary(max_size=300))
    def test_any_body_gives_an_object_or_a_decode_error(self, body: bytes) -> None:
        try:
            assert all(isinstance(message, dict) for message in FrameReader().feed(len(body).to_bytes(4, "big") + body))
        except DecodeError as error:
            assert (error.field, error.offset) == ("body", 4)

    @pytest.mark.parametrize("length", [MOST_BYTES + 1, 1 << 31, (1 << 32) - 1])
    def test_a_length_is_refused_before_anything_of_it_is_read(self, length: int) -> None:
        with pytest.raises(DecodeError, match="length at offset 0"):
            FrameReader().feed(length.to_bytes(4, "big"))

    def test_a_stranger_is_given_less(self) -> None:
        frame = encode_frame({"x": "y" * 5000})
        assert FrameReader().feed(frame)
        with pytest.raises(DecodeError, match="length"):
            FrameReader(most_bytes=4096).feed(frame)

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b'"text"', b"5", b"null", b"{", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b"\xff\xfe", b"[" * 100_000],
    )
    def test_what_is_no_object_of_ours(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match="body at offset 4"):
            FrameReader().feed(len(body).to_bytes(4, "big") + body)

    def test_a_number_of_ten_thousand_digits(self) -> None:
        body = b'{"a":' + b"9" * 10_000 + b"}"
        with pytest.raises(DecodeError, match="body"):
            FrameReader().feed(len(body).to_bytes(4, "big") + body)


class TestChannel:
    def test_requests_and_answers(self) -> None:
        async def story(both: Agents) -> list[bool]:
            channel = both.channel()
            await channel.open()
            answers = await asyncio.gather(*(channel.request("ping") for _ in range(20)))
            await channel.close()
            return ["segments" in answer for answer in answers]

        assert simulated(story) == [True] * 20

    @pytest.mark.parametrize("seed", range(6))
    def test_twenty_percent_loss_each_way(self, seed: int) -> None:
        async def story(both: Agents) -> float:
            channel = both.channel()
            await channel.open()
            began = both.client.now()
            for _ in range(30):
                await channel.request("ping")
            took = both.client.now() - began
            await channel.close()
            return took

        assert simulated(story, LOSSY, seed=seed) < 30

    def test_where_much_is_lost_copies_make_answers_come_sooner(self) -> None:
        async def story(both: Agents, *, wide: bool) -> tuple[float, int]:
            channel = both.channel()
            await channel.open()
            channel.wide = wide
            began = both.client.now()
            for _ in range(40):
                await channel.request("rows", since=0, refused=0)
            took_s, connections = both.client.now() - began, len(both.agent.sessions.everybody()[0].streams)
            await channel.close()
            return took_s, connections

        single = [simulated(partial(story, wide=False), LOSSY, seed=seed)[0] for seed in range(6)]
        copied = [simulated(partial(story, wide=True), LOSSY, seed=seed)[0] for seed in range(6)]
        assert sum(copied) < 0.8 * sum(single)
        assert simulated(partial(story, wide=True))[1] == 1, "nothing is lost: nothing is copied"

    @pytest.mark.parametrize("seed", range(3))
    def test_much_comes_through_loss(self, seed: int) -> None:
        """Rows of thousands of packets, as at the end of a long run."""

        async def story(both: Agents) -> int:
            talk = await both.talk()
            session = both.agent.sessions.everybody()[0]
            for number in range(2000):
                session.recorder.sent(check(), f"{number:024x}", size=14)
            await talk.stream.close()
            channel = both.channel()
            await channel.open()
            rows = unpacked((await channel.request("rows", since=0, refused=0))["rows"])
            await channel.close()
            assert isinstance(rows, list)
            return len(rows)

        assert simulated(story, LOSSY, seed=seed) == 2000

    def test_a_second_connection_where_the_first_stalls(self) -> None:
        """The first connection is cut without a word after its greeting; the answer comes over another one."""

        async def story(both: Agents) -> tuple[int, float]:
            opened: list[TcpStream] = []
            greeter = both.channel()._connect

            async def connect() -> TcpStream:
                stream = await greeter()
                opened.append(Stalling(stream) if not opened else stream)
                return opened[-1]

            channel = Channel(connect)
            await channel.open()
            began = both.client.now()
            await channel.request("ping")
            took = both.client.now() - began
            await channel.close()
            return len(opened), took

        connections, took = simulated(story)
        assert connections == 2
        assert took < 2

    def test_a_request_that_is_never_answered_ends_though_others_are_all_the_time(self) -> None:
        async def story(both: Agents) -> float:
            channel = both.channel(deadline_s=1.0)
            await channel.open()

            async def forever(*_: object) -> dict[str, object]:
                await asyncio.sleep(3600)
                return {}

            both.agent._handlers = {**both.agent._handlers, "trace": forever}

            async def others() -> None:
                while True:
                    await channel.request("ping")
                    await asyncio.sleep(0.05)

            asking = asyncio.get_running_loop().create_task(others())
            began = both.client.now()
            with pytest.raises(CannotRun, match="stopped answering"):
                await channel.request("trace")
            took = both.client.now() - began
            asking.cancel()
            await channel.close()
            return took

        assert simulated(story) <= LONGEST_DEADLINES * 1.0 + 3.0

    def test_a_connection_that_breaks_is_replaced(self) -> None:
        async def story(both: Agents) -> int:
            channel = both.channel()
            await channel.open()
            await channel.request("ping")
            for stream in list(both.agent.sessions.everybody()[0].streams):
                stream.abort()
            await channel.request("ping")
            await channel.close()
            return len(both.agent.sessions.everybody())

        assert simulated(story) == 1

    def test_a_peer_that_is_gone_is_told_in_one_line(self) -> None:
        async def story(both: Agents) -> str:
            channel = both.channel()
            await channel.open()
            await channel.request("ping")
            stopped(both)
            with pytest.raises(CannotRun) as caught:
                await asyncio.gather(*(channel.request("ping") for _ in range(5)))
            await channel.close()
            return str(caught.value)

        assert "the peer is gone" in simulated(story)

    def test_a_peer_that_never_answers_is_given_up(self) -> None:
        async def story(both: Agents) -> float:
            greeter = both.channel()._connect

            async def connect() -> TcpStream:
                return Stalling(await greeter())

            channel = Channel(connect, deadline_s=5.0)
            await channel.open()
            began = both.client.now()
            with pytest.raises(CannotRun, match="stopped answering"):
                await channel.request("ping")
            return both.client.now() - began

        assert 5 <= simulated(story) < 10

    def test_what_the_peer_cannot_do_is_told(self) -> None:
        async def story(both: Agents) -> None:
            channel = both.channel()
            await channel.open()
            with pytest.raises(CannotRun, match="the peer cannot dance: unknown request 'dance'"):
                await channel.request("dance")

        simulated(story)

    @pytest.mark.parametrize("failure", [ConnectFailure.REFUSED, ConnectFailure.UNREACHABLE])
    def test_no_first_connection_is_the_connectors_own_word(self, failure: ConnectFailure) -> None:
        async def connect() -> TcpStream:
            raise ConnectError(failure, Endpoint(Topology().server_address, 7117))

        async def story(_: Agents) -> None:
            with pytest.raises(ConnectError, match=failure.value):
                await Channel(connect).open()

        simulated(story)

    def test_a_first_connection_that_hangs_is_raced(self) -> None:
        async def story(both: Agents) -> tuple[int, float]:
            tried = 0
            greeter = both.channel()._connect

            async def connect() -> TcpStream:
                nonlocal tried
                tried += 1
                if tried == 1:
                    await asyncio.sleep(3600)
                return await greeter()

            channel = Channel(connect)
            began = both.client.now()
            await channel.open()
            await channel.close()
            return tried, both.client.now() - began

        tried, took = simulated(story)
        assert tried == 2
        assert took < 4

    def test_all_first_connections_hang(self) -> None:
        async def connect() -> TcpStream:
            await asyncio.sleep(3600)
            raise AssertionError

        async def story(both: Agents) -> float:
            began = both.client.now()
            with pytest.raises(CannotRun, match="did not answer on its control port"):
                await Channel(connect).open()
            return both.client.now() - began

        assert simulated(story) < 9

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\xff\xff\xff\xff",
            b"\0\0\0\2[]",
            encode_frame({"answers": "x"}),
            encode_frame({"answers": None}),
            encode_frame({"answers": []}),
            b'\0\0\0\x11{"answers": 1e999}'[:4] + b'{"answers":1e999}',
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ],
    )
    def test_garbage_from_the_peer_ends_that_connection_alone(self, garbage: bytes) -> None:
        async def story(both: Agents) -> None:
            channel = both.channel()
            await channel.open()
            for stream in both.agent.sessions.everybody()[0].streams:
                await stream.send(garbage)
            assert "segments" in await channel.request("ping")
            await channel.close()

        simulated(story)

    def test_answers_that_nobody_asked_for_are_ignored(self) -> None:
        async def story(both: Agents) -> None:
            channel = both.channel()
            await channel.open()
            for stream in both.agent.sessions.everybody()[0].streams:
                await stream.send(encode_frame({"answers": 77}) + encode_frame({"hello": 1}))
            assert "segments" in await channel.request("ping")
            await channel.close()

        simulated(story)

    def test_the_channels_own_segments_are_counted(self) -> None:
        async def story(both: Agents) -> tuple[int, int]:
            channel = both.channel()
            await channel.open()
            for _ in range(10):
                await channel.request("ping")
            segments = channel.segments()
            await channel.close()
            return segments

        sent, again = simulated(story)
        assert sent >= 10
        assert again == 0


@pytest.mark.parametrize("told", [None, 5, [1], [1, 2, 3], ["1", 0], [True, False], [{}, 0], [3, 4], [5, -1], [10**400, 5]])
def test_segments_that_cannot_be_are_not_believed(told: object) -> None:
    assert segments_told({"segments": told}) == (0, 0)
    assert segments_told({"segments": [7, 7]}) == (7, 7)


def check() -> Any:
    from vpnprobe.evidence import checks

    return checks.udp_reach(53)


def stopped(both: Agents) -> None:
    """As if the process had been killed: its connections are reset, its port is closed."""
    for task in list(both.tasks):
        task.cancel()
    for session in both.agent.sessions.everybody():
        for stream in list(session.streams):
            stream.abort()
    both.listener.close()


class Stalling:
    """A stream that takes what is sent and gives nothing back."""

    def __init__(self, stream: TcpStream) -> None:
        self._stream = stream
        self.local, self.remote = stream.local, stream.remote

    async def send(self, data: bytes) -> None:
        return

    async def receive(self, limit: int = 65536) -> bytes:
        await asyncio.sleep(3600)
        return b""

    def segments(self) -> tuple[int, int] | None:
        return None

    async def close(self) -> None:
        await self._stream.close()

    def abort(self) -> None:
        self._stream.abort()


def test_frames_are_plain_json_behind_a_length() -> None:
    frame = encode_frame({"number": 1, "ask": "ping"})
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert json.loads(frame[4:]) == {"number": 1, "ask": "ping"}


def test_a_slow_link_is_no_stall() -> None:
    """300 ms each way: requests are not repeated for the distance's sake."""
    links = tuple(Link(delay_s=0.075) for _ in range(4))

    async def story(both: Agents) -> int:
        channel = both.channel()
        await channel.open()
        channel.rtt_s = 0.6
        for _ in range(3):
            await channel.request("ping")
        count = len(both.agent.sessions.everybody()[0].streams)
        await channel.close()
        return count

    assert simulated(story, Topology(links=links)) == 1


_: Callable[..., Talk] = Talk
