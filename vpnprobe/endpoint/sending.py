"""Sends fresh probe packets of each kind and records them: the same code for both ends and both directions.

Each packet carries a nonce of its own (and ESP an SPI of its own), so packets are independent trials of the path.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vpnprobe.conversations.session_tag import WHOLE, identifier
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence import checks
from vpnprobe.evidence.identify import BARE_PROTOCOL, PacketIdentity
from vpnprobe.evidence.packet_records import Check
from vpnprobe.transports.stack import Address, Endpoint, NetworkStack, RawPort, UdpPort
from vpnprobe.wire import fingerprint
from vpnprobe.wire.esp import FIRST_USABLE_SPI, EspPacket
from vpnprobe.wire.gre import Gre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram
from vpnprobe.wire.nonce import (
    BLOCK_MASK,
    BLOCK_SHIFT,
    FRESH_MASK,
    PURPOSE_MASK,
    PURPOSE_SHIFT,
    REQUEST_MASK,
    REQUEST_SHIFT,
    NoncePayload,
    Purpose,
)

PAYLOAD_BYTES: Final = 56
"""Of GRE and ESP probe packets of the usual size: about an LCP packet's or a ping's."""
ESP_CARRIER_BYTES: Final = 28
"""IPv4's header, and the SPI and sequence number of ESP."""
ESP_IN_UDP_CARRIER_BYTES: Final = 36
"""UDP's header besides."""
UDP_CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers."""
USUAL_TTL: Final = 64


class Nonces:
    """Fresh payloads of one session."""

    def __init__(self, stack: NetworkStack, session_tag: int) -> None:
        self._stack = stack
        self.session_tag = session_tag
        self._names: set[bytes] = set()

    def entropy(self, size: int) -> bytes:
        """Random bytes."""
        return self._stack.entropy(size)

    def fresh(self, size: int = PAYLOAD_BYTES, *, purpose: Purpose = Purpose.REACH) -> NoncePayload:
        """A payload whose number was never used before (58 random bits)."""
        number = int.from_bytes(self._stack.entropy(8), "big") & FRESH_MASK | purpose << PURPOSE_SHIFT
        return NoncePayload(self.session_tag, number, size)

    def control(self, block: int, size: int = PAYLOAD_BYTES) -> NoncePayload:
        """A fresh control of a block (42 random bits). `block`: 0 to MOST_BLOCKS - 1."""
        payload = self.fresh(size, purpose=Purpose.CONTROL)
        return replace(payload, number=payload.number & ~BLOCK_MASK | block << BLOCK_SHIFT)

    def prompt(self, block: int, request: int, size: int = PAYLOAD_BYTES) -> NoncePayload:
        """A fresh prompt in a block (34 random bits). `request`: 0 to MOST_REQUESTS - 1."""
        payload = self.fresh(size, purpose=Purpose.PROMPT)
        number = payload.number & ~(BLOCK_MASK | REQUEST_MASK)
        return replace(payload, number=number | block << BLOCK_SHIFT | request << REQUEST_SHIFT)

    def conversation(self, size: int = WHOLE) -> bytes:
        """What names one conversation, `size` bytes: fresh ones, then what the session tag makes of them (`conversations.session_tag`).

        No two have the same, however short they are.
        """
        while (name := identifier(self.session_tag, size, self._stack.entropy)) in self._names:
            pass
        self._names.add(name)
        return name

    def spi(self) -> int:
        """A fresh SPI outside the reserved ones."""
        return max(FIRST_USABLE_SPI, int.from_bytes(self._stack.entropy(4), "big"))


@dataclass(frozen=True, slots=True)
class ProbePacket:
    """One packet's payload behind the IP header, and what it is."""

    protocol: int
    payload: bytes
    check: Check
    key: str
    """Empty: it is a packet sent again, which has a record already."""
    message: str = ""
    detail: Mapping[str, int | str] = field(default_factory=dict)
    """As in packet records."""
    dont_fragment: bool = False


def bare_gre(payload: NoncePayload) -> ProbePacket:
    """A version 0 GRE packet with our payload."""
    return ProbePacket(47, Gre(BARE_PROTOCOL, payload.encode()).encode(), checks.GRE_BARE, payload.key)


def esp(payload: NoncePayload, spi: int, check: Check = checks.ESP) -> ProbePacket:
    """The first ESP packet of an association of its own, with our payload as its ciphertext."""
    packet = EspPacket(spi, 1, payload.encode())
    return ProbePacket(50, packet.encode(), check, fingerprint.of_esp(packet))


class BesidePort:
    """Sends UDP from a port that another program has, by whole IP packets: what it would send, as far as the path can tell.

    For IPv4; what is for an IPv6 address is not sent.
    """

    def __init__(self, stack: NetworkStack, number: int, remote: Address) -> None:
        self._stack = stack
        self.local = Endpoint(stack.source_address(remote), number)

    def send(self, data: bytes, to: Endpoint, *, ttl: int | None = None) -> bool:
        source, destination = self.local.address, to.address
        if source.version != 4 or destination.version != 4:
            return False
        datagram = UdpDatagram(self.local.port, to.port, data).encode(source, destination)
        identification = int.from_bytes(self._stack.entropy(2), "big")
        packet = IPv4Packet(source, destination, int(IpProtocol.UDP), ttl or USUAL_TTL, identification, datagram)
        return self._stack.send_packet(packet.encode())

    def close(self) -> None:
        """Nothing is open."""


class ProbeSender:
    """Sends one fresh packet a call."""

    def __init__(self, recorder: Recorder, nonces: Nonces) -> None:
        self.recorder = recorder
        self.nonces = nonces

    def _send(self, probe_packet: ProbePacket, to: Endpoint, send: Callable[[], bool], local: Endpoint | None = None) -> None:
        size = len(probe_packet.payload)
        self.recorder.leaving(send, probe_packet.check, probe_packet.key, message=probe_packet.message, size=size, to=to, local=local)

    def bare_gre(self, raw: RawPort, to: Address) -> None:
        probe_packet = bare_gre(self.nonces.fresh())
        self._send(probe_packet, Endpoint(to, 0), lambda: raw.send(probe_packet.payload, to))

    def esp(self, raw: RawPort, to: Address, outer_bytes: int = 0) -> None:
        """`outer_bytes`: of the IP packet; 0: the usual."""
        size = outer_bytes - ESP_CARRIER_BYTES if outer_bytes else PAYLOAD_BYTES
        probe_packet = esp(self.nonces.fresh(size), self.nonces.spi())
        self._send(probe_packet, Endpoint(to, 0), lambda: raw.send(probe_packet.payload, to))

    def esp_in_udp(self, port: UdpPort, to: Endpoint, outer_bytes: int = 0) -> None:
        """`outer_bytes`: of the IP packet; 0: the usual."""
        size = outer_bytes - ESP_IN_UDP_CARRIER_BYTES if outer_bytes else PAYLOAD_BYTES
        probe_packet = esp(self.nonces.fresh(size), self.nonces.spi(), checks.ESP_IN_UDP)
        self._send(probe_packet, to, lambda: port.send(probe_packet.payload, to), port.local)

    def nonce(self, port: UdpPort, to: Endpoint, check: Check, *, size: int, purpose: Purpose = Purpose.REACH) -> None:
        self.payload(port, to, check, self.nonces.fresh(size, purpose=purpose))

    def control(self, port: UdpPort, to: Endpoint, check: Check, *, block: int, size: int = PAYLOAD_BYTES) -> NoncePayload:
        """One control of a block, to a port that passes; returns it. `check`: that port's `udp/reach`."""
        payload = self.nonces.control(block, size)
        self.payload(port, to, check, payload)
        return payload

    def repeat(self, port: UdpPort, to: Endpoint, check: Check, control: NoncePayload) -> None:
        """A second packet of a control's flow, from the control's port."""
        self.payload(port, to, check, replace(control, number=control.number & ~PURPOSE_MASK | Purpose.REPEAT << PURPOSE_SHIFT))

    def prompt(self, port: UdpPort, to: Endpoint, check: Check, *, block: int, request: int) -> None:
        """In the place of a control: has the server send one packet of a request's kind in the place of the answer."""
        self.payload(port, to, check, self.nonces.prompt(block, request))

    def payload(self, port: UdpPort, to: Endpoint, check: Check, payload: NoncePayload) -> None:
        data, size = payload.encode(), payload.size
        self.recorder.leaving(lambda: port.send(data, to), check, payload.key, size=size, to=to, purpose=payload.purpose, local=port.local)

    def answer(self, port: UdpPort, to: Endpoint, identity: PacketIdentity, received: bytes) -> None:
        """Answers a datagram that was identified as ours, in kind and size; an answer is not answered."""
        if identity.check == checks.ESP_IN_UDP:
            self.esp_in_udp(port, to, len(received) + UDP_CARRIER_BYTES)
            return
        payload = NoncePayload.decode(received)
        if not payload.is_answer:
            self.payload(port, to, identity.check, payload.answer())
