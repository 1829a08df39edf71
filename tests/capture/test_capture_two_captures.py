"""Two ends' captures: joined path by path; one recording, swapped ends, different hosts and disjoint times are said."""

import gzip
import json
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, pcap, written
from test_capture_paths import OTHER, THIRD, calling, reset, syn

from vpnprobe.capture.analysis import Examined, examine_pair
from vpnprobe.capture.joining import Relation, join
from vpnprobe.capture.reading import CaptureInput, read_capture
from vpnprobe.capture.recording import Recording
from vpnprobe.capture.sides import side_of
from vpnprobe.capture.swapping import seem_swapped
from vpnprobe.capture.two_captures import require_two_ends
from vpnprobe.cli import run_command
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Direction, Outcome

PCAPS = Path(__file__).parents[2] / "pcaps"
DATA = Path(__file__).parents[1] / "data"
INSIDE = IPv4Address("192.168.0.2")
RIGHT_PAIRS = [
    *((PCAPS / f"seed-client.{kind}", PCAPS / f"seed-server.{kind}") for kind in ("pcap", "txt")),
    (DATA / "wireguard-roaming-client.pcap", DATA / "wireguard-roaming-server.pcap"),
]


def timed(folder: Path, name: str, packets: Sequence[tuple[float, bytes]]) -> CaptureInput:
    """A capture of packets at their times, in nanoseconds."""
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    for at, packet in packets:
        data += struct.pack("<IIII", int(at), round(at % 1 * 1e9), len(packet), len(packet)) + packet
    return read_capture(written(folder, data, name))


def refusal(client: CaptureInput, server: CaptureInput) -> str:
    """What is said of two that are not the two ends; empty: nothing."""
    try:
        require_two_ends(client, server)
    except UsageError as error:
        assert error.status is ExitStatus.USAGE
        assert "\n" not in str(error)
        return str(error)
    return ""


def session(*, there_s: float, back_s: float, ahead_s: float, hops: int) -> Iterator[list[tuple[float, bytes]]]:
    """What both ends see of five SYNs and their answers, on a path that takes so long each way; the server's clock is ahead."""
    asked = [(1_700_000_000.0 + 3 * number, number) for number in range(5)]

    def at(end_ttls: tuple[int, int], late_s: float, answered_s: float) -> list[tuple[float, bytes]]:
        found = []
        for moment, number in asked:
            for back, when in ((False, moment + late_s), (True, moment + answered_s)):
                ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
                packet = bytearray(syn(*ends, 1723, back=back, number=1000 + number))
                packet[8] = end_ttls[back]
                found.append((when, bytes(packet)))
        return found

    yield at((64, 64 - hops), 0.0, there_s + back_s + 0.0001)
    yield at((64 - hops, 64), there_s + ahead_s, there_s + 0.0001 + ahead_s)


@pytest.mark.parametrize("hops", [0, 5])
@pytest.mark.parametrize("ahead_s", [-7200.0, -0.01, 0.0, 0.01, 7200.0])
@pytest.mark.parametrize("way_s", [(0.0001, 0.0001), (0.2, 0.001), (0.001, 0.2)])
def test_swapped_ends_are_told_whatever_the_clocks_say(hops: int, ahead_s: float, way_s: tuple[float, float], tmp_path: Path) -> None:
    client, server = (
        timed(tmp_path, f"{number}.pcap", packets)
        for number, packets in enumerate(session(there_s=way_s[0], back_s=way_s[1], ahead_s=ahead_s, hops=hops))
    )
    assert refusal(client, server) == ""
    assert f"--client {client.file} --server {server.file}" in refusal(server, client)


@pytest.mark.parametrize("pair", RIGHT_PAIRS, ids=lambda pair: pair[0].name)
def test_right_pairs_are_never_said_to_be_swapped_or_one(pair: tuple[Path, Path]) -> None:
    client, server = map(read_capture, pair)
    assert refusal(client, server) == ""
    assert "are swapped" in refusal(server, client)
    assert "the same packets at the same times" in refusal(client, client)


def test_where_nothing_tells_the_ends_nothing_is_claimed(tmp_path: Path) -> None:
    """One direction only, and no router between."""
    client, server = (timed(tmp_path, f"{name}.pcap", [(at, reset(CLIENT, SERVER, 1))]) for name, at in (("c", 5.0), ("s", 5.1)))
    joint = join(side_of(client, client.traces, None), side_of(server, server.traces, None)).joints[0]
    assert joint.relation is Relation.JOINED
    assert not seem_swapped(joint.client, joint.server)
    assert not seem_swapped(joint.server, joint.client)


def test_one_recording_is_known_in_whatever_form(tmp_path: Path) -> None:
    seed = (PCAPS / "seed-client.pcap").read_bytes()
    first = read_capture(PCAPS / "seed-client.pcap")
    cut = first.recording.times
    for name, data in (("copy.pcap", seed), ("copy.pcap.gz", gzip.compress(seed)), ("part.pcap", seed[: len(seed) // 2])):
        assert "copies of one capture" in refusal(first, read_capture(written(tmp_path, data, name))), name
    assert len(cut) > 10
    text = (PCAPS / "seed-client.txt").read_bytes()
    other = written(tmp_path, text.replace(b"\n", b"\r\n"), "copy.txt")
    assert "copies of one capture" in refusal(read_capture(PCAPS / "seed-client.txt"), read_capture(other))


def test_two_recordings_of_the_same_packets_at_other_times_are_two() -> None:
    first, second, empty = Recording(), Recording(), Recording()
    for number in range(10):
        first.packet(number, 100.0 + number)
        second.packet(number, 100.00005 + number)
    assert first.is_of(first)
    assert not first.is_of(second)
    assert not first.is_of(empty)
    assert not empty.is_of(empty)


def test_texts_without_times_are_one_only_where_every_byte_is_the_same() -> None:
    first, second = Recording(), Recording()
    for one in (first, second):
        one.packet("a", 0.0)
    first.content(b"one")
    second.content(b"two")
    assert first.is_of(first)
    assert not first.is_of(second)


def test_one_file_for_both_ends_is_refused_before_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(PCAPS / "seed-client.pcap")
    assert run_command(["analyze", "--client", file, "--server", file]) == ExitStatus.USAGE
    assert capsys.readouterr().err.startswith(f"error: --client and --server name the same file, {file}")


def pair(folder: Path, client: Sequence[bytes], server: Sequence[bytes], *, later_s: float = 0.5) -> Examined:
    ends = (("client", client, 0.0), ("server", server, later_s))
    return examine_pair(
        *(timed(folder, f"{name}.pcap", [(1_700_000_000.0 + off + n * 0.01, p) for n, p in enumerate(wire)]) for name, wire, off in ends)
    )


def test_another_clients_packets_are_not_mixed_in(tmp_path: Path) -> None:
    ours = [reset(CLIENT, SERVER, number) for number in range(3)]
    found = pair(tmp_path, ours, [*ours, *calling(SERVER, OTHER, 40), syn(OTHER, SERVER, 1723)])
    assert found.joined
    assert found.is_first
    assert [path.ends.client for path in found.paths if path.ends is not None] == [str(CLIENT), str(OTHER)]
    assert not [row for row in found.observations if row.probe in ("gre", "pptp")]


def test_a_path_is_joined_through_a_nat_though_another_clients_is_larger(tmp_path: Path) -> None:
    inside, outside = ([reset(address, SERVER, number) for number in range(3)] for address in (INSIDE, CLIENT))
    found = pair(tmp_path, inside, [*(reset(OTHER, SERVER, 50 + number) for number in range(30)), *outside])
    assert found.joined
    assert found.server is not None
    assert found.server.ends is not None
    assert (found.ends, found.server.ends.client) == (found.paths[0].ends, str(CLIENT))
    row = next(row for row in found.observations if row.probe == "openvpn")
    assert row.sent == 3


def test_of_a_client_that_the_servers_capture_does_not_know_nothing_is_judged(tmp_path: Path) -> None:
    found = pair(tmp_path, [reset(CLIENT, SERVER, 1)], [*calling(SERVER, OTHER), reset(OTHER, SERVER, 2)])
    assert not found.joined
    assert "of different hosts" in found.unjudged
    assert "client.pcap" in found.unjudged
    assert not found.observations


def test_that_verdict_is_said_in_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client, server = (written(tmp_path, pcap(some), f"{n}.pcap") for n, some in enumerate((calling(CLIENT, SERVER), calling(OTHER, THIRD))))
    assert run_command(["analyze", "--client", str(client), "--server", str(server), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {verdict["feasibility"] for verdict in document["verdicts"]} == {"unknown"}
    assert {verdict["because"][0]["rule"] for verdict in document["verdicts"]} == {"captures-not-of-one-path"}
    assert run_command(["analyze", "--client", str(client), "--server", str(server)]) == 0
    assert "Nothing is judged of these captures together" in capsys.readouterr().out


def test_what_another_time_lacks_altogether_is_no_loss(tmp_path: Path) -> None:
    """The same hosts, an hour later: the server's capture has other traffic both ways, and no reset."""
    resets = [reset(CLIENT, SERVER, number) for number in range(12)]
    web = [syn(CLIENT, SERVER, 443), syn(SERVER, CLIENT, 443, back=True)] * 20
    meanwhile, later = (pair(tmp_path, resets, web, later_s=late_s) for late_s in (0.0, 3600.0))
    lost = [next(row for row in one.observations if row.probe == "openvpn") for one in (meanwhile, later)]
    assert [row.received for row in lost] == [0, None]
    assert "do not overlap in time" in later.note
    assert meanwhile.note == ""


def test_what_both_show_at_different_times_is_compared(tmp_path: Path) -> None:
    call, again = ([syn(CLIENT, SERVER, 1723, number=n), syn(SERVER, CLIENT, 1723, back=True, number=n)] for n in (7, 8))
    found = pair(tmp_path, [*call, *calling(CLIENT, SERVER)], [*again, *calling(SERVER, CLIENT)], later_s=3600.0)
    rows = {row.direction: row.outcome for row in found.observations if row.probe == "gre"}
    assert rows == {Direction.C2S: Outcome.BLOCKED, Direction.S2C: Outcome.BLOCKED}


@pytest.mark.parametrize(
    ("client", "server", "relation"),
    [
        ((CLIENT, SERVER), (CLIENT, SERVER), Relation.SAME_HOSTS),
        ((INSIDE, SERVER), (CLIENT, SERVER), Relation.BEHIND_NAT),
        ((CLIENT, SERVER), (CLIENT, INSIDE), Relation.BEHIND_NAT),
        ((CLIENT, SERVER), (OTHER, SERVER), None),
        ((INSIDE, SERVER), (IPv4Address("192.168.0.3"), SERVER), None),
        ((CLIENT, SERVER), (OTHER, THIRD), None),
    ],
)
def test_what_addresses_alone_show(
    client: tuple[IPv4Address, IPv4Address], server: tuple[IPv4Address, IPv4Address], relation: Relation | None, tmp_path: Path
) -> None:
    here, there = (read_capture(written(tmp_path, pcap([reset(*ends, n)]), f"{n}.pcap")) for n, ends in enumerate((client, server), 1))
    found = join(side_of(here, here.traces, None), side_of(there, there.traces, None))
    assert [joint.relation for joint in found.joints] == ([relation] if relation else [])
    assert [len(found.at_client), len(found.at_server)] == ([0, 0] if relation else [1, 1])
