"""WireGuard whose ends move within a session: one conversation, of which nothing is lost for that."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, decoded, frames, ip, pcap, written

from vpnprobe.capture.analysis import Examined, examine_at, examine_pair
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.followers import wireguard as follower
from vpnprobe.capture.followers.flows import MOVES_LIMIT
from vpnprobe.capture.followers.wireguard import NEXT, RECEIVERS_LIMIT
from vpnprobe.capture.reading import read_capture
from vpnprobe.conversations.wireguard_session import REJECT_AFTER_S
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import ConversationSummary, Outcome
from vpnprobe.wire.ip import IpProtocol, UdpDatagram
from vpnprobe.wire.wireguard import CookieReply, HandshakeInitiation, HandshakeResponse, TransportData, WireguardMessage

DATA = Path(__file__).parent.parent / "data"
MOBILE, NAT, STRANGER = IPv4Address("192.0.2.77"), IPv4Address("203.0.113.5"), IPv4Address("203.0.113.99")
SECOND = IPv4Address("198.51.100.21")
"""Another address of the server."""
Place = tuple[IPv4Address, int]
HOME, AWAY, REBOUND, THERE = (CLIENT, 5000), (MOBILE, 6000), (CLIENT, 5001), (SERVER, 443)
OURS, THEIRS = 0x0A0B0C0D, 0x01020304
"""Indices: of the client's end, and of the server's."""


def sent(message: WireguardMessage, source: Place, destination: Place) -> bytes:
    data = UdpDatagram(source[1], destination[1], message.encode()).encode(source[0], destination[0])
    return ip(data, IpProtocol.UDP, source=source[0], destination=destination[0], ttl=60 if source[0] in (SERVER, SECOND) else 64)


def initiation(index: int = OURS) -> HandshakeInitiation:
    return HandshakeInitiation(index, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16))


def response(index: int = THEIRS, receiver: int = OURS) -> HandshakeResponse:
    return HandshakeResponse(index, receiver, bytes(32), bytes(16), bytes(16), bytes(16))


def handshake(client: Place = HOME, server: Place = THERE, *, ours: int = OURS, theirs: int = THEIRS) -> list[bytes]:
    return [sent(initiation(ours), client, server), sent(response(theirs, ours), server, client)]


def there(numbers: Iterable[int], client: Place = HOME, server: Place = THERE, *, theirs: int = THEIRS) -> list[bytes]:
    return [sent(TransportData(theirs, number, bytes(48)), client, server) for number in numbers]


def back(numbers: Iterable[int], client: Place = HOME, server: Place = THERE, *, ours: int = OURS) -> list[bytes]:
    return [sent(TransportData(ours, number, bytes(48)), server, client) for number in numbers]


def exchange(numbers: Iterable[int], client: Place = HOME, server: Place = THERE) -> list[bytes]:
    return [one for number in numbers for one in (*there([number], client, server), *back([number], client, server))]


def conversations(packets: Sequence[bytes], *, apart_s: float = 0.01) -> list[ConversationSummary]:
    decoder = Decoder()
    for frame in frames(packets, apart_s=apart_s):
        decoder.take(frame)
    return decoder.conversations()


def only(packets: Sequence[bytes]) -> ConversationSummary:
    (found,) = conversations(packets)
    return found


def roamed(one: ConversationSummary) -> list[tuple[str, str, int]]:
    return [(row["end"], row["address"], row["port"]) for row in one.detail.get("roamed", ())]


@pytest.mark.parametrize("to", [AWAY, REBOUND], ids=["address", "port"])
def test_a_client_that_moves_is_in_the_same_conversation(to: Place) -> None:
    one = only([*handshake(), *exchange(range(3)), *exchange(range(3, 6), to)])
    assert (one.stage, one.frames_c2s, one.frames_s2c) == ("data-both-ways", 7, 7)
    assert (one.client.address, one.client.port, one.first_frame, one.last_frame) == (str(CLIENT), 5000, 1, 14)
    assert roamed(one) == [("client", str(to[0]), to[1])]
    assert one.detail["roamed"][0]["frame"] == 9
    assert one.findings == (f"The client moved within the conversation, which went on from {to[0]} port {to[1]}.",)


def test_a_client_that_comes_back_has_been_at_one_further_place() -> None:
    one = only([*handshake(), *exchange(range(3)), *exchange(range(3, 6), AWAY), *exchange(range(6, 9))])
    assert roamed(one) == [("client", str(MOBILE), 6000)]
    assert one.detail["data"] == 18


@pytest.mark.parametrize("ways", [(there,), (there, back)], ids=["one", "both"])
def test_a_capture_that_begins_in_the_middle_shows_moves_too(ways: Sequence[object]) -> None:
    packets = [one for to in (HOME, AWAY) for way in ways for one in way(range(4) if to == HOME else range(4, 8), to)]  # type: ignore[operator]
    one = only(packets)
    assert one.stage == ("midstream-data-both-ways" if len(ways) == 2 else "midstream-data-one-way")
    assert len(roamed(one)) == 1


def test_data_to_a_client_that_had_not_been_heard_before_it_moved() -> None:
    """What the client calls the session is all that both places have in common."""
    packets = [*back(range(4)), *there([9], AWAY), *back(range(4, 8), AWAY)]
    assert (only(packets).stage, roamed(only(packets))) == ("midstream-data-both-ways", [("client", str(MOBILE), 6000)])
    too_far = [*back(range(4)), *there([7, 8, 9], AWAY), *back(range(4 + NEXT, 12 + NEXT), AWAY)]
    assert len(conversations(too_far)) == 2


def test_clients_that_call_their_sessions_the_same_are_told_apart() -> None:
    """Some implementations begin to count their indices at the same number."""
    other = (NAT, 7000)
    packets = [*handshake(), *handshake(other, theirs=5), *exchange(range(3)), *there(range(3), other, theirs=5), *back(range(9), other)]
    assert [one.client.address for one in conversations(packets)] == [str(CLIENT), str(NAT)]
    midstream = [*there(range(4)), *back(range(4)), *there(range(4), other, theirs=5), *back(range(4, 8), other)]
    assert [roamed(one) for one in conversations(midstream)] == [[], []]
    # The server sends to the second before that one is heard.
    unheard = [*exchange(range(4)), *back(range(4, 8), other), *there(range(4), other, theirs=5)]
    assert [roamed(one) for one in conversations(unheard)] == [[], []]


def test_two_clients_behind_one_nat_stay_two() -> None:
    first, second = (NAT, 4001), (NAT, 4002)
    packets = [*handshake(first), *handshake(second, ours=8, theirs=9), *exchange(range(3), first)]
    packets += [*there(range(5, 9), second, theirs=9), *back(range(5, 9), second, ours=8), *there(range(3, 6), first)]
    assert [(one.client.port, roamed(one)) for one in conversations(packets)] == [(4001, []), (4002, [])]


def test_the_same_index_at_another_server_is_another_session() -> None:
    packets = [*handshake(), *there(range(3)), *there(range(3, 9), AWAY, (SECOND, 443))]
    assert [roamed(one) for one in conversations(packets)] == [[], []]


def test_one_of_several_peers_of_a_server_moves() -> None:
    clients = [(IPv4Address(f"192.0.2.{host}"), 5000) for host in (1, 2, 3)]
    packets = [one for place, client in enumerate(clients) for one in handshake(client, ours=20 + place, theirs=30 + place)]
    for number in range(3):
        packets += [one for place, client in enumerate(clients) for one in there([number], client, theirs=30 + place)]
    packets += [*there([3], AWAY, theirs=31), *back([0], AWAY, ours=21)]
    assert [len(roamed(one)) for one in conversations(packets)] == [0, 1, 0]


def test_a_server_that_answers_from_another_address() -> None:
    second = (SECOND, 443)
    answered = [sent(initiation(), HOME, THERE), sent(response(), second, HOME), *exchange(range(3), HOME, second)]
    one = only(answered)
    assert (one.stage, one.server.address, roamed(one)) == ("data-both-ways", str(SERVER), [("server", str(SECOND), 443)])
    refused = [sent(initiation(), HOME, THERE), sent(CookieReply(OURS, bytes(24), bytes(32)), second, HOME)]
    assert (only(refused).detail["cookie"], only(refused).stage) == (1, "initiation-unanswered")
    later = [*handshake(), *exchange(range(3)), *back([3], HOME, second), *exchange(range(4, 6), HOME, second)]
    assert roamed(only(later)) == [("server", str(SECOND), 443)]


def test_a_client_that_is_told_another_address_of_its_server() -> None:
    """It is the first to speak there, to an index that the server has given at the other address."""
    packets = [*handshake(), *exchange(range(3)), *exchange(range(3, 6), HOME, (SECOND, 443))]
    assert roamed(only(packets)) == [("server", str(SECOND), 443)]


def test_both_ends_move_one_after_the_other() -> None:
    second = (SECOND, 444)
    packets = [*handshake(), *exchange(range(3)), *there([3], AWAY), *back([3], AWAY, second), *exchange(range(4, 6), AWAY, second)]
    assert roamed(only(packets)) == [("client", str(MOBILE), 6000), ("server", str(SECOND), 444)]


def test_a_handshake_from_elsewhere_is_another_conversation_until_an_earlier_session_is_used_there() -> None:
    begun = [*handshake(), *exchange(range(3)), *handshake(AWAY, ours=7, theirs=8)]
    assert [one.client.address for one in conversations(begun)] == [str(CLIENT), str(MOBILE)]
    one = only([*begun, *there([3], AWAY), *there(range(3), AWAY, theirs=8), *back(range(3), AWAY, ours=7)])
    assert (one.detail["initiation"], one.detail["data"], one.frames_c2s) == (2, 13, 9)
    assert roamed(one) == [("client", str(MOBILE), 6000)]


def test_a_session_that_was_begun_elsewhere_shows_where_its_peer_had_been() -> None:
    """The client came back, with the session of the place between."""
    begun = [*handshake(), *exchange(range(3)), *handshake(AWAY, ours=7, theirs=8), *there(range(3), AWAY, theirs=8)]
    one = only([*begun, *there([3], theirs=8), *back([0], ours=7)])
    assert (one.client.address, roamed(one)) == (str(CLIENT), [("client", str(MOBILE), 6000)])


def test_a_renewal_after_a_move_belongs_to_the_conversation() -> None:
    moved = [*handshake(), *exchange(range(3)), *exchange(range(3, 5), AWAY)]
    by_server = [sent(initiation(99), THERE, AWAY), sent(response(98, 99), AWAY, THERE), *there(range(3), REBOUND, theirs=99)]
    one = only([*moved, *handshake(AWAY, ours=70, theirs=71), *there(range(3), AWAY, theirs=71), *by_server])
    assert (one.detail["initiation"], one.detail["response"], one.stage) == (3, 3, "data-both-ways")
    assert roamed(one) == [("client", str(MOBILE), 6000), ("client", str(CLIENT), 5001)]


@pytest.mark.parametrize("begins", [0, 4], ids=["whole", "middle"])
def test_a_router_that_sees_each_packet_before_and_after_its_nat_sees_two(begins: int) -> None:
    outside = (NAT, 4000)
    there_and_back = zip([*handshake(), *exchange(range(8))], [*handshake(outside), *exchange(range(8), outside)], strict=True)
    twice = [packet for number, copies in enumerate(there_and_back) for packet in (copies if number % 2 == 0 else copies[::-1])]
    assert [roamed(one) for one in conversations(twice[begins:])] == [[], []]
    # One copy was not captured.
    renewal = [*handshake(ours=70, theirs=71), *handshake(outside, ours=70, theirs=71)]
    assert [roamed(one) for one in conversations([*twice, *renewal[:1], *renewal[2:], *there([0], theirs=71)])] == [[], []]


def test_a_session_that_is_over_moves_nowhere() -> None:
    packets = [*handshake(), *there(range(3)), *there(range(3, 7), AWAY)]
    assert len(conversations(packets, apart_s=1)) == 1
    assert len(conversations(packets, apart_s=REJECT_AFTER_S + 1)) == 2


def test_a_packet_that_comes_again_from_elsewhere_moves_nothing() -> None:
    replayed = there([1, 2, 2], (STRANGER, 1))
    (one,) = conversations([*handshake(), *exchange(range(3)), *replayed])
    assert roamed(one) == []
    answered_twice = [*handshake(), sent(response(), (SECOND, 443), HOME)]
    assert [roamed(one) for one in conversations(answered_twice)] == [[], []]


def test_moves_are_found_after_many_renewals() -> None:
    packets = [one for turn in range(RECEIVERS_LIMIT) for one in handshake(ours=2 * turn, theirs=2 * turn + 1)]
    assert len(roamed(only([*packets, *there([0], AWAY, theirs=2 * RECEIVERS_LIMIT - 1)]))) == 1
    assert len(roamed(only([*packets, *there([0], AWAY, theirs=1)]))) == 0


def test_a_conversation_that_moves_with_every_packet_is_followed_up_to_a_limit() -> None:
    packets = [one for number in range(MOVES_LIMIT + 5) for one in there([number], (MOBILE, 1000 + number))]
    first, second = conversations([*handshake(), *packets])
    assert (first.frames_c2s, second.frames_c2s) == (MOVES_LIMIT + 1, 5)


def test_indices_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "SESSIONS_LIMIT", 2)
    other = handshake((STRANGER, 1), ours=70, theirs=71)
    assert [roamed(one) for one in conversations([*handshake(), *other, *there(range(3), AWAY)])] == [[], [], []]


# What one or two captures come to.

Row = tuple[Outcome, int | None, int | None]
MOVED = [*handshake(), *exchange(range(20)), *exchange(range(20, 40), AWAY)]
BEHIND_NAT = [*handshake(), *exchange(range(40))]
AT_THE_SERVER = [*handshake((NAT, 4001)), *exchange(range(20), (NAT, 4001)), *exchange(range(20, 40), (STRANGER, 4002))]
WORKS = {"handshake": (Outcome.PASS, 1, 1), "c2s": (Outcome.PASS, 40, 40), "s2c": (Outcome.PASS, 40, 40)}


def compared(folder: Path, client: Sequence[bytes], server: Sequence[bytes], *, lost: Sequence[bytes] = ()) -> Examined:
    """`lost`: of the server's packets those that its capture does not hold. Both have one packet a second."""
    came = [place for place, packet in enumerate(server) if packet not in lost]
    at_server = pcap([server[place] for place in came], at=[place + 1 for place in came])
    return examine_pair(*(read_capture(written(folder, *file)) for file in ((pcap(client), "c.pcap"), (at_server, "s.pcap"))))


def rows(found: Examined) -> dict[str, Row]:
    """By what they are about: handshake, c2s, s2c."""
    ours = (row for row in found.observations if row.probe == "wireguard")
    return {row.check if row.check == "handshake" else row.direction.value: (row.outcome, row.sent, row.received) for row in ours}


def nat_told(found: Examined) -> list[object]:
    """Of the client's side."""
    told = (row.detail for row in found.observations if row.probe == "nat")
    return [detail["translated"] for detail in told if detail["form"] == "client-side"]


@pytest.mark.parametrize("client", [MOVED, BEHIND_NAT], ids=["moves", "behind-nat"])
def test_nothing_is_lost_for_a_move(tmp_path: Path, client: Sequence[bytes]) -> None:
    server = AT_THE_SERVER if client is BEHIND_NAT else MOVED
    found = compared(tmp_path, client, server)
    assert (rows(found), found.joined) == (WORKS, True)
    assert nat_told(found) == [client is BEHIND_NAT]


def test_what_is_lost_after_a_move_is_told(tmp_path: Path) -> None:
    found = compared(tmp_path, MOVED, MOVED, lost=there(range(24, 38), AWAY))
    assert rows(found)["c2s"][1:] == (40, 26)
    assert rows(found)["s2c"] == WORKS["s2c"]


@pytest.mark.parametrize("late", ["client", "server"])
def test_captures_that_begin_before_and_after_a_move_are_of_one_path(tmp_path: Path, late: str) -> None:
    after = MOVED[42:]
    found = compared(tmp_path, after if late == "client" else MOVED, after if late == "server" else MOVED)
    assert {row[0] for name, row in rows(found).items() if name != "handshake"} == {Outcome.PASS}
    assert (found.joined, nat_told(found)) == (True, [False])


def test_a_tunnel_that_moved_to_the_pair_that_is_asked_about_counts_there(tmp_path: Path) -> None:
    other = [(256).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(24) for number in range(1, 90)]
    esp = [ip(data, IpProtocol.ESP, source=MOBILE, destination=SERVER) for data in other]
    found = compared(tmp_path, [*MOVED[42:], *esp], [*MOVED, *esp])
    assert {row[0] for name, row in rows(found).items() if name != "handshake"} == {Outcome.PASS}


def test_a_clients_capture_alone_counts_answers_at_all_its_places(tmp_path: Path) -> None:
    found = examine_at(read_capture(written(tmp_path, pcap(MOVED))), Vantage.CLIENT)
    assert rows(found)["c2s"] == (Outcome.PASS, 40, 40)


def test_who_moved_is_known_by_the_beginning() -> None:
    ends = decoded([*handshake(), *exchange(range(2)), *exchange(range(2, 30), AWAY)]).ends()
    assert ends is not None
    assert (ends.client, ends.server) == (str(CLIENT), str(SERVER))


# A real client whose port changed, and then its address and port, while echo requests went through the tunnel both ways: wireguard-go.


def test_a_real_client_that_moves_twice() -> None:
    client, server = (read_capture(DATA / f"wireguard-roaming-{end}.pcap") for end in ("client", "server"))
    found = examine_pair(client, server)
    assert (rows(found), found.joined, nat_told(found)) == (
        {"handshake": (Outcome.PASS, 1, 1), "c2s": (Outcome.PASS, 21, 21), "s2c": (Outcome.PASS, 21, 21)},
        True,
        [False],
    )
    for one in found.conversations:
        assert (one.stage, one.client.address, one.client.port, one.server.port) == ("data-both-ways", "10.78.0.1", 40001, 51820)
        assert (one.frames_c2s, one.frames_s2c, one.detail["data"]) == (22, 22, 42)
        assert roamed(one) == [("client", "10.78.0.1", 40002), ("client", "10.78.0.77", 40003)]
    assert len(found.conversations) == 2
