"""What captures come to: the seed's trace, a run's own captures, halves that saw nothing, and input that is none."""

import gzip
import json
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import connection, ip, pcap, written

from vpnprobe.capture.analysis import examine, examine_pair
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.reading import read_capture
from vpnprobe.cli import run_command
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Direction, Observation, Outcome
from vpnprobe.wire.gre import PROTOCOL_EXPERIMENTAL, EnhancedGre, Gre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.pptp import OutgoingCallReply, OutgoingCallRequest, StartControlConnectionReply, StartControlConnectionRequest

PCAPS = Path(__file__).parents[2] / "pcaps"
CLIENT, SERVER = PCAPS / "seed-client.pcap", PCAPS / "seed-server.pcap"
SCHEMA = PCAPS.parent / "vpnprobe" / "observations" / "result.schema.json"


def document(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, object]:
    """The result document of an `analyze --json`, valid against the published schema."""
    import jsonschema

    assert run_command(["analyze", *arguments, "--json"]) == status
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


def gre(observations: tuple[Observation, ...]) -> dict[Direction, Observation]:
    return {o.direction: o for o in observations if (o.probe, o.check) == ("gre", "passthrough")}


def assert_is_the_seeds_case(result: dict[str, object]) -> None:
    verdicts = {verdict["protocol"]: verdict for verdict in result["verdicts"]}  # type: ignore[attr-defined]
    assert {protocol: verdict["feasibility"] for protocol, verdict in verdicts.items()} == {
        "pptp": "infeasible",
        "l2tp": "unknown",
        "l2tp-ipsec": "unknown",
        "openvpn-udp": "unknown",
        "openvpn-tcp": "unknown",
        "wireguard": "unknown",
    }
    text = verdicts["pptp"]["because"][0]["text"]
    assert "two attempts" in text
    assert "23:19:14" in text or "15:19:14 UTC" in text
    assert "what each end sent and on what it did not get" in text
    for protocol in ("l2tp", "openvpn-udp", "openvpn-tcp"):
        assert "vpnprobe run --peer" in verdicts[protocol]["because"][-1]["text"]
    rows = {row["id"]: row for row in result["observations"]}  # type: ignore[attr-defined]
    for way in ("c2s", "s2c"):
        row = rows[f"gre-passthrough-in-call-gre-{way}"]
        assert (row["outcome"], row["cause"], row["sent"], row["received"]) == ("blocked", "ip-protocol", 10, 0)
    assert rows["pptp-control-tcp-1723-both"]["outcome"] == "pass"
    assert rows["nat-mapping-client-side-ip-both"]["detail"]["translated"] is False
    stages = {(row["protocol"], row["stage"]) for row in result["conversations"]}  # type: ignore[attr-defined]
    assert stages == {("pptp", "call-up"), ("gre", "one-way"), ("pptp", "midstream-control")}


def test_the_seeds_two_captures(capsys: pytest.CaptureFixture[str]) -> None:
    result = document(capsys, "--client", str(CLIENT), "--server", str(SERVER))
    assert_is_the_seeds_case(result)
    evidence = next(row for row in result["observations"] if row["id"] == "gre-passthrough-in-call-gre-s2c")["evidence"]  # type: ignore[attr-defined]
    assert evidence[0] == {"capture": str(SERVER), "frame": 1}


def test_the_seeds_printed_text_as_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert_is_the_seeds_case(document(capsys, "--client", str(PCAPS / "seed-client.txt"), "--server", str(PCAPS / "seed-server.txt")))


def test_the_seeds_printed_text_as_one_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halves = [(PCAPS / f"seed-{end}.txt").read_text() for end in ("client", "server")]
    paste = (
        "Look what I get:\n\n//客户端\n$ sudo tcpdump host clip and sip\n"
        + halves[0]
        + "\n//服务器端\n# tcpdump host clip and sip\n"
        + halves[1]
    )
    result = document(capsys, str(written(tmp_path, paste.encode(), "forum.txt")))
    assert_is_the_seeds_case(result)
    (capture,) = result["run"]["captures"]  # type: ignore[index]
    assert (capture["format"], capture["packets"], capture["linktype"]) == ("tcpdump-text", 41, None)


def test_one_end_alone_proves_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    for file, vantage in ((CLIENT, "client"), (SERVER, "server")):
        result = document(capsys, str(file))
        assert {verdict["feasibility"] for verdict in result["verdicts"]} == {"unknown"}  # type: ignore[attr-defined]
        assert result["run"]["captures"][0]["vantage"] == vantage  # type: ignore[index]


def calling(source: IPv4Address, destination: IPv4Address, count: int = 12) -> list[bytes]:
    """GRE of a call that nobody answers."""
    packets = (EnhancedGre(9, number, None, b"\xff\x03\xc0\x21\x01").encode() for number in range(count))
    return [IPv4Packet(source, destination, IpProtocol.GRE, payload=payload, identification=7).encode() for payload in packets]


def talking(source: IPv4Address, destination: IPv4Address, port: int = 443) -> list[bytes]:
    """A connection that is none of a VPN, one segment each way."""
    there = TcpSegment(40000, port, 5, flags=TcpFlag.ACK).encode(source, destination)
    back = TcpSegment(port, 40000, 9, flags=TcpFlag.ACK).encode(destination, source)
    return [
        IPv4Packet(source, destination, IpProtocol.TCP, payload=there).encode(),
        IPv4Packet(destination, source, IpProtocol.TCP, payload=back).encode(),
    ]


A, B, OTHERS = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2"), (IPv4Address("203.0.113.7"), IPv4Address("203.0.113.9"))


@pytest.mark.parametrize("count", [4, 12])
def test_an_empty_capture_proves_nothing_by_itself(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be of the wrong interface, or of another time."""
    client = written(tmp_path, pcap(calling(A, B, count)), "client.pcap")
    for name, packets in (("nothing", []), ("others", talking(*OTHERS)), ("one-way", talking(A, B)[:1])):
        server = written(tmp_path, pcap(packets), f"{name}.pcap")
        pair = examine_pair(read_capture(client), read_capture(server))
        assert {o.outcome for o in gre(pair.observations).values()} == {Outcome.NO_ANSWER}, name
        result = document(capsys, "--client", str(client), "--server", str(server))
        assert {verdict["protocol"]: verdict["feasibility"] for verdict in result["verdicts"]}["pptp"] == "unknown"  # type: ignore[attr-defined]


def test_a_capture_that_shows_other_traffic_of_the_two_hosts_both_ways_is_that_ends_word(tmp_path: Path) -> None:
    client = read_capture(written(tmp_path, pcap(calling(A, B)), "client.pcap"))
    for name, packets in (("web", talking(A, B)), ("ssh", talking(A, B, 22))):
        server = read_capture(written(tmp_path, pcap(packets), f"{name}.pcap"))
        assert gre(examine_pair(client, server).observations)[Direction.C2S].outcome is Outcome.BLOCKED, name


def test_two_empty_captures_say_nothing(tmp_path: Path) -> None:
    empty = written(tmp_path, CLIENT.read_bytes()[:24])
    assert examine_pair(read_capture(empty), read_capture(empty)).observations == ()


def test_an_empty_capture_of_a_run_of_ours_is_that_ends_word(tmp_path: Path) -> None:
    """It holds the probes' packets alone: the control channel, which was up, is not in it."""
    numbered = (Gre(PROTOCOL_EXPERIMENTAL, NoncePayload(1, number, 40).encode()).encode() for number in range(12))
    packets = [IPv4Packet(A, B, IpProtocol.GRE, payload=payload).encode() for payload in numbered]
    client, server = written(tmp_path, pcap(packets), "client.pcap"), written(tmp_path, pcap([]), "server.pcap")
    assert gre(examine_pair(read_capture(client), read_capture(server)).observations)[Direction.C2S].outcome is Outcome.BLOCKED


def test_an_empty_capture_of_an_end_that_answered_is_of_another_place_or_time(tmp_path: Path) -> None:
    probes = [NoncePayload(1, number, 40).encode() for number in range(12)]
    packets = [IPv4Packet(A, B, IpProtocol.GRE, payload=Gre(PROTOCOL_EXPERIMENTAL, probe).encode()).encode() for probe in probes]
    answered = [IPv4Packet(B, A, IpProtocol.UDP, payload=UdpDatagram(500, 4000, probes[0]).encode(B, A)).encode()]
    client, server = written(tmp_path, pcap(packets + answered), "client.pcap"), written(tmp_path, pcap([]), "server.pcap")
    assert gre(examine_pair(read_capture(client), read_capture(server)).observations)[Direction.C2S].outcome is Outcome.NO_ANSWER


def test_captures_of_unrelated_hosts_show_no_nat_and_prove_no_loss(tmp_path: Path) -> None:
    client = written(tmp_path, pcap(talking(A, B) + calling(A, B)), "client.pcap")
    server = written(tmp_path, pcap(talking(*OTHERS) + calling(*OTHERS)), "server.pcap")
    pair = examine_pair(read_capture(client), read_capture(server))
    assert not pair.joined
    assert not pair.observations
    assert "of different hosts" in pair.unjudged
    assert [path.ends for path in pair.paths] == [Ends(str(ends[0]), str(ends[1]), client_known=True) for ends in ((A, B), OTHERS)]
    assert {o.outcome for o in gre(pair.paths[0].observations).values()} == {Outcome.NO_ANSWER}
    assert not [o for path in pair.paths for o in path.observations if o.probe == "nat" or o.outcome is Outcome.BLOCKED]


def test_a_nat_is_told_where_packets_of_both_captures_are_joined(tmp_path: Path) -> None:
    inside, outside = IPv4Address("192.168.0.2"), A
    syns = [
        IPv4Packet(source, B, IpProtocol.TCP, payload=TcpSegment(port, 1723, 77, flags=TcpFlag.SYN).encode(source, B)).encode()
        for source, port in ((inside, 40000), (outside, 1024))
    ]
    client, server = (read_capture(written(tmp_path, pcap([syn]), f"{n}.pcap")) for n, syn in enumerate(syns))
    pair = examine_pair(client, server)
    assert pair.joined
    before_client, before_server = [o.detail for o in pair.observations if o.probe == "nat"]
    assert before_client["translated"] is True
    assert (before_client["address"], before_client["seen_as"], before_client["ports"]) == (str(inside), str(outside), "rewritten")
    assert before_server["translated"] is False


def test_the_same_ip_identification_of_packets_that_do_not_fragment_joins_nothing(tmp_path: Path) -> None:
    """Many systems give all of these 0 (RFC 6864 section 4.1)."""
    bare = [[IPv4Packet(*ends, IpProtocol.GRE, payload=Gre(0x0800, b"x").encode()).encode()] for ends in ((A, B), OTHERS)]
    client, server = (read_capture(written(tmp_path, pcap(packets), f"{n}.pcap")) for n, packets in enumerate(bare))
    assert not examine_pair(client, server).joined


def test_clocks_of_two_captures_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's clock is 7 s ahead: its file is the same with later times, and comes to the same observations."""
    run_command(["demo", "--scenario", "openvpn-cut", "--quiet", "-o", str(tmp_path), "--json"])
    capsys.readouterr()
    found = []
    for ahead_s in (-7, 0, 3600):
        (tmp_path / "shifted.pcap").write_bytes(shifted((tmp_path / "server.pcap").read_bytes(), ahead_s))
        result = document(capsys, "--client", str(tmp_path / "client.pcap"), "--server", str(tmp_path / "shifted.pcap"))
        server = result["run"]["server"]  # type: ignore[index]
        assert server["clock_offset_s"] == pytest.approx(ahead_s, abs=0.01)
        found.append(without_names(result["observations"]))
    assert all(observations == found[0] for observations in found)


def shifted(data: bytes, seconds: int) -> bytes:
    """A capture whose clock is ahead by so many seconds."""
    order = "<" if data[0] in (0xD4, 0x4D) else ">"
    parts, at = [data[:24]], 24
    while at < len(data):
        when, fraction, kept, size = struct.unpack_from(f"{order}IIII", data, at)
        parts.append(struct.pack(f"{order}IIII", when + seconds, fraction, kept, size) + data[at + 16 : at + 16 + kept])
        at += 16 + kept
    return b"".join(parts)


def without_names(rows: object) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "evidence"} for row in rows]  # type: ignore[attr-defined]


def test_a_capture_of_another_host_is_no_witness(tmp_path: Path) -> None:
    """What a capture without any packet of the client does not hold may simply not have been sent meanwhile."""
    alone = [ip(EnhancedGre(9, number, None, b"\xff\x03\xc0\x21\x01").encode(), IpProtocol.GRE) for number in range(12)]
    call = [
        (False, StartControlConnectionRequest().encode()),
        (True, StartControlConnectionReply().encode()),
        (False, OutgoingCallRequest(call_id=7).encode()),
        (True, OutgoingCallReply(call_id=9, peer_call_id=7).encode()),
    ]
    client = read_capture(written(tmp_path, pcap(connection(call) + alone), "client.pcap"))
    server = read_capture(written(tmp_path, pcap(connection(call, port=40001)[1:2]), "server.pcap"))
    assert gre(examine_pair(client, server).observations)[Direction.C2S].outcome is Outcome.NO_ANSWER


def test_the_same_packets_at_both_ends_are_joined(tmp_path: Path) -> None:
    packets = [ip(EnhancedGre(9, number, None, b"\xff\x03\xc0\x21\x01").encode(), IpProtocol.GRE) for number in range(12)]
    client = read_capture(written(tmp_path, pcap(connection([]) + packets), "client.pcap"))
    server = read_capture(written(tmp_path, pcap(connection([]) + packets[:6]), "server.pcap"))
    pair = examine_pair(client, server)
    assert pair.joined
    row = gre(pair.observations)[Direction.C2S]
    assert (row.outcome, row.sent, row.received) == (Outcome.DEGRADED, 12, 6)


@pytest.mark.parametrize("scenario", ["seed", "host-firewall"])
def test_a_runs_own_captures_come_to_its_own_feasibility(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "result"
    run_command(["demo", "--scenario", scenario, "--quiet", "-o", str(folder), "--json"])
    live = json.loads(capsys.readouterr().out)
    offline = document(capsys, "--client", str(folder / "client.pcap"), "--server", str(folder / "server.pcap"))
    live_verdicts, verdicts = (
        {verdict["protocol"]: verdict["feasibility"] for verdict in result["verdicts"]} for result in (live, offline)
    )
    assert live_verdicts == verdicts


def test_what_came_to_the_wire_and_not_to_the_program_is_the_hosts_own_firewall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "result"
    run_command(["demo", "--scenario", "host-firewall", "--quiet", "-o", str(folder), "--json"])
    capsys.readouterr()
    offline = document(capsys, "--client", str(folder / "client.pcap"), "--server", str(folder / "server.pcap"))
    for check in ("gre-passthrough-in-call-gre-c2s", "pptp-lcp-in-call-gre-c2s"):
        row = next(row for row in offline["observations"] if row["id"] == check)  # type: ignore[attr-defined]
        assert (row["outcome"], row["cause"], row["received"], row["location"]) == ("no-answer", "host-firewall", 0, None)
        assert row["detail"]["reason"].startswith("it reaches the server, whose own firewall")
        assert row["evidence"]


def test_a_folder_is_read_file_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, CLIENT.read_bytes(), "a.pcap")
    written(tmp_path, gzip.compress(SERVER.read_bytes()), "b.pcap.gz")
    written(tmp_path, b"\xff\xd8\xff\xe0 JFIF", "c.pcap")
    written(tmp_path, b"notes on these files", "README.txt")
    written(tmp_path, b"not looked at", "notes.md")
    result = document(capsys, str(tmp_path))
    captures = result["run"]["captures"]  # type: ignore[index]
    assert [(Path(c["file"]).name, c["readable"], bool(c.get("verdicts"))) for c in captures] == [
        ("a.pcap", True, True),
        ("b.pcap.gz", True, True),
        ("c.pcap", False, False),
    ]
    assert result["verdicts"] == []
    ids = [row["id"] for row in result["observations"]]  # type: ignore[attr-defined]
    assert len(set(ids)) == len(ids)
    named = {i for c in captures for v in c["verdicts"] for reason in v["because"] for i in reason["observations"]}
    assert named <= set(ids)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0 JFIF", "JPEG"),
        (b"just words\n", "without one packet line"),
        (CLIENT.read_bytes()[:10], "its header"),
    ],
)
def test_input_that_is_no_capture_ends_with_one_line_and_status_6(
    data: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["analyze", str(written(tmp_path, data))]) == 6
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_truncated_capture_is_analysed_as_far_as_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size, packets in ((60, 0), (1000, 7)):
        result = document(capsys, str(written(tmp_path, CLIENT.read_bytes()[:size])))
        (capture,) = result["run"]["captures"]  # type: ignore[index]
        assert (capture["packets"], capture["readable"]) == (packets, False)
        assert f"{packets} packets were read, then" in capture["problem"]


def test_wrong_use_and_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["analyze"]) == 2
    assert run_command(["analyze", str(CLIENT), "--client", str(CLIENT)]) == 2
    assert run_command(["analyze", str(tmp_path / "nothing.pcap")]) == 6
    assert run_command(["analyze", "--client", str(tmp_path / "nothing.pcap")]) == 6
    assert run_command(["analyze", str(tmp_path)]) == 6
    assert capsys.readouterr().err.count("\n") == 5


def test_one_unreadable_file_among_named_ones_gives_the_rest_and_status_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = written(tmp_path, b"", "bad.pcap")
    result = document(capsys, str(CLIENT), str(bad), status=6)
    assert [c["readable"] for c in result["run"]["captures"]] == [True, False]  # type: ignore[index]


def test_a_result_folder_is_written_where_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert run_command(["analyze", "--client", str(CLIENT), "--server", str(SERVER), "-o", str(folder)]) == 0
    assert "PPTP" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html", "observations.csv"}


def test_the_vantage_of_the_seeds_halves() -> None:
    assert [examine(read_capture(file))[1] for file in (CLIENT, SERVER)] == [Vantage.CLIENT, Vantage.SERVER]
