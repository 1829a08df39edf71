"""Lengths of segments whose numbers alone were printed."""

import pytest

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.printed.lengths import WAITING_LIMIT
from vpnprobe.capture.printed.traces import lines_in, parse

CLIENT, SERVER = "192.0.2.10.50000", "198.51.100.20.1723"


def lengths(*said: tuple[bool, str]) -> list[int]:
    """Payloads of FortiGate's lines: (from the server, flags and numbers)."""
    lines = []
    for number, (back, words) in enumerate(said):
        ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
        lines.append(f"{number}.000000 wan1 out {ends[0]} -> {ends[1]}: {words}")
    [trace] = parse(lines_in("\n".join(lines))).traces
    return [frame.tcp_payload_length for frame in trace.frames]


OPENING = ((False, "syn 1000000000"), (True, "syn 2000000000 ack 1000000001"), (False, "ack 2000000001"))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([(False, "psh 1000000001 ack 2000000001"), (True, "ack 1000000157")], [156, 0]),
        ([(False, "psh 1000000001 ack 2000000001"), (False, "psh 1000000157 ack 2000000001"), (True, "ack 1000000325")], [156, 168, 0]),
        ([(False, "psh 1000000001 ack 2000000001"), (True, "psh 2000000001 ack 1000000157"), (False, "ack 2000000157")], [156, 156, 0]),
        ([(False, "psh 1000000001 ack 2000000001"), (False, "fin 1000000157 ack 2000000001")], [156, 0]),
        ([(False, "psh 1000000001 ack 2000000001")] * 2 + [(True, "ack 1000000157")], [156, 156, 0]),
        ([(False, "psh 1000000001 ack 2000000001"), (True, "ack 1000000001")], [0, 0]),
        ([(False, "psh 1000000001 ack 2000000001"), (True, "ack 1000900000")], [0, 0]),
        ([(False, "psh 1000000001 ack 2000000001")], [0]),
    ],
    ids=["acknowledged", "followed", "answered", "closed", "said-again", "acknowledged-before", "beyond-a-segment", "nothing-follows"],
)
def test_where_a_segment_ends(said: list[tuple[bool, str]], found: list[int]) -> None:
    assert lengths(*OPENING, *said)[len(OPENING) :] == found


def test_what_waits_is_bounded() -> None:
    many = [(False, f"psh {1000000001 + 10 * number} ack 2000000001") for number in reversed(range(2 * WAITING_LIMIT))]
    found = lengths(*OPENING, *many, (True, f"ack {1000000001 + 20 * WAITING_LIMIT}"))[len(OPENING) : -1]
    assert sum(size > 0 for size in found) == WAITING_LIMIT


def test_a_call_of_pptp_is_known_by_them() -> None:
    sizes = (156, 156, 168, 32)
    backs, at = (False, True, False, True), {False: 1000000001, True: 2000000001}
    lines = [f"0.1 {CLIENT} -> {SERVER}: syn 1000000000", f"0.2 {SERVER} -> {CLIENT}: syn 2000000000 ack 1000000001"]
    for number, (back, size) in enumerate(zip(backs, sizes, strict=True)):
        ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
        lines.append(f"1.{number} {ends[0]} -> {ends[1]}: psh {at[back]} ack {at[not back]}")
        at[back] += size
    lines.append(f"2.0 {CLIENT} -> {SERVER}: ack {at[True]}")
    decoder = Decoder()
    for frame in parse(lines_in("\n".join(lines))).traces[0].frames:
        decoder.take(frame)
    [one] = decoder.conversations()
    assert (one.protocol, one.stage, one.detail["guessed_from"]) == ("pptp", "call-up", "sizes")
