"""Which messages end a conversation: those that reach its goal, and those by which the other end itself refuses."""

from collections.abc import Mapping
from typing import Final

from vpnprobe.evidence.packet_records import Check

CLOSED: Final = "FIN"
"""The end of a TCP connection whose server has not sent a byte."""
_GOALS: Final[Mapping[str, frozenset[str]]] = {
    "control": frozenset({"OCRP", "ICRP"}),
    "ikev1-main": frozenset({"main-answer", "notify"}),
    "ikev2-init": frozenset({"sa_init-answer", "notify"}),
    "reset": frozenset({"P_CONTROL_HARD_RESET_SERVER_V2", "P_CONTROL_HARD_RESET_SERVER_V1"}),
    "handshake": frozenset({"key-method-2"}),
}
_REFUSALS: Final = frozenset({"SCCRP-refused", "OCRP-refused", "StopCCN", "CDN", CLOSED})


def goals(check: Check) -> frozenset[str]:
    """Messages of the server of which one must come back; empty: it is no conversation."""
    return _GOALS.get(check.name, frozenset())


def refusals(check: Check) -> frozenset[str]:
    """Messages by which the server itself refuses; empty: it is no conversation."""
    return _REFUSALS if check.name in _GOALS else frozenset()
