"""ESP (RFC 4303), AH (RFC 4302) and ESP in UDP (RFC 3948) in captures, one conversation a pair of addresses (and ports)."""

from collections.abc import Iterable

from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, End, Flow, always, captured, ends_of, pair
from vpnprobe.capture.frames import Frame
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import ESP, ESP_IN_UDP
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.ip import IpProtocol

SPIS_KEPT = 64
"""SPIs named in a summary."""


class IpsecFollower:
    """All ESP, AH and ESP in UDP of a capture."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, object], Flow] = {}
        self._spis: dict[tuple[str, object], dict[int, None]] = {}

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        """ESP and AH by themselves."""
        source, destination = (frame.source, None), (frame.destination, None)
        if frame.protocol == IpProtocol.ESP and len(frame.data) >= 8:
            found = identify.esp(ESP, frame.data)
            if frame.data[:4] != bytes(4):  # reserved SPIs are seen in tests and in some systems
                self._count("esp", Transport.ESP, frame, source, destination, frame.data[:4])
            if found is None:
                return
            yield captured(frame, always(ESP), found.key, found.message, own=found.session_tag is not None, purpose=found.purpose)
        elif frame.protocol == IpProtocol.AH and len(frame.data) >= 12:
            self._count("ah", Transport.IP, frame, source, destination, frame.data[4:8])

    def take_udp(self, frame: Frame, payload: bytes) -> Iterable[CapturedMessage]:
        """A payload of UDP 4500 that does not begin with the non-ESP marker."""
        found = identify.esp(ESP_IN_UDP, payload)
        if found is None:
            return
        source, destination = ends_of(frame)
        self._count("esp-udp", Transport.UDP, frame, source, destination, payload[:4])
        yield captured(frame, always(ESP_IN_UDP), found.key, found.message, own=found.session_tag is not None, purpose=found.purpose)

    def _count(self, protocol: str, transport: Transport, frame: Frame, source: End, destination: End, spi: bytes) -> None:
        slot = (protocol, pair(source, destination))
        flow = self._flows.get(slot)
        if flow is None:
            if len(self._flows) >= FLOWS_LIMIT:
                return
            flow = self._flows[slot] = Flow(protocol, transport, source, destination)
        flow.count(frame, source)
        spis = self._spis.setdefault(slot, {})
        if len(spis) < SPIS_KEPT:
            spis[int.from_bytes(spi, "big")] = None

    def flows(self) -> Iterable[Flow]:
        return self._flows.values()

    def summaries(self) -> Iterable[ConversationSummary]:
        for slot, flow in self._flows.items():
            detail = {"spis": [f"0x{spi:08x}" for spi in self._spis[slot]]}
            yield flow.summary("both-ways" if flow.both_ways else "one-way", detail)
