"""What the server says of its own firewall, and what either end names for the other: hostile answers cost nothing but a DecodeError."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from agents_support import Agents, simulated

from vpnprobe.agents.peer import RemotePeer
from vpnprobe.agents.records import packet_record_row
from vpnprobe.agents.taken_record import ask_at_last, found_here, with_names
from vpnprobe.agents.taken_rows import read_taken_rows
from vpnprobe.endpoint.pacer import Line
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.evidence.taken import NOTHING_TAKEN, Taken, TakenPackets, Unnamed, taken_row, unnamed_row
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext

PART = Taken(Transport.UDP, 1194, 8, 30, 42, 84)
SENT = PacketRecord(Vantage.CLIENT, Movement.SENT, 1.0, checks.udp_reach(1194), "aa")
SAID = PacketRecord(Vantage.SERVER, Movement.SENT, 1.0, checks.udp_reach(1194), "aa")
CAME = PacketRecord(Vantage.SERVER, Movement.RECEIVED, 1.0, checks.udp_reach(1194), "aa")


def test_an_answer_is_read() -> None:
    answer = {
        "taken": [taken_row(PART)],
        "taken_packets": [packet_record_row(CAME), packet_record_row(SENT)],
        "taken_unnamed": [unnamed_row(Unnamed("bb", 2.0))],
        "named": [["cc", packet_record_row(SAID)], ["dd", packet_record_row(CAME)], ["ee", packet_record_row(SENT)]],
    }
    taken, names = read_taken_rows(answer, set())
    assert taken == TakenPackets((PART,), (CAME,), (Unnamed("bb", 2.0),)), "what came to the client is not the server's to say"
    assert names == {"cc": SAID}, "it names what it sent itself"


def test_more_than_an_honest_server_says_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.agents.taken_rows.MOST_PARTS", 2)
    monkeypatch.setattr("vpnprobe.agents.taken_rows.MOST_ASKED", 3)
    answer = {
        "taken": [taken_row(PART), taken_row(PART), taken_row(replace(PART, port=53))],
        "taken_unnamed": [unnamed_row(Unnamed(str(number), 2.0)) for number in range(9)],
        "named": [[str(number), packet_record_row(SAID)] for number in range(9)],
    }
    taken, names = read_taken_rows(answer, set())
    assert taken.parts == (PART,), "one of each protocol and port"
    assert (len(taken.unnamed), len(names)) == (3, 3)


def test_one_that_says_nothing_took_nothing() -> None:
    assert read_taken_rows({}, set()) == (NOTHING_TAKEN, {})


@pytest.mark.parametrize("answer", [{"taken": 7}, {"taken_packets": "?"}, {"taken_unnamed": [[]]}, {"named": [["cc", []]]}, {"named": [7]}])
def test_what_does_not_fit_is_a_decode_error(answer: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        read_taken_rows(answer, set())


def test_names_are_the_other_ends_and_the_rest_stays_unnamed() -> None:
    found = with_names(TakenPackets((PART,), (), (Unnamed("bb", 2.0), Unnamed("cc", 3.0))), {"bb": SENT}, Vantage.SERVER)
    (row,) = found.packets
    assert (row.vantage, row.movement, row.at, row.key) == (Vantage.SERVER, Movement.RECEIVED, 2.0, "aa")
    assert found.unnamed == (Unnamed("cc", 3.0),)


def test_an_end_that_does_not_watch_its_wire_knows_of_nothing() -> None:
    assert found_here(None) is NOTHING_TAKEN


def test_the_server_is_asked_once_what_was_taken_however_long_its_record_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.agents.server.ROWS_A_TIME", 10)
    monkeypatch.setattr("vpnprobe.agents.peer.MOST_ASKED", 2)
    asked: list[object] = []

    async def story(both: Agents) -> int:
        channel = both.channel()
        await channel.open()
        recorder = both.agent.sessions.everybody()[0].recorder
        for number in range(25):
            recorder.received(checks.udp_reach(1194), str(number))
        peer, request = RemotePeer(channel, both.client.now), channel.request

        async def noted(kind: str, **arguments: Any) -> Mapping[str, Any]:
            asked.append(arguments["unnamed"])
            return await request(kind, **arguments)

        monkeypatch.setattr(channel, "request", noted)
        record = await peer.refresh(unnamed=[Unnamed(str(number), 1.0) for number in range(9)])
        await channel.close()
        return len(record.packet_records)

    assert simulated(story) == 25
    assert asked == [["0", "1"], None, None]


def test_where_the_server_is_gone_what_was_found_at_this_end_stands() -> None:
    class Gone:
        async def refresh(self, **_: object) -> EndRecord:
            raise CannotRun("gone")

    async def story(both: Agents) -> TakenPackets:
        context = SimpleNamespace(recorder=Recorder(both.client, Vantage.CLIENT), line=Line(both.client.now))
        with pytest.raises(CannotRun):
            await ask_at_last(cast(ProbeContext, context), cast(RemotePeer, Gone()), TakenPackets((PART,)))
        return context.recorder.taken

    assert simulated(story) == TakenPackets((PART,))
