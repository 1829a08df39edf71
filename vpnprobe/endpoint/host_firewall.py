"""What this host's own firewall keeps: packets of ours that its wire shows and its sockets never got, or that its sockets sent and its
wire never shows.

A capture sees what comes before the firewall does, and what leaves only after it: the difference is the host's own doing, and none of the
path's. Of TCP the one who begins sees it here: its SYNs never leave, or their answers come and its sockets never get them. Which SYNs came
to a listener and were not answered is in the records already (`endpoint.passive_observer`), and the judge compares them.
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SYN, port_key
from vpnprobe.evidence.checks import is_existing
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, IPv6Packet, TcpFlag, TcpSegment, UdpDatagram, decode_ip, tcp_flags
from vpnprobe.wire.nonce import MAGIC

PROTOCOLS: Final = {
    Transport.TCP: int(IpProtocol.TCP),
    Transport.UDP: int(IpProtocol.UDP),
    Transport.GRE: int(IpProtocol.GRE),
    Transport.ESP: int(IpProtocol.ESP),
}
WITH_PORTS: Final = frozenset({int(IpProtocol.TCP), int(IpProtocol.UDP)})
TO_SOCKETS: Final = frozenset(PROTOCOLS.values()) - {int(IpProtocol.TCP)}
"""IP protocols of which every packet that the firewall lets in comes to a socket of ours."""
IPV4_HEADER: Final = 20
IPV4_WITHOUT_OPTIONS: Final = 0x45
MORE_THAN_DONT_FRAGMENT: Final = 0xBF
"""In the byte with the flags: a fragment of a larger packet."""
SYN_AND_ACK: Final = TcpFlag.SYN.value | TcpFlag.ACK.value
Slot = tuple[int, int | None]
"""IP protocol, and for TCP and UDP a port; None: the whole protocol."""


class _Rows:
    """What an end's records say of its sockets, each read once: a record that goes on is read on."""

    def __init__(self) -> None:
        self.heard: set[Check] = set()
        """Checks of which something came."""
        self.attempts: set[tuple[Check, object]] = set()
        """Connections that were begun here, each with its key."""
        self.sent: Counter[Check] = Counter()
        """Of TCP, SYNs alone."""
        self._read = 0
        self._last: PacketRecord | None = None

    def continue_as(self, packet_records: Sequence[PacketRecord]) -> bool:
        """Reads what is new; False: it is another record than the one that was read so far."""
        if self._read and (len(packet_records) < self._read or packet_records[self._read - 1] is not self._last):
            return False
        for row in packet_records[self._read :]:
            check = row.check
            if row.movement is Movement.RECEIVED:
                self.heard.add(check)
                continue
            if row.message == SYN and not row.ttl_limited:
                self.attempts.add((check, row.key))
            if row.message == SYN or check.transport is not Transport.TCP:
                self.sent[check] += 1
        self._read, self._last = len(packet_records), packet_records[-1] if packet_records else None
        return True


class HostFirewall:
    """Takes what one end's capture shows of one run, and compares it with what the sockets got and sent."""

    def __init__(self, vantage: Vantage, session_tag: int) -> None:
        self._vantage = vantage
        self._session_tag = session_tag
        self._left: set[Slot] = set()
        """What kinds of packets this end's wire showed to leave."""
        self._heads: set[bytes] = set()
        """Protocol and first four bytes behind the header of those: most of a run leave as others did before, and need not be read."""
        self._came: Counter[tuple[Check, object]] = Counter()
        """Packets of ours that came to this end's wire: by check, in a call by its Call ID too, and of TCP by the key of the attempt."""
        self._rows = _Rows()

    def __call__(self, packet: Packet) -> None:
        if self._left_before(packet.data) if packet.outgoing else _is_anothers(packet.data):
            return
        try:
            ip = decode_ip(packet.data)
            if not ip.first_fragment:
                return
            if packet.outgoing:
                self._left.update(_slots(ip))
            else:
                self._came.update(self._arrivals(ip))
        except DecodeError:
            return

    def _left_before(self, data: bytes) -> bool:
        """Whether another packet of the same protocol and ports is known to have left; False where that does not show at once."""
        if len(data) < IPV4_HEADER + 4 or data[0] != IPV4_WITHOUT_OPTIONS or data[6] & MORE_THAN_DONT_FRAGMENT or data[7]:
            return False
        head = data[9:10] + data[IPV4_HEADER : IPV4_HEADER + 4]
        known = head in self._heads
        self._heads.add(head)
        return known

    def _arrivals(self, ip: IPv4Packet | IPv6Packet) -> Iterator[tuple[Check, object]]:
        if ip.protocol in TO_SOCKETS:
            yield from ((i.check, i.detail.get("call_id")) for i in self._identified(ip))
        elif ip.protocol == IpProtocol.TCP and self._vantage is Vantage.CLIENT:
            segment = TcpSegment.decode(ip.payload)
            if segment.flags & SYN_AND_ACK == SYN_AND_ACK:
                yield checks.tcp_reach(segment.source_port), port_key(segment.destination_port)

    def _identified(self, ip: IPv4Packet | IPv6Packet) -> Sequence[PacketIdentity]:
        """What a packet is that came; empty: no probe of this run, nor of any call."""
        if ip.protocol == IpProtocol.GRE:
            found: Sequence[PacketIdentity | None] = identify.gre(ip.payload)
        elif ip.protocol == IpProtocol.ESP:
            found = [identify.esp(checks.ESP, ip.payload)]
        else:
            datagram = UdpDatagram.decode(ip.payload)
            server_port = datagram.destination_port if self._vantage is Vantage.SERVER else datagram.source_port
            found = [identify.datagram(server_port, datagram.payload)]
        return [i for i in found if i is not None and (i.session_tag == self._session_tag or "call_id" in i.detail)]

    def dropped_on_input(self, packet_records: Sequence[PacketRecord], own_call_ids: Container[object]) -> frozenset[Check]:
        """Checks of which LEAST_TRIALS packets or more came to the wire, and to the sockets, whose records these are, none.

        `own_call_ids`: this end's, of this run's calls: GRE carries the receiver's Call ID (RFC 2637 section 4.1). Other calls
        between the same two hosts are another program's, and so are connections that these records do not begin.
        """
        rows = self._read(packet_records)
        came: Counter[Check] = Counter()
        for (check, within), count in self._came.items():
            if within is None or within in own_call_ids or (check, within) in rows.attempts:
                came[check] += count
        return frozenset(check for check, count in came.items() if count >= LEAST_TRIALS and check not in rows.heard)

    def dropped_on_output(self, packet_records: Sequence[PacketRecord]) -> frozenset[Check]:
        """Checks of which this end sent LEAST_TRIALS or more, and its own wire showed none: GRE, ESP, UDP by port, and SYNs by port.

        Of TCP something has to be seen to leave: where none does, there may be no way to the other end, which is no firewall's doing.
        """
        sent = self._read(packet_records).sent
        kept = (c for c, count in sent.items() if count >= LEAST_TRIALS and c.transport in PROTOCOLS and not is_existing(c))
        return frozenset(check for check in kept if self._never_left(PROTOCOLS[check.transport], check.port))

    def _read(self, packet_records: Sequence[PacketRecord]) -> _Rows:
        if not self._rows.continue_as(packet_records):
            self._rows = _Rows()
            self._rows.continue_as(packet_records)
        return self._rows

    def _never_left(self, protocol: int, port: int | None) -> bool:
        return (protocol, port) not in self._left and (protocol != IpProtocol.TCP or (protocol, None) in self._left)


def _is_anothers(data: bytes) -> bool:
    """Whether a packet that came is surely no probe: most of a run are TCP segments and messages of conversations, and need not be read."""
    flags = tcp_flags(data)
    if flags is None:
        return False
    if data[9] == IpProtocol.TCP:
        return flags & SYN_AND_ACK != SYN_AND_ACK
    return data[9] not in TO_SOCKETS or (data[9] == IpProtocol.UDP and MAGIC not in data)


def _slots(ip: IPv4Packet | IPv6Packet) -> list[Slot]:
    """IP protocol of a packet, and for TCP and UDP either port."""
    ports = (0, 2) if ip.protocol in WITH_PORTS and len(ip.payload) >= 4 else ()
    return [(ip.protocol, None), *((ip.protocol, int.from_bytes(ip.payload[at : at + 2], "big")) for at in ports)]
