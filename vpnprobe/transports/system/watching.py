"""What leaves this host, device by device and with all protocols of the link; of one device also what comes in (Linux).

What is seen on a device is on its wire. A program that bypasses the queueing discipline (PACKET_QDISC_BYPASS, AF_XDP) is not seen.
"""

from collections.abc import Callable

from vpnprobe.transports.bpf import EVERYTHING, outgoing_program
from vpnprobe.transports.system.packet_socket import OnSeen, PacketSocket


def watch_leaving(on_packet: OnSeen, *, unix_time: Callable[[], float]) -> PacketSocket:
    """On all devices but loopback and those that are ports of another. Raises CannotRun (status MISSING)."""
    return PacketSocket(on_packet, outgoing_program(), passed_over=("lo",), unix_time=unix_time)


def watch_device(on_packet: OnSeen, device: str, *, unix_time: Callable[[], float]) -> PacketSocket:
    """What comes and goes there. Raises CannotRun (status MISSING)."""
    return PacketSocket(on_packet, EVERYTHING, device=device, unix_time=unix_time)
