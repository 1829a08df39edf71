"""The table of pairs of hosts, on the terminal and in the report."""

from dataclasses import replace

import pytest
from result_samples import offline_result

from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary, Feasibility, PathVerdicts, Reason, Result, Verdict
from vpnprobe.report.headlines import headline
from vpnprobe.report.host_pairs import host_pairs, says_something
from vpnprobe.report.html import render
from vpnprobe.report.rows import Anchors
from vpnprobe.report.text import MOST_PATHS, render_text

NOT_MEASURED = Verdict("pptp", Feasibility.UNKNOWN, (Reason("r", "Not measured."),))
WORKS = Verdict("openvpn-udp", Feasibility.FEASIBLE, (Reason("r", "It passes.", ("o",)),))
SILENT = replace(NOT_MEASURED, because=(Reason("r", "Nothing answers.", ("o",)),))
NAT_ALONE = replace(NOT_MEASURED, because=(Reason("r", "Behind a NAT.", ("nat-mapping",)),))
TALK = ConversationSummary("pptp", ConversationEndpoint("10.0.0.3", 1), ConversationEndpoint("10.0.0.9", 1723), "call-up")


def several(count: int = 2, *verdicts: Verdict) -> Result:
    paths = tuple(PathVerdicts(f"10.0.0.{number + 2}", "10.0.0.9", verdicts or (NOT_MEASURED,)) for number in range(count))
    of_none = tuple(replace(one, feasibility=Feasibility.UNKNOWN) for one in (NOT_MEASURED, replace(SILENT, protocol="l2tp")))
    return replace(offline_result(), verdicts=of_none, recommendation=None, paths=paths, conversations=(TALK,))


def test_what_was_not_seen_says_nothing() -> None:
    assert [says_something(one) for one in (NOT_MEASURED, WORKS, SILENT, NAT_ALONE)] == [False, True, True, False]


def test_a_pair_is_told_by_its_verdicts_or_else_by_its_conversations() -> None:
    paths = (PathVerdicts("10.0.0.2", "10.0.0.9", (NOT_MEASURED, WORKS)), PathVerdicts("10.0.0.3", "10.0.0.9", (NOT_MEASURED,)))
    first, second = host_pairs(paths, (TALK,), Anchors(()))
    assert first.sentence == "10.0.0.2 → 10.0.0.9: OpenVPN over UDP works. It passes."
    assert second.sentence == "10.0.0.3 → 10.0.0.9: seen: pptp call-up."
    (third,) = host_pairs((PathVerdicts("10.0.0.4", "10.0.0.9", ()),), (TALK,), Anchors(()))
    assert third.sentence == "10.0.0.4 → 10.0.0.9: seen: no conversation."


def test_they_are_on_the_terminal_and_in_the_report() -> None:
    result = several(2, NOT_MEASURED, WORKS)
    shown = " ".join(render_text(result, colour=False, width=200).split())
    assert "10.0.0.3 → 10.0.0.9: OpenVPN over UDP works. It passes." in shown
    page = render(result).decode()
    assert page.count('<td data-label="server"><code>10.0.0.9</code></td>') == 2
    assert '<a href="#paths">' in page


def test_very_many_are_cut_on_the_terminal() -> None:
    shown = " ".join(render_text(several(MOST_PATHS + 5), colour=False, width=200).split())
    assert shown.partition("Pairs of hosts")[2].count(" → 10.0.0.9") == MOST_PATHS
    assert "5 more are in the result document" in shown


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [((WORKS,), "A VPN works between 2 of them, and one does not between 0."), ((SILENT,), "None is shown to work or to fail.")],
)
def test_the_headline_says_that_there_are_several(verdicts: tuple[Verdict, ...], words: str) -> None:
    found = headline(several(2, *verdicts))
    assert found.sentence == "2 pairs of hosts, each with verdicts of its own"
    assert found.reason.startswith(words)


def test_one_reason_for_all_is_told_once() -> None:
    reason = (Reason("captures-not-of-one-path", "The two captures are of different hosts."),)
    result = replace(several(), verdicts=tuple(replace(NOT_MEASURED, protocol=name, because=reason) for name in ("pptp", "l2tp")))
    assert headline(result).reason == reason[0].text
    assert render_text(result, colour=False, width=200).count(reason[0].text) == 1
