"""Both ends of L2TP's conversation, for its tests."""

import itertools
import random
from collections.abc import Callable

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp import L2tpTracker
from vpnprobe.conversations.l2tp_ends import Initiator, Responder
from vpnprobe.wire.l2tp import ControlMessage, DataMessage, decode_l2tp

LAC, LNS = Sender.INITIATOR, Sender.RESPONDER
HANDSHAKE = ["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"]
DELAY_S = 0.01
Loses = Callable[[Sender, ControlMessage | DataMessage, int], bool]


def initiator(**options: int | float | str) -> Initiator:
    settings = {"nonce": "0123abcd", "tunnel_id": 777, "session_id": 11, "retransmit_after_s": 1.0} | options
    return Initiator(entropy=random.Random(1).randbytes, **settings)  # type: ignore[arg-type]


def responder(**options: int | float) -> Responder:
    settings = {"tunnel_id": 555, "session_id": 22, "retransmit_after_s": 1.0, "requests": 0} | options
    return Responder(entropy=random.Random(2).randbytes, **settings)  # type: ignore[arg-type]


def nothing_lost(sender: Sender, message: ControlMessage | DataMessage, number: int) -> bool:
    return False


def run(client: Initiator, server: Responder, loses: Loses = nothing_lost, *, until_s: float = 30.0, now: float = 0.0) -> L2tpTracker:
    """Both ends in virtual time until nothing is due; the tap beside the client sees all that leaves and what arrives there."""
    tap = L2tpTracker()
    counts: dict[tuple[Sender, str], itertools.count[int]] = {}
    while now <= until_s:
        moved = False
        for end, other, sender in ((client, server, LAC), (server, client, LNS)):
            for data in end.data_to_send(now):
                moved = True
                message = decode_l2tp(data)
                number = next(counts.setdefault((sender, message.name), itertools.count(1)))
                arrives = not loses(sender, message, number)
                if sender is LAC or arrives:
                    tap.saw_datagram(sender, data, now=now)
                if arrives:
                    other.receive(data, now + DELAY_S)
        if moved:
            now += DELAY_S
            continue
        due = [timer for timer in (client.next_timer(), server.next_timer()) if timer is not None]
        if not due:
            break
        now = max(now, min(due))
        client.handle_timer(now)
        server.handle_timer(now)
    return tap
