"""GRE in captures: PPTP's version 1 (RFC 2637 section 4.1) and version 0 (RFC 2784), one conversation a pair of addresses and version.

The LCP packets of each call are followed by the tracker of `vpnprobe.conversations.lcp`. What a live run knows by their Magic-Number, each
of which it uses once, is known in foreign captures by sequence number too: pppd repeats one Configure-Request with the same Magic-Number,
and each repetition is a trial of the path.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, Flow, HostPort, PacketFollower, always, captured, pair
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.lcp import ANSWERS, PEER_STATES, REQUEST, LcpTracker, State
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import GRE_BARE, GRE_IN_CALL, PPTP_LCP
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.gre import EnhancedGre, Gre, decode_gre
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.ppp import PROTOCOL_LCP, PppFrame, lcp_name

CALLS_LIMIT: Final = 1000
"""Most calls between two hosts whose LCP is followed."""
LEAST_REQUESTS: Final = 4
"""Unanswered requests from which on an end is held not to get them."""
IN_CALL: Final = frozenset((GRE_IN_CALL, PPTP_LCP))
ENHANCED: Final = 1
"""The version of GRE in a call."""


def version_of(header: bytes) -> int:
    """The version, in the last three bits of the first two bytes."""
    return header[1] & 7


def quoted_check(quote: Quote) -> Check:
    """The check of a packet that only an ICMP error shows."""
    return GRE_IN_CALL if len(quote.first_bytes) >= 2 and version_of(quote.first_bytes) == ENHANCED else GRE_BARE


class Call:
    """The LCP of one call. Each direction carries the Call ID of the end that it goes to."""

    def __init__(self, first: HostPort) -> None:
        self.senders: set[HostPort] = set()
        """The ends whose packets of this call were seen."""
        self._initiator = first
        self._tracker = LcpTracker(kept_steps=0)

    def take(self, sender: HostPort, payload: bytes, at: float) -> None:
        self._tracker.saw_frame(Sender.INITIATOR if sender == self._initiator else Sender.RESPONDER, payload, now=at)

    def state(self, client: HostPort) -> State:
        """How far it came, seen from the client."""
        state = self._tracker.state
        return state if client == self._initiator else PEER_STATES.get(state, state)


class Calls:
    """The calls between two hosts, one after another or at the same time."""

    def __init__(self) -> None:
        self._by_call_id: dict[tuple[HostPort, int], Call] = {}
        """By the sender and the Call ID that its packets carry."""
        self._calls: list[Call] = []

    def take(self, sender: HostPort, call_id: int, payload: bytes, at: float) -> None:
        call = self._by_call_id.get((sender, call_id))
        if call is None:
            if len(self._calls) >= CALLS_LIMIT:
                return
            call = next((known for known in reversed(self._calls) if sender not in known.senders), None)
            if call is None:
                call = Call(sender)
                self._calls.append(call)
            call.senders.add(sender)
            self._by_call_id[sender, call_id] = call
        call.take(sender, payload, at)

    def furthest(self, client: HostPort) -> State:
        """How far the LCP of any of them came, seen from the client."""
        order = list(State)
        return max((call.state(client) for call in self._calls), key=order.index)


class GreFollower(PacketFollower):
    """All GRE of a capture."""

    def __init__(self) -> None:
        self._flows: dict[tuple[object, int | None], Flow] = {}
        self._protocols: dict[tuple[object, int | None], set[int]] = {}
        self._calls: dict[object, Calls] = {}

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        if frame.protocol != IpProtocol.GRE:
            return ()
        if not frame.data and frame.length:
            self._count(frame, None)
        if len(frame.data) < 4:
            return ()
        try:
            packet = decode_gre(frame.data)
        except DecodeError:
            packet = None
        self._count(frame, version_of(frame.data))
        if isinstance(packet, EnhancedGre):
            return self._in_call(frame, packet)
        return self._bare(frame) if isinstance(packet, Gre) else ()

    def _count(self, frame: Frame, version: int | None) -> None:
        """`version`: None where no byte of the packet is known."""
        source, destination = (frame.source, None), (frame.destination, None)
        slot = (pair(source, destination), version)
        flow = self._flows.get(slot)
        if flow is None:
            if len(self._flows) >= FLOWS_LIMIT:
                return
            flow = self._flows[slot] = Flow("gre", Transport.GRE, source, destination)
        flow.count(frame, source)
        protocols = self._protocols.setdefault(slot, set())
        if version is not None:
            protocols.add(int.from_bytes(frame.data[2:4], "big"))

    def _bare(self, frame: Frame) -> Iterable[CapturedMessage]:
        found = identify.gre(frame.data)
        for identity in found:
            check = always(identity.check)
            yield captured(frame, check, identity.key, identity.message, detail=identity.detail, own=True, purpose=identity.purpose)
        if not found:
            name = f"frame-{frame.number}" if frame.identification is None else f"ip-{frame.identification:04x}"
            yield captured(frame, always(GRE_BARE), name, recurs=not frame.identification)

    def _in_call(self, frame: Frame, packet: EnhancedGre) -> Iterable[CapturedMessage]:
        if packet.sequence_number is None:
            return
        ppp = _lcp_frame(packet)
        detail: dict[str, int | str] = {"call_id": packet.call_id}
        if ppp is None:
            yield captured(frame, always(GRE_IN_CALL), f"{0:08x}-{packet.sequence_number:08x}", detail=detail, recurs=True)
            return
        self._lcp(frame, packet)
        message, magic = lcp_name(ppp.information), getattr(identify.lcp_of(packet), "magic_number", None) or 0
        key, own_key = f"{magic:08x}-{packet.sequence_number:08x}", f"{magic:08x}" if magic else ""
        for check in (GRE_IN_CALL, PPTP_LCP):
            yield captured(frame, always(check), key, message, detail=detail, own_key=own_key, recurs=True)

    def _lcp(self, frame: Frame, packet: EnhancedGre) -> None:
        source, destination = (frame.source, None), (frame.destination, None)
        slot = pair(source, destination)
        if slot in self._calls or len(self._calls) < FLOWS_LIMIT:
            self._calls.setdefault(slot, Calls()).take(source, packet.call_id, packet.payload, frame.at)

    def _lcp_state(self, hosts: object, flow: Flow) -> State:
        """The furthest state of the calls between two hosts; INITIAL: no LCP packet of theirs could be read."""
        calls = self._calls.get(hosts)
        return calls.furthest(flow.guessed_client()) if calls is not None else State.INITIAL

    def summaries(self) -> Iterable[ConversationSummary]:
        for (hosts, version), flow in self._flows.items():
            detail: dict[str, object] = {
                "gre_version": version,
                "gre_protocols": [f"0x{number:04x}" for number in sorted(self._protocols[hosts, version])],
            }
            if version == ENHANCED and (lcp := self._lcp_state(hosts, flow)) is not State.INITIAL:
                detail["lcp"] = lcp.value
            yield flow.summary("both-ways" if flow.both_ways else "one-way", detail)

    def clientless(self) -> Iterable[Flow]:
        return self._flows.values()


def _lcp_frame(packet: EnhancedGre) -> PppFrame | None:
    """The PPP frame of a packet that carries LCP, though the LCP packet may be cut; None: it carries none."""
    try:
        frame = PppFrame.decode(packet.payload)
    except DecodeError:
        return None
    return frame if frame.protocol == PROTOCOL_LCP and frame.information else None


def beside_control_connections(summaries: Sequence[ConversationSummary]) -> Iterable[ConversationSummary]:
    """GRE beside a PPTP control connection of the same two hosts names it."""
    calls = {frozenset((s.client.address, s.server.address)): s for s in summaries if s.protocol == "pptp"}
    for summary in summaries:
        call = calls.get(frozenset((summary.client.address, summary.server.address)))
        if summary.protocol == "gre" and summary.detail.get("gre_version") in (ENHANCED, None) and call is not None:
            yield replace(summary, detail={**summary.detail, "pptp": f"{call.client.address}:{call.client.port}"})
        else:
            yield summary


def kept_from_program(record: EndRecord) -> frozenset[Check]:
    """The checks of a call whose packets came to an end and not to its PPP; empty: they did, or nothing shows that they did not.

    A PPP peer answers every Configure-Request that it gets (RFC 1661 section 5.1). One that sends its own and answers none of several has
    not got them, though the capture at its end holds them: the host's own firewall is behind the capture.
    """
    lcp = [s for s in record.packet_records if s.check == PPTP_LCP and not s.ttl_limited]
    sent = {s.message for s in lcp if s.movement is Movement.SENT}
    came = {s.key for s in lcp if s.movement is Movement.RECEIVED and s.message == REQUEST}
    return IN_CALL if REQUEST in sent and not sent & ANSWERS and len(came) >= LEAST_REQUESTS else frozenset()
