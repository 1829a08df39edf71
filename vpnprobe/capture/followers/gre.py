"""GRE in captures: PPTP's version 1 (RFC 2637 section 4.1) and version 0 (RFC 2784), one conversation a pair of addresses and version.

What a live run knows by the Magic-Number of its LCP packets, each of which it uses once, is known in foreign captures by sequence number
too: pppd repeats one Configure-Request with the same Magic-Number, and each repetition is a trial of the path.
"""

from collections.abc import Iterable
from typing import Final

from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, Flow, always, captured, pair
from vpnprobe.capture.frames import Frame
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import GRE_BARE, GRE_IN_CALL, PPTP_LCP
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.gre import EnhancedGre, Gre, decode_gre
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.ppp import PROTOCOL_LCP, PppFrame

LCP_CODES: Final = {
    1: "Configure-Request",
    2: "Configure-Ack",
    3: "Configure-Nak",
    4: "Configure-Reject",
    9: "Echo-Request",
    10: "Echo-Reply",
}


class GreFollower:
    """All GRE of a capture."""

    def __init__(self) -> None:
        self._flows: dict[tuple[object, int], Flow] = {}
        self._protocols: dict[tuple[object, int], set[int]] = {}

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        if frame.protocol != IpProtocol.GRE or len(frame.data) < 4:
            return ()
        version = frame.data[1] & 7
        try:
            packet = decode_gre(frame.data)
        except DecodeError:
            packet = None
        self._count(frame, version)
        if isinstance(packet, EnhancedGre):
            return self._in_call(frame, packet)
        return self._bare(frame) if isinstance(packet, Gre) else ()

    def _count(self, frame: Frame, version: int) -> None:
        source, destination = (frame.source, None), (frame.destination, None)
        slot = (pair(source, destination), version)
        flow = self._flows.get(slot)
        if flow is None:
            if len(self._flows) >= FLOWS_LIMIT:
                return
            flow = self._flows[slot] = Flow("gre", Transport.GRE, source, destination)
        flow.count(frame, source)
        self._protocols.setdefault(slot, set()).add(int.from_bytes(frame.data[2:4], "big"))

    def _bare(self, frame: Frame) -> Iterable[CapturedMessage]:
        found = identify.gre(frame.data)
        for identity in found:
            check = always(identity.check)
            yield captured(frame, check, identity.key, identity.message, detail=identity.detail, own=True, purpose=identity.purpose)
        if not found:
            name = f"frame-{frame.number}" if frame.identification is None else f"ip-{frame.identification:04x}"
            yield captured(frame, always(GRE_BARE), name)

    def _in_call(self, frame: Frame, packet: EnhancedGre) -> Iterable[CapturedMessage]:
        if packet.sequence_number is None:
            return
        lcp = identify.lcp_of(packet)
        message = _lcp_name(packet)
        magic = getattr(lcp, "magic_number", None) or 0
        detail: dict[str, int | str] = {"call_id": packet.call_id}
        key, own_key = f"{magic:08x}-{packet.sequence_number:08x}", f"{magic:08x}" if magic else ""
        yield captured(frame, always(GRE_IN_CALL), key, message, detail=detail, own_key=own_key)
        if message:
            yield captured(frame, always(PPTP_LCP), key, message, detail=detail, own_key=own_key)

    def summaries(self) -> Iterable[ConversationSummary]:
        for slot, flow in self._flows.items():
            detail = {"gre_version": slot[1], "gre_protocols": [f"0x{number:04x}" for number in sorted(self._protocols[slot])]}
            yield flow.summary("both-ways" if flow.both_ways else "one-way", detail)

    def flows(self) -> Iterable[Flow]:
        return self._flows.values()


def _lcp_name(packet: EnhancedGre) -> str:
    """The LCP packet's name, which its first byte tells even where the rest was cut; empty: no LCP."""
    try:
        frame = PppFrame.decode(packet.payload)
    except DecodeError:
        return ""
    if frame.protocol != PROTOCOL_LCP or not frame.information:
        return ""
    return LCP_CODES.get(frame.information[0], "LCP")
