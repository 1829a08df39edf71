"""What stopped a conversation: planted at each step, for each cause, captured at each place, and told right or not at all."""

from pathlib import Path

import pytest
from capture_packets import written
from troubled import SCRIPTS, At, OnWire, Trouble, played, seen

from vpnprobe.capture.analysis import examine
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed
from vpnprobe.transports.stack import Packet

LOST_BACK = {"answer-lost", "answer-lost-wireguard", "large-answer-lost", "sccrp-not-taken", "ike-auth-stops"}
KEPT = {"answer-not-taken", "sccrp-ignored"}
UNANSWERED = {
    "reset-unanswered",
    "initiation-unanswered",
    "ike-unanswered",
    "sccrq-unanswered",
    "call-unanswered",
    "one-way-data",
    "handshake-stops",
}
"""Nobody who sees the question alone can say more."""
SILENT = {
    "tls-crypt-unanswered",
    "initiation-reaches",
    "ike-unanswered-there",
    "sccrq-unanswered-there",
    "call-unanswered",
    "handshake-stops-there",
    "one-way-data",
}
NOTHING: set[str] = set()
ROAMS = "wireguard"
"""Takes an answer from wherever it comes."""


def told(packets: list[OnWire], at: At, folder: Path) -> list[str]:
    """The diagnoses of a capture, in the order of its conversations."""
    held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in seen(packets, at)]
    examined, _ = examine(read_capture(written(folder, encode_pcap(held))))
    return [one.detail["diagnosis"]["name"] for one in diagnosed(examined.conversations, load_default()) if "diagnosis" in one.detail]


def is_data(protocol: str, step: int) -> bool:
    """Whether the message is one of data, whose receipt nothing shows."""
    return (protocol, step) in {("openvpn-udp", 5), ("wireguard", 3)}


def truth(trouble: Trouble, at: At, *, answers_data: bool) -> set[str]:
    """The names of which one is right; empty: there is nothing to be said there."""
    if answers_data:
        return UNANSWERED if trouble is Trouble.ANSWER_LOST and at is At.CLIENT else NOTHING
    match trouble:
        case Trouble.ANSWER_LOST:
            return LOST_BACK if at is not At.CLIENT else UNANSWERED
        case Trouble.ANSWER_KEPT:
            return KEPT if at is At.CLIENT else LOST_BACK
        case Trouble.ASKED_LOST:
            return UNANSWERED if at is not At.SERVER else NOTHING
        case Trouble.SILENT:
            # A server that says nothing at all does not show where the capture was taken.
            return SILENT | UNANSWERED if at is At.SERVER else UNANSWERED
        case Trouble.REFUSED:
            return {"refused"}
        case Trouble.REFUSED_BEFORE:
            return {"refused-before"} if at is not At.SERVER else NOTHING
        case Trouble.ELSEWHERE:
            return {"answered-elsewhere"}


def cases() -> list[tuple[str, int, Trouble, At]]:
    found = []
    for protocol, script in SCRIPTS.items():
        for step, said in enumerate(script()):
            ends_there = step and not said.back and not script()[min(step + 1, len(script()) - 1)].back
            for trouble in Trouble:
                of_answers = trouble in (Trouble.ANSWER_LOST, Trouble.ANSWER_KEPT, Trouble.ELSEWHERE)
                if of_answers is said.back and not ends_there and (trouble is not Trouble.ELSEWHERE or (step == 1 and protocol != ROAMS)):
                    found += [(protocol, step, trouble, at) for at in At]
    return found


@pytest.mark.parametrize(("protocol", "step", "trouble", "at"), cases())
def test_what_was_planted_is_told(protocol: str, step: int, trouble: Trouble, at: At, tmp_path: Path) -> None:
    script = SCRIPTS[protocol]()
    wanted = truth(trouble, at, answers_data=is_data(protocol, step))
    found = told(list(played(script, step, trouble)), at, tmp_path)
    assert set(found[:1]) <= wanted
    assert bool(found) is bool(wanted)


@pytest.mark.parametrize("at", list(At))
@pytest.mark.parametrize("protocol", list(SCRIPTS))
def test_of_what_works_nothing_is_told(protocol: str, at: At, tmp_path: Path) -> None:
    script = SCRIPTS[protocol]()
    assert told(list(played([*script, script[-1]], len(script), Trouble.SILENT))[: len(script)], at, tmp_path) == []


def test_there_are_enough_of_them() -> None:
    assert len(cases()) > 100
