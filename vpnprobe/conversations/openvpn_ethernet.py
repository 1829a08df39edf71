"""One station in an Ethernet that a tunnel carries (`dev tap`): it asks who has the gateway's address, and answers who asks for its own.

Pure: frames in, frames out, and the caller's clock. What does not concern the station is left alone, as a switch floods much.
"""

from ipaddress import IPv4Address
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.wire.ethernet import ADDRESS, BROADCAST, UNKNOWN, Arp, EthernetFrame, EtherType, Operation

ASK_AGAIN_S: Final = 0.4
"""Between two questions for the gateway."""
MOST_QUESTIONS: Final = 5
LOCAL_UNICAST: Final = 0x02
"""First byte of a hardware address that its owner has made up (IEEE 802, U/L and I/G bits)."""


class Station:
    """One station."""

    def __init__(self, own: IPv4Address, gateway: IPv4Address, entropy: bytes) -> None:
        """`entropy`: 5 bytes of its hardware address."""
        self.own = own
        self.gateway = gateway
        self.hardware = (bytes([LOCAL_UNICAST]) + entropy)[:ADDRESS]
        self.gateway_hardware: bytes | None = None
        """None: nobody has answered for the gateway."""
        self.asked = 0
        """Questions for the gateway that were sent."""
        self.due: float | None = None
        """When the next is to be sent; None: not begun, answered, or given up."""

    def begin(self, now: float) -> None:
        self.due = now

    @property
    def given_up(self) -> bool:
        """Whether all questions were asked, and the last one long enough ago."""
        return self.asked >= MOST_QUESTIONS and self.due is None and self.gateway_hardware is None

    def question(self, now: float) -> bytes | None:
        """The frame that asks for the gateway, if one is due."""
        if self.due is None or now < self.due:
            return None
        if self.asked >= MOST_QUESTIONS:
            self.due = None
            return None
        self.asked += 1
        self.due = now + ASK_AGAIN_S
        arp = Arp(Operation.REQUEST, self.hardware, self.own, UNKNOWN, self.gateway)
        return EthernetFrame(BROADCAST, self.hardware, EtherType.ARP, arp.encode()).encode()

    def framed(self, packet: bytes) -> bytes:
        """An IPv4 packet to the gateway, or to all while nobody has answered for it."""
        return EthernetFrame(self.gateway_hardware or BROADCAST, self.hardware, EtherType.IPV4, packet).encode()

    def take(self, data: bytes) -> tuple[bytes | None, bytes | None]:
        """A frame that came: the IPv4 packet in it, and the frame that answers it; None each: there is none."""
        try:
            frame = EthernetFrame.decode(data)
            if frame.ethertype == EtherType.ARP:
                return None, self._taken(Arp.decode(frame.payload))
        except DecodeError:
            return None, None
        return (frame.payload if frame.ethertype == EtherType.IPV4 else None), None

    def _taken(self, arp: Arp) -> bytes | None:
        if arp.sender_ip == self.gateway:
            self.gateway_hardware, self.due = arp.sender, None
        if arp.operation is Operation.REQUEST and arp.target_ip == self.own:
            answer = Arp(Operation.REPLY, self.hardware, self.own, arp.sender, arp.sender_ip)
            return EthernetFrame(arp.sender, self.hardware, EtherType.ARP, answer.encode()).encode()
        return None
