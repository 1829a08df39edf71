"""What the capture of a run without a server agent shows besides: its conversations, how far each came, and what stopped it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vpnprobe.capture.analysis import examine_at
from vpnprobe.capture.reading import read_capture
from vpnprobe.errors import UsageError
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import ConversationSummary, Verdict
from vpnprobe.rules import RuleSet
from vpnprobe.rules.diagnoses import diagnosed, diagnosis_name, with_diagnoses
from vpnprobe.rules.failures import REASON as NAMED

FILE: Final = "client.pcap"
TOLD_BY_ROWS: Final = frozenset({"refused", "reset"})
"""Diagnoses of which a run's own rows say more: whether it was the host, and what else that host answers."""


def own_conversations(captures: Mapping[str, bytes], rules: RuleSet) -> tuple[ConversationSummary, ...]:
    """Those that the client's own capture holds, diagnosed; none where it has no capture, or that cannot be read."""
    data = captures.get(FILE)
    if data is None:
        return ()
    try:
        with tempfile.TemporaryDirectory(prefix="vpnprobe-") as folder:
            path = Path(folder, FILE)
            path.write_bytes(data)
            examined = examine_at(read_capture(path), Vantage.CLIENT)
    except (OSError, UsageError):
        return ()
    return tuple(replace(one, capture=FILE) for one in diagnosed(examined.conversations, rules))


def explained(verdicts: Sequence[Verdict], conversations: Sequence[ConversationSummary], rules: RuleSet) -> tuple[Verdict, ...]:
    """The verdicts, those that are open with what stopped a conversation of theirs first, where rows do not tell it.

    What the trial of a profile names by itself leads, and stays as it is.
    """
    told = [one for one in conversations if diagnosis_name(one) not in TOLD_BY_ROWS]
    unnamed = [one for one in verdicts if not any(reason.rule.startswith(NAMED) for reason in one.because)]
    by_protocol = {one.protocol: one for one in with_diagnoses(unnamed, told, rules)}
    return tuple(by_protocol.get(one.protocol, one) for one in verdicts)
