"""A protocol's own program beside vpnprobe's own try: what leads the report, both sides step by step, and documents of strangers."""

from dataclasses import replace
from typing import Any

import pytest
from result_samples import seed_result, solo_result

from vpnprobe.observations.schema import Feasibility, Reason, Result, Verdict
from vpnprobe.report.headlines import headline
from vpnprobe.report.html import render
from vpnprobe.report.real_client import real_client
from vpnprobe.report.text import render_text

FINDING = "openvpn 2.6.14 comes up with this profile, and vpnprobe's own try stops"


def told(comparison: str, *, came_up: bool | None = True) -> dict[str, Any]:
    step = {
        "step": "reset",
        "name": "reset answered",
        "real": {"came": "passed", "words": ["TLS: Initial packet from <b>"], "at_s": 0.0123},
        "own": {"came": "failed", "words": ["silent"]},
    }
    remote = {
        "remote": "vpn.example:1194/udp",
        "came_up": came_up,
        "cause": "" if came_up else "silent",
        "comparison": comparison,
        "finding": FINDING,
        "steps": [step],
        "log": ["a line of \x1b[2J the log"],
    }
    return {
        "program": "openvpn",
        "version": "2.6.14",
        "comparison": comparison,
        "protocols": ["openvpn-udp"],
        "options": ["--dev null"],
        "left_out": [{"line": 4, "option": "daemon"}],
        "remotes": [remote],
        "not_tried": [],
    }


def result(beside: object, *feasibilities: Feasibility, sample: Result | None = None) -> Result:
    found = sample or solo_result()
    verdicts = tuple(Verdict("openvpn-udp", one, (Reason("x", "because"),)) for one in feasibilities)
    changed = replace(found, verdicts=verdicts or found.verdicts, recommendation=None if verdicts else found.recommendation)
    return replace(changed, run=replace(found.run, client={**(found.run.client or {}), "real_client": beside}))


def test_both_sides_are_on_the_page_and_on_the_terminal() -> None:
    found = result(told("agrees"), Feasibility.FEASIBLE)
    page, lines = render(found).decode(), render_text(found, colour=False, width=100)
    for text in (" ".join(page.split()), " ".join(lines.split())):
        assert "reset answered" in text
        assert "vpn.example:1194/udp" in text
        assert "Left out of the profile for this: daemon (line 4)." in text
        assert "data was not tried by it" in text
        assert "\x1b" not in text
    assert "TLS: Initial packet from &lt;b&gt;" in page
    assert "0.012 s" in page
    assert "real_client" not in page
    assert "openvpn 2.6.14: TLS: Initial packet from <b>" in lines
    assert "vpnprobe: silent" in lines


def test_without_it_nothing_is_told() -> None:
    assert real_client(seed_result()) is None
    assert "step by step" not in render(seed_result()).decode()


@pytest.mark.parametrize(
    ("comparison", "came_up", "feasibility", "tone", "words"),
    [
        ("differs", True, Feasibility.UNKNOWN, "fair", "openvpn 2.6.14 comes up with this profile, and vpnprobe's own try does not"),
        ("open", True, Feasibility.UNKNOWN, "fair", "openvpn 2.6.14 comes up with this profile, and vpnprobe's own try says nothing of it"),
        ("differs", False, Feasibility.FEASIBLE, "fair", "OpenVPN over UDP works by vpnprobe's own try; openvpn 2.6.14 stopped: silent"),
        ("open", False, Feasibility.DEGRADED, "fair", "OpenVPN over UDP works by vpnprobe's own try; openvpn 2.6.14 stopped: silent"),
        ("open", False, Feasibility.UNKNOWN, "bad", "openvpn 2.6.14 does not come up with this profile"),
    ],
)
def test_what_the_program_came_to_leads(comparison: str, came_up: bool, feasibility: Feasibility, tone: str, words: str) -> None:
    said = headline(result(told(comparison, came_up=came_up), feasibility))
    assert (said.tone, said.sentence, said.reason) == (tone, words, FINDING)


@pytest.mark.parametrize(
    ("comparison", "came_up", "feasibility"),
    [
        ("agrees", True, Feasibility.FEASIBLE),
        ("agrees", False, Feasibility.INFEASIBLE),
        ("differs", False, Feasibility.UNKNOWN),
        ("open", None, Feasibility.UNKNOWN),
    ],
)
def test_otherwise_the_verdict_leads_and_the_finding_stands_below(comparison: str, came_up: bool | None, feasibility: Feasibility) -> None:
    found = result(told(comparison, came_up=came_up), feasibility)
    assert "this profile" not in headline(found).sentence
    assert FINDING in render_text(found, colour=False, width=200)
    assert "openvpn 2.6.14 with the same profile" in render(found).decode()


def test_a_run_about_more_than_the_profile_keeps_its_headline() -> None:
    found = result(told("differs"), sample=seed_result())
    assert headline(found) == headline(seed_result())
    assert FINDING in render_text(found, colour=False, width=200)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "stopped: silent"),
        ({"cause": "", "stopped_at": "reset"}, "stopped: TLS: Initial packet from <b>"),
        (
            {
                "cause": "",
                "stopped_at": "up",
                "steps": [{"step": "up", "name": "initialised", "real": {"words": ["It is 'no.1'. Restarting."]}}],
            },
            "stopped: It is 'no.1'",
        ),
        ({"cause": "", "stopped_at": "up", "steps": [{"step": "up", "name": "initialised", "real": 3}]}, "stopped: initialised"),
        ({"cause": "", "steps": []}, "stopped"),
    ],
)
def test_why_it_stopped_is_in_the_headline(more: dict[str, Any], words: str) -> None:
    beside = told("differs", came_up=False)
    beside["remotes"][0] |= more
    assert headline(result(beside, Feasibility.FEASIBLE)).sentence.endswith(words)


@pytest.mark.parametrize(
    "beside",
    [
        None,
        7,
        "x",
        [],
        {},
        {"remotes": 3},
        {"remotes": [3, None, {}]},
        {"remotes": [{"steps": [{"real": 3}, 4, {"own": {"came": [], "words": 4, "at_s": "x"}}]}], "program": [], "version": {}},
        {"remotes": [{"finding": "\x1b]0;x", "log": [1, "\u202e"]}], "left_out": [{"line": {}}, "x"], "protocols": [[]]},
    ],
)
def test_documents_of_strangers(beside: object) -> None:
    found = result(beside, Feasibility.UNKNOWN)
    page, lines = render(found).decode(), render_text(found, colour=False, width=100)
    assert "\x1b" not in page + lines
    assert "\u202e" not in page + lines


def test_what_was_interrupted_is_not_told_as_if_it_had_run() -> None:
    beside = told("open")
    beside["remotes"] = []
    page = render_text(result(beside, Feasibility.UNKNOWN), colour=False, width=200)
    assert "openvpn 2.6.14 was to run with the same profile, and came to no end: nothing is told of it." in page
    assert "Its last step is" not in page
