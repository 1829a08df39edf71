"""Captured packets that waited for their program: the time between is one in which it was late."""

import asyncio

import pytest

from vpnprobe.endpoint.lateness_observer import LatenessObserver
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence.lateness import Lateness
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Packet
from vpnprobe.transports.topology import CLIENT, Topology


def noted(waited_s: float, *, outgoing: bool = False) -> tuple[Lateness, ...]:
    async def main() -> tuple[Lateness, ...]:
        stack = SimulatedNetwork(Topology(), seed=1).stack(CLIENT)
        recorder = Recorder(stack, Vantage.CLIENT)
        await asyncio.sleep(5)
        LatenessObserver(recorder)(Packet(b"", stack.unix_time() - waited_s, outgoing))
        return recorder.record().late

    return run_virtual(main())


def test_one_that_waited_tells_from_when_to_when() -> None:
    (late,) = noted(1.9)
    assert (late.from_s, late.to_s) == (pytest.approx(3.1, abs=1e-4), pytest.approx(5.0))


def test_a_little_is_every_programs() -> None:
    assert noted(0.02) == ()


def test_a_clock_that_was_set_is_no_lateness() -> None:
    assert noted(3600.0) == ()
    assert noted(-3600.0) == ()


def test_what_leaves_says_nothing() -> None:
    assert noted(1.9, outgoing=True) == ()
