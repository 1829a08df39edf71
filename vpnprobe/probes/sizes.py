"""In which sizes packets of a kind are sent: in turn at first, the largest first, and then in random order where large ones are in doubt.

A size is bytes of the outer IP packet; USUAL stands for that which the kind has by itself, the smallest. What is small and comes behind
what is too large shows that nothing has been cut.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Final

from vpnprobe.endpoint.pacer import PACKET_BYTES
from vpnprobe.endpoint.sending import PAYLOAD_BYTES
from vpnprobe.evidence.checks import spec_of
from vpnprobe.evidence.judging.sizes import in_question
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import ProbeContext, Ready, SendOne

USUAL: Final = 0


def sizes_for(context: ProbeContext, check: Check, way: Direction, count: int, *, beside: bool) -> list[int]:
    """Of so many further packets. `beside`: they leave in blocks, since something is in doubt; where it is no size, all are small."""
    if beside:
        return in_doubt(context, check, way, count)
    spec = spec_of(check)
    return in_turn(spec.sizes if spec is not None else (), count, slow=context.line.slow)


def in_turn(sizes: Sequence[int], count: int, *, slow: bool = False) -> list[int]:
    """The largest first. `slow`: on a line that a full-sized packet takes long on, of the larger sizes the largest alone, and seldom."""
    turn = (sizes[-1], USUAL, USUAL) if slow and sizes else (*reversed(sizes), USUAL)
    return list(islice(cycle(turn), count))


def in_doubt(context: ProbeContext, check: Check, way: Direction, count: int) -> list[int]:
    """Half of the size in doubt and half small, in random order; all small where none is in doubt."""
    counted = context.judge().packet_counts.get(check)
    size = in_question(check, counted.total(way)) if counted is not None else None
    if size is None:
        return [USUAL] * count
    drawn = [size] * (count - count // 2) + [USUAL] * (count // 2)
    return sorted(drawn, key=lambda _: context.stack.entropy(4))


def ready_in(context: ProbeContext, sizes: Sequence[int], send: Callable[[int], None]) -> Ready:
    """Of packets in these sizes, one after another. `send` sends one, of so many bytes.

    Controls beside them are small: whether large packets pass is what is asked.
    """
    left: Iterator[int] = iter(sizes)

    async def made() -> tuple[int, SendOne]:
        size = next(left)
        if size > PACKET_BYTES:
            await context.pacer.admit(size - PACKET_BYTES)  # The rest is admitted by whoever sends it.
        return PAYLOAD_BYTES, partial(send, size)

    return made
