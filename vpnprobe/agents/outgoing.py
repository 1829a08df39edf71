"""What the server agent sends on a client's word: fresh packets of each kind towards it, and TTL-limited copies that trace the way.

Only ever towards the client's own address: nobody else can be sent anything through this agent. Standard library alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.agents.beside import BesideControls
from vpnprobe.agents.control import Message
from vpnprobe.agents.opened_flows import OpenedFlows
from vpnprobe.agents.records import trace_row
from vpnprobe.agents.responders import Responders
from vpnprobe.agents.sessions import ClientSession
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.tunnel_echo import TunnelRequests
from vpnprobe.endpoint.hop_search import MOST_SUSPECTS, HopSearch
from vpnprobe.endpoint.pacer import PACKET_BYTES
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.probe_packets import (
    ProbePacketMaker,
    echo,
    in_call,
    said_again,
    segment_again,
    syn_ack_again,
    udp,
    without_port,
)
from vpnprobe.endpoint.sending import BesidePort
from vpnprobe.endpoint.ttl_probe import HIGHEST_TTL, Copied, IcmpTap
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.check_rows import read_check
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.peer import Job
from vpnprobe.transports.stack import Endpoint, NetworkStack, RawPort, UdpPort
from vpnprobe.wire.nonce import MOST_REQUESTS, SHORTEST, Purpose

WITHOUT_PORTS: Final = {Job.BARE_GRE: Transport.GRE, Job.IN_CALL_GRE: Transport.GRE, Job.ESP: Transport.ESP}
"""Jobs whose packets have no ports, and the protocol: it is one flow between two addresses."""
MOST_PACKETS: Final = 200
"""Of one request to send."""
LEAST_BYTES, LARGEST_BYTES = 128, 1500
"""Of an IP packet whose size a client may tell; what is asked for in another has the usual one."""
MOST_LOST: Final = 12
"""Packets of one kind that copies may be made of."""


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

    def __init__(self, stack: NetworkStack, responders: Responders, raw: RawSockets, opened: OpenedFlows) -> None:
        self._stack = stack
        self._responders = responders
        self._raw = raw
        self._opened = opened

    async def send(self, session: ClientSession, message: Message) -> dict[str, object]:
        job, count = Job(message["job"]), min(int(message["count"]), MOST_PACKETS)
        port, to = int(message["port"]), message.get("to")
        sizes = _sizes(message)
        call_id, key = int(message["call_id"]), str(message.get("key", ""))
        send_one = self._sending(session, job, port, to, call_id=call_id, key=key, sizes=iter(sizes))
        if send_one is None:
            return {"sent": 0}
        if (protocol := WITHOUT_PORTS.get(job)) is not None:
            self._speaks(session, protocol, first=job is not Job.IN_CALL_GRE)
        if (request := message.get("beside")) is not None:
            session.beside[int(request) % MOST_REQUESTS] = BesideControls(send_one, count)
            return {"sent": 0}
        largest = max(PACKET_BYTES, *sizes) if sizes else PACKET_BYTES
        for number in range(count):
            if number:
                await asyncio.sleep(max(min(1.0, float(message["spacing_s"])), session.pacer.takes_s(largest)))
            session.pacer.charge(largest)
            send_one()
        return {"sent": count}

    def _speaks(self, session: ClientSession, protocol: Transport, *, first: bool) -> None:
        """The server is about to send what has no ports: is it the first to? `first`: it is asked to only once the client's are lost.

        In a call it is asked to sooner, before that is sure.
        """
        if first and not any(s.check.transport is protocol and s.movement is Movement.RECEIVED for s in session.recorder.packet_records):
            session.spoke_first.add(protocol)
        self._opened.passed(session.address, protocol, self._stack.now(), opened=False)

    def _sending(
        self,
        session: ClientSession,
        job: Job,
        port: int,
        to: Any,  # noqa: ANN401
        *,
        call_id: int,
        key: str,
        sizes: Iterator[int],
    ) -> Callable[[], None] | None:
        """What sends one packet of a job; None: it cannot be sent. `sizes`: of the IP packets; once there are no more, the usual."""
        sender, address = session.sender, session.address
        told = deque(Endpoint(address, int(each[1])) for each in list(to or ())[:MOST_PACKETS])
        if impossible := [one.port for one in told if not 0 < one.port < 65536]:
            raise DecodeError("to", 0, f"{impossible[0]} is no port")
        if job is Job.BARE_GRE and (gre := self._raw.gre) is not None:
            return lambda: sender.bare_gre(gre, address)
        if job is Job.ESP and (raw := self._raw.esp) is not None:
            return lambda: sender.esp(raw, address, next(sizes, 0))
        if job is Job.IN_CALL_GRE and (call := self._call(session, call_id)) is not None:
            return lambda: call.request(next(sizes, 0))
        if job is Job.DATA:
            return self._echo(session, port, key)
        ours = self._responders.udp(port)
        if job is Job.UNSOLICITED and ours is not None and told:
            return lambda: self._unsolicited(session, ours, port, told)
        at = self._udp(session, port)
        if at is None or job not in (Job.UDP, Job.ESP_IN_UDP) or (not told and self._endpoint(session, job, port) is None):
            return None
        check, socket = checks.udp_reach(port), at

        def send_one() -> None:
            told.rotate(-1)
            to = self._endpoint(session, job, port) or told[-1]
            if job is Job.UDP:
                sender.nonce(socket, to, check, size=SHORTEST)
            else:
                sender.esp_in_udp(socket, to, next(sizes, 0))

        return send_one

    @staticmethod
    def _unsolicited(session: ClientSession, at: UdpPort, port: int, told: deque[Endpoint]) -> None:
        """Sends one to the next of the client's ports."""
        told.rotate(-1)
        session.sender.nonce(at, told[-1], checks.udp_reach(port), size=SHORTEST, purpose=Purpose.UNSOLICITED)

    def _echo(self, session: ClientSession, port: int, key: str) -> Callable[[], None] | None:
        """What sends one more echo request through the tunnel of that key at a port, else the newest; None: there is none."""
        driver = self._responders.conversation(port, session, key)
        end = driver.conversation if driver is not None else None
        if driver is None or not isinstance(end, TunnelRequests):
            return None
        echo, at = end, driver

        def send_one() -> None:
            echo.run.one_more(self._stack.now())
            at.say(echo.send_due_echo)

        return send_one

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
        passing, lost, passed = read_check(message["passing"]), *(max(0, int(number)) for number in message["loss"])
        suspects = [
            (read_check(check), [(str(name), str(key)) for name, key in some[:MOST_LOST]])
            for check, some in message["suspects"][:MOST_SUSPECTS]
        ]
        if self._raw.icmp is None:
            return {"traces": []}
        search = HopSearch(
            self._raw.icmp,
            session.recorder,
            Direction.S2C,
            self._stack.source_address(session.address),
            session.address,
            max(1, min(HIGHEST_TTL, int(message["highest_ttl"]))),
            max(0.0, min(2.0, float(message["patience_s"]))),
            Background(lost, passed),
            session.pacer,
            starved=bool(message["starved"]),
        )
        sizes = (*_sizes(message), *[0] * len(suspects))
        makers = ((check, self._maker(session, check, some, size)) for (check, some), size in zip(suspects, sizes, strict=False))
        kinds = [Copied(check, make) for check, make in makers if make is not None]
        return {"traces": [trace_row(trace) for trace in await search.run(self._comparison(session, passing), kinds)]}

    def _comparison(self, session: ClientSession, passing: Check) -> Copied:
        """What the others are compared with; ICMP echo, which nearly always passes, where nothing else can be copied."""
        make: ProbePacketMaker | None = None
        if passing == checks.CONTROL:
            packets = session.run_capture.packets
            again = (segment_again(packets, passing, stream.local.port, stream.remote.port) for stream in session.streams)
            make = next((one for one in again if one is not None), None)
        else:
            make = self._maker(session, passing, (), 0)
        return Copied(passing, make) if make is not None else Copied(checks.ICMP_ECHO, echo(session.sender.nonces))

    def _maker(self, session: ClientSession, check: Check, lost: Iterable[tuple[str, str]], size: int) -> ProbePacketMaker | None:
        """What makes one more packet of a kind towards the client; None: it cannot be made.

        `lost`: message and key of packets that were lost. `size`: as in a suspect.
        """
        nonces, packets = session.sender.nonces, session.run_capture.packets
        if check == checks.GRE_IN_CALL:
            return in_call(call, size) if (call := self._call(session)) is not None else None
        if (make := without_port(nonces, check, size)) is not None or check.port is None:
            return make
        if check.probe == "tcp":
            return syn_ack_again(packets, check)
        if check.probe == "udp" and (to := self._endpoint(session, Job.UDP, check.port)) is not None:
            return udp(nonces, Endpoint(self._stack.source_address(session.address), check.port), to, check)
        return said_again(packets, session.recorder.said, check, lost, Vantage.SERVER, size)


def _sizes(message: Message) -> list[int]:
    """Of IP packets, as a request tells them: those that may be told, and 0, the usual, for others."""
    told = [int(size) for size in list(message.get("sizes") or ())[:MOST_PACKETS]]
    return [size if LEAST_BYTES <= size <= LARGEST_BYTES else 0 for size in told]
