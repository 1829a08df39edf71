"""GRE in captures: PPTP's version 1 (RFC 2637 section 4.1) and version 0 (RFC 2784), one conversation a pair of addresses and version.

The LCP packets of each call are followed by the tracker of `vpnprobe.conversations.lcp`. What a live run knows by their Magic-Number, each
of which it uses once, is known in foreign captures by sequence number too: pppd repeats one Configure-Request with the same Magic-Number,
and each repetition is a trial of the path.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.capture.account import SINCE, Fact
from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, PacketFollower, always, captured, pair
from vpnprobe.capture.followers.flows import Flow
from vpnprobe.capture.followers.gre_calls import Calls, Receipts
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.numbering import NUMBERED_LIMIT
from vpnprobe.conversations.lcp import ANSWERS, REQUEST, State
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

LEAST_REQUESTS: Final = 4
"""Unanswered requests from which on an end is held not to get them."""
CALL_IDS_TOLD: Final = 16
"""Most Call IDs that a summary names, of each end."""
NEAR_LIMIT: Final = 64
"""Most conversations of one host that are looked at for a call's GRE."""
IN_CALL: Final = frozenset((GRE_IN_CALL, PPTP_LCP))
HEAD_BYTES: Final = 8
"""Of a header up to the Call ID."""
ENHANCED: Final = 1
"""The version of GRE in a call."""


def version_of(header: bytes) -> int:
    """The version, in the last three bits of the first two bytes."""
    return header[1] & 7


def quoted_check(quote: Quote) -> Check:
    """The check of a packet that only an ICMP error shows."""
    return GRE_IN_CALL if len(quote.first_bytes) >= 2 and version_of(quote.first_bytes) == ENHANCED else GRE_BARE


class GreFollower(PacketFollower):
    """All GRE of a capture."""

    def __init__(self) -> None:
        self._flows: dict[tuple[object, int | None], Flow] = {}
        self._protocols: dict[tuple[object, int | None], set[int]] = {}
        self._calls: dict[object, Calls] = {}
        self._receipts: dict[object, Receipts] = {}

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
        if frame.cut and version_of(frame.data) == ENHANCED and len(frame.data) >= HEAD_BYTES:
            source, destination = (frame.source, None), (frame.destination, None)
            if (flow := self._flows.get((pair(source, destination), ENHANCED))) is not None:
                flow.numbered(source, int.from_bytes(frame.data[6:HEAD_BYTES], "big"), None, frame)
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
            flow.counts_numbers = len(self._flows) <= NUMBERED_LIMIT
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
        source, destination = (frame.source, None), (frame.destination, None)
        slot = pair(source, destination)
        if slot in self._receipts or len(self._receipts) < FLOWS_LIMIT:
            self._receipts.setdefault(slot, Receipts()).take(frame.number, source, destination, packet)
        if packet.sequence_number is None:
            return
        flow = self._flows.get((slot, ENHANCED))
        if flow is not None:
            flow.numbered(source, packet.call_id, packet.sequence_number, frame)
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
            yield flow.summary("both-ways" if flow.both_ways else "one-way", {**detail, **self._of_calls(hosts, version, flow)})

    def _of_calls(self, hosts: object, version: int | None, flow: Flow) -> dict[str, object]:
        """What the packets of calls show besides."""
        receipts = self._receipts.get(hosts) if version == ENHANCED else None
        if receipts is None:
            return {}
        client = flow.guessed_client()
        ends = {"client": client, "server": flow.other(client)}
        return {
            "call_ids": {name: list(receipts.call_ids.get(end, {}))[:CALL_IDS_TOLD] for name, end in ends.items()},
            "proved_received": {name: sum(end == other for other in receipts.proved.values()) for name, end in ends.items()},
            "facts": receipts.facts(ends["client"], ends["server"], self._lcp_state(hosts, flow)),
        }

    def receipts(self) -> Iterable[int]:
        return (number for receipts in self._receipts.values() for number in receipts.proved)

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
    """GRE beside a PPTP control connection of the same two hosts names it, and the connection's call has the facts that GRE shows of it."""
    beside = _Beside(summaries)
    for summary in summaries:
        call = beside.control(summary)
        if call is not None:
            yield replace(summary, detail={**summary.detail, "pptp": f"{call.client.address}:{call.client.port}"})
        elif facts := list(beside.facts_of(summary)):
            yield replace(summary, detail={**summary.detail, "facts": [*facts, *summary.detail.get("facts", ())]})
        else:
            yield summary


class _Beside:
    """The control connections and the GRE of one capture, by hosts."""

    def __init__(self, summaries: Sequence[ConversationSummary]) -> None:
        self._controls: dict[frozenset[str], list[ConversationSummary]] = {}
        self._announced: dict[tuple[frozenset[str], str], set[int]] = {}
        """Call IDs that all connections of two hosts have announced, of each end."""
        self._gre: dict[frozenset[str], list[ConversationSummary]] = {}
        self._gre_of_host: dict[str, list[ConversationSummary]] = {}
        for one in summaries:
            if one.protocol == "pptp":
                self._controls.setdefault(_hosts(one), []).append(one)
                for key in ("call_ids", "server_call_ids"):
                    self._announced.setdefault((_hosts(one), key), set()).update(one.detail.get(key, ()))
            elif one.protocol == "gre" and one.detail.get("gre_version") == ENHANCED:
                self._gre.setdefault(_hosts(one), []).append(one)
                for host in _hosts(one):
                    self._gre_of_host.setdefault(host, []).append(one)

    def control(self, summary: ConversationSummary) -> ConversationSummary | None:
        """The connection that GRE is beside; None: it is beside none, or is no GRE in a call."""
        in_call = summary.protocol == "gre" and summary.detail.get("gre_version") == ENHANCED
        return self._controls.get(_hosts(summary), [None])[-1] if in_call else None

    def facts_of(self, summary: ConversationSummary) -> Iterator[Fact]:
        """What GRE shows of the calls of a control connection."""
        if summary.protocol != "pptp" or summary.stage != "call-up":
            return
        ours = self._gre.get(_hosts(summary), [])
        if not ours:
            yield self._elsewhere(summary) or _absent(summary)
        for gre in ours:
            yield from self._strange_call_ids(summary, gre)
            if gre.stage == "one-way":
                by = "client" if bool(gre.frames_c2s) == (gre.client.address == summary.client.address) else "server"
                count = gre.frames_c2s + gre.frames_s2c
                yield {
                    "fact": "gre-one-way",
                    "by": by,
                    "to": _other(by),
                    "times": count,
                    "frames": [gre.first_frame or 0],
                    **_since(summary),
                }

    def _elsewhere(self, control: ConversationSummary) -> Fact | None:
        """GRE that carries a Call ID of this connection, and is between other hosts that have none of their own."""
        announced = {*control.detail.get("call_ids", ()), *control.detail.get("server_call_ids", ())}
        for host in (control.client.address, control.server.address):
            for gre in self._gre_of_host.get(host, ())[:NEAR_LIMIT]:
                others = _hosts(gre) - _hosts(control)
                carried = {number for some in gre.detail.get("call_ids", {}).values() for number in some}
                if len(others) == 1 and _hosts(gre) not in self._controls and carried & announced:
                    by = "client" if host == control.server.address else "server"
                    return {"fact": "gre-elsewhere", "elsewhere": next(iter(others)), "by": by, "frames": [gre.first_frame or 0]}
        return None

    def _strange_call_ids(self, control: ConversationSummary, gre: ConversationSummary) -> Iterator[Fact]:
        """Call IDs that packets carry and no connection of these hosts announced."""
        carried, same = gre.detail.get("call_ids", {}), gre.client.address == control.client.address
        for to, key in (("client", "call_ids"), ("server", "server_call_ids")):
            known = self._announced[_hosts(control), key]
            numbers = carried.get(_other(to) if same else to, [])
            announced = control.detail.get(key, [])
            if announced and numbers and not known & set(numbers):
                told = {"by": _other(to), "to": to, "announced": announced[0], "carried": numbers[0]}
                yield {"fact": "call-id-changed", **told, "frames": [control.first_frame or 0, gre.first_frame or 0]}


def _absent(control: ConversationSummary) -> Fact:
    return {"fact": "gre-absent", "times": 1, "frames": [], **_since(control)}


def _since(control: ConversationSummary) -> Fact:
    """Since when the call has been up."""
    times = [fact[SINCE] for fact in control.detail.get("facts", ()) if SINCE in fact]
    return {SINCE: min(times)} if times else {}


def _hosts(summary: ConversationSummary) -> frozenset[str]:
    return frozenset((summary.client.address, summary.server.address))


def _other(end: str) -> str:
    return "server" if end == "client" else "client"


def kept_from_program(record: EndRecord) -> frozenset[Check]:
    """The checks of a call whose packets came to an end and not to its PPP; empty: they did, or nothing shows that they did not.

    A PPP peer answers every Configure-Request that it gets (RFC 1661 section 5.1). One that sends its own and answers none of several has
    not got them, though the capture at its end holds them: the host's own firewall is behind the capture.
    """
    lcp = [s for s in record.packet_records if s.check == PPTP_LCP and not s.ttl_limited]
    sent = {s.message for s in lcp if s.movement is Movement.SENT}
    came = {s.key for s in lcp if s.movement is Movement.RECEIVED and s.message == REQUEST}
    return IN_CALL if REQUEST in sent and not sent & ANSWERS and len(came) >= LEAST_REQUESTS else frozenset()
