"""L2TP in captures: what both ends' captures know data messages by, and what one or two captures come to."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from capture_packets import pcap, udp, written

from vpnprobe.capture.analysis import examine_at, examine_pair
from vpnprobe.capture.reading import read_capture
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp_ends import Initiator, Responder
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Observation, Outcome
from vpnprobe.wire.l2tp import DataMessage, StartControlConnectionRequest, decode_l2tp, tunnel_avps

PORT = 1701
Loses = Callable[[Sender, object], bool]


def session(loses: Loses, *, requests: int = 12) -> tuple[list[bytes], list[bytes]]:
    """The packets of one run of ours as the client's capture and the server's hold them; `loses` says what is lost between the two."""
    client = Initiator(
        nonce="00ff",
        tunnel_id=7,
        session_id=8,
        retransmit_after_s=1.0,
        entropy=random.Random(1).randbytes,
        requests=requests,
    )
    server = Responder(tunnel_id=5, session_id=6, retransmit_after_s=1.0, entropy=random.Random(2).randbytes, requests=requests)
    seen: dict[Sender, list[bytes]] = {sender: [] for sender in Sender}
    client.start(0.0)
    now = 0.0
    while now < 0.6:
        for end, other in ((client, server), (server, client)):
            end.handle_timer(now)
            for data in end.data_to_send(now):
                back = end is server
                captured = udp(data, *((PORT, 5000) if back else (5000, PORT)), back=back)
                seen[end.SENDER].append(captured)
                if not loses(end.SENDER, decode_l2tp(data)):
                    seen[other.SENDER].append(captured)
                    other.receive(data, now)
        now += 0.003
    return seen[Sender.INITIATOR], seen[Sender.RESPONDER]


def nothing(sender: Sender, message: object) -> bool:
    return False


def all_data(sender: Sender, message: object) -> bool:
    return isinstance(message, DataMessage)


def rows(observations: Sequence[Observation]) -> dict[str, tuple[Outcome, int | None, int | None]]:
    """By check and direction."""
    found = (row for row in observations if row.probe == "l2tp")
    return {f"{row.check} {row.direction.value}": (row.outcome, row.sent, row.received) for row in found}


def both(folder: Path, loses: Loses) -> dict[str, tuple[Outcome, int | None, int | None]]:
    ends = [read_capture(written(folder, pcap(some), name)) for some, name in zip(session(loses), ("c.pcap", "s.pcap"), strict=True)]
    return rows(examine_pair(*ends).observations)


def test_both_captures_know_data_by_the_same_names(tmp_path: Path) -> None:
    found = both(tmp_path, nothing)
    assert found["control both"][0] is Outcome.PASS
    assert found["data c2s"] == found["data s2c"] == (Outcome.PASS, 24, 24)


@pytest.mark.parametrize("way", list(Sender))
def test_data_that_is_lost_one_way_shows(tmp_path: Path, way: Sender) -> None:
    found = both(tmp_path, lambda sender, message: sender is way and all_data(sender, message))
    lost, passing = ("data c2s", "data s2c") if way is Sender.INITIATOR else ("data s2c", "data c2s")
    assert found["control both"][0] is Outcome.PASS
    assert found[lost][0] is Outcome.NO_ANSWER  # Nothing else passes that tells the loss of this path.
    assert found[lost][2] == 0
    assert found[passing] == (Outcome.PASS, 12, 12)


def test_what_the_clients_capture_alone_shows_is_what_was_answered(tmp_path: Path) -> None:
    client, _ = session(nothing)
    found = rows(examine_at(read_capture(written(tmp_path, pcap(client), "c.pcap")), Vantage.CLIENT).observations)
    assert found["data c2s"][0] is found["data s2c"][0] is Outcome.PASS
    silent, _ = session(all_data)
    found = rows(examine_at(read_capture(written(tmp_path, pcap(silent), "d.pcap")), Vantage.CLIENT).observations)
    assert found["data c2s"][0] is Outcome.NO_ANSWER
    assert "data s2c" not in found


def test_a_tunnel_whose_beginning_is_not_there_has_no_name(tmp_path: Path) -> None:
    """The other end's capture may know it by one."""
    client, _ = session(nothing)
    found = rows(examine_at(read_capture(written(tmp_path, pcap(client[1:]), "c.pcap")), Vantage.CLIENT).observations)
    assert not [name for name in found if name.startswith("data")]


def test_a_foreign_tunnel_s_data_counts_too(tmp_path: Path) -> None:
    """Real ends send what is in the tunnel, without LCP of ours: each frame is known by what is in it."""
    request = StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=b"x", assigned_tunnel_id=7)).encode()
    frames = [(back, bytes.fromhex("ff030021") + bytes([number, back])) for number in range(8) for back in (False, True)]
    packets = [udp(request, 5000, PORT)]
    packets += [
        udp(DataMessage(7 if back else 5, 1, frame).encode(), *((PORT, 5000) if back else (5000, PORT)), back=back)
        for back, frame in frames
    ]
    ends = [read_capture(written(tmp_path, pcap(packets), name)) for name in ("c.pcap", "s.pcap")]
    found = rows(examine_pair(*ends).observations)
    assert found["data c2s"] == found["data s2c"] == (Outcome.PASS, 8, 8)
