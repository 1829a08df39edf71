"""Whose packets: every pair of hosts with a VPN conversation is a path of its own, judged by its own packets."""

import json
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, pcap, written

from vpnprobe.capture import paths
from vpnprobe.capture.analysis import examine
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.paths import paths_of, vpn_paths
from vpnprobe.capture.reading import read_capture
from vpnprobe.cli import path_verdicts, run_command
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Feasibility, PathVerdicts, Reason, Verdict
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.openvpn import PORT

OTHER, THIRD = IPv4Address("192.0.2.11"), IPv4Address("198.51.100.99")


def reset(source: IPv4Address, destination: IPv4Address, number: int, *, ttl: int = 60) -> bytes:
    """OpenVPN's first message, P_CONTROL_HARD_RESET_CLIENT_V2."""
    payload = bytes([0x38]) + number.to_bytes(8, "big") + bytes(5)
    return IPv4Packet(
        source, destination, IpProtocol.UDP, ttl, payload=UdpDatagram(40000, PORT, payload).encode(source, destination)
    ).encode()


def calling(source: IPv4Address, destination: IPv4Address, count: int = 12, *, ttl: int = 60) -> list[bytes]:
    """GRE of a call."""
    calls = (EnhancedGre(9, number, None, b"\xff\x03\xc0\x21\x01").encode() for number in range(count))
    return [IPv4Packet(source, destination, IpProtocol.GRE, ttl, identification=7, payload=payload).encode() for payload in calls]


def syn(source: IPv4Address, destination: IPv4Address, port: int, *, back: bool = False, number: int = 77) -> bytes:
    """Of a connection whose initial sequence number is `number`; `back`: the SYN-ACK."""
    flags, ports = (TcpFlag.SYN | TcpFlag.ACK, (port, 40000)) if back else (TcpFlag.SYN, (40000, port))
    segment = TcpSegment(*ports, number, number + 1 if back else 0, flags=flags)
    return IPv4Packet(source, destination, IpProtocol.TCP, 64 if back else 60, payload=segment.encode(source, destination)).encode()


def analysed(folder: Path, packets: Iterable[bytes], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run_command(["analyze", str(written(folder, pcap(packets))), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_connection_to_the_web_is_no_path(tmp_path: Path) -> None:
    web = [syn(OTHER, SERVER, 443), syn(SERVER, OTHER, 443, back=True)] * 20
    capture = read_capture(written(tmp_path, pcap([*web, reset(CLIENT, SERVER, 1)])))
    assert vpn_paths(capture.traces) == [Ends(str(CLIENT), str(SERVER))]
    assert examine(capture)[0].ends == Ends(str(CLIENT), str(SERVER))


def test_without_a_vpn_the_pair_that_talks_to_a_service_is_the_path(tmp_path: Path) -> None:
    capture = read_capture(written(tmp_path, pcap([syn(OTHER, SERVER, 443)])))
    assert vpn_paths(capture.traces) == []
    assert paths_of(capture.traces) == [Ends(str(OTHER), str(SERVER))]


def test_a_connection_that_a_vpns_port_refuses_is_a_path(tmp_path: Path) -> None:
    capture = read_capture(written(tmp_path, pcap([syn(OTHER, SERVER, 1723), reset(CLIENT, SERVER, 1)])))
    assert {ends.client for ends in vpn_paths(capture.traces)} == {str(CLIENT), str(OTHER)}


def test_each_client_has_verdicts_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = [reset(CLIENT, SERVER, 1), reset(CLIENT, SERVER, 2), *calling(OTHER, SERVER), syn(SERVER, CLIENT, 99, back=True)]
    document = analysed(tmp_path, packets, capsys)
    (capture,) = document["run"]["captures"]  # type: ignore[index]
    assert document["paths"] == capture["paths"]
    assert {(path["client"], path["server"]) for path in document["paths"]} == {(str(CLIENT), str(SERVER)), (str(OTHER), str(SERVER))}  # type: ignore[attr-defined]
    assert {verdict["feasibility"] for verdict in document["verdicts"]} == {"unknown"}  # type: ignore[attr-defined]
    ids = [row["id"] for row in document["observations"]]  # type: ignore[attr-defined]
    assert len(ids) == len(set(ids))
    for path in document["paths"]:  # type: ignore[attr-defined]
        rests_on = {one for verdict in path["verdicts"] for reason in verdict["because"] for one in reason["observations"]}
        assert rests_on <= set(ids)
        assert all(one.startswith(f"{path['client']}-{path['server']}-") for one in rests_on)


def test_one_clients_servers_share_the_verdicts_that_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither server answers."""
    packets = [reset(CLIENT, SERVER, 1, ttl=64), *calling(CLIENT, THIRD, ttl=64), syn(CLIENT, THIRD, 1723), reset(CLIENT, THIRD, 3, ttl=64)]
    document = analysed(tmp_path, packets, capsys)
    [openvpn] = [verdict for verdict in document["verdicts"] if verdict["protocol"] == "openvpn-udp"]  # type: ignore[attr-defined]
    assert next(reason["observations"] for reason in openvpn["because"] if reason["observations"]) == [
        f"{CLIENT}-{THIRD}-openvpn-reset-udp-1194-both"
    ]
    assert {verdict["because"][0]["rule"] for verdict in document["verdicts"]}.isdisjoint({"several-paths"})  # type: ignore[attr-defined]


def test_a_protocol_that_several_clients_talk_has_a_verdict_for_each_alone() -> None:
    works, fails = (
        Verdict("pptp", feasibility, (Reason("rule", "Why.", ("one",)),)) for feasibility in (Feasibility.FEASIBLE, Feasibility.INFEASIBLE)
    )
    silent = Verdict("l2tp", Feasibility.UNKNOWN, (Reason("rule", "Not measured."),))
    for clients, verdicts, expected in (
        ("AB", (works, works), "several-paths"),
        ("AA", (works, fails), "several-paths"),
        ("AA", (works, works), "rule"),
    ):
        both = [PathVerdicts(client, f"S{n}", (verdict, silent)) for n, (client, verdict) in enumerate(zip(clients, verdicts, strict=True))]
        pptp, l2tp = path_verdicts.in_common(both)
        assert (pptp.because[0].rule, l2tp) == (expected, silent)
        if expected == "several-paths":
            assert pptp.feasibility is Feasibility.UNKNOWN
            assert "2 pairs of hosts, and each has a verdict of its own. A and S0: works" in pptp.because[0].text


def test_a_host_that_captured_one_path_captured_all_of_its_paths(tmp_path: Path) -> None:
    """TTLs that tell nothing by themselves (64 both) are told by another path of the same host."""
    packets = [reset(CLIENT, SERVER, 1), reset(OTHER, SERVER, 2, ttl=64), *calling(SERVER, CLIENT, ttl=64), *calling(SERVER, OTHER, ttl=64)]
    examined, vantage = examine(read_capture(written(tmp_path, pcap(packets))))
    assert vantage is Vantage.SERVER
    assert all(path.server is not None for path in examined.paths)


def test_of_very_many_clients_some_are_judged_and_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpnprobe.capture.analysis.PATHS_LIMIT", 3)
    assert paths.PATHS_LIMIT > 3
    clients = [IPv4Address(f"11.0.0.{number}") for number in range(1, 11)]
    answered = [syn(SERVER, clients[7], 1723, back=True)]
    packets = [*(reset(client, SERVER, number) for number, client in enumerate(clients)), *answered, *calling(SERVER, clients[7], ttl=64)]
    document = analysed(tmp_path, packets, capsys)
    assert len(document["paths"]) == 3  # type: ignore[arg-type]
    assert document["paths"][0]["client"] == str(clients[7])  # type: ignore[index]
    assert document["run"]["captures"][0]["problem"].startswith("7 further pairs of hosts")  # type: ignore[index]
    assert len(document["conversations"]) >= 10  # type: ignore[arg-type]


def test_several_clients_are_listed_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = [reset(CLIENT, SERVER, 1), *calling(OTHER, SERVER)]
    file = written(tmp_path, pcap([*packets, syn(SERVER, CLIENT, 99, back=True)]))
    assert run_command(["analyze", str(file), "-o", str(tmp_path / "result")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 pairs of hosts, each with verdicts of its own" in shown
    assert f"{CLIENT} → {SERVER}: OpenVPN over UDP not known." in shown
    page = (tmp_path / "result" / "report.html").read_text()
    assert '<section id="paths">' in page
    assert f"<code>{OTHER}</code>" in page
