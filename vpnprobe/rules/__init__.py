"""Observations -> verdicts -> ranking -> recommendation, with reasons. Pure; the rules themselves are data (`default.toml`).

| module | what is in it |
| --- | --- |
| `model` | the rules as frozen dataclasses and enums |
| `table`, `loader` | TOML -> model: merging a user's file over the default, and every complaint about it |
| `logic` | three-valued reading of observations and evaluation of a rule |
| `sentences` | findings in words: numbers, direction, place, error bound |
| `verdicts` | one verdict for each protocol |
| `real_client` | what follows where a protocol's own program was tried too |
| `ranking` | criteria, presets, clients, and the recommendation |
| `decision` | `decide`, which joins them |
| `explain` | why a result came out as it did, as text |

Invariant: what was not measured is unknown and never becomes false, and every verdict names its rules and its observations.
"""

from vpnprobe.rules.decision import Decision, decide
from vpnprobe.rules.explain import explain
from vpnprobe.rules.loader import load, load_default
from vpnprobe.rules.model import RuleSet
from vpnprobe.rules.ranking import Wishes, check_wishes

__all__ = ["Decision", "RuleSet", "Wishes", "check_wishes", "decide", "explain", "load", "load_default"]
