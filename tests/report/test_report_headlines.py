"""The verdict in one sentence."""

from dataclasses import replace

import pytest
from result_samples import SAMPLES, offline_result, seed_result, verdict

from vpnprobe.observations.schema import Feasibility, Result
from vpnprobe.report.headlines import headline


@pytest.mark.parametrize(
    ("name", "tone", "sentence"),
    [
        ("seed", "good", "Use OpenVPN over UDP, port 1194"),
        ("blocked", "bad", "No VPN protocol gets through"),
        ("offline", "bad", "PPTP does not work; the others are not known"),
        ("solo", "fair", "Use OpenVPN over TCP, port 443; it works with limits"),
        ("incomplete", "mute", "Interrupted before a verdict"),
    ],
)
def test_the_headline_is_the_verdict(name: str, tone: str, sentence: str) -> None:
    said = headline(SAMPLES[name]())
    assert (said.tone, said.sentence) == (tone, sentence)


def with_verdicts(*found: tuple[str, Feasibility]) -> Result:
    return replace(seed_result(), recommendation=None, verdicts=tuple(verdict(name, one, f"{name}!", []) for name, one in found))


@pytest.mark.parametrize(
    ("found", "sentence", "reason"),
    [
        (
            [("pptp", Feasibility.FEASIBLE), ("l2tp", Feasibility.INFEASIBLE)],
            "PPTP works, and nothing is recommended",
            "pptp!",
        ),
        (
            [("pptp", Feasibility.FEASIBLE), ("l2tp", Feasibility.DEGRADED)],
            "PPTP and L2TP work, and nothing is recommended",
            "Each protocol's own reason stands below.",
        ),
        ([("pptp", Feasibility.UNKNOWN)], "Nothing could be shown, neither to work nor to fail", "pptp!"),
        (
            [("pptp", Feasibility.INFEASIBLE), ("l2tp", Feasibility.INFEASIBLE), ("l2tp-ipsec", Feasibility.UNKNOWN)],
            "PPTP and L2TP do not work; L2TP over IPsec is not known",
            "Each protocol's own reason stands below.",
        ),
        ([("pptp", Feasibility.INFEASIBLE)], "No VPN protocol gets through", "pptp!"),
        ([], "No verdict", "No protocol was judged."),
    ],
)
def test_headlines_without_a_recommendation(found: list[tuple[str, Feasibility]], sentence: str, reason: str) -> None:
    said = headline(with_verdicts(*found))
    assert (said.sentence, said.reason) == (sentence, reason)


def test_unrelated_captures_have_no_common_verdict() -> None:
    assert "not of one path" in headline(replace(offline_result(), verdicts=())).sentence
