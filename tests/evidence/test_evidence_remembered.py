"""What a run's judgements work out again and again is worked out anew only where its records are others."""

from dataclasses import replace

from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER

from vpnprobe.evidence import checks
from vpnprobe.evidence.comparison import Compared
from vpnprobe.evidence.judging.remembered import Remembered
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.nonce import BLOCK_SHIFT, PURPOSE_SHIFT, NoncePayload, Purpose

REACH = checks.udp_reach(53)


def key(number: int) -> str:
    return NoncePayload(7, Purpose.CONTROL << PURPOSE_SHIFT | 1 << BLOCK_SHIFT | number).key


LEFT = tuple(PacketRecord(CLIENT, SENT, 0.01 * number, REACH, key(number), purpose=Purpose.CONTROL) for number in (1, 2, 3))
CAME = tuple(PacketRecord(SERVER, RECEIVED, 0.01 * number, REACH, key(number), purpose=Purpose.CONTROL) for number in (1, 2))
CLIENT_END, SERVER_END = EndRecord(LEFT), EndRecord(CAME)


def test_it_is_what_both_ends_recorded() -> None:
    found = Remembered().compared(CLIENT_END, SERVER_END)
    assert found == Compared.of(CLIENT_END, SERVER_END)
    assert [control.came for control in found.controls[C2S]] == [True, True, False]
    assert [(block.controls, block.lost) for block in found.blocks[C2S]] == [(3, 1)]
    assert (found.controls[S2C], found.blocks[Direction.BOTH][0].lost) == ((), 3)
    assert found.by_flow == {C2S: False, S2C: False, Direction.BOTH: False}


def test_what_is_no_controls_changes_nothing() -> None:
    remembered = Remembered()
    first = remembered.compared(CLIENT_END, SERVER_END)
    more = PacketRecord(CLIENT, SENT, 1.0, REACH, NoncePayload(7, 9).key)
    assert remembered.compared(replace(CLIENT_END, packet_records=(*LEFT, more)), SERVER_END) is first


def test_whatever_it_rests_on_is_taken_into_account() -> None:
    remembered = Remembered()
    third = PacketRecord(SERVER, RECEIVED, 0.03, REACH, key(3), purpose=Purpose.CONTROL)
    ends = [
        (CLIENT_END, SERVER_END),
        (replace(CLIENT_END, packet_records=LEFT[:2]), SERVER_END),
        (CLIENT_END, replace(SERVER_END, packet_records=(*CAME, third))),
        (replace(CLIENT_END, ahead_s=1.0), SERVER_END),
        (CLIENT_END, SERVER_END),
    ]
    for client, server in ends:
        assert remembered.compared(client, server) == Compared.of(client, server)
