"""What was lost behind an end's own packets counts for nothing, and how many those are is told; what came counts, and so do filters."""

from dataclasses import replace

import pytest
from evidence_support import C2S, S2C, ends, facts_with, keys, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import SYN
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.lateness import Lateness
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default

UDP = checks.udp_reach(1194)
TCP = checks.tcp_reach(443)
QUEUE = OwnQueue(5.0, 6.0)


def rows(records: list[PacketRecord], *, client: tuple[OwnQueue, ...] = (), server: tuple[OwnQueue, ...] = ()) -> dict[str, Observation]:
    at_client, at_server = ends(records)
    found = judge(replace(at_client, queued=client), replace(at_server, queued=server), facts_with())
    return {row.id: row for row in found}


def some_lost(*, at: float, way: Direction = C2S) -> list[PacketRecord]:
    return trip(UDP, way, keys(20), keys(20), at=1.0) + trip(UDP, way, keys(5, start=50), [], at=at)


def test_without_a_queue_it_is_degraded() -> None:
    assert rows(some_lost(at=5.5))["udp-reach-udp-1194-c2s"].outcome is Outcome.DEGRADED


@pytest.mark.parametrize("way", [C2S, S2C])
def test_what_was_lost_meanwhile_counts_for_nothing_and_is_told(way: Direction) -> None:
    queues = {"client" if way is C2S else "server": (QUEUE,)}
    found = rows(some_lost(at=5.5, way=way), **queues)
    assert found[f"udp-reach-udp-1194-{way}"].outcome is Outcome.PASS
    told = found["path-own-queue-ip-both"]
    assert (told.outcome, told.detail["set_aside"]) == (Outcome.SKIPPED, 5)
    decision = decide(list(found.values()), rules=load_default(), ports=(1194,), control_port=7117)
    assert any("5 of their packets were lost" in warning for warning in decision.warnings)


def test_the_queue_of_the_other_end_is_no_excuse() -> None:
    assert rows(some_lost(at=5.5), server=(QUEUE,))["udp-reach-udp-1194-c2s"].outcome is Outcome.DEGRADED


def test_what_was_lost_at_another_time_counts() -> None:
    found = rows(some_lost(at=7.5), client=(QUEUE,))
    assert found["udp-reach-udp-1194-c2s"].outcome is Outcome.DEGRADED
    assert "path-own-queue-ip-both" not in found


def test_a_kind_of_which_nothing_comes_is_blocked_however_full_the_line_was() -> None:
    passing = trip(checks.GRE_BARE, C2S, keys(40, start=90), keys(40, start=90), at=1.0)
    found = rows(passing + trip(UDP, C2S, keys(20), [], at=5.5), client=(QUEUE,))
    assert found["udp-reach-udp-1194-c2s"].outcome is Outcome.BLOCKED


def test_what_was_refused_while_an_end_was_late_was_not_lost() -> None:
    attempts = trip(TCP, C2S, keys(2), [], message=SYN, at=5.5)
    refused = [Refusal(TCP, C2S, RefusalKind.RST, "10.0.0.9", key, 5.5) for key in keys(2)]
    at_client, at_server = ends(attempts, refusals=refused)
    late = replace(at_server, late=(Lateness(5.0, 6.0),))
    found = {row.id: row for row in judge(at_client, late, facts_with())}
    assert found["tcp-reach-tcp-443-both"].outcome is Outcome.REFUSED
    silent = {row.id: row for row in judge(replace(at_client, refusals=()), late, facts_with())}
    assert silent["tcp-reach-tcp-443-both"].outcome is Outcome.SKIPPED


def test_tcp_repeats_what_is_lost_and_is_left_as_it_is() -> None:
    assert Transport.TCP is TCP.transport
    opened = trip(TCP, C2S, keys(4), keys(4), at=1.0) + trip(TCP, C2S, keys(2, start=50), [], at=5.5)
    assert rows(opened) == rows(opened, client=(QUEUE,))
