"""Which messages end a conversation, as the transition table of its protocol has it: those of its goal, and those that refuse."""

from typing import Final

from vpnprobe.conversations.registry import ProtocolSpec, protocol_of
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.packet_records import Check

CLOSED: Final = "FIN"
"""The end of a TCP connection whose server has not sent a byte, as tables name it."""


def goals(check: Check) -> frozenset[str]:
    """Messages of the server of which one must come back; empty: it is no conversation that this version can hold."""
    spec = _spoken(check)
    return spec.table.goal_messages(check.name) if spec is not None else frozenset()


def refusals(check: Check) -> frozenset[str]:
    """Messages by which the server itself refuses; empty: none of its protocol's do."""
    spec = _spoken(check)
    return spec.table.refusal_messages() if spec is not None else frozenset()


def _spoken(check: Check) -> ProtocolSpec | None:
    return protocol_of(check.probe, check.name) if kind_of(check) is Kind.CONVERSATION else None
