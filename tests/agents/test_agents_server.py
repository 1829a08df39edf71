"""The server agent against strangers, hostile clients, repeated requests, many clients and those that vanish."""

import asyncio
import base64
import json
from typing import Any

import pytest
from agents_support import CONTROL_PORT, SESSION, Agents, Talk, simulated, until_closed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpnprobe.agents.control import VERSION, Message, encode_frame
from vpnprobe.agents.handover import read_summary
from vpnprobe.agents.peer import hello
from vpnprobe.agents.server import LONGEST_OPEN_S, MOST_PORTS
from vpnprobe.agents.sessions import MOST_SESSIONS
from vpnprobe.transports.stack import Capability, Datagram, Endpoint, TcpStream
from vpnprobe.wire.nonce import NoncePayload


def knows_the_word(_: TcpStream, message: Message) -> bool:
    return message.get("word") == "friend"


class TestStrangers:
    @pytest.mark.parametrize(
        "first",
        [
            b"",
            b"\0",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xff\xff\xff",
            (5000).to_bytes(4, "big") + b" " * 5000,
            encode_frame({}),
            encode_frame({"number": 0, "ask": "hello", "version": VERSION, "session": SESSION, "tag": 1}),
            encode_frame({"number": 0, "ask": "hello", "version": 99, "session": SESSION, "tag": 1}),
            encode_frame({"number": 0, "ask": "ping", "word": "enemy"}),
            encode_frame({"word": ["friend"]}),
            b"\0\0\0\x02[]",
        ],
    )
    def test_nothing_is_answered(self, first: bytes) -> None:
        async def story(both: Agents) -> tuple[bytes, int]:
            stream = await both.connect()
            await stream.send(first)
            if len(first) < 4:
                await stream.close()
                return b"", len(both.agent.sessions.everybody())
            return await until_closed(stream), len(both.agent.sessions.everybody())

        assert simulated(story, admits=knows_the_word) == (b"", 0)

    def test_who_knows_the_word_is_greeted(self) -> None:
        async def story(both: Agents) -> Message:
            return await Talk(await both.connect()).ask(**hello(SESSION, 1), word="friend")

        answer = simulated(story, admits=knows_the_word)
        assert answer["answers"] == 0
        assert answer["seen_as"] == "10.78.0.1"

    def test_the_ports_are_not_open_to_them(self) -> None:
        """A probe port answers the packets of paired sessions alone."""

        async def story(both: Agents) -> int:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 500], ["tcp", 443]], seconds=60)
            both.agent.sessions.end(both.agent.sessions.everybody()[0])
            came: list[Datagram] = []
            port = await both.client.udp(came.append)
            port.send(NoncePayload(1, 5).encode(), Endpoint(both.remote.address, 500))
            stream = await both.client.connect(Endpoint(both.remote.address, 443), deadline_s=3)
            received = await until_closed(stream)
            return len(came) + len(received)

        assert simulated(story) == 0


class TestPorts:
    def test_they_stay_open_as_long_as_the_client_asks_what_came(self) -> None:
        """On a slow line a run takes longer than the time that it asked for at its beginning."""

        async def story(both: Agents) -> list[int]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 500]], seconds=5)
            session = both.agent.sessions.everybody()[0]
            counts = []
            for number in (2, 3):
                await asyncio.sleep(4)
                await talk.ask(number=number, ask="rows", since=0, refused=0)
                counts.append(len(session.ports))
            await asyncio.sleep(6)
            counts.append(len(session.ports))
            await talk.ask(number=4, ask="rows", since=0, refused=0)
            await asyncio.sleep(6)
            return [*counts, len(session.ports)]

        assert simulated(story) == [1, 1, 0, 0]


class TestHello:
    @pytest.mark.parametrize("change", [{"version": VERSION + 1}, {"version": None}, {"ask": "open"}])
    def test_another_version_is_told(self, change: dict[str, object]) -> None:
        async def story(both: Agents) -> tuple[Message, bytes]:
            talk = Talk(await both.connect())
            answer = await talk.ask(**{**hello(SESSION, 1), **change})
            return answer, await until_closed(talk.stream)

        answer, rest = simulated(story)
        assert str(answer["error"]).startswith("version mismatch: this is vpnprobe")
        assert rest == b""

    @pytest.mark.parametrize("change", [{"session": None}, {"number": "x"}, *({"tag": tag} for tag in ("x", None, 1e400, -1, 1 << 40))])
    def test_a_greeting_that_does_not_fit_ends_the_connection_alone(self, change: dict[str, Any]) -> None:
        async def story(both: Agents) -> Message:
            stream = await both.connect()
            body = json.dumps({**hello(SESSION, 1), **change}).replace("Infinity", "1e999").encode()
            await stream.send(len(body).to_bytes(4, "big") + body)
            await asyncio.sleep(1)
            return await (await both.talk(session="cd" * 16)).ask(number=1, ask="ping")

        assert simulated(story)["answers"] == 1

    def test_a_second_connection_joins_the_session(self) -> None:
        async def story(both: Agents) -> int:
            await both.talk()
            await both.talk()
            return len(both.agent.sessions.everybody())

        assert simulated(story) == 1

    def test_no_more_than_so_many_clients(self) -> None:
        async def story(both: Agents) -> tuple[Message, int]:
            for number in range(MOST_SESSIONS):
                await both.talk(session=f"{number:032x}", tag=number)
            refused = await Talk(await both.connect()).ask(**hello("ff" * 16, 999))
            return refused, len(both.agent.sessions.everybody())

        refused, count = simulated(story)
        assert "too many clients" in str(refused["error"])
        assert count == MOST_SESSIONS


TRACE: dict[str, Any] = {
    "ask": "trace",
    "passing": ["path", "echo", "icmp", None, ""],
    "suspects": [],
    "highest_ttl": 4,
    "patience_s": 0.1,
    "loss": [0, 100],
    "starved": False,
}
HOSTILE: list[dict[str, Any]] = [
    {"ask": "dance"},
    {"ask": None},
    {"ask": ["open"]},
    {"ask": "open"},
    {"ask": "open", "ports": 5, "seconds": 1},
    {"ask": "open", "ports": [["udp"]], "seconds": 1},
    {"ask": "open", "ports": [["sctp", 5]], "seconds": 1},
    {"ask": "open", "ports": [["udp", 0]], "seconds": 1},
    {"ask": "open", "ports": [["udp", 65536]], "seconds": 1},
    {"ask": "open", "ports": [["udp", -1]], "seconds": 1},
    {"ask": "open", "ports": [[[], {}]], "seconds": 1},
    {"ask": "open", "ports": [["udp", 1e999]], "seconds": 1},
    {"ask": "open", "ports": [["udp", n] for n in range(1024, 1024 + MOST_PORTS + 1)], "seconds": 1},
    {"ask": "open", "ports": [], "seconds": "x"},
    {"ask": "send"},
    {"ask": "send", "job": "bomb", "count": 1, "port": 0, "call_id": 0},
    {"ask": "send", "job": "udp", "count": 1e999, "port": 53, "call_id": 0},
    {"ask": "send", "job": "udp", "count": 1, "port": 53, "to": "x", "call_id": 0},
    {"ask": "send", "job": "udp", "count": 1, "port": 53, "to": ["x", "y"], "call_id": 0},
    {"ask": "send", "job": "udp", "count": 1, "port": 53, "to": ["1.2.3.4", 99999999], "call_id": 0},
    {"ask": "send", "job": "gre-in-call", "count": 3, "port": 0, "call_id": 1e999},
    {"ask": "send", "job": "esp", "count": 1, "port": 0, "call_id": 0, "sizes": 5},
    {"ask": "send", "job": "esp", "count": 1, "port": 0, "call_id": 0, "sizes": ["x"]},
    {"ask": "send", "job": "esp", "count": 1, "port": 0, "call_id": 0, "sizes": [1e999]},
    {"ask": "rows"},
    {"ask": "rows", "since": "a", "refused": 0},
    {"ask": "rows", "since": [], "refused": {}},
    {"ask": "rows", "since": -5, "refused": -5},
    {"ask": "rows", "since": 1 << 70, "refused": 1 << 70},
    {"ask": "trace"},
    {**TRACE, "passing": []},
    {**TRACE, "passing": {"a": 1}},
    {**TRACE, "highest_ttl": 1 << 40},
    {**TRACE, "highest_ttl": -4, "patience_s": -1},
    {**TRACE, "loss": [1]},
    {**TRACE, "loss": [-5, 1 << 90]},
    {**TRACE, "suspects": {"a": 1}},
    {**TRACE, "suspects": [[["udp", "reach", "udp", 53, ""]]]},
    {**TRACE, "suspects": [[["udp", "reach", "udp", 53, ""], [["a"], 5]]]},
    {**TRACE, "suspects": [[["gre", "passthrough", "gre", None, "bare"], []]] * 500},
    {"ask": "capture"},
    {"ask": "capture", "offset": -3},
    {"ask": "capture", "offset": 1 << 80},
    {"ask": "capture", "offset": "x"},
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["ports", "seconds", "job", "count", "port", "to", "call_id", "since", "refused", "check", "highest_ttl", "offset"]
)
requests = st.fixed_dictionaries({"ask": st.sampled_from(["open", "send", "rows", "trace", "capture", "ping"])}, optional={}).flatmap(
    lambda base: st.dictionaries(fields, json_values, max_size=8).map(lambda more: {**more, **base})
)


class TestHostileClients:
    @pytest.mark.parametrize("message", HOSTILE, ids=lambda message: json.dumps(message)[:70])
    def test_whatever_a_client_asks_the_agent_goes_on(self, message: dict[str, Any]) -> None:
        async def story(both: Agents) -> tuple[Message, Message]:
            talk = await both.talk()
            body = json.dumps({**message, "number": 1}).replace("Infinity", "1e999").encode()
            await talk.stream.send(len(body).to_bytes(4, "big") + body)
            async with asyncio.timeout(30):
                answer = await talk.hear()
            return answer, await (await both.talk(session="cd" * 16, tag=2)).ask(number=1, ask="ping")

        answer, ping = simulated(story)
        assert answer["answers"] == 1
        assert "internal error" not in str(answer.get("error"))
        assert ping["answers"] == 1

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(requests, min_size=1, max_size=5))
    def test_any_requests_at_all(self, messages: list[dict[str, Any]]) -> None:
        async def story(both: Agents) -> list[Message]:
            talk = await both.talk()
            answers = []
            for number, message in enumerate(messages, 1):
                async with asyncio.timeout(600):
                    answers.append(await talk.ask(**{**message, "number": number}))
            return answers

        answers = simulated(story)
        assert [answer["answers"] for answer in answers] == list(range(1, len(messages) + 1))
        assert not any("internal error" in str(answer.get("error")) for answer in answers)

    @pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", encode_frame({"ask": "ping"}), encode_frame({"number": "x"})])
    def test_what_is_no_request_ends_that_connection_alone(self, frame: bytes) -> None:
        async def story(both: Agents) -> tuple[bytes, Message]:
            talk, other = await both.talk(), await both.talk()
            await talk.stream.send(frame)
            return await until_closed(talk.stream), await other.ask(number=1, ask="ping")

        rest, ping = simulated(story)
        assert (rest, ping["answers"]) == (b"", 1)

    def test_a_flood_of_requests_waits_its_turn(self) -> None:
        async def story(both: Agents) -> tuple[int, int]:
            talk = await both.talk()
            send = {"ask": "send", "job": "gre-bare", "count": 200, "spacing_s": 0.5, "port": 0, "call_id": 0}
            for number in range(1, 300):
                await talk.send(number=number, **send)
            await asyncio.sleep(1)
            under_way = len(both.agent.sessions.everybody()[0].tasks)
            ping = await (await both.talk(session="cd" * 16, tag=2)).ask(number=1, ask="ping")
            return under_way, int(ping["answers"])

        under_way, answered = simulated(story)
        assert under_way <= 64
        assert answered == 1

    def test_nothing_is_sent_to_anybody_else(self) -> None:
        """`to` names a port of the client's own address; the address in it is not believed."""

        async def story(both: Agents) -> list[str | None]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=60)
            send = {"ask": "send", "job": "udp", "count": 2, "spacing_s": 0, "port": 53, "call_id": 0}
            await talk.ask(number=2, to=[["198.51.100.9", 4000]], **send)
            rows = (await talk.ask(number=3, ask="rows", since=0, refused=0))["rows"]
            return [row[9][0] for row in rows]

        assert simulated(story) == ["10.78.0.1", "10.78.0.1"]

    @pytest.mark.parametrize("port", [0, 65536, -1])
    def test_what_is_no_port_is_sent_nothing(self, port: int) -> None:
        async def story(both: Agents) -> Message:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=60)
            send = {"ask": "send", "job": "udp", "count": 1, "spacing_s": 0, "port": 53, "call_id": 0, "beside": 0}
            return await talk.ask(number=2, to=[["x", port]], **send)

        assert "is no port" in simulated(story)["error"]

    def test_the_control_port_is_no_probe_port(self) -> None:
        async def story(both: Agents) -> Message:
            return await (await both.talk()).ask(number=1, ask="open", ports=[["tcp", CONTROL_PORT], ["udp", CONTROL_PORT]], seconds=1)

        assert simulated(story)["ports"] == [["tcp", CONTROL_PORT, "closed"], ["udp", CONTROL_PORT, "ours"]]


class TestRequests:
    def test_a_request_that_comes_twice_is_carried_out_once(self) -> None:
        async def story(both: Agents) -> tuple[Message, Message, int]:
            talk, other = await both.talk(), await both.talk()
            send = {"ask": "send", "job": "esp", "count": 3, "spacing_s": 0.2, "port": 0, "call_id": 0}
            await talk.send(number=7, **send)
            second = await other.ask(number=7, **send)
            first = await talk.hear()
            return first, second, len(both.agent.sessions.everybody()[0].recorder.packet_records)

        first, second, sent = simulated(story)
        assert first["sent"] == second["sent"] == 3
        assert sent == 3

    def test_an_answer_is_kept_for_a_repetition_that_comes_late(self) -> None:
        async def story(both: Agents) -> tuple[Message, Message]:
            talk = await both.talk()
            send = {"ask": "send", "job": "esp", "count": 1, "spacing_s": 0, "port": 0, "call_id": 0}
            first = await talk.ask(number=7, **send)
            return first, await talk.ask(number=7, **{**send, "count": 5})

        first, again = simulated(story)
        assert first["sent"] == again["sent"] == 1

    @pytest.mark.parametrize(("pause_s", "known"), [(0.0, 0), (1.0, 2)], ids=["copies at once", "a repetition"])
    def test_a_check_that_changes_nothing_is_answered_anew(self, pause_s: float, known: int) -> None:
        """But copies that come at once, since the agent is busy, make it no busier."""

        async def story(both: Agents) -> tuple[int, int]:
            talk = await both.talk()
            before = await talk.ask(number=7, ask="rows", since=0, refused=0)
            await talk.ask(number=8, ask="send", job="esp", count=2, spacing_s=0, port=0, call_id=0)
            await asyncio.sleep(pause_s)
            after = await talk.ask(number=7, ask="rows", since=0, refused=0)
            return len(before["rows"]), len(after["rows"])

        assert simulated(story) == (0, known)

    def test_ports_are_open_for_a_bounded_time(self) -> None:
        async def story(both: Agents) -> tuple[bool, bool, bool]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=5)
            await talk.ask(number=2, ask="open", ports=[["udp", 54]], seconds="nan")
            await talk.ask(number=3, ask="open", ports=[["udp", 54]], seconds=1e300)
            opened = both.agent.responders.udp(53) is not None
            for number in range(4, 4 + int(LONGEST_OPEN_S / 30) + 2):
                await asyncio.sleep(30)
                await talk.ask(number=number, ask="ping")
            return opened, both.agent.responders.udp(53) is None, both.agent.responders.udp(54) is None

        assert simulated(story) == (True, True, True)

    def test_a_list_with_a_port_that_is_none_opens_nothing(self) -> None:
        async def story(both: Agents) -> tuple[bool, bool]:
            talk = await both.talk()
            answer = await talk.ask(number=1, ask="open", ports=[["udp", 53], ["udp", 70000]], seconds=60)
            return "error" in answer, both.agent.responders.udp(53) is None

        assert simulated(story) == (True, True)

    def test_a_capture_comes_in_parts_that_fit(self) -> None:
        async def story(both: Agents) -> tuple[int, bytes]:
            talk = await both.talk()
            await talk.ask(number=1, ask="open", ports=[["udp", 53]], seconds=50)
            port = await both.client.udp(lambda _: None)
            for number in range(1200):
                port.send(NoncePayload(1, number, 1400).encode(), Endpoint(both.remote.address, 53))
            await asyncio.sleep(1)
            data, parts, total = b"", 0, 1
            while len(data) < total:
                answer = await talk.ask(number=10 + parts, ask="capture", offset=len(data))
                data, total, parts = data + base64.b64decode(answer["data"]), int(answer["total"]), parts + 1
            return parts, data

        parts, data = simulated(story)
        assert parts > 1
        entries = read_summary(data, most_bytes=1 << 22)
        assert len(entries) >= 1200
        assert {entry.size for entry in entries} >= {1400}

    def test_without_the_privilege_there_is_no_capture_and_it_says_so(self) -> None:
        async def story(both: Agents) -> tuple[Message, Message]:
            talk = Talk(await both.connect())
            about = await talk.ask(**hello(SESSION, 1))
            return about, await talk.ask(number=1, ask="capture", offset=0)

        about, capture = simulated(story, capabilities={"server": frozenset({Capability.LOW_PORTS})})
        assert (about["captures"], capture["kept"]) == (False, False)
        assert about["no_raw"]

    def test_what_cannot_be_sent_is_not_sent(self) -> None:
        async def story(both: Agents) -> list[int]:
            talk = await both.talk()
            jobs = ["gre-bare", "esp", "gre-in-call", "udp", "esp-in-udp"]
            send = {"ask": "send", "count": 2, "spacing_s": 0, "port": 53, "call_id": 0}
            return [(await talk.ask(number=number, job=job, **send))["sent"] for number, job in enumerate(jobs, 1)]

        assert simulated(story, capabilities={"server": frozenset()}) == [0, 0, 0, 0, 0]

    def test_traces_of_what_cannot_be_made_are_none(self) -> None:
        async def story(both: Agents) -> list[object]:
            talk = await both.talk()
            kinds = [["tcp", "reach", "tcp", 80, ""], ["udp", "reach", "udp", 80, ""], ["gre", "passthrough", "gre", None, "in-call"]]
            answer = await talk.ask(number=1, **{**TRACE, "suspects": [[kind, []] for kind in kinds]})
            return [trace[0][0] for trace in answer["traces"]]

        assert simulated(story) == ["path"]

    def test_a_trace_names_the_routers(self) -> None:
        async def story(both: Agents) -> Message:
            return await (await both.talk()).ask(number=1, **TRACE)

        hops = dict(simulated(story)["traces"][0][2])
        assert [hops[ttl] for ttl in (1, 2, 3)] == ["10.78.3.1", "10.78.2.1", "10.78.1.1"]
