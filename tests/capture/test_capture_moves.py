"""Conversations that move: what is said of two addresses counts the packets between all that the two ends have had."""

import pytest
from capture_packets import frames, udp

from vpnprobe.capture.ends import Ends
from vpnprobe.capture.followers.base import CapturedMessage, always
from vpnprobe.capture.followers.flows import MOVES_LIMIT, ROAMED_SHOWN, Flow, HostPort, Moved
from vpnprobe.capture.moves import Moves
from vpnprobe.evidence.checks import ESP
from vpnprobe.observations.schema import Transport

A, B, S, T = ("192.0.2.1", 5000), ("192.0.2.2", 6000), ("198.51.100.1", 443), ("198.51.100.2", 444)
MOVES = Moves([Moved((A, S), ((B, S), (B, T)))])


def message(source: HostPort, destination: HostPort) -> CapturedMessage:
    return CapturedMessage(number=1, at=0.0, source=source, destination=destination, check_of=always(ESP), key="1")


@pytest.mark.parametrize(("source", "destination"), [(A, S), (B, S), (B, T)])
def test_a_packet_of_a_moved_conversation_belongs_to_its_beginning(source: HostPort, destination: HostPort) -> None:
    there, back = (MOVES.begun(one) for one in (message(source, destination), message(destination, source)))
    assert (there.source, there.destination) == (A, S)
    assert (back.source, back.destination) == (S, A)


@pytest.mark.parametrize(("client", "server"), [(A, S), (B, S), (B, T)])
def test_whichever_of_its_pairs_is_asked_about_all_packets_count(client: HostPort, server: HostPort) -> None:
    ends = Ends(client[0], server[0])
    for way in ((A, S), (B, S), (B, T)):
        found = MOVES.between(message(*way), ends)
        assert found is not None
        # With the ports of the beginning.
        assert (found.source, found.destination) == ((client[0], A[1]), (server[0], S[1]))


def test_other_hosts_are_left_alone() -> None:
    assert MOVES.between(message(A, S), Ends(A[0], T[0])) is None
    assert MOVES.between(message(A, T), Ends(A[0], S[0])) is None
    unmoved = message(A, T)
    assert MOVES.begun(unmoved) is unmoved
    assert MOVES.between(unmoved, Ends(A[0], T[0])) is unmoved


def test_all_addresses_of_an_end() -> None:
    assert MOVES.addresses(Ends(B[0], S[0])) == ({A[0], B[0]}, {S[0], T[0]})
    assert MOVES.addresses(Ends(A[0], T[0])) == ({A[0]}, {T[0]})


def flow(first: HostPort, second: HostPort, number: int = 0) -> Flow:
    found = Flow("some", Transport.UDP, first, second)
    for frame in frames([udp(b"x", 1, 2)] * (number + 1))[number:]:
        found.count(frame, first)
    return found


def test_a_summary_names_the_further_places_in_order_and_tells_them() -> None:
    one = flow(A, S)
    one.client = A
    assert one.move(S, B, 7)
    assert one.move(B, T, 9)
    assert one.move(A, S, 11)
    assert (one.end(B), one.end(T), one.end(A)) == (A, S, A)
    summary = one.summary("some")
    assert (summary.client.address, summary.server.address) == (A[0], S[0])
    assert summary.detail["roamed"] == [
        {"end": "client", "address": B[0], "port": B[1], "frame": 7},
        {"end": "server", "address": T[0], "port": T[1], "frame": 9},
    ]
    assert summary.findings == (
        "The client moved within the conversation, which went on from 192.0.2.2 port 6000.",
        "The server moved within the conversation, which went on from 198.51.100.2 port 444.",
    )
    assert one.moved == Moved((A, S), ((B, S), (B, T), (A, S)))


def test_one_that_stays_says_nothing_of_moves() -> None:
    one = flow(A, S)
    assert (one.moved, one.summary("some").findings, "roamed" in one.summary("some").detail) == (None, (), False)


def test_moves_are_followed_up_to_a_limit() -> None:
    one = flow(A, S)
    assert all(one.move((B[0], port), S, port) for port in range(MOVES_LIMIT))
    assert not one.move(B, S, 1)
    assert not one.join(flow(T, S), S)
    summary = one.summary("some")
    assert len(summary.detail["roamed"]) == ROAMED_SHOWN
    assert summary.findings[0].endswith(f"192.0.2.2 port 2 and {MOVES_LIMIT - 3} more places.")


@pytest.mark.parametrize("turned", [False, True])
def test_a_flow_that_turns_out_to_be_another_one_after_a_move_is_joined_to_it(turned: bool) -> None:
    one, later = flow(A, S), flow(*((S, B) if turned else (B, S)), number=4)
    later.client = B
    assert later.move(B, T, 9)
    one.join(later, S)
    assert one.client == A
    assert one.counts == ({A: 1, S: 1} if turned else {A: 2, S: 0})
    assert (one.first_frame, one.last_frame) == (1, 5)
    assert [(row["address"], row["frame"]) for row in one.summary("some").detail["roamed"]] == [(B[0], 5), (T[0], 9)]
    assert one.moved == Moved((A, S), ((B, S), (B, T)))
