"""The verdict on a terminal."""

import re
from dataclasses import replace

import pytest
from result_samples import SAMPLES, offline_result, seed_result

from vpnprobe.report.text import render_text

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", [40, 80, 132])
def test_every_line_fits(name: str, width: int) -> None:
    text = render_text(SAMPLES[name](), colour=True, width=width)
    assert max(len(ESCAPES.sub("", line)) for line in text.split("\n")) <= width
    assert text.endswith("\n")


def test_it_begins_with_the_verdict_and_names_the_place() -> None:
    lines = render_text(seed_result(), colour=False, width=80).splitlines()
    assert lines[0] == "✓ Use OpenVPN over UDP, port 1194"
    assert "  ✕ PPTP               does not work" in lines
    assert "  GRE, client → server: reaches 10.78.1.2 (hop 2), not the next one, 10.78.2.2." in lines
    assert "  L2TP by itself does not encrypt: use it inside IPsec only." in lines


@pytest.mark.parametrize("name", SAMPLES)
def test_without_colour_there_is_no_escape_whatever_a_stranger_wrote(name: str) -> None:
    text = render_text(SAMPLES[name](), colour=False, width=80)
    assert all(character == "\n" or character.isprintable() for character in text)


def test_colour_changes_no_word() -> None:
    for make in SAMPLES.values():
        assert ESCAPES.sub("", render_text(make(), colour=True, width=80)) == render_text(make(), colour=False, width=80)
    assert "\x1b[31m✕\x1b[0m" in render_text(seed_result(), colour=True, width=80)


def test_captures_with_a_problem_and_next_steps_are_named() -> None:
    text = render_text(offline_result(), colour=False, width=80)
    assert "seed-server.pcap: record 18 ends after 12 of its 62 bytes" in text
    assert "What to do next" in text


def test_an_interrupted_run_says_so_first() -> None:
    assert render_text(SAMPLES["incomplete"](), colour=False, width=80).startswith("Incomplete: this run was interrupted")


def test_unrelated_captures_have_their_own_verdicts() -> None:
    result = offline_result()
    captures = tuple(replace(one, verdicts=result.verdicts[:1]) for one in result.run.captures)
    text = render_text(replace(result, verdicts=(), run=replace(result.run, captures=captures)), colour=False, width=80)
    assert "seed-client.pcap\n  PPTP does not work: GRE is sent by both ends" in text
