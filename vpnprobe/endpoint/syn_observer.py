"""Notes what this end's wire shows of its own connection attempts and its sockets do not tell: numbers, and answers that came too late.

A socket does not tell its sequence numbers, and a NAT may change its port: by the number both ends know the attempt
(`vpnprobe.evidence.attempts`). What came, arrived, whether or not anybody still waited for it. Total: bytes that cannot be read give
nothing.
"""

from typing import Final

from vpnprobe.endpoint.passive_observer import HIGHEST_LIMITED_TTL, SYN_BIT
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.attempts import SEQUENCE, SYN, SYN_ACK, port_key
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.evidence.packet_records import Check
from vpnprobe.transports.stack import Endpoint, Packet
from vpnprobe.wire.fingerprint import initial_sequence
from vpnprobe.wire.ip import IpPacket, IpProtocol, TcpFlag, TcpSegment, decode_ip, tcp_flags

RST_BIT: Final = TcpFlag.RST.value


class SynObserver:
    """Listens to the client's run capture."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._noted: set[tuple[Check, str, int]] = set()
        self._answered: set[tuple[Check, str]] = set()
        """Attempts whose answer came while they were waited for."""
        self._late: dict[tuple[Check, str], int] = {}
        """Attempts whose answer came only when nobody waited any more: the sequence number of the RST that refuses it."""

    def __call__(self, packet: Packet) -> None:
        """Records the first SYN of each attempt that the recorder knows, with its number, and answers that came too late for it."""
        flags = tcp_flags(packet.data)
        if flags is not None and not flags & (SYN_BIT | RST_BIT):
            return  # Most of a run are other segments, and need not be read.
        try:
            ip = decode_ip(packet.data)
            ours = ip.protocol == IpProtocol.TCP and ip.ttl > HIGHEST_LIMITED_TTL
            segment = TcpSegment.decode(ip.payload) if ours else None
        except DecodeError:
            return
        if segment is not None and packet.outgoing:
            self._left(ip, segment)
        elif segment is not None:
            self._came(segment)

    def _left(self, ip: IpPacket, segment: TcpSegment) -> None:
        check, key = tcp_reach(segment.destination_port), port_key(segment.source_port)
        if (check, key) not in self._recorder.attempts:
            return
        to, initial = Endpoint(ip.destination, segment.destination_port), initial_sequence(segment)
        if segment.has(TcpFlag.RST):
            if self._late.get((check, key)) == segment.sequence:
                del self._late[check, key]
                self._recorder.received(check, key, message=SYN_ACK, source=to)
        elif initial is not None and not segment.has(TcpFlag.ACK) and (check, key, initial) not in self._noted:
            self._noted.add((check, key, initial))
            self._recorder.sent(check, key, message=SYN, to=to, detail={SEQUENCE: initial})

    def _came(self, segment: TcpSegment) -> None:
        """A SYN-ACK whose attempt is over came all the same if this host's firewall let it in, and its TCP refuses it.

        With an RST of the number that it acknowledged (RFC 9293 section 3.10.7.1). A firewall that rejects sends the same RST, and does so
        while the attempt is waited for too.
        """
        attempt = tcp_reach(segment.source_port), port_key(segment.destination_port)
        if not (segment.has(TcpFlag.SYN) and segment.has(TcpFlag.ACK)) or attempt not in self._recorder.attempts:
            return
        if attempt not in self._recorder.attempts_over:
            self._answered.add(attempt)
        elif attempt not in self._answered:
            self._late[attempt] = segment.acknowledgment
