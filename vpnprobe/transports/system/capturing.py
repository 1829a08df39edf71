"""Capture on Linux: every IP packet to or from one peer, and every ICMP packet, on all devices, both directions."""

from collections.abc import Callable

from vpnprobe.transports.bpf import peer_program
from vpnprobe.transports.stack import Address, OnPacket, Packet
from vpnprobe.transports.system.packet_socket import PacketSocket, SeenPacket


def capture_peer(peer: Address, on_packet: OnPacket, *, unix_time: Callable[[], float]) -> PacketSocket:
    """Reads on the current event loop until closed. Raises CannotRun (status MISSING)."""

    def seen(packet: SeenPacket) -> None:
        on_packet(Packet(without_padding(packet.data), packet.at, packet.outgoing))

    return PacketSocket(seen, peer_program(peer), unix_time=unix_time)


def without_padding(packet: bytes) -> bytes:
    """Ethernet pads short frames to 60 bytes; the IP header knows where the packet ends (0: it does not)."""
    if len(packet) < 20:
        return packet
    stated = int.from_bytes(packet[2:4], "big") if packet[0] >> 4 == 4 else int.from_bytes(packet[4:6], "big")
    length = stated if packet[0] >> 4 == 4 or not stated else stated + 40
    return packet[:length] if length else packet
