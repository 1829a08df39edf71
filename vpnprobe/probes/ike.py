"""ike/ikev1-main, ike/ikev2-init and ike/esp-in-udp: does IKE get an answer, and does ESP pass inside UDP 4500, in several sizes?

The first exchange of IKEv1 main mode (L2TP/IPsec in practice) and IKE_SA_INIT of IKEv2, on udp/500 and on udp/4500 with the non-ESP marker
(RFC 3948 section 2.2). An error notification or a cookie proves that both ways pass. Few requests, each with a fresh SPI: servers stop
answering a client with many half-open exchanges.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from vpnprobe.conversations import ikev1, ikev2
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import ESP_IN_UDP, ikev1_main, ikev2_init
from vpnprobe.evidence.judging.sizes import in_question, untried
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import Opener, ProbeContext, gather_all
from vpnprobe.probes.conversing import Attempt, Moment, over_udp, until_sure
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.sizes import ready_in, sizes_for
from vpnprobe.transports.stack import Datagram

PORTS: Final = (500, 4500)
NAT_T_PORT: Final = 4500


class IkeProbe:
    """The probe `ike`."""

    name: Final = "ike"

    def ports(self, _: Settings) -> list[WantedPort]:
        return [WantedPort(Transport.UDP, port) for port in PORTS]

    async def run(self, context: ProbeContext) -> None:
        await gather_all([*(self._port(context, port) for port in PORTS), self._esp_in_udp(context)])

    async def _port(self, context: ProbeContext, port: int) -> None:
        """Both versions, one after the other: together they would count as one burst of half-open exchanges."""
        await until_sure(context, ikev1_main(port), self._attempt(context, ikev1_main(port)))
        await until_sure(context, ikev2_init(port), self._attempt(context, ikev2_init(port)))

    def _attempt(self, context: ProbeContext, check: Check) -> Attempt:
        marker = check.port == NAT_T_PORT

        async def attempt(moment: Moment) -> None:
            conversation: ikev1.Initiator | ikev2.Initiator
            if check.name == "ikev1-main":
                conversation = ikev1.Initiator(entropy=context.nonces.conversation(), non_esp_marker=marker)
            else:
                entropy = context.nonces.conversation() + context.stack.entropy(ikev2.ENTROPY_BYTES)
                conversation = ikev2.Initiator(entropy=entropy, non_esp_marker=marker)
            await over_udp(context, conversation, check, moment=moment)

        return attempt

    async def _esp_in_udp(self, context: ProbeContext) -> None:
        """ESP as it looks behind a NAT; the server agent answers each packet, or sends its own beside the program that has the port."""
        if context.peer is None or not context.sends_from(NAT_T_PORT):
            reason = "only a server agent that has the port, or sees the wire, can say what arrived"
            context.skip(ESP_IN_UDP, reason, Direction.C2S, Direction.S2C)
            return
        remote = context.endpoint(NAT_T_PORT)

        def came(datagram: Datagram) -> None:
            if datagram.source == remote:
                context.recorder.arrived([identify.esp(ESP_IN_UDP, datagram.data)], datagram)

        port = await context.udp(came, lasting=True)

        async def send_in(sizes: Sequence[int], beside: bool) -> None:
            ports = [await context.udp(came) for _ in sizes] if beside else [port] * len(sizes)
            left = iter(ports)
            one = ready_in(context, sizes, lambda size: context.sender.esp_in_udp(next(left), remote, size))
            await context.trials(one, len(sizes), beside)

        async def send(count: int, beside: bool) -> None:
            await send_in(sizes_for(context, ESP_IN_UDP, Direction.C2S, count, beside=beside), beside)

        async def send_back(count: int, beside: bool) -> None:
            """By itself, behind what opens the way: an answer has no moment of its own within a block, and is as large as what came."""
            sizes = sizes_for(context, ESP_IN_UDP, Direction.S2C, count, beside=beside)
            ports = [await context.udp(came) for _ in range(count)] if beside else [port]
            openers = [Opener(each.local, partial(context.sender.esp_in_udp, each, remote)) for each in ports]
            await context.trials_back(Job.ESP_IN_UDP, count, beside, port=NAT_T_PORT, openers=openers, sizes=sizes)

        await context.until_sure(ESP_IN_UDP, Direction.C2S, send)
        counted = context.judge().packet_counts.get(ESP_IN_UDP)
        if counted is None or not counted.total(Direction.C2S).received:
            return
        back = counted.total(Direction.S2C)
        in_doubt = in_question(ESP_IN_UDP, back) is not None
        if not back.received or in_doubt or untried(ESP_IN_UDP, back):
            await context.until_sure(ESP_IN_UDP, Direction.S2C, send_back, suspected=in_doubt)
