"""l2tp/control: a bare L2TP tunnel and call on udp/1701, from SCCRQ to ICCN (RFC 2661).

Says nothing about L2TP over IPsec, whose 1701 is only inside ESP; and many servers drop bare 1701 on purpose, so no SCCRP is not 'blocked'
unless the server agent itself would have answered.
"""

from typing import Final

from vpnprobe.conversations.l2tp import Initiator
from vpnprobe.evidence.checks import L2TP_CONTROL
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import Moment, over_udp, until_sure
from vpnprobe.probes.settings import Settings, WantedPort

PORT: Final = 1701
RETRANSMIT_AFTER_S: Final = 0.4
"""The longest; the copies after the first follow at twice the time each."""
COPIES: Final = 4
"""Of a message that is not acknowledged."""


class L2tpProbe:
    """The probe `l2tp`."""

    name: Final = "l2tp"

    def ports(self, _: Settings) -> list[WantedPort]:
        return [WantedPort(Transport.UDP, PORT)]

    async def run(self, context: ProbeContext) -> None:
        async def attempt(moment: Moment) -> None:
            numbers = [1 + int.from_bytes(context.stack.entropy(2), "big") % 65535 for _ in range(2)]
            conversation = Initiator(
                nonce=context.nonces.conversation().hex(),
                tunnel_id=numbers[0],
                session_id=numbers[1],
                retransmit_after_s=min(context.settle_s, RETRANSMIT_AFTER_S),
                attempts=COPIES,
            )
            await over_udp(context, conversation, L2TP_CONTROL, closing=conversation.close, moment=moment)

        await until_sure(context, L2TP_CONTROL, attempt)
