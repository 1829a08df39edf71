"""ESP (RFC 4303), AH (RFC 4302) and ESP in UDP (RFC 3948) in captures, one conversation a pair of addresses (and ports)."""

from collections.abc import Iterable

from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, PacketFollower, always, captured, ends_of, pair
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.numbering import NUMBERED_LIMIT
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import ESP, ESP_IN_UDP
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.isakmp import UdpEncapsulated, unwrap

SPIS_KEPT = 64
"""SPIs named in a summary."""


def encapsulated(payload: bytes) -> tuple[UdpEncapsulated | None, bytes]:
    """What a payload of UDP 4500 holds; None: it cannot be told."""
    try:
        return unwrap(payload)
    except DecodeError:
        return None, b""


def quoted_check(_quote: Quote) -> Check:
    """The check of a packet that only an ICMP error shows."""
    return ESP


class IpsecFollower(PacketFollower):
    """All ESP, AH and ESP in UDP of a capture."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, object], Flow] = {}
        self._spis: dict[tuple[str, object], dict[int, None]] = {}
        self._of: dict[tuple[HostPort, bytes], Flow] = {}
        """By SPI and each of its two ends: the conversation that its packets are of."""

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        """ESP and AH by themselves."""
        source, destination = (frame.source, None), (frame.destination, None)
        if frame.protocol == IpProtocol.ESP and not frame.data and frame.length:
            self._count("esp", Transport.ESP, frame, source, destination, b"")
        elif frame.protocol == IpProtocol.ESP and len(frame.data) >= 8:
            found = identify.esp(ESP, frame.data)
            if frame.data[:4] != bytes(4):  # reserved SPIs are seen in tests and in some systems
                self._count("esp", Transport.ESP, frame, source, destination, frame.data)
            if found is None:
                return
            yield captured(frame, always(ESP), found.key, found.message, own=found.session_tag is not None, purpose=found.purpose)
        elif frame.protocol == IpProtocol.AH and len(frame.data) >= 12:
            self._count("ah", Transport.IP, frame, source, destination, frame.data[4:])

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """A payload of UDP 4500 that does not begin with the non-ESP marker."""
        kind, packet = encapsulated(payload)
        if kind is not UdpEncapsulated.ESP:
            return None
        found = identify.esp(ESP_IN_UDP, packet)
        if found is None:
            return None
        source, destination = ends_of(frame)
        self._count("esp-udp", Transport.UDP, frame, source, destination, packet)
        return (captured(frame, always(ESP_IN_UDP), found.key, found.message, own=found.session_tag is not None, purpose=found.purpose),)

    def _count(self, protocol: str, transport: Transport, frame: Frame, source: HostPort, destination: HostPort, head: bytes) -> None:
        """`head`: from the SPI on, which the sequence number follows; empty: nothing of the packet is known."""
        slot = (protocol, pair(source, destination))
        flow = self._flows.get(slot)
        if flow is None:
            if len(self._flows) >= FLOWS_LIMIT:
                return
            flow = self._flows[slot] = Flow(protocol, transport, source, destination)
            flow.counts_numbers = len(self._flows) <= NUMBERED_LIMIT
        flow.count(frame, source)
        spis = self._spis.setdefault(slot, {})
        spi, number = head[:4], head[4:8]
        if spi and len(spis) < SPIS_KEPT:
            spis[int.from_bytes(spi, "big")] = None
        if spi:
            flow.numbered(source, spi, int.from_bytes(number, "big") if len(number) == 4 else None, frame)
            self._require_one((source, destination), spi, flow, frame)

    def _require_one(self, ends: tuple[HostPort, HostPort], spi: bytes, flow: Flow, frame: Frame) -> None:
        """An association with several hosts, as routing protocols have by hand, counts the packets to all of them in one series; and an end
        that moves goes on counting.
        """
        for end in ends:
            first = self._of.get((end, spi))
            if first is None and len(self._of) < FLOWS_LIMIT:
                self._of[end, spi] = flow
            elif first is not None and first is not flow:
                for one in (first, flow):
                    for sender in one.ends:
                        one.numbered(sender, spi, None, frame)

    def clientless(self) -> Iterable[Flow]:
        return self._flows.values()

    def summaries(self) -> Iterable[ConversationSummary]:
        for slot, flow in self._flows.items():
            detail = {"spis": [f"0x{spi:08x}" for spi in self._spis[slot]]}
            yield flow.summary("both-ways" if flow.both_ways else "one-way", detail)
