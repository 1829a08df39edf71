"""The explanation of a result, and the list of rules."""

from collections.abc import Mapping
from dataclasses import replace

from rules_rows import clean, path

from vpnprobe.observations.schema import Cause, Feasibility, Mode, Observation, Outcome, Result, Run
from vpnprobe.rules import RuleSet, decide, explain, load_default
from vpnprobe.rules.explain import listing


def result(rows: list[Observation], *, server: Mapping[str, object] | None = None) -> Result:
    decision = decide(rows, rules=load_default())
    run = Run("r", Mode.SIMULATED, "2026-01-01T00:00:00Z", 1.0, "0", server=server)
    return Result(run, tuple(rows), decision.verdicts, decision.recommendation)


SEED = path({"gre": (Outcome.BLOCKED, Cause.IP_PROTOCOL)})
NOTHING = path({name: (Outcome.BLOCKED, Cause.UNKNOWN) for name in ("tcp", "udp", "gre", "esp")})


def test_each_rule_is_told_with_its_truth_and_its_observations() -> None:
    text = explain(result(SEED), load_default())
    assert text.splitlines()[:5] == [
        "PPTP (pptp): infeasible",
        "  pptp-control (required, decisive): true",
        "    pptp-control-tcp-1723-both pptp/control tcp/1723 both: pass, 20 of 20",
        "  pptp-gre (required, decisive): false",
        "    gre-passthrough-in-call-gre-c2s gre/passthrough gre c2s: blocked (ip-protocol), 0 of 20",
    ]
    assert "openvpn-udp-reset on port 443 (required, strong): true" in text
    assert "  1. OpenVPN over UDP 0.86 (ease 0.5, speed 0.7, security 1, stability 0.9, adaptability 0.8)" in text
    assert "Recommended: openvpn-udp, port 1194" in text
    assert "The document says" not in text


def test_bounds_and_counts_that_are_missing_are_not_invented() -> None:
    rows = [replace(one, received=None, error_bound=1e-7) for one in SEED]
    assert "? of 20, error bound 1e-07" in explain(result(rows), load_default())
    assert "blocked (ip-protocol)\n" in explain(result([replace(one, sent=None, received=None) for one in SEED]), load_default())


def test_a_document_that_was_judged_otherwise_is_told_so() -> None:
    document = result(SEED)
    other = replace(document, verdicts=tuple(replace(one, feasibility=Feasibility.UNKNOWN) for one in document.verdicts))
    assert "The document says unknown" in explain(other, load_default())
    assert "The document says" not in explain(replace(document, verdicts=()), load_default())


def test_no_recommendation_is_told_with_the_control_port() -> None:
    text = explain(result(NOTHING, server={"control_port": 7117}), load_default())
    assert "No recommendation" in text
    assert "warning: Of all that was tried only vpnprobe's own control connection passes, on tcp/7117" in text
    assert "7117" not in explain(result(NOTHING, server={"control_port": "?"}), load_default())


def test_notes_of_the_ranking() -> None:
    rules = load_default()
    changed = replace(rules, profiles={**rules.profiles, "l2tp-ipsec": replace(rules.profiles["l2tp-ipsec"], candidate=False)})
    text = explain(result(clean()), changed)
    assert (
        "L2TP/IPsec 0.62 (ease 0.6, speed 0.6, security 0.7, stability 0.7, adaptability 0.4): recommended only when it is asked for"
        in text
    )
    assert "adaptability 0.4): it has no sound encryption" in text


def marked(rules: RuleSet) -> RuleSet:
    return replace(rules, added=("pptp-lcp",), overridden=("pptp-gre",))


def test_the_list_of_rules_marks_what_a_file_changed() -> None:
    text = listing(marked(load_default()))
    assert text.startswith("PPTP (pptp)\n  pptp-control (required, decisive): Does the PPTP control connection")
    assert "pptp-gre (required, decisive) [changed]: " in text
    assert "pptp-lcp (if-measured, strong) [added]: " in text
