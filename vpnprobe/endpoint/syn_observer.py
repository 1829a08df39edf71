"""Notes the initial sequence numbers of our own connection attempts, as this end's wire shows them.

A socket does not tell its sequence numbers, and a NAT may change its port: by the number both ends know the attempt
(`vpnprobe.evidence.attempts`). Total: bytes that cannot be read give nothing.
"""

from vpnprobe.endpoint.passive_observer import HIGHEST_LIMITED_TTL, SYN_BIT
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.attempts import SEQUENCE, SYN, port_key
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.evidence.packet_records import Check
from vpnprobe.transports.stack import Endpoint, Packet
from vpnprobe.wire.fingerprint import initial_sequence
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment, decode_ip, tcp_flags


class SynObserver:
    """Listens to the client's run capture."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._noted: set[tuple[Check, str, int]] = set()

    def __call__(self, packet: Packet) -> None:
        """Records the first SYN of each attempt that the recorder knows, with its number; what else leaves is left out."""
        flags = tcp_flags(packet.data)
        if not packet.outgoing or (flags is not None and not flags & SYN_BIT):
            return  # Most of a run are other segments, and need not be read.
        try:
            ip = decode_ip(packet.data)
            ours = ip.protocol == IpProtocol.TCP and ip.ttl > HIGHEST_LIMITED_TTL
            segment = TcpSegment.decode(ip.payload) if ours else None
        except DecodeError:
            return
        initial = initial_sequence(segment) if segment is not None else None
        if segment is None or initial is None or segment.has(TcpFlag.ACK):
            return
        check, key = tcp_reach(segment.destination_port), port_key(segment.source_port)
        if (check, key) in self._recorder.attempts and (check, key, initial) not in self._noted:
            self._noted.add((check, key, initial))
            to = Endpoint(ip.destination, segment.destination_port)
            self._recorder.sent(check, key, message=SYN, to=to, detail={SEQUENCE: initial})
