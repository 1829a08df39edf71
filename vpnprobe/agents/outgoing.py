"""What the server agent sends on a client's word: fresh packets of each kind towards it, and TTL-limited copies that trace the way.

Only ever towards the client's own address: nobody else can be sent anything through this agent. Standard library alone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.agents.beside import BLOCKS_PATIENCE, BesideControls
from vpnprobe.agents.control import Message
from vpnprobe.agents.records import trace_row
from vpnprobe.agents.responders import Responders
from vpnprobe.agents.sessions import ClientSession
from vpnprobe.conversations.contract import Sender
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.probe_packets import ProbePacketMaker, in_call, udp, without_port
from vpnprobe.endpoint.sending import BesidePort
from vpnprobe.endpoint.ttl_probe import HIGHEST_TTL, IcmpTap
from vpnprobe.evidence import checks
from vpnprobe.evidence.check_rows import check_row, read_check
from vpnprobe.evidence.comparison import PERIOD_S
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, TtlTrace
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import Job
from vpnprobe.transports.stack import Endpoint, NetworkStack, RawPort, UdpPort
from vpnprobe.wire.nonce import SHORTEST

PACKET_BYTES: Final = 100
"""About what one takes on the line."""
MOST_PACKETS: Final = 200
"""Of one request to send."""


@dataclass(slots=True)
class RawSockets:
    """The server agent's raw sockets."""

    gre: RawPort | None = None
    esp: RawPort | None = None
    icmp: IcmpTap | None = None
    lack: str = "the raw sockets are not open"
    """Why there are none; empty: there are."""

    def close(self) -> None:
        for closable in (self.gre, self.esp, self.icmp):
            if closable is not None:
                closable.close()


class Outgoing:
    """All that one server agent sends by itself."""

    def __init__(self, stack: NetworkStack, responders: Responders, raw: RawSockets) -> None:
        self._stack = stack
        self._responders = responders
        self._raw = raw

    async def send(self, session: ClientSession, message: Message) -> dict[str, object]:
        job, count = Job(message["job"]), min(int(message["count"]), MOST_PACKETS)
        port, to = int(message["port"]), message.get("to")
        send_one = self._sending(session, job, port, to, call_id=int(message["call_id"]), unsolicited=bool(message["unsolicited"]))
        if send_one is None:
            return {"sent": 0}
        if message.get("beside"):
            return {"sent": await self._beside(session, send_one, count)}
        for number in range(count):
            if number:
                await asyncio.sleep(min(1.0, float(message["spacing_s"])))
            await session.pacer.admit(PACKET_BYTES)
            send_one()
        return {"sent": count}

    async def _beside(self, session: ClientSession, send_one: Callable[[], None], count: int) -> int:
        """Sends one packet in each block of controls that comes; how many. Without blocks it ends by itself."""
        beside = BesideControls(send_one, count, self._stack.entropy)
        session.beside.append(beside)
        try:
            async with asyncio.timeout(BLOCKS_PATIENCE * count * PERIOD_S):
                await beside.over.wait()
        except TimeoutError:
            pass
        finally:
            session.beside.remove(beside)
        return beside.sent

    def _sending(
        self,
        session: ClientSession,
        job: Job,
        port: int,
        to: Any,  # noqa: ANN401
        *,
        call_id: int,
        unsolicited: bool,
    ) -> Callable[[], None] | None:
        """What sends one packet of a job; None: it cannot be sent."""
        sender, address = session.sender, session.address
        if job is Job.BARE_GRE and (gre := self._raw.gre) is not None:
            return lambda: sender.bare_gre(gre, address, unsolicited=unsolicited)
        if job is Job.ESP and (raw := self._raw.esp) is not None:
            return lambda: sender.esp(raw, address, unsolicited=unsolicited)
        if job is Job.IN_CALL_GRE and (call := self._call(session, call_id)) is not None:
            return call.request
        told = Endpoint(address, int(to[1])) if to is not None else None
        at, endpoint = self._udp(session, port), self._endpoint(session, job, port) or told
        if at is None or endpoint is None:
            return None
        check, known, socket = checks.udp_reach(port), endpoint, at
        if job is Job.UDP:
            return lambda: sender.nonce(socket, known, check, size=SHORTEST)
        return (lambda: sender.esp_in_udp(socket, known)) if job is Job.ESP_IN_UDP else None

    def _endpoint(self, session: ClientSession, job: Job, port: int) -> Endpoint | None:
        """Where the client's own packets of that kind came from last.

        Only ever the client's own address: nobody else can be sent anything through this agent.
        """
        observed = session.observer.endpoints if session.observer is not None else {}
        check = checks.ESP_IN_UDP if job is Job.ESP_IN_UDP else checks.udp_reach(port)
        return session.endpoints.get(check) or observed.get(check)

    def _udp(self, session: ClientSession, port: int) -> UdpPort | None:
        """What sends from a UDP port: ours, or beside the program that has it. None: neither can be."""
        if (ours := self._responders.udp(port)) is not None:
            return ours
        another = session.ports.get((Transport.UDP, port)) is PortState.DAEMON
        return BesidePort(self._stack, port, session.address) if another and not self._raw.lack else None

    def _call(self, session: ClientSession, call_id: int | None = None) -> Call | None:
        """The call that a client means, else its newest one; of another program's calls, one to send beside it. None: there is none."""
        if session.calls:
            # A NAT's helper may have changed the number on the way: then the newest call is meant.
            session.calls.sort(key=lambda call: call.call_id == call_id)
            return session.calls[-1]
        others = session.observer.calls if session.observer is not None else []
        if not others or self._raw.gre is None:
            return None
        own, peer = max(others, key=lambda call: call[0] == call_id)
        return Call(session.recorder, self._raw.gre, session.address, Sender.RESPONDER, call_id=own, peer_call_id=peer)

    async def trace(self, session: ClientSession, message: Message) -> dict[str, object]:
        check = read_check(message["check"])
        if (to := message.get("to")) is not None and check.port is not None:
            session.endpoints.setdefault(checks.udp_reach(check.port), Endpoint(session.address, int(to[1])))
        make = self._maker(session, check)
        if self._raw.icmp is None or make is None:
            return {"trace": None}
        trace: TtlTrace = await self._raw.icmp.step(
            session.recorder,
            check,
            Direction.S2C,
            make,
            source=self._stack.source_address(session.address),
            destination=session.address,
            highest_ttl=max(1, min(HIGHEST_TTL, int(message["highest_ttl"]))),
            patience_s=min(2.0, float(message["patience_s"])),
        )
        return {"trace": trace_row(trace), "check": check_row(check)}

    def _maker(self, session: ClientSession, check: Check) -> ProbePacketMaker | None:
        """What makes one more packet of a kind towards the client; None: it cannot be made."""
        nonces = session.sender.nonces
        if check == checks.GRE_IN_CALL:
            return in_call(call) if (call := self._call(session)) is not None else None
        if (make := without_port(nonces, check)) is not None:
            return make
        if check.probe == "udp" and check.port is not None and (to := self._endpoint(session, Job.UDP, check.port)) is not None:
            return udp(nonces, Endpoint(self._stack.source_address(session.address), check.port), to, check)
        return None
