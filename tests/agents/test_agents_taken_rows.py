"""What the server says of its own firewall, and what either end names for the other: hostile answers cost nothing but a DecodeError."""

import pytest

from vpnprobe.agents.records import packet_record_row
from vpnprobe.agents.taken_record import found_here, with_names
from vpnprobe.agents.taken_rows import read_taken_rows
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.taken import NOTHING_TAKEN, Taken, TakenPackets, Unnamed, taken_row, unnamed_row
from vpnprobe.observations.schema import Transport

PART = Taken(Transport.UDP, 1194, 8, 30, 42, 84)
SENT = PacketRecord(Vantage.CLIENT, Movement.SENT, 1.0, checks.udp_reach(1194), "aa")
CAME = PacketRecord(Vantage.SERVER, Movement.RECEIVED, 1.0, checks.udp_reach(1194), "aa")


def test_an_answer_is_read() -> None:
    answer = {
        "taken": [taken_row(PART)],
        "taken_packets": [packet_record_row(CAME), packet_record_row(SENT)],
        "taken_unnamed": [unnamed_row(Unnamed("bb", 2.0))],
        "named": [["cc", packet_record_row(CAME)]],
    }
    taken, names = read_taken_rows(answer, set())
    assert taken == TakenPackets((PART,), (CAME,), (Unnamed("bb", 2.0),)), "what came to the client is not the server's to say"
    assert names == {"cc": CAME}


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
