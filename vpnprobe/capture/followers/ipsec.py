"""ESP (RFC 4303), AH (RFC 4302) and ESP in UDP (RFC 3948) in captures, one conversation a pair of addresses (and ports)."""

from collections.abc import Iterable

from vpnprobe.capture.followers.base import TALKS_LIMIT, End, Spot, Talk, always, ends_of, pair, spot
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
        self._talks: dict[tuple[str, object], Talk] = {}
        self._spis: dict[tuple[str, object], dict[int, None]] = {}

    def take(self, frame: Frame) -> Iterable[Spot]:
        """ESP and AH by themselves."""
        source, destination = (frame.source, None), (frame.destination, None)
        if frame.protocol == IpProtocol.ESP and len(frame.data) >= 8:
            found = identify.esp(ESP, frame.data)
            if frame.data[:4] != bytes(4):  # reserved SPIs are seen in tests and in some systems
                self._count("esp", Transport.ESP, frame, source, destination, frame.data[:4])
            if found is None:
                return
            yield spot(frame, always(ESP), found.key, found.message, own=found.session_tag is not None)
        elif frame.protocol == IpProtocol.AH and len(frame.data) >= 12:
            self._count("ah", Transport.IP, frame, source, destination, frame.data[4:8])

    def take_udp(self, frame: Frame, payload: bytes) -> Iterable[Spot]:
        """A payload of UDP 4500 that does not begin with the non-ESP marker."""
        found = identify.esp(ESP_IN_UDP, payload)
        if found is None:
            return
        source, destination = ends_of(frame)
        self._count("esp-udp", Transport.UDP, frame, source, destination, payload[:4])
        yield spot(frame, always(ESP_IN_UDP), found.key, found.message, own=found.session_tag is not None)

    def _count(self, protocol: str, transport: Transport, frame: Frame, source: End, destination: End, spi: bytes) -> None:
        slot = (protocol, pair(source, destination))
        talk = self._talks.get(slot)
        if talk is None:
            if len(self._talks) >= TALKS_LIMIT:
                return
            talk = self._talks[slot] = Talk(protocol, transport, source, destination)
        talk.count(frame, source)
        spis = self._spis.setdefault(slot, {})
        if len(spis) < SPIS_KEPT:
            spis[int.from_bytes(spi, "big")] = None

    def talks(self) -> Iterable[Talk]:
        return self._talks.values()

    def summaries(self) -> Iterable[ConversationSummary]:
        for slot, talk in self._talks.items():
            detail = {"spis": [f"0x{spi:08x}" for spi in self._spis[slot]]}
            yield talk.summary("both-ways" if talk.both_ways else "one-way", detail)
