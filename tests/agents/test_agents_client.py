"""Whole runs in simulated networks: without privileges, with many clients, interrupted, and with a peer that dies."""

import asyncio
import functools
from collections.abc import Sequence

import agents_support
import pytest
from agents_support import Agents, feasibility, of_probe, outcomes, simulated

from vpnprobe.agents import peer
from vpnprobe.agents.client import Measured
from vpnprobe.agents.control import Message
from vpnprobe.agents.sessions import ClientSession
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome, Transport
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology

measured = functools.cache(agents_support.measured)
"""The same run is asked several things."""
NOTHING: frozenset[Capability] = frozenset()


class TestWithoutPrivileges:
    @pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)], ids="+".join)
    def test_everything_else_is_measured(self, lacking: tuple[str, ...]) -> None:
        found = measured(Topology(), lacking=lacking)
        assert found.complete
        assert of_probe(found, "tcp", "udp", "l2tp", "ike", "openvpn") == ["pass"]
        assert outcomes(found)["pptp-control-tcp-1723-both"] == "pass"
        verdicts = feasibility(found)
        assert verdicts["pptp"] is Feasibility.UNKNOWN
        assert verdicts["l2tp"] is verdicts["openvpn-udp"] is verdicts["openvpn-tcp"] is Feasibility.FEASIBLE
        assert verdicts["l2tp-ipsec"] in (Feasibility.FEASIBLE, Feasibility.DEGRADED)

    @pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)], ids="+".join)
    def test_what_was_skipped_says_why(self, lacking: tuple[str, ...]) -> None:
        found = measured(Topology(), lacking=lacking)
        raw = [o for o in found.observations if o.transport in (Transport.GRE, Transport.ESP)]
        assert raw
        told = {(o.outcome, o.cause) for o in raw}
        # Without a raw socket the kernel there refuses the protocol: that is no filter.
        assert told <= {(Outcome.SKIPPED, None), (Outcome.NO_ANSWER, None), (Outcome.REFUSED, Cause.NO_LISTENER)}
        skipped = [o for o in raw if o.outcome is Outcome.SKIPPED]
        assert {(o.probe, o.transport) for o in skipped} >= {("gre", Transport.GRE), ("esp", Transport.ESP)}
        assert all(o.detail["reason"] for o in skipped)

    @pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)], ids="+".join)
    def test_no_capture_is_written_for_that_end(self, lacking: tuple[str, ...]) -> None:
        found = measured(Topology(), lacking=lacking)
        assert set(found.captures) == {f"{end}.pcap" for end in (CLIENT, SERVER) if end not in lacking}
        told = {CLIENT: found.client["capture"], SERVER: (found.server or {})["capture"]}
        for end, text in told.items():
            assert text.startswith("none: ") == (end in lacking)

    @pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)], ids="+".join)
    def test_a_filter_on_gre_is_not_seen_and_not_denied(self, lacking: tuple[str, ...]) -> None:
        found = measured(load("seed").topology, lacking=lacking)
        verdicts = feasibility(found)
        assert verdicts["pptp"] is Feasibility.UNKNOWN
        assert verdicts["l2tp"] is verdicts["openvpn-udp"] is verdicts["openvpn-tcp"] is Feasibility.FEASIBLE
        assert not [o for o in found.observations if o.transport is Transport.GRE and o.outcome in (Outcome.BLOCKED, Outcome.PASS)]

    @pytest.mark.parametrize("end", [CLIENT, SERVER])
    def test_with_raw_sockets_and_no_capture(self, end: str) -> None:
        found = measured(Topology(), lacking=(end,), keeping=frozenset({Capability.RAW_IP, Capability.LOW_PORTS}))
        assert feasibility(found)["pptp"] is Feasibility.FEASIBLE
        assert f"{end}.pcap" not in found.captures

    def test_ports_that_the_server_may_not_open(self) -> None:
        """443, 500 are below 1024; 1194, 1701 and 4500 are not."""
        found = measured(Topology(), lacking=(SERVER,), keeping=NOTHING)
        by_id = outcomes(found)
        assert by_id["openvpn-reset-udp-1194-both"] == "pass"
        assert "blocked" not in by_id.values()
        verdicts = feasibility(found)
        assert verdicts["openvpn-udp"] is verdicts["openvpn-tcp"] is Feasibility.FEASIBLE
        assert verdicts["l2tp-ipsec"] is not Feasibility.INFEASIBLE


class TestManyClients:
    @pytest.mark.parametrize(("count", "scenario"), [(2, "seed"), (4, "clean"), (2, "lossy")])
    def test_at_once_behind_one_address(self, count: int, scenario: str) -> None:
        """Each comes to what one alone comes to: no packet of another is taken for its own or counted as lost."""

        async def story(both: Agents) -> list[Measured]:
            runs = [both.run(Settings((1194, 51820))) for _ in range(count)]
            return list(await asyncio.gather(*(run.measure() for run in runs)))

        topology = load(scenario).topology
        alone = dict(feasibility(measured(topology)))
        for found in simulated(story, topology):
            assert found.complete, found.problem
            verdicts = {name: one for name, one in feasibility(found).items() if name != "l2tp-ipsec" or scenario != "lossy"}
            if scenario == "lossy":
                assert set(verdicts.values()) <= {Feasibility.FEASIBLE, Feasibility.DEGRADED}
            else:
                assert verdicts == alone
            assert scenario != "clean" or {o.outcome for o in found.observations} == {Outcome.PASS}

    def test_one_after_another_on_one_server(self) -> None:
        async def story(both: Agents) -> list[Measured]:
            return [await both.run().measure() for _ in range(3)]

        for found in simulated(story):
            assert set(outcomes(found).values()) == {"pass"}


class TestPairing:
    def test_a_control_port_that_does_not_pass(self) -> None:
        with pytest.raises(CannotRun, match="does not answer") as caught:
            measured(Topology(filters=(Filter(at="r2", protocol=6, ports=(7117,)),)))
        assert caught.value.status is ExitStatus.NO_PEER

    def test_a_peer_that_refuses(self) -> None:
        async def story(both: Agents) -> None:
            with pytest.raises(CannotRun, match="its token differs from ours"):
                await both.run().measure()

        simulated(story, admits=lambda *_: False)

    def test_something_else_on_the_control_port(self) -> None:
        async def story(both: Agents) -> None:
            both.listener.close()

            def answer(stream: object) -> None:
                both.tasks.add(asyncio.get_running_loop().create_task(stream.send(b"220 mail.example.net ESMTP\r\n")))  # type: ignore[attr-defined]

            both.listener = await both.server.listen(answer, port=7117)
            with pytest.raises(CannotRun, match="is no vpnprobe"):
                await both.run().measure()

        simulated(story)

    def test_without_an_agent_answers_prove_and_silence_says_nothing(self) -> None:
        found = measured(Topology(), paired=False)
        assert found.complete
        assert found.server == {"address": "10.78.3.2"}
        assert not {Outcome.BLOCKED} & {o.outcome for o in found.observations}
        assert set(feasibility(found).values()) <= {Feasibility.UNKNOWN, Feasibility.INFEASIBLE}
        counted = [o for o in found.observations if o.sent is not None and o.probe not in ("path", "nat")]
        assert counted
        assert {o.received for o in counted if o.outcome in (Outcome.NO_ANSWER, Outcome.REFUSED)} == {None}
        assert all(o.received and o.detail["proof"] == "answered" for o in counted if o.outcome is Outcome.PASS)


class TestBrokenPeers:
    """A server agent that answers, and not what it should: one line, and what was measured up to then."""

    @pytest.mark.parametrize(
        ("kind", "answer"),
        [
            ("open", {"ports": 5}),
            ("open", {"ports": [["udp", 53]]}),
            ("open", {}),
            ("rows", {"rows": "x", "refusals": []}),
            ("rows", {"rows": [[1, 2, 3]], "refusals": [], "more": True}),
            ("rows", {"rows": [], "refusals": [["tcp"]]}),
            ("rows", {"rows": [], "refusals": [], "dropped_on_input": 7}),
            ("capture", {"kept": True, "data": "!!", "total": 9}),
            ("capture", {"kept": True, "data": "", "total": "x"}),
            ("capture", {"kept": True, "data": "QUJD", "total": 3}),
            ("ping", {"error": "I do not like you"}),
        ],
        ids=str,
    )
    def test_garbage_is_one_line(self, kind: str, answer: dict[str, object]) -> None:
        async def broken(*_: object) -> dict[str, object]:
            return answer

        async def story(both: Agents) -> Measured:
            both.agent._handlers = {**both.agent._handlers, kind: broken}
            return await both.run().measure()

        found = simulated(story)
        assert not found.complete
        assert found.problem.startswith("the peer")
        assert "\n" not in found.problem
        assert not [o for o in found.observations if o.outcome in (Outcome.BLOCKED, Outcome.REFUSED)]

    def with_a_row(self, record: PacketRecord, heard: list[str]) -> Measured:
        """A run whose server agent has one more record."""

        async def story(both: Agents) -> Measured:
            rows = both.agent._handlers["rows"]

            async def more(session: ClientSession, message: Message) -> dict[str, object]:
                if record not in session.recorder.packet_records:
                    session.recorder.packet_records.append(record)
                return await rows(session, message)

            both.agent._handlers = {**both.agent._handlers, "rows": more}
            run = both.run()
            run.tell = heard.append
            return await run.measure()

        return simulated(story)

    def test_a_check_of_a_newer_peer_is_set_aside_and_told(self) -> None:
        heard: list[str] = []
        newer = PacketRecord(Vantage.SERVER, Movement.SENT, 0.1, Check("quic", "handshake", Transport.UDP, 443), "k", "Initial")
        found = self.with_a_row(newer, heard)
        assert found.complete
        assert found.server is not None
        assert found.server["unknown_checks"] == ["quic/handshake"]
        assert [line for line in heard if line.startswith("warning: ") and "quic/handshake" in line]
        assert outcomes(found)["udp-reach-udp-443-s2c"] == "pass"

    def test_a_row_with_a_bad_detail_is_one_line_and_what_was_measured_before(self) -> None:
        bad = PacketRecord(
            Vantage.SERVER, Movement.SENT, 0.1, Check("openvpn", "data", Transport.UDP, 443), "k.0.1", "P_DATA_V2", detail={"call_id": "x"}
        )
        found = self.with_a_row(bad, [])
        assert not found.complete
        assert found.problem.startswith("the peer answered rows with something that cannot be read: row at offset ")
        assert "\n" not in found.problem

    def test_endless_rows_come_to_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A row for ever, always with more to come."""
        monkeypatch.setattr(peer, "MOST_ROWS", 2000)  # as many as there may be take long to read

        async def story(both: Agents) -> Measured:
            rows = both.agent._handlers["rows"]

            async def endless(session: ClientSession, message: Message) -> dict[str, object]:
                answer = await rows(session, {**message, "since": 0})
                return {**answer, "more": True}

            both.agent._handlers = {**both.agent._handlers, "rows": endless}
            return await both.run().measure()

        found = simulated(story)
        assert Outcome.BLOCKED not in {o.outcome for o in found.observations}


def dies_after(both: Agents, seconds: float) -> None:
    """The server agent is killed then: its connections are reset, its ports closed, and its kernel refuses what comes."""

    def die() -> None:
        both.listener.close()
        for task in list(both.tasks):
            task.cancel()
        both.agent.close()

    asyncio.get_running_loop().call_later(seconds, die)


class TestInterruptions:
    @pytest.mark.parametrize("after_s", [0.01, 0.05, 0.1, 0.2, 0.3, 0.5])
    @pytest.mark.parametrize("scenario", ["clean", "seed"])
    def test_a_peer_that_dies(self, scenario: str, after_s: float) -> None:
        """What is told is what both ends had told each other: a dead peer's silence and refusals are no facts about the path."""

        async def story(both: Agents) -> Measured:
            dies_after(both, after_s)
            return await both.run().measure()

        found = simulated(story, load(scenario).topology)
        assert not found.complete
        assert found.peer_lost
        assert "\n" not in found.problem
        assert found.problem
        assert "client.pcap" in found.captures
        assert "server.pcap" not in found.captures
        wrong = [o for o in found.observations if o.outcome in (Outcome.BLOCKED, Outcome.REFUSED) and o.transport is not Transport.GRE]
        assert wrong == []
        if scenario == "clean":
            assert not [o for o in found.observations if o.outcome is Outcome.BLOCKED]

    @pytest.mark.parametrize("after_s", [0.005, 0.05, 0.1, 0.2, 0.3, 0.38])
    @pytest.mark.parametrize("scenario", ["clean", "udp-blocked"])
    def test_ctrl_c(self, scenario: str, after_s: float) -> None:
        async def story(both: Agents) -> tuple[Measured, float]:
            running = asyncio.get_running_loop().create_task(both.run().measure())
            await asyncio.sleep(after_s)
            began = both.client.now()
            running.cancel()
            return await running, both.client.now() - began

        found, took = simulated(story, load(scenario).topology)
        assert (found.complete, found.peer_lost, found.problem) == (False, False, "interrupted")
        assert {"client.pcap", "server.pcap"} == set(found.captures)
        assert took < 2
        blocked = {o.transport for o in found.observations if o.outcome is Outcome.BLOCKED}
        assert blocked <= ({Transport.UDP} if scenario == "udp-blocked" else set())

    def test_ctrl_c_before_pairing_is_not_held_up(self) -> None:
        async def story(both: Agents) -> None:
            running = asyncio.get_running_loop().create_task(both.run().measure())
            await asyncio.sleep(0.00001)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        simulated(story)

    def test_ctrl_c_when_the_peer_has_vanished_waits_for_no_more_than_a_few_seconds(self) -> None:
        async def story(both: Agents) -> tuple[Measured, float]:
            running = asyncio.get_running_loop().create_task(both.run().measure())
            await asyncio.sleep(0.1)
            both.network._receivers[SERVER] = lambda packet, direction: None
            await asyncio.sleep(1)
            began = both.client.now()
            running.cancel()
            return await running, both.client.now() - began

        found, took = simulated(story)
        assert (found.complete, found.problem) == (False, "interrupted")
        assert took < 8


class TestSecondOpinion:
    OPINION = Observation("tcp-nmap-443", "tcp", "nmap", Direction.BOTH, Transport.TCP, Outcome.PASS, 443)

    def ask(self, takes_s: float, *, fails: bool = False) -> tuple[Measured, float]:
        async def opinion(ports: Sequence[WantedPort]) -> list[Observation]:
            assert WantedPort(Transport.TCP, 443) in ports
            await asyncio.sleep(takes_s)
            if fails:
                raise OSError("no such program")
            return [self.OPINION]

        async def story(both: Agents) -> tuple[Measured, float]:
            began = both.client.now()
            run = both.run()
            run.second_opinion = opinion
            return await run.measure(), both.client.now() - began

        return simulated(story)

    def test_it_stands_beside_ours_where_it_came_in_time(self) -> None:
        assert self.OPINION in self.ask(0.01)[0].observations

    def test_it_is_not_waited_for(self) -> None:
        found, took = self.ask(100)
        assert self.OPINION not in found.observations
        assert found.complete
        assert took < 3

    def test_one_that_fails_is_none(self) -> None:
        assert self.ask(0.01, fails=True)[0].complete
