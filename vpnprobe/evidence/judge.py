"""Joins the two ends' records into observations: outcome, cause, place and error bound of every check.

The same function serves live runs and captures. It states facts and never decides about a protocol: that is for the rules. Each check is
judged as its kind is (`evidence.judging`); then causes and places are added.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.causes import explain
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.connection import connection
from vpnprobe.evidence.judging.conversation import conversation
from vpnprobe.evidence.judging.data import data
from vpnprobe.evidence.judging.facts import (
    behind_conversations,
    failed,
    late_ends,
    lets_in_unsolicited,
    never_left,
    outages_of,
    own_queues,
    routes,
    set_aside,
    skipped,
    traces,
)
from vpnprobe.evidence.judging.named import with_named_failures
from vpnprobe.evidence.judging.number import numbers
from vpnprobe.evidence.judging.packets import packets
from vpnprobe.evidence.judging.taken import taken_rows
from vpnprobe.evidence.judging.translation import address_translation, helpers
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Observation

JUDGED_BY: Final[Mapping[Kind, Callable[[Judge, Check], Iterable[Observation]]]] = {
    Kind.CONNECTION: connection,
    Kind.PACKETS: packets,
    Kind.CONVERSATION: conversation,
    Kind.DATA: data,
}
"""Kinds that are judged by packet records. Numbers are by their samples, facts by themselves."""


def rows_of(judge: Judge, check: Check) -> list[Observation]:
    """The observations of one check, one a direction or one of both, without causes and places; empty: nothing was asked."""
    kind = kind_of(check)
    return list(JUDGED_BY[kind](judge, check)) if kind is not None and kind in JUDGED_BY else []


def judge(client: EndRecord, server: EndRecord, facts: PathFacts) -> list[Observation]:
    """All observations that follow from two records of one path and what else is known of it."""
    return observations_of(Judge(client, server, facts), facts)


def observations_of(judgement: Judge, facts: PathFacts) -> list[Observation]:
    """All that follow from a judgement in which times were compared; ids are unique. `facts`: those that it was made of.

    Ordered: what was counted by probe, check and port, then numbers, what was not tried, the path itself, and probes that failed.
    """
    found = [row for check in sorted(judgement.packet_counts, key=_order) for row in rows_of(judgement, check)]
    found += numbers(judgement)
    measured = {observation.id for observation in found}
    found += sorted((row for row in never_left(judgement) if row.id not in measured), key=lambda row: row.id)
    measured = {observation.id for observation in found}
    found += [row for skip in facts.skips if (row := skipped(skip)).id not in measured]
    measured = {observation.id for observation in found}
    found += [row for row in set_aside(judgement) if row.id not in measured]
    rewriting = list(helpers(judgement))
    facts = replace(facts, behind=behind_conversations(judgement), lets_in_unsolicited=lets_in_unsolicited(judgement))
    found = explain(with_named_failures(found, facts.named_failures), facts, beside=rewriting)
    path = [
        *outages_of(judgement),
        *late_ends(judgement),
        *own_queues(judgement),
        *taken_rows(judgement.ends, facts),
        *address_translation(judgement),
        *rewriting,
        *routes(judgement),
        *traces(facts),
    ]
    return [*found, *path, *(failed(error) for error in facts.errors)]


def _order(check: Check) -> tuple[str, str, str, int, str, int]:
    return (check.probe, check.name, check.transport.value, check.port or 0, check.variant, check.family)
