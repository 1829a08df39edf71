"""The note that a run's captures carry: written and read, and never believed beyond what it can say."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks
from vpnprobe.evidence.check_rows import check_row
from vpnprobe.evidence.circumstances import MARK, Circumstances, note, of_end, read_note
from vpnprobe.evidence.decoy_streams import DecoyStream
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.rates import RateLimit
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, kept_kind
from vpnprobe.evidence.taken import NOTHING_TAKEN, Taken, TakenPackets
from vpnprobe.firewall.mending import Mends
from vpnprobe.observations.schema import Direction, Transport

UDP = checks.udp_reach(1194)
KEPT = {host: kept_kind(host, UDP, leaving=False) for host in ("client", "server")}
SERVERS = Mends("nftables", {KEPT["server"]: ("nft add rule inet filter input udp dport 1194 accept",)})
CLIENTS = Mends("ufw", {KEPT["client"]: ("ufw allow proto udp from any port 1194",)})
TAKEN = {(Transport.UDP, 1194): PortState.DAEMON, (Transport.TCP, 443): PortState.OURS}
FACTS = PathFacts(firewalls={"server": SERVERS, "client": CLIENTS}, ports=TAKEN, programs={(Transport.UDP, 1194): "openvpn"})
RECORD = EndRecord(dropped_on_input=frozenset({UDP, checks.ESP}), dropped_on_output=frozenset({checks.GRE_BARE}))


@pytest.mark.parametrize("host", ["client", "server"])
def test_what_is_written_is_read(host: str) -> None:
    own = of_end(host, RECORD, FACTS)
    assert read_note(note(own)) == own
    assert own.added_to(EndRecord()) == replace(
        EndRecord(), dropped_on_input=RECORD.dropped_on_input, dropped_on_output=RECORD.dropped_on_output
    )
    assert own.told(PathFacts(), host).firewalls == {host: FACTS.firewalls[host]}


def test_ports_are_the_servers_to_tell() -> None:
    assert of_end("client", RECORD, FACTS).ports == {}
    assert of_end("server", RECORD, FACTS).told(PathFacts(), "server").program(UDP) == "openvpn"


def test_where_nothing_is_to_be_told_there_is_no_note() -> None:
    ours = PathFacts(ports={(Transport.UDP, 1194): PortState.OURS})
    assert note(of_end("server", EndRecord(), ours)) == ""
    assert note(of_end("server", EndRecord(), FACTS)) != ""
    assert note(of_end("client", RECORD, ours)) != ""


def test_sessions_that_filled_a_limit_are_the_clients_to_tell() -> None:
    filled = PathFacts(trains=frozenset({"00ff", "0a"}))
    own = of_end("client", EndRecord(), filled)
    assert read_note(note(own)) == own
    assert own.told(PathFacts(), "client").trains == filled.trains
    assert note(of_end("server", EndRecord(), filled)) == ""


def test_how_far_streams_of_ours_came_is_the_clients_to_tell() -> None:
    streams = {443: (DecoyStream(3), DecoyStream(34)), 1723: (DecoyStream(2, closed=True),)}
    facts = PathFacts(decoy_streams=streams)
    own = of_end("client", EndRecord(), facts)
    assert read_note(note(own)) == own
    assert own.told(PathFacts(), "client").decoy_streams == streams
    assert note(of_end("server", EndRecord(), facts)) == ""


def test_which_limits_on_rate_were_shown_is_the_clients_to_tell() -> None:
    facts = PathFacts(rate_limits={(checks.openvpn_data(Transport.UDP, 1194), Direction.C2S): RateLimit(10.5, 90.0, 1 / 252)})
    own = of_end("client", EndRecord(), facts)
    assert read_note(note(own)) == own
    assert own.told(PathFacts(), "client").rate_limits == facts.rate_limits
    assert note(of_end("server", EndRecord(), facts)) == ""


def test_an_older_note_says_nothing_of_such_sessions() -> None:
    document = json.loads(note(of_end("client", RECORD, FACTS)).removeprefix(MARK))
    del document["trains"], document["decoy_streams"], document["rate_limits"]
    found = read_note(MARK + json.dumps(document))
    assert found is not None
    assert found.trains == frozenset()
    assert (found.decoy_streams, found.rate_limits) == ({}, {})


def test_what_is_taken_in_part_goes_with_the_capture_and_of_its_packets_the_messages() -> None:
    reset, data = checks.openvpn_reset(Transport.UDP, 1194), checks.openvpn_data(Transport.UDP, 1194)
    message = PacketRecord(Vantage.SERVER, Movement.RECEIVED, 3.0, reset, "k", "P_ACK_V1")
    packet = PacketRecord(Vantage.SERVER, Movement.RECEIVED, 3.0, data, "k.1", "P_DATA_V2")
    part = Taken(Transport.UDP, 1194, 8, 30, 42, 84)
    own = of_end("server", EndRecord(taken=TakenPackets((part,), (message, packet))), PathFacts())
    found = read_note(note(own))
    assert found is not None
    assert found.added_to(EndRecord()).taken == TakenPackets((part,), (replace(message, at=0.0),))
    assert found.dropped_on_input == {data}, "of the data nothing was let in"


def test_an_older_note_says_nothing_of_that_either() -> None:
    document = json.loads(note(of_end("client", RECORD, FACTS)).removeprefix(MARK))
    del document["taken"], document["taken_messages"]
    found = read_note(MARK + json.dumps(document))
    assert found is not None
    assert found.taken == NOTHING_TAKEN


def told(**changed: object) -> str:
    document = json.loads(note(of_end("server", RECORD, FACTS)).removeprefix(MARK))
    return MARK + json.dumps({**document, **changed})


@pytest.mark.parametrize(
    "comment",
    [
        "a comment of somebody's",
        MARK + "[]",
        MARK + "{",
        MARK + "[" * 100_000,
        MARK + "{}",
        told(trains=[7]),
        told(decoy_streams=[[443, 35, False]]),
        told(decoy_streams=[[0, 3, False]]),
        told(rate_limits=[[check_row(checks.GRE_BARE), "c2s", 1.0, float("nan"), 0.1]]),
        told(rate_limits=[[check_row(checks.GRE_BARE), "c2s", 1.0, float("inf"), 0.1]]),
        told(rate_limits=[[check_row(checks.GRE_BARE), "c2s", 1.0, 2.0, 1.5]]),
        told(rate_limits=[[check_row(checks.GRE_BARE), "c2s", True, 2.0, 0.5]]),
        told(rate_limits=[[check_row(checks.GRE_BARE), "here", 1.0, 2.0, 0.5]]),
        told(dropped_on_input=[["udp", "no-such-check", "udp", 1, ""]]),
        told(ports=[["udp", 0, "daemon"]]),
        told(ports=[["udp", 1, "hers"]]),
        told(kept=[]),
        told(taken=[["udp", 1]]),
        told(taken_messages=[["server", ["udp", "reach", "udp", 1, ""], 7, ""]]),
        told(taken_messages=[["nobody", ["udp", "reach", "udp", 1, ""], "k", ""]]),
        told(kept=[[False, "udp", 1194, 4]] * 5000),
        told(commands=[["rm -rf /"]]),
        told(commands=[["ufw allow 1/tcp; reboot"]]),
        told(commands=[["nft add rule inet filter input $(reboot)"]]),
        told(firewall=7),
    ],
)
def test_what_does_not_fit_is_no_note(comment: str) -> None:
    assert read_note(comment) is None


@given(st.text())
def test_any_text_is_read_or_left(text: str) -> None:
    for comment in (text, MARK + text):
        found = read_note(comment)
        assert found is None or isinstance(found, Circumstances)


def test_of_much_that_was_taken_as_much_is_told_as_is_read() -> None:
    said = PacketRecord(Vantage.SERVER, Movement.RECEIVED, 0.0, checks.openvpn_reset(Transport.UDP, 1194), "aa", "P_ACK_V1")
    taken = TakenPackets((Taken(Transport.UDP, 1194, 5000, 9000, 40, 80),), (said,) * 5000)
    own = read_note(note(of_end("server", EndRecord(taken=taken), FACTS)))
    assert own is not None
    assert own.taken.parts == taken.parts
