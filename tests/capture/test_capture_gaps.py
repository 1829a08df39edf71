"""What one end's capture lacks, told by the other end's capture of the same packets."""

from collections.abc import Collection
from pathlib import Path

import pytest
from capture_packets import written
from test_capture_numbering import AT_CLIENT, AT_SERVER, began_wireguard, wireguard

from vpnprobe.capture.analysis import examine_pair
from vpnprobe.capture.gaps import compared
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed
from vpnprobe.transports.stack import Packet

Sent = tuple[bool, int]
"""Whether the server sent it, and its number."""
WAY_S = 0.02


def captures(folder: Path, *, lost: Collection[Sent], left_out: tuple[Collection[Sent], Collection[Sent]]) -> list[Path]:
    """The client's and the server's. `lost`: on the way; `left_out`: by each capture."""
    held: tuple[list[Packet], list[Packet]] = [], []
    sent = [(False, 0), (True, 0), *((back, number) for number in range(1, 31) for back in (False, True))]
    began = [began_wireguard(ttls) for ttls in (AT_CLIENT, AT_SERVER)]
    for place, (back, number) in enumerate(sent):
        for end, ttls in enumerate((AT_CLIENT, AT_SERVER)):
            received = back is (end == 0)
            if (back, number) in left_out[end] or (received and (back, number) in lost):
                continue
            data = wireguard(back, number, ttls[back]) if number else began[end][back]
            held[end].append(Packet(data, 1.7e9 + place * 0.1 + WAY_S * received, outgoing=False))
    return [written(folder, encode_pcap(packets), name) for packets, name in zip(held, ("client.pcap", "server.pcap"), strict=True)]


def told(*files: Path) -> dict[str, list[tuple[str, str, int]]]:
    """By file: what is missing, by whom, and how many."""
    pair = examine_pair(*map(read_capture, files))
    assert pair.joined
    assert all("--client" not in finding for one in diagnosed(pair.conversations, load_default()) for finding in one.findings)
    gaps = ("numbers-missing", "lost-between", "left-out", "missing-in-both")
    return {
        Path(one.capture).stem: [(fact["fact"], fact["by"], fact["times"]) for fact in one.detail["facts"] if fact["fact"] in gaps]
        for one in pair.conversations
    }


@pytest.mark.parametrize("back", [False, True])
def test_what_left_and_did_not_come(back: bool, tmp_path: Path) -> None:
    found = told(*captures(tmp_path, lost=[(back, 9), (back, 11)], left_out=((), ())))
    at, by = ("client", "server") if back else ("server", "client")
    assert found == {at: [("lost-between", by, 2)], by: []}


@pytest.mark.parametrize("back", [False, True])
def test_what_came_and_the_senders_capture_left_out(back: bool, tmp_path: Path) -> None:
    left_out: tuple[list[Sent], list[Sent]] = ([], [(True, 9)]) if back else ([(False, 9)], [])
    by, to = ("server", "client") if back else ("client", "server")
    assert told(*captures(tmp_path, lost=[], left_out=left_out)) == {by: [("left-out", by, 1)], to: []}


def test_what_both_lack_is_shown_by_neither(tmp_path: Path) -> None:
    found = told(*captures(tmp_path, lost=[(False, 9)], left_out=([(False, 20)], [])))
    assert found == {"client": [("missing-in-both", "client", 1)], "server": [("missing-in-both", "client", 1)]}


def test_a_conversation_that_only_one_end_has_stays_as_it_is(tmp_path: Path) -> None:
    path, _ = captures(tmp_path, lost=[(True, 9)], left_out=((), ()))
    found: tuple[ConversationSummary, ...] = examine_pair(read_capture(path), read_capture(path)).conversations[:1]
    assert compared(found, ()) == (found, ())
